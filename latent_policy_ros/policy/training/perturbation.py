"""Perturbation: random changes of observed states in training, and of the actions that belong to them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

import numpy as np

from latent_policy_ros.policy.scaling import APERTURE, POSITION, ROTATION, STATE_LATENT
from latent_policy_ros.policy.settings import PolicySettings
from latent_policy_ros.policy.training.displacement import DisplacedHands


@dataclass(frozen=True)
class PerturbedStates:
    """Histories of B observations.

    Attributes:
        origin: Raw states (B, S, 10 + L) that actions start from.
        observed: Raw states (B, S, 10 + L) that the network sees.
        homographies: Maps (3, 3) of the wrist camera's images to those of the displaced hand, by row; others are not displaced.
    """

    origin: np.ndarray
    observed: np.ndarray
    homographies: Mapping[int, np.ndarray]


class Perturbation:
    """Noise, displaced hands and offsets, as the settings say."""

    def __init__(self, settings: PolicySettings) -> None:
        self._training, displacement = settings.training, settings.training.displacement
        self._hands = DisplacedHands(displacement, settings.model.image_size) if displacement else None
        self.wrist_camera = displacement.camera if displacement else None

    def perturb(self, states: np.ndarray, has_wrist_image: np.ndarray, generator: np.random.Generator) -> PerturbedStates:
        """Perturb the histories of B observations.

        Args:
            states: Raw states (B, S, 10 + L).
            has_wrist_image: Which of them have an image of the wrist camera, (B,) bool. Only these are displaced.
            generator: Source of all randomness.
        """
        homographies: dict[int, np.ndarray] = {}
        if self._hands:
            chosen = has_wrist_image & (generator.random(len(states)) < self._hands.share)
            states, maps = self._hands.displace(states, chosen, generator)
            homographies = {int(row): maps[row] for row in np.flatnonzero(chosen)}
        origin = self._noisy(states, generator)
        observed = origin.copy()
        if offset := self._training.horizontal_offset:
            observed[..., :2] += offset * generator.standard_normal((len(states), 1, 2), dtype=np.float32)
        return PerturbedStates(origin, observed, homographies)

    def origins(self, states: np.ndarray, has_wrist_image: np.ndarray, generator: np.random.Generator) -> Iterator[np.ndarray]:
        """The states (B, S, 10 + L), and, if hands are displaced, what they are with all hands displaced."""
        yield states
        if self._hands:
            yield self._hands.displace(states, has_wrist_image, generator)[0]

    def _noisy(self, states: np.ndarray, generator: np.random.Generator) -> np.ndarray:
        """Raw states (B, S, 10 + L) with noise."""
        t, noisy = self._training, states.copy()
        for group, sigma in (
            (POSITION, t.position_noise),
            (ROTATION, t.rotation_noise),
            (STATE_LATENT, t.latent_noise / np.sqrt(states.shape[-1] - 10)),
            (APERTURE, t.aperture_noise),
        ):
            noisy[..., group] += sigma * generator.standard_normal(noisy[..., group].shape, dtype=np.float32)
        return noisy
