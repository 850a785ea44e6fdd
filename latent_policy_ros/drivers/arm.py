"""Kinematics of the Panda arm that carries an end-effector: wrist pose <-> seven joint angles, by pinocchio.

The arm is the Panda URDF of PyPI's ``example-robot-data``. The wrist pose is that of the hand frame H of the mounted
embodiment, in the arm's base frame, as (7,) x y z qx qy qz qw [m].
"""

from __future__ import annotations

import os
import sys
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

import numpy as np
import pinocchio as pin

from latent_policy_ros.embodiments import Embodiment, HandKinematics
from latent_policy_ros.errors import ActionRefused, HardwareError

JOINT_NAMES = tuple(f"panda_joint{i}" for i in range(1, 8))
HOME = np.array([0.0, -0.3, 0.0, -2.2, 0.0, 2.0, 0.785])
"""Elbow up, flange down [rad]; also where the null space of the inverse kinematics pulls to."""
PINCH_POINT = np.array([0.075, 0.008, 0.125])  # where a person's thumb meets the fingers, in the hand frame [m]
PINCH_AXIS = np.array([-0.371, 0.0, 0.928])  # and the direction from thumb to fingers
BRACKET_DEPTH = 0.167  # m along the flange's axis to that point, for a hand: leaves room for a bracket behind the palm
DAMPING = 1e-3  # of the least squares, in units of metres and radians
NULLSPACE_GAIN = 0.1  # fraction of the way home per iteration
MAX_STEP = 0.3  # rad per iteration and joint
TOLERANCE = 1e-5  # m and rad


def robots_folder() -> Path:
    """The ``robots`` folder of example-robot-data.

    Raises:
        HardwareError: It is not installed; the message says how to install it.
    """
    prefixes = [Path(p) / "cmeel.prefix" for p in sys.path] + [Path(sys.prefix)]
    prefixes += [Path(p) for p in os.environ.get("AMENT_PREFIX_PATH", "").split(os.pathsep) if p]
    for prefix in prefixes:
        folder = prefix / "share" / "example-robot-data" / "robots"
        if (folder / "panda_description").is_dir():
            return folder
    raise HardwareError("the Panda's URDF was not found; install it: pip install example-robot-data")


@lru_cache(maxsize=1)
def _panda() -> pin.Model:
    model = pin.buildModelFromUrdf(str(robots_folder() / "panda_description" / "urdf" / "panda.urdf"))
    fingers = [model.getJointId(n) for n in ("panda_finger_joint1", "panda_finger_joint2")]
    return pin.buildReducedModel(model, fingers, pin.neutral(model))


def default_mount(embodiment: Embodiment) -> np.ndarray:
    """(4, 4) pose of the hand frame H in the flange (panda_link8), as this package's robots are built.

    A gripper sits as the Panda's own does (its URDF: turned by -45 degrees about the flange's axis). A hand, or a gripper
    whose jaws are not along z of its base, sits on a bracket so that thumb and fingers meet on the flange's axis and along
    the Panda's jaws: held the same way, a hand and a gripper then grasp from the same wrist pose.
    """
    tool = pin.SE3(pin.utils.rotate("z", -np.pi / 4), np.zeros(3))
    if embodiment.kind == "gripper" and _jaws_ahead(embodiment):
        return (tool * pin.SE3(embodiment.T_base_hand)).homogeneous
    x, y = np.array([0.0, 1.0, 0.0]), PINCH_AXIS / np.linalg.norm(PINCH_AXIS)
    rotation = np.array([x, y, np.cross(x, y)])
    return (tool * pin.SE3(rotation, np.array([0.0, 0.0, BRACKET_DEPTH]) - rotation @ PINCH_POINT)).homogeneous


def _jaws_ahead(gripper: Embodiment) -> bool:
    tips = HandKinematics(gripper).fingertips(gripper.rest[None])[0]
    return bool((gripper.T_base_hand @ [*tips.mean(axis=0), 1.0])[2] > 0)


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


@dataclass(frozen=True)
class IkSolution:
    """The joints (7,) nearest to a wrist pose, and what is left of the error [m], [rad]."""

    q: np.ndarray
    position_error: float
    rotation_error: float


class ArmKinematics:
    """Forward and inverse kinematics of the wrist of `embodiment` on the arm.

    Args:
        embodiment: The end-effector.
        T_flange_hand: (4, 4) pose of the hand frame H in the flange (panda_link8); by default :func:`default_mount`.

    Attributes:
        joint_names: The 7 joints, in the order of every `q` here.
        lower, upper: Limits (7,) [rad]. max_velocity: (7,) [rad/s].
    """

    joint_names = JOINT_NAMES

    def __init__(self, embodiment: Embodiment, T_flange_hand: np.ndarray | None = None) -> None:
        self.model = _panda()
        self.data = self.model.createData()
        self.frame = self.model.getFrameId("panda_link8")
        mount = default_mount(embodiment) if T_flange_hand is None else T_flange_hand
        self.T_flange_hand = pin.SE3(np.asarray(mount, float))
        self.lower, self.upper = self.model.lowerPositionLimit.copy(), self.model.upperPositionLimit.copy()
        self.max_velocity = self.model.velocityLimit.copy()
        self.home = HOME.copy()

    def fk(self, q: np.ndarray) -> np.ndarray:
        """Joint angles (7,) [rad] -> wrist pose (7,)."""
        return se3_to_pose(self._wrist(np.asarray(q, float)))

    def ik(self, pose: np.ndarray, q0: np.ndarray) -> np.ndarray:
        """The joints (7,) [rad] within limits that come nearest to the wrist `pose` (7,), starting from `q0` (7,).

        Raises:
            ActionRefused: The pose is not finite, or has no orientation.
        """
        return self.solve(pose, q0).q

    def solve(self, pose: np.ndarray, q0: np.ndarray, iterations: int = 30) -> IkSolution:
        """As :meth:`ik`, with the error that is left: more than about 1 mm means that the pose is out of reach.

        Damped least squares on the error twist, with the joints at their limits held there, and a pull of the null
        space (the elbow) to :data:`HOME`, so that the same pose gives the same elbow.
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
        free = np.ones(7, bool)
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
        pin.forwardKinematics(self.model, self.data, q)
        return pin.updateFramePlacement(self.model, self.data, self.frame) * self.T_flange_hand

    def _error(self, goal: pin.SE3, q: np.ndarray) -> np.ndarray:
        """Twist (6,) [m, rad] from the wrist to the goal, in the wrist frame."""
        return pin.log6(self._wrist(q).actInv(goal)).vector

    def _jacobian(self, q: np.ndarray) -> np.ndarray:
        """(6, 7) of the wrist twist, in the wrist frame."""
        J = pin.computeFrameJacobian(self.model, self.data, q, self.frame, pin.ReferenceFrame.LOCAL)
        return self.T_flange_hand.toActionMatrixInverse() @ J
