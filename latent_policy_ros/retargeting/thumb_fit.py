"""Thumb fit: scale, origin and rotation that map a person's thumb to a robot's.

The fingers of a person and a robot correspond by the ratio of their lengths. Thumbs do not: they have other origins, axes and
workspaces. Therefore reference poses of an average hand are retargeted, and the person's thumb tips are aligned to the tips that
the robot reached (rotation and translation by least squares, Kabsch 1976); this is repeated. Among several scales, the one with the
smallest error relative to the scale is used.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from latent_policy_ros.retargeting.retarget_kernel import Correspondence

SCALES = (0.5, 0.6, 0.7, 0.8, 0.9, 1.0)  # candidates, relative to the length of the robot's thumb
ROUNDS = 3

ThumbTips = Callable[[Correspondence], tuple[np.ndarray, np.ndarray]]


def fit_thumb(initial: Correspondence, thumb_tips: ThumbTips) -> Correspondence:
    """The correspondence with fitted origin, rotation and length of the thumb.

    Args:
        initial: The correspondence whose thumb origin is the thumb's first hinge.
        thumb_tips: Function of a correspondence that retargets the reference poses. Returns the person's thumb, knuckle to tip,
            relative to its length (T, 3), and the thumb tips [m] of the robot (T, 3).
    """
    best, least = initial, np.inf
    for scale in SCALES:
        trial = initial._replace(lengths=np.r_[scale * initial.lengths[0], initial.lengths[1:]])
        for iteration in range(ROUNDS + 1):
            person, robot = thumb_tips(trial)
            person = trial.lengths[0] * person
            error = robot - trial.origins[0] - person @ trial.rotations[0].T
            if iteration < ROUNDS:
                trial = _aligned(trial, person, robot)
        relative_error = np.linalg.norm(error, axis=-1).mean() / scale
        if relative_error < least:
            best, least = trial, relative_error
    return best


def _aligned(hand_map: Correspondence, person: np.ndarray, robot: np.ndarray) -> Correspondence:
    """The correspondence whose thumb rotation and origin bring ``person`` (T, 3) nearest to ``robot`` (T, 3)."""
    person_mean, robot_mean = person.mean(axis=0), robot.mean(axis=0)
    U, _, Vt = np.linalg.svd((robot - robot_mean).T @ (person - person_mean))
    rotation = U @ np.diag([1.0, 1.0, np.linalg.det(U @ Vt)]) @ Vt
    rotations, origins = hand_map.rotations.copy(), hand_map.origins.copy()
    rotations[0], origins[0] = rotation, robot_mean - rotation @ person_mean
    return hand_map._replace(rotations=rotations, origins=origins)
