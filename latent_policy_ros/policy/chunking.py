"""ChunkBuffer: overlapping plans become one command at any moment, in latent space."""

from __future__ import annotations

from collections import deque

import numpy as np

from latent_policy_ros.policy.action_chunk import ActionChunk


class ChunkBuffer:
    """Keeps the last plans and answers what to do now.

    A plan whose first steps are late is entered where its time says, so nothing is executed late. Where plans overlap,
    they are averaged with weights that fall with the age of their observation: exp(-age difference / ``blend``).

    Args:
        max_age: A command is given only while the newest observation answered is at most this old [s].
        blend: Time over which an older plan loses its say [s]; 0 follows the newest alone.
        keep: Number of plans kept.
    """

    def __init__(self, max_age: float = 0.25, blend: float = 0.1, keep: int = 4) -> None:
        self.max_age, self.blend = max_age, blend
        self._chunks: deque[ActionChunk] = deque(maxlen=keep if blend > 0 else 1)

    @property
    def newest(self) -> ActionChunk | None:
        """The plan with the newest observation."""
        return self._chunks[-1] if self._chunks else None

    def clear(self) -> None:
        """Forget all plans."""
        self._chunks.clear()

    def add(self, chunk: ActionChunk) -> None:
        """Take a plan, newer than all before; after a gap longer than ``max_age`` it replaces them."""
        if self.newest is not None and chunk.stamp - self.newest.stamp > self.max_age:
            self.clear()
        self._chunks.append(chunk)

    def sample(self, now: float) -> tuple[np.ndarray, np.ndarray] | None:
        """Latent (L,) and wrist pose (7,) for time ``now`` [s]; None while there is no fresh plan for it."""
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
    """The plan at ``now``, linear between its steps and constant beyond its ends."""
    at = float(np.clip((now - chunk.stamp) / chunk.dt, 0, chunk.horizon - 1))
    before = min(int(at), max(chunk.horizon - 2, 0))
    after = min(before + 1, chunk.horizon - 1)
    weights = np.array([1 - (at - before), at - before])
    latent = weights @ chunk.latents[[before, after]]
    return latent, _mean_pose(chunk.wrist_poses[[before, after]], weights)


def _mean_pose(poses: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """Weighted mean of poses (N, 7) that are near each other; q and -q are the same rotation."""
    quaternions = poses[:, 3:] * np.where(poses[:, 3:] @ poses[-1, 3:] < 0, -1.0, 1.0)[:, None]
    quaternion = weights @ quaternions
    norm = np.linalg.norm(quaternion)
    quaternion = quaternion / norm if norm > 1e-6 else poses[-1, 3:]
    return np.concatenate([weights @ poses[:, :3], quaternion])
