"""Arrivals of regular observations, and the moment in the near future at which those of all robots are youngest."""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Sequence
from itertools import pairwise
from statistics import median

from latent_policy_ros.observations.clock_offset import ClockOffset

STAMPS = 9  # of which the interval is determined
OVERDUE = 0.005  # s that an observation may be late before it is taken for lost
RETRY = 0.001  # s until an observation that is due is looked for again
GAIN = 0.005  # s by which observations must become younger on average to be waited for


class Arrivals:
    """When observations of one robot arrive.

    The time of an arrival is the stamp of the observation plus the smallest delay of late, because observations may wait in a queue
    before they are seen.
    """

    def __init__(self) -> None:
        self.clear()

    def clear(self) -> None:
        """Forget all observations."""
        self._stamps: deque[float] = deque(maxlen=STAMPS)
        self._delay = ClockOffset(math.inf)

    def add(self, stamp: float, now: float) -> None:
        """Note that ``stamp`` [s] is that of the newest observation at ``now`` [s]."""
        if self._stamps and stamp < self._stamps[-1]:
            self.clear()
        if not self._stamps or stamp > self._stamps[-1]:
            self._stamps.append(stamp)
            self._delay.add(stamp, now)

    @property
    def newest(self) -> float:
        """When the newest observation arrived [s]; minus infinity before the first."""
        return self._stamps[-1] + self._delay.seconds if self._stamps else -math.inf

    def next_after(self, now: float) -> float:
        """When the next observation will arrive, or be looked for again [s]; infinity: unknown, or it is lost."""
        if len(self._stamps) < STAMPS:
            return math.inf
        expected = self.newest + median(later - earlier for earlier, later in pairwise(self._stamps))
        return math.inf if expected < now - OVERDUE else max(expected, now + RETRY)


def best_moment(robots: Sequence[Arrivals], now: float, limit: float) -> float:
    """The time from ``now`` to ``now + limit`` [s] at which the newest observations of the robots are youngest on average.

    A robot of which nothing is known does not count. Waiting for less than :data:`GAIN` is not worth it.
    """
    known = [(robot.newest, due) for robot in robots if math.isfinite(due := robot.next_after(now))]

    def age(moment: float) -> float:
        return sum(moment - (due if due <= moment else newest) for newest, due in known)

    best = min((due for _, due in known if due <= now + limit), key=age, default=now)
    return best if age(now) - age(best) > GAIN * len(known) else now
