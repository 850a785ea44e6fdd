"""Timing of streams: rate, order and clock of the stamps of one topic, and offsets between the clocks of topics."""

from __future__ import annotations

import heapq
from array import array
from collections.abc import Callable, Collection, Mapping

import numpy as np

from latent_policy_ros.data.issues import IssueReporter

REORDER_WINDOW = 0.5  # [s] by which a message may be late and still be sorted in
CLOCK_STEP = 2.0  # [s]; a message older than the one before it by more than this is a clock that was set back
MAX_CLOCK_OFFSET = 1.0  # [s] between the clock of a topic and the time of receipt
MAX_STAMP_LEAD = 0.02  # [s] by which stamps may be later than receipt
MAX_RELATIVE_DELAY = 0.3  # [s] by which the delay of a topic may exceed that of the fastest topic
MAX_TRANSPORT_DELAY = 0.1  # [s] from stamp to receipt that drivers and network may need on the fastest topic
MISSING = 1.6  # medians: in a longer interval, a message is missing
SHORT_DELAYS = 10  # percentile of the delays that stands for the delay without waiting, e.g. of a busy recorder

Report = Callable[[str, str, float, bool], None]  # kind of issue, text, time [s], fatal


def typical_interval(intervals: np.ndarray) -> float:
    """Mean of the intervals in which no message is missing [s]; 0 without intervals.

    Where a shorter and a longer interval take turns, as of a camera at 20 Hz in a loop at 50 Hz, the median is one of them.
    """
    return float(intervals[intervals <= MISSING * np.median(intervals)].mean()) if len(intervals) else 0.0


class StreamMonitor:
    """Checks the stamps of one topic.

    Args:
        max_gap: Time without messages [s] that is unusual: a clock may have jumped.
        report: Called with every issue.
    """

    def __init__(self, max_gap: float, report: Report) -> None:
        self.max_gap, self._report = max_gap, report
        self.count = 0
        self.first = self.newest = 0.0
        self._least_offset: float | None = None  # shortest delay so far
        self._pending: list[float] = []  # stamps that may still be followed by an earlier one
        self._last: float | None = None  # newest stamp whose order is final
        self._intervals, self._offsets = array("f"), array("f")

    def add(self, stamp: float, received: float) -> bool:
        """Check a message; returns whether it is recent enough to be sorted in."""
        self.count += 1
        offset, least, step = received - stamp, self._least_offset, stamp - self.newest
        self._least_offset = offset if least is None else min(offset, least)
        self._offsets.append(offset)
        if least is None:
            self.first = self.newest = stamp
            if abs(offset) > MAX_CLOCK_OFFSET:
                text = f"stamps are {offset:.1f} s behind the time of receipt; `stamps: receive` ignores stamps"
                self._report("clock", text, stamp, True)
        elif step < -CLOCK_STEP or (step > self.max_gap and least - offset > REORDER_WINDOW):  # stamps advance, receipt does not
            self._report("clock jump", f"stamps jump by {step:+.2f} s; receipt does not", self.newest, True)
            self._pending, self._last, self.newest = [], None, stamp
            return False
        elif step < -REORDER_WINDOW:
            self._report("out of order", f"{-step:.2f} s older than the message before it", self.newest, True)
            return False
        elif step < 0:
            self._report("out of order", f"{-step:.3f} s older than the message before it; sorted in", stamp, False)
        self.newest = max(self.newest, stamp)
        heapq.heappush(self._pending, stamp)
        self._settle(self.newest - REORDER_WINDOW)
        return True

    def finish(self) -> None:
        """Check the remaining stamps at the end of the bag."""
        self._settle(float("inf"))

    @property
    def rate(self) -> float:
        """Messages per second while none is missing; 0 with fewer than two messages."""
        return 1.0 / max(typical_interval(np.array(self._intervals)), 1e-9) if self._intervals else 0.0

    @property
    def mean_rate(self) -> float:
        """Messages per second on average; 0 with fewer than two messages."""
        return (self.count - 1) / (self.newest - self.first) if self.newest > self.first else 0.0

    @property
    def delay(self) -> float:
        """Typical time from stamp to receipt of messages that did not wait [s]; 0 without messages."""
        return float(np.percentile(self._offsets, SHORT_DELAYS)) if self._offsets else 0.0

    def _settle(self, until: float) -> None:
        while self._pending and self._pending[0] <= until:
            stamp = heapq.heappop(self._pending)
            if self._last is not None:
                self._intervals.append(stamp - self._last)
            self._last = stamp


def check_clocks(
    monitors: Mapping[str, StreamMonitor], command_topics: Collection[str], state_limit: float, reporter: IssueReporter
) -> None:
    """Report topics whose stamps differ from the time of receipt, or from those of other topics.

    Args:
        monitors: Monitor of each topic.
        command_topics: Topics that are timed by their receipt; they are not checked.
        state_limit: The limit of measured joints [s].
        reporter: Receives the issues.
    """
    delays = {topic: monitor.delay for topic, monitor in monitors.items() if topic not in command_topics and monitor.count}
    fastest = min(delays, key=lambda topic: abs(delays[topic]), default="")
    for topic, delay in delays.items():
        limit = monitors[topic].max_gap / 2
        if -MAX_CLOCK_OFFSET <= delay < -MAX_STAMP_LEAD:
            text = (
                f"stamps are {-delay:.2f} s later than the time of receipt; check the clocks of its device and of the "
                "recorder; `stamps: receive` ignores stamps"
            )
            reporter.report("clock", topic, None, text, delay < -limit)
        elif delay - delays[fastest] > MAX_RELATIVE_DELAY and delay <= MAX_CLOCK_OFFSET:
            text = (
                f"received {delay:.2f} s after its stamps, {fastest} after {delays[fastest]:.2f} s; check the clock of its device"
            )
            reporter.report("clock", topic, None, text, fatal=False)
    least = delays.get(fastest, 0.0)
    if MAX_TRANSPORT_DELAY < least <= MAX_CLOCK_OFFSET:  # commands are timed by receipt and would lag behind the state
        text = (
            f"received {least:.2f} s after its stamps, all other topics later; check the clock of the robot; "
            "`stamps: receive` ignores stamps"
        )
        reporter.report("clock", fastest, None, text, least - MAX_TRANSPORT_DELAY > state_limit)
