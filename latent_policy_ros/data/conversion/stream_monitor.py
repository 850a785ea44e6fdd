"""One topic's sense of time: rate, holes, late and disordered messages, clocks that jump."""

from __future__ import annotations

import heapq
from array import array
from collections.abc import Callable

import numpy as np

LAG = 0.5  # [s] that a message may be late and still find its place
SET_BACK = 2.0  # [s]; what is older than that is not late: its clock was set back
APART = 1.0  # [s] that the clock of a topic may be off the time of receipt

Report = Callable[[str, str, float, bool], None]  # kind, text, time, fatal


class StreamWatch:
    """Follows the stamps of one topic.

    Args:
        longest: A time without messages that is longer [s] is a hole.
        report: Told of everything that is wrong.
    """

    def __init__(self, longest: float, report: Report) -> None:
        self.longest, self._report = longest, report
        self.count = 0
        self.first = self.newest = 0.0
        self._offset: float | None = None
        self._waiting: list[float] = []  # stamps whose order may still change
        self._last: float | None = None  # the last whose order is settled
        self._intervals, self._offsets = array("f"), array("f")

    def take(self, stamp: float, received: float) -> bool:
        """Follow one message; whether it still finds its place."""
        self.count += 1
        offset, before, step = received - stamp, self._offset, stamp - self.newest
        self._offset = offset
        self._offsets.append(offset)
        if before is None:
            self.first = self.newest = stamp
            if abs(offset) > APART:
                text = f"its stamps are {offset:.1f} s behind the time of receipt; `stamps: receive` ignores them"
                self._report("clock", text, stamp, True)
        elif step < -SET_BACK or (step > self.longest and before - offset > self.longest):  # stamps went on, time did not
            self._report("clock jump", f"stamps jump by {step:+.2f} s while {step + offset - before:.2f} s pass", self.newest, True)
            self._waiting, self._last, self.newest = [], None, stamp
            return False
        elif step < -LAG:
            self._report("out of order", f"{-step:.2f} s older than the message before it", self.newest, True)
            return False
        elif step < 0:
            self._report("out of order", f"{-step:.3f} s older than the message before it; put in its place", stamp, False)
        self.newest = max(self.newest, stamp)
        heapq.heappush(self._waiting, stamp)
        self._settle(self.newest - LAG)
        return True

    def finish(self) -> None:
        """No more messages will come."""
        self._settle(float("inf"))

    @property
    def rate(self) -> float:
        """Messages a second, as a rule: by the median of the times between them; 0 if there are fewer than two."""
        return 1.0 / max(float(np.median(self._intervals)), 1e-9) if self._intervals else 0.0

    @property
    def mean_rate(self) -> float:
        """Messages a second on average, from the first to the newest; 0 if there are fewer than two."""
        return (self.count - 1) / (self.newest - self.first) if self.newest > self.first else 0.0

    @property
    def delay(self) -> float:
        """How long after its stamp a message is received [s], as a rule: the median; 0 without messages."""
        return float(np.median(self._offsets)) if self._offsets else 0.0

    def _settle(self, until: float) -> None:
        while self._waiting and self._waiting[0] <= until:
            stamp = heapq.heappop(self._waiting)
            if self._last is not None:
                self._intervals.append(stamp - self._last)
                if stamp - self._last > self.longest:
                    self._report("hole", f"no message for {stamp - self._last:.2f} s", self._last, True)
            self._last = stamp
