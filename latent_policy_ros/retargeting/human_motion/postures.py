"""Postures of a person's hand as 21 joint angles: relaxed, fist, spread, open, and pinches solved for fingertip distances."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from latent_policy_ros.embodiments.human.human_hand import HumanHand
from latent_policy_ros.embodiments.human.keypoints import TIPS
from latent_policy_ros.retargeting.solver import keyvectors, minimise_batch

# Inputs of the posture solver for pinches of an average hand, hand frame: a soft target for the middle between the tips [m], and
# the direction from the thumb to the fingers. keypoints.PINCH_POINT is where the tips then meet.
TARGET_POINT = np.array([0.072, 0.014, 0.122])
CLOSING_AXIS = np.array([-0.4, 0.0, 1.0]) / np.linalg.norm([-0.4, 0.0, 1.0])
HALF_SPACING = 0.011  # half the distance between the tips of neighbouring fingers that hold one object [m]

RELAXED = {
    "thumb_cmc_abduction": 0.1, "thumb_cmc_flexion": 0.2, "thumb_mcp": 0.2, "thumb_ip": 0.2,
    **{f"{finger}_{joint}": angle for finger, more in (("index", 0.0), ("middle", 0.05), ("ring", 0.1), ("pinky", 0.12))
       for joint, angle in (("mcp", 0.35 + more), ("pip", 0.45 + more), ("dip", 0.2 + more))},
}  # fmt: skip
# Abduction of bent fingers [rad]: they converge on the scaphoid, at the thumb's side of the wrist.
CONVERGING = {"index": 0.18, "middle": -0.12, "ring": -0.3, "pinky": -0.45}
# Preferred angles [rad] of the fingers and the thumb that pinch.
PINCHING = {"mcp": 0.75, "pip": 0.7, "dip": 0.35}
PINCHING_THUMB = {"cmc_abduction": 0.3, "cmc_flexion": 0.5, "cmc_rotation": 0.0, "mcp": 0.3, "ip": 0.3}
POSTURE_WEIGHT = 2e-5  # weight of the preferred angles [m^2/rad^2]; fingertip vectors have weight 1


def posture(hand: HumanHand, angles: Mapping[str, float]) -> np.ndarray:
    """Joint angles (21,) from named angles [rad]; the others are zero. All are clipped to the limits.

    Raises:
        KeyError: There is no joint of a name.
    """
    result = np.zeros(len(hand.angle_names))
    for name, angle in angles.items():
        if name not in hand.angle_names:
            raise KeyError(f"no joint angle {name!r}; available: {', '.join(hand.angle_names)}")
        result[hand.angle_names.index(name)] = angle
    return np.clip(result, hand.lower, hand.upper)


def relaxed(hand: HumanHand) -> np.ndarray:
    """A relaxed hand, shape (21,)."""
    return posture(hand, RELAXED)


def fist(hand: HumanHand, closing: float, open_fingers: Sequence[str] = ()) -> np.ndarray:
    """A hand between relaxed (``closing`` 0) and a fist (1), with ``open_fingers`` straight; shape (21,)."""
    closed = {"thumb_cmc_abduction": 0.3, "thumb_cmc_flexion": 0.8, "thumb_mcp": 0.7, "thumb_ip": 0.8}
    for finger in ("index", "middle", "ring", "pinky"):
        bend = (0.0, 0.0, 0.05, 0.05) if finger in open_fingers else (CONVERGING[finger], 1.35, 1.6, 0.9)
        closed.update({f"{finger}_{joint}": angle for joint, angle in zip(("abduction", "mcp", "pip", "dip"), bend, strict=True)})
    return (1 - closing) * relaxed(hand) + closing * posture(hand, closed)


def spread(hand: HumanHand, wideness: float) -> np.ndarray:
    """A hand between flat (``wideness`` 0) and all fingers spread (1), shape (21,)."""
    wide = {"thumb_cmc_abduction": 0.1, "thumb_cmc_flexion": -0.3, "index_abduction": 0.3, "ring_abduction": -0.25}
    return wideness * posture(hand, {**wide, "pinky_abduction": -0.45, "middle_abduction": 0.03})


def opened(hand: HumanHand, bent_back: float, thumb_abduction: float, thumb_flexion: float) -> np.ndarray:
    """A flat hand whose fingers are ``bent_back`` at the knuckles [rad], with the given angles of the thumb, shape (21,)."""
    back = {f"{finger}_mcp": -bent_back for finger in ("index", "middle", "ring", "pinky")}
    return posture(hand, {**back, "thumb_cmc_abduction": thumb_abduction, "thumb_cmc_flexion": thumb_flexion})


def pinch(
    hand: HumanHand, fingers: Sequence[str], gaps: np.ndarray | float, point: np.ndarray | None = None,
    axis: np.ndarray = CLOSING_AXIS, others: np.ndarray | None = None,
) -> np.ndarray:  # fmt: skip
    """Solve for pinches: the thumb opposes ``fingers`` at each of the distances ``gaps`` (T,); joint angles (T, 21).

    Args:
        hand: The hand model.
        fingers: One or more of index, middle, ring, pinky, side by side.
        gaps: Distances from the thumb tip to the mean of the fingers' tips, one for each posture [m]. A number gives T = 1.
        point: Soft target for the middle of the gap [m, hand frame]; default: in front of the fingers, scaled with the hand.
        axis: Direction from the thumb to the fingers, hand frame.
        others: Posture (21,) of the other fingers; default relaxed.
    """
    gaps = np.atleast_1d(np.asarray(gaps, dtype=np.float64))
    natural = (relaxed(hand) if others is None else np.asarray(others)).copy()
    for finger, joints in (("thumb", PINCHING_THUMB), *((finger, PINCHING) for finger in fingers)):
        for joint, angle in joints.items():
            natural[hand.angle_names.index(f"{finger}_{joint}")] = angle
    if point is None:
        point = _in_front_of(hand, fingers)
    offsets = HALF_SPACING * hand.scale * (len(fingers) - 1 - 2.0 * np.arange(len(fingers)))
    targets = np.empty((len(gaps), 1 + len(fingers), 3))
    targets[:, 0] = point - 0.5 * gaps[:, None] * axis
    targets[:, 1:] = (point + 0.5 * gaps[:, None] * axis)[:, None] + offsets[None, :, None] * np.array([0.0, 1.0, 0.0])
    # Positions of the tips have a low weight; the vectors from the thumb to the fingers are the target.
    tips = [TIPS["thumb"], *(TIPS[finger] for finger in fingers)]
    across = len(fingers)
    vectors = keyvectors(hand.tree, [-1] * len(tips) + [tips[0]] * across, tips + tips[1:])
    weights = np.tile(np.r_[np.full(len(tips), 0.1), np.ones(across)], (len(gaps), 1))
    prior = np.tile(natural, (len(gaps), 1))
    targets = np.concatenate((targets, targets[:, 1:] - targets[:, :1]), axis=1)
    angles, weight, lengths = prior.copy(), np.full(len(natural), POSTURE_WEIGHT), np.zeros(weights.shape)
    # Copies, because arrays that cannot be written are another type, for which everything would be compiled again.
    lower, upper = hand.lower.copy(), hand.upper.copy()
    minimise_batch(vectors, lower, upper, angles, prior, weight, targets, weights, lengths, 30, 1e-8, np.empty(len(gaps)))
    return angles


def _in_front_of(hand: HumanHand, fingers: Sequence[str]) -> np.ndarray:
    """Target point of a pinch with these fingers [m, hand frame]: in front of their knuckles, nearer to the palm for the pinky."""
    across = {"index": 0.010, "middle": -0.008, "ring": -0.028, "pinky": -0.045}
    y = float(np.mean([across[finger] for finger in fingers]))
    toward_palm = max(0.0, TARGET_POINT[1] - y)
    x, _, z = TARGET_POINT + toward_palm * np.array([0.05, 0.0, -0.35])
    return hand.scale * np.array([x, 0.6 * TARGET_POINT[1] + 0.8 * y, z])
