"""Paired actions: rows, recordings, repeatability, progress."""

import numpy as np
import pytest

from latent_policy_ros.embodiments import list_embodiments, load_embodiment
from latent_policy_ros.embodiments.human.keypoints import keypoints_of_action, to_hand_frame
from latent_policy_ros.retargeting import Retargeter, generate_motion, make_pairs
from latent_policy_ros.retargeting.pairs import pair_keypoints


@pytest.fixture(scope="module")
def pairs():
    return make_pairs(list_embodiments(), seed=3, frames=700)


def test_rows_are_whole_recordings_within_limits(pairs):
    assert set(pairs.actions) == set(list_embodiments()) and len(pairs) == 800
    assert (np.bincount(pairs.recording) == 200).all()
    for name, action in pairs.actions.items():
        embodiment = load_embodiment(name)
        assert action.shape == (800, embodiment.action_dim) and np.isfinite(action).all()
        assert (action >= embodiment.action_lower - 1e-12).all() and (action <= embodiment.action_upper + 1e-12).all()


def test_row_is_one_pose_in_every_embodiment():
    """Frames between two rows are retargeted too."""
    motions = np.stack([generate_motion(seed, 4.0, 30.0).keypoints for seed in range(2)])
    names = ("human_hand", "faive_hand", "panda_gripper")
    pairs = pair_keypoints(names, motions, every=3)
    assert len(pairs) == 80 and (pairs.recording == np.repeat([0, 1], 40)).all()
    seen = keypoints_of_action(pairs.actions["human_hand"])
    np.testing.assert_allclose(seen, to_hand_frame(motions[:, ::3]).reshape(-1, 21, 3), atol=1e-12)
    for name in names[1:]:
        embodiment = load_embodiment(name)
        followed = embodiment.to_action(Retargeter(embodiment).retarget_sequence(motions))[:, ::3]
        np.testing.assert_allclose(pairs.actions[name], followed.reshape(80, -1), atol=1e-9)


def test_same_seed_gives_the_same_pairs(pairs):
    again, other = (make_pairs(["panda_gripper"], seed, frames=700) for seed in (3, 4))
    assert (again.actions["panda_gripper"] == pairs.actions["panda_gripper"]).all()
    assert not np.allclose(other.actions["panda_gripper"], pairs.actions["panda_gripper"])


def test_progress_is_reported():
    calls = []
    make_pairs(["panda_gripper", "human_hand"], 0, 200, lambda done, total: calls.append((done, total)))
    assert calls == [(1, 2), (2, 2)]
