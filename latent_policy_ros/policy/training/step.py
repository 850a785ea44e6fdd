"""One optimizer step of a policy training, and its validation loss."""

from __future__ import annotations

import math
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from latent_policy_ros.policy.network.diffusion import PolicyNetwork
from latent_policy_ros.policy.settings import TrainingSettings
from latent_policy_ros.policy.training.dataset import DemonstrationDataset, TrainingBatch
from latent_policy_ros.policy.training.processes import WHOLE, Share, average_gradients, average_value

VALIDATION_BATCHES = 8


def train_step(
    network: PolicyNetwork,
    average: PolicyNetwork,
    optimizer: torch.optim.Optimizer,
    batch: TrainingBatch,
    settings: TrainingSettings,
    step: int,
    device: torch.device,
    torch_seed: int,
    share: Share = WHOLE,
    is_interrupted: Callable[[], bool] = lambda: False,
) -> tuple[Tensor, bool]:
    """One optimizer step. All randomness follows from ``torch_seed`` and the batch.

    Returns:
        The loss, and whether the training is interrupted in any process.
    """
    for group in optimizer.param_groups:
        group["lr"] = learning_rate(settings, step)
    with torch.autocast(device.type, torch.bfloat16, enabled=has_bfloat16(device)):
        loss = _loss(network, batch, settings, device, torch_seed, share, step / settings.steps)
    optimizer.zero_grad()
    loss.backward()
    mean, interrupted = average_gradients(share, network.parameters(), loss.detach(), is_interrupted)
    torch.nn.utils.clip_grad_norm_(network.parameters(), 1.0)
    optimizer.step()
    decay = min(settings.ema_decay, (1 + step) / (10 + step))
    with torch.no_grad():
        torch._foreach_lerp_(list(average.parameters()), list(network.parameters()), 1 - decay)
    return mean, interrupted


@torch.no_grad()
def validation_loss(
    network: PolicyNetwork,
    data: DemonstrationDataset,
    settings: TrainingSettings,
    device: torch.device,
    share: Share = WHOLE,
    progress: float = 1.0,
) -> float | None:
    """Mean loss on batches of the validation episodes, always the same ones; None: no episode is held out."""
    losses = []
    network.eval()
    for number in range(VALIDATION_BATCHES):
        batch = data.validation_batch(np.random.default_rng([settings.seed, number]))
        if batch is None:
            return None
        losses.append(_loss(network, batch, settings, device, number, share, progress))
    return average_value(share, torch.stack(losses).mean())


def _loss(
    network: PolicyNetwork,
    batch: TrainingBatch,
    settings: TrainingSettings,
    device: torch.device,
    torch_seed: int,
    share: Share,
    progress: float,
) -> Tensor:
    """Loss with noise for the batches of all processes, of which each takes its part."""
    chunks = batch.chunks.to(device)
    shape = settings.noise_samples, len(chunks) * share.processes
    torch.manual_seed(torch_seed)
    t = torch.randint(network.schedule.levels, shape, device=device)
    noise = torch.randn(*shape, *chunks.shape[1:], device=device)
    if share.processes > 1:
        torch.manual_seed(torch_seed + 1 + share.rank)  # of dropout
    own = share.part(shape[1])
    return network.loss(batch.observations.to(device), chunks, t[:, own], noise[:, own], progress)


def learning_rate(settings: TrainingSettings, step: int) -> float:
    """Linear warm-up, then cosine decay to zero."""
    if step < settings.warmup_steps:
        return settings.learning_rate * (step + 1) / settings.warmup_steps
    done = (step - settings.warmup_steps) / max(settings.steps - settings.warmup_steps, 1)
    return settings.learning_rate * 0.5 * (1 + math.cos(math.pi * done))


def has_bfloat16(device: torch.device) -> bool:
    """Whether bfloat16 speeds up training: on every accelerator, and on CPUs with bfloat16 instructions."""
    if device.type != "cpu":
        return True
    try:
        flags = Path("/proc/cpuinfo").read_text(encoding="ascii", errors="ignore")
    except OSError:
        return False
    return "amx_bf16" in flags or "avx512_bf16" in flags
