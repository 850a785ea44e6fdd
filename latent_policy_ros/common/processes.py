"""Child processes: end with their parent, report that they are ready, abort when they hang."""

from __future__ import annotations

import ctypes
import faulthandler
import os
import signal
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from types import FrameType

PR_SET_PDEATHSIG = 1  # option of prctl on Linux: signal sent to a process when its parent dies
HANG_TIMEOUT = 30.0  # longest time between two cycles of a loop [s]; beyond it the process counts as hanging
READY = "LATENT_POLICY_READY"  # environment variable: file that a child process creates when it is ready
PARENT = os.getppid()  # the process that started this one; read early, before it may have ended
_LIBC = ctypes.CDLL(None) if sys.platform == "linux" else None


def die_with_parent() -> None:
    """In a child process: request SIGTERM when the parent dies, however it dies. Linux only; elsewhere no effect."""
    if _LIBC:
        _LIBC.prctl(PR_SET_PDEATHSIG, signal.SIGTERM)


@contextmanager
def lasting_interrupt() -> Iterator[Callable[[], None]]:
    """Yield a function that raises KeyboardInterrupt if Ctrl-C was pressed before, although nothing came of it.

    Python ignores a KeyboardInterrupt that is raised in a destructor or in the callback of a weak reference.
    """
    pressed: list[int] = []
    before = signal.getsignal(signal.SIGINT)

    def handle(number: int, frame: FrameType | None) -> None:
        pressed.append(number)
        if callable(before):
            before(number, frame)

    def check() -> None:
        if pressed:
            raise KeyboardInterrupt

    if before != signal.SIG_IGN:
        signal.signal(signal.SIGINT, handle)
    try:
        yield check
    finally:
        signal.signal(signal.SIGINT, before)


def watch_parent() -> Callable[[], bool]:
    """A function that returns whether the process that started this one is still its parent.

    Unlike the signal of :func:`die_with_parent`, it does not depend on the thread of the parent that started this process.
    """
    parent = PARENT
    return lambda: os.getppid() == parent


def report_ready() -> bool:
    """In a child process: report to the parent that start-up is complete. Returns False if the parent did not ask for it."""
    file = os.environ.get(READY)
    if file:
        with suppress(OSError):  # the parent has ended, and will stop this process
            Path(file).touch()
    return bool(file)


class Watchdog:
    """Aborts this process when it hangs, with the stacks of its threads on stderr, so that its supervisor restarts it.

    The timer is a C thread (faulthandler): a middleware call that never returns may hold Python's global lock.

    Attributes:
        timeout: Longest time between two cycles of a loop [s]; 0 disables the watchdog.
    """

    PERIOD = 1.0  # shortest time between two settings of the timer [s]

    def __init__(self) -> None:
        self.timeout, self._due = 0.0, 0.0

    def feed(self) -> None:
        """Restart the timer; called in each cycle of a loop."""
        now = time.monotonic()
        if now >= self._due:
            self._due = now + self.PERIOD
            self.allow(self.timeout + self.PERIOD)

    def allow(self, seconds: float) -> None:
        """Allow a single operation to take this long, until the next call of ``feed`` or ``allow``."""
        if self.timeout:
            faulthandler.dump_traceback_later(seconds, exit=True, file=2)

    def stop(self) -> None:
        """Stop the timer."""
        faulthandler.cancel_dump_traceback_later()
