"""Batches of a training, made by worker processes. The batch of a step depends on the seed and the step number only."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np
import torch
from torch.utils.data import DataLoader, Dataset

from latent_policy_ros.policy.training.dataset import DemonstrationDataset, TrainingBatch

PREFETCHED = 4  # batches for each worker


class StepBatches(Dataset):
    """Batch of each training step by its number, with the seed of torch for this step."""

    def __init__(self, data: DemonstrationDataset, seed: int) -> None:
        self._data, self._seed = data, seed

    def __getitem__(self, step: int) -> tuple[TrainingBatch, int]:
        generator = np.random.default_rng([self._seed, step])
        torch_seed = int(generator.integers(2**62))
        return self._data.batch(generator), torch_seed


def default_workers(device: torch.device) -> int:
    """Number of worker processes: none on a CPU, which is busy with the network, and up to 8 beside a GPU."""
    return 0 if device.type == "cpu" else min(8, max(1, len(os.sched_getaffinity(0)) - 1))


@contextmanager
def step_batches(
    data: DemonstrationDataset, seed: int, steps: range, workers: int
) -> Iterator[Iterator[tuple[TrainingBatch, int]]]:
    """Iterator over the batches of ``steps``, in order. The result does not depend on the number of workers.

    Args:
        data: Demonstrations.
        seed: Seed of the training.
        steps: Step numbers.
        workers: Number of processes that make batches; 0: none.
    """
    batches = StepBatches(data, seed)
    if not workers:
        yield map(batches.__getitem__, steps)
        return
    loader: DataLoader = DataLoader(
        batches, batch_size=None, sampler=steps, num_workers=workers, prefetch_factor=PREFETCHED,
        multiprocessing_context="fork", worker_init_fn=_start_worker,
    )  # fmt: skip
    iterator = iter(loader)
    try:
        yield iterator
    finally:
        del iterator  # ends the workers


def _start_worker(number: int) -> None:
    """Leave Ctrl-C to the main process, and use one thread."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    torch.set_num_threads(1)
