"""Objective: losses of a batch of paired actions over all pairs of embodiments."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from itertools import combinations
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor

from latent_policy_ros.embodiments.kinematics.torch_kinematics import torch_fingertips
from latent_policy_ros.latent.losses import alignment_loss, fingertip_error, info_nce, pinch_error, soft_targets
from latent_policy_ros.latent.networks import TorchCodec
from latent_policy_ros.latent.settings import LatentSettings

if TYPE_CHECKING:
    from latent_policy_ros.embodiments import Embodiment


class Objective:
    """Losses of batches of paired actions.

    Args:
        settings: Weights of the losses.
        codecs: Encoder and decoder of each embodiment.
        embodiments: Embodiments of the codecs, by name.
        actions: Paired actions {name: (N, d)}.
        keyvectors: Keyvectors (N, K, 3) [m] of the human poses that the actions were retargeted from; None without soft targets.
        learning: Names of the codecs that are trained; None: all. Pairs of two others are left out.
        frozen_decoders: Number of frozen decoders, chosen at random, that decode latents of the trained encoders in each batch.
    """

    def __init__(
        self, settings: LatentSettings, codecs: Mapping[str, TorchCodec], embodiments: Mapping[str, Embodiment],
        actions: Mapping[str, np.ndarray], keyvectors: np.ndarray | None, learning: Collection[str] | None = None,
        frozen_decoders: int = 2,
    ) -> None:  # fmt: skip
        self.settings, self.codecs = settings, codecs
        self.names = sorted(codecs)
        self.learning = set(self.names if learning is None else learning)
        self.frozen_decoders = frozen_decoders
        tensors = {name: torch.as_tensor(np.asarray(actions[name], dtype=np.float32)) for name in self.names}
        self.scores = {name: codecs[name].normalise(tensors[name]) for name in self.names}
        frozen = [name for name in self.names if name not in self.learning]
        with torch.no_grad():  # latents of frozen encoders are the same in every step
            self.frozen_latents = {name: codecs[name].encode(self.scores[name]) for name in frozen}
        self.keyvectors = None
        if settings.soft_targets > 0 and (settings.contrastive_steps > 0 or settings.contrastive_weight > 0):
            self.keyvectors = torch.as_tensor(np.asarray(keyvectors, dtype=np.float32))
        self.fingertips, self.tips = {}, {}
        if settings.fingertip_weight > 0 or settings.pinch_weight > 0:
            self.fingertips = {name: torch_fingertips(embodiments[name]) for name in self.names}
            self.tips = {name: self.fingertips[name](tensors[name]) for name in self.names}

    def __len__(self) -> int:
        return len(next(iter(self.scores.values())))

    def encode(self, rows: Tensor) -> dict[str, Tensor]:
        """Latents (B, L) of these rows, for every embodiment."""
        frozen = {name: z[rows] for name, z in self.frozen_latents.items()}
        return {n: frozen[n] if n in frozen else self.codecs[n].encode(self.scores[n][rows]) for n in self.names}

    def contrast(self, z: Mapping[str, Tensor], rows: Tensor, temperature: float) -> Tensor:
        """Mean InfoNCE over all pairs of embodiments with at least one trained codec."""
        n = self.settings.contrastive_batch or len(rows)
        targets = None if self.keyvectors is None else soft_targets(self.keyvectors[rows[:n]], self.settings.soft_targets)
        return torch.stack([info_nce(z[i][:n], z[j][:n], temperature, targets) for i, j in self._pairs()]).mean()

    def alignment(self, z: Mapping[str, Tensor]) -> Tensor:
        """Mean of 1 - cosine between latents of one pose, over all pairs of embodiments with at least one trained codec."""
        frozen = [z[name] for name in self.names if name not in self.learning]
        return alignment_loss(torch.stack([z[name] for name in self.names]), torch.stack(frozen) if frozen else None)

    def _pairs(self) -> list[tuple[str, str]]:
        return [pair for pair in combinations(self.names, 2) if self.learning & set(pair)]

    def reconstruction(self, z: Mapping[str, Tensor], rows: Tensor) -> tuple[Tensor, Tensor]:
        """Mean errors of decoding each embodiment from its own latents, and from latents of others.

        Each row is decoded from the latent of one other embodiment, chosen at random, so that the cost is linear in the
        number of embodiments.
        """
        own, cross = [], []
        everyone = torch.stack([z[name] for name in self.names])
        frozen = [name for name in self.names if name not in self.learning]
        decoding = self.learning | {frozen[i] for i in torch.randperm(len(frozen))[: self.frozen_decoders]}
        for j, name in enumerate(self.names):
            if name not in decoding:
                continue
            learns = name in self.learning
            latents = [z[name]] if learns else []
            if self.settings.cross_weight > 0:
                sources = [i for i in range(len(self.names)) if i != j and (learns or self.names[i] in self.learning)]
                chosen = torch.tensor(sources)[torch.randint(len(sources), (len(rows),))]
                latents.append(everyone[chosen, torch.arange(len(rows))])
            errors = list(self._errors(name, latents, rows))
            own += errors[:1] if learns else []
            cross += errors[1:] if learns else errors
        return torch.stack(own).mean(), torch.stack(cross).mean() if cross else torch.zeros(())

    def _errors(self, name: str, latents: list[Tensor], rows: Tensor) -> Tensor:
        """Mean errors (K,) of decoding K batches of latents (B, L) to the actions of these rows."""
        s, codec, count = self.settings, self.codecs[name], len(latents)
        z = torch.cat(latents)
        if s.latent_noise > 0:
            z = z + s.latent_noise / z.shape[-1] ** 0.5 * torch.randn_like(z)
        scores = codec.decode(z)
        loss = (scores - self.scores[name][rows].repeat(count, 1)).square().mean(dim=1)
        if self.fingertips:
            tips, truth = self.fingertips[name](codec.act(scores)), self.tips[name][rows].repeat(count, 1, 1)
            loss = loss + s.fingertip_weight * fingertip_error(tips, truth) + s.pinch_weight * pinch_error(tips, truth)
        return loss.reshape(count, -1).mean(dim=1)
