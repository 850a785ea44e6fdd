"""The networks of a latent space in torch, for training; their numpy equal is :mod:`latent_policy_ros.latent.codec`."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor, nn

from latent_policy_ros.latent.codec import SCALES, Codec

if TYPE_CHECKING:
    from latent_policy_ros.embodiments import Embodiment
    from latent_policy_ros.latent.settings import LatentSettings

STD_FLOOR = 1e-3  # below this [rad], or as a fraction of a gripper's opening, an action component does not move


class TorchCodec(nn.Module):
    """Encoder and decoder of one embodiment.

    Args:
        scales: ``mean``, ``std``, ``lower`` and ``upper`` of the actions, (d,) each.
        hidden: Width of the hidden layers.
        dim: Latent dimension L.
        bounded: Whether latents have length 1.
        gain: How many times as long the decoder sees latents; the runtime's has it in its weights.
    """

    def __init__(self, scales: dict[str, np.ndarray], hidden: int, dim: int, bounded: bool, gain: float = 1.0) -> None:
        super().__init__()
        d = len(scales["mean"])
        self.bounded, self.gain = bounded, gain
        self.encoder = nn.Sequential(nn.Linear(d, hidden), nn.SiLU(), nn.Linear(hidden, dim))
        self.decoder = nn.Sequential(nn.Linear(dim, hidden), nn.SiLU(), nn.Linear(hidden, d))
        for name in SCALES:
            self.register_buffer(name, torch.as_tensor(np.asarray(scales[name], dtype=np.float32)))

    @classmethod
    def fresh(cls, embodiment: Embodiment, actions: np.ndarray, settings: LatentSettings) -> TorchCodec:
        """A codec to be trained, scaled by actions (N, d)."""
        scales = {"mean": actions.mean(axis=0), "std": np.maximum(actions.std(axis=0), STD_FLOOR)}
        scales |= {"lower": embodiment.action_lower, "upper": embodiment.action_upper}
        return cls(scales, settings.hidden, settings.dim, settings.bounded, settings.decoder_gain)

    @classmethod
    def from_numpy(cls, codec: Codec) -> TorchCodec:
        """The same as a numpy codec, and frozen."""
        t = codec.tensors
        module = cls({name: t[name] for name in SCALES}, t["encoder.w1"].shape[1], codec.dim, codec.bounded)
        with torch.no_grad():
            for side, net in (("encoder", module.encoder), ("decoder", module.decoder)):
                for layer, (w, b) in ((net[0], ("w1", "b1")), (net[2], ("w2", "b2"))):
                    layer.weight.copy_(torch.tensor(t[f"{side}.{w}"].T))
                    layer.bias.copy_(torch.tensor(t[f"{side}.{b}"]))
        return module.requires_grad_(False)

    def normalise(self, x: Tensor) -> Tensor:
        """Actions (..., d) to z-scores."""
        return (x - self.mean) / self.std

    def encode(self, scores: Tensor) -> Tensor:
        """Z-scores (..., d) to latents (..., L)."""
        return self._bound(self.encoder(scores))

    def decode(self, z: Tensor) -> Tensor:
        """Latents (..., L) to z-scores (..., d), not yet limited."""
        return self.decoder(self.gain * self._bound(z))

    def act(self, scores: Tensor) -> Tensor:
        """Z-scores (..., d) to actions within their limits."""
        return torch.clamp(scores * self.std + self.mean, self.lower, self.upper)

    def _bound(self, z: Tensor) -> Tensor:
        return nn.functional.normalize(z, dim=-1, eps=1e-6) if self.bounded else z

    def to_numpy(self, embodiment: Embodiment) -> Codec:
        """The same as the numpy runtime's codec."""
        tensors = {name: getattr(self, name) for name in SCALES}
        for side, net in (("encoder", self.encoder), ("decoder", self.decoder)):
            tensors |= {f"{side}.w1": net[0].weight.T, f"{side}.b1": net[0].bias}
            tensors |= {f"{side}.w2": net[2].weight.T, f"{side}.b2": net[2].bias}
        tensors["decoder.w1"] = self.gain * tensors["decoder.w1"]
        arrays = {name: np.ascontiguousarray(t.detach().numpy(), dtype=np.float32) for name, t in tensors.items()}
        names = tuple(embodiment.action_names)
        return Codec(embodiment.name, embodiment.content_hash, names, arrays, self.bounded)
