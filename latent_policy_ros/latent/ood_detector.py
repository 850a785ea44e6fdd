"""OODDetector: Mahalanobis distance of latents from the training distribution."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np

from latent_policy_ros.common.errors import ArtifactError

TENSORS = ("mean", "whitener")
QUANTILE = 0.999  # fraction of held-out latents with a distance below 1
MIN_SPREAD = 1e-3  # lower bound of the standard deviation in any direction, relative to the largest


@dataclass(frozen=True)
class OODDetector:
    """Mahalanobis distance from the mean of the training latents, scaled so that 99.9% of held-out latents are below 1.

    Attributes:
        tensors: ``mean`` (L,) and ``whitener`` (L, L).

    Raises:
        ArtifactError: A tensor is missing or has the wrong shape.
    """

    tensors: Mapping[str, np.ndarray] = field(repr=False)

    def __post_init__(self) -> None:
        shapes = {name: getattr(self.tensors.get(name), "shape", None) for name in TENSORS}
        L = len(self.tensors["mean"]) if shapes["mean"] else 0
        if shapes != {"mean": (L,), "whitener": (L, L)}:
            raise ArtifactError(f"latent space: OOD detector: expected mean (L,) and whitener (L, L), got {shapes}")

    @classmethod
    def fit(cls, latents: np.ndarray, held_out: np.ndarray) -> OODDetector:
        """Fit to training latents (N, L), and scale by held-out latents (M, L)."""
        mean = latents.mean(axis=0)
        values, axes = np.linalg.eigh(np.cov(latents.T.astype(np.float64)))
        whitener = axes / np.sqrt(np.maximum(values, MIN_SPREAD**2 * values.max()))
        threshold = np.quantile(np.linalg.norm((held_out - mean) @ whitener, axis=-1), QUANTILE)
        return cls({"mean": mean.astype(np.float32), "whitener": (whitener / threshold).astype(np.float32)})

    def distance(self, z: np.ndarray) -> np.ndarray:
        """Distances (...) of latents (..., L). 0.1% of held-out latents have a distance above 1."""
        away = (z - self.tensors["mean"]) @ self.tensors["whitener"]
        return np.sqrt(np.square(away).sum(axis=-1))
