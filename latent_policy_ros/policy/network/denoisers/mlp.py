"""MLPDenoiser: residual MLP over the flattened action chunk, modulated by the observation and the noise level."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from latent_policy_ros.policy.network.denoisers.embedding import LevelEmbedding
from latent_policy_ros.policy.network.denoisers.levels import Step


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

    def modulate(self, features: Tensor) -> tuple[Tensor, Tensor]:
        """Scales and shifts (..., W) by features (..., C) of the condition."""
        scale, shift = self.modulation(features).chunk(2, dim=-1)
        return 1 + scale, shift

    def forward(self, h: Tensor, scale: Tensor, shift: Tensor) -> Tensor:
        return h + self.second(F.silu(torch.addcmul(shift, self.first(self.norm(h)), scale)))


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
        features = F.silu(condition + self.time(t))
        return self._denoise(noisy, self._enter(condition), self._modulations(features))

    def at_levels(self, levels: Tensor, condition: Tensor) -> list[Step]:
        """The steps of noise levels (K,) under conditions (B, C)."""
        features = F.silu(condition + self.time(levels)[:, None])  # (K, B, C)
        entered, modulations = self._enter(condition), self._modulations(features)
        return [
            partial(self._denoise, entered=entered, modulations=[(scale[k], shift[k]) for scale, shift in modulations])
            for k in range(len(levels))
        ]

    def _modulations(self, features: Tensor) -> list[tuple[Tensor, Tensor]]:
        """Scales and shifts of each block, (..., W), by features (..., C)."""
        return [block.modulate(features) for block in self.blocks]  # type: ignore[operator]  # torch's stubs know Module only

    def _enter(self, condition: Tensor) -> Tensor:
        """What the condition contributes to the first layer, (B, W)."""
        return F.linear(condition, self.inward.weight[:, -condition.shape[1] :], self.inward.bias)

    def _denoise(self, noisy: Tensor, entered: Tensor, modulations: Sequence[tuple[Tensor, Tensor]]) -> Tensor:
        flat = noisy.flatten(1)
        h = entered + F.linear(flat, self.inward.weight[:, : flat.shape[1]])
        for block, (scale, shift) in zip(self.blocks, modulations):
            h = block(h, scale, shift)
        return self.outward(h).view_as(noisy)
