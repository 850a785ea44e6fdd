"""The losses of one batch, over all pairs of embodiments that have something to learn."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from itertools import combinations
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor

from latent_policy_ros.embodiments.kinematics.torch_kinematics import torch_fingertips
from latent_policy_ros.latent.losses import fingertip_error, info_nce, likeness, misalignment, pinch_error
from latent_policy_ros.latent.networks import TorchCodec
from latent_policy_ros.latent.settings import LatentSettings

if TYPE_CHECKING:
    from latent_policy_ros.embodiments import Embodiment


class Objective:
    """Losses on batches of the rows of paired actions.

    Args:
        settings: Weights of the losses.
        codecs: Encoder and decoder of each embodiment.
        embodiments: By name, those of ``codecs``.
        actions: Paired actions {name: (N, d)}.
        keyvectors: Of the human poses they come from, (N, K, 3) [m]; None if there are no soft targets.
        learning: Which codecs learn; pairs of others are left out. Default: all.
        others: Of the codecs that do not learn, so many at random decode what the learning ones encode.
    """

    def __init__(
        self, settings: LatentSettings, codecs: Mapping[str, TorchCodec], embodiments: Mapping[str, Embodiment],
        actions: Mapping[str, np.ndarray], keyvectors: np.ndarray | None, learning: Collection[str] | None = None,
        others: int = 2,
    ) -> None:  # fmt: skip
        self.settings, self.codecs = settings, codecs
        self.names = sorted(codecs)
        self.learning = set(self.names if learning is None else learning)
        self.others = others
        actions = {name: torch.as_tensor(np.asarray(actions[name], dtype=np.float32)) for name in self.names}
        self.scores = {name: codecs[name].normalise(actions[name]) for name in self.names}
        with torch.no_grad():  # what does not learn says the same in every step
            self.said = {name: codecs[name].encode(self.scores[name]) for name in self.names if name not in self.learning}
        self.keyvectors = None
        if settings.soft_targets > 0 and (settings.contrastive_steps > 0 or settings.contrastive_weight > 0):
            self.keyvectors = torch.as_tensor(np.asarray(keyvectors, dtype=np.float32))
        self.fingertips, self.tips = {}, {}
        if settings.fingertip_weight > 0 or settings.pinch_weight > 0:
            self.fingertips = {name: torch_fingertips(embodiments[name]) for name in self.names}
            self.tips = {name: self.fingertips[name](actions[name]) for name in self.names}

    def __len__(self) -> int:
        return len(next(iter(self.scores.values())))

    def encode(self, rows: Tensor) -> dict[str, Tensor]:
        """Latents (B, L) of these rows by every embodiment."""
        return {
            name: self.said[name][rows] if name in self.said else self.codecs[name].encode(self.scores[name][rows])
            for name in self.names
        }

    def contrast(self, z: Mapping[str, Tensor], rows: Tensor, temperature: float) -> Tensor:
        """Mean InfoNCE over all pairs of embodiments of which one learns."""
        few = self.settings.contrastive_batch or len(rows)
        alike = None if self.keyvectors is None else likeness(self.keyvectors[rows[:few]], self.settings.soft_targets)
        return torch.stack([info_nce(z[i][:few], z[j][:few], temperature, alike) for i, j in self._pairs()]).mean()

    def alignment(self, z: Mapping[str, Tensor]) -> Tensor:
        """Mean of 1 - cosine between latents of one pose over all pairs of embodiments of which one learns."""
        frozen = [z[name] for name in self.names if name not in self.learning]
        return misalignment(torch.stack([z[name] for name in self.names]), torch.stack(frozen) if frozen else None)

    def _pairs(self) -> list[tuple[str, str]]:
        return [pair for pair in combinations(self.names, 2) if self.learning & set(pair)]

    def reconstruction(self, z: Mapping[str, Tensor], rows: Tensor) -> tuple[Tensor, Tensor]:
        """Mean errors of decoding: each from its own latents, and each from latents of the others.

        Every row of a batch is decoded from one of the others at random, so that the cost does not grow with the pairs.
        """
        own, cross = [], []
        everyone = torch.stack([z[name] for name in self.names])
        frozen = [name for name in self.names if name not in self.learning]
        decoding = self.learning | {frozen[i] for i in torch.randperm(len(frozen))[: self.others]}
        for j, name in enumerate(self.names):
            if name not in decoding:
                continue
            latents, learns = [z[name]] if name in self.learning else [], name in self.learning
            if self.settings.cross_weight > 0:
                sources = [i for i in range(len(self.names)) if i != j and (learns or self.names[i] in self.learning)]
                chosen = torch.tensor(sources)[torch.randint(len(sources), (len(rows),))]
                latents.append(everyone[chosen, torch.arange(len(rows))])
            errors = list(self._errors(name, latents, rows))
            own += errors[:1] if learns else []
            cross += errors[1:] if learns else errors
        return torch.stack(own).mean(), torch.stack(cross).mean() if cross else torch.zeros(())

    def _errors(self, name: str, latents: list[Tensor], rows: Tensor) -> Tensor:
        """Mean errors (K,) of decoding each of K batches of latents (B, L) to the actions in these rows."""
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
