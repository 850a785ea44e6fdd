"""Denoisers at the noise levels of sampling, which are the same for every chunk."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Protocol, runtime_checkable

import torch
from torch import Tensor, nn

#: From noisy to clean chunks (B, H, A), at one noise level and under one condition.
Step = Callable[[Tensor], Tensor]


@runtime_checkable
class LevelDenoiser(Protocol):
    """A denoiser that computes what does not depend on the noisy chunk once, for all steps of sampling."""

    def at_levels(self, levels: Tensor, condition: Tensor) -> Sequence[Step]:
        """For each of the noise levels (K,), the step under conditions (B, C)."""


def at_levels(denoiser: nn.Module, levels: Sequence[int], condition: Tensor) -> dict[int, Step]:
    """For each noise level, the step of a denoiser under conditions (B, C)."""
    if isinstance(denoiser, LevelDenoiser):
        return dict(zip(levels, denoiser.at_levels(torch.tensor(levels, device=condition.device), condition)))

    def step(t: int) -> Step:
        level = torch.full((len(condition),), t, device=condition.device)
        return lambda noisy: denoiser(noisy, level, condition)

    return {t: step(t) for t in levels}
