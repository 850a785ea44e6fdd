"""Rates and latency percentiles over a sliding window; independent of ROS."""

from __future__ import annotations

from collections import deque


class RateMeter:
    """Events per second over a sliding window.

    Args:
        window: Length of the window [s].
    """

    def __init__(self, window: float = 3.0) -> None:
        self.window = window
        self._times: deque[float] = deque()

    def tick(self, now: float) -> None:
        """Record an event at time ``now`` [s]."""
        self._times.append(now)
        while self._times[0] < now - self.window:
            self._times.popleft()

    def rate(self, now: float) -> float:
        """Events per second in the window that ends at ``now`` [s]; 0 with fewer than two events."""
        times = [t for t in self._times if t >= now - self.window]
        return (len(times) - 1) / (times[-1] - times[0]) if len(times) > 1 and times[-1] > times[0] else 0.0


class Percentiles:
    """Percentiles of the newest values.

    Args:
        size: Number of values kept.
    """

    def __init__(self, size: int = 500) -> None:
        self._values: deque[float] = deque(maxlen=size)

    def add(self, value: float) -> None:
        """Add a value."""
        self._values.append(value)

    def __len__(self) -> int:
        return len(self._values)

    def summary(self) -> dict[str, float]:
        """Values for the keys p50, p95, p99 and max; an empty dictionary without values."""
        if not self._values:
            return {}
        values = sorted(self._values)

        def at(share: float) -> float:
            place = share * (len(values) - 1)
            below = int(place)
            return values[below] + (place - below) * (values[min(below + 1, len(values) - 1)] - values[below])

        return {"p50": at(0.5), "p95": at(0.95), "p99": at(0.99), "max": values[-1]}

    def text_ms(self) -> str:
        """The summary as text in milliseconds, for values in seconds."""
        found = self.summary()
        return ", ".join(f"{name} {1e3 * value:.1f}" for name, value in found.items()) + " ms" if found else "none yet"
