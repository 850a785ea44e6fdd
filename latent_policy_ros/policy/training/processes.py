"""Training in several processes, started by ``accelerate launch`` or ``torchrun``."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta

import torch
from torch import Tensor, distributed, nn

TIMEOUT = timedelta(hours=12)  # for the first process to decode the images of large data sets


@dataclass(frozen=True)
class Share:
    """Part of each batch that one process takes.

    Attributes:
        rank: Number of this process, from 0.
        processes: Number of processes.
    """

    rank: int = 0
    processes: int = 1

    @classmethod
    def from_environment(cls) -> Share:
        """The share of this process, from the variables RANK and WORLD_SIZE that the launcher sets."""
        return cls(int(os.environ.get("RANK", 0)), int(os.environ.get("WORLD_SIZE", 1)))

    def part(self, count: int) -> slice:
        """The items of this process, of ``count`` items of all processes."""
        each = count // self.processes
        return slice(self.rank * each, (self.rank + 1) * each)

    def device_name(self, name: str) -> str:
        """The device of this process: with ``auto``, each process of a machine gets a GPU of its own."""
        if name == "auto" and self.processes > 1 and torch.cuda.is_available():
            return f"cuda:{int(os.environ.get('LOCAL_RANK', 0)) % torch.cuda.device_count()}"
        return name


WHOLE = Share()


@contextmanager
def process_group(share: Share, device: torch.device) -> Iterator[None]:
    """Connect the processes of a training."""
    if share.processes == 1:
        yield
        return
    if device.type == "cuda":
        torch.cuda.set_device(device)
    backend = "nccl" if device.type == "cuda" else "gloo"
    distributed.init_process_group(backend, rank=share.rank, world_size=share.processes, timeout=TIMEOUT)
    try:
        yield
    finally:
        distributed.destroy_process_group()


@contextmanager
def first_process_first(share: Share) -> Iterator[None]:
    """Let the first process do something before the others, e.g. fill a cache that they then read."""
    if share.rank > 0:
        distributed.barrier()
    yield
    if share.rank == 0 and share.processes > 1:
        distributed.barrier()


def wait_for_all(share: Share) -> None:
    """Return when all processes have come here."""
    if share.processes > 1:
        distributed.barrier()


def average_value(share: Share, value: Tensor) -> float:
    """Mean of a scalar over the processes."""
    if share.processes > 1:
        distributed.all_reduce(value)
        value = value / share.processes
    return float(value)


def average_gradients(
    share: Share, parameters: Iterable[nn.Parameter], loss: Tensor, is_interrupted: Callable[[], bool]
) -> tuple[Tensor, bool]:
    """Average gradients and loss over the processes, in one message.

    A gradient that is None in every process, as that of a camera without images, stays None.

    Returns:
        The mean loss, and whether any process is interrupted.
    """
    if share.processes == 1:
        return loss, is_interrupted()
    trained = [parameter for parameter in parameters if parameter.requires_grad]
    gradients = [torch.zeros_like(p) if p.grad is None else p.grad for p in trained]
    flags = [float(loss), float(is_interrupted()), *(float(p.grad is not None) for p in trained)]
    message = torch.cat([torch.tensor(flags, device=loss.device), *(g.reshape(-1).float() for g in gradients)])
    distributed.all_reduce(message)
    mean = message / share.processes
    for parameter, count, values in zip(
        trained, message[2 : len(flags)].tolist(), mean[len(flags) :].split([g.numel() for g in gradients])
    ):
        parameter.grad = torch.empty_like(parameter).copy_(values.view(parameter.shape)) if count else None
    return mean[0], bool(message[1] > 0)
