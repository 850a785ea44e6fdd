"""Kinematics of an arm that carries an end-effector: wrist pose <-> joints, by pinocchio.

The wrist pose is that of the hand frame H of the mounted embodiment, in the arm's base frame, as (7,) x y z qx qy qz qw [m].
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pinocchio as pin

from latent_policy_ros.common.errors import ActionRefused
from latent_policy_ros.control.arm_description import PANDA, Arm, load_arm
from latent_policy_ros.embodiments import Embodiment

DAMPING = 1e-3  # of the least squares, in units of metres and radians
NULLSPACE_GAIN = 0.1  # fraction of the way home per iteration
MAX_STEP = 0.3  # rad per iteration and joint
TOLERANCE = 1e-5  # m and rad


def pose_to_se3(pose: np.ndarray) -> pin.SE3:
    """(7,) pose -> SE3; ActionRefused when it is not finite or its quaternion is zero."""
    pose = np.asarray(pose, dtype=float)
    if pose.shape != (7,) or not np.isfinite(pose).all() or (norm := np.linalg.norm(pose[3:])) < 1e-6:
        raise ActionRefused(f"wrist pose: expected 7 finite numbers x y z qx qy qz qw with a quaternion, got {pose}")
    return pin.SE3(pin.Quaternion(pose[3:] / norm), pose[:3])


def quaternion(rotation: np.ndarray) -> np.ndarray:
    """(3, 3) rotation -> (4,) qx qy qz qw with qw >= 0."""
    coefficients = pin.Quaternion(np.asarray(rotation)).coeffs()
    return coefficients if coefficients[3] >= 0 else -coefficients


def se3_to_pose(T: pin.SE3) -> np.ndarray:
    """SE3 -> (7,) pose with qw >= 0."""
    return np.concatenate([T.translation, quaternion(T.rotation)])


def towards(start: np.ndarray, goal: np.ndarray, distance: float, angle: float) -> np.ndarray:
    """The pose (7,) on the straight way from one to another that is at most so far [m] and turned so much [rad].

    Raises:
        ActionRefused: One of them is not finite, or has no orientation.
    """
    here, there = pose_to_se3(start), pose_to_se3(goal)
    way, turn = there.translation - here.translation, pin.log3(here.rotation.T @ there.rotation)
    share = max(np.linalg.norm(way) / distance, np.linalg.norm(turn) / angle)
    if share <= 1.0:
        return goal
    return se3_to_pose(pin.SE3(here.rotation @ pin.exp3(turn / share), here.translation + way / share))


@dataclass(frozen=True)
class IkSolution:
    """The joints (n,) nearest to a wrist pose, and what is left of the error [m], [rad]."""

    q: np.ndarray
    position_error: float
    rotation_error: float


class ArmKinematics:
    """Forward and inverse kinematics of the wrist of `embodiment` on an arm.

    Args:
        embodiment: The end-effector.
        arm: The arm; default the Panda.

    Attributes:
        base, joint_names, home, lower, upper, max_velocity: As of the arm.
        T_flange_hand: Pose of the hand frame H in the flange.

    Raises:
        ConfigError: The arm does not say how it carries this end-effector.
    """

    def __init__(self, embodiment: Embodiment, arm: Arm | None = None) -> None:
        arm = arm or load_arm(PANDA)
        self.base, self.joint_names, self.home = arm.base, arm.joint_names, arm.home
        self.lower, self.upper, self.max_velocity = arm.lower, arm.upper, arm.max_velocity
        self.T_flange_hand = arm.mount(embodiment)
        self._model, self._data = arm.model, arm.model.createData()
        self._flange, base = (self._model.getFrameId(link, pin.FrameType.BODY) for link in (arm.flange, arm.base))
        self._T_base_world = self._model.frames[base].placement.inverse()

    def fk(self, q: np.ndarray) -> np.ndarray:
        """Joints (n,) [rad or m] -> wrist pose (7,)."""
        return se3_to_pose(self._wrist(np.asarray(q, float)))

    def ik(self, pose: np.ndarray, q0: np.ndarray) -> np.ndarray:
        """The joints (n,) within limits that come nearest to the wrist `pose` (7,), starting from `q0` (n,).

        Raises:
            ActionRefused: The pose is not finite, or has no orientation.
        """
        return self.solve(pose, q0).q

    def solve(self, pose: np.ndarray, q0: np.ndarray, iterations: int = 30) -> IkSolution:
        """As :meth:`ik`, with the error that is left: more than about 1 mm means that the pose is out of reach.

        Damped least squares on the error twist, with the joints at their limits held there, and a pull of the null
        space (the elbow) to the arm's home, so that the same pose gives the same elbow.
        """
        goal, q = pose_to_se3(pose), np.clip(np.asarray(q0, float), self.lower, self.upper)
        damping = DAMPING**2 * np.eye(6)
        for _ in range(iterations):
            error = self._error(goal, q)
            J = self._jacobian(q)
            step = self._step(J, error, q, damping)
            new = np.clip(q + np.clip(step, -MAX_STEP, MAX_STEP), self.lower, self.upper)
            moved, q = np.abs(new - q).max(), new
            if moved < TOLERANCE:
                break
        error = self._error(goal, q)
        return IkSolution(q, float(np.linalg.norm(error[:3])), float(np.linalg.norm(error[3:])))

    def _step(self, J: np.ndarray, error: np.ndarray, q: np.ndarray, damping: np.ndarray) -> np.ndarray:
        """One damped step; joints that it would push through a limit are locked and the rest solved again."""
        free = np.ones(len(q), bool)
        for _ in range(3):
            Jf = J * free
            gain = np.linalg.solve(Jf @ Jf.T + damping, np.column_stack([error, Jf]))
            pull = free * NULLSPACE_GAIN * (self.home - q)
            step = Jf.T @ gain[:, 0] + pull - Jf.T @ (gain[:, 1:] @ pull)
            blocked = free & (((q <= self.lower) & (step < 0)) | ((q >= self.upper) & (step > 0)))
            if not blocked.any():
                break
            free &= ~blocked
        return step * free

    def _wrist(self, q: np.ndarray) -> pin.SE3:
        pin.forwardKinematics(self._model, self._data, q)
        return self._T_base_world * pin.updateFramePlacement(self._model, self._data, self._flange) * self.T_flange_hand

    def _error(self, goal: pin.SE3, q: np.ndarray) -> np.ndarray:
        """Twist (6,) [m, rad] from the wrist to the goal, in the wrist frame."""
        return pin.log6(self._wrist(q).actInv(goal)).vector

    def _jacobian(self, q: np.ndarray) -> np.ndarray:
        """(6, n) of the wrist twist, in the wrist frame."""
        J = pin.computeFrameJacobian(self._model, self._data, q, self._flange, pin.ReferenceFrame.LOCAL)
        return self.T_flange_hand.toActionMatrixInverse() @ J
