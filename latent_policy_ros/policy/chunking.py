"""ChunkBuffer: temporal ensembling of overlapping action chunks in latent space."""

from __future__ import annotations

from collections import deque

import numpy as np

from latent_policy_ros.policy.action_chunk import ActionChunk


class ChunkBuffer:
    """The most recent action chunks, interpolated and blended for any time.

    Steps are scheduled by the stamp of their observation, so late steps of a delayed chunk are skipped. Overlapping chunks are
    averaged with weights exp(-d / ``blend``), where d is the age of a chunk's observation relative to the newest one.

    Args:
        max_age: Maximum age of the newest observation for which actions are returned [s].
        blend: Exponential blending time constant [s]; 0 uses the newest chunk alone.
        keep: Number of chunks kept.
    """

    def __init__(self, max_age: float = 0.25, blend: float = 0.1, keep: int = 4) -> None:
        self.max_age, self.blend = max_age, blend
        self._chunks: deque[ActionChunk] = deque(maxlen=keep if blend > 0 else 1)

    @property
    def newest(self) -> ActionChunk | None:
        """The chunk with the newest observation."""
        return self._chunks[-1] if self._chunks else None

    def clear(self) -> None:
        """Remove all chunks."""
        self._chunks.clear()

    def add(self, chunk: ActionChunk) -> None:
        """Add a chunk that is newer than all others. After a gap longer than ``max_age`` it replaces them."""
        if self.newest is not None and chunk.stamp - self.newest.stamp > self.max_age:
            self.clear()
        self._chunks.append(chunk)

    def sample(self, now: float) -> tuple[np.ndarray, np.ndarray] | None:
        """Latent (L,) and wrist pose (7,) for time ``now`` [s]; None without a fresh chunk for that time."""
        newest = self.newest
        if newest is None or not newest.stamp - newest.dt <= now <= min(newest.stamp + self.max_age, newest.end + newest.dt):
            return None
        live = [chunk for chunk in self._chunks if now <= chunk.end or chunk is newest]
        ages = np.array([newest.stamp - chunk.stamp for chunk in live])
        weights = np.exp(-ages / max(self.blend, 1e-9))
        weights /= weights.sum()
        steps = [_step(chunk, now) for chunk in live]
        latent = weights @ np.stack([latent for latent, _ in steps])
        return latent, _mean_pose(np.stack([pose for _, pose in steps]), weights)


def _step(chunk: ActionChunk, now: float) -> tuple[np.ndarray, np.ndarray]:
    """Action of a chunk at ``now``: linear interpolation between steps, constant beyond the ends."""
    at = float(np.clip((now - chunk.stamp) / chunk.dt, 0, chunk.horizon - 1))
    before = min(int(at), max(chunk.horizon - 2, 0))
    after = min(before + 1, chunk.horizon - 1)
    weights = np.array([1 - (at - before), at - before])
    latent = weights @ chunk.latents[[before, after]]
    return latent, _mean_pose(chunk.wrist_poses[[before, after]], weights)


def _mean_pose(poses: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """Weighted mean of nearby poses (N, 7). q and -q are treated as the same rotation."""
    quaternions = poses[:, 3:] * np.where(poses[:, 3:] @ poses[-1, 3:] < 0, -1.0, 1.0)[:, None]
    quaternion = weights @ quaternions
    norm = np.linalg.norm(quaternion)
    quaternion = quaternion / norm if norm > 1e-6 else poses[-1, 3:]
    return np.concatenate([weights @ poses[:, :3], quaternion])
