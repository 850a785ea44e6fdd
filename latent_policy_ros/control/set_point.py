"""Motion of a set point: towards a target, with bounded position, velocity and acceleration."""

from __future__ import annotations

import numpy as np

AT_REST = 1e-9  # rad/s or m/s
TINY = 1e-12  # rad or m


class SetPoint:
    """A position (n,) that moves towards targets, and can stop within its bounds after every step.

    A step chooses, for each joint, the largest velocity towards the target from which the joint can still slow down to the
    velocity of the target. Among the velocities that differ from the previous one by at most acceleration x time, it takes the
    nearest to that.

    Args:
        position: (n,) at which it starts, at rest.
        together: All joints arrive and stop at the same time, so that they move on a straight line (arms). Otherwise each joint
            moves as fast as it may (fingers).

    Attributes:
        position: (n,) [rad or m].
        velocity: (n,) of the newest step [rad/s or m/s].
    """

    def __init__(self, position: np.ndarray, together: bool = False) -> None:
        self.position = np.array(position, dtype=np.float64)
        self.velocity = np.zeros_like(self.position)
        self.together = together

    @property
    def at_rest(self) -> bool:
        """Whether no joint moves."""
        return bool((np.abs(self.velocity) <= AT_REST).all())

    def rest(self, max_acceleration: np.ndarray) -> np.ndarray:
        """Position (n,) in which the joints come to rest if they brake from now on."""
        times = np.abs(self.velocity) / max_acceleration
        return self.position + 0.5 * self.velocity * (times.max() if self.together else times)

    def step(
        self,
        target: np.ndarray | None,
        velocity: np.ndarray | float,
        duration: float,
        bounds: tuple[np.ndarray, np.ndarray],
        max_velocity: np.ndarray,
        max_acceleration: np.ndarray,
        max_braking: np.ndarray,
        elapsed: float,
    ) -> np.ndarray:
        """Move by one step.

        Args:
            target: (n,) position to go to; None brakes to rest.
            velocity: (n,) with which to pass the target; 0 to stop there.
            duration: Shortest time in which to reach the target [s].
            bounds: Lowest and highest position (n,). A position beyond them moves to the nearest one at once.
            max_velocity: (n,) [rad/s or m/s].
            max_acceleration: (n,) [rad/s^2 or m/s^2].
            max_braking: (n,) with which to stop at a bound, at least ``max_acceleration`` [rad/s^2 or m/s^2].
            elapsed: Duration of the step [s]; 0 changes nothing but a position beyond the bounds.

        Returns:
            (n,) bool: joints whose velocity was limited to ``max_velocity``.
        """
        low, high = bounds
        inside = clamp(self.position, low, high)
        if (outside := inside != self.position).any():
            self.position, self.velocity = inside, np.where(outside, 0.0, self.velocity)
        limited = np.zeros(len(inside), bool)
        if elapsed <= 0.0:
            return limited
        a, wanted = max_acceleration, np.zeros_like(inside)
        if target is not None:
            duration = max(duration, elapsed)
            way = target - velocity * duration - inside  # what is left for a joint that moves as the target does
            distance = np.maximum(np.abs(way), TINY)
            rate = np.minimum(_approach(distance, a, elapsed) / distance, 1.0 / duration)
            limited = np.abs(velocity + rate * way) > max_velocity + AT_REST
            wanted = self._limited(velocity + way * (rate.min() if self.together else rate), max_velocity)
        step = self.velocity + self._limited(wanted - self.velocity, a * elapsed)
        down, up = _approach(np.array((inside - low, high - inside)), max_braking, elapsed)
        step = clamp(step, -down, up)
        self.position, self.velocity = clamp(inside + step * elapsed, low, high), step
        return limited

    def _limited(self, values: np.ndarray, most: np.ndarray) -> np.ndarray:
        """``values`` (n,) limited to -most .. most: all by the same factor if the joints move together."""
        if self.together:
            return values / max(1.0, float((np.abs(values) / most).max()))
        return clamp(values, -most, most)


def clamp(values: np.ndarray, low: np.ndarray | float, high: np.ndarray | float) -> np.ndarray:
    """``np.clip``, which takes twice as long for the few joints of a robot."""
    return np.minimum(np.maximum(values, low), high)


def _approach(distance: np.ndarray, acceleration: np.ndarray, elapsed: float) -> np.ndarray:
    """Largest velocity v for a step after which the rest of ``distance`` suffices to stop: v t + v^2 / 2a = distance."""
    change = acceleration * elapsed
    return np.sqrt(change * change + 2.0 * acceleration * distance) - change
