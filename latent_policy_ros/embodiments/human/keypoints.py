"""21 hand keypoints from any source: checked, brought to the canonical hand frame, and written as 189 numbers.

Order: 0 wrist, 1-4 thumb (carpometacarpal, knuckle, middle joint, tip), 5-8 index (knuckle, two joints, tip), 9-12
middle, 13-16 ring, 17-20 pinky.
"""

from __future__ import annotations

import numpy as np

from latent_policy_ros.common.errors import LatentPolicyError
from latent_policy_ros.embodiments.human.human_hand import KEYPOINTS

SHORTEST_PALM, LONGEST_PALM = 0.03, 0.2  # wrist to middle knuckle [m]: a baby's and a giant's; also catches millimetres
# The thumb bends about this direction of the hand frame, more or less: perpendicular to its sweep across the palm.
_THUMB_BEND_AXIS = np.array([0.77, 0.29, -0.58])


class KeypointsRefused(LatentPolicyError):
    """Keypoints that are not a hand: wrong shape, not finite, not in metres, or a palm without a plane."""


def to_hand_frame(keypoints: np.ndarray) -> np.ndarray:
    """Keypoints [m] of right hands from any frame to the canonical hand frame: (..., 21, 3) -> (..., 21, 3).

    Origin at the wrist, +z to the middle knuckle, +y across the palm to the index knuckle, +x = y cross z.

    Raises:
        KeypointsRefused: Wrong shape, not finite, a palm of impossible length (not metres?) or without a plane.
    """
    keypoints = np.asarray(keypoints, dtype=np.float64)
    if keypoints.shape[-2:] != (KEYPOINTS, 3):
        raise KeypointsRefused(f"keypoints must have shape (..., {KEYPOINTS}, 3), got {keypoints.shape}")
    finite = np.isfinite(keypoints).all(axis=(-2, -1))
    if not finite.all():
        raise KeypointsRefused(f"keypoints must be finite, got NaN or infinity{_first(~finite)}")
    wrist, index, middle, pinky = (keypoints[..., i, :] for i in (0, 5, 9, 17))
    z, length = _unit(middle - wrist)
    if (bad := (length < SHORTEST_PALM) | (length > LONGEST_PALM)).any():
        got = f"{float(np.asarray(length)[bad].flat[0]):.4g}"
        expected = f"{SHORTEST_PALM:g} to {LONGEST_PALM:g} m from wrist to middle knuckle"
        raise KeypointsRefused(f"expected {expected}, got {got}{_first(bad)}; {_unit_hint(float(got))}")
    x, width = _unit(np.cross(index - pinky, z))
    if (bad := width < 0.1 * length).any():
        got = f"{float(np.asarray(width)[bad].flat[0]):.4g} m across"
        raise KeypointsRefused(f"the palm has no plane: its knuckles are in line with the wrist ({got}){_first(bad)}")
    rotation = np.stack((x, np.cross(z, x), z), axis=-2)  # rows: axes of the hand frame
    return (keypoints - wrist[..., None, :]) @ rotation.swapaxes(-1, -2)


def bone_rotations(keypoints: np.ndarray) -> np.ndarray:
    """Rotations from keypoints alone, the same for every source of them: (..., 21, 3) -> (..., 21, 3, 3).

    ``keypoints`` [m] in the canonical hand frame. z runs along the bone that starts at the keypoint (at a tip: that
    ends there), x to where the finger bends. The wrist has the identity; a bone of no length the palm's direction.
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
    """The action representation of embodiment ``human_hand``: (..., 21, 3) -> (..., 189).

    For every keypoint its position [m] and the first two columns of its rotation. ``keypoints`` in the canonical hand
    frame (see :func:`to_hand_frame`); ``rotations`` (..., 21, 3, 3) default to :func:`bone_rotations`.
    """
    keypoints = np.asarray(keypoints, dtype=np.float64)
    rotations = bone_rotations(keypoints) if rotations is None else np.asarray(rotations)
    six = rotations[..., :2].swapaxes(-1, -2).reshape(*keypoints.shape[:-1], 6)
    return np.concatenate((keypoints, six), axis=-1).reshape(*keypoints.shape[:-2], KEYPOINTS * 9)


def keypoints_of_action(action: np.ndarray) -> np.ndarray:
    """The positions inside 189 numbers: (..., 189) -> (..., 21, 3)."""
    action = np.asarray(action)
    return action.reshape(*action.shape[:-1], KEYPOINTS, 9)[..., :3]


def _unit(vectors: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Directions (..., 3) and lengths (...)."""
    length = np.linalg.norm(vectors, axis=-1)
    return vectors / np.maximum(length, 1e-12)[..., None], length


def _unit_hint(palm: float) -> str:
    """What to do about a palm of that length, which is none in metres."""
    for units, factor in (("mm", 0.001), ("cm", 0.01)):
        if SHORTEST_PALM <= factor * palm <= LONGEST_PALM:
            return f"are the keypoints in metres? This is a hand in {units}: say so (units: {units})"
    return "are the keypoints in metres?"


def _first(bad: np.ndarray) -> str:
    """`` at index (3, 17)``: where the first bad pose of a batch is; nothing for a single pose."""
    bad = np.asarray(bad)
    return "" if bad.ndim == 0 else f" at index {tuple(int(i) for i in np.argwhere(bad)[0])}"
