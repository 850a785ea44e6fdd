"""The arm's kinematics: agree with the URDF, invert, stay within limits, refuse what is not a pose."""

import numpy as np
import pinocchio as pin
import pytest

from latent_policy_ros.drivers.arm import HOME, PINCH_POINT, ArmKinematics, default_mount, pose_to_se3
from latent_policy_ros.embodiments import load_embodiment
from latent_policy_ros.errors import ActionRefused


@pytest.fixture(params=["mimic_hand", "panda_gripper"])
def arm(request):
    return ArmKinematics(load_embodiment(request.param))


def test_flange_of_the_zero_pose_is_as_in_the_data_sheet():
    """Denavit-Hartenberg parameters of the Panda: d1 0.333, d3 0.316, a4 0.0825, d5 0.384, a7 0.088, flange 0.107."""
    flange = ArmKinematics(load_embodiment("panda_gripper"), np.eye(4)).fk(np.zeros(7))
    np.testing.assert_allclose(flange[:3], [0.088, 0.0, 0.333 + 0.316 + 0.384 - 0.107], atol=1e-12)


def test_ik_inverts_fk(arm):
    rng = np.random.default_rng(0)
    for _ in range(20):
        q = HOME + rng.uniform(-0.5, 0.5, 7)
        solution = arm.solve(arm.fk(q), HOME)
        assert solution.position_error < 1e-4 and solution.rotation_error < 1e-3
        np.testing.assert_allclose(arm.fk(solution.q)[:3], arm.fk(q)[:3], atol=1e-4)
        assert (solution.q >= arm.lower).all() and (solution.q <= arm.upper).all()


def test_jacobian_is_the_derivative_of_the_error(arm):
    """Against central differences, at the goal, where the error twist is linear."""
    q, h = HOME + 0.1, 1e-6
    goal = pose_to_se3(arm.fk(q))
    numeric = np.stack([(arm._error(goal, q - h * e) - arm._error(goal, q + h * e)) / (2 * h) for e in np.eye(7)], axis=1)
    arm._wrist(q)
    np.testing.assert_allclose(arm._jacobian(q), numeric, atol=1e-6)


def test_out_of_reach_gives_the_nearest_and_says_how_far(arm):
    pose = arm.fk(HOME)
    pose[:3] = [2.0, 0.0, 0.5]
    solution = arm.solve(pose, HOME)
    assert solution.position_error > 0.5
    assert (solution.q >= arm.lower).all() and (solution.q <= arm.upper).all()


def test_elbow_does_not_wander(arm):
    """Around a closed path and back, the joints are as before: the null space is held."""
    pose, q = arm.fk(HOME), HOME
    for angle in np.linspace(0, 2 * np.pi, 60):
        moved = pose.copy()
        moved[:2] += 0.1 * np.array([np.cos(angle) - 1, np.sin(angle)])
        q = arm.ik(moved, q)
    np.testing.assert_allclose(q, HOME, atol=0.02)


@pytest.mark.parametrize("spoil", [np.nan, np.inf])
def test_refuses_what_is_not_finite(arm, spoil):
    pose = arm.fk(HOME)
    pose[1] = spoil
    with pytest.raises(ActionRefused, match="wrist pose"):
        arm.ik(pose, HOME)


def test_refuses_a_pose_without_orientation(arm):
    with pytest.raises(ActionRefused, match="quaternion"):
        arm.ik(np.r_[0.4, 0.0, 0.3, np.zeros(4)], HOME)


def test_hands_and_gripper_pinch_on_the_flange_axis_in_the_same_orientation():
    names = ("mimic_hand", "faive_hand", "panda_gripper", "so101_gripper")
    mounts = {name: default_mount(load_embodiment(name)) for name in names}
    for T in mounts.values():
        np.testing.assert_allclose((T @ np.r_[PINCH_POINT, 1.0])[:2], 0.0, atol=1e-3)
        np.testing.assert_allclose(T[:3, :3], mounts["panda_gripper"][:3, :3], atol=2e-3)


def test_gripper_is_mounted_as_in_the_urdf():
    gripper = load_embodiment("panda_gripper")
    T_flange_base = default_mount(gripper) @ np.linalg.inv(gripper.T_base_hand)
    np.testing.assert_allclose(T_flange_base[:3, :3], pin.utils.rotate("z", -np.pi / 4), atol=1e-9)
    np.testing.assert_allclose(T_flange_base[:3, 3], 0.0, atol=1e-9)
