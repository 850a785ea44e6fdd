"""Generator of plausible hand motion: grasps, pinches with each finger, opening and closing hands, rest.

A motion belongs to one hand of random size. It goes from posture to posture with the velocity profile of human reaching (minimum
jerk), with pauses. The package contains no recordings of people.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from latent_policy_ros.embodiments.human.human_hand import HumanHand
from latent_policy_ros.retargeting.human_motion.postures import CLOSING_AXIS, fist, opened, pinch, posture, relaxed, spread

OPEN = 0.10  # widest distance between the tips of thumb and fingers in a grasp [m]
TOUCH = 0.008  # distance between the keypoints of tips that touch [m]; they lie inside the flesh
SQUEEZE = 0.025  # distance by which a grasp plan closes further than the object [m]
# Probabilities of the next kind of motion. With this share of "whole", two synergies explain 60% of the variance of joint
# velocities, as in everyday movements of people (Ingram et al. 2008).
KINDS = {
    "pinch": 0.23, "grasp": 0.20, "whole": 0.11, "fist": 0.07, "point": 0.04, "spread": 0.06, "rest": 0.05, "any": 0.12,
    "each": 0.12,
}  # fmt: skip
OPPOSING: dict[str, list[tuple[str, ...]]] = {  # the fingers that close on the thumb, with equal probabilities
    "pinch": [("index",), ("middle",), ("ring",), ("pinky",)],
    "grasp": [("index", "middle")] * 3 + [("index", "middle", "ring")],
}
OTHERS_IN_GRASP = {  # angles of the fingers that take no part [rad]
    "ring_mcp": 0.25, "ring_pip": 0.35, "ring_dip": 0.2, "pinky_mcp": 0.2, "pinky_pip": 0.3, "pinky_dip": 0.2,
}  # fmt: skip


@dataclass(frozen=True)
class HandMotion:
    """Motion of one hand.

    Attributes:
        angles: Joint angles [rad], shape (T, 21).
        keypoints: [m, hand frame], shape (T, 21, 3).
        fps: Frames per second.
        scale: Size of the hand relative to an average one.
    """

    angles: np.ndarray
    keypoints: np.ndarray
    fps: float
    scale: float


@dataclass(frozen=True)
class GraspPlan:
    """A precision grasp. Iteration gives keypoints and phase.

    Attributes:
        keypoints: [m, hand frame], shape (T, 21, 3).
        phase: Shape (T,): 0 = open, 1 = closed further than the object.
        gap: Distance between the thumb tip and the mean of the tips of index and middle finger [m], shape (T,).
    """

    keypoints: np.ndarray
    phase: np.ndarray
    gap: np.ndarray

    def __iter__(self) -> Iterator[np.ndarray]:
        """``keypoints, phase = grasp_plan(0.045)``"""
        return iter((self.keypoints, self.phase))


def grasp_plan(opening_m: float = 0.0, frames: int = 41, hand: HumanHand | None = None) -> GraspPlan:
    """Plan a precision grasp (thumb against index and middle finger) of an object of width ``opening_m``.

    The distance between the keypoints of the tips decreases evenly from 0.10 m to the width of the object plus their distance at
    touch minus 25 mm, at least to touch. The tips move along one axis about one point.

    Args:
        opening_m: Width of the object [m].
        frames: Count of frames T.
        hand: The hand model; default an average adult's.

    Raises:
        ValueError: The object is too wide.
    """
    if not 0.0 <= opening_m < OPEN - TOUCH:
        raise ValueError(f"opening_m must be in [0, {OPEN - TOUCH:g}) m, got {opening_m}")
    hand = HumanHand() if hand is None else hand
    phase = np.linspace(0.0, 1.0, frames)
    closed = max(TOUCH, opening_m + TOUCH - SQUEEZE)
    gaps = OPEN + (closed - OPEN) * phase
    angles = pinch(hand, ("index", "middle"), gaps, others=posture(hand, OTHERS_IN_GRASP))
    keypoints = hand.keypoints(angles)
    gap = np.linalg.norm(keypoints[:, 4] - keypoints[:, [8, 12]].mean(axis=1), axis=-1)
    return GraspPlan(keypoints, phase, gap)


def random_hand(rng: np.random.Generator) -> HumanHand:
    """A hand of random size and proportions, as they differ between people and between tracking devices."""
    finger, bone = (np.clip(rng.normal(0.0, 0.07, shape), -0.2, 0.2) for shape in ((5, 1), (5, 3)))
    palm = np.clip(rng.normal(0.0, 0.07), -0.2, 0.2)  # of the length of all fingers relative to the palm
    shifts = np.clip(rng.normal(0.0, 0.004, (5, 3)), -0.01, 0.01)
    return HumanHand(
        float(rng.uniform(0.8, 1.2)), (1.0 + palm) * (1.0 + finger) * (1.0 + bone), shifts, rng.normal(0.0, 0.15, 3),
        knuckles=rng.uniform(0.0, 0.015),
    )  # fmt: skip


def generate_motion(
    seed: int | np.random.Generator, seconds: float, fps: float = 30.0, hand: HumanHand | None = None
) -> HandMotion:
    """Generate a motion.

    Args:
        seed: A seed or generator; the same seed gives the same motion.
        seconds: Duration [s].
        fps: Frames per second.
        hand: The hand model; default a random hand.
    """
    rng = np.random.default_rng(seed)
    hand = random_hand(rng) if hand is None else hand
    frames = max(1, round(seconds * fps))
    stops, times, at = [relaxed(hand)], [0.0], 0.0
    kinds, odds = list(KINDS), np.array(list(KINDS.values()))
    while at <= seconds:
        for stop in _postures(rng.choice(kinds, p=odds / odds.sum()), hand, rng):
            at += rng.uniform(0.25, 0.9)
            stops.append(stop)
            times.append(at)
        if rng.random() < 0.4:
            at += rng.uniform(0.1, 0.4)
            stops.append(stops[-1])
            times.append(at)
    angles = _minimum_jerk(np.array(stops), np.array(times), np.arange(frames) / fps)
    return HandMotion(angles, hand.keypoints(angles), fps, hand.scale)


def _postures(kind: str, hand: HumanHand, rng: np.random.Generator) -> list[np.ndarray]:
    """The next postures (21,) of a motion."""
    if kind in ("pinch", "grasp"):
        return list(_closing(kind, hand, rng))
    if kind == "whole":  # all fingers together, alternately open and closed
        return [_together(share, hand, rng) for share in (rng.uniform(0.0, 0.3), rng.uniform(0.4, 1.0), 0.0)[: rng.integers(2, 4)]]
    if kind == "fist":
        return [_varied(fist(hand, rng.uniform(0.3, 1.0)), hand, rng)]
    if kind == "point":
        pointing = rng.choice(["index", "middle", "ring", "pinky"], rng.integers(1, 4), replace=False)
        return [_varied(fist(hand, 1.0, tuple(pointing)), hand, rng)]
    if kind == "spread":
        return [_varied(spread(hand, rng.uniform(0.2, 1.0)), hand, rng)]
    if kind == "rest":
        return [_varied(relaxed(hand), hand, rng, 0.2)]
    if kind == "each":  # every joint independently, most often in the middle of its range
        return [hand.lower + rng.beta(1.3, 1.5, len(hand.lower)) * (hand.upper - hand.lower)]
    # "any": each finger bends independently, its joints together.
    mixed = _varied(relaxed(hand), hand, rng, 0.3)
    closed, flat = fist(hand, 1.0), spread(hand, rng.uniform(0.0, 1.0))
    for finger in range(5):
        joints = slice(0, 5) if finger == 0 else slice(1 + 4 * finger, 5 + 4 * finger)
        share = rng.beta(0.8, 0.8)
        mixed[joints] += share * (closed[joints] - flat[joints]) + flat[joints] - relaxed(hand)[joints]
    return [np.clip(mixed, hand.lower, hand.upper)]


def _closing(kind: str, hand: HumanHand, rng: np.random.Generator) -> np.ndarray:
    """A pinch or grasp along a random axis: open, closed, and sometimes open again; angles (2 or 3, 21).

    The open postures open only the fingers that close, or the whole hand.
    """
    fingers = OPPOSING[kind][rng.integers(4)]
    wide = rng.uniform(0.04, OPEN) if kind == "pinch" else rng.uniform(0.07, OPEN)
    held = TOUCH if rng.random() < 0.4 else rng.uniform(TOUCH, 0.06)
    axis = CLOSING_AXIS + rng.normal(0.0, 0.12, 3)
    others = _varied(relaxed(hand) if rng.random() < 0.5 else posture(hand, OTHERS_IN_GRASP), hand, rng, 0.15)
    gaps = np.array([wide, min(held, wide), wide])[: rng.integers(2, 4)]
    stops = pinch(hand, fingers, gaps, axis=axis / np.linalg.norm(axis), others=others)
    if rng.random() < 0.5:
        stops[::2] = _together(rng.uniform(0.0, 0.4), hand, rng)
    return stops


def _together(closing: float, hand: HumanHand, rng: np.random.Generator) -> np.ndarray:
    """A posture (21,) with all fingers at the same share between an open hand (0) and a fist (1), plus noise."""
    flat = opened(hand, rng.uniform(-0.1, 0.35), rng.uniform(-0.4, 0.5), rng.uniform(-0.4, 0.2))
    return _varied(flat + closing * (fist(hand, 1.0) - flat), hand, rng)


def _varied(angles: np.ndarray, hand: HumanHand, rng: np.random.Generator, sigma: float = 0.1) -> np.ndarray:
    """The angles (21,) plus normal noise [rad], within limits."""
    return np.clip(angles + rng.normal(0.0, sigma, angles.shape), hand.lower, hand.upper)


def _minimum_jerk(stops: np.ndarray, times: np.ndarray, at: np.ndarray) -> np.ndarray:
    """Minimum-jerk interpolation at ``at`` (T,) [s] between ``stops`` (K, 21) at ``times`` (K,) [s], with zero velocity at each."""
    leg = np.clip(np.searchsorted(times, at, side="right") - 1, 0, len(times) - 2)
    s = np.clip((at - times[leg]) / (times[leg + 1] - times[leg]), 0.0, 1.0)[:, None]
    return stops[leg] + (s**3 * (10 - 15 * s + 6 * s**2)) * (stops[leg + 1] - stops[leg])
