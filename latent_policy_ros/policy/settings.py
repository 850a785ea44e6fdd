"""Settings of a policy and of its training."""

from __future__ import annotations

import math
from dataclasses import dataclass

from latent_policy_ros.common.settings import demand


@dataclass(frozen=True)
class PolicySettings:
    """Everything that decides what a policy is and how it is trained; METHOD.md stages 4 and 5.

    Attributes:
        seed: Of the initial weights and, with the number of the step, of all that is random in it.
        cameras: Cameras the policy can use; a robot may lack some.
        image_size: Height and width of the images [pixels].
        dt: Time between observations, and between steps of the plan [s].
        observation_steps: States (wrist and hand) the policy sees; of each camera it sees the newest image.
        horizon: Steps of the plan.
        keypoints: Points that each camera's network looks for.
        width: Width of the observation's features.
        denoiser_width, denoiser_blocks: Size of the denoiser.
        diffusion_steps: Noise levels in training.
        sampling_steps: DDIM steps at inference.
        steps: Steps of training.
        batch: Observations in a step.
        noise_samples: Noisy plans denoised for each observation, which is encoded once.
        learning_rate: AdamW's at its height: after ``warmup`` steps, before it falls to zero along a cosine.
        warmup: Steps of linear warm-up.
        weight_decay: AdamW's.
        ema_decay: Of the averaged weights, which are what is saved as the policy.
        shift: Largest random shift of an image in training [pixels].
        camera_dropout: Probability that a camera's image is withheld in training; never the last one.
        wrist_noise: Deviation of the noise on observed wrist positions [m]; plans lead back from it.
        checkpoint_every: Steps between saved states, from which training can be resumed.
    """

    seed: int = 0
    cameras: tuple[str, ...] = ("front", "wrist")
    image_size: int = 96
    dt: float = 0.1
    observation_steps: int = 2
    horizon: int = 16
    keypoints: int = 48
    width: int = 256
    denoiser_width: int = 384
    denoiser_blocks: int = 3
    diffusion_steps: int = 100
    sampling_steps: int = 8
    steps: int = 6_500
    batch: int = 64
    noise_samples: int = 4
    learning_rate: float = 5e-4
    warmup: int = 500
    weight_decay: float = 1e-4
    ema_decay: float = 0.999
    shift: int = 4
    camera_dropout: float = 0.1
    wrist_noise: float = 0.003
    checkpoint_every: int = 1000

    def __post_init__(self) -> None:
        demand(
            self, "at least 1", lambda v: v >= 1, "observation_steps", "horizon", "keypoints", "width", "denoiser_width",
            "denoiser_blocks", "diffusion_steps", "sampling_steps", "steps", "batch", "noise_samples", "checkpoint_every",
        )  # fmt: skip
        demand(self, "at least 16", lambda v: v >= 16, "image_size")
        demand(self, "at least 0", lambda v: v >= 0, "seed", "warmup", "shift")
        demand(self, "a number above 0", lambda v: 0 < v < math.inf, "dt", "learning_rate")
        demand(self, "a number of at least 0", lambda v: 0 <= v < math.inf, "weight_decay", "wrist_noise")
        demand(self, "a number in [0, 1)", lambda v: 0 <= v < 1, "ema_decay", "camera_dropout")
        if not self.cameras or len(set(self.cameras)) != len(self.cameras):
            raise ValueError(f"cameras: expected different names, at least one, got {list(self.cameras)}")
        if self.sampling_steps > self.diffusion_steps:
            raise ValueError(f"sampling_steps: expected at most {self.diffusion_steps}, got {self.sampling_steps}")
