"""The policy's network: observation encoder and denoiser, their loss, and sampling."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from latent_policy_ros.policy.denoisers.mlp import Denoiser
from latent_policy_ros.policy.encoders.keypoint_net import KeypointNet
from latent_policy_ros.policy.scaling import LATENT, POSITION, ROTATION, WRIST
from latent_policy_ros.policy.schedulers import DDIMScheduler, DDPMScheduler
from latent_policy_ros.policy.settings import PolicySettings

ImageBatch = dict[str, tuple[Tensor, Tensor, "Tensor | None"]]
"""{camera: (rows of the batch that have its image (N,), image_batch (N, H, W, 3) uint8, shifts (N, 2) or None)}."""


class PolicyNetwork(nn.Module):
    """Observations and noise to plans, all in scaled numbers.

    Args:
        settings: Sizes.
        latent_dim: Length L of a latent.
    """

    def __init__(self, settings: PolicySettings, latent_dim: int) -> None:
        super().__init__()
        self.shape = (settings.horizon, WRIST + latent_dim)
        width = settings.width
        self.cameras = nn.ModuleDict({camera: KeypointNet(settings.keypoints, width) for camera in settings.cameras})
        self.missing = nn.ParameterDict({camera: nn.Parameter(torch.zeros(width)) for camera in settings.cameras})
        self.state = nn.Sequential(nn.Linear(settings.observation_steps * self.shape[1], width), nn.SiLU())
        seen = (len(settings.cameras) + 1) * width
        self.fuse = nn.Sequential(
            nn.SiLU(),
            nn.Linear(seen, width),
            nn.LayerNorm(width),
            nn.SiLU(),
            nn.Linear(width, width),
            nn.LayerNorm(width),
        )
        self.denoiser = Denoiser(*self.shape, width, settings.denoiser_width, settings.denoiser_blocks)
        options = {
            "num_train_timesteps": settings.diffusion_steps,
            "beta_schedule": "squaredcos_cap_v2",
            "prediction_type": "sample",
        }
        self.training_scheduler = DDPMScheduler(**options)
        self.sampling_scheduler = DDIMScheduler(**options, timestep_spacing="trailing")
        self.sampling_scheduler.set_timesteps(settings.sampling_steps)

    def observe(self, states: Tensor, image_batch: ImageBatch) -> Tensor:
        """Conditions (B, C) from scaled states (B, S, 9 + L) and whatever image_batch there are."""
        parts = [self.state(states.flatten(1))]
        for camera, net in self.cameras.items():
            features = self.missing[camera].expand(len(states), -1)
            if camera in image_batch:
                rows, images, shift = image_batch[camera]
                features = features.float().index_copy(0, rows, net(images, shift).float())
            parts.append(features.to(parts[0].dtype))
        return self.fuse(torch.cat(parts, dim=1))

    def loss(self, states: Tensor, image_batch: ImageBatch, plans: Tensor, noise_samples: int) -> Tensor:
        """Mean squared error of denoised plans; position, rotation and latent count alike, whatever their length.

        Args:
            states: (B, S, 9 + L).
            image_batch: See ``ImageBatch``.
            plans: Clean plans (B, H, 9 + L).
            noise_samples: Noisy plans for each observation.
        """
        condition = self.observe(states, image_batch).repeat(noise_samples, 1)
        clean = plans.repeat(noise_samples, 1, 1)
        levels = self.training_scheduler.config.num_train_timesteps
        t = torch.randint(levels, (len(clean),), device=clean.device)
        noisy = self.training_scheduler.add_noise(clean, torch.randn_like(clean), t)
        error = (self.denoiser(noisy, t, condition).float() - clean).square()
        return sum(error[..., group].mean() for group in (POSITION, ROTATION, LATENT)) / 3

    @torch.inference_mode()
    def sample(self, states: Tensor, image_batch: ImageBatch, generator: torch.Generator) -> Tensor:
        """Plans (B, H, 9 + L) for observations, by DDIM from noise."""
        condition = self.observe(states, image_batch).float()
        plans = torch.randn(len(states), *self.shape, generator=generator).to(states.device)
        for t in self.sampling_scheduler.timesteps:
            clean = self.denoiser(plans, t.expand(len(plans)).to(states.device), condition).float()
            plans = self.sampling_scheduler.step(clean, t, plans).prev_sample
        return plans
