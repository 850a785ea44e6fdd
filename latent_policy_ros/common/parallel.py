"""Long jobs on several processes, of this machine or of a cluster, through joblib."""

from __future__ import annotations

import signal
import warnings
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

from latent_policy_ros.common.errors import LatentPolicyError
from latent_policy_ros.common.processes import die_with_parent

Job = TypeVar("Job")
Result = TypeVar("Result")

LOKY, RAY, DASK = "loky", "ray", "dask"
BACKENDS = LOKY, RAY, DASK
ATTEMPTS = 5  # times that the remaining jobs are started again after a worker process was killed


@dataclass(frozen=True)
class Shard:
    """One of several equal parts of a list of jobs, e.g. for the jobs of a Slurm array.

    Attributes:
        number: Number of the part, from 1 to ``count``.
        count: Number of parts.
    """

    number: int = 1
    count: int = 1

    @classmethod
    def parse(cls, text: str) -> Shard:
        """A shard given as ``2/8``.

        Raises:
            LatentPolicyError: Another form, or there is no such part.
        """
        number, _, count = text.partition("/")
        if not (number.isdecimal() and count.isdecimal() and 1 <= int(number) <= int(count)):
            raise LatentPolicyError(f"--shard: expected NUMBER/COUNT with NUMBER from 1 to COUNT, e.g. 2/8, got {text!r}")
        return cls(int(number), int(count))

    def part(self, jobs: Sequence[Job]) -> Sequence[Job]:
        """The jobs of this part: every ``count``-th one."""
        return jobs[self.number - 1 :: self.count]


ALL = Shard()


@dataclass(frozen=True)
class Workers:
    """Where jobs run.

    Attributes:
        count: Number of processes; with 1 on this machine, jobs run in the calling process.
        backend: ``loky``: processes of this machine; ``ray`` or ``dask``: those of a cluster.
        address: Address of the cluster, e.g. ``ray://head:10001`` or ``tcp://scheduler:8786``; None: a cluster that runs on
            this machine, or else a new one.
    """

    count: int = 2
    backend: str = LOKY
    address: str | None = None

    @property
    def in_process(self) -> bool:
        """Whether all jobs run in the calling process."""
        return self.backend == LOKY and self.count == 1

    def run(self, function: Callable[[Job], Result], jobs: Sequence[Job]) -> Iterator[Result]:
        """Call ``function`` with every job; yield results as they are completed.

        Every job runs again if the process that ran it is killed. An exception of a job, and Ctrl-C, end all workers.

        Raises:
            LatentPolicyError: Unknown backend, its package is not installed, or workers are killed again and again.
        """
        if self.backend not in BACKENDS:
            raise LatentPolicyError(f"--backend: expected {', '.join(BACKENDS)}, got {self.backend!r}")
        try:
            if self.backend == RAY:
                yield from self._on_ray(function, jobs)
            elif self.backend == DASK:
                from distributed import Client

                local = {} if self.address else {"n_workers": self.count, "threads_per_worker": 1}
                with Client(self.address, **local):
                    yield from _through_joblib(function, jobs, backend=DASK)
            elif self.count > 1 and len(jobs) > 1:
                yield from _through_joblib(function, jobs, backend=LOKY, n_jobs=self.count, initializer=_start_worker)
            else:
                yield from map(function, jobs)
        except ModuleNotFoundError as cause:
            if cause.name not in ("ray", "distributed"):
                raise
            raise LatentPolicyError(
                f"--backend {self.backend}: the package {cause.name!r} is not installed; "
                f"type: pip install 'latent_policy_ros[{self.backend}]'"
            ) from cause

    def _on_ray(self, function: Callable[[Job], Result], jobs: Sequence[Job]) -> Iterator[Result]:
        """Ray's own tasks: joblib's backend for Ray returns no result before the last one. Ray itself restarts killed tasks."""
        import ray

        if not ray.is_initialized():
            ray.init(self.address, num_cpus=None if self.address else self.count, log_to_driver=False)

        def run(job: Job) -> Result:  # Ray takes functions only, no methods and no other callables
            return function(job)

        task = ray.remote(num_cpus=1, max_retries=ATTEMPTS)(run)
        waiting = [task.remote(job) for job in jobs]
        try:
            while waiting:
                done, waiting = ray.wait(waiting)
                yield ray.get(done[0])
        finally:
            for reference in waiting:
                ray.cancel(reference, force=True)


def _through_joblib(function: Callable[[Job], Result], jobs: Sequence[Job], **options: Any) -> Iterator[Result]:
    """Results in the order of completion. Jobs are started again when a worker was killed."""
    import joblib

    # loky replaces workers whose memory has grown, and warns of it; joblib warns of jobs that Ctrl-C cancels.
    warnings.filterwarnings("ignore", "A worker stopped while some jobs were given", UserWarning)
    warnings.filterwarnings("ignore", ".*tasks which were still being processed", UserWarning)
    remaining = dict(enumerate(jobs))
    for _ in range(ATTEMPTS):
        with joblib.parallel_config(**options):
            parallel = joblib.Parallel(return_as="generator_unordered", batch_size=1, pre_dispatch="all")
            try:
                for number, result in parallel(joblib.delayed(_numbered)(function, *item) for item in remaining.items()):
                    del remaining[number]
                    yield result
                return
            except _killed():
                continue
    raise LatentPolicyError(f"{len(remaining)} of {len(jobs)} jobs: their worker processes were killed {ATTEMPTS} times")


def _numbered(function: Callable[[Job], Result], number: int, job: Job) -> tuple[int, Result]:
    return number, function(job)


def _start_worker() -> None:
    """Leave Ctrl-C to the main process, and end with it."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    die_with_parent()


def _killed() -> tuple[type[BaseException], ...]:
    """Exceptions that tell that a worker process was killed."""
    from joblib.externals.loky.process_executor import TerminatedWorkerError

    try:
        from distributed.scheduler import KilledWorker
    except ModuleNotFoundError:
        return (TerminatedWorkerError,)
    return TerminatedWorkerError, KilledWorker
