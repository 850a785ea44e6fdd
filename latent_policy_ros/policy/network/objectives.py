"""Training objectives of the denoiser, each with its sampler: diffusion, and consistency for one or two sampling steps."""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol

import torch
from torch import Tensor

from latent_policy_ros.policy.network.noise_schedule import NoiseSchedule

#: The network: (noisy samples (B, ...), noise levels (B,)) to clean samples (B, ...).
Denoise = Callable[[Tensor, Tensor], Tensor]
#: The same for samples of one level: (noisy samples (B, ...), noise level) to clean samples (B, ...).
DenoiseLevel = Callable[[Tensor, int], Tensor]


class Objective(Protocol):
    """What the network is trained for, and how samples are drawn from it."""

    def squared_error(self, denoise: Denoise, clean: Tensor, t: Tensor, noise: Tensor, progress: float) -> Tensor:
        """Weighted squared errors (B, ...).

        Args:
            denoise: The network.
            clean: Clean samples (B, ...).
            t: Random noise levels (B,).
            noise: Unit noise (B, ...).
            progress: Completed share of the training, from 0 to 1.
        """

    def sample(self, denoise: DenoiseLevel, noise: Callable[[], Tensor]) -> Tensor:
        """Clean samples (B, ...) from unit noise (B, ...), drawn by ``noise``."""


class Diffusion:
    """The network predicts the clean sample, on average over all that a noisy sample may come from. DDIM sampling."""

    def __init__(self, schedule: NoiseSchedule) -> None:
        self._schedule = schedule

    def squared_error(self, denoise: Denoise, clean: Tensor, t: Tensor, noise: Tensor, progress: float) -> Tensor:
        noisy = self._schedule.add_noise(clean, noise, t)
        return (denoise(noisy, t).float() - clean).square()

    def sample(self, denoise: DenoiseLevel, noise: Callable[[], Tensor]) -> Tensor:
        return self._schedule.sample(denoise, noise())


class Consistency:
    """The network maps every point of a denoising path to the end of the path, so that one or two steps sample it.

    Consistency training as of Geng et al. 2024 (Consistency Models Made Easy): the target at one noise level is the prediction
    at a lower level of the same path. The distance of the levels falls during the training. At first the lower level is the
    clean sample, which is diffusion.
    """

    DIFFUSION, SETTLED = 0.3, 0.9  # progress up to which training is diffusion, and from which the distance is constant
    HALVINGS = 5  # of the relative distance of the levels, from 1 to 1 / 32

    def __init__(self, schedule: NoiseSchedule) -> None:
        self._schedule = schedule

    def squared_error(self, denoise: Denoise, clean: Tensor, t: Tensor, noise: Tensor, progress: float) -> Tensor:
        distance = self.distance(progress)
        lower = t - torch.ceil(distance * (t + 1)).long()
        target = clean
        if distance < 1:
            with torch.no_grad():
                level = lower.clamp(min=0)
                predicted = denoise(self._schedule.add_noise(clean, noise, level), level).float()
            target = torch.where((lower < 0).view(-1, *[1] * (clean.ndim - 1)), clean, predicted)
        # Errors shrink in proportion to the distance.
        return (denoise(self._schedule.add_noise(clean, noise, t), t).float() - target).square() / distance

    def distance(self, progress: float) -> float:
        """Distance of the two noise levels relative to the higher one, from 1 (diffusion) to 1 / 32."""
        done = (progress - self.DIFFUSION) / (self.SETTLED - self.DIFFUSION)
        return 2.0 ** (-self.HALVINGS * min(max(done, 0.0), 1.0))

    def sample(self, denoise: DenoiseLevel, noise: Callable[[], Tensor]) -> Tensor:
        samples = noise()
        for k, t in enumerate(self._schedule.timesteps):
            if k:
                samples = self._schedule.add_noise(samples, noise(), torch.tensor([t], device=samples.device))
            samples = denoise(samples, t).clamp(-1, 1)
        return samples


OBJECTIVES: dict[str, Callable[[NoiseSchedule], Objective]] = {"diffusion": Diffusion, "consistency": Consistency}
