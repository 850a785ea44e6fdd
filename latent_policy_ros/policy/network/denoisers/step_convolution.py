"""Convolutions over the steps of action chunks, fast on a CPU. Activations are (T, B, C): steps, batch, channels.

A chunk has few steps and many channels, while ``torch.nn.functional.conv1d`` is made for long signals. Here, a convolution is one
matrix product per position of the kernel, over those steps for which the position is inside the chunk. As steps come first,
these are contiguous, so nothing is copied or padded. At 4 steps, a kernel of 5 needs 14 products of 20.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F


def _positions(kernel: int, steps: int) -> Iterator[tuple[int, slice, slice]]:
    """(position in the kernel, input steps, output steps) of each matrix product."""
    for k in range(kernel):
        offset = k - kernel // 2
        first, last = max(0, -offset), min(steps, steps - offset)
        if first < last:
            yield k, slice(first + offset, last + offset), slice(first, last)


class _Convolve(torch.autograd.Function):
    """``x`` (T, B, in), ``weight`` (kernel, in, out) and ``bias`` (out,) to (T, B, out)."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
        ctx.save_for_backward(x, weight)
        y = bias.expand(*x.shape[:2], -1).contiguous()
        for k, source, target in _positions(len(weight), len(x)):
            y[target].flatten(0, 1).addmm_(x[source].flatten(0, 1), weight[k])
        return y

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        x, weight = ctx.saved_tensors
        grad, grad_x, grad_weight = grad.contiguous(), torch.zeros_like(x), torch.zeros_like(weight)
        for k, source, target in _positions(len(weight), len(x)):
            rows = grad[target].flatten(0, 1)
            grad_x[source].flatten(0, 1).addmm_(rows, weight[k].T)
            torch.mm(x[source].flatten(0, 1).T, rows, out=grad_weight[k])
        return grad_x, grad_weight, grad.sum(dim=(0, 1))


class StepConvolution(nn.Module):
    """Convolution over the steps, equal to ``nn.Conv1d`` with zero padding ``kernel // 2`` and an odd kernel.

    Attributes:
        weight: (kernel, inputs, outputs).
    """

    def __init__(self, inputs: int, outputs: int, kernel: int) -> None:
        super().__init__()
        bound = 1 / math.sqrt(kernel * inputs)  # as nn.Conv1d is initialised
        self.weight = nn.Parameter(torch.empty(kernel, inputs, outputs).uniform_(-bound, bound))
        self.bias = nn.Parameter(torch.empty(outputs).uniform_(-bound, bound))

    def forward(self, x: Tensor) -> Tensor:
        """(T, B, inputs) to (T, B, outputs)."""
        dtype = x.dtype
        if torch.is_autocast_enabled(x.device.type):
            dtype = torch.get_autocast_dtype(x.device.type)
        return _Convolve.apply(x.to(dtype).contiguous(), self.weight.to(dtype), self.bias.to(dtype))


class Downsampling(nn.Linear):
    """Half the number of steps, equal to ``nn.Conv1d`` with kernel 3, stride 2 and padding 1."""

    def __init__(self, channels: int) -> None:
        super().__init__(3 * channels, channels)

    def forward(self, x: Tensor) -> Tensor:
        """(2 T, B, C) to (T, B, C)."""
        before = F.pad(x[1:-1:2], (0, 0, 0, 0, 1, 0))
        return super().forward(torch.cat([before, x[::2], x[1::2]], dim=2))


class Upsampling(nn.Module):
    """Twice the number of steps, equal to ``nn.ConvTranspose1d`` with kernel 4, stride 2 and padding 1.

    Attributes:
        even, odd: Layers of the steps 2 i and 2 i + 1, which see the steps (i - 1, i) and (i, i + 1) of the input.
    """

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.even, self.odd = nn.Linear(2 * channels, channels), nn.Linear(2 * channels, channels)

    def forward(self, x: Tensor) -> Tensor:
        """(T, B, C) to (2 T, B, C)."""
        padded = F.pad(x, (0, 0, 0, 0, 1, 1))
        pairs = torch.cat([padded[:-1], padded[1:]], dim=2)
        return torch.stack([self.even(pairs[:-1]), self.odd(pairs[1:])], dim=1).flatten(0, 1)
