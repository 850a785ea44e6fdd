"""Settings of a policy and of its training."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field, model_validator

from latent_policy_ros.common.config import Config, Names, Positive, error_at

Probability = Annotated[float, Field(ge=0.0, lt=1.0)]


class PolicySettings(Config):
    """Settings of a policy (its observation, its network, its diffusion process) and of its training."""

    seed: int = Field(
        0, ge=0, description="Seed of the initial weights and, with the step number, of all random draws of the step."
    )
    cameras: Annotated[Names, Field(min_length=1)] = Field(
        ("front", "wrist"), description="Cameras that the policy can use; a robot may lack some."
    )
    image_size: int = Field(96, ge=16, description="Height and width of the images [px].")
    dt: Positive = Field(0.1, description="Time between observations, and between steps of an action chunk [s].")
    observation_steps: int = Field(
        2, ge=1, description="Wrist and hand states in an observation; of each camera only the newest image is used."
    )
    horizon: int = Field(16, ge=1, description="Steps of an action chunk.")
    keypoints: int = Field(48, ge=1, description="Spatial softmax keypoints of each camera's network.")
    width: int = Field(256, ge=1, description="Width of the observation features.")
    denoiser_width: int = Field(384, ge=1, description="Width of the denoiser.")
    denoiser_blocks: int = Field(3, ge=1, description="Residual blocks of the denoiser.")
    diffusion_steps: int = Field(100, ge=1, description="Noise levels in training.")
    sampling_steps: int = Field(8, ge=1, description="DDIM steps at inference; at most diffusion_steps.")
    steps: int = Field(6_500, ge=1, description="Training steps.")
    batch: int = Field(64, ge=1, description="Observations per step.")
    noise_samples: int = Field(4, ge=1, description="Noisy action chunks per observation, which is encoded once.")
    learning_rate: Positive = Field(
        5e-4, description="Peak learning rate of AdamW: after warm-up, before the cosine decay to zero."
    )
    warmup: int = Field(500, ge=0, description="Steps of linear warm-up.")
    weight_decay: float = Field(1e-4, ge=0.0, description="Weight decay of AdamW.")
    ema_decay: Probability = Field(0.999, description="Decay of the averaged weights, which are saved as the policy.")
    shift: int = Field(4, ge=0, description="Largest random shift of an image in training [px].")
    camera_dropout: Probability = Field(
        0.1, description="Probability that a camera is masked in training; at least one camera always remains."
    )
    wrist_noise: float = Field(
        0.003, ge=0.0, description="Standard deviation of the noise on observed wrist positions in training [m]."
    )
    checkpoint_every: int = Field(1000, ge=1, description="Steps between saved training states, from which training can resume.")

    @model_validator(mode="after")
    def _check(self) -> PolicySettings:
        if self.sampling_steps > self.diffusion_steps:
            raise error_at(
                f"expected at most diffusion_steps = {self.diffusion_steps}, got {self.sampling_steps}", "sampling_steps"
            )
        return self
