"""Motion of a set point: towards a reference, with bounded position, velocity and acceleration."""

from __future__ import annotations

import numpy as np

AT_REST = 1e-9  # rad/s or m/s


class SetPoint:
    """A position (n,) that moves towards references, and can stop within its bounds after every step.

    A step chooses, for each joint, the largest velocity towards the reference from which the joint can still stop there. Among
    the velocities that differ from the previous one by at most acceleration x time, it takes the nearest to that.

    Attributes:
        position: (n,) [rad or m].
        velocity: (n,) of the newest step [rad/s or m/s].
    """

    def __init__(self, position: np.ndarray) -> None:
        self.position = np.array(position, dtype=np.float64)
        self.velocity = np.zeros_like(self.position)

    @property
    def at_rest(self) -> bool:
        """Whether no joint moves."""
        return bool(np.all(np.abs(self.velocity) <= AT_REST))

    def step(
        self,
        reference: np.ndarray | None,
        reference_velocity: np.ndarray | float,
        bounds: tuple[np.ndarray, np.ndarray],
        max_velocity: np.ndarray,
        max_acceleration: np.ndarray,
        elapsed: float,
    ) -> np.ndarray:
        """Move by one step.

        Args:
            reference: (n,) position to go to; None brakes to rest.
            reference_velocity: (n,) velocity with which the reference moves [rad/s or m/s].
            bounds: Lowest and highest position (n,). A position beyond them moves to the nearest one at once.
            max_velocity: (n,) [rad/s or m/s].
            max_acceleration: (n,) [rad/s^2 or m/s^2].
            elapsed: Duration of the step [s]; 0 changes nothing but a position beyond the bounds.

        Returns:
            (n,) bool: joints whose velocity was limited to ``max_velocity``.
        """
        low, high = bounds
        inside = np.clip(self.position, low, high)
        self.velocity[inside != self.position] = 0.0
        self.position = inside
        limited = np.zeros(len(inside), bool)
        if elapsed <= 0.0:
            return limited
        a, wanted = max_acceleration, np.zeros_like(inside)
        if reference is not None:
            error = reference - inside
            wanted = reference_velocity + np.sign(error) * _approach(np.abs(error), a, elapsed)
            limited = np.abs(wanted) > max_velocity + AT_REST
            wanted = np.clip(wanted, -max_velocity, max_velocity)
        velocity = np.clip(wanted, self.velocity - a * elapsed, self.velocity + a * elapsed)
        velocity = np.clip(velocity, -_approach(inside - low, a, elapsed), _approach(high - inside, a, elapsed))
        self.position, self.velocity = np.clip(inside + velocity * elapsed, low, high), velocity
        return limited


def _approach(distance: np.ndarray, acceleration: np.ndarray, elapsed: float) -> np.ndarray:
    """Largest velocity v for a step after which the rest of ``distance`` suffices to stop: v t + v^2 / 2a = distance."""
    return np.sqrt((acceleration * elapsed) ** 2 + 2.0 * acceleration * distance) - acceleration * elapsed
