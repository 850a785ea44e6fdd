"""Stream: a short history of stamped values with lookup by time."""

from __future__ import annotations

from bisect import bisect_left, bisect_right, insort
from collections.abc import Iterator
from typing import Generic, TypeVar

T = TypeVar("T")

CLOCK_RESET = 1.0  # [s]; a stamp older than the newest by more than this is a clock that was set back, or a bag that restarted


class Stream(Generic[T]):
    """Stamped values of the last ``keep`` seconds, sorted by stamp.

    Args:
        keep: Duration of the history before the newest stamp [s].
    """

    def __init__(self, keep: float) -> None:
        self.keep = keep
        self._stamps: list[float] = []
        self._values: dict[float, T] = {}

    def push(self, stamp: float, value: T) -> None:
        """Add a value. Late values are sorted in; a clock that was set back clears the history first."""
        if self._stamps and stamp < self._stamps[-1] - CLOCK_RESET:
            self.clear()
        if stamp in self._values:
            self._values[stamp] = value
            return
        if not self._stamps or stamp > self._stamps[-1]:
            self._stamps.append(stamp)
        else:
            insort(self._stamps, stamp)
        self._values[stamp] = value
        while len(self._stamps) > 1 and self._stamps[1] < self._stamps[-1] - self.keep:  # keep what is in force at the limit
            del self._values[self._stamps.pop(0)]

    def clear(self) -> None:
        """Remove all values."""
        self._stamps.clear()
        self._values.clear()

    def __len__(self) -> int:
        return len(self._stamps)

    def __iter__(self) -> Iterator[tuple[float, T]]:
        return ((stamp, self._values[stamp]) for stamp in self._stamps)

    @property
    def newest(self) -> float | None:
        """Stamp of the newest value; None if the stream is empty."""
        return self._stamps[-1] if self._stamps else None

    @property
    def newest_value(self) -> T | None:
        """The newest value; None if the stream is empty."""
        return self._values[self._stamps[-1]] if self._stamps else None

    def nearest(self, stamp: float, slack: float = 0.0) -> tuple[float, T] | None:
        """Stamp and value nearest to ``stamp``; None if the stream is empty. ``slack`` is not used."""
        if not self._stamps:
            return None
        k = bisect_left(self._stamps, stamp)
        around = self._stamps[max(0, k - 1) : k + 1]
        best = min(around, key=lambda s: abs(s - stamp))
        return best, self._values[best]

    def held(self, stamp: float) -> tuple[float, T] | None:
        """Stamp and value in force at ``stamp``: the newest that is not newer; None if there is none."""
        k = bisect_right(self._stamps, stamp)
        return (self._stamps[k - 1], self._values[self._stamps[k - 1]]) if k else None

    def following(self, stamp: float) -> tuple[float, T] | None:
        """The oldest stamp and value that are newer than ``stamp``; None if there are none."""
        k = bisect_right(self._stamps, stamp)
        return (self._stamps[k], self._values[self._stamps[k]]) if k < len(self._stamps) else None

    def forget_before(self, stamp: float) -> None:
        """Remove values that are no longer in force at ``stamp``."""
        while len(self._stamps) > 1 and self._stamps[1] <= stamp:
            del self._values[self._stamps.pop(0)]

    def forget_after(self, stamp: float) -> None:
        """Remove values newer than ``stamp``, e.g. the rest of a replaced trajectory."""
        while self._stamps and self._stamps[-1] > stamp:
            del self._values[self._stamps.pop()]
