"""The networks of a latent space in torch, for training; their numpy equal is :mod:`latent_policy_ros.latent.space`."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor, nn

from latent_policy_ros.latent.space import Codec

if TYPE_CHECKING:
    from latent_policy_ros.embodiments import Embodiment

STD_FLOOR = 1e-3  # below this [rad], or as a fraction of a gripper's opening, an action component does not move


class TorchCodec(nn.Module):
    """Encoder and decoder of one embodiment.

    Args:
        actions: Actions to take mean and deviation from, (N, d).
        hidden: Width of the hidden layers.
        dim: Latent dimension L.
    """

    def __init__(self, actions: np.ndarray, hidden: int, dim: int) -> None:
        super().__init__()
        d = actions.shape[1]
        self.encoder = nn.Sequential(nn.Linear(d, hidden), nn.SiLU(), nn.Linear(hidden, dim))
        self.decoder = nn.Sequential(nn.Linear(dim, hidden), nn.SiLU(), nn.Linear(hidden, d))
        self.register_buffer("mean", torch.as_tensor(actions.mean(axis=0), dtype=torch.float32))
        self.register_buffer("std", torch.as_tensor(np.maximum(actions.std(axis=0), STD_FLOOR), dtype=torch.float32))

    def normalise(self, x: Tensor) -> Tensor:
        """Actions (..., d) to z-scores."""
        return (x - self.mean) / self.std

    def encode(self, scores: Tensor) -> Tensor:
        """Z-scores (..., d) to latents (..., L) of length 1."""
        return nn.functional.normalize(self.encoder(scores), dim=-1, eps=1e-6)

    def decode(self, z: Tensor) -> Tensor:
        """Latents (..., L) of any length to z-scores (..., d), not clipped."""
        return self.decoder(nn.functional.normalize(z, dim=-1, eps=1e-6))

    def to_numpy(self, embodiment: Embodiment) -> Codec:
        """The same as the numpy runtime's codec."""
        tensors = {"mean": self.mean, "std": self.std}
        for side, net in (("encoder", self.encoder), ("decoder", self.decoder)):
            tensors |= {f"{side}.w1": net[0].weight.T, f"{side}.b1": net[0].bias}
            tensors |= {f"{side}.w2": net[2].weight.T, f"{side}.b2": net[2].bias}
        arrays = {name: np.ascontiguousarray(t.detach().numpy(), dtype=np.float32) for name, t in tensors.items()}
        arrays["lower"] = np.asarray(embodiment.action_lower, dtype=np.float32)
        arrays["upper"] = np.asarray(embodiment.action_upper, dtype=np.float32)
        return Codec(embodiment.name, embodiment.content_hash, tuple(embodiment.action_names), arrays)


def info_nce(latents: list[Tensor], temperature: float) -> Tensor:
    """Mean of the symmetric InfoNCE losses of all pairs of embodiments.

    Args:
        latents: For each embodiment (B, L), of length 1; row b of each belongs to the same hand pose, and all other
            rows are its negatives.
        temperature: Divides the cosine similarities.
    """
    losses = []
    for i, first in enumerate(latents):
        for second in latents[i + 1 :]:
            # A cosine is at most 1, so this cannot overflow, and one exponential serves both directions.
            likeness = torch.exp((first @ second.T - 1) / temperature)
            own = (torch.sum(first * second, dim=1) - 1) / temperature
            losses.append((0.5 * (likeness.sum(dim=0).log() + likeness.sum(dim=1).log()) - own).mean())
    return torch.stack(losses).mean()
