"""Start of simulated episodes: grasp frame above the table, and a relaxed posture of a person's hand, for every end-effector."""

from __future__ import annotations

from functools import lru_cache

import numpy as np
import pinocchio as pin

from latent_policy_ros.embodiments import Embodiment
from latent_policy_ros.embodiments.human.human_hand import HumanHand
from latent_policy_ros.embodiments.kinematics.grasp_frame import REFERENCE_WIDTH, GraspFrame
from latent_policy_ros.embodiments.model.content_hash import EmbodimentKey
from latent_policy_ros.retargeting import Retargeter
from latent_policy_ros.retargeting.human_motion.generator import grasp_plan
from latent_policy_ros.retargeting.human_motion.postures import fist, relaxed, spread

PINCH = np.array([0.46, 0.0, 0.22])  # mean initial position of the pinch point [m]
OFFSET = 0.03  # range of its random offset, along each axis [m]
TILT = 0.08  # standard deviation of the initial rotation of the grasp frame about each axis [rad]
POSTURES = 16  # number of postures that start postures are mixed from
POSTURE_NOISE = 0.15  # standard deviation of each angle of a person's hand [rad]


def grasp_frame(embodiment: Embodiment) -> GraspFrame:
    """Grasp frame of an end-effector, from a person's precision grasp that is retargeted to it."""
    return _grasp_frame(EmbodimentKey.of(embodiment))


def start_posture(embodiment: Embodiment, rng: np.random.Generator) -> np.ndarray:
    """Random initial joints (n,): a mixture of the end-effector's rest pose and retargeted postures of a relaxed hand."""
    postures = _start_postures(EmbodimentKey.of(embodiment))
    first, second = rng.integers(len(postures), size=2)
    share = rng.random()
    return share * postures[first] + (1 - share) * postures[second]


def start_rotation(frame: GraspFrame, home: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Random initial rotation (3, 3) of the hand frame: the approach axis of the grasp frame points down, up to a small tilt.

    Args:
        frame: Grasp frame of the end-effector.
        home: Rotation (3, 3) of the hand frame at the arm's home. The pinch axis is along +y or -y, whichever is nearer to it.
        rng: Source of the tilt.
    """
    down = grasp_rotation(frame.rotation, home)
    return pin.exp3(rng.normal(0.0, TILT, 3)) @ down @ frame.rotation.T


def grasp_rotation(frame: np.ndarray, start: np.ndarray) -> np.ndarray:
    """Rotation (3, 3) of a grasp frame in the world frame for a grasp from above: approach axis down, pinch axis along +y or -y,
    whichever is nearer to the initial orientation.

    Args:
        frame: Rotation (3, 3) of the grasp frame in the hand frame.
        start: Initial rotation (3, 3) of the hand frame in the world frame.
    """
    candidates = [np.array([[0, s, 0], [s, 0, 0], [0, 0, -1.0]]) for s in (1.0, -1.0)]
    return max(candidates, key=lambda R: np.trace(R @ frame.T @ start.T))


@lru_cache(maxsize=64)
def _grasp_frame(key: EmbodimentKey) -> GraspFrame:
    return GraspFrame(key.embodiment, Retargeter(key.embodiment).retarget_sequence(grasp_plan(REFERENCE_WIDTH).keypoints[None])[0])


@lru_cache(maxsize=64)
def _start_postures(key: EmbodimentKey) -> np.ndarray:
    """Start postures (1 + POSTURES, n): the rest pose, then retargeted postures of a person's hand."""
    rng, hand = np.random.default_rng(0), HumanHand()
    angles = []
    for _ in range(POSTURES):
        other = fist(hand, rng.uniform(0.0, 0.4)) if rng.random() < 0.5 else spread(hand, rng.uniform(0.0, 1.0))
        share = rng.random()
        mixed = share * other + (1 - share) * relaxed(hand) + rng.normal(0.0, POSTURE_NOISE, len(hand.lower))
        angles.append(np.clip(mixed, hand.lower, hand.upper))
    keypoints = hand.keypoints(np.array(angles))
    postures = Retargeter(key.embodiment).retarget_sequence(keypoints[:, None])[:, 0]
    return np.concatenate([key.embodiment.rest[None], postures])
