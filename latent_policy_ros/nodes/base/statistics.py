"""Rates and latencies of a running node, over a sliding window. Knows nothing of ROS."""

from __future__ import annotations

from collections import deque

import numpy as np


class RateMeter:
    """Events per second over the last ``window`` seconds."""

    def __init__(self, window: float = 3.0) -> None:
        self.window = window
        self._times: deque[float] = deque()

    def tick(self, now: float) -> None:
        """Note an event at ``now`` [s]."""
        self._times.append(now)
        while self._times[0] < now - self.window:
            self._times.popleft()

    def rate(self, now: float) -> float:
        """Events per second, as of ``now`` [s]; 0 before the second event."""
        times = [t for t in self._times if t >= now - self.window]
        return (len(times) - 1) / (times[-1] - times[0]) if len(times) > 1 and times[-1] > times[0] else 0.0


class Percentiles:
    """Percentiles of the last ``size`` values."""

    def __init__(self, size: int = 500) -> None:
        self._values: deque[float] = deque(maxlen=size)

    def add(self, value: float) -> None:
        self._values.append(value)

    def __len__(self) -> int:
        return len(self._values)

    def summary(self) -> dict[str, float]:
        """p50, p95, p99 and max; empty while there are no values."""
        if not self._values:
            return {}
        p50, p95, p99, top = np.percentile(np.array(self._values), [50, 95, 99, 100])
        return {"p50": float(p50), "p95": float(p95), "p99": float(p99), "max": float(top)}

    def text_ms(self) -> str:
        """The summary of values in seconds, as text in milliseconds."""
        found = self.summary()
        return ", ".join(f"{name} {1e3 * value:.1f}" for name, value in found.items()) + " ms" if found else "none yet"
