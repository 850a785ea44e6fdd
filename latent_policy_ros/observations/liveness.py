"""Liveness of a stream of messages: whether it continues after it was once received."""

from __future__ import annotations

from collections import deque
from statistics import median

PERIODS = 3.0  # periods of a slow stream that may pass without a message
INTERVALS = 5  # newest intervals, of which the median is the period


class Liveness:
    """Notes the arrivals of a stream.

    Args:
        timeout: Shortest time without a message after which the stream counts as ended [s]; ``PERIODS`` periods of a slower one.
    """

    def __init__(self, timeout: float) -> None:
        self.timeout = timeout
        self._arrivals: deque[float] = deque(maxlen=INTERVALS + 1)

    def receive(self, now: float) -> None:
        """Note a message that arrives at ``now`` [s], of a steady clock."""
        self._arrivals.append(now)

    def silence(self, now: float) -> float:
        """Time since the last message [s] if the stream has ended; 0 while it continues, and before its first message."""
        if not self._arrivals or now - self._arrivals[-1] <= self.timeout:
            return 0.0
        arrivals = list(self._arrivals)
        period = median(after - before for before, after in zip(arrivals, arrivals[1:])) if len(arrivals) > 1 else 0.0
        silent = now - arrivals[-1]
        return silent if silent > PERIODS * period else 0.0
