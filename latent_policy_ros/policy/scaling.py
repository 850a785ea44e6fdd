"""Conversion of states and action chunks to the network's scaled vectors, and back."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

POSE = 9  # position 3, rotation 6
POSITION, ROTATION = slice(0, 3), slice(3, 9)
LATENT = slice(9, None)  # of an action
STATE_LATENT, APERTURE = slice(9, -1), slice(-1, None)  # of a state


@dataclass(frozen=True)
class Scaling:
    """Offsets and scales that map states and chunks to about [-1, 1].

    The components of a group (position, rotation, latent, aperture) share one scale, which preserves geometry. Positions of a
    chunk are relative to the newest measured position of the grasp frame, and have one scale per step, because chunks spread
    with time.

    Attributes:
        state_offset, state_scale: For raw states, (10 + L,).
        chunk_offset, chunk_scale: For raw chunks with relative positions, (H, 9 + L).
    """

    state_offset: np.ndarray
    state_scale: np.ndarray
    chunk_offset: np.ndarray
    chunk_scale: np.ndarray

    @classmethod
    def fit(cls, states: np.ndarray, chunks: np.ndarray) -> Scaling:
        """Fit to raw states (N, 10 + L) and raw chunks with relative positions (N, H, 9 + L)."""
        return cls(*_fit(states[:, None], STATE_GROUPS)[:, 0], *_fit(chunks, ACTION_GROUPS))

    def scale_states(self, states: np.ndarray) -> np.ndarray:
        """Raw states (..., 10 + L) to scaled states."""
        return (states - self.state_offset) / self.state_scale

    def scale_chunks(self, chunks: np.ndarray) -> np.ndarray:
        """Relative chunks (B, H, 9 + L) to scaled chunks."""
        return (chunks - self.chunk_offset) / self.chunk_scale

    def unscale_chunks(self, scaled: np.ndarray) -> np.ndarray:
        """Scaled chunks (B, H, 9 + L) to relative chunks; the inverse of :meth:`scale_chunks`."""
        return scaled.astype(np.float64) * self.chunk_scale + self.chunk_offset


# Components of a group, least scale, and whether each step of a chunk has a scale of its own.
ACTION_GROUPS = ((POSITION, 0.02, True), (ROTATION, 0.1, False), (LATENT, 0.05, False))
STATE_GROUPS = ((POSITION, 0.02, True), (ROTATION, 0.1, False), (STATE_LATENT, 0.05, False), (APERTURE, 0.02, False))


def _fit(values: np.ndarray, groups: tuple[tuple[slice, float, bool], ...]) -> np.ndarray:
    """Offset and scale (2, H, D) of values (N, H, D): mid-range, and half the range of the widest component of each group."""
    lowest, highest = values.min(axis=0), values.max(axis=0)
    half = (highest - lowest) / 2
    scale = np.empty_like(half)
    for group, floor, per_step in groups:
        widest = half[:, group].max(axis=1, keepdims=True) if per_step else half[:, group].max()
        scale[:, group] = np.maximum(widest, floor)
    return np.stack([(lowest + highest) / 2, scale]).astype(np.float32)
