"""Command guard: joint limits, rate limits, and holding the measured pose."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

HOLD_AFTER = 0.2  # s without a command, after which the measured pose is held
MAX_PERIOD = 0.05  # s: a longer gap between two cycles allows no larger step, so that a late loop does not jump
ROUNDING = 1e-5  # rad or m: a command beyond a limit by less was rounded to float32, and is clamped without a report
MAX_RELATCH = 0.2  # rad or m
NO_COMMAND = "no command yet"


@dataclass(frozen=True)
class GuardedCommand:
    """What may be sent to the driver in one cycle.

    Attributes:
        position: Set point (n,) [rad or m]; None if no position is known to be safe, and nothing may be sent.
        holding: Whether a pose is held instead of following the command.
        clamped: Joints whose command was outside their limits.
        limited: Joints whose speed was limited.
        reason: Why a pose is held; empty while following.
        fault: True if the reason is bad input, not a missing command.
    """

    position: np.ndarray | None
    holding: bool
    clamped: tuple[str, ...] = ()
    limited: tuple[str, ...] = ()
    reason: str = ""
    fault: bool = False


class CommandGuard:
    """Filter of joint commands: clamps to limits, limits the rate, and holds the measured pose without a good command.

    Args:
        names: The n joints.
        lower: (n,) lower limits [rad or m].
        upper: (n,) upper limits [rad or m].
        max_velocity: (n,) maximum speed of the set point [rad/s or m/s].
        hold_after: Time without a good command after which the measured pose is held [s].
        relatch: (n,) or scalar; while holding, a measured pose further than this from the held pose replaces it, e.g. when
            a person moves the robot. A larger change between two cycles is treated as a measurement error, and the
            command is dropped. Default: 0.2 rad or m, at most a quarter of the joint's range.
        max_lead: (n,) or scalar; maximum distance of the set point from the measured pose [rad or m], so that a blocked
            or unpowered joint does not jump when it is free again. Default: unlimited, because
            a grasping hand needs a set point beyond the contact.

    Raises:
        ValueError: A setting has the wrong shape, is not finite, or is out of range; the message names it.
    """

    def __init__(
        self,
        names: Sequence[str],
        lower: np.ndarray,
        upper: np.ndarray,
        max_velocity: np.ndarray,
        hold_after: float = HOLD_AFTER,
        relatch: np.ndarray | float | None = None,
        max_lead: np.ndarray | float = np.inf,
    ) -> None:
        self.names = tuple(names)
        self.lower, self.upper, self.max_velocity = (
            self._vector(label, value) for label, value in (("lower", lower), ("upper", upper), ("max_velocity", max_velocity))
        )
        for name, low, high, speed in zip(self.names, self.lower, self.upper, self.max_velocity):
            if not low < high:
                raise ValueError(f"{name}: the lower limit must be below the upper limit, got [{low}, {high}]")
            if not speed > 0:
                raise ValueError(f"{name}: max_velocity must be positive, got {speed}")
        if not hold_after > 0:
            raise ValueError(f"hold_after must be positive, got {hold_after}")
        if not np.all(np.asarray(max_lead) > 0):
            raise ValueError(f"max_lead must be positive, got {max_lead}")
        self.hold_after, self.max_lead = hold_after, max_lead
        self.relatch = (
            np.minimum(MAX_RELATCH, 0.25 * (self.upper - self.lower))
            if relatch is None
            else self._vector("relatch", np.broadcast_to(np.asarray(relatch, float), (len(self.names),)))
        )
        self.reset()

    def reset(self) -> None:
        """Forget all commands and measurements: the next cycle holds the measured pose."""
        self._target: np.ndarray | None = None  # last good command, clamped
        self._target_time = -np.inf
        self._clamped: tuple[str, ...] = ()
        self._sent: np.ndarray | None = None  # last set point; the rate is limited from here
        self._held: np.ndarray | None = None
        self._measured: np.ndarray | None = None
        self._time: float | None = None
        self._reason, self._fault = NO_COMMAND, False

    def hold(self, reason: str, fault: bool = False) -> None:
        """Hold the measured pose from the next cycle on, until a new command comes."""
        self._target, self._reason, self._fault = None, reason, fault

    def hold_last(self, reason: str) -> GuardedCommand:
        """Run one cycle without a measurement: the position of the robot is unknown, so the last set point stays."""
        self.hold(reason)
        return self._last_sent(reason)

    def filter(self, command: np.ndarray | None, measured: np.ndarray, now: float) -> GuardedCommand:
        """Run one cycle of the control loop. Does not raise on bad values.

        Args:
            command: (n,) command that came since the last cycle [rad or m]; None if none came.
            measured: (n,) measured position in this cycle [rad or m].
            now: Time of this cycle [s], of a clock that does not jump back.

        Returns:
            What to send.
        """
        elapsed = 0.0 if self._time is None else min(max(0.0, now - self._time), MAX_PERIOD)
        self._time = now
        measured = np.asarray(measured, dtype=np.float64)
        if measured.shape != self.lower.shape or not np.all(np.isfinite(measured)):
            return self._last_sent("measured pose unusable", fault=True)
        if (far := np.maximum(self.lower - measured, measured - self.upper) > 0.5 * (self.upper - self.lower)).any():
            self.reset()
            i = int(far.argmax())
            place = f"{self.names[i]} {measured[i]:.4g}, limits {self.lower[i]:.4g} to {self.upper[i]:.4g}"
            self.hold(f"measured far beyond its limits: {place}; check the driver's units and joint order", fault=True)
            return GuardedCommand(None, True, reason=self._reason, fault=True)
        previous, self._measured = self._measured, measured.copy()
        if previous is not None and np.any(np.abs(measured - previous) > self.relatch + self.max_velocity * elapsed):
            self.hold("measured pose jumped", fault=True)
            self._held = None
            command = None
        if command is not None:
            self._accept(np.asarray(command, dtype=np.float64), now)
        if self._target is not None and now - self._target_time > self.hold_after:
            self.hold(f"no command for {self.hold_after:g} s")
        if self._target is None:
            return self._hold_measured(measured)
        return self._follow(measured, elapsed)

    def _accept(self, command: np.ndarray, now: float) -> None:
        if command.shape != self.lower.shape:
            self.hold(f"command has shape {command.shape}, expected {self.lower.shape}", fault=True)
            return
        finite = np.isfinite(command)
        if not np.all(finite):
            self.hold("command not finite at " + ", ".join(n for n, ok in zip(self.names, finite) if not ok), fault=True)
            return
        self._target = np.clip(command, self.lower, self.upper)
        outside = np.abs(self._target - command) > ROUNDING
        self._clamped = tuple(name for name, out in zip(self.names, outside) if out) if outside.any() else ()
        self._target_time = now

    def _last_sent(self, reason: str, fault: bool = False) -> GuardedCommand:
        return GuardedCommand(None if self._sent is None else self._sent.copy(), True, reason=reason, fault=fault)

    def _hold_measured(self, measured: np.ndarray) -> GuardedCommand:
        if self._held is None or np.any(np.abs(measured - self._held) > self.relatch):
            self._held = measured.copy()
        self._sent = self._held
        return GuardedCommand(self._held.copy(), True, reason=self._reason, fault=self._fault)

    def _follow(self, measured: np.ndarray, elapsed: float) -> GuardedCommand:
        start = measured if self._sent is None else self._sent
        step = self._target - start
        largest = self.max_velocity * elapsed
        fast = np.abs(step) > largest + 1e-12
        self._sent = np.clip(start + np.clip(step, -largest, largest), measured - self.max_lead, measured + self.max_lead)
        self._held = None
        limited = tuple(name for name, late in zip(self.names, fast) if late) if fast.any() else ()
        return GuardedCommand(self._sent.copy(), False, self._clamped, limited)

    def _vector(self, label: str, value: np.ndarray) -> np.ndarray:
        array = np.array(value, dtype=np.float64)
        if array.shape != (len(self.names),) or not np.all(np.isfinite(array)):
            raise ValueError(f"{label} must be {len(self.names)} finite numbers, got shape {array.shape}: {array}")
        return array
