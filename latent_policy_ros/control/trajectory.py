"""Joint trajectories: positions that are to be reached at given times."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True)
class Trajectory:
    """Joint positions at times, linear in between and constant beyond the ends.

    Attributes:
        times: (k,) increasing [s], of the clock of the control loop.
        positions: (k, n) [rad or m].
    """

    times: np.ndarray
    positions: np.ndarray

    @property
    def end(self) -> float:
        """Time of the last point [s]."""
        return float(self.times[-1])

    def at(self, time: float) -> tuple[np.ndarray, np.ndarray]:
        """Position (n,) and velocity (n,) at a time [s]."""
        if not self.times[0] <= time < self.times[-1]:
            return self.positions[0 if time < self.times[0] else -1], np.zeros(self.positions.shape[1])
        after = int(self.times.searchsorted(time, side="right"))
        start, stop = self.times[after - 1], self.times[after]
        velocity = (self.positions[after] - self.positions[after - 1]) / (stop - start)
        return self.positions[after - 1] + velocity * (time - start), velocity
