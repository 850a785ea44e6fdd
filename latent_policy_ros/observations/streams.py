"""Alignment of streams by their stamps: the newest values of one stream, and the one nearest to a time."""

from __future__ import annotations

from bisect import bisect_left, bisect_right, insort
from collections.abc import Iterator
from typing import Generic, TypeVar

T = TypeVar("T")

#: A stamp this much older than the newest [s] is not a late message but a clock that was set back (or a bag that began anew).
CLOCK_RESET = 1.0


class Stream(Generic[T]):
    """Values with stamps, kept in the order of stamps for ``keep`` seconds.

    Args:
        keep: Seconds of history.
    """

    def __init__(self, keep: float) -> None:
        self.keep = keep
        self._stamps: list[float] = []
        self._values: dict[float, T] = {}

    def push(self, stamp: float, value: T) -> None:
        """Add a value; late ones are put in their place, and a clock set back starts the history anew."""
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
        while self._stamps[0] < self._stamps[-1] - self.keep:
            del self._values[self._stamps.pop(0)]

    def clear(self) -> None:
        self._stamps.clear()
        self._values.clear()

    def __len__(self) -> int:
        return len(self._stamps)

    def __iter__(self) -> Iterator[tuple[float, T]]:
        return ((stamp, self._values[stamp]) for stamp in self._stamps)

    @property
    def newest(self) -> float | None:
        """Stamp of the newest value, None while there is none."""
        return self._stamps[-1] if self._stamps else None

    def nearest(self, stamp: float) -> tuple[float, T] | None:
        """The value whose stamp is nearest to ``stamp``, with its stamp."""
        if not self._stamps:
            return None
        k = bisect_left(self._stamps, stamp)
        around = self._stamps[max(0, k - 1) : k + 1]
        best = min(around, key=lambda s: abs(s - stamp))
        return best, self._values[best]

    def held(self, stamp: float) -> tuple[float, T] | None:
        """The newest value that is not newer than ``stamp``, with its stamp: what is in force at that time."""
        k = bisect_right(self._stamps, stamp)
        return (self._stamps[k - 1], self._values[self._stamps[k - 1]]) if k else None

    def forget_before(self, stamp: float) -> None:
        """Drop what was no longer in force at ``stamp``."""
        while len(self._stamps) > 1 and self._stamps[1] <= stamp:
            del self._values[self._stamps.pop(0)]

    def forget_after(self, stamp: float) -> None:
        """Drop what is newer than ``stamp``: a plan that another one replaced."""
        while self._stamps and self._stamps[-1] > stamp:
            del self._values[self._stamps.pop()]
