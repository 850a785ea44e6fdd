"""Command guard: joint limits, limits of velocity and acceleration, and holding the measured pose."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from latent_policy_ros.control.set_point import SetPoint, clamp
from latent_policy_ros.control.trajectory import Trajectory
from latent_policy_ros.embodiments.model.schema import RAMP_TIME, Embodiment

HOLD_AFTER = 0.15  # s without a command, after which the measured pose is held
MAX_PERIOD = 0.05  # s: a longer gap between two cycles allows no larger step, so that a late loop does not jump
ROUNDING = 1e-5  # rad or m: a command beyond a limit by less was rounded to float32, and is clamped without a report
MAX_RELATCH = 0.2  # rad or m
COMMAND_DURATION = 0.03  # s, the shortest in which a command is approached: 1.5 periods of commands at 50 Hz, for an even motion
ROUNDED = 1e-6  # s by which the times of messages are rounded
BRAKING = 2.0  # acceleration while holding, as a multiple of that while following: a stop is short, motion is even
SETTLED = 0.01  # share of max_velocity below which a measured joint counts as at rest
SETTLING_TIME = 0.5  # s of holding after which a joint is held where it is measured, at rest or not
SETTLING_CYCLES = 5  # cycles over which the velocity of the measured joints is determined
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
    2. A set point differs from the previous one by at most max_velocity x t, and its velocity by at most max_acceleration x t
       while following, and ``BRAKING`` times as much while holding, or to stop at a limit. Only a set point that rule 1 no longer
       allows, because a joint returned into its limits, is first moved to the nearest one that it allows.
    3. The first set point is the measured pose, at rest. So is the first one after the measured pose was far beyond the limits, or
       jumped and was confirmed in ``JUMP_CYCLES`` cycles. Nothing is sent in the meantime.
    4. Without a good command for ``hold_after``, counted from the last point of a trajectory, the set point of each joint goes to
       where the joint is measured, and stays at the place where it is measured at rest, or ``SETTLING_TIME`` later.

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
        self._leads = bool(np.isfinite(max_lead).any())
        self._braking, half = BRAKING * self.max_acceleration, 0.5 * (self.upper - self.lower)
        self._farthest = self.lower - half, self.upper + half  # a measured joint beyond is in other units, or another joint
        self.relatch = (
            np.minimum(MAX_RELATCH, 0.25 * (self.upper - self.lower))
            if relatch is None
            else self._vector("relatch", np.broadcast_to(np.asarray(relatch, float), (len(self.names),)))
        )
        self.reset()

    @classmethod
    def of(cls, embodiment: Embodiment, hold_after: float = HOLD_AFTER) -> CommandGuard:
        """The guard of an end-effector's joints."""
        e = embodiment
        return cls(e.joint_names, e.lower, e.upper, e.max_velocity, hold_after, max_acceleration=e.max_acceleration)

    @property
    def at_rest(self) -> bool:
        """Whether a pose is held and each joint has settled there, or nothing may be sent."""
        point = self._set_point
        return point is None or (self._path is None and point.at_rest and not self._direction.any())

    def reset(self) -> None:
        """Forget all commands and measurements: the next cycle holds the measured pose."""
        self._path: Trajectory | None = None  # last good command, clamped
        self._received, self._expiry = -np.inf, -np.inf
        self._clamped: tuple[str, ...] = ()
        self._set_point: SetPoint | None = None
        self._held: np.ndarray | None = None
        self._holding_since = -np.inf
        self._direction = np.zeros(len(self.names))  # of each joint that still moves since a hold began; 0: settled
        self._recent: deque[tuple[float, np.ndarray]] = deque(maxlen=SETTLING_CYCLES)  # times and measured poses while holding
        self._measured: np.ndarray | None = None  # newest plausible measurement
        self._measured_time = 0.0
        self._bounds = self.lower, self.upper  # of the set point, which include the measured pose
        self._jumps: list[np.ndarray] = []  # measured poses that agree with each other, but not with the one before
        self._time: float | None = None
        self._reason, self._fault = NO_COMMAND, False

    def hold(self, reason: str, fault: bool = False) -> None:
        """Hold the measured pose from the next cycle on, until a new command comes."""
        self._path, self._reason, self._fault = None, reason, fault

    def hold_last(self, reason: str, now: float) -> GuardedCommand:
        """Run one cycle without a measurement: the position of the robot is unknown, so the set point comes to rest."""
        self.hold(reason)
        return self._brake(self._elapsed(now), reason)

    def filter(
        self,
        command: np.ndarray | None,
        measured: np.ndarray,
        now: float,
        refusal: Refusal | None = None,
        reach_in: float | np.ndarray = 0.0,
    ) -> GuardedCommand:
        """Run one cycle of the control loop. Does not raise on bad values.

        Args:
            command: (n,) position, or (k, n) points of a trajectory, that came since the last cycle [rad or m]; None if none
                came.
            measured: (n,) measured position in this cycle [rad or m].
            now: Time of this cycle [s], of a clock that does not jump back.
            refusal: Called as ``refusal(position, measured)`` with the position in which the set point could come to rest;
                returns why it must not go there, or an empty string. The measured pose is then held.
            reach_in: Time from ``now`` in which to reach the position, or (k,) each point of the trajectory, increasing [s]. The
                last one is not reached before ``COMMAND_DURATION``. The set point moves on straight lines between points.

        Returns:
            What to send.
        """
        elapsed = self._elapsed(now)
        measured = np.array(measured, dtype=np.float64)
        inside = measured.shape == self.lower.shape and bool(((measured >= self.lower) & (measured <= self.upper)).all())
        if not inside and (measured.shape != self.lower.shape or not np.isfinite(measured).all()):
            return self._brake(elapsed, "measured pose unusable", fault=True)
        if not inside and (far := (measured < self._farthest[0]) | (measured > self._farthest[1])).any():
            self.reset()
            i = int(far.argmax())
            place = f"{self.names[i]} {measured[i]:.4g}, limits {self.lower[i]:.4g} to {self.upper[i]:.4g}"
            self.hold(f"measured far beyond its limits: {place}; check the driver's units and joint order", fault=True)
            return self._nothing()
        if self._jumped(measured, now):
            self.hold("measured pose jumped", fault=True)
            command, self._held = None, None
            self._recent.clear()
            self._jumps = [jump for jump in self._jumps if np.all(np.abs(measured - jump) <= self.relatch)] + [measured]
            if len(self._jumps) < JUMP_CYCLES:
                return self._nothing()
            self._set_point = None
        self._jumps, self._measured, self._measured_time = [], measured, now
        self._bounds = self.lower, self.upper
        if not inside:
            self._bounds = np.minimum(self.lower, measured), np.maximum(self.upper, measured)
        if self._set_point is None:
            self._set_point = SetPoint(measured, self.together)
        if command is not None:
            self._accept(np.asarray(command, dtype=np.float64), np.asarray(reach_in, dtype=np.float64), now)
        if self._path is not None and now - self._received > self._expiry:
            self.hold(f"no command for {self.hold_after:g} s")
        return self._hold_measured(now, elapsed) if self._path is None else self._follow(now, elapsed, refusal)

    def _elapsed(self, now: float) -> float:
        elapsed = 0.0 if self._time is None else min(max(0.0, now - self._time), MAX_PERIOD)
        self._time = now
        return elapsed

    def _jumped(self, measured: np.ndarray, now: float) -> bool:
        if self._measured is None:
            return False
        far = np.abs(measured - self._measured) - self.relatch
        return bool((far > 0.0).any() and (far > self.max_velocity * max(0.0, now - self._measured_time)).any())

    def _accept(self, command: np.ndarray, reach_in: np.ndarray, now: float) -> None:
        expected = (*reach_in.shape, *self.lower.shape)
        if command.shape != expected or command.ndim > 2 or not command.size:
            self.hold(f"command has shape {command.shape}, expected {expected}", fault=True)
            return
        points, times = command.reshape(-1, len(self.names)), now + reach_in.reshape(-1)
        if not np.isfinite(points).all():
            finite = np.isfinite(points).all(axis=0)
            self.hold("command not finite at " + ", ".join(n for n, ok in zip(self.names, finite) if not ok), fault=True)
            return
        if not np.isfinite(times).all() or (times[1:] <= times[:-1]).any():
            self.hold("times of the command's points are not increasing", fault=True)
            return
        assert self._set_point is not None
        inside, self._clamped = clamp(points, self.lower, self.upper), ()
        if (inside != points).any():
            outside = (np.abs(inside - points) > ROUNDING).any(axis=0)
            self._clamped = tuple(name for name, out in zip(self.names, outside) if out)
        times[-1] = max(times[-1], now + COMMAND_DURATION)
        if times[0] > now:
            times, inside = np.concatenate(([now], times)), np.concatenate((self._set_point.position[None], inside))
        self._path, self._received = Trajectory(times, inside), now
        self._expiry = self.hold_after + max(0.0, float(reach_in.max()) - COMMAND_DURATION)

    def _nothing(self) -> GuardedCommand:
        return GuardedCommand(None, True, reason=self._reason, fault=self._fault)

    def _brake(self, elapsed: float, reason: str, fault: bool = False) -> GuardedCommand:
        if self._set_point is None:
            return GuardedCommand(None, True, reason=reason, fault=fault)
        self._move(None, 0.0, 0.0, elapsed)
        return GuardedCommand(self._set_point.position.copy(), True, reason=reason, fault=fault)

    def _hold_measured(self, now: float, elapsed: float) -> GuardedCommand:
        """Go to each measured joint until it is at rest, and then to where it was measured at that time.

        A robot follows its set point with a delay: the way back to the measured pose is what stops it soonest.
        """
        point, measured = self._set_point, self._measured
        assert point is not None and measured is not None
        outermost = np.minimum(self.lower, point.position), np.maximum(self.upper, point.position)
        inside = np.clip(measured, *outermost)  # a joint beyond a limit is not driven further out
        if not self._recent:
            self._direction, self._holding_since = np.sign(point.velocity), now
        self._recent.append((now, measured))
        if self._held is None or (not self._direction.any() and self._moved_away(measured)):
            self._held = inside
        self._held = np.where(self._direction != 0.0, inside, self._held)
        self._direction[self._settled(now)] = 0.0
        self._move(self._held, 0.0, 0.0, elapsed)
        return GuardedCommand(point.position.copy(), True, reason=self._reason, fault=self._fault)

    def _settled(self, now: float) -> np.ndarray:
        """(n,) bool: joints that no longer move in the direction in which they moved when the hold began."""
        if now - self._holding_since >= SETTLING_TIME:
            return np.ones(len(self.names), bool)
        (then, before), (_, measured) = self._recent[0], self._recent[-1]
        known = len(self._recent) == SETTLING_CYCLES
        return known & (self._direction * (measured - before) <= SETTLED * self.max_velocity * (now - then))

    def _moved_away(self, measured: np.ndarray) -> bool:
        return bool((np.abs(measured - self._held) > self.relatch).any())

    def _follow(self, now: float, elapsed: float, refusal: Refusal | None) -> GuardedCommand:
        point, measured = self._set_point, self._measured
        assert point is not None and measured is not None and self._path is not None
        before = point.position, point.velocity
        left = self._path.end - now
        ahead = left if left <= COMMAND_DURATION + ROUNDED else COMMAND_DURATION
        position, velocity = self._path.at(np.inf if ahead == left else now + ahead)
        if self._leads:
            target = clamp(position, measured - self.max_lead, measured + self.max_lead)
            position, velocity = target, np.where(target == position, velocity, 0.0)
        limited = self._move(position, velocity, ahead, elapsed, following=True)
        if refusal is not None and (reason := refusal(point.rest(self.max_acceleration), measured)):
            point.position, point.velocity = before
            self.hold(reason)
            return self._hold_measured(now, elapsed)
        self._held = None
        self._recent.clear()
        names = tuple(name for name, late in zip(self.names, limited) if late) if limited.any() else ()
        return GuardedCommand(point.position.copy(), False, self._clamped, names)

    def _move(
        self, target: np.ndarray | None, velocity: np.ndarray | float, duration: float, elapsed: float, following: bool = False
    ) -> np.ndarray:
        point = self._set_point
        assert point is not None
        acceleration = self.max_acceleration if following else self._braking
        return point.step(target, velocity, duration, self._bounds, self.max_velocity, acceleration, self._braking, elapsed)

    def _vector(self, label: str, value: np.ndarray) -> np.ndarray:
        array = np.array(value, dtype=np.float64)
        if array.shape != (len(self.names),) or not np.all(np.isfinite(array)):
            raise ValueError(f"{label} must be {len(self.names)} finite numbers, got shape {array.shape}: {array}")
        return array
