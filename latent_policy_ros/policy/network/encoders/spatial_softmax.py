"""Spatial softmax: positions of learned keypoints in a feature map."""

from __future__ import annotations

import torch
from torch import Tensor, nn


def expected_positions(attention: Tensor, shifts: Tensor | None, image_size: int) -> Tensor:
    """Mean positions (N, K, 2), right and down from -1 to 1, of attention maps (N, K, H, W) that sum to 1.

    Args:
        attention: Attention maps.
        shifts: Shift of each image's content to the right and down [px], (N, 2). It is subtracted, so that augmentation does
            not change the position of an object in the scene. None: not shifted.
        image_size: Height and width of the images [px].
    """
    with torch.autocast(attention.device.type, enabled=False):
        height, width = attention.shape[2:]
        down = attention.sum(dim=3) @ torch.linspace(-1, 1, height, device=attention.device)
        right = attention.sum(dim=2) @ torch.linspace(-1, 1, width, device=attention.device)
        positions = torch.stack([right, down], dim=2)
        return positions if shifts is None else positions - 2 * shifts[:, None, :] / image_size


class SpatialSoftmax(nn.Module):
    """Keypoint positions of a feature map (Finn et al. 2016: Deep Spatial Autoencoders).

    Args:
        channels: Channels C of the feature map.
        keypoints: Number of keypoints K.
        image_size: Height and width of the images [px].
    """

    def __init__(self, channels: int, keypoints: int, image_size: int) -> None:
        super().__init__()
        self.image_size = image_size
        self.heads = nn.Conv2d(channels, keypoints, 1)

    def forward(self, features: Tensor, shifts: Tensor | None) -> Tensor:
        """Positions (N, 2 K) from feature maps (N, C, H, W) and shifts as in :func:`expected_positions`."""
        logits = self.heads(features).float()
        attention = logits.flatten(2).softmax(dim=2).view_as(logits)
        return expected_positions(attention, shifts, self.image_size).flatten(1)
