"""What stands between a command and the hardware: limits, rates, and holding the measured pose. Pure code."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

#: A gap between two ticks longer than this [s] does not earn a longer step: a late loop must not jump.
LONGEST_STEP = 0.05
#: A command beyond a limit by less than this [rad or m] is clamped without a word: it was rounded to float32 on its way.
ROUNDING = 1e-5


@dataclass(frozen=True)
class GuardedCommand:
    """What may be sent to the driver at one tick.

    Attributes:
        position: (n,) [rad or m], or None: nothing is known that would be safe, send nothing.
        holding: True when this is the held measured pose, not the command.
        clamped: Joints whose command lay outside their limits.
        limited: Joints that were slowed to their highest speed.
        reason: Why it holds; empty when it follows the command.
    """

    position: np.ndarray | None
    holding: bool
    clamped: tuple[str, ...] = ()
    limited: tuple[str, ...] = ()
    reason: str = ""


class CommandGuard:
    """Clamp to limits, limit the rate, refuse what is not finite, hold the MEASURED pose when commands go stale.

    Args:
        names: The n joints.
        lower: (n,) lower limits [rad or m].
        upper: (n,) upper limits.
        max_velocity: (n,) highest speed of the command [rad/s or m/s].
        hold_after: Seconds without a good command until the measured pose is held.
        relatch: (n,) or scalar; while holding, a measured pose further than this from the held one is held instead
            (someone moved the robot: do not snap back). Default: 0.2, or a quarter of a joint's range if that is less.
            Between two ticks such a move is one that no motor makes, and breaks off the motion in the same way.
        max_lead: (n,) or scalar; how far the command may run ahead of the measured pose [rad or m]: a joint that is blocked,
            or whose motor was cut off, does not catch up with a jump. Default: any distance, as a hand must press to hold.
    """

    def __init__(
        self,
        names: Sequence[str],
        lower: np.ndarray,
        upper: np.ndarray,
        max_velocity: np.ndarray,
        hold_after: float = 0.25,
        relatch: np.ndarray | float | None = None,
        max_lead: np.ndarray | float = np.inf,
    ) -> None:
        self.names = tuple(names)
        self.lower, self.upper, self.max_velocity = (
            self._vector(label, value) for label, value in (("lower", lower), ("upper", upper), ("max_velocity", max_velocity))
        )
        for name, low, high, speed in zip(self.names, self.lower, self.upper, self.max_velocity):
            if not low < high:
                raise ValueError(f"{name}: the lower limit must be below the upper, got [{low}, {high}]")
            if not speed > 0:
                raise ValueError(f"{name}: max_velocity must be positive, got {speed}")
        if not hold_after > 0:
            raise ValueError(f"hold_after must be positive, got {hold_after}")
        if not np.all(np.asarray(max_lead) > 0):
            raise ValueError(f"max_lead must be positive, got {max_lead}")
        self.hold_after, self.max_lead = hold_after, max_lead
        self.relatch = (
            np.minimum(0.2, 0.25 * (self.upper - self.lower))
            if relatch is None
            else self._vector("relatch", np.broadcast_to(np.asarray(relatch, float), (len(self.names),)))
        )
        self.reset()

    def reset(self) -> None:
        """Forget the last command: the next tick holds the measured pose until a command comes."""
        self._target: np.ndarray | None = None  # last good command, clamped
        self._target_time = -np.inf
        self._clamped: tuple[str, ...] = ()
        self._sent: np.ndarray | None = None  # where the command stands: the rate is limited from here
        self._hold: np.ndarray | None = None
        self._measured: np.ndarray | None = None
        self._time: float | None = None
        self._reason = "no command yet"

    def hold(self, reason: str) -> None:
        """Hold the measured pose from the next tick on, until a new command comes."""
        self._target, self._reason = None, reason

    def hold_last(self, reason: str) -> GuardedCommand:
        """One tick without a measurement: nobody knows where the robot is, so what was sent stands."""
        self.hold(reason)
        return self._standing(reason)

    def filter(self, command: np.ndarray | None, measured: np.ndarray, now: float) -> GuardedCommand:
        """One tick of the driver's loop.

        Args:
            command: (n,) newest command if one came since the last tick, else None.
            measured: (n,) measured position at this tick.
            now: Time of this tick [s], of a clock that does not jump back.

        Returns:
            What to send. Never raises on bad values.
        """
        elapsed = 0.0 if self._time is None else min(max(0.0, now - self._time), LONGEST_STEP)
        self._time = now
        measured = np.asarray(measured, dtype=np.float64)
        if measured.shape != self.lower.shape or not np.all(np.isfinite(measured)):
            return self._standing("measured pose unusable")
        if (far := np.maximum(self.lower - measured, measured - self.upper) > 0.5 * (self.upper - self.lower)).any():
            self.reset()
            i = int(far.argmax())
            place = f"{self.names[i]} {measured[i]:.4g}, limits {self.lower[i]:.4g} to {self.upper[i]:.4g}"
            self._reason = f"measured far beyond its limits: {place}; are these the units, and is this the joint?"
            return GuardedCommand(None, True, reason=self._reason)
        previous, self._measured = self._measured, measured.copy()
        if previous is not None and np.any(np.abs(measured - previous) > self.relatch + self.max_velocity * elapsed):
            self.hold("measured pose jumped")
            self._hold = None
            command = None
        if command is not None:
            self._accept(np.asarray(command, dtype=np.float64), now)
        if self._target is not None and now - self._target_time > self.hold_after:
            self.hold(f"no command for {self.hold_after:g} s")
        if self._target is None:
            return self._held(measured)
        return self._follow(measured, elapsed)

    def _accept(self, command: np.ndarray, now: float) -> None:
        if command.shape != self.lower.shape:
            self.hold(f"command has shape {command.shape}, expected {self.lower.shape}")
            return
        finite = np.isfinite(command)
        if not np.all(finite):
            self.hold("command not finite at " + ", ".join(n for n, ok in zip(self.names, finite) if not ok))
            return
        self._target = np.clip(command, self.lower, self.upper)
        outside = np.abs(self._target - command) > ROUNDING
        self._clamped = tuple(name for name, out in zip(self.names, outside) if out) if outside.any() else ()
        self._target_time = now

    def _standing(self, reason: str) -> GuardedCommand:
        return GuardedCommand(None if self._sent is None else self._sent.copy(), True, reason=reason)

    def _held(self, measured: np.ndarray) -> GuardedCommand:
        if self._hold is None or np.any(np.abs(measured - self._hold) > self.relatch):
            self._hold = measured.copy()
        self._sent = self._hold
        return GuardedCommand(self._hold.copy(), True, reason=self._reason)

    def _follow(self, measured: np.ndarray, elapsed: float) -> GuardedCommand:
        start = measured if self._sent is None else self._sent
        step = self._target - start
        largest = self.max_velocity * elapsed
        fast = np.abs(step) > largest + 1e-12
        self._sent = np.clip(start + np.clip(step, -largest, largest), measured - self.max_lead, measured + self.max_lead)
        self._hold = None
        limited = tuple(name for name, late in zip(self.names, fast) if late) if fast.any() else ()
        return GuardedCommand(self._sent.copy(), False, self._clamped, limited)

    def _vector(self, label: str, value: np.ndarray) -> np.ndarray:
        array = np.array(value, dtype=np.float64)
        if array.shape != (len(self.names),) or not np.all(np.isfinite(array)):
            raise ValueError(f"{label} must be {len(self.names)} finite numbers, got shape {array.shape}: {array}")
        return array
