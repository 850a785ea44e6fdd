"""Big buffers come and go thousands of times while bags are read: the allocator shall keep them."""

from __future__ import annotations

import contextlib
import ctypes

M_TRIM_THRESHOLD, M_MMAP_THRESHOLD = -1, -3  # of glibc's mallopt
KEEP, LARGEST = 256 << 20, 32 << 20  # bytes


def keep_buffers() -> None:
    """Let glibc reuse buffers of images: handing each back to the system, which zeroes the next, took a third of all time."""
    with contextlib.suppress(OSError, AttributeError):  # other C libraries do as they like
        libc = ctypes.CDLL(None)
        libc.mallopt(M_MMAP_THRESHOLD, LARGEST)
        libc.mallopt(M_TRIM_THRESHOLD, KEEP)
