"""All shipped embodiments and their mirror images."""

import time

import numpy as np
import pytest

from latent_policy_ros.embodiments import HandKinematics, list_embodiments, load_embodiment, loader
from latent_policy_ros.embodiments.description.defaults import EmbodimentDefaults
from latent_policy_ros.embodiments.description.mechanism import Mechanism

NAMES = [name for name in list_embodiments() if name != "human_hand"]
HANDS = [name for name in NAMES if load_embodiment(name).kind == "hand"]
GRIPPERS = [name for name in NAMES if load_embodiment(name).kind == "gripper"]


def random_q(e, count=100):
    return np.random.default_rng(0).uniform(e.lower, e.upper, (count, len(e.joint_names)))


def test_shipped_names():
    expected = {"allegro_hand", "shadow_hand", "orca_hand", "inspire_hand", "leap_hand", "ability_hand"}
    expected |= {"panda_gripper", "robotiq_2f85", "so101_gripper", "xarm_gripper", "faive_hand", "mimic_hand"}
    assert expected <= set(NAMES) and len(NAMES) >= 12


def test_loading_is_fast():
    loader._load.cache_clear()
    start = time.perf_counter()
    for name in NAMES:
        load_embodiment(name)
    assert (time.perf_counter() - start) / len(NAMES) < 0.05


@pytest.mark.parametrize("name", NAMES)
def test_hinges_stay_in_range_within_the_limits_of_q(name):
    e = load_embodiment(name)
    for q in (e.lower, e.upper, e.rest, *random_q(e)):
        for hinge, angle in zip(e.hinges, e.coupling @ q, strict=True):
            assert hinge.lower - 1e-9 <= angle <= hinge.upper + 1e-9, hinge.name
    assert (e.max_velocity > 0).all() and all(np.isclose(np.linalg.norm(hinge.axis), 1.0) for hinge in e.hinges)


@pytest.mark.parametrize("name", NAMES)
def test_mirror_image_moves_symmetrically(name):
    right, left = load_embodiment(name), load_embodiment(f"{name}_left")
    q = random_q(right)
    tips = HandKinematics(right).fingertips(q)
    np.testing.assert_allclose(HandKinematics(left).fingertips(q), tips * [1, -1, 1], atol=1e-12)
    assert np.linalg.det(left.T_base_hand[:3, :3]) == pytest.approx(1.0)
    assert left.content_hash != right.content_hash and left.joint_names == right.joint_names
    base = tips @ right.T_base_hand[:3, :3].T + right.T_base_hand[:3, 3]
    image = HandKinematics(left).fingertips(q) @ left.T_base_hand[:3, :3].T + left.T_base_hand[:3, 3]
    flip = np.sign(np.median(image / np.where(np.abs(base) < 1e-6, 1e-6, base), axis=(0, 1)))
    np.testing.assert_allclose(image, base * np.where(flip == 0, 1, flip), atol=1e-12)  # at one plane of the base frame


@pytest.mark.parametrize("name", HANDS)
def test_hand_frame_matches_a_persons(name):
    """Fingers along +z, bending to +x, the thumb on +y, the index nearest to it."""
    e = load_embodiment(name)
    kinematics = HandKinematics(e)
    rest, chains = dict(zip(kinematics.fingers, kinematics.fingertips(e.rest[None])[0], strict=True)), kinematics.fingers_at_zero()
    mechanism = Mechanism(e.hinges, dict(e.fingertips), {})
    straight = EmbodimentDefaults(mechanism, e.coupling, e.lower, e.upper).straight
    stretched = dict(zip(kinematics.fingers, kinematics.fingertips(straight[None])[0], strict=True))
    others = [finger for finger in rest if finger != "thumb"]
    for finger in others:
        knuckle, bones = chains[finger][0], np.linalg.norm(np.diff(chains[finger], axis=0), axis=1).sum()
        along = (stretched[finger] - knuckle) / np.linalg.norm(stretched[finger] - knuckle)
        assert along[2] > (0.75 if name == "mimic_hand" else 0.85) and 0.05 < bones < 0.2
        assert rest[finger][0] > stretched[finger][0], "the finger bends towards the palm at rest"
    sides = [stretched[finger][1] for finger in others]
    assert sides == sorted(sides, reverse=True), "fingers are in order from the thumb"
    assert chains["thumb"][0][1] > chains[others[-1]][0][1]
    gaps = [np.linalg.norm(rest[finger] - rest["thumb"]) for finger in others]
    assert min(gaps) < 0.1, "the thumb is near a finger at rest"


@pytest.mark.parametrize("name", HANDS)
def test_derived_defaults_are_near_the_values_of_the_files(name):
    e = load_embodiment(name)
    derived = EmbodimentDefaults(Mechanism(e.hinges, dict(e.fingertips), {}), e.coupling, e.lower, e.upper)
    T = derived.hand_frame("right")
    assert not isinstance(T, str), T
    turned = T[:3, :3].T @ e.T_base_hand[:3, :3]
    bent_back = np.radians(45 if name == "mimic_hand" else 12)  # the mimic hand is bent back at zero
    assert np.arccos(np.clip((np.trace(turned) - 1) / 2, -1, 1)) < bent_back
    assert np.linalg.norm(T[:3, 3] - e.T_base_hand[:3, 3]) < 0.06
    assert not isinstance(derived.hand_frame("left"), str) or "side: right" in derived.hand_frame("left")
    rest = derived.rest()
    assert (e.lower <= rest).all() and (rest <= e.upper).all()


@pytest.mark.parametrize("name", GRIPPERS)
def test_action_of_a_gripper_opens_it_monotonically(name):
    e = load_embodiment(name)
    tips = HandKinematics(e).fingertips(e.to_joints(np.linspace(0, 1, 21)[:, None]))
    gap = np.linalg.norm(tips[:, 0] - tips[:, 1], axis=1)
    assert (np.diff(gap) > 0).all() and gap[0] < 0.006 and gap[-1] > 0.06
    # The same wrist pose pinches at the same place with every gripper; the thumb's jaw is nearer to the wrist.
    half = tips[2]
    assert np.linalg.norm(half.mean(axis=0) - [0.075, 0.008, 0.125]) < 0.015
    across = (half[1] - half[0]) / np.linalg.norm(half[1] - half[0])
    assert across @ [-0.371, 0, 0.928] > 0.95


def test_both_sides_of_every_embodiment_load_by_reference():
    for name in NAMES:
        for side in ("left", "right"):
            e = load_embodiment(f"{name}_{side}")
            assert load_embodiment(e.reference).content_hash == e.content_hash and e.side == side
