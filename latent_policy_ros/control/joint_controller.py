"""Joint controller: from joint commands and measurements to guarded set points, without ROS and without hardware."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from latent_policy_ros.common.errors import ActionRefused
from latent_policy_ros.control.command_guard import NO_COMMAND, CommandGuard, GuardedCommand

CONTROL_RATE = 100.0  # Hz, of the control loop of a driver node
STATE_RATE = 50.0  # Hz, of the measurements that it publishes: policies and recordings read them at 10 to 30 Hz
COMMAND_RATE = 50.0  # Hz, of a decoder's commands
COMMAND_LEAD = 1.5  # periods of its commands in which each is to be reached, so that a late one does not stop the motion
MAX_COMMAND_AGE = 2.0  # s
MAX_POINTS = 1000  # of a trajectory
MEASUREMENT_TIMEOUT = 0.3  # s without a new measurement stamp, after which the hardware counts as unresponsive

Report = Callable[[str, str], None]


class JointController:
    """Controller of one driver's joints.

    Driver nodes and the evaluation in simulation run the same two calls: :meth:`set_command` whenever a command arrives,
    and :meth:`cycle` at ``CONTROL_RATE`` with the newest measurement. Every time is an argument.

    Args:
        guard: Limits, rates and holding of these joints.
        max_command_age: Commands whose age is larger than this, or smaller than its negative, are refused [s].
        report: Called as ``report(event, detail)`` for each event that should not happen, e.g. a clamped command.

    Attributes:
        names: The n joints, in the order of every array.
        measured: Newest measured position (n,) [rad or m]; None before the first cycle.
        output: Result of the newest cycle.
    """

    def __init__(
        self, guard: CommandGuard, max_command_age: float = MAX_COMMAND_AGE, report: Report = lambda event, detail: None
    ) -> None:
        self.guard, self.names, self.max_command_age, self.report = guard, guard.names, max_command_age, report
        self.reset(0.0)

    @property
    def holding(self) -> bool:
        """Whether the newest cycle held a pose instead of following a command."""
        return self.output.holding

    def reset(self, now: float) -> None:
        """Forget all commands and measurements at ``now`` [s]: the next cycle holds the measured pose."""
        self.guard.reset()
        self.measured: np.ndarray | None = None
        self.output = GuardedCommand(None, True, reason=NO_COMMAND)
        self._command: tuple[np.ndarray, np.ndarray] | None = None  # points, and the time in which to reach each
        self._stamp: float | None = None
        self._stamp_changed = now

    def set_command(
        self,
        names: Sequence[str],
        position: Sequence[float] | Sequence[Sequence[float]] | np.ndarray | None,
        age: float = 0.0,
        reach_in: float | Sequence[float] = 0.0,
    ) -> bool:
        """Follow a joint command from the next cycle on.

        Args:
            names: Joints of the command, in any order.
            position: (n,) [rad or m] in the order of ``names``, or (k, n) points of a trajectory; None commands to hold the
                measured pose.
            age: Time since the observation that the command answers [s]; 0 if it is unknown.
            reach_in: Time from now in which to reach the position, or (k,) each point of the trajectory [s].

        Returns:
            False before the first cycle: the command is ignored.

        Raises:
            ActionRefused: The command is too old or from the future, which changes nothing; or its joints are not the
                controller's, which also holds the measured pose.
        """
        if self.measured is None:
            return False
        self._check_age(age)
        if position is None:
            self.hold("commanded to hold")
            return True
        try:
            self._command = self._sorted(list(names), position, reach_in)
        except ActionRefused:
            self.hold("command unusable", fault=True)
            raise
        return True

    def hold(self, reason: str, fault: bool = False) -> None:
        """Drop the pending command and hold the measured pose until a new command comes.

        Args:
            reason: Shown in diagnostics.
            fault: Whether bad input is the cause; it is then reported.
        """
        self._command = None
        self.guard.hold(reason, fault)

    def cycle(self, measured: np.ndarray, stamp: float, now: float) -> GuardedCommand:
        """Run one cycle of the control loop.

        Args:
            measured: (n,) measured position [rad or m].
            stamp: Time of that measurement [s], of any clock; only its changes count.
            now: Time of this cycle [s], of a steady clock.

        Returns:
            The set point to write, or None in ``position`` where no position is safe.
        """
        self.measured = measured = np.asarray(measured, dtype=np.float64)
        if stamp != self._stamp:
            self._stamp, self._stamp_changed = stamp, now
        command, self._command = self._command, None
        guarded = self._guarded(command, measured, now)
        if guarded.clamped and command is not None:
            self.report("clamped to limits", ", ".join(guarded.clamped))
        if guarded.fault and guarded.reason != self.output.reason:
            self.report("held", guarded.reason)
        self.output = guarded
        return guarded

    @property
    def restricted(self) -> bool:
        """Whether :meth:`workspace_violation` may refuse a position."""
        return False

    def workspace_violation(self, position: np.ndarray, measured: np.ndarray) -> str:
        """Reason why the set point must not come to rest at ``position`` (n,), coming from ``measured`` (n,); empty if it may."""
        return ""

    def _check_age(self, age: float) -> None:
        if abs(age) > self.max_command_age:
            when = f"{abs(age):.3f} s {'ago' if age > 0 else 'in the future'}"
            raise ActionRefused(
                f"command stamp: {when}, expected at most {self.max_command_age:g} s from this clock; "
                "check the publisher's clock, and that no bag is played on this topic"
            )

    def _sorted(self, names: list[str], position: Any, reach_in: float | Sequence[float]) -> tuple[np.ndarray, np.ndarray]:
        """Points in the order of the controller's joints, and their times."""
        in_order = tuple(names) == self.names
        if not in_order and sorted(names) != sorted(self.names):
            missing = [name for name in self.names if name not in names]
            unknown = [name for name in names if name not in self.names]
            repeated = sorted({name for name in names if names.count(name) > 1})
            raise ActionRefused(
                f"command: expected the joints {', '.join(self.names)}; missing: {', '.join(missing) or '-'}; "
                f"unknown: {', '.join(unknown) or '-'}; repeated: {', '.join(repeated) or '-'}"
            )
        times = np.asarray(reach_in, dtype=np.float64)
        points = position if times.ndim else [position]
        if wrong := [len(point) for point in points if len(point) != len(names)]:
            raise ActionRefused(f"command: got {len(names)} joint names but {wrong[0]} positions")
        if len(points) > MAX_POINTS:
            raise ActionRefused(f"command: got {len(points)} points, expected at most {MAX_POINTS}")
        if times.size > 1 and (np.diff(times) <= 0).any():
            late = int(np.argmax(np.diff(times) <= 0))
            raise ActionRefused(f"command: time_from_start of point {late + 1} is not larger than that of point {late}")
        ordered = np.array(points, dtype=np.float64)
        if not in_order:
            ordered = ordered[:, [names.index(name) for name in self.names]]
        return (ordered if times.ndim else ordered[0]), times

    def _guarded(self, command: tuple[np.ndarray, np.ndarray] | None, measured: np.ndarray, now: float) -> GuardedCommand:
        if (unchanged := now - self._stamp_changed) > MEASUREMENT_TIMEOUT:
            self.report("measurement frozen", f"no new measurement for {unchanged:.1f} s")
            return self.guard.hold_last(f"no new measurement for {MEASUREMENT_TIMEOUT:g} s", now)
        points, reach_in = command or (None, 0.0)
        return self.guard.filter(points, measured, now, self._refusal if self.restricted else None, reach_in)

    def _refusal(self, position: np.ndarray, measured: np.ndarray) -> str:
        violation = self.workspace_violation(position, measured)
        if violation:
            self.report("held", violation)
        return violation
