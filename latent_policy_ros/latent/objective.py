"""The losses of one batch, over all pairs of embodiments that have something to learn."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from itertools import combinations
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor

from latent_policy_ros.embodiments.torch_kinematics import torch_fingertips
from latent_policy_ros.latent.losses import fingertip_error, info_nce, likeness, pinch_error
from latent_policy_ros.latent.networks import TorchCodec
from latent_policy_ros.latent.recipe import LatentSettings

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
    """

    def __init__(
        self, settings: LatentSettings, codecs: Mapping[str, TorchCodec], embodiments: Mapping[str, Embodiment],
        actions: Mapping[str, np.ndarray], keyvectors: np.ndarray | None, learning: Collection[str] | None = None,
    ) -> None:  # fmt: skip
        self.settings, self.codecs = settings, codecs
        self.names = sorted(codecs)
        self.learning = set(self.names if learning is None else learning)
        actions = {name: torch.as_tensor(np.asarray(actions[name], dtype=np.float32)) for name in self.names}
        self.scores = {name: codecs[name].normalise(actions[name]) for name in self.names}
        self.keyvectors = None
        if settings.soft_targets > 0 and settings.contrastive_weight > 0:
            self.keyvectors = torch.as_tensor(np.asarray(keyvectors, dtype=np.float32))
        self.fingertips, self.tips = {}, {}
        if settings.fingertip_weight > 0 or settings.pinch_weight > 0:
            self.fingertips = {name: torch_fingertips(embodiments[name]) for name in self.names}
            self.tips = {name: self.fingertips[name](actions[name]) for name in self.names}

    def __len__(self) -> int:
        return len(next(iter(self.scores.values())))

    def encode(self, rows: Tensor) -> dict[str, Tensor]:
        """Latents (B, L) of these rows by every embodiment."""
        return {name: self.codecs[name].encode(self.scores[name][rows]) for name in self.names}

    def contrast(self, z: Mapping[str, Tensor], rows: Tensor, temperature: float) -> Tensor:
        """Mean InfoNCE over all pairs of embodiments of which one learns."""
        few = self.settings.contrastive_batch or len(rows)
        alike = None if self.keyvectors is None else likeness(self.keyvectors[rows[:few]], self.settings.soft_targets)
        pairs = [pair for pair in combinations(self.names, 2) if self.learning & set(pair)]
        return torch.stack([info_nce(z[i][:few], z[j][:few], temperature, alike) for i, j in pairs]).mean()

    def reconstruction(self, z: Mapping[str, Tensor], rows: Tensor) -> tuple[Tensor, Tensor]:
        """Mean errors of decoding: each from its own latents, and each from latents of the others.

        Every row of a batch is decoded from one of the others at random, so that the cost does not grow with the pairs.
        """
        own, cross = [], []
        everyone = torch.stack([z[name] for name in self.names])
        for j, name in enumerate(self.names):
            if name in self.learning:
                own.append(self._error(name, z[name], rows))
            if self.settings.cross_weight > 0:
                sources = [i for i in range(len(self.names)) if i != j and self.learning & {name, self.names[i]}]
                chosen = torch.tensor(sources)[torch.randint(len(sources), (len(rows),))]
                cross.append(self._error(name, everyone[chosen, torch.arange(len(rows))], rows))
        return torch.stack(own).mean(), torch.stack(cross).mean() if cross else torch.zeros(())

    def _error(self, name: str, z: Tensor, rows: Tensor) -> Tensor:
        """Error of decoding latents (B, L) to the actions in these rows."""
        s, codec = self.settings, self.codecs[name]
        z = z + s.latent_noise / z.shape[-1] ** 0.5 * torch.randn_like(z)
        scores = codec.decode(z)
        loss = (scores - self.scores[name][rows]).square().mean()
        if self.fingertips:
            tips, truth = self.fingertips[name](codec.act(scores)), self.tips[name][rows]
            loss = loss + s.fingertip_weight * fingertip_error(tips, truth) + s.pinch_weight * pinch_error(tips, truth)
        return loss
