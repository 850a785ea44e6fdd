"""CpuMeter: CPU time of one kind of work."""

from __future__ import annotations

import time
from typing import Any


class CpuMeter:
    """CPU time of one kind of work: that of the calling thread in all ``with`` blocks of the meter.

    Attributes:
        seconds: CPU time so far [s].
    """

    def __init__(self) -> None:
        self.seconds, self._began = 0.0, 0.0

    def __enter__(self) -> None:
        self._began = time.thread_time()

    def __exit__(self, *_: Any) -> None:
        self.seconds += time.thread_time() - self._began
