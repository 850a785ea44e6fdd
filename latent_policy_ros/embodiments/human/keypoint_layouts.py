"""Which point of a hand is where: the orders in which devices list the points of a hand, brought to the 21 keypoints.

All that is used of a device is the positions of its points. Orders of the same length are told apart by anatomy: in the
wrong order the fingers would be far too long.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from latent_policy_ros.common.errors import available
from latent_policy_ros.embodiments.human.human_hand import KEYPOINTS
from latent_policy_ros.embodiments.human.keypoints import KeypointsRefused

AUTO = "auto"
#: In metres, of what each unit is.
UNITS: Mapping[str, float] = {"m": 1.0, "cm": 0.01, "mm": 0.001}

#: How many points a device gives, and which of them are the 21 keypoints.
LAYOUTS: Mapping[str, tuple[int, tuple[int, ...]]] = {
    # Wrist; thumb, index, middle, ring and pinky, each from the palm to the tip. Also OpenPose, WiLoR, HaMeR.
    "mediapipe": (21, tuple(range(KEYPOINTS))),
    # MANO's 16 joints (index, middle, pinky, ring, thumb), then the five tips, thumb first.
    "mano": (21, (0, 13, 14, 15, 16, 1, 2, 3, 17, 4, 5, 6, 18, 10, 11, 12, 19, 7, 8, 9, 20)),
    # Raw nodes of MANUS gloves: the hand, four fingers of five nodes (the first is the metacarpal's base), the thumb.
    "manus": (25, (0, 21, 22, 23, 24, 2, 3, 4, 5, 7, 8, 9, 10, 12, 13, 14, 15, 17, 18, 19, 20)),
    # WebXR, visionOS, and MANUS gloves that list the thumb first.
    "webxr": (25, (0, 1, 2, 3, 4, 6, 7, 8, 9, 11, 12, 13, 14, 16, 17, 18, 19, 21, 22, 23, 24)),
    # OpenXR: the palm, then as WebXR.
    "openxr": (26, (1, 2, 3, 4, 5, 7, 8, 9, 10, 12, 13, 14, 15, 17, 18, 19, 20, 22, 23, 24, 25)),
}
ALIASES = {"openpose": "mediapipe", "wilor": "mediapipe", "hamer": "mediapipe"}
COUNTS = tuple(sorted({count for count, _ in LAYOUTS.values()}))
#: A named layout is refused if another of its length makes the fingers shorter by more than this factor (a fist: 1.16).
MISTAKEN = 1.1


def layout_name(name: str) -> str:
    """A layout's name as in ``LAYOUTS``, or ``auto``.

    Raises:
        KeypointsRefused: There is no such layout.
    """
    name = ALIASES.get(name, name)
    if name != AUTO and name not in LAYOUTS:
        raise KeypointsRefused(f"no layout {name!r}; {available([AUTO, *LAYOUTS, *ALIASES])}")
    return name


def metres(units: str) -> float:
    """Metres in a unit.

    Raises:
        KeypointsRefused: There is no such unit.
    """
    if units not in UNITS:
        raise KeypointsRefused(f"no units {units!r}; {available(UNITS)}")
    return UNITS[units]


def to_21(points: np.ndarray, layout: str = AUTO) -> tuple[np.ndarray, str]:
    """The 21 keypoints among a device's points: (..., N, 3) -> (..., 21, 3), and the layout's name.

    Args:
        points: In any frame and unit; frames that are not finite do not vote.
        layout: A name of ``LAYOUTS`` or an alias; ``auto`` tells by the number of points and the lengths of fingers.

    Raises:
        KeypointsRefused: A number of points that no layout has, or not the layout's; or clearly another layout.
    """
    points, layout = np.asarray(points, dtype=np.float64), layout_name(layout)
    if points.ndim < 2 or points.shape[-1] != 3:
        raise KeypointsRefused(f"a hand must have shape (..., points, 3), got {points.shape}")
    count = points.shape[-2]
    if layout != AUTO and LAYOUTS[layout][0] != count:
        raise KeypointsRefused(f"layout {layout} has {LAYOUTS[layout][0]} points, got {count}; layout auto takes {_counts()}")
    candidates = [name for name, (size, _) in LAYOUTS.items() if size == count]
    if not candidates:
        raise KeypointsRefused(f"a hand of {count} points is of no known layout; expected {_counts()} points")
    if len(candidates) > 1:
        lengths = {name: _length_of_fingers(points[..., LAYOUTS[name][1], :]) for name in candidates}
        best = min(candidates, key=lambda name: lengths[name])  # not finite: the first
        if layout == AUTO:
            layout = best
        elif lengths[layout] > MISTAKEN * lengths[best]:
            raise KeypointsRefused(f"these points are not in layout {layout}: its fingers would be "
                                   f"{lengths[layout] / lengths[best]:.1f} times as long as in layout {best}")  # fmt: skip
    elif layout == AUTO:
        layout = candidates[0]
    return points[..., LAYOUTS[layout][1], :], layout


def _length_of_fingers(keypoints: np.ndarray) -> float:
    """Mean length of all five fingers together over the finite frames, in whatever unit; infinite if there is none."""
    frames = keypoints.reshape(-1, KEYPOINTS, 3)
    frames = frames[np.isfinite(frames).all(axis=(1, 2))]
    fingers = frames[:, 1:].reshape(-1, 5, 4, 3)
    return float(np.linalg.norm(np.diff(fingers, axis=2), axis=-1).sum(axis=(1, 2)).mean()) if len(frames) else np.inf


def _counts() -> str:
    return " or ".join(", ".join(map(str, COUNTS)).rsplit(", ", 1))
