"""Settings of the latent space and of its training."""

from __future__ import annotations

import math
from dataclasses import dataclass

from latent_policy_ros.common.settings import demand
from latent_policy_ros.retargeting.pairs import FRAMES_A_RECORDING


@dataclass(frozen=True)
class LatentSettings:
    """Settings of the latent space and its training; METHOD.md stages 1 to 3. The defaults are ours; ``latent_paper``
    in config/training has those of Bauer et al.

    Attributes:
        embodiments: Who shares the space.
        frames: Number of paired actions to make.
        seed: Of the hand motion, the initial weights and the batches.
        held_out: Fraction of the recordings kept from training, for the report.
        dim: Latent dimension L.
        hidden: Width of the one hidden layer of encoders and decoders.
        bounded: Latents of length 1. A cosine says nothing of their length, so nothing should depend on it.
        decoder_gain: How many times as long decoders see latents. Of a length of 1 each of 32 numbers has some 0.18,
            where SiLU is nearly a line.
        batch: Paired actions in a batch; in the contrast all but one are negatives.
        contrastive_steps: Steps of stage 2, encoders alone.
        decoding_steps: Steps of stage 3, decoders and encoders.
        learning_rate: Adam's, of what is trained from scratch; it falls to zero along a cosine in each stage.
        encoder_learning_rate: Adam's, of the encoders in stage 3.
        finetune_encoders: Whether encoders go on learning in stage 3.
        annealing: Whether the temperature falls in stage 2; else it is ``temperature_end`` from the start.
        temperature_start: InfoNCE temperature at the first step; it falls exponentially through stage 2 ...
        temperature_end: ... to this, and stays there in stage 3.
        contrastive_weight: lambda in L = L_recon + lambda L_NCE.
        contrastive_batch: Rows of the batch that are contrasted: its cost is quadratic. 0: all.
        soft_targets: Width [m] of the kernel that says how alike two poses are, by the root mean square of their
            keyvectors' distances; 0: only the pose itself counts as alike (InfoNCE as published).
        alignment_weight: Weight of 1 - cosine between the latents of one pose. The contrast only ranks: without this, all
            latents of an embodiment that knows little (a gripper) may lie far from those of the others.
        cross_weight: Weight in L_recon of decoding j from what another i encoded, against 1 for decoding i from i.
        fingertip_weight: Weight of the decoded fingertips' distance to where they should be [1/cm].
        pinch_weight: Weight of the error of the vectors from thumb to fingers, near contact [1/cm].
        latent_noise: Deviation of the noise that decoders learn to bear, as a length beside the unit sphere's radius.
    """

    embodiments: tuple[str, ...] = (
        "human_hand", "ability_hand", "allegro_hand", "dex3_hand", "faive_hand", "inspire_hand", "leap_hand", "mimic_hand",
        "orca_hand", "shadow_hand", "panda_gripper", "robotiq_2f85", "so101_gripper", "xarm_gripper",
    )  # fmt: skip
    frames: int = 40_000
    seed: int = 0
    held_out: float = 0.1
    dim: int = 32
    hidden: int = 256
    bounded: bool = True
    decoder_gain: float = 1.0
    batch: int = 512
    contrastive_steps: int = 0
    decoding_steps: int = 3000
    learning_rate: float = 8e-3
    encoder_learning_rate: float = 8e-3
    finetune_encoders: bool = True
    annealing: bool = True
    temperature_start: float = 0.3
    temperature_end: float = 0.05
    contrastive_weight: float = 0.0
    contrastive_batch: int = 256
    soft_targets: float = 0.01
    alignment_weight: float = 0.5
    cross_weight: float = 1.0
    fingertip_weight: float = 0.5
    pinch_weight: float = 0.5
    latent_noise: float = 0.02

    def __post_init__(self) -> None:
        if len(self.embodiments) < 2:
            raise ValueError(f"embodiments: expected at least 2 to share a space, got {list(self.embodiments)}")
        demand(self, f"more than {FRAMES_A_RECORDING}, which are one recording", lambda v: v > FRAMES_A_RECORDING, "frames")
        demand(self, "a fraction between 0 and 1", lambda v: 0 < v < 1, "held_out")
        demand(self, "at least 2", lambda v: v >= 2, "dim", "hidden", "batch")
        demand(self, "at least 1", lambda v: v >= 1, "decoding_steps")
        demand(self, "at least 0", lambda v: v >= 0, "seed", "contrastive_steps", "contrastive_batch")
        demand(
            self, "a number above 0", lambda v: 0 < v < math.inf,
            "decoder_gain", "learning_rate", "encoder_learning_rate", "temperature_start", "temperature_end",
        )  # fmt: skip
        demand(
            self, "a number of at least 0", lambda v: 0 <= v < math.inf, "contrastive_weight", "soft_targets",
            "alignment_weight", "cross_weight", "fingertip_weight", "pinch_weight", "latent_noise",
        )  # fmt: skip

    def temperature(self, done: float) -> float:
        """InfoNCE temperature when the share ``done`` of stage 2 is over."""
        if not self.annealing:
            return self.temperature_end
        return self.temperature_start * (self.temperature_end / self.temperature_start) ** done
