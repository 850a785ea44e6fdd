"""Forward and inverse kinematics of an arm with an end-effector, on pinocchio.

A wrist pose (7,) is the pose of the end-effector's hand frame H in the arm's base frame: x y z [m], qx qy qz qw.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import pinocchio as pin

from latent_policy_ros.common.errors import ActionRefused
from latent_policy_ros.control.arm_description import PANDA, Arm, load_arm
from latent_policy_ros.control.set_point import clamp
from latent_policy_ros.embodiments import Embodiment

DAMPING = 1e-3  # m or rad, of the damped least squares
NULLSPACE_GAIN = 0.8  # share of the joints' distance from home per iteration; with less, the same result takes more iterations
MAX_STEP = 0.3  # rad or m, per iteration and joint
_DAMPING = DAMPING**2 * np.eye(6)
MIN_STEP = 1e-5  # rad or m: a smaller step of every joint ends the iteration


def pose_to_se3(pose: np.ndarray) -> pin.SE3:
    """Convert a pose (7,) to SE3.

    Raises:
        ActionRefused: The pose has another shape, is not finite, or its quaternion is zero.
    """
    pose = np.asarray(pose, dtype=float)
    if pose.shape != (7,) or not np.isfinite(pose).all() or (norm := math.sqrt(pose[3:] @ pose[3:])) < 1e-6:
        raise ActionRefused(f"wrist pose: expected 7 finite numbers x y z qx qy qz qw and a non-zero quaternion, got {pose}")
    return pin.SE3(pin.Quaternion(pose[3:] / norm), pose[:3])


def quaternion_from_rotation(rotation: np.ndarray) -> np.ndarray:
    """Convert a rotation matrix (3, 3) to a quaternion (4,): qx qy qz qw, qw >= 0."""
    coefficients = pin.Quaternion(np.asarray(rotation)).coeffs()
    return coefficients if coefficients[3] >= 0 else -coefficients


def se3_to_pose(T: pin.SE3) -> np.ndarray:
    """Convert SE3 to a pose (7,) with qw >= 0."""
    return np.concatenate([T.translation, quaternion_from_rotation(T.rotation)])


def towards(start: np.ndarray, goal: np.ndarray, distance: float, angle: float) -> np.ndarray:
    """Pose (7,) on the straight line from ``start`` to ``goal``, limited in its distance from ``start``.

    Args:
        start, goal: Poses (7,).
        distance: Maximum distance from ``start`` [m].
        angle: Maximum rotation from ``start`` [rad].

    Raises:
        ActionRefused: A pose is not finite, or its quaternion is zero.
    """
    if len(start) == len(goal) == 7:  # the usual case first, as this runs for every command
        away, p, q = goal[:3] - start[:3], start[3:], goal[3:]
        if away @ away <= distance**2 and abs(p @ q) >= math.cos(angle / 2) * math.sqrt((p @ p) * (q @ q)) > 0.0:
            return goal
    T_start, T_goal = pose_to_se3(start), pose_to_se3(goal)
    shift, rotation = T_goal.translation - T_start.translation, pin.log3(T_start.rotation.T @ T_goal.rotation)
    ratio = max(np.linalg.norm(shift) / distance, np.linalg.norm(rotation) / angle)
    if ratio <= 1.0:
        return goal
    return se3_to_pose(pin.SE3(T_start.rotation @ pin.exp3(rotation / ratio), T_start.translation + shift / ratio))


@dataclass(frozen=True)
class IkSolution:
    """Result of inverse kinematics.

    Attributes:
        q: Joints (n,) [rad or m].
        position_error, rotation_error: Remaining distance of the wrist from its goal [m], [rad].
    """

    q: np.ndarray
    position_error: float
    rotation_error: float


class ArmKinematics:
    """Forward and inverse kinematics of an arm's wrist.

    Args:
        embodiment: The mounted end-effector.
        arm: The arm; default the Panda.

    Attributes:
        base, joint_names, slides, home, lower, upper, max_velocity, max_acceleration: As of :class:`Arm`.
        T_flange_hand: Pose of the hand frame H in the flange.

    Raises:
        ConfigError: The arm's file has mounts, but none for this end-effector.
    """

    def __init__(self, embodiment: Embodiment, arm: Arm | None = None) -> None:
        arm = arm or load_arm(PANDA)
        self.base, self.joint_names, self.slides, self.home = arm.base, arm.joint_names, arm.slides, arm.home
        self.lower, self.upper = arm.lower, arm.upper
        self.max_velocity, self.max_acceleration = arm.max_velocity, arm.max_acceleration
        self.T_flange_hand = arm.mount(embodiment)
        self._model, self._data = arm.model, arm.model.createData()
        self._flange, base = (self._model.getFrameId(link, pin.FrameType.BODY) for link in (arm.flange, arm.base))
        self._T_world_base = self._model.frames[base].placement
        self._T_base_world = self._T_world_base.inverse()
        self._flange_to_hand = self.T_flange_hand.toActionMatrixInverse()

    def fk(self, q: np.ndarray) -> np.ndarray:
        """Compute the wrist pose (7,) at joints ``q`` (n,) [rad or m]."""
        return se3_to_pose(self._wrist(np.asarray(q, float)))

    def flange_pose(self, q: np.ndarray) -> np.ndarray:
        """Pose (7,) of the flange in the base frame for joints ``q`` (n,)."""
        return se3_to_pose(self._wrist(q) * self.T_flange_hand.inverse())

    def ik(self, pose: np.ndarray, q0: np.ndarray) -> np.ndarray:
        """Compute joints (n,) within limits whose wrist is nearest to ``pose`` (7,), starting from ``q0`` (n,).

        Raises:
            ActionRefused: The pose is not finite, or its quaternion is zero.
        """
        return self.solve(pose, q0).q

    def solve(self, pose: np.ndarray, q0: np.ndarray, iterations: int = 30, tolerance: float = 0.0) -> IkSolution:
        """As :meth:`ik`, with the remaining error; with 30 iterations, more than 1 mm means that ``pose`` is out of reach.

        Damped least squares on the error twist. Joints at their limits are locked, and the null space (the elbow) moves
        towards the arm's home, so that the same pose gives the same elbow. The iteration ends when no joint moves by
        ``MIN_STEP``, or when the error twist [m, rad] is shorter than ``tolerance``, while the elbow may still move.
        """
        goal, q = self._T_world_base * pose_to_se3(pose), clamp(np.asarray(q0, float), self.lower, self.upper)
        J, error = self._linearised(goal, q)
        for _ in range(iterations):
            step = clamp(self._step(J, error, q), -MAX_STEP, MAX_STEP)
            before, q = q, clamp(q + step, self.lower, self.upper)
            J, error = self._linearised(goal, q)
            if error @ error < tolerance * tolerance or np.abs(q - before).max() < MIN_STEP:
                break
        return IkSolution(q, math.sqrt(error[:3] @ error[:3]), math.sqrt(error[3:] @ error[3:]))

    def _linearised(self, goal: pin.SE3, q: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Jacobian (6, n) of the wrist twist, and the twist to ``goal`` in the world (6,) [m, rad], both in the wrist frame."""
        pin.computeJointJacobians(self._model, self._data, q)
        pin.updateFramePlacement(self._model, self._data, self._flange)
        J = pin.getFrameJacobian(self._model, self._data, self._flange, pin.ReferenceFrame.LOCAL)
        return self._flange_to_hand @ J, self._error(goal)

    def _error(self, goal: pin.SE3) -> np.ndarray:
        """Twist (6,) [m, rad] to ``goal`` in the world, in the wrist frame; for the joints whose frames were computed last."""
        return pin.log6(self.T_flange_hand.actInv(self._data.oMf[self._flange].actInv(goal))).vector

    def _step(self, J: np.ndarray, error: np.ndarray, q: np.ndarray) -> np.ndarray:
        """One damped step (n,); joints that it would move beyond a limit are locked, and the others solved again."""
        pull = NULLSPACE_GAIN * (self.home - q)
        low, high = q <= self.lower, q >= self.upper
        at_limit = (low | high).any()
        for _ in range(3):
            step = J.T @ np.linalg.solve(J @ J.T + _DAMPING, error - J @ pull) + pull
            if not at_limit:
                break
            blocked = (low & (step < 0.0)) | (high & (step > 0.0))
            if not blocked.any():
                break
            J, pull = J * ~blocked, pull * ~blocked
        return step

    def _place_flange(self, q: np.ndarray) -> pin.SE3:
        """Compute the pose of the flange in the world."""
        pin.forwardKinematics(self._model, self._data, q)
        return pin.updateFramePlacement(self._model, self._data, self._flange)

    def _wrist(self, q: np.ndarray) -> pin.SE3:
        return self._T_base_world * self._place_flange(q) * self.T_flange_hand
