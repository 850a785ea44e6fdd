"""SharedRecord: numbers in shared memory that one process writes and others read, without waiting for each other."""

from __future__ import annotations

import zlib
from typing import Any

import numpy as np

ATTEMPTS = 3  # to read a record while it is being written


class SharedRecord:
    """``count`` float64 in shared memory, with a checksum that tells whether they belong together.

    Args:
        memory: Shared memory, e.g. an ``mmap``; zeros at first.
        place: Where the record begins [bytes].
        count: Number of values.
    """

    def __init__(self, memory: Any, place: int, count: int) -> None:
        self._checksum = np.frombuffer(memory, np.uint64, 1, place)
        self._values = np.frombuffer(memory, np.float64, count, place + self._checksum.nbytes)

    @staticmethod
    def size(count: int) -> int:
        """Size of a record [bytes]."""
        return 8 + 8 * count

    def write(self, values: np.ndarray) -> None:
        """Replace the values (count,)."""
        self._values[:] = values
        self._checksum[0] = zlib.crc32(values.tobytes()) + 1  # never 0, the checksum of a record that was not written yet

    def read(self) -> np.ndarray | None:
        """A copy of the values (count,); None before the first ones, and while others are being written."""
        for _ in range(ATTEMPTS):
            checksum, values = int(self._checksum[0]), self._values.copy()
            if zlib.crc32(values.tobytes()) + 1 == checksum:
                return values
        return None
