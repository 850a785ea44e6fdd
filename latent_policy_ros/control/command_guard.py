"""Command guard: joint limits, limits of velocity and acceleration, and holding the measured pose."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from latent_policy_ros.control.set_point import SetPoint

HOLD_AFTER = 0.15  # s without a command, after which the measured pose is held
MAX_PERIOD = 0.05  # s: a longer gap between two cycles allows no larger step, so that a late loop does not jump
ROUNDING = 1e-5  # rad or m: a command beyond a limit by less was rounded to float32, and is clamped without a report
MAX_RELATCH = 0.2  # rad or m
RAMP_TIME = 0.2  # s from rest to max_velocity, where no max_acceleration is given
COMMAND_DURATION = 0.03  # s in which a new command is approached: 1.5 periods of commands at 50 Hz, for an even motion
JUMP_CYCLES = 3  # cycles with a measured pose that jumped, after which it is the new pose and no measurement error
NO_COMMAND = "no command yet"

Refusal = Callable[[np.ndarray, np.ndarray], str]


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
    """Filter of joint commands: limits position, velocity and acceleration, and holds the measured pose without a good command.

    Contract, for any commands, measurements and times. t is the time since the previous cycle, at most ``MAX_PERIOD``.

    1. Every set point is finite, and within [min(lower, measured), max(upper, measured)].
    2. A set point differs from the previous one by at most max_velocity x t, and its velocity by at most max_acceleration x t.
       Only a set point that rule 1 no longer allows, because a joint returned into its limits, is first moved to the nearest one
       that it allows.
    3. The first set point is the measured pose, at rest. So is the first one after the measured pose was far beyond the limits, or
       jumped and was confirmed in ``JUMP_CYCLES`` cycles. Nothing is sent in the meantime.
    4. Without a good command for ``hold_after``, the set point comes to rest, and then goes to the pose measured at that time.

    Args:
        names: The n joints.
        lower: (n,) lower limits [rad or m].
        upper: (n,) upper limits [rad or m].
        max_velocity: (n,) maximum speed of the set point [rad/s or m/s].
        hold_after: Time without a good command after which the measured pose is held [s].
        relatch: (n,) or scalar; while holding, a measured pose further than this from the held pose replaces it, e.g. when
            a person moves the robot. A larger change between two cycles is treated as a measurement error: the command is
            dropped and nothing is sent, until ``JUMP_CYCLES`` cycles confirm the new pose. Default: 0.2 rad or m, at most a
            quarter of the joint's range.
        max_lead: (n,) or scalar; distance from the measured pose beyond which the set point does not move away from it
            [rad or m], so that a blocked or unpowered joint does not jump when it is free again. Default: unlimited, because
            a grasping hand needs a set point beyond the contact.
        max_acceleration: (n,) maximum acceleration of the set point [rad/s^2 or m/s^2]; default: ``max_velocity`` is reached
            in ``RAMP_TIME``.
        together: Joints move on straight lines, as of :class:`SetPoint`.

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
        max_acceleration: np.ndarray | None = None,
        together: bool = False,
    ) -> None:
        self.names = tuple(names)
        self.lower, self.upper, self.max_velocity = (
            self._vector(label, value) for label, value in (("lower", lower), ("upper", upper), ("max_velocity", max_velocity))
        )
        acceleration = self.max_velocity / RAMP_TIME if max_acceleration is None else max_acceleration
        self.max_acceleration = self._vector("max_acceleration", acceleration)
        for i, name in enumerate(self.names):
            if not self.lower[i] < self.upper[i]:
                raise ValueError(f"{name}: the lower limit must be below the upper limit, got [{self.lower[i]}, {self.upper[i]}]")
            for label in ("max_velocity", "max_acceleration"):
                if not getattr(self, label)[i] > 0:
                    raise ValueError(f"{name}: {label} must be positive, got {getattr(self, label)[i]}")
        if not hold_after > 0:
            raise ValueError(f"hold_after must be positive, got {hold_after}")
        if not np.all(np.asarray(max_lead) > 0):
            raise ValueError(f"max_lead must be positive, got {max_lead}")
        self.hold_after, self.max_lead, self.together = hold_after, max_lead, together
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
        self._set_point: SetPoint | None = None
        self._held: np.ndarray | None = None
        self._measured: np.ndarray | None = None  # newest plausible measurement
        self._measured_time = 0.0
        self._jumps: list[np.ndarray] = []  # measured poses that agree with each other, but not with the one before
        self._time: float | None = None
        self._reason, self._fault = NO_COMMAND, False

    def hold(self, reason: str, fault: bool = False) -> None:
        """Hold the measured pose from the next cycle on, until a new command comes."""
        self._target, self._reason, self._fault = None, reason, fault

    def hold_last(self, reason: str, now: float) -> GuardedCommand:
        """Run one cycle without a measurement: the position of the robot is unknown, so the set point comes to rest."""
        self.hold(reason)
        return self._brake(self._elapsed(now), reason)

    def filter(
        self, command: np.ndarray | None, measured: np.ndarray, now: float, refusal: Refusal = lambda position, measured: ""
    ) -> GuardedCommand:
        """Run one cycle of the control loop. Does not raise on bad values.

        Args:
            command: (n,) command that came since the last cycle [rad or m]; None if none came.
            measured: (n,) measured position in this cycle [rad or m].
            now: Time of this cycle [s], of a clock that does not jump back.
            refusal: Called as ``refusal(position, measured)`` with the position in which the set point could come to rest;
                returns why it must not go there, or an empty string. The measured pose is then held.

        Returns:
            What to send.
        """
        elapsed = self._elapsed(now)
        measured = np.array(measured, dtype=np.float64)
        if measured.shape != self.lower.shape or not np.all(np.isfinite(measured)):
            return self._brake(elapsed, "measured pose unusable", fault=True)
        if (far := np.maximum(self.lower - measured, measured - self.upper) > 0.5 * (self.upper - self.lower)).any():
            self.reset()
            i = int(far.argmax())
            place = f"{self.names[i]} {measured[i]:.4g}, limits {self.lower[i]:.4g} to {self.upper[i]:.4g}"
            self.hold(f"measured far beyond its limits: {place}; check the driver's units and joint order", fault=True)
            return self._nothing()
        if self._jumped(measured, now):
            self.hold("measured pose jumped", fault=True)
            command, self._held = None, None
            self._jumps = [jump for jump in self._jumps if np.all(np.abs(measured - jump) <= self.relatch)] + [measured]
            if len(self._jumps) < JUMP_CYCLES:
                return self._nothing()
            self._set_point = None
        self._jumps, self._measured, self._measured_time = [], measured, now
        if self._set_point is None:
            self._set_point = SetPoint(measured, self.together)
        if command is not None:
            self._accept(np.asarray(command, dtype=np.float64), now)
        if self._target is not None and now - self._target_time > self.hold_after:
            self.hold(f"no command for {self.hold_after:g} s")
        return self._hold_measured(elapsed) if self._target is None else self._follow(now, elapsed, refusal)

    def _elapsed(self, now: float) -> float:
        elapsed = 0.0 if self._time is None else min(max(0.0, now - self._time), MAX_PERIOD)
        self._time = now
        return elapsed

    def _jumped(self, measured: np.ndarray, now: float) -> bool:
        if self._measured is None:
            return False
        possible = self.relatch + self.max_velocity * max(0.0, now - self._measured_time)
        return bool(np.any(np.abs(measured - self._measured) > possible))

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

    def _nothing(self) -> GuardedCommand:
        return GuardedCommand(None, True, reason=self._reason, fault=self._fault)

    def _brake(self, elapsed: float, reason: str, fault: bool = False) -> GuardedCommand:
        if self._set_point is None:
            return GuardedCommand(None, True, reason=reason, fault=fault)
        self._move(None, 0.0, elapsed)
        return GuardedCommand(self._set_point.position.copy(), True, reason=reason, fault=fault)

    def _hold_measured(self, elapsed: float) -> GuardedCommand:
        """Come to rest, and then go to the pose measured at that time."""
        point, measured = self._set_point, self._measured
        assert point is not None and measured is not None
        if (self._held is None and point.at_rest) or (self._held is not None and self._moved_away(measured)):
            outermost = np.minimum(self.lower, point.position), np.maximum(self.upper, point.position)
            self._held = np.clip(measured, *outermost)  # a joint beyond a limit is not driven further out
        self._move(self._held, 0.0, elapsed)
        return GuardedCommand(point.position.copy(), True, reason=self._reason, fault=self._fault)

    def _moved_away(self, measured: np.ndarray) -> bool:
        return bool(np.any(np.abs(measured - self._held) > self.relatch))

    def _follow(self, now: float, elapsed: float, refusal: Refusal) -> GuardedCommand:
        point, measured = self._set_point, self._measured
        assert point is not None and measured is not None and self._target is not None
        before = point.position.copy(), point.velocity.copy()
        target = np.clip(self._target, measured - self.max_lead, measured + self.max_lead)
        limited = self._move(target, self._target_time + COMMAND_DURATION - now, elapsed)
        if reason := refusal(point.rest(self.max_acceleration), measured):
            point.position, point.velocity = before
            self.hold(reason)
            return self._hold_measured(elapsed)
        self._held = None
        names = tuple(name for name, late in zip(self.names, limited) if late) if limited.any() else ()
        return GuardedCommand(point.position.copy(), False, self._clamped, names)

    def _move(self, target: np.ndarray | None, duration: float, elapsed: float) -> np.ndarray:
        point, measured = self._set_point, self._measured
        assert point is not None and measured is not None
        bounds = np.minimum(self.lower, measured), np.maximum(self.upper, measured)
        return point.step(target, duration, bounds, self.max_velocity, self.max_acceleration, elapsed)

    def _vector(self, label: str, value: np.ndarray) -> np.ndarray:
        array = np.array(value, dtype=np.float64)
        if array.shape != (len(self.names),) or not np.all(np.isfinite(array)):
            raise ValueError(f"{label} must be {len(self.names)} finite numbers, got shape {array.shape}: {array}")
        return array
