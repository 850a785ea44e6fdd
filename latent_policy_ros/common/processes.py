"""Processes that end with the one that started them or when they hang, and tell it when they are ready."""

from __future__ import annotations

import ctypes
import faulthandler
import os
import signal
import sys
import time
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from contextlib import contextmanager, suppress
from multiprocessing.context import SpawnContext, SpawnProcess
from pathlib import Path
from typing import Any

PR_SET_PDEATHSIG = 1  # of Linux' prctl: the signal a process gets when its parent dies
HANG_TIMEOUT = 30.0  # s: a loop without a turn for so long hangs
READY = "LATENT_POLICY_READY"  # environment variable: the file that a process makes when it is ready
_LIBC = ctypes.CDLL(None) if sys.platform == "linux" else None


def die_with_parent() -> None:
    """In a child: get SIGTERM when the parent dies, however it does. On Linux; elsewhere it does nothing."""
    if _LIBC:
        _LIBC.prctl(PR_SET_PDEATHSIG, signal.SIGTERM)


def tell_ready() -> bool:
    """In a child: tell the parent that the work goes on now; False if it does not want to know."""
    file = os.environ.get(READY)
    if file:
        with suppress(OSError):  # it is gone, and will stop this process
            Path(file).touch()
    return bool(file)


class Watchdog:
    """Ends this process, with the stacks of its threads on stderr, when it hangs: who started it then starts it again.

    It waits in a thread of C: a call of the middleware that never returns may hold the lock that all of Python waits for.

    Attributes:
        patience: How long a loop may take for a turn [s]; 0: however long it takes.
    """

    PERIOD = 1.0  # s

    def __init__(self) -> None:
        self.patience, self._due = 0.0, 0.0

    def feed(self) -> None:
        """For a loop, in each of its turns."""
        now = time.monotonic()
        if now >= self._due:
            self._due = now + self.PERIOD
            self.allow(self.patience + self.PERIOD)

    def allow(self, seconds: float) -> None:
        """What comes now, until the next call, may take so long."""
        if self.patience:
            faulthandler.dump_traceback_later(seconds, exit=True, file=2)

    def rest(self) -> None:
        """Watch no more."""
        faulthandler.cancel_dump_traceback_later()


@contextmanager
def worker_pool(count: int) -> Iterator[ProcessPoolExecutor]:
    """``count`` fresh processes for long work. When the block is left by an error, what has not begun is dropped.

    Ctrl-C, which reaches every process of a terminal, is for this one alone: it then ends the others in the midst of their work.
    """
    context = _WorkerContext()
    with ProcessPoolExecutor(count, mp_context=context, initializer=die_with_parent) as pool:
        try:
            yield pool
        except BaseException as error:
            if isinstance(error, KeyboardInterrupt):
                for worker in context.workers:
                    worker.terminate()
            pool.shutdown(cancel_futures=True)
            raise


class _Worker(SpawnProcess):
    """A fresh process that never hears of Ctrl-C, not while it starts either."""

    def start(self) -> None:
        before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})  # a child inherits what is blocked
        try:
            super().start()
        finally:
            signal.pthread_sigmask(signal.SIG_SETMASK, before)


class _WorkerContext(SpawnContext):
    """Makes ``_Worker`` processes, and knows them."""

    def __init__(self) -> None:
        super().__init__()
        self.workers: list[_Worker] = []

    def Process(self, *arguments: Any, **options: Any) -> _Worker:  # noqa: N802 - its name in multiprocessing
        self.workers.append(_Worker(*arguments, **options))
        return self.workers[-1]
