"""ChunkBuffer: overlapping action chunks, blended without steps in position or velocity."""

from __future__ import annotations

import math
from collections import deque
from dataclasses import dataclass

import numpy as np

from latent_policy_ros.policy.action_chunk import ActionChunk


@dataclass(frozen=True)
class _Arrival:
    chunk: ActionChunk
    time: float  # from which the chunk fades in [s]
    actions: np.ndarray  # (1 + H + 1, 7 + L): wrist poses whose quaternions have no change of sign, and latents


class ChunkBuffer:
    """The most recent action chunks, interpolated and blended for any time.

    Steps are scheduled by the stamp of their observation, so late steps of a delayed chunk are skipped. A new chunk replaces the
    blend of the previous ones within ``blend`` seconds after its arrival, by weights that start and end with zero slope. Steps of a
    chunk are interpolated by cubic polynomials (Catmull and Rom). Actions and their velocities are therefore continuous.

    Args:
        max_age: Maximum age of the newest observation for which actions are returned [s].
        blend: Time in which a new chunk replaces the previous ones [s]; 0 replaces them at once.
    """

    def __init__(self, max_age: float = 0.25, blend: float = 0.2) -> None:
        self.max_age, self.blend = max_age, blend
        self._arrivals: deque[_Arrival] = deque()  # oldest first; the oldest has replaced everything before it

    @property
    def newest(self) -> ActionChunk | None:
        """The chunk with the newest observation."""
        return self._arrivals[-1].chunk if self._arrivals else None

    def clear(self) -> None:
        """Remove all chunks."""
        self._arrivals.clear()

    def add(self, chunk: ActionChunk, now: float) -> None:
        """Add a chunk that is newer than all others and arrived at ``now`` [s].

        After a gap longer than ``max_age`` it replaces the others at once.
        """
        if self.newest is not None and chunk.stamp - self.newest.stamp > self.max_age:
            self.clear()
        actions = np.hstack([_without_sign_changes(chunk.wrist_poses), chunk.latents])
        self._arrivals.append(_Arrival(chunk, now, _with_ends(actions)))

    def sample(self, now: float) -> tuple[np.ndarray, np.ndarray] | None:
        """Latent (L,) and wrist pose (7,) for time ``now`` [s]; None without a fresh chunk for that time."""
        newest = self.newest
        if newest is None or not newest.stamp - newest.dt <= now <= min(newest.stamp + self.max_age, newest.end + newest.dt):
            return None
        while len(self._arrivals) > 1 and self._share(self._arrivals[1], now) >= 1.0:
            self._arrivals.popleft()
        weights, rest = [], 1.0  # newest first
        for arrival in list(self._arrivals)[:0:-1]:
            share = self._share(arrival, now)
            weights.append(rest * share)
            rest *= 1.0 - share
        blend = np.array([rest, *reversed(weights)])
        actions = np.array([_step(arrival, now) for arrival in self._arrivals])
        mean = _unit_rotation(blend @ (_without_sign_changes(actions) if len(actions) > 1 else actions))
        return mean[7:], mean[:7]

    def _share(self, arrival: _Arrival, now: float) -> float:
        """Weight of a chunk against all before it: from 0 at its arrival to 1 after ``blend``."""
        if self.blend <= 0.0:
            return 1.0
        x = min(1.0, max(0.0, (now - arrival.time) / self.blend))
        return x * x * (3.0 - 2.0 * x)


def _step(arrival: _Arrival, now: float) -> np.ndarray:
    """Action (7 + L,) of a chunk at ``now``: cubic interpolation between steps, constant beyond the ends."""
    chunk = arrival.chunk
    at = min(max((now - chunk.stamp) / chunk.dt, 0.0), chunk.horizon - 1.0)
    before = min(int(at), len(arrival.actions) - 4)
    return _unit_rotation(_catmull_rom(at - before) @ arrival.actions[before : before + 4])


def _with_ends(actions: np.ndarray) -> np.ndarray:
    """Actions (H, d) with one more at each end, on the line through the last two; a single one is repeated."""
    if len(actions) == 1:
        actions = np.repeat(actions, 2, axis=0)
    return np.vstack([2.0 * actions[0] - actions[1], actions, 2.0 * actions[-1] - actions[-2]])


def _catmull_rom(x: float) -> np.ndarray:
    """Weights (4,) of four steps, for the share ``x`` of the way from the second to the third."""
    x2, x3 = x * x, x * x * x
    return 0.5 * np.array([-x + 2 * x2 - x3, 2 - 5 * x2 + 3 * x3, x + 4 * x2 - 3 * x3, x3 - x2])


def _without_sign_changes(actions: np.ndarray) -> np.ndarray:
    """Actions (N, 7 ...) whose neighbouring quaternions have no angle above 90 degrees; q and -q are the same rotation."""
    quaternions = actions[:, 3:7]
    changes = (quaternions[1:] * quaternions[:-1]).sum(axis=1) < 0.0
    if not changes.any():
        return actions
    actions = actions.copy()
    actions[1:, 3:7] *= np.where(np.cumsum(changes) % 2, -1.0, 1.0)[:, None]
    return actions


def _unit_rotation(action: np.ndarray) -> np.ndarray:
    """An action (7 + L,), a mean of nearby ones, with its quaternion scaled to length 1."""
    action[3:7] /= max(math.sqrt(action[3:7] @ action[3:7]), 1e-9)
    return action
