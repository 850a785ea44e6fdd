"""What the networks see: states and plans as numbers near [-1, 1], and back. Forward and inverse stand side by side."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from latent_policy_ros.policy.rotations import quaternion, rotation_6d

WRIST = 9  # position 3, rotation 6
POSITION, ROTATION = slice(0, 3), slice(3, 9)
LATENT = slice(9, None)


def flatten(wrist_pose: np.ndarray, latent: np.ndarray) -> np.ndarray:
    """Wrist poses (..., 7) and latents (..., L) to raw vectors (..., 9 + L): position [m], 6D rotation, latent."""
    return np.concatenate([wrist_pose[..., :3], rotation_6d(wrist_pose[..., 3:]), latent], axis=-1).astype(np.float32)


@dataclass(frozen=True)
class Scaling:
    """Offsets and scales. A group of like numbers (position, rotation, latent) shares one scale: geometry is kept.

    Positions of a plan are relative to the wrist's newest measured position, and have a scale for each step, since
    a plan spreads with time.

    Attributes:
        state_offset, state_scale: Of raw states, (9 + L,).
        plan_offset, plan_scale: Of raw plans with relative positions, (H, 9 + L).
    """

    state_offset: np.ndarray
    state_scale: np.ndarray
    plan_offset: np.ndarray
    plan_scale: np.ndarray

    @classmethod
    def of(cls, states: np.ndarray, plans: np.ndarray) -> Scaling:
        """Fit to raw states (N, 9 + L) and raw plans with relative positions (N, H, 9 + L)."""
        return cls(*_fit(states[:, None])[:, 0], *_fit(plans))

    def scale_states(self, states: np.ndarray) -> np.ndarray:
        """Raw states (..., 9 + L) to scaled ones."""
        return (states - self.state_offset) / self.state_scale

    def scale_plans(self, plans: np.ndarray, position: np.ndarray) -> np.ndarray:
        """Raw plans (B, H, 9 + L) in the base frame, and newest measured positions (B, 3), to scaled plans."""
        relative = plans.copy()
        relative[..., POSITION] -= position[:, None]
        return (relative - self.plan_offset) / self.plan_scale

    def unscale_plans(self, scaled: np.ndarray, position: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Scaled plans (B, H, 9 + L) to wrist poses (B, H, 7) in the base frame, and latents (B, H, L)."""
        raw = scaled.astype(np.float64) * self.plan_scale + self.plan_offset
        wrist = np.concatenate([raw[..., POSITION] + position[:, None], quaternion(raw[..., ROTATION])], axis=-1)
        return wrist, raw[..., LATENT]


def _fit(values: np.ndarray) -> np.ndarray:
    """Offset and scale (2, H, 9 + L) of values (N, H, 9 + L): middle of the range, half of the group's largest."""
    lowest, highest = values.min(axis=0), values.max(axis=0)
    half = (highest - lowest) / 2
    scale = np.empty_like(half)
    for group, floor, per_step in ((POSITION, 0.02, True), (ROTATION, 0.1, False), (LATENT, 0.05, False)):
        widest = half[:, group].max(axis=1, keepdims=True) if per_step else half[:, group].max()
        scale[:, group] = np.maximum(widest, floor)
    return np.stack([(lowest + highest) / 2, scale]).astype(np.float32)
