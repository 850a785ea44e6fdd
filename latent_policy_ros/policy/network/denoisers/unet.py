"""UNetDenoiser: 1-D U-Net over the steps of the action chunk, modulated by the observation and the noise level."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from latent_policy_ros.policy.network.denoisers.embedding import LevelEmbedding
from latent_policy_ros.policy.network.denoisers.step_convolution import Downsampling, StepConvolution, Upsampling


class ConvolutionBlock(nn.Module):
    """Convolution over the steps, group normalisation and SiLU; (T, B, inputs) to (T, B, outputs).

    The paper has Mish, a function of nearly the same values. Its gradient takes a quarter of a training step on a CPU.
    """

    def __init__(self, inputs: int, outputs: int, kernel: int, groups: int) -> None:
        super().__init__()
        self.convolution = StepConvolution(inputs, outputs, kernel)
        self.norm = nn.GroupNorm(groups, outputs)

    def forward(self, x: Tensor) -> Tensor:
        # As (B, C, T, 1) with channels last in memory, for which the normalisation has a fast kernel.
        x = self.convolution(x).transpose(0, 1).contiguous().transpose(1, 2)[..., None]
        return F.silu(self.norm(x))[..., 0].permute(2, 0, 1)


class ResidualBlock(nn.Module):
    """Two convolution blocks with a shortcut; the activations between them are scaled and shifted by the condition (FiLM)."""

    def __init__(self, inputs: int, outputs: int, condition_dim: int, kernel: int, groups: int) -> None:
        super().__init__()
        self.first = ConvolutionBlock(inputs, outputs, kernel, groups)
        self.modulation = nn.Linear(condition_dim, 2 * outputs)
        self.second = ConvolutionBlock(outputs, outputs, kernel, groups)
        self.shortcut = nn.Linear(inputs, outputs) if inputs != outputs else nn.Identity()

    def forward(self, x: Tensor, condition: Tensor) -> Tensor:
        scale, shift = self.modulation(condition).chunk(2, dim=1)
        return self.second(self.first(x) * (1 + scale) + shift) + self.shortcut(x)


class ResidualBlocks(nn.ModuleList):
    """Residual blocks in a row, all under the same condition."""

    def forward(self, x: Tensor, condition: Tensor) -> Tensor:
        for block in self:
            x = block(x, condition)
        return x


class UNetDenoiser(nn.Module):
    """Denoiser with convolutions over the steps at several resolutions (Chi et al. 2023: Diffusion Policy).

    Args:
        horizon: Steps of the chunk H; a multiple of ``2 ** (len(widths) - 1)``.
        action_dim: Numbers per step A.
        condition_dim: Length of the condition C.
        widths: Channels at each resolution; each has half the steps of the one before. Multiples of ``groups``.
        kernel: Size of the convolutions; odd.
        groups: Groups of the normalisation.
    """

    def __init__(
        self,
        horizon: int,
        action_dim: int,
        condition_dim: int,
        *,
        widths: tuple[int, ...] = (128, 256, 512),
        kernel: int = 5,
        groups: int = 8,
    ) -> None:
        super().__init__()
        if horizon % (multiple := 2 ** (len(widths) - 1)):
            raise ValueError(f"horizon: expected a multiple of {multiple}, as there are {len(widths)} widths; got {horizon}")
        if any(width % groups for width in widths):
            raise ValueError(f"widths: expected multiples of groups = {groups}, got {list(widths)}")
        if not kernel % 2:
            raise ValueError(f"kernel: expected an odd number, got {kernel}")

        def block(inputs: int, outputs: int) -> ResidualBlock:
            return ResidualBlock(inputs, outputs, condition_dim, kernel, groups)

        self.time = LevelEmbedding(condition_dim)
        pairs = list(zip((action_dim, *widths), widths))
        self.down = nn.ModuleList(ResidualBlocks([block(a, b), block(b, b)]) for a, b in pairs)
        self.shrink = nn.ModuleList(Downsampling(width) for width in widths[:-1])
        self.middle = ResidualBlocks(block(widths[-1], widths[-1]) for _ in range(2))
        self.up = nn.ModuleList(ResidualBlocks([block(2 * b, a), block(a, a)]) for a, b in reversed(pairs[1:]))
        self.grow = nn.ModuleList(Upsampling(width) for width in reversed(widths[:-1]))
        self.outward = nn.Sequential(ConvolutionBlock(widths[0], widths[0], kernel, groups), nn.Linear(widths[0], action_dim))

    def forward(self, noisy: Tensor, t: Tensor, condition: Tensor) -> Tensor:
        """Clean chunks (B, H, A) from noisy chunks (B, H, A), noise levels (B,) and conditions (B, C)."""
        condition = F.silu(condition + self.time(t))
        x, skips = noisy.transpose(0, 1), []
        for level, blocks in enumerate(self.down):
            x = blocks(x, condition)
            skips.append(x)
            if level < len(self.shrink):
                x = self.shrink[level](x)
        x = self.middle(x, condition)
        for blocks, grow in zip(self.up, self.grow):  # as published, without the skip of the first level
            x = grow(blocks(torch.cat([x, skips.pop()], dim=2), condition))
        return self.outward(x).transpose(0, 1)
