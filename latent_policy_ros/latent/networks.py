"""TorchCodec: encoder and decoder in torch, for training. :mod:`latent_policy_ros.latent.codec` is the numpy equivalent."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor, nn

from latent_policy_ros.latent.codec import SCALES, Codec

if TYPE_CHECKING:
    from latent_policy_ros.embodiments import Embodiment
    from latent_policy_ros.latent.settings import LatentSettings

MIN_STD = 1e-3  # lower bound of the standard deviations that actions are scaled by [rad, or fraction of a gripper's opening]


class TorchCodec(nn.Module):
    """Encoder and decoder of one embodiment.

    Args:
        scales: ``mean``, ``std``, ``lower`` and ``upper`` of the actions, (d,) each.
        hidden: Width of the hidden layers.
        dim: Latent dimension L.
        bounded: Normalise latents to length 1.
        gain: Factor on the decoder's input. The numpy codec has it in its weights.
    """

    mean: Tensor
    std: Tensor
    lower: Tensor
    upper: Tensor

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
        """An untrained codec, scaled by the statistics of actions (N, d)."""
        scales = {"mean": actions.mean(axis=0), "std": np.maximum(actions.std(axis=0), MIN_STD)}
        scales |= {"lower": embodiment.action_lower, "upper": embodiment.action_upper}
        return cls(scales, settings.hidden, settings.dim, settings.bounded, settings.decoder_gain)

    @classmethod
    def from_numpy(cls, codec: Codec) -> TorchCodec:
        """A frozen copy of a numpy codec."""
        t = codec.tensors
        module = cls({name: t[name] for name in SCALES}, t["encoder.w1"].shape[1], codec.dim, codec.bounded)
        with torch.no_grad():
            for side, net in (("encoder", module.encoder), ("decoder", module.decoder)):
                for layer, (w, b) in ((0, ("w1", "b1")), (2, ("w2", "b2"))):
                    net.get_parameter(f"{layer}.weight").copy_(torch.tensor(t[f"{side}.{w}"].T))
                    net.get_parameter(f"{layer}.bias").copy_(torch.tensor(t[f"{side}.{b}"]))
        return module.requires_grad_(False)

    def normalise(self, x: Tensor) -> Tensor:
        """Actions (..., d) to z-scores."""
        return (x - self.mean) / self.std

    def encode(self, scores: Tensor) -> Tensor:
        """Z-scores (..., d) to latents (..., L)."""
        return self._bound(self.encoder(scores))

    def decode(self, z: Tensor) -> Tensor:
        """Latents (..., L) to z-scores (..., d), not clipped."""
        return self.decoder(self.gain * self._bound(z))

    def act(self, scores: Tensor) -> Tensor:
        """Z-scores (..., d) to actions, clipped to their limits."""
        return torch.clamp(scores * self.std + self.mean, self.lower, self.upper)

    def _bound(self, z: Tensor) -> Tensor:
        return nn.functional.normalize(z, dim=-1, eps=1e-6) if self.bounded else z

    def to_numpy(self, embodiment: Embodiment) -> Codec:
        """A numpy codec with the same weights."""
        tensors = {name: getattr(self, name) for name in SCALES}
        for side, net in (("encoder", self.encoder), ("decoder", self.decoder)):
            tensors |= {f"{side}.w1": net[0].weight.T, f"{side}.b1": net[0].bias}
            tensors |= {f"{side}.w2": net[2].weight.T, f"{side}.b2": net[2].bias}
        tensors["decoder.w1"] = self.gain * tensors["decoder.w1"]
        arrays = {name: np.ascontiguousarray(t.detach().numpy(), dtype=np.float32) for name, t in tensors.items()}
        names = tuple(embodiment.action_names)
        return Codec(embodiment.name, embodiment.content_hash, names, arrays, self.bounded)
