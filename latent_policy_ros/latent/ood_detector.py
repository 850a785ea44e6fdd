"""How far a latent lies from all that was seen in training: the distance behind the runtime's alarm."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np

from latent_policy_ros.common.errors import ArtifactError

TENSORS = ("mean", "whitener")
QUANTILE = 0.999  # of held-out latents lie nearer than 1
FLOOR = 1e-3  # directions in which latents hardly spread count as if they spread this share of the widest


@dataclass(frozen=True)
class OODDetector:
    """Mahalanobis distance from a cloud of latents, in units of a high quantile of held-out ones.

    Attributes:
        tensors: ``mean`` (L,) and ``whitener`` (L, L).
    """

    tensors: Mapping[str, np.ndarray] = field(repr=False)

    def __post_init__(self) -> None:
        shapes = {name: getattr(self.tensors.get(name), "shape", None) for name in TENSORS}
        L = len(self.tensors["mean"]) if shapes["mean"] else 0
        if shapes != {"mean": (L,), "whitener": (L, L)}:
            raise ArtifactError(f"latent space: gauge: expected mean (L,) and whitener (L, L), got {shapes}")

    @classmethod
    def fit(cls, latents: np.ndarray, held_out: np.ndarray) -> OODDetector:
        """From latents (N, L) of training, calibrated on latents (M, L) that were not in it."""
        mean = latents.mean(axis=0)
        values, axes = np.linalg.eigh(np.cov(latents.T.astype(np.float64)))
        whitener = axes / np.sqrt(np.maximum(values, FLOOR**2 * values.max()))
        threshold = np.quantile(np.linalg.norm((held_out - mean) @ whitener, axis=-1), QUANTILE)
        return cls({"mean": mean.astype(np.float32), "whitener": (whitener / threshold).astype(np.float32)})

    def distance(self, z: np.ndarray) -> np.ndarray:
        """Latents (..., L) to distances (...); 1 in a thousand held-out latents lie beyond 1."""
        away = (z - self.tensors["mean"]) @ self.tensors["whitener"]
        return np.sqrt(np.square(away).sum(axis=-1))
