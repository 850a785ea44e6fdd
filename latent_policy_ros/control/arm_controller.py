"""Arm controller: from wrist pose commands to guarded joint set points, within a workspace."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from latent_policy_ros.common.errors import ActionRefused, LatentPolicyError
from latent_policy_ros.control.arm_kinematics import ArmKinematics, IkSolution, towards
from latent_policy_ros.control.command_guard import HOLD_AFTER, CommandGuard, GuardedCommand
from latent_policy_ros.control.joint_controller import MAX_COMMAND_AGE, JointController, Report

MAX_REACH = 2.0  # m, each axis: a wrist further from the base is a mistake, not a pose to approach
ANYWHERE = (-MAX_REACH, MAX_REACH) * 3  # bounds of a workspace that is not restricted
IK_ITERATIONS, IK_TOLERANCE = 5, 1e-4  # of a command, and m or rad: the next one continues from its solution
OUT_OF_REACH = 0.02, 0.1  # m, rad: a larger error of inverse kinematics is reported
CLIP_TOLERANCE = 1e-4  # m: a command outside the workspace by less is clipped without a report
OVERSHOOT = 0.01  # m, by which the wrist may leave the workspace between two commands inside it
APPROACH = 0.15, 0.5  # m, rad: a command further from the measured wrist is approached on a straight line
MAX_LEAD = 0.05, 0.3  # m, rad: largest distance of set point and measured joint, for slides and for hinges


@dataclass(frozen=True)
class Workspace:
    """Box that contains the wrist, in the arm's base frame.

    Attributes:
        bounds: Lowest and highest x, y and z [m]: ``(x0, x1, y0, y1, z0, z1)``.

    Raises:
        LatentPolicyError: There are not six bounds, or a lowest one is not below its highest.
    """

    bounds: tuple[float, ...] = ANYWHERE

    def __post_init__(self) -> None:
        if len(self.bounds) != 6 or not all(low < high for low, high in zip(self.bounds[::2], self.bounds[1::2])):
            raise LatentPolicyError(f"workspace: expected lowest and highest x, y, z [m], got {list(self.bounds)}")

    def clip(self, position: np.ndarray) -> np.ndarray:
        """The point of the workspace nearest to ``position`` (3,) [m]."""
        return np.clip(position, self.bounds[::2], self.bounds[1::2])

    def distance(self, position: np.ndarray) -> float:
        """Distance from ``position`` (3,) to the workspace [m]; 0 inside it."""
        return float(np.linalg.norm(position - self.clip(position)))


class ArmController(JointController):
    """Joint controller that also takes wrist poses, and keeps the wrist in a workspace.

    A wrist command is clipped to the workspace, approached on a straight line when it is far, and solved by inverse
    kinematics from the last solution (from the measured joints while the arm is held).

    Args:
        kinematics: Kinematics of the arm with its end-effector.
        base_frame: Accepted ``frame`` of wrist commands, besides the empty one; default the arm's base link.
        workspace: Bounds of the wrist, also for joint commands.
        hold_after: Time without a command after which the measured pose is held [s].
        max_command_age, report: As of :class:`JointController`.
    """

    def __init__(
        self,
        kinematics: ArmKinematics,
        base_frame: str = "",
        workspace: Workspace | None = None,
        hold_after: float = HOLD_AFTER,
        max_command_age: float = MAX_COMMAND_AGE,
        report: Report = lambda event, detail: None,
    ) -> None:
        self.kinematics, self.base_frame = kinematics, base_frame or kinematics.base
        self.workspace = workspace or Workspace()
        k, max_lead = kinematics, np.where(kinematics.slides, *MAX_LEAD)
        guard = CommandGuard(
            k.joint_names, k.lower, k.upper, k.max_velocity, hold_after, max_lead=max_lead,
            max_acceleration=k.max_acceleration, together=True,
        )  # fmt: skip
        super().__init__(guard, max_command_age, report)

    def reset(self, now: float) -> None:
        super().reset(now)
        self._solution: np.ndarray | None = None
        self._wrist: np.ndarray | None = None

    def cycle(self, measured: np.ndarray, stamp: float, now: float) -> GuardedCommand:
        self._wrist = None
        return super().cycle(measured, stamp, now)

    @property
    def wrist_pose(self) -> np.ndarray:
        """The wrist pose (7,) at the joints that the newest cycle measured, computed once in a cycle."""
        if self._wrist is None:
            assert self.measured is not None
            self._wrist = self.kinematics.fk(self.measured)
        return self._wrist

    def set_command(self, names: Sequence[str], position: Any, age: float = 0.0, reach_in: float | Sequence[float] = 0.0) -> bool:
        accepted = super().set_command(names, position, age, reach_in)
        if accepted:
            self._solution = None  # the joints go elsewhere: the next wrist command starts from where they are measured
        return accepted

    def set_wrist_command(self, pose: np.ndarray, frame: str = "", age: float = 0.0) -> bool:
        """Follow a wrist command from the next cycle on.

        Args:
            pose: Pose (7,) of the hand frame: x y z [m], qx qy qz qw.
            frame: Frame of ``pose``; empty for the base frame.
            age: Time since the observation that the command answers [s]; 0 if it is unknown.

        Returns:
            False before the first cycle: the command is ignored.

        Raises:
            ActionRefused: The command is too old or from the future, which changes nothing; or its frame or pose is
                unusable, which also holds the measured pose.
        """
        if self.measured is None:
            return False
        self._check_age(age)
        try:
            solution = self._solve(pose, frame, self.measured)
        except Exception:
            self.hold("wrist command unusable", fault=True)
            raise
        if solution.position_error > OUT_OF_REACH[0] or solution.rotation_error > OUT_OF_REACH[1]:
            error = f"{1e3 * solution.position_error:.0f} mm, {np.degrees(solution.rotation_error):.0f} degrees"
            self.report("wrist command out of reach", f"by {error}")
        self._solution = solution.q
        self._command = solution.q, np.zeros(())
        return True

    @property
    def restricted(self) -> bool:
        return self.workspace.bounds != ANYWHERE

    def workspace_violation(self, position: np.ndarray, measured: np.ndarray) -> str:
        """Refuse joints that move the wrist out of the workspace; those that bring it nearer are allowed."""
        outside = self._distance(position)
        if outside <= OVERSHOOT or outside <= self._distance(measured):
            return ""
        return f"the wrist would leave the workspace by {1e3 * outside:.0f} mm"

    def _distance(self, q: np.ndarray) -> float:
        return self.workspace.distance(self.kinematics.fk(q)[:3])

    def _solve(self, pose: np.ndarray, frame: str, measured: np.ndarray) -> IkSolution:
        if frame not in ("", self.base_frame):
            raise ActionRefused(f"wrist command: frame_id: expected {self.base_frame}, got {frame}")
        pose = np.asarray(pose, dtype=np.float64)
        if (far := np.abs(pose[:3]).max()) > MAX_REACH:
            raise ActionRefused(f"wrist command: {far:.3g} m from the arm's base, expected at most {MAX_REACH:g} m on each axis")
        inside = self.workspace.clip(pose[:3])
        if (outside := np.abs(inside - pose[:3]).max()) > CLIP_TOLERANCE:
            self.report("wrist command outside the workspace", f"by {1e3 * outside:.0f} mm")
        goal = towards(self.wrist_pose, np.concatenate([inside, pose[3:]]), *APPROACH)
        start = measured if self.holding or self._solution is None else self._solution
        return self.kinematics.solve(goal, start, IK_ITERATIONS, IK_TOLERANCE)
