"""ObservationBatch: the inputs of the policy network, made from live observations or from demonstrations."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor


@dataclass(frozen=True)
class CameraImages:
    """Images of one camera, for those observations of a batch that have one.

    Attributes:
        rows: Index of each image's observation in the batch, (N,) int64.
        images: (N, H, W, 3) uint8, RGB.
        shifts: Random shift of each image's content to the right and down [px], (N, 2) float32; None: not shifted.
    """

    rows: Tensor
    images: Tensor
    shifts: Tensor | None = None


@dataclass(frozen=True)
class ObservationBatch:
    """B observations as the network sees them.

    This is the one way from observations to the network. A new input (a depth image, a force) is a field here, filled by
    :meth:`Policy.predict` and :meth:`DemonstrationDataset.batch`, and encoded by :meth:`PolicyNetwork.encode`.

    Attributes:
        states: Scaled histories of grasp poses, hand latents and apertures, (B, S, 10 + L) float32.
        images: Images by camera. A camera without images in this batch is absent.
        tasks: Task description of each observation, B strings; empty: unknown.
        embodiments: Name of each observation's embodiment, B strings; empty where it is withheld from the network.
    """

    states: Tensor
    images: Mapping[str, CameraImages]
    tasks: Sequence[str]
    embodiments: Sequence[str]

    def __len__(self) -> int:
        return len(self.states)

    def to(self, device: torch.device) -> ObservationBatch:
        """The same batch on another device."""
        images = {
            camera: CameraImages(c.rows.to(device), c.images.to(device), None if c.shifts is None else c.shifts.to(device))
            for camera, c in self.images.items()
        }
        return ObservationBatch(self.states.to(device), images, self.tasks, self.embodiments)
