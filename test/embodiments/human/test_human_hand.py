"""HumanHand model; hand frame, rotations and action representation of keypoints."""

import numpy as np
import pytest

from latent_policy_ros.embodiments import load_embodiment
from latent_policy_ros.embodiments.human.human_hand import HumanHand
from latent_policy_ros.embodiments.human.keypoints import (
    TIPS,
    KeypointsRefused,
    bone_rotations,
    human_action,
    keypoints_of_action,
    to_hand_frame,
)


def random_angles(hand, count=20, seed=0):
    return np.random.default_rng(seed).uniform(hand.lower, hand.upper, (count, len(hand.lower)))


def random_frame(rng):
    q, _ = np.linalg.qr(rng.normal(size=(3, 3)))
    return q * np.sign(np.linalg.det(q)), rng.normal(size=3)


def test_anatomy_of_a_right_hand_at_zero():
    keypoints = HumanHand().keypoints(np.zeros((1, 21)))[0]
    tips = keypoints[list(TIPS.values())]
    assert (np.diff(tips[:, 1]) < 0).all()  # thumb to pinky from +y to -y
    assert tips[:, 2].argmax() == 2 and 0.17 < tips[2, 2] < 0.21  # the middle finger reaches farthest; hand of 19 cm
    assert np.allclose(keypoints[9, :2], 0.0)  # the middle knuckle is on +z


def test_flexion_is_towards_the_palm_and_bones_keep_their_length():
    hand = HumanHand()
    angles = random_angles(hand)
    keypoints = hand.keypoints(angles)
    flat = hand.keypoints(np.zeros((1, 21)))
    for first in (1, 5, 9, 13, 17):
        bones = np.linalg.norm(np.diff(keypoints[:, first : first + 4], axis=1), axis=-1)
        assert np.allclose(bones, np.linalg.norm(np.diff(flat[:, first : first + 4], axis=1), axis=-1))
    bent = np.zeros((1, 21))
    bent[0, [i for i, name in enumerate(hand.angle_names) if name.endswith("_pip")]] = 1.0
    assert ((hand.keypoints(bent) - flat)[0, [8, 12, 16, 20], 0] > 0.02).all()


def test_scale_and_bone_scale():
    angles = random_angles(HumanHand())
    assert np.allclose(HumanHand(1.3).keypoints(angles), 1.3 * HumanHand().keypoints(angles))
    longer = HumanHand(bone_scale=[[1], [1.2], [1], [1], [1]]).keypoints(angles) - HumanHand().keypoints(angles)
    assert np.abs(longer[:, [0, 4, 5, 12, 16, 20]]).max() < 1e-15
    assert np.linalg.norm(longer[:, 8], axis=-1).min() > 1e-3
    with pytest.raises(ValueError, match="positive scale"):
        HumanHand(scale=-1.0)
    with pytest.raises(ValueError, match=r"\(5, 3\) positive bone scales"):
        HumanHand(bone_scale=np.ones(5))


def test_knuckle_offset_keeps_straight_fingertips():
    straight = np.zeros((1, 21))
    moved = HumanHand(1.2, knuckles=0.015).keypoints(straight) - HumanHand(1.2).keypoints(straight)
    assert np.allclose(moved[0, [5, 9, 13, 17]], [0.0, 0.0, 1.2 * 0.015])
    assert np.abs(np.delete(moved[0], [5, 9, 13, 17], axis=0)).max() < 1e-12


def test_jacobian_equals_finite_differences():
    hand = HumanHand(0.9)
    angles, step = random_angles(hand, 5), 1e-6
    _, jacobian = hand.keypoints_and_jacobian(angles)
    for j, d in enumerate(step * np.eye(21)):
        numeric = (hand.keypoints(angles + d) - hand.keypoints(angles - d)) / (2 * step)
        assert np.abs(numeric - jacobian[..., j]).max() < 1e-8


def test_rotations_point_along_the_bones():
    hand = HumanHand()
    angles = random_angles(hand)
    keypoints, rotations = hand.keypoints(angles), hand.rotations(angles)
    for R in (rotations, bone_rotations(keypoints)):
        assert np.allclose(R @ R.swapaxes(-1, -2), np.eye(3)) and np.allclose(np.linalg.det(R), 1.0)
        assert np.allclose(R[:, 0], np.eye(3))
        for i in range(1, 21):
            start = i - 1 if i % 4 == 0 else i
            bone = keypoints[:, start + 1] - keypoints[:, start]
            assert np.allclose(R[:, i, :, 2], bone / np.linalg.norm(bone, axis=-1, keepdims=True))


def test_rotations_from_keypoints_equal_those_of_the_model():
    hand = HumanHand()
    angles = np.zeros((1, 21))
    angles[0, [hand.angle_names.index(f"middle_{joint}") for joint in ("mcp", "pip", "dip")]] = 0.5, 0.8, 0.3
    assert np.allclose(bone_rotations(hand.keypoints(angles))[:, 5:], hand.rotations(angles)[:, 5:])


def test_hand_frame_is_independent_of_the_input_frame():
    rng = np.random.default_rng(1)
    keypoints = HumanHand(1.1).keypoints(random_angles(HumanHand(), 6))
    expected = to_hand_frame(keypoints)
    assert np.abs(expected - keypoints).max() < 0.012  # knuckles of the model lie in the plane of the palm, nearly
    assert np.allclose(expected[:, 0], 0) and np.allclose(expected[:, 9, :2], 0) and (expected[:, 5, 1] > 0.02).all()
    for _ in range(5):
        rotation, shift = random_frame(rng)
        assert np.allclose(to_hand_frame(keypoints @ rotation.T + shift), expected, atol=1e-12)
    assert np.allclose(to_hand_frame(expected), expected, atol=1e-12)


def test_action_has_189_numbers_within_limits():
    human = load_embodiment("human_hand")
    hand = HumanHand(1.15)
    keypoints = to_hand_frame(hand.keypoints(random_angles(hand, 200)))
    action = human_action(keypoints)
    assert action.shape == (200, human.action_dim) == (200, 189)
    assert np.allclose(keypoints_of_action(action), keypoints)
    assert (action >= human.action_lower).all() and (action <= human.action_upper).all()
    index = human.action_names.index("middle_tip.z")
    assert np.allclose(action[:, index], keypoints[:, 12, 2])
    z = np.cross(action[:, index + 1 : index + 4], action[:, index + 4 : index + 7])  # x cross y
    assert np.allclose(z, bone_rotations(keypoints)[:, 12, :, 2])


def bad(change):
    keypoints = HumanHand().keypoints(np.zeros((3, 21)))
    change(keypoints)
    return keypoints


BAD = {
    "NaN": (lambda k: k.__setitem__((1, 4, 0), np.nan), r"must be finite, got NaN or infinity at index \(1,\)"),
    "infinity": (lambda k: k.__setitem__((2, 20, 2), np.inf), r"infinity at index \(2,\)"),
    "millimetres": (lambda k: k.__imul__(1000.0), "got 93 .*are the keypoints in metres"),
    "all zero": (lambda k: k.__imul__(0.0), "expected 0.03 to 0.2 m from wrist to middle knuckle, got 0"),
    "no palm": (lambda k: k.__setitem__((0, 5), k[0, 17]), r"the palm has no plane.* at index \(0,\)"),
}


@pytest.mark.parametrize("case", BAD)
def test_invalid_keypoints_are_rejected(case):
    change, message = BAD[case]
    with pytest.raises(KeypointsRefused, match=message):
        to_hand_frame(bad(change))


def test_shape_of_keypoints_is_checked():
    with pytest.raises(KeypointsRefused, match=r"must have shape \(\.\.\., 21, 3\), got \(20, 3\)"):
        to_hand_frame(np.zeros((20, 3)))
