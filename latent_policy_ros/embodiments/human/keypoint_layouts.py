"""Keypoint layouts: the orders in which devices list the points of a hand, and their conversion to the 21 keypoints.

Only the positions of the points are used. Layouts with the same count of points are distinguished by the length of the fingers,
which are much too long in the wrong order.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from latent_policy_ros.common.errors import available
from latent_policy_ros.embodiments.human.keypoints import KEYPOINTS, KeypointsRefused

AUTO = "auto"
#: Length of each unit [m].
UNITS: Mapping[str, float] = {"m": 1.0, "cm": 0.01, "mm": 0.001}

#: (count of points, indices of the 21 keypoints among them) by layout.
LAYOUTS: Mapping[str, tuple[int, tuple[int, ...]]] = {
    # Wrist; thumb, index, middle, ring and pinky, each from the palm to the tip. OpenPose, WiLoR and HaMeR have the same.
    "mediapipe": (21, tuple(range(KEYPOINTS))),
    # MANO's 16 joints (index, middle, pinky, ring, thumb), then the five tips, thumb first.
    "mano": (21, (0, 13, 14, 15, 16, 1, 2, 3, 17, 4, 5, 6, 18, 10, 11, 12, 19, 7, 8, 9, 20)),
    # Raw nodes of MANUS gloves: the hand, four fingers of five nodes (the first is the base of the metacarpal), the thumb.
    "manus": (25, (0, 21, 22, 23, 24, 2, 3, 4, 5, 7, 8, 9, 10, 12, 13, 14, 15, 17, 18, 19, 20)),
    # WebXR, visionOS, and MANUS gloves that list the thumb first.
    "webxr": (25, (0, 1, 2, 3, 4, 6, 7, 8, 9, 11, 12, 13, 14, 16, 17, 18, 19, 21, 22, 23, 24)),
    # OpenXR: the palm, then as WebXR.
    "openxr": (26, (1, 2, 3, 4, 5, 7, 8, 9, 10, 12, 13, 14, 15, 17, 18, 19, 20, 22, 23, 24, 25)),
}
ALIASES = {"openpose": "mediapipe", "wilor": "mediapipe", "hamer": "mediapipe"}
COUNTS = tuple(sorted({count for count, _ in LAYOUTS.values()}))
#: A named layout is rejected if another one of the same count makes the fingers shorter by more than this factor.
#: A wrong layout makes the fingers of a fist 1.16 times as long, and those of other postures longer.
WRONG_LAYOUT_FACTOR = 1.1
IMAGE_DEPTH = 1e-3  # the depth of the wrist in image coordinates is zero: below this share of the width of the hand
#: Share of the frames with such a wrist, and of the values of x and y inside the image, from which on a recording is of an image.
#: A hand at the edge has some values outside. Single frames may be wrong.
IMAGE_FRAMES, IMAGE_INSIDE = 0.9, 0.8
# Ratios of distances that no motion changes; points in another order have other ones. In brackets: the range in recordings of a
# glove and a video, and in 3,000 random hands of the motion generator, whose proportions vary more than those of people; then
# the nearest value of the orders of other devices and of random orders.
MAX_THUMB_BASE = 0.75  # from the wrist to the first joint of the thumb, in distances to the nearest knuckle [0.25 .. 0.58; 0.94]
MAX_KNUCKLES = 1.6  # from the wrist to the farthest knuckle, in distances to the nearest one [1.01 .. 1.29; 1.79]
MIN_FIRST_BONES = 0.25  # share of the first bones in the length of the four fingers [0.31 .. 0.50; 0.21]


def layout_name(name: str) -> str:
    """Resolve aliases: a name of ``LAYOUTS``, or ``auto``.

    Raises:
        KeypointsRefused: There is no such layout.
    """
    name = ALIASES.get(name, name)
    if name != AUTO and name not in LAYOUTS:
        raise KeypointsRefused(f"no layout {name!r}; {available([AUTO, *LAYOUTS, *ALIASES])}")
    return name


def metres(units: str) -> float:
    """Length of a unit [m]: ``m``, ``cm`` or ``mm``.

    Raises:
        KeypointsRefused: There is no such unit.
    """
    if units not in UNITS:
        raise KeypointsRefused(f"no units {units!r}; {available(UNITS)}")
    return UNITS[units]


def to_21(points: np.ndarray, layout: str = AUTO) -> tuple[np.ndarray, str]:
    """Select the 21 keypoints among a device's points; return them, shape (..., 21, 3), and the layout's name.

    Args:
        points: In any frame and unit, shape (..., N, 3). Frames that are not finite do not count in the detection.
        layout: A name of ``LAYOUTS`` or an alias; ``auto`` detects it from the count of points and the length of the fingers.

    Raises:
        KeypointsRefused: No layout, or not this one, has so many points; or they are in another layout.
    """
    points, layout = np.asarray(points, dtype=np.float64), layout_name(layout)
    if points.ndim < 2 or points.shape[-1] != 3:
        raise KeypointsRefused(f"a hand must have shape (..., points, 3), got {points.shape}")
    count = points.shape[-2]
    if layout != AUTO and LAYOUTS[layout][0] != count:
        expected = LAYOUTS[layout][0]
        raise KeypointsRefused(f"layout {layout} has {expected} points, got {count}; layout auto accepts {_counts()} points")
    candidates = [name for name, (size, _) in LAYOUTS.items() if size == count]
    if not candidates:
        raise KeypointsRefused(f"no layout has {count} points; expected {_counts()} points")
    if len(candidates) > 1:
        lengths = {name: _length_of_fingers(points[..., LAYOUTS[name][1], :]) for name in candidates}
        best = min(candidates, key=lambda name: lengths[name])  # the first, if no frame is finite
        if layout == AUTO:
            layout = best
        elif lengths[layout] > WRONG_LAYOUT_FACTOR * lengths[best]:
            raise KeypointsRefused(f"these points are not in layout {layout}: its fingers would be "
                                   f"{lengths[layout] / lengths[best]:.1f} times as long as in layout {best}")  # fmt: skip
    elif layout == AUTO:
        layout = candidates[0]
    return points[..., LAYOUTS[layout][1], :], layout


def refuse_image_coordinates(keypoints: np.ndarray) -> None:
    """Raise KeypointsRefused for coordinates in an image, normalised or in pixels: they have no length in metres.

    Detectors of hands in images give them beside positions in space: x and y from the corner of the image, and a depth relative to
    the wrist.

    Args:
        keypoints: Shape (..., 21, 3); frames that are not finite do not count.
    """
    frames = keypoints.reshape(-1, KEYPOINTS, 3)
    frames = frames[np.isfinite(frames).all(axis=(1, 2))]
    if not len(frames):
        return
    at_wrist = np.abs(frames[:, 0, 2]) < IMAGE_DEPTH * np.ptp(frames[..., 0], axis=1)
    at_wrist &= frames[:, 0, :2].any(axis=1)  # else the wrist is the origin of a recording in space
    if at_wrist.mean() >= IMAGE_FRAMES and (frames[..., :2] >= 0.0).mean() >= IMAGE_INSIDE:
        unit = "normalised to its size" if np.median(frames[..., :2].max(axis=(1, 2))) <= 1.5 else "in pixels"
        message = f"these are coordinates in an image, {unit}, which have no length in metres"
        raise KeypointsRefused(f"{message}: use the positions in space, which MediaPipe calls world landmarks")


def refuse_unknown_order(keypoints: np.ndarray, layout: str) -> None:
    """Raise KeypointsRefused if the distances between the points, medians over the frames, cannot be those of a hand.

    Args:
        keypoints: In any frame and unit, shape (..., 21, 3), finite.
        layout: The layout from which they were selected, for the message.
    """
    frames = keypoints.reshape(-1, KEYPOINTS, 3)
    fingers = frames[:, 1:].reshape(-1, 5, 4, 3)
    to_base = np.linalg.norm(fingers[:, :, 0] - frames[:, :1], axis=-1)
    bones = np.linalg.norm(np.diff(fingers[:, 1:], axis=2), axis=-1)
    nearest = np.maximum(to_base[:, 1:].min(axis=1), 1e-12)
    thumb = float(np.median(to_base[:, 0] / nearest))
    knuckles = float(np.median(to_base[:, 1:].max(axis=1) / nearest))
    first = float(np.median(bones[..., 0].sum(axis=1) / np.maximum(bones.sum(axis=(1, 2)), 1e-12)))
    if thumb > MAX_THUMB_BASE:
        got = f"the first joint of the thumb is {thumb:.2f} times as far from the wrist as the nearest knuckle"
        expected = f"at most {MAX_THUMB_BASE:g}"
    elif knuckles > MAX_KNUCKLES:
        got = f"the farthest knuckle is {knuckles:.2f} times as far from the wrist as the nearest one"
        expected = f"at most {MAX_KNUCKLES:g}"
    elif first < MIN_FIRST_BONES:
        got = f"the first bones are {100 * first:.0f}% of the length of the four fingers"
        expected = f"at least {100 * MIN_FIRST_BONES:.0f}%"
    else:
        return
    order = "wrist; thumb, index, middle, ring and pinky, each from the palm to the tip"
    raise KeypointsRefused(f"the points are not in the order of layout {layout}: {got}, expected {expected}; order them as {order}")


def _length_of_fingers(keypoints: np.ndarray) -> float:
    """Sum of the lengths of the five fingers, mean over the finite frames; infinite if no frame is finite."""
    frames = keypoints.reshape(-1, KEYPOINTS, 3)
    frames = frames[np.isfinite(frames).all(axis=(1, 2))]
    fingers = frames[:, 1:].reshape(-1, 5, 4, 3)
    return float(np.linalg.norm(np.diff(fingers, axis=2), axis=-1).sum(axis=(1, 2)).mean()) if len(frames) else np.inf


def _counts() -> str:
    """The counts of points, for error messages."""
    return " or ".join(", ".join(map(str, COUNTS)).rsplit(", ", 1))
