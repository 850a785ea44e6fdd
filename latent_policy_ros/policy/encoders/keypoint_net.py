"""A camera's image to the places of learned keypoints, and what is there."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor, nn


class KeypointNet(nn.Module):
    """A small convolutional network with a spatial softmax: where it looks, to a fraction of a pixel, and what it sees.

    Args:
        keypoints: Number of keypoints K.
        features: Length F of the output.
        channels: Width of the convolutions.
    """

    def __init__(self, keypoints: int, features: int, channels: int = 64) -> None:
        super().__init__()
        self.trunk = nn.Sequential(
            nn.Conv2d(3, channels, 8, stride=4, padding=2),
            nn.ReLU(inplace=True),
            nn.Conv2d(channels, channels, 3, padding=1),
            nn.ReLU(inplace=True),
            nn.Conv2d(channels, channels, 3, padding=2, dilation=2),
            nn.ReLU(inplace=True),
        )
        self.heads = nn.Conv2d(channels, 2 * keypoints, 1)
        self.project = nn.Linear(3 * keypoints, features)
        for layer in (*self.trunk, self.heads):
            if isinstance(layer, nn.Conv2d):  # torch's own start would leave attention even, and slow to learn
                nn.init.kaiming_normal_(layer.weight, nonlinearity="relu")
                nn.init.zeros_(layer.bias)

    def forward(self, images: Tensor, shift: Tensor | None = None) -> Tensor:
        """Features of images.

        Args:
            images: (B, H, W, 3) uint8, RGB.
            shift: By how much the contents of each image were moved right and down [pixels], (B, 2). Keypoints are
                given where they were before, so a shifted image tells the truth about the world.

        Returns:
            (B, F) float32.
        """
        x = self.trunk(images.permute(0, 3, 1, 2).float().mul_(2 / 255).sub_(1))
        height, width = x.shape[2:]
        look, see = self.heads.weight.flatten(1).chunk(2)
        look_bias, see_bias = self.heads.bias.chunk(2)
        x = x.flatten(2)
        # A weighted mean of features is projected, not a map of values weighed: the same, without the map.
        attention = (torch.matmul(look, x).float() + look_bias[:, None]).softmax(dim=2)
        seen = (torch.matmul(attention, x.mT).float() * see).sum(dim=2) + see_bias
        with torch.autocast(images.device.type, enabled=False):
            weight = attention.unflatten(2, (height, width))
            down = weight.sum(dim=3) @ torch.linspace(-1, 1, height, device=x.device)
            right = weight.sum(dim=2) @ torch.linspace(-1, 1, width, device=x.device)
            place = torch.stack([right, down], dim=2)
        if shift is not None:
            place = place - 2 * shift[:, None, :] / images.shape[1]
        return self.project(torch.cat([place.flatten(1), seen], dim=1))


def random_shift(images: np.ndarray, largest: int, generator: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    """Move the contents of each image at random; what comes in at an edge repeats the edge.

    Args:
        images: (B, H, W, 3) uint8.
        largest: Largest shift in either direction [pixels].
        generator: Draws the shifts.

    Returns:
        The moved images, and by how much each was moved right and down (B, 2) float32 [pixels].
    """
    shift = generator.integers(-largest, largest, size=(len(images), 2), endpoint=True)
    rows, columns = np.arange(images.shape[1]), np.arange(images.shape[2])
    moved = np.empty_like(images)
    for i, (right, down) in enumerate(shift):
        y = np.clip(rows - down, 0, len(rows) - 1)
        x = np.clip(columns - right, 0, len(columns) - 1)
        moved[i] = images[i].take(y, axis=0).take(x, axis=1)
    return moved, shift.astype(np.float32)
