"""Quality of retargeted motion: keyvector error, contacts, limits, steps and jerk."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from latent_policy_ros.embodiments import Embodiment, HandKinematics
from latent_policy_ros.embodiments.human.keypoints import TIPS
from latent_policy_ros.retargeting.checks.workspace import random_joints, thumb_gaps
from latent_policy_ros.retargeting.retargeter import Retargeter

TOUCHING = 0.010  # a person's fingertips (keypoints) nearer than this [m] touch
CLOSED = 0.005  # a robot's fingertips nearer than this [m] are closed
NEAR = 0.030  # a person's thumb and finger nearer than this [m] are near contact


@dataclass(frozen=True)
class Quality:
    """Quality of one recording of T frames on one embodiment.

    Attributes:
        embodiment: Name of the embodiment.
        frames: T.
        within_limits: Whether every joint is within its limits in every frame.
        keyvector_error: Mean distance of the fingertips from the targets of the keyvectors [m]; NaN for grippers.
        touches: Count of (frame, finger) where the person's tip is within 10 mm of the thumb's, over fingers of the robot.
        closed: Share of touches where the robot's tips are within 5 mm.
        gap: 95th percentile of the distance of the robot's tips at touches [m].
        near_error: Mean error of the distance between thumb and finger where the person's is below 30 mm [m].
        unreachable: Fingers that cannot come within 5 mm of the thumb at any joints; they are not in the four above.
        largest_step: Largest motion of a joint between two frames [rad, m if prismatic].
        bone_turn: Turn of the person's fastest bone between the same two frames [rad].
        jerk: Root mean square of the third difference of the joints, relative to that of the person's bone directions.
    """

    embodiment: str
    frames: int
    within_limits: bool
    keyvector_error: float
    touches: int
    closed: float
    gap: float
    near_error: float
    unreachable: tuple[str, ...]
    largest_step: float
    bone_turn: float
    jerk: float


def measure(
    embodiment: Embodiment, keypoints: np.ndarray, q: np.ndarray, unreachable: tuple[str, ...] = (), motion: bool = True
) -> Quality:  # fmt: skip
    """Measure the quality of joints q (T, n) that were retargeted from keypoints (T, 21, 3) [m, hand frame] of a right hand.

    The step is NaN for fewer than two frames, the jerk for fewer than four; both are NaN unless the frames are a ``motion``.
    """
    kinematics = HandKinematics(embodiment)
    tips = kinematics.fingertips(q)
    robot = np.linalg.norm(tips[:, 1:] - tips[:, :1], axis=-1)
    fingers = [finger for finger in TIPS if finger != "thumb"]
    person = np.linalg.norm(keypoints[:, [TIPS[f] for f in fingers]] - keypoints[:, [TIPS["thumb"]]], axis=-1)
    if embodiment.kind == "gripper":
        person, error = person.min(axis=1, keepdims=True), np.nan
    else:
        person = person[:, [fingers.index(finger) for finger in kinematics.fingers[1:]]]
        wanted = Retargeter(embodiment).wanted_fingertips(keypoints)
        error = float(np.linalg.norm(tips - wanted, axis=-1).mean())
    reachable = [finger not in unreachable for finger in kinematics.fingers[1:]]
    robot, person = robot[:, reachable], person[:, reachable]
    gaps, off = robot[person < TOUCHING], np.abs(robot - person)[person < NEAR]
    steps, turns = np.abs(np.diff(q, axis=0)).max(axis=1), bone_turns(keypoints)
    step, turn = (float(values[steps.argmax()]) for values in (steps, turns)) if motion and len(q) > 1 else (np.nan, np.nan)
    jerk = np.nan
    if motion and len(q) > 3:
        robots, persons = (np.square(np.diff(values, n=3, axis=0)).mean() for values in (q, _bones(keypoints)))
        jerk = float(np.sqrt(robots / persons))
    return Quality(
        embodiment.name, len(q), bool(((q >= embodiment.lower) & (q <= embodiment.upper)).all()), error,
        len(gaps), float((gaps < CLOSED).mean()) if len(gaps) else np.nan,
        float(np.percentile(gaps, 95)) if len(gaps) else np.nan, float(off.mean()) if len(off) else np.nan, unreachable, step, turn,
        jerk,
    )  # fmt: skip


def aligned_error(robot: np.ndarray, person: np.ndarray) -> float:
    """Mean distance [m] of a robot's fingertips (F, 3) from a person's, which are moved, turned and scaled to be nearest to them.

    The similarity transform is that of least squares (Umeyama 1991).
    """
    robot, person = robot - robot.mean(axis=0), person - person.mean(axis=0)
    U, S, Vt = np.linalg.svd(robot.T @ person)
    proper = np.array([1.0, 1.0, np.linalg.det(U @ Vt)])
    scale = (S * proper).sum() / np.square(person).sum()
    return float(np.linalg.norm(robot - scale * person @ (U * proper @ Vt).T, axis=-1).mean())


def bone_turns(keypoints: np.ndarray) -> np.ndarray:
    """Turn of the person's fastest bone between frames [rad]: keypoints (T, 21, 3) in the hand frame -> (T - 1,)."""
    chord = np.linalg.norm(np.diff(_bones(keypoints), axis=0), axis=-1).max(axis=1)
    return 2.0 * np.arcsin(np.minimum(0.5 * chord, 1.0))


def _bones(keypoints: np.ndarray) -> np.ndarray:
    """Unit vectors (T, 20, 3) along the 20 bones, those of the palm included."""
    starts = [k - 1 if k % 4 != 1 else 0 for k in range(1, 21)]
    bones = keypoints[:, 1:] - keypoints[:, starts]
    return bones / np.maximum(np.linalg.norm(bones, axis=-1, keepdims=True), 1e-12)


def unreachable_fingers(embodiment: Embodiment) -> tuple[str, ...]:
    """Names of the fingers that cannot come within 5 mm of the thumb at any joints."""
    gaps = thumb_gaps(HandKinematics(embodiment), random_joints(embodiment, 800))
    return tuple(finger for finger, gap in gaps.items() if gap > CLOSED)
