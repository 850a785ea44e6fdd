"""MLPDenoiser: residual MLP over the flattened action chunk, modulated by the observation and the noise level."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from latent_policy_ros.policy.network.denoisers.embedding import LevelEmbedding


class Block(nn.Module):
    """Residual block whose hidden activations are scaled and shifted by the condition (FiLM)."""

    def __init__(self, width: int, condition_dim: int) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(width)
        self.first = nn.Linear(width, width)
        self.modulation = nn.Linear(condition_dim, 2 * width)
        self.second = nn.Linear(width, width)
        nn.init.zeros_(self.second.weight)
        nn.init.zeros_(self.second.bias)

    def forward(self, h: Tensor, condition: Tensor) -> Tensor:
        scale, shift = self.modulation(condition).chunk(2, dim=1)
        return h + self.second(nn.functional.silu(self.first(self.norm(h)) * (1 + scale) + shift))


class MLPDenoiser(nn.Module):
    """Denoiser that treats the whole chunk as one vector.

    A chunk of 16 steps is one smooth motion with few degrees of freedom. An MLP fits it as well as convolutions or attention
    over the steps, and runs fastest on a CPU.

    Args:
        horizon: Steps of the chunk H.
        action_dim: Numbers per step A.
        condition_dim: Length of the condition C.
        width: Width of the hidden layers.
        blocks: Number of residual blocks.
    """

    def __init__(self, horizon: int, action_dim: int, condition_dim: int, *, width: int = 384, blocks: int = 3) -> None:
        super().__init__()
        self.time = LevelEmbedding(condition_dim)
        self.inward = nn.Linear(horizon * action_dim + condition_dim, width)
        self.blocks = nn.ModuleList(Block(width, condition_dim) for _ in range(blocks))
        self.outward = nn.Sequential(nn.LayerNorm(width), nn.Linear(width, horizon * action_dim))

    def forward(self, noisy: Tensor, t: Tensor, condition: Tensor) -> Tensor:
        """Clean chunks (B, H, A) from noisy chunks (B, H, A), noise levels (B,) and conditions (B, C)."""
        h = self.inward(torch.cat([noisy.flatten(1), condition.to(noisy.dtype)], dim=1))
        condition = nn.functional.silu(condition + self.time(t))
        for block in self.blocks:
            h = block(h, condition)
        return self.outward(h).view_as(noisy)
