"""Fit of a correspondence: scale, origin and rotation that map a person's fingertips to a robot's.

If each finger corresponds on its own, only the thumb is fitted: the fingers of a person and a robot correspond by the ratio of
their lengths, but thumbs have other origins, axes and workspaces. If the hand corresponds as a whole, one origin is fitted to the
tips of all fingers, with a given scale. They are not rotated, so that thumb and fingers oppose each other in the person's
directions.

Reference poses of an average hand are retargeted, and the person's tips are aligned to the tips that the robot reached (rotation
and translation by least squares, Kabsch 1976); this is repeated. Among several scales, the one with the smallest error relative to
the scale is used.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from latent_policy_ros.retargeting.retarget_kernel import Correspondence

SCALES = (0.5, 0.6, 0.7, 0.8, 0.9, 1.0)  # candidates for a thumb, relative to its length
WHOLE_HAND_SCALE = 0.85  # relative to the lengths of all fingers; with less, fingers that are thicker than a person's overlap
ROUNDS = 3

Fingertips = Callable[[Correspondence], tuple[np.ndarray, np.ndarray]]


def fit_correspondence(initial: Correspondence, fingertips: Fingertips) -> Correspondence:
    """The correspondence with fitted origin, rotation and length of the thumb; or the origin of all fingers of a whole hand.

    Args:
        initial: The correspondence before the fit.
        fingertips: Function of a correspondence that retargets the reference poses. Returns the person's vectors from anchor to
            tip, relative to the lengths of the fingers (T, F, 3), and the fingertips [m] of the robot (T, F, 3).
    """
    fitted = slice(None) if initial.whole_hand else slice(0, 1)
    best, least = initial, np.inf
    for scale in (WHOLE_HAND_SCALE,) if initial.whole_hand else SCALES:
        lengths = initial.lengths.copy()
        lengths[fitted] *= scale
        trial = initial._replace(lengths=lengths)
        for iteration in range(ROUNDS + 1):
            person, robot = (points[:, fitted].reshape(-1, 3) for points in fingertips(trial))
            person = lengths[0] * person
            error = robot - trial.origins[0] - person @ trial.rotations[0].T
            if iteration < ROUNDS:
                trial = _aligned(trial, fitted, person, robot)
        relative_error = np.linalg.norm(error, axis=-1).mean() / scale
        if relative_error < least:
            best, least = trial, relative_error
    return best


def _aligned(hand_map: Correspondence, fitted: slice, person: np.ndarray, robot: np.ndarray) -> Correspondence:
    """The correspondence that brings ``person`` (N, 3) nearest to ``robot`` (N, 3) by the fitted fingers' origin and rotation."""
    person_mean, robot_mean = person.mean(axis=0), robot.mean(axis=0)
    rotation = np.eye(3)
    if not hand_map.whole_hand:
        U, _, Vt = np.linalg.svd((robot - robot_mean).T @ (person - person_mean))
        rotation = U @ np.diag([1.0, 1.0, np.linalg.det(U @ Vt)]) @ Vt
    rotations, origins = hand_map.rotations.copy(), hand_map.origins.copy()
    rotations[fitted], origins[fitted] = rotation, robot_mean - rotation @ person_mean
    return hand_map._replace(rotations=rotations, origins=origins)
