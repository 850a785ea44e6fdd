"""The denoiser: a residual MLP over the whole plan, modulated by the observation and the noise level."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn


def sinusoids(t: Tensor, size: int) -> Tensor:
    """Positions (B,) to sines and cosines (B, size) of periods from 2 pi to 2 pi 10,000."""
    frequencies = torch.exp(torch.arange(size // 2, device=t.device) * (-math.log(10_000) / (size // 2 - 1)))
    angles = t.float()[:, None] * frequencies
    return torch.cat([angles.sin(), angles.cos()], dim=1)


class Block(nn.Module):
    """One residual block whose hidden layer is scaled and shifted by the condition."""

    def __init__(self, width: int, condition: int) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(width)
        self.first = nn.Linear(width, width)
        self.modulation = nn.Linear(condition, 2 * width)
        self.second = nn.Linear(width, width)
        nn.init.zeros_(self.second.weight)
        nn.init.zeros_(self.second.bias)

    def forward(self, h: Tensor, condition: Tensor) -> Tensor:
        scale, shift = self.modulation(condition).chunk(2, dim=1)
        return h + self.second(nn.functional.silu(self.first(self.norm(h)) * (1 + scale) + shift))


class Denoiser(nn.Module):
    """Noisy plans to clean ones.

    A plan of 16 steps is one smooth movement of few degrees of freedom, so an MLP over all of it learns as well as
    convolutions or attention over its steps, and is only matrix products: the cheapest there is on a CPU.

    Args:
        steps: Steps of the plan H.
        size: Numbers in a step A.
        condition: Length of the condition.
        width, blocks: Of the network.
    """

    def __init__(self, steps: int, size: int, condition: int, width: int, blocks: int) -> None:
        super().__init__()
        self.time = nn.Sequential(nn.Linear(64, condition), nn.SiLU(), nn.Linear(condition, condition))
        self.inward = nn.Linear(steps * size + condition, width)
        self.blocks = nn.ModuleList(Block(width, condition) for _ in range(blocks))
        self.outward = nn.Sequential(nn.LayerNorm(width), nn.Linear(width, steps * size))

    def forward(self, noisy: Tensor, t: Tensor, condition: Tensor) -> Tensor:
        """Clean plans (B, H, A) from noisy ones (B, H, A), noise levels (B,) and conditions (B, C)."""
        h = self.inward(torch.cat([noisy.flatten(1), condition.to(noisy.dtype)], dim=1))
        condition = nn.functional.silu(condition + self.time(sinusoids(t, 64)))
        for block in self.blocks:
            h = block(h, condition)
        return self.outward(h).view_as(noisy)
