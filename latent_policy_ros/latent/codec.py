"""Codec: encoder and decoder of one embodiment in numpy."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np

from latent_policy_ros.common.errors import ArtifactError

RETRAIN = "train a new latent space with: latent-policy train latent"
REMEDY = f"restore the file, or {RETRAIN}"
LAYERS = ("w1", "b1", "w2", "b2")
SCALES = ("mean", "std", "lower", "upper")
TENSORS = (*(f"encoder.{name}" for name in LAYERS), *(f"decoder.{name}" for name in LAYERS), *SCALES)


def silu(x: np.ndarray) -> np.ndarray:
    """SiLU, ``x * sigmoid(x)``, without overflow."""
    return x * (0.5 + 0.5 * np.tanh(0.5 * x))


def unit(z: np.ndarray) -> np.ndarray:
    """``z`` scaled to length 1 along its last axis."""
    return z / np.maximum(np.linalg.norm(z, axis=-1, keepdims=True), 1e-6)


@dataclass(frozen=True)
class Codec:
    """Encoder and decoder of one embodiment: each an MLP with one hidden layer, on z-scored actions.

    Attributes:
        name: Name of the embodiment.
        content_hash: Content hash of the embodiment that the codec was trained for.
        action_names: Names of the d action components.
        tensors: ``encoder.w1`` (d, h), ``encoder.b1`` (h,), ``encoder.w2`` (h, L), ``encoder.b2`` (L,); ``decoder.*``
            with d and L exchanged; ``mean`` and ``std`` (d,) of the training actions; ``lower`` and ``upper`` (d,) action limits.
        bounded: Whether latents are normalised to length 1.

    Raises:
        ArtifactError: A tensor is missing or has the wrong shape.
    """

    name: str
    content_hash: str
    action_names: tuple[str, ...]
    tensors: Mapping[str, np.ndarray] = field(repr=False)
    bounded: bool = True

    def __post_init__(self) -> None:
        missing = [name for name in TENSORS if name not in self.tensors]
        if missing:
            raise ArtifactError(f"latent space: {self.name}: tensors missing: {', '.join(missing)}; {REMEDY}")
        d, h = self.tensors["encoder.w1"].shape
        L = self.tensors["encoder.w2"].shape[-1]
        shapes = {"encoder.w1": (d, h), "encoder.b1": (h,), "encoder.w2": (h, L), "encoder.b2": (L,),
                  "decoder.w1": (L, h), "decoder.b1": (h,), "decoder.w2": (h, d), "decoder.b2": (d,),
                  "mean": (d,), "std": (d,), "lower": (d,), "upper": (d,)}  # fmt: skip
        for name, shape in shapes.items():
            if self.tensors[name].shape != shape:
                got = self.tensors[name].shape
                raise ArtifactError(f"latent space: {self.name}.{name}: expected shape {shape}, got {got}; {REMEDY}")
        if len(self.action_names) != d:
            raise ArtifactError(f"latent space: {self.name}: {d} inputs but {len(self.action_names)} action names; {REMEDY}")

    @property
    def action_dim(self) -> int:
        """Number of action components d."""
        return len(self.action_names)

    @property
    def dim(self) -> int:
        """Number of latent components L."""
        return self.tensors["encoder.w2"].shape[1]

    def encode(self, x: np.ndarray) -> np.ndarray:
        """Actions (..., d) to latents (..., L), of length 1 if ``bounded``."""
        t = self.tensors
        h = silu((x - t["mean"]) / t["std"] @ t["encoder.w1"] + t["encoder.b1"])
        z = h @ t["encoder.w2"] + t["encoder.b2"]
        return unit(z) if self.bounded else z

    def decode(self, z: np.ndarray) -> np.ndarray:
        """Latents (..., L) to actions (..., d), clipped to their limits. If ``bounded``, the length of a latent has no effect."""
        t = self.tensors
        h = silu((unit(z) if self.bounded else z) @ t["decoder.w1"] + t["decoder.b1"])
        return np.clip((h @ t["decoder.w2"] + t["decoder.b2"]) * t["std"] + t["mean"], t["lower"], t["upper"])
