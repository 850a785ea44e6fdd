"""Motion generator: limits, speeds, variety, repeatability; grasp plans; postures."""

import numpy as np
import pytest

from latent_policy_ros.embodiments.human.human_hand import HumanHand
from latent_policy_ros.retargeting.human_motion.generator import TOUCH, generate_motion, grasp_plan, random_hand
from latent_policy_ros.retargeting.human_motion.postures import fist, opened, posture


def test_same_seed_gives_the_same_motion():
    first, second, other = generate_motion(4, 3.0), generate_motion(4, 3.0), generate_motion(5, 3.0)
    assert (first.keypoints == second.keypoints).all() and first.keypoints.shape == (90, 21, 3)
    assert not np.allclose(first.keypoints, other.keypoints)


def test_angles_stay_within_human_limits_and_speeds():
    hand = HumanHand()
    for seed in range(6):
        motion = generate_motion(seed, 10.0, 50.0)
        assert (motion.angles >= hand.lower - 1e-9).all() and (motion.angles <= hand.upper + 1e-9).all()
        assert np.abs(np.diff(motion.angles, axis=0)).max() * 50.0 < 25.0  # rad/s
        assert np.isfinite(motion.keypoints).all()


def test_random_hands_differ_in_size_and_proportions():
    rng = np.random.default_rng(0)
    hands = [random_hand(rng) for _ in range(50)]
    assert min(hand.scale for hand in hands) < 0.9 and max(hand.scale for hand in hands) > 1.1
    index = np.array([np.linalg.norm(np.diff(hand.keypoints(np.zeros((1, 21)))[0, 5:9], axis=0), axis=1) for hand in hands])
    first = index[:, 0] / index[:, 1:].sum(axis=1)  # 0.6 to 1 times the other two in tracking devices
    assert first.min() < 0.6 and first.max() > 0.95


def test_two_synergies_explain_as_much_variance_as_in_people():
    """About 60% of the variance of joint velocities (Ingram et al. 2008)."""
    velocities = np.concatenate([np.diff(generate_motion(seed, 60.0, 30.0).angles, axis=0) for seed in range(40)])
    variances = np.linalg.eigvalsh(np.cov(velocities.T))
    assert 0.55 < variances[-2:].sum() / variances.sum() < 0.65


def test_fingers_converge_in_a_fist_only():
    hand = HumanHand()
    bent, flat = hand.keypoints(np.array([fist(hand, 1.0), opened(hand, 0.2, -0.3, 0.0)]))
    apart = [np.linalg.norm(np.diff(pose[[8, 12, 16, 20]], axis=0), axis=-1) for pose in (bent, flat)]
    assert (apart[0] < 0.019).all() and (apart[0] > 0.008).all() and (apart[1][1:] > 0.018).all()
    assert (flat[[8, 12, 16, 20], 0] < -0.005).all()  # bent back


def test_every_finger_pinches_and_opens():
    keypoints = np.concatenate([generate_motion(seed, 20.0, 10.0).keypoints for seed in range(12)])
    gaps = np.linalg.norm(keypoints[:, [8, 12, 16, 20]] - keypoints[:, 4:5], axis=-1)
    assert (gaps.min(axis=0) < 0.016).all() and (gaps.max(axis=0) > 0.1).all()
    assert 0.02 < (gaps.min(axis=1) < 0.02).mean() < 0.5


@pytest.mark.parametrize("width", (0.0, 0.03, 0.045, 0.06))
def test_grasp_plan_closes_further_than_the_object(width):
    plan = grasp_plan(width)
    keypoints, phase = plan
    assert keypoints.shape == (41, 21, 3) and phase[0] == 0.0 and phase[-1] == 1.0
    gap = np.linalg.norm(keypoints[:, 4] - keypoints[:, [8, 12]].mean(axis=1), axis=-1)
    assert np.allclose(gap, plan.gap)
    closed = max(TOUCH, width + TOUCH - 0.025)
    assert np.allclose(gap, 0.1 + (closed - 0.1) * phase, atol=0.002)
    axis = keypoints[:, [8, 12]].mean(axis=1) - keypoints[:, 4]
    axis /= np.linalg.norm(axis, axis=-1, keepdims=True)
    assert (axis @ axis[0] > 0.999).all()


def test_grasp_plan_of_a_too_wide_object_is_an_error():
    with pytest.raises(ValueError, match=r"opening_m must be in \[0, 0.092\) m, got 0.2"):
        grasp_plan(0.2)


def test_unknown_joint_is_an_error():
    with pytest.raises(KeyError, match="no joint angle 'toe'; available: thumb_cmc_abduction"):
        posture(HumanHand(), {"toe": 1.0})
