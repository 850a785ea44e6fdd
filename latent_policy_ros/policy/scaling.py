"""Conversion of states and action chunks to the network's scaled vectors, and back."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from latent_policy_ros.policy.rotations import quaternion_to_rotation_6d, rotation_6d_to_quaternion

WRIST = 9  # position 3, rotation 6
POSITION, ROTATION = slice(0, 3), slice(3, 9)
LATENT = slice(9, None)


def flatten(wrist_pose: np.ndarray, latent: np.ndarray) -> np.ndarray:
    """Wrist poses (..., 7) and latents (..., L) to raw vectors (..., 9 + L): position [m], 6D rotation, latent."""
    return np.concatenate([wrist_pose[..., :3], quaternion_to_rotation_6d(wrist_pose[..., 3:]), latent], axis=-1).astype(np.float32)


@dataclass(frozen=True)
class Scaling:
    """Offsets and scales that map states and chunks to about [-1, 1].

    The components of a group (position, rotation, latent) share one scale, which preserves geometry. Positions of a chunk are
    relative to the newest measured wrist position, and have one scale per step, because chunks spread with time.

    Attributes:
        state_offset, state_scale: For raw states, (9 + L,).
        chunk_offset, chunk_scale: For raw chunks with relative positions, (H, 9 + L).
    """

    state_offset: np.ndarray
    state_scale: np.ndarray
    chunk_offset: np.ndarray
    chunk_scale: np.ndarray

    @classmethod
    def fit(cls, states: np.ndarray, chunks: np.ndarray) -> Scaling:
        """Fit to raw states (N, 9 + L) and raw chunks with relative positions (N, H, 9 + L)."""
        return cls(*_fit(states[:, None])[:, 0], *_fit(chunks))

    def scale_states(self, states: np.ndarray) -> np.ndarray:
        """Raw states (..., 9 + L) to scaled states."""
        return (states - self.state_offset) / self.state_scale

    def scale_chunks(self, chunks: np.ndarray, position: np.ndarray) -> np.ndarray:
        """Raw chunks (B, H, 9 + L) in the base frame and newest measured positions (B, 3) to scaled chunks."""
        relative = chunks.copy()
        relative[..., POSITION] -= position[:, None]
        return (relative - self.chunk_offset) / self.chunk_scale

    def unscale_chunks(self, scaled: np.ndarray, position: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Scaled chunks (B, H, 9 + L) to wrist poses (B, H, 7) in the base frame and latents (B, H, L)."""
        raw = scaled.astype(np.float64) * self.chunk_scale + self.chunk_offset
        quaternions = rotation_6d_to_quaternion(raw[..., ROTATION])
        return np.concatenate([raw[..., POSITION] + position[:, None], quaternions], axis=-1), raw[..., LATENT]


def _fit(values: np.ndarray) -> np.ndarray:
    """Offset and scale (2, H, 9 + L) of values (N, H, 9 + L): mid-range, and half the range of the widest in each group."""
    lowest, highest = values.min(axis=0), values.max(axis=0)
    half = (highest - lowest) / 2
    scale = np.empty_like(half)
    for group, floor, per_step in ((POSITION, 0.02, True), (ROTATION, 0.1, False), (LATENT, 0.05, False)):
        widest = half[:, group].max(axis=1, keepdims=True) if per_step else half[:, group].max()
        scale[:, group] = np.maximum(widest, floor)
    return np.stack([(lowest + highest) / 2, scale]).astype(np.float32)
