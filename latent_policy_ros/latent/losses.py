"""What a latent space is trained for: latents of one pose are alike, and decode to what the pose is in each hand."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn.functional import normalize

CONTACT, PINCH_RANGE = 0.012, 0.04  # thumb and finger touch at this distance [m]; half as important this much farther
CENTIMETRES = 100.0


def likeness(keyvectors: Tensor, width: float) -> Tensor:
    """How alike the poses of a batch are: (B, K, 3) [m] -> (B, B), rows sum to 1.

    A Gaussian of ``width`` [m] over the root mean square of the distances between their keyvectors.
    """
    flat = keyvectors.flatten(1)
    squared = torch.cdist(flat, flat).square() / keyvectors.shape[1]
    return torch.softmax(-squared / (2 * width**2), dim=1)


def info_nce(first: Tensor, second: Tensor, temperature: float, alike: Tensor | None = None) -> Tensor:
    """InfoNCE on cosine similarity, the mean of both directions.

    Args:
        first: Latents (B, L); row b belongs to the same hand pose as row b of ``second``.
        second: Likewise; all its other rows are negatives ...
        temperature: Divides the cosines.
        alike: ... or, if given (B, B), rows are alike in these shares.
    """
    cosines = normalize(first, dim=1) @ normalize(second, dim=1).T / temperature
    partition = 0.5 * (torch.logsumexp(cosines, dim=0) + torch.logsumexp(cosines, dim=1))
    own = cosines.diagonal() if alike is None else (0.5 * (alike + alike.T) * cosines).sum(dim=1)
    return (partition - own).mean()


def misalignment(latents: Tensor, known: Tensor | None = None) -> Tensor:
    """Mean of 1 - cosine over all pairs of N latents of one pose: (N, B, L) -> (); but not over pairs of ``known`` (M, B, L).

    The square of a sum of unit vectors holds the cosines of all pairs, so the cost does not grow with their number.
    """
    cosines, pairs = _cosines(latents)
    if known is not None:
        frozen, fixed = _cosines(known)
        cosines, pairs = cosines - frozen, pairs - fixed
    return 1 - cosines / pairs


def _cosines(latents: Tensor) -> tuple[Tensor, float]:
    """(sum of the cosines of all pairs of N latents (N, B, L), mean over B; number of these pairs)."""
    count = len(latents)
    total = normalize(latents, dim=-1).sum(dim=0).square().sum(dim=-1).mean()
    return 0.5 * (total - count), count * (count - 1) / 2


def fingertip_error(tips: Tensor, truth: Tensor) -> Tensor:
    """Mean distance [cm] of fingertips (B, F, 3) [m] from where they should be, (B,)."""
    return _length(tips - truth).mean(dim=1) * CENTIMETRES


def pinch_error(tips: Tensor, truth: Tensor) -> Tensor:
    """Error [cm] of the vectors from the thumb (the first) to the fingers, in length and as a whole, the more the nearer, (B,)."""
    vectors, wanted = tips[:, 1:] - tips[:, :1], truth[:, 1:] - truth[:, :1]
    gap = _length(wanted)
    near = 1 / (1 + ((gap - CONTACT).clamp(min=0) / PINCH_RANGE) ** 4)
    errors = _length(vectors - wanted) + (_length(vectors) - gap).abs()
    return (near * errors).mean(dim=1) * CENTIMETRES


def _length(vectors: Tensor) -> Tensor:
    """Lengths (..., 3) -> (...), smooth at zero: 0.1 mm is none."""
    return (vectors.square().sum(dim=-1) + 1e-8).sqrt()
