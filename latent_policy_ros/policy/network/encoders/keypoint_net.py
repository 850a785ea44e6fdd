"""KeypointNet: image encoder that returns the positions of learned keypoints and one feature value at each."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor, nn

from latent_policy_ros.policy.network.encoders.spatial_softmax import expected_positions


class KeypointNet(nn.Module):
    """Convolutional network with a spatial softmax, which locates keypoints with sub-pixel resolution.

    Args:
        image_size: Height and width of the images [px].
        feature_dim: Length F of the output.
        keypoints: Number of keypoints K.
        channels: Number of channels of the convolutions.
        stride: Stride of the feature map [px], 4 or 8. With 8, the network takes about a third of the time.
        values: Whether the feature values count, beside the positions. They hold colours, by which a network recognises the scenes
            of few demonstrations.
        noise: Standard deviation of noise on the positions in training, as a share of half the image.

    Raises:
        ValueError: ``stride`` is neither 4 nor 8.
    """

    def __init__(
        self,
        image_size: int,
        feature_dim: int,
        *,
        keypoints: int = 48,
        channels: int = 64,
        stride: int = 4,
        values: bool = True,
        noise: float = 0.0,
    ) -> None:
        super().__init__()
        self.image_size = image_size
        if stride not in (4, 8):
            raise ValueError(f"stride: expected 4 or 8, got {stride}")
        stem = channels if stride == 4 else channels // 2
        self.trunk = nn.Sequential(
            nn.Conv2d(3, stem, 8, stride=4, padding=2),
            nn.ReLU(inplace=True),
            nn.Conv2d(stem, channels, 3, stride=stride // 4, padding=1),
            nn.ReLU(inplace=True),
            nn.Conv2d(channels, channels, 3, padding=2, dilation=2),
            nn.ReLU(inplace=True),
        )
        self.values, self.noise = values, noise
        self.heads = nn.Conv2d(channels, (1 + values) * keypoints, 1)
        self.project = nn.Linear((2 + values) * keypoints, feature_dim)
        for layer in (*self.trunk, self.heads):
            if isinstance(layer, nn.Conv2d):  # with torch's default, attention starts nearly uniform and learns slowly
                nn.init.kaiming_normal_(layer.weight, nonlinearity="relu")
                if layer.bias is not None:
                    nn.init.zeros_(layer.bias)

    def forward(self, images: Tensor, shifts: Tensor | None = None) -> Tensor:
        """Features of images.

        Args:
            images: (N, H, W, 3) uint8, RGB.
            shifts: Shift of each image's content to the right and down [px], (N, 2). It is subtracted from the keypoint
                positions, so that augmentation does not change the position of an object in the scene.

        Returns:
            (N, F) float32.
        """
        x = self.trunk(images.permute(0, 3, 1, 2).float().mul_(2 / 255).sub_(1))
        height, width = x.shape[2:]
        assert self.heads.bias is not None
        weights, biases = self.heads.weight.flatten(1).chunk(1 + self.values), self.heads.bias.chunk(1 + self.values)
        x = x.flatten(2)
        # The attention-weighted mean of the trunk's features is projected. Weighting a projected map gives the same values
        # but needs the map in memory.
        attention = (torch.matmul(weights[0], x).float() + biases[0][:, None]).softmax(dim=2)
        positions = expected_positions(attention.unflatten(2, (height, width)), shifts, self.image_size).flatten(1)
        if self.training and self.noise:
            positions = positions + self.noise * torch.randn_like(positions)
        if not self.values:
            return self.project(positions)
        values = (torch.matmul(attention, x.mT).float() * weights[1]).sum(dim=2) + biases[1]
        return self.project(torch.cat([positions, values], dim=1))


def shifted_images(images: np.ndarray, shifts: np.ndarray) -> np.ndarray:
    """Images whose content is shifted. Border pixels are replicated.

    Args:
        images: (N, H, W, 3) uint8.
        shifts: Shift of each image to the right and down [px], (N, 2) int.
    """
    rows, columns = np.arange(images.shape[1]), np.arange(images.shape[2])
    shifted = np.empty_like(images)
    for i, (right, down) in enumerate(shifts):
        y = np.clip(rows - down, 0, len(rows) - 1)
        x = np.clip(columns - right, 0, len(columns) - 1)
        shifted[i] = images[i].take(y, axis=0).take(x, axis=1)
    return shifted
