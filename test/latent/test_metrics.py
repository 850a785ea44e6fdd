"""Metrics on artificial spaces with known errors."""

from types import SimpleNamespace

import numpy as np
import pytest

from latent_policy_ros.embodiments import HandKinematics
from latent_policy_ros.latent.metrics import (
    fingertips,
    measure,
    misalignment,
    pinch_errors,
    retrieval,
    smoothness,
    split_by_recording,
)
from latent_policy_ros.retargeting import Retargeter


class Oracle:
    """A space that decodes the true action of each row, plus ``offset``."""

    def __init__(self, pairs, offset=0.0):
        self.actions, self.offset = pairs.actions, offset

    def encode(self, name, x):
        rows = np.arange(len(x), dtype=float)[:, None]
        return np.hstack((np.cos(rows * 2.4), np.sin(rows * 2.4), rows))

    def decode(self, name, z):
        return self.actions[name][z[:, 2].astype(int)] + self.offset

    def codec(self, name):
        return SimpleNamespace(decode=lambda z: z)


def test_oracle_has_no_error(pairs, embodiments):
    m = measure(Oracle(pairs), pairs, embodiments)
    for key in ("joints", "tips", "pinch", "round_trip", "misalignment"):
        assert np.nanmax(m.pairs[key]) < 1e-6, key
    assert (m.pairs["r2"] == 1).all()
    assert m.ratio_to_direct(("faive_hand",)) != m.ratio_to_direct(("faive_hand",))  # NaN: one hand has no pair


def test_errors_equal_those_of_the_kinematics(pairs, embodiments):
    m = measure(Oracle(pairs, 0.05), pairs, embodiments)
    hand, i = embodiments["faive_hand"], m.names.index("faive_hand")
    kinematics, q = HandKinematics(hand), pairs.actions["faive_hand"]
    expected = np.linalg.norm(kinematics.fingertips(q + 0.05) - kinematics.fingertips(q), axis=-1).mean() * 1e3
    assert np.allclose(m.pairs["tips"][:, i], expected) and expected > 1
    assert np.allclose(m.pairs["joints"], 0.05)
    aims = [Retargeter(hand).wanted_fingertips(pairs.keypoints[pairs.recording == r]) for r in np.unique(pairs.recording)]
    direct = np.linalg.norm(kinematics.fingertips(q) - np.concatenate(aims), axis=-1).mean() * 1e3
    assert m.direct[i] == pytest.approx(direct) and m.pairs["target"][i, i] > 0
    assert np.isnan(m.direct[m.names.index("panda_gripper")])


def test_pinch_errors_count_only_pinches():
    truth = np.zeros((2, 3, 3))
    truth[:, 1, 0], truth[:, 2, 0] = 0.02, 0.09  # one finger near the thumb, one far
    tips = truth.copy()
    tips[:, 1] = [0.0, 0.025, 0.0]  # 5 mm farther and at a right angle
    tips[:, 2, 0] += 0.05
    assert pinch_errors(tips, truth) == (pytest.approx(5.0), pytest.approx(90.0))
    assert np.isnan(pinch_errors(tips[:, [0, 2]], truth[:, [0, 2]])).all()


def test_retrieval_of_equal_and_of_shuffled_latents():
    rng = np.random.default_rng(0)
    z, recording = rng.normal(size=(600, 8)), np.repeat([0, 1, 2], 200)
    assert retrieval(z, 2 * z, recording) == 1.0
    assert retrieval(z, rng.permutation(z), recording) < 0.03


def test_misalignment_of_equal_and_of_unrelated_latents():
    z = np.random.default_rng(0).normal(size=(4000, 8))
    assert misalignment(z, 5 * z) == pytest.approx(0, abs=1e-9)
    assert misalignment(z, z[::-1]) == pytest.approx(1, abs=0.05)


def test_jumps_increase_roughness():
    steps = np.cumsum(np.ones((300, 1)), axis=0)
    even = smoothness(steps, 2 * steps, np.zeros(300))
    assert even == (pytest.approx(0.5), pytest.approx(1.0))
    uneven = steps.copy()
    uneven[::5] += 3
    assert smoothness(uneven, 2 * steps, np.zeros(300))[1] > 2


def test_human_fingertips_are_scaled_to_the_average_hand(pairs, embodiments):
    x = pairs.actions["human_hand"]
    bigger = x.reshape(len(x), 21, 9).copy()
    bigger[..., :3] *= 1.2
    assert np.allclose(fingertips(embodiments["human_hand"], bigger.reshape(len(x), -1)), fingertips(embodiments["human_hand"], x))


def test_split_keeps_recordings_whole():
    recording = np.repeat(np.arange(10), 7)
    train, held_out = split_by_recording(recording, 0.2, np.random.default_rng(0))
    assert len(train) == 56 and len(held_out) == 14
    assert not set(recording[train]) & set(recording[held_out])
    with pytest.raises(ValueError, match="at least 2 recordings"):
        split_by_recording(np.zeros(5), 0.2, np.random.default_rng(0))


def test_smoothness_of_one_frame_is_nan():
    one = np.zeros((1, 4)), np.zeros((1, 2)), np.zeros(1, dtype=int)
    assert np.isnan(smoothness(*one)).all()
