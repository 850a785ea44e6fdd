"""PolicyNetwork: observation encoders, denoiser and noise schedule; training loss and sampling."""

from __future__ import annotations

from typing import Protocol, runtime_checkable

import torch
from torch import Tensor, nn

from latent_policy_ros.policy.network.components import build
from latent_policy_ros.policy.network.denoisers import DENOISERS
from latent_policy_ros.policy.network.denoisers.levels import at_levels
from latent_policy_ros.policy.network.encoders import IMAGE_ENCODERS, TEXT_ENCODERS
from latent_policy_ros.policy.network.encoders.state import StateEncoder
from latent_policy_ros.policy.network.noise_schedule import NoiseSchedule
from latent_policy_ros.policy.network.objectives import OBJECTIVES
from latent_policy_ros.policy.network.observation_batch import ObservationBatch
from latent_policy_ros.policy.scaling import LATENT, POSE, POSITION, ROTATION
from latent_policy_ros.policy.settings import ModelSettings


@runtime_checkable
class Pretrained(Protocol):
    """A component with weights that were trained before."""

    def load_pretrained(self) -> None:
        """Replace random weights by the pretrained ones."""


class PolicyNetwork(nn.Module):
    """Diffusion model of action chunks given observations, all in scaled units.

    Args:
        settings: Components and sizes.
        latent_dim: Length L of a latent.

    Raises:
        LatentPolicyError: Unknown image encoder or denoiser, or wrong options.
    """

    def __init__(self, settings: ModelSettings, latent_dim: int) -> None:
        super().__init__()
        self.shape = (settings.horizon, POSE + latent_dim)
        F = settings.feature_dim
        self.cameras = nn.ModuleDict(
            {
                camera: build(
                    IMAGE_ENCODERS, settings.image_encoder, settings.image_encoder_options,
                    image_size=settings.image_size, feature_dim=F,
                )
                for camera in settings.cameras
            }
        )  # fmt: skip
        self.missing = nn.ParameterDict({camera: nn.Parameter(torch.zeros(F)) for camera in settings.cameras})
        self.state = StateEncoder(settings.observation_steps, POSE + latent_dim + 1, F)
        self.embodiments = {name: row for row, name in enumerate(settings.embodiments, start=1)}  # row 0: unknown
        if settings.embodiments:
            self.embodiment = nn.Embedding(len(settings.embodiments) + 1, F)
        self.text: nn.Module | None = None
        if settings.text_encoder != "none":
            self.text = build(TEXT_ENCODERS, settings.text_encoder, settings.text_encoder_options, feature_dim=F)
        self.fuse = nn.Sequential(
            nn.SiLU(),
            nn.Linear((len(settings.cameras) + 1 + (self.text is not None)) * F, F),
            nn.LayerNorm(F),
            nn.SiLU(),
            nn.Linear(F, F),
            nn.LayerNorm(F),
        )
        self.denoiser = build(
            DENOISERS, settings.denoiser, settings.denoiser_options,
            horizon=self.shape[0], action_dim=self.shape[1], condition_dim=F,
        )  # fmt: skip
        self.schedule = NoiseSchedule(settings.diffusion_steps, settings.sampling_steps)
        self.objective = OBJECTIVES[settings.objective](self.schedule)

    def encode(self, observations: ObservationBatch) -> Tensor:
        """Features (B, C) of B observations. A missing image is replaced by a learned vector of its camera."""
        parts = [self.state(observations.states)]
        for camera, encoder in self.cameras.items():
            features = self.missing[camera].expand(len(observations), -1)
            if camera in observations.images:
                seen = observations.images[camera]
                features = features.float().index_copy(0, seen.rows, encoder(seen.images, seen.shifts).float())
            parts.append(features.to(parts[0].dtype))
        if self.embodiments:
            rows = torch.tensor([self.embodiments.get(name, 0) for name in observations.embodiments])
            parts[0] = parts[0] + self.embodiment(rows.to(observations.states.device))
        if self.text is not None:
            parts.append(self.text(observations.tasks).to(parts[0].dtype))
        return self.fuse(torch.cat(parts, dim=1))

    def loss(self, observations: ObservationBatch, chunks: Tensor, t: Tensor, noise: Tensor, progress: float = 0.0) -> Tensor:
        """Mean squared error of denoised chunks. Position, rotation and latent have equal weights, whatever their lengths.

        Args:
            observations: B observations, each encoded once.
            chunks: Clean chunks (B, H, 9 + L).
            t: Noise levels of S noisy chunks for each observation, (S, B).
            noise: Unit noise, (S, B, H, 9 + L).
            progress: Completed share of the training, from 0 to 1.
        """
        condition = self.encode(observations).repeat(len(t), 1)
        clean = chunks.repeat(len(t), 1, 1)
        error = self.objective.squared_error(
            lambda noisy, level: self.denoiser(noisy, level, condition), clean, t.flatten(), noise.flatten(0, 1), progress
        )
        return torch.stack([error[..., group].mean() for group in (POSITION, ROTATION, LATENT)]).mean()

    def load_pretrained(self) -> None:
        """Load the weights of components that were trained before. Raises LatentPolicyError if they cannot be read."""
        for component in (*self.cameras.values(), self.text):
            if isinstance(component, Pretrained):
                component.load_pretrained()

    @torch.inference_mode()
    def sample(self, observations: ObservationBatch, generator: torch.Generator) -> Tensor:
        """Sample one chunk (H, 9 + L) for each of B observations, (B, H, 9 + L)."""
        condition = self.encode(observations).float()

        def noise() -> Tensor:
            return torch.randn(len(observations), *self.shape, generator=generator).to(condition.device)

        steps = at_levels(self.denoiser, self.schedule.timesteps, condition)
        return self.objective.sample(lambda noisy, t: steps[t](noisy).float(), noise)
