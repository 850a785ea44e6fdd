"""Losses of the latent space: InfoNCE, alignment, fingertip and pinch errors."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn.functional import normalize

CONTACT, PINCH_RANGE = 0.012, 0.04  # thumb-to-finger distance at contact [m]; the weight of an error halves this far beyond it
CENTIMETRES = 100.0


def soft_targets(keyvectors: Tensor, width: float) -> Tensor:
    """Target probabilities for InfoNCE from the similarity of poses: (B, K, 3) [m] -> (B, B), rows sum to 1.

    A Gaussian kernel of ``width`` [m] on the RMS distance between keyvectors.
    """
    flat = keyvectors.flatten(1)
    squared = torch.cdist(flat, flat).square() / keyvectors.shape[1]
    return torch.softmax(-squared / (2 * width**2), dim=1)


def info_nce(first: Tensor, second: Tensor, temperature: float, targets: Tensor | None = None) -> Tensor:
    """Symmetric InfoNCE on cosine similarity.

    Args:
        first: Latents (B, L) of one embodiment.
        second: Latents (B, L) of another one; row b belongs to the same hand pose as row b of ``first``.
        temperature: Divisor of the cosines.
        targets: Target probabilities (B, B). None: row b is the only positive of row b, all others are negatives.
    """
    cosines = normalize(first, dim=1) @ normalize(second, dim=1).T / temperature
    partition = 0.5 * (torch.logsumexp(cosines, dim=0) + torch.logsumexp(cosines, dim=1))
    positive = cosines.diagonal() if targets is None else (0.5 * (targets + targets.T) * cosines).sum(dim=1)
    return (partition - positive).mean()


def alignment_loss(latents: Tensor, frozen: Tensor | None = None) -> Tensor:
    """Mean of 1 - cosine over all pairs of the N latents of one pose: (N, B, L) -> ().

    The squared norm of a sum of unit vectors contains the cosines of all pairs, so the cost is linear in N.

    Args:
        latents: Latents of all embodiments.
        frozen: Those of them (M, B, L) whose pairs among each other do not count.
    """
    cosines, pairs = _cosine_sum(latents)
    if frozen is not None:
        frozen_cosines, frozen_pairs = _cosine_sum(frozen)
        cosines, pairs = cosines - frozen_cosines, pairs - frozen_pairs
    return 1 - cosines / pairs


def _cosine_sum(latents: Tensor) -> tuple[Tensor, float]:
    """Sum of the cosines of all pairs of N latents (N, B, L), mean over B, and the number of pairs."""
    count = len(latents)
    total = normalize(latents, dim=-1).sum(dim=0).square().sum(dim=-1).mean()
    return 0.5 * (total - count), count * (count - 1) / 2


def fingertip_error(tips: Tensor, truth: Tensor) -> Tensor:
    """Mean distance [cm] between fingertips (B, F, 3) [m] and their true positions, (B,)."""
    return _length(tips - truth).mean(dim=1) * CENTIMETRES


def pinch_error(tips: Tensor, truth: Tensor) -> Tensor:
    """Mean error [cm] of the vectors from the thumb (first) to the fingers plus that of their lengths, (B,).

    Errors are weighted by the true thumb-to-finger distance: 1 at contact, falling to 0 for open fingers.
    """
    vectors, expected = tips[:, 1:] - tips[:, :1], truth[:, 1:] - truth[:, :1]
    gap = _length(expected)
    weight = 1 / (1 + ((gap - CONTACT).clamp(min=0) / PINCH_RANGE) ** 4)
    errors = _length(vectors - expected) + (_length(vectors) - gap).abs()
    return (weight * errors).mean(dim=1) * CENTIMETRES


def _length(vectors: Tensor) -> Tensor:
    """Lengths (...) of vectors (..., 3), smoothed at zero by 0.1 mm."""
    return (vectors.square().sum(dim=-1) + 1e-8).sqrt()
