"""TransformerDenoiser: one token for each step of the action chunk, attending to the noise level and the observation."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from latent_policy_ros.policy.network.denoisers.embedding import LevelEmbedding


class TransformerDenoiser(nn.Module):
    """Transformer decoder with causal self-attention over the steps (Chi et al. 2023: Diffusion Policy).

    Args:
        horizon: Steps of the chunk H.
        action_dim: Numbers per step A.
        condition_dim: Length of the condition C.
        width: Width of the tokens; a multiple of ``heads``.
        layers: Number of decoder layers.
        heads: Number of attention heads.
        dropout: Dropout in training.
    """

    causal: Tensor

    def __init__(
        self,
        horizon: int,
        action_dim: int,
        condition_dim: int,
        *,
        width: int = 256,
        layers: int = 6,
        heads: int = 4,
        dropout: float = 0.1,
    ) -> None:
        super().__init__()
        if width % heads:
            raise ValueError(f"width: expected a multiple of heads = {heads}, got {width}")
        self.inward = nn.Linear(action_dim, width)
        self.observation = nn.Linear(condition_dim, width)
        self.time = LevelEmbedding(width)
        layer = nn.TransformerDecoderLayer(width, heads, 4 * width, dropout, "gelu", batch_first=True, norm_first=True)
        self.decoder = nn.TransformerDecoder(layer, layers)
        self.outward = nn.Sequential(nn.LayerNorm(width), nn.Linear(width, action_dim))
        for parameter in self.parameters():  # the layers of nn.TransformerDecoder are copies of one
            if parameter.ndim > 1:
                nn.init.normal_(parameter, std=0.02)
        self.step_positions = nn.Parameter(0.02 * torch.randn(horizon, width))
        self.context_positions = nn.Parameter(0.02 * torch.randn(2, width))
        self.register_buffer("causal", torch.full((horizon, horizon), -torch.inf).triu(1), persistent=False)

    def forward(self, noisy: Tensor, t: Tensor, condition: Tensor) -> Tensor:
        """Clean chunks (B, H, A) from noisy chunks (B, H, A), noise levels (B,) and conditions (B, C)."""
        context = torch.stack([self.time(t), self.observation(condition)], dim=1) + self.context_positions
        steps = self.inward(noisy) + self.step_positions
        return self.outward(self.decoder(steps, context.to(steps.dtype), tgt_mask=self.causal.to(steps.dtype), tgt_is_causal=True))
