"""Workspace of the fingers, and the smallest distance between the thumb and each finger."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from latent_policy_ros.embodiments import Embodiment, HandKinematics

CAN_PINCH = 0.005  # largest distance between two tips that counts as a pinch [m]
STARTS, ITERATIONS = 8, 60
AT_LIMIT = 1e-9  # a joint nearer to its limit than this [rad or m] is at the limit


@dataclass(frozen=True)
class FingerReach:
    """Workspace of one finger over the ranges of its joints, in the hand frame.

    Attributes:
        finger: Name of the finger.
        length: Length along the links from the first hinge to the tip [m].
        farthest: Largest distance from the first hinge to the tip [m].
        lower, upper: Bounds of the positions of the tip: x, y, z [m].
        thumb_gap: Smallest distance between the tips of thumb and finger [m]; None for the thumb.
    """

    finger: str
    length: float
    farthest: float
    lower: tuple[float, ...]
    upper: tuple[float, ...]
    thumb_gap: float | None

    @property
    def can_pinch(self) -> bool:
        """Whether the tips of thumb and finger can meet."""
        return self.thumb_gap is not None and self.thumb_gap <= CAN_PINCH


def random_joints(embodiment: Embodiment, count: int, seed: int = 0) -> np.ndarray:
    """Samples (B, n) of joints: all at their limits, each in turn with the others at rest, and ``count`` random ones."""
    lower, upper, n = embodiment.lower, embodiment.upper, len(embodiment.joint_names)
    alone = np.tile(embodiment.rest, (2 * n, 1))
    alone[np.arange(n), np.arange(n)], alone[n + np.arange(n), np.arange(n)] = lower, upper
    drawn = np.random.default_rng(seed).uniform(lower, upper, (count, n))
    return np.concatenate((lower[None], upper[None], alone, drawn))


def finger_reaches(embodiment: Embodiment, q: np.ndarray) -> tuple[FingerReach, ...]:
    """Workspaces of all fingers, over samples q (B, n) of the joints."""
    kinematics = HandKinematics(embodiment)
    tips = kinematics.fingertips(q)
    gaps = thumb_gaps(kinematics, q)
    reaches = []
    for i, (finger, points) in enumerate(kinematics.fingers_at_zero().items()):
        knuckle, place = points[0], tips[:, i]
        # The first hinge of a finger is fixed in the palm, so that its point is the same at all q.
        length = float(np.linalg.norm(np.diff(points, axis=0), axis=1).sum())
        farthest = float(np.linalg.norm(place - knuckle, axis=1).max())
        lower, upper = (tuple(corner.tolist()) for corner in (place.min(axis=0), place.max(axis=0)))
        reaches.append(FingerReach(finger, length, farthest, lower, upper, gaps.get(finger)))
    return tuple(reaches)


def thumb_gaps(kinematics: HandKinematics, q: np.ndarray) -> dict[str, float]:
    """Smallest distance [m] of the thumb tip to every other tip within limits, minimised from the best samples of q (B, n)."""
    tips = kinematics.fingertips(q)
    embodiment = kinematics.embodiment
    starts, other = [], []
    for i in range(1, len(kinematics.fingers)):
        best = np.argsort(np.linalg.norm(tips[:, i] - tips[:, 0], axis=1))[:STARTS]
        starts.append(q[best])
        other += [i] * len(best)
    found = _minimise_gap(kinematics, np.concatenate(starts), np.array(other), embodiment.lower, embodiment.upper)
    return {finger: float(found[np.array(other) == i].min()) for i, finger in enumerate(kinematics.fingers) if i > 0}


def _minimise_gap(kinematics: HandKinematics, q: np.ndarray, other: np.ndarray, lower: np.ndarray, upper: np.ndarray) -> np.ndarray:
    """Distances (B,) [m] of the thumb tip and tip ``other`` (B,) after damped least-squares steps from q (B, n)."""
    rows = np.arange(len(q))

    def gap_of(q: np.ndarray) -> np.ndarray:
        tips = kinematics.fingertips(q)
        return tips[rows, other] - tips[:, 0]

    gap, damping = gap_of(q), np.full(len(q), 1e-4)
    for _ in range(ITERATIONS):
        by_tip = kinematics.jacobian(q)
        jacobian = by_tip[rows, other] - by_tip[:, 0]
        slope = np.einsum("bin,bi->bn", jacobian, gap)
        free = ~(((q <= lower + AT_LIMIT) & (slope > 0)) | ((q >= upper - AT_LIMIT) & (slope < 0)))
        jacobian = jacobian * free[:, None]
        matrix = jacobian @ jacobian.swapaxes(1, 2) + damping[:, None, None] * np.eye(3)
        step = np.einsum("bin,bi->bn", jacobian, np.linalg.solve(matrix, gap[..., None])[..., 0])
        trial = np.clip(q - step, lower, upper)
        trial_gap = gap_of(trial)
        better = np.linalg.norm(trial_gap, axis=1) < np.linalg.norm(gap, axis=1)
        q, gap = np.where(better[:, None], trial, q), np.where(better[:, None], trial_gap, gap)
        damping = np.clip(np.where(better, damping * 0.3, damping * 8.0), 1e-9, 1e2)
    return np.linalg.norm(gap, axis=1)
