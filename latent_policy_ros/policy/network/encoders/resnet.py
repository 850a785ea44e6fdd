"""ResNet18: the image encoder of Diffusion Policy (Chi et al. 2023), with group normalisation and a spatial softmax."""

from __future__ import annotations

from torch import Tensor, nn
from torch.nn import functional as F

from latent_policy_ros.policy.network.encoders.spatial_softmax import SpatialSoftmax

STAGES = ((64, 1), (128, 2), (256, 2), (512, 2))  # channels and stride of each pair of blocks
GROUP = 16  # channels


def _normalised(inputs: int, outputs: int, kernel: int, stride: int = 1) -> nn.Sequential:
    convolution = nn.Conv2d(inputs, outputs, kernel, stride, kernel // 2, bias=False)
    nn.init.kaiming_normal_(convolution.weight, mode="fan_out", nonlinearity="relu")
    return nn.Sequential(convolution, nn.GroupNorm(outputs // GROUP, outputs))


class BasicBlock(nn.Module):
    """Two 3x3 convolutions with a shortcut."""

    def __init__(self, inputs: int, outputs: int, stride: int) -> None:
        super().__init__()
        self.first, self.second = _normalised(inputs, outputs, 3, stride), _normalised(outputs, outputs, 3)
        self.shortcut = _normalised(inputs, outputs, 1, stride) if inputs != outputs else nn.Identity()

    def forward(self, x: Tensor) -> Tensor:
        return F.relu(self.second(F.relu(self.first(x))) + self.shortcut(x))


class ResNet18(nn.Module):
    """ResNet-18 whose batch normalisation is replaced by group normalisation, trained from random weights.

    Batch normalisation would make the averaged weights of a diffusion policy useless.

    Args:
        image_size: Height and width of the images [px].
        feature_dim: Length F of the output.
        keypoints: Keypoints of the spatial softmax over the last feature map.
    """

    def __init__(self, image_size: int, feature_dim: int, *, keypoints: int = 32) -> None:
        super().__init__()
        stem = [_normalised(3, 64, 7, 2), nn.ReLU(), nn.MaxPool2d(3, 2, 1)]
        blocks, inputs = [], 64
        for channels, stride in STAGES:
            blocks += [BasicBlock(inputs, channels, stride), BasicBlock(channels, channels, 1)]
            inputs = channels
        self.trunk = nn.Sequential(*stem, *blocks)
        self.keypoints = SpatialSoftmax(inputs, keypoints, image_size)
        self.project = nn.Linear(2 * keypoints, feature_dim)

    def forward(self, images: Tensor, shifts: Tensor | None = None) -> Tensor:
        """Features (N, F) of images (N, H, W, 3) uint8 RGB; for ``shifts`` see the registry of image encoders."""
        x = self.trunk(images.permute(0, 3, 1, 2).float().mul_(2 / 255).sub_(1))
        return self.project(self.keypoints(x, shifts))
