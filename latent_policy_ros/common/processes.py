"""Child processes: end with their parent, report that they are ready, abort when they hang; pools of worker processes."""

from __future__ import annotations

import ctypes
import faulthandler
import os
import signal
import sys
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor
from contextlib import contextmanager, suppress
from multiprocessing.context import SpawnContext, SpawnProcess
from pathlib import Path
from typing import Any

PR_SET_PDEATHSIG = 1  # option of prctl on Linux: signal sent to a process when its parent dies
HANG_TIMEOUT = 30.0  # longest time between two cycles of a loop [s]; beyond it the process counts as hanging
READY = "LATENT_POLICY_READY"  # environment variable: file that a child process creates when it is ready
PARENT = os.getppid()  # the process that started this one; read early, before it may have ended
_LIBC = ctypes.CDLL(None) if sys.platform == "linux" else None


def die_with_parent() -> None:
    """In a child process: request SIGTERM when the parent dies, however it dies. Linux only; elsewhere no effect."""
    if _LIBC:
        _LIBC.prctl(PR_SET_PDEATHSIG, signal.SIGTERM)


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


@contextmanager
def worker_pool(count: int) -> Iterator[ProcessPoolExecutor]:
    """A pool of spawned processes for long tasks.

    If an exception leaves the block, tasks that have not started are cancelled. Ctrl-C, which the terminal sends to all
    processes of the group, is handled by this process alone; it terminates the workers.
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
    """A spawned process that ignores Ctrl-C, also while it starts."""

    def start(self) -> None:
        before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})  # a child inherits the signal mask
        try:
            super().start()
        finally:
            signal.pthread_sigmask(signal.SIG_SETMASK, before)


class _WorkerContext(SpawnContext):
    """Spawn context that creates ``_Worker`` processes and lists them."""

    def __init__(self) -> None:
        super().__init__()
        self.workers: list[_Worker] = []

    def Process(self, *arguments: Any, **options: Any) -> _Worker:  # type: ignore[override]  # noqa: N802 - name in multiprocessing
        self.workers.append(_Worker(*arguments, **options))
        return self.workers[-1]
