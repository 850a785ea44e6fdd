"""The 21 keypoints of a hand: indices, checks, canonical hand frame, bone rotations, and the 189 numbers of the human hand.

Order: 0 wrist; 1-4 thumb (carpometacarpal, metacarpophalangeal and interphalangeal joint, tip); 5-8 index (knuckle, two
joints, tip); 9-12 middle; 13-16 ring; 17-20 pinky.
"""

from __future__ import annotations

import numpy as np

from latent_policy_ros.common.errors import LatentPolicyError
from latent_policy_ros.embodiments.model.schema import FINGERS

KEYPOINTS = 21
TIPS = {finger: 4 * (i + 1) for i, finger in enumerate(FINGERS)}  # index of each fingertip
BASES = {finger: 4 * i + 1 for i, finger in enumerate(FINGERS)}  # index of each finger's first joint
# Pinch of an average right hand, hand frame: middle between the tips of thumb and fingers [m], and unit vector from the thumb
# to the fingers. Mounts of hands on arms and default frames of grippers depend on these values, so they are constants. They were
# measured on grasps of index and middle finger by the motion generator; `grasp_plan` today has (0.075, 0.009, 0.119).
PINCH_POINT = np.array([0.075, 0.008, 0.125])
PINCH_AXIS = np.array([-0.371, 0.0, 0.928]) / np.hypot(0.371, 0.928)
MIN_PALM, MAX_PALM = 0.03, 0.2  # accepted distance from wrist to middle knuckle [m]; also detects other units
# Approximate axis of bending of the thumb in the hand frame: perpendicular to its sweep across the palm.
_THUMB_BEND_AXIS = np.array([0.77, 0.29, -0.58])


class KeypointsRefused(LatentPolicyError):
    """Keypoints that cannot be used: wrong shape, not finite, not in metres, not a hand, or of unknown side."""


def to_hand_frame(keypoints: np.ndarray) -> np.ndarray:
    """Transform keypoints [m] of right hands from any frame to the canonical hand frame: (..., 21, 3) -> (..., 21, 3).

    Origin at the wrist, +z to the middle knuckle, +y across the palm to the index knuckle, +x = y cross z.

    Raises:
        KeypointsRefused: Wrong shape, not finite, a palm of implausible length (other units?), or knuckles in line with the wrist.
    """
    keypoints = np.asarray(keypoints, dtype=np.float64)
    if keypoints.shape[-2:] != (KEYPOINTS, 3):
        raise KeypointsRefused(f"keypoints must have shape (..., {KEYPOINTS}, 3), got {keypoints.shape}")
    finite = np.isfinite(keypoints).all(axis=(-2, -1))
    if not finite.all():
        raise KeypointsRefused(f"keypoints must be finite, got NaN or infinity{_first(~finite)}")
    wrist, index, middle, pinky = (keypoints[..., i, :] for i in (0, 5, 9, 17))
    z, length = _unit(middle - wrist)
    if (bad := (length < MIN_PALM) | (length > MAX_PALM)).any():
        got = f"{float(np.asarray(length)[bad].flat[0]):.4g}"
        expected = f"{MIN_PALM:g} to {MAX_PALM:g} m from wrist to middle knuckle"
        raise KeypointsRefused(f"expected {expected}, got {got}{_first(bad)}; {_unit_hint(float(got))}")
    x, width = _unit(np.cross(index - pinky, z))
    if (bad := width < 0.1 * length).any():
        got = f"{float(np.asarray(width)[bad].flat[0]):.4g} m across"
        raise KeypointsRefused(f"the palm has no plane: the knuckles are in line with the wrist ({got}){_first(bad)}")
    rotation = np.stack((x, np.cross(z, x), z), axis=-2)  # rows: axes of the hand frame
    return (keypoints - wrist[..., None, :]) @ rotation.swapaxes(-1, -2)


def pinch_point(side: str) -> np.ndarray:
    """Middle between the tips of thumb and fingers in a pinch of an average hand of this side, hand frame (3,) [m]."""
    return PINCH_POINT * ([1.0, -1.0, 1.0] if side == "left" else 1.0)


def bone_rotations(keypoints: np.ndarray) -> np.ndarray:
    """Rotations of the bones, computed from positions alone: (..., 21, 3) -> (..., 21, 3, 3).

    ``keypoints`` [m] are in the canonical hand frame. z is along the bone that starts at the keypoint (at a tip: that ends
    there), x in the direction of bending. The wrist has the identity. A bone of zero length has z of the hand frame.
    """
    ends = np.arange(1, KEYPOINTS) + np.where(np.arange(1, KEYPOINTS) % 4 == 0, 0, 1)
    along, length = _unit(keypoints[..., ends, :] - keypoints[..., ends - 1, :])
    along = np.where(length[..., None] > 1e-6, along, [0.0, 0.0, 1.0])
    bends_about = np.where(np.arange(1, KEYPOINTS)[:, None] <= 4, _THUMB_BEND_AXIS, [0.0, 1.0, 0.0])
    x, sine = _unit(np.cross(bends_about, along))
    x = np.where(sine[..., None] > 1e-6, x, [1.0, 0.0, 0.0])
    bones = np.stack((x, np.cross(along, x), along), axis=-1)
    wrist = np.broadcast_to(np.eye(3), (*keypoints.shape[:-2], 1, 3, 3))
    return np.concatenate((wrist, bones), axis=-3)


def human_action(keypoints: np.ndarray, rotations: np.ndarray | None = None) -> np.ndarray:
    """Convert keypoints to the action representation of embodiment ``human_hand``: (..., 21, 3) -> (..., 189).

    It has, for every keypoint, the position [m] and the first two columns of the rotation. ``keypoints`` are in the canonical
    hand frame (see :func:`to_hand_frame`); ``rotations`` (..., 21, 3, 3) default to :func:`bone_rotations`.
    """
    keypoints = np.asarray(keypoints, dtype=np.float64)
    rotations = bone_rotations(keypoints) if rotations is None else np.asarray(rotations)
    six = rotations[..., :2].swapaxes(-1, -2).reshape(*keypoints.shape[:-1], 6)
    return np.concatenate((keypoints, six), axis=-1).reshape(*keypoints.shape[:-2], KEYPOINTS * 9)


def keypoints_of_action(action: np.ndarray) -> np.ndarray:
    """Positions of the keypoints in an action of ``human_hand``: (..., 189) -> (..., 21, 3) [m]."""
    action = np.asarray(action)
    return action.reshape(*action.shape[:-1], KEYPOINTS, 9)[..., :3]


def _unit(vectors: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Unit vectors (..., 3) and lengths (...) of vectors (..., 3)."""
    length = np.linalg.norm(vectors, axis=-1)
    return vectors / np.maximum(length, 1e-12)[..., None], length


def _unit_hint(palm: float) -> str:
    """A hint for a palm of implausible length: the units that would make it plausible."""
    for units, factor in (("mm", 0.001), ("cm", 0.01)):
        if MIN_PALM <= factor * palm <= MAX_PALM:
            remedy = f"set units: {units} (command line: --units {units})"
            return f"are the keypoints in metres? It would be a hand in {units}: {remedy}"
    return "are the keypoints in metres?"


def _first(bad: np.ndarray) -> str:
    """`` at index (3, 17)``: index of the first bad pose of a batch; empty for a single pose."""
    bad = np.asarray(bad)
    return "" if bad.ndim == 0 else f" at index {tuple(int(i) for i in np.argwhere(bad)[0])}"
