"""What the fingers of a hand can reach: their workspace, and whether the thumb can meet them."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from latent_policy_ros.embodiments import Embodiment, HandKinematics

CAN_PINCH = 0.005  # tips that come so close meet [m]
STARTS, STEPS = 8, 60
AT_LIMIT = 1e-9


@dataclass(frozen=True)
class FingerReach:
    """One finger over the whole range of its joints; lengths [m], hand frame.

    Attributes:
        finger: Its name.
        length: Along its links, from the knuckle to the tip.
        farthest: The longest straight way from knuckle to tip.
        lower, upper: Corners of the box around all places of the tip.
        thumb_gap: Closest that the tips of thumb and finger come; None for the thumb.
    """

    finger: str
    length: float
    farthest: float
    lower: tuple[float, float, float]
    upper: tuple[float, float, float]
    thumb_gap: float | None

    @property
    def can_pinch(self) -> bool:
        """Whether the thumb can meet the finger."""
        return self.thumb_gap is not None and self.thumb_gap <= CAN_PINCH


def random_joints(embodiment: Embodiment, count: int, seed: int = 0) -> np.ndarray:
    """Joints over the whole range: all low, all high, each alone at its ends from rest, and random ones: (B, n)."""
    lower, upper, n = embodiment.lower, embodiment.upper, len(embodiment.joint_names)
    alone = np.tile(embodiment.rest, (2 * n, 1))
    alone[np.arange(n), np.arange(n)], alone[n + np.arange(n), np.arange(n)] = lower, upper
    drawn = np.random.default_rng(seed).uniform(lower, upper, (count, n))
    return np.concatenate((lower[None], upper[None], alone, drawn))


def finger_reaches(embodiment: Embodiment, q: np.ndarray) -> tuple[FingerReach, ...]:
    """The reach of every finger, over samples q (B, n) of its joints."""
    kinematics = HandKinematics(embodiment)
    tips = kinematics.fingertips(q)
    gaps = thumb_gaps(kinematics, q)
    reaches = []
    for i, (finger, points) in enumerate(kinematics.fingers_at_zero().items()):
        knuckle, place = points[0], tips[:, i]
        # What comes before the knuckle's own hinge stands still, so the knuckle does.
        length = float(np.linalg.norm(np.diff(points, axis=0), axis=1).sum())
        farthest = float(np.linalg.norm(place - knuckle, axis=1).max())
        corners = (tuple(float(v) for v in corner) for corner in (place.min(axis=0), place.max(axis=0)))
        reaches.append(FingerReach(finger, length, farthest, *corners, gaps.get(finger)))
    return tuple(reaches)


def thumb_gaps(kinematics: HandKinematics, q: np.ndarray) -> dict[str, float]:
    """Closest distance [m] of the thumb's tip to every other tip within the limits, by descent from the best of q (B, n)."""
    tips = kinematics.fingertips(q)
    embodiment = kinematics.embodiment
    starts, other = [], []
    for i in range(1, len(kinematics.fingers)):
        best = np.argsort(np.linalg.norm(tips[:, i] - tips[:, 0], axis=1))[:STARTS]
        starts.append(q[best])
        other += [i] * len(best)
    found = _bring_together(kinematics, np.concatenate(starts), np.array(other), embodiment.lower, embodiment.upper)
    return {finger: float(found[np.array(other) == i].min()) for i, finger in enumerate(kinematics.fingers) if i > 0}


def _bring_together(
    kinematics: HandKinematics, q: np.ndarray, other: np.ndarray, lower: np.ndarray, upper: np.ndarray
) -> np.ndarray:
    """Distances (B,) after damped steps from q (B, n) that bring the thumb's tip to tip ``other`` (B,)."""
    rows = np.arange(len(q))

    def apart(q: np.ndarray) -> np.ndarray:
        tips = kinematics.fingertips(q)
        return tips[rows, other] - tips[:, 0]

    gap, damping = apart(q), np.full(len(q), 1e-4)
    for _ in range(STEPS):
        by_tip = kinematics.jacobian(q)
        jacobian = by_tip[rows, other] - by_tip[:, 0]
        slope = np.einsum("bin,bi->bn", jacobian, gap)
        free = ~(((q <= lower + AT_LIMIT) & (slope > 0)) | ((q >= upper - AT_LIMIT) & (slope < 0)))
        jacobian = jacobian * free[:, None]
        matrix = jacobian @ jacobian.swapaxes(1, 2) + damping[:, None, None] * np.eye(3)
        step = np.einsum("bin,bi->bn", jacobian, np.linalg.solve(matrix, gap[..., None])[..., 0])
        trial = np.clip(q - step, lower, upper)
        trial_gap = apart(trial)
        better = np.linalg.norm(trial_gap, axis=1) < np.linalg.norm(gap, axis=1)
        q, gap = np.where(better[:, None], trial, q), np.where(better[:, None], trial_gap, gap)
        damping = np.clip(np.where(better, damping * 0.3, damping * 8.0), 1e-9, 1e2)
    return np.linalg.norm(gap, axis=1)
