"""ClockOffset: whether the clock that stamps measurements agrees with the clock of this machine."""

from __future__ import annotations

import math

PERIOD = 1.0  # s; the offset is that of one to two periods


class ClockOffset:
    """Difference between the clock of this machine and the one that stamps a stream of measurements.

    Measurements are sent at once. Their smallest age at arrival is therefore the difference of the clocks, plus the shortest delay
    of the network. Larger ages are delays.

    Args:
        limit: Largest accepted difference [s].
    """

    def __init__(self, limit: float) -> None:
        self.limit = limit
        self.clear()

    def clear(self) -> None:
        """Forget all measurements."""
        self._began, self._before, self._smallest = -math.inf, math.inf, math.inf

    def add(self, stamp: float, received: float) -> None:
        """Add a measurement with this stamp that was received at this time [s]."""
        if not 0.0 <= received - self._began < PERIOD:
            follows = 0.0 <= received - self._began < 2 * PERIOD
            self._began, self._before, self._smallest = received, self._smallest if follows else math.inf, math.inf
        self._smallest = min(self._smallest, received - stamp)

    @property
    def seconds(self) -> float:
        """Time by which this machine's clock is ahead of the other one [s]; 0 before the first measurement."""
        smallest = min(self._before, self._smallest)
        return 0.0 if math.isinf(smallest) else smallest

    @property
    def text(self) -> str:
        """What is wrong if the difference is above the limit; empty otherwise."""
        offset = self.seconds
        if abs(offset) <= self.limit:
            return ""
        where = f"{offset:.2f} s behind" if offset > 0 else f"{-offset:.2f} s ahead of"
        return f"stamps are {where} this machine's clock, limit {self.limit:g} s; synchronise the clocks"
