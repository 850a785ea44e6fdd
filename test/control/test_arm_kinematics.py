"""Arm kinematics: data sheet, inversion, Jacobian, limits, invalid poses."""

import numpy as np
import pinocchio as pin
import pytest

from latent_policy_ros.common.errors import ActionRefused
from latent_policy_ros.control.arm_description import list_arms, load_arm
from latent_policy_ros.control.arm_kinematics import ArmKinematics, pose_to_se3, towards
from latent_policy_ros.embodiments import load_embodiment


@pytest.fixture(params=[(hand, arm) for arm in list_arms() for hand in ("mimic_hand", "panda_gripper")])
def arm(request):
    hand, arm = request.param
    return ArmKinematics(load_embodiment(hand), load_arm(arm))


def test_flange_at_zero_agrees_with_the_data_sheet():
    """Denavit-Hartenberg parameters of the Panda: d1 0.333, d3 0.316, a4 0.0825, d5 0.384, a7 0.088, flange 0.107."""
    arm = ArmKinematics(load_embodiment("panda_gripper"))
    flange = pose_to_se3(arm.fk(np.zeros(7))) * arm.T_flange_hand.inverse()
    np.testing.assert_allclose(flange.translation, [0.088, 0.0, 0.333 + 0.316 + 0.384 - 0.107], atol=1e-12)


def test_ik_inverts_fk(arm):
    rng = np.random.default_rng(0)
    for _ in range(20):
        q = arm.home + rng.uniform(-0.5, 0.5, len(arm.home))
        solution = arm.solve(arm.fk(q), arm.home)
        assert solution.position_error < 1e-4 and solution.rotation_error < 1e-3
        np.testing.assert_allclose(arm.fk(solution.q)[:3], arm.fk(q)[:3], atol=1e-4)
        assert (solution.q >= arm.lower).all() and (solution.q <= arm.upper).all()


def test_jacobian_agrees_with_finite_differences(arm):
    """Against central differences, at the goal, where the error twist is linear."""
    q, h = arm.home + 0.1, 1e-6
    goal = arm._T_world_base * pose_to_se3(arm.fk(q))
    error = lambda q: arm._linearised(goal, q)[1]
    numeric = np.stack([(error(q - h * e) - error(q + h * e)) / (2 * h) for e in np.eye(len(q))], axis=1)
    np.testing.assert_allclose(arm._linearised(goal, q)[0], numeric, atol=1e-6)


def test_pose_out_of_reach_gives_the_nearest_and_its_error(arm):
    pose = arm.fk(arm.home)
    pose[:3] = [2.0, 0.0, 0.5]
    solution = arm.solve(pose, arm.home)
    assert solution.position_error > 0.5
    assert (solution.q >= arm.lower).all() and (solution.q <= arm.upper).all()


def test_elbow_does_not_drift(arm):
    """After a closed path of the wrist the joints are as before."""
    pose, q = arm.fk(arm.home), arm.home
    for angle in np.linspace(0, 2 * np.pi, 60):
        moved = pose.copy()
        moved[:2] += 0.1 * np.array([np.cos(angle) - 1, np.sin(angle)])
        q = arm.ik(moved, q)
    np.testing.assert_allclose(q, arm.home, atol=0.02)


@pytest.mark.parametrize("spoil", [np.nan, np.inf])
def test_poses_that_are_not_finite_are_refused(arm, spoil):
    pose = arm.fk(arm.home)
    pose[1] = spoil
    with pytest.raises(ActionRefused, match="wrist pose"):
        arm.ik(pose, arm.home)


def test_poses_without_orientation_are_refused(arm):
    with pytest.raises(ActionRefused, match="quaternion"):
        arm.ik(np.r_[0.4, 0.0, 0.3, np.zeros(4)], arm.home)


def test_towards_moves_on_a_straight_line(arm):
    rng = np.random.default_rng(1)
    start, goal = (arm.fk(arm.home + rng.uniform(-0.5, 0.5, len(arm.home))) for _ in range(2))
    way = pose_to_se3(towards(start, goal, 0.05, 10.0))
    step, whole = way.translation - start[:3], goal[:3] - start[:3]
    np.testing.assert_allclose(np.linalg.norm(step), 0.05)
    np.testing.assert_allclose(step / 0.05, whole / np.linalg.norm(whole))
    turns = [pin.log3(pose_to_se3(start).rotation.T @ to.rotation) for to in (way, pose_to_se3(goal))]
    np.testing.assert_allclose(turns[0], 0.05 / np.linalg.norm(whole) * turns[1], atol=1e-9)
    np.testing.assert_array_equal(towards(start, goal, 10.0, 10.0), goal)
