"""Settings of the latent space and of its training."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from latent_policy_ros.common.config import Config, Names, Positive
from latent_policy_ros.retargeting.pairs import RECORDING_FRAMES

EMBODIMENTS = (
    "human_hand", "ability_hand", "allegro_hand", "dex3_hand", "faive_hand", "inspire_hand", "leap_hand", "mimic_hand",
    "orca_hand", "shadow_hand", "panda_gripper", "robotiq_2f85", "so101_gripper", "xarm_gripper",
)  # fmt: skip
Weight = Annotated[float, Field(ge=0.0)]


class LatentSettings(Config):
    """Settings of a latent space and of its training, which has three stages: generate paired actions (1), train the
    encoders with a contrastive loss (2), train decoders and encoders to reconstruct (3).

    The defaults are those of the shipped latent space; ``config/training/latent_paper.yaml`` has those of Bauer et al.
    """

    embodiments: Annotated[Names, Field(min_length=2)] = Field(EMBODIMENTS, description="Embodiments that share the space.")
    frames: int = Field(
        40_000, gt=RECORDING_FRAMES, description=f"Paired actions to make; one recording has {RECORDING_FRAMES} frames."
    )
    seed: int = Field(0, ge=0, description="Seed of the hand motion, the initial weights and the batches.")
    held_out: float = Field(0.1, gt=0.0, lt=1.0, description="Fraction of the recordings held out of training for evaluation.")
    dim: int = Field(32, ge=2, description="Latent dimension L.")
    hidden: int = Field(256, ge=2, description="Width of the one hidden layer of encoders and decoders.")
    bounded: bool = Field(
        True, description="Normalise latents to length 1. Cosine similarity ignores the length, so no output should depend on it."
    )
    decoder_gain: Positive = Field(
        1.0,
        description="Factor on the decoders' input. Each of 32 entries of a vector of length 1 is about 0.18, where SiLU is "
        "nearly linear.",
    )
    batch: int = Field(512, ge=2, description="Paired actions per batch; all but one are negatives of the contrastive loss.")
    contrastive_steps: int = Field(0, ge=0, description="Steps of stage 2.")
    decoding_steps: int = Field(3000, ge=1, description="Steps of stage 3.")
    learning_rate: Positive = Field(8e-3, description="Initial learning rate of Adam; cosine decay to zero in each stage.")
    encoder_learning_rate: Positive = Field(8e-3, description="Initial learning rate of the encoders in stage 3.")
    finetune_encoders: bool = Field(True, description="Train the encoders in stage 3 too.")
    annealing: bool = Field(
        True, description="Anneal the temperature in stage 2; otherwise it is temperature_end from the first step."
    )
    temperature_start: Positive = Field(0.3, description="InfoNCE temperature at the first step; decays exponentially in stage 2.")
    temperature_end: Positive = Field(0.05, description="InfoNCE temperature at the end of stage 2 and in stage 3.")
    contrastive_weight: Weight = Field(0.0, description="lambda in L = L_recon + lambda L_NCE.")
    contrastive_batch: int = Field(
        256, ge=0, description="Rows of the batch in the contrastive loss, whose cost is quadratic; 0 uses all."
    )
    soft_targets: Weight = Field(
        0.01,
        description="Width [m] of the kernel on the RMS distance of keyvectors that defines how similar two poses are; "
        "0 counts only the pose itself as similar (InfoNCE as published).",
    )
    alignment_weight: Weight = Field(
        0.5,
        description="Weight of 1 - cosine between the latents of one pose. The contrastive loss only ranks: without alignment, "
        "the latents of an embodiment with few joints (a gripper) may lie far from those of the others.",
    )
    cross_weight: Weight = Field(
        1.0,
        description="Weight in L_recon of decoding embodiment j from the latent of embodiment i; decoding i from i has weight 1.",
    )
    fingertip_weight: Weight = Field(0.5, description="Weight of the distance from decoded to desired fingertips [1/cm].")
    pinch_weight: Weight = Field(0.5, description="Weight of the error of the thumb-to-finger vectors near contact [1/cm].")
    latent_noise: Weight = Field(
        0.02, description="Standard deviation of the noise on the decoders' input in training, as a fraction of a latent's length."
    )

    def temperature(self, progress: float) -> float:
        """InfoNCE temperature at a fraction (0 to 1) of stage 2."""
        if not self.annealing:
            return self.temperature_end
        return self.temperature_start * (self.temperature_end / self.temperature_start) ** progress
