"""Where a robot's thumb stands for a person's: its scale, place and direction, fitted from the two hands' geometry.

Fingers of hands and robots are alike enough for the ratio of their lengths; thumbs are not: they sit elsewhere, turn about
other axes and reach other places. So a set of reference poses of an average hand is retargeted, the person's thumb tips
are laid over those that the robot reached (rotation and shift by least squares, Kabsch 1976), and so on in turns. Of
several scales that one is taken which leaves the least error for its size.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from latent_policy_ros.retargeting.retarget_kernel import Match

SCALES = (0.5, 0.6, 0.7, 0.8, 0.9, 1.0)  # of the robot's thumb, by its length
ROUNDS = 3

Reach = Callable[[Match], tuple[np.ndarray, np.ndarray]]


def fit_thumb(match: Match, reach: Reach) -> Match:
    """``match`` with the thumb's origin, turn and length fitted.

    Args:
        match: Its thumb's origin is the thumb's first hinge.
        reach: From a match to the person's thumb in the reference poses, knuckle to tip as a share of its length (T, 3),
            and the thumb's tip [m] that the robot reaches (T, 3).
    """
    best, least = match, np.inf
    for scale in SCALES:
        trial = match._replace(lengths=np.r_[scale * match.lengths[0], match.lengths[1:]])
        for turn in range(ROUNDS + 1):
            person, robot = reach(trial)
            person = trial.lengths[0] * person
            error = robot - trial.origins[0] - person @ trial.turns[0].T
            if turn < ROUNDS:
                trial = _laid_over(trial, person, robot)
        size = np.linalg.norm(error, axis=-1).mean() / scale
        if size < least:
            best, least = trial, size
    return best


def _laid_over(match: Match, person: np.ndarray, robot: np.ndarray) -> Match:
    """The rotation and shift that bring ``person`` (T, 3) nearest to ``robot`` (T, 3)."""
    middle, place = person.mean(axis=0), robot.mean(axis=0)
    U, _, Vt = np.linalg.svd((robot - place).T @ (person - middle))
    turn = U @ np.diag([1.0, 1.0, np.linalg.det(U @ Vt)]) @ Vt
    turns, origins = match.turns.copy(), match.origins.copy()
    turns[0], origins[0] = turn, place - turn @ middle
    return match._replace(turns=turns, origins=origins)
