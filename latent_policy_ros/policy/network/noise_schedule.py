"""NoiseSchedule: squared-cosine noise levels and deterministic DDIM sampling.

Equal to ``DDPMScheduler.add_noise`` and ``DDIMScheduler`` of diffusers with ``beta_schedule="squaredcos_cap_v2"``,
``prediction_type="sample"`` and ``timestep_spacing="trailing"``, which a test asserts. Importing diffusers would add seconds to
the start of a policy node.
"""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np
import torch
from torch import Tensor, nn

MAX_BETA = 0.999


class NoiseSchedule(nn.Module):
    """Noise levels of a diffusion process, for networks that predict the clean sample.

    Args:
        levels: Number of noise levels T.
        sampling_steps: Number of DDIM steps at inference.
    """

    alphas_cumprod: Tensor

    def __init__(self, levels: int, sampling_steps: int) -> None:
        super().__init__()
        signal = [math.cos((t / levels + 0.008) / 1.008 * math.pi / 2) ** 2 for t in range(levels + 1)]  # Nichol & Dhariwal 2021
        betas = torch.tensor([min(1 - signal[t + 1] / signal[t], MAX_BETA) for t in range(levels)])
        self.levels = levels
        self.register_buffer("alphas_cumprod", (1 - betas).cumprod(dim=0), persistent=False)
        self.timesteps = (np.round(np.arange(levels, 0, -levels / sampling_steps)).astype(int) - 1).tolist()
        self._stride = levels // sampling_steps
        self._alphas = self.alphas_cumprod.tolist()

    def add_noise(self, clean: Tensor, noise: Tensor, t: Tensor) -> Tensor:
        """Noisy samples (B, ...) from clean samples and unit noise (B, ...), at noise levels (B,)."""
        alpha = self.alphas_cumprod[t].view(-1, *[1] * (clean.ndim - 1))
        return alpha.sqrt() * clean + (1 - alpha).sqrt() * noise

    def step(self, predicted: Tensor, t: int, noisy: Tensor) -> Tensor:
        """One DDIM step (Song et al. 2021, eta = 0) from level ``t`` to ``levels // sampling_steps`` below it.

        Args:
            predicted: Clean samples that the network predicts; clipped to [-1, 1].
            t: Noise level of ``noisy``.
            noisy: Noisy samples.
        """
        alpha, previous = self._alphas[t], t - self._stride
        alpha_previous = self._alphas[previous] if previous >= 0 else 1.0
        noise = (noisy - math.sqrt(alpha) * predicted) / math.sqrt(1 - alpha)
        return math.sqrt(alpha_previous) * predicted.clamp(-1, 1) + math.sqrt(1 - alpha_previous) * noise

    def sample(self, denoise: Callable[[Tensor, int], Tensor], noise: Tensor) -> Tensor:
        """Clean samples from unit noise (B, ...).

        Args:
            denoise: The network: (noisy samples (B, ...), their noise level) to clean samples (B, ...).
            noise: Unit noise.
        """
        samples = noise
        for t in self.timesteps:
            samples = self.step(denoise(samples, t), t, samples)
        return samples
