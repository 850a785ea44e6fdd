"""Processes that end with the one that started them, and tell it when they are ready."""

from __future__ import annotations

import ctypes
import os
import signal
import sys
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from contextlib import contextmanager, suppress
from multiprocessing.context import SpawnContext, SpawnProcess
from pathlib import Path
from typing import Any

PR_SET_PDEATHSIG = 1  # of Linux' prctl: the signal a process gets when its parent dies
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
