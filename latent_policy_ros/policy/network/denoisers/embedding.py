"""Features of a noise level."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn

TIME_FEATURES = 64


def sinusoidal_embedding(t: Tensor, size: int) -> Tensor:
    """Sine and cosine features (B, size) of positions (B,), with wavelengths from 2 pi to 20,000 pi."""
    frequencies = torch.exp(torch.arange(size // 2, device=t.device) * (-math.log(10_000) / (size // 2 - 1)))
    angles = t.float()[:, None] * frequencies
    return torch.cat([angles.sin(), angles.cos()], dim=1)


class LevelEmbedding(nn.Sequential):
    """Learned features of a noise level.

    Args:
        size: Length C of the output.
    """

    def __init__(self, size: int) -> None:
        super().__init__(nn.Linear(TIME_FEATURES, size), nn.SiLU(), nn.Linear(size, size))

    def forward(self, t: Tensor) -> Tensor:
        """Features (B, C) of noise levels (B,)."""
        return super().forward(sinusoidal_embedding(t, TIME_FEATURES))
