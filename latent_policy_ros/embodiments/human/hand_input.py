"""Hand input: convert the points of any tracking device to keypoints of a right hand in the canonical hand frame."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field

import numpy as np

from latent_policy_ros.common.errors import available
from latent_policy_ros.embodiments.human.hand_size import HandMeasure, HandSize
from latent_policy_ros.embodiments.human.handedness import Handedness, evidence, mirrored_keypoints
from latent_policy_ros.embodiments.human.keypoint_layouts import (
    AUTO,
    layout_name,
    metres,
    refuse_image_coordinates,
    refuse_unknown_order,
    to_21,
)
from latent_policy_ros.embodiments.human.keypoints import KEYPOINTS, KeypointsRefused, to_hand_frame
from latent_policy_ros.embodiments.model.sides import SIDES

_MIN_MEAN_EVIDENCE = 0.2  # weaker mean evidence does not decide between left and right in a recording
_MAX_FRAME_TIME = 0.05  # evidence of a frame counts for at most this time [s], also after a gap in the stream


def side_name(side: str) -> str:
    """Check a side: ``left``, ``right`` or ``auto``.

    Raises:
        KeypointsRefused: It is none of these.
    """
    if side not in (AUTO, *SIDES):
        raise KeypointsRefused(f"no side {side!r}; {available((AUTO, *SIDES))}")
    return side


def _side_warning(given: str, detected: str | None) -> str:
    """A warning if the detected side differs from the given one; else empty."""
    if given == AUTO or detected in (None, given):
        return ""
    return f"side is {given}, but the fingers bend as those of a {detected} hand (are the axes left-handed?)"


class HandInput:
    """A live stream of one hand, converted frame by frame.

    Args:
        layout: Order of the points, see ``LAYOUTS``; ``auto`` detects it from the first frame.
        units: ``m``, ``cm`` or ``mm``.
        side: ``left`` or ``right``, the hand that the points show; ``auto`` detects it from the bending of the fingers.
        frozen_after: Frames are rejected after the points were bit-for-bit constant for this time [s]: the device is stuck.

    Attributes:
        layout: The layout; the detected one after the first frame.
        frozen_after: As given.
    """

    def __init__(self, layout: str = AUTO, units: str = "m", side: str = AUTO, frozen_after: float = 1.0) -> None:
        self.layout, self._metres, self._given_side = layout_name(layout), metres(units), side_name(side)
        self.frozen_after = frozen_after
        self._given_layout = self.layout
        self._measure, self._hands = HandMeasure(), Handedness()
        self.reset()

    def reset(self) -> None:
        """Forget the hand: another person, or another device."""
        self.layout = self._given_layout
        self._measure.reset()
        self._hands.reset()
        self._last: np.ndarray | None = None
        self._time, self._changed = -np.inf, 0.0

    @property
    def size(self) -> HandSize | None:
        """Size of the hand as measured so far."""
        return self._measure.size

    @property
    def side(self) -> str | None:
        """The side, given or detected; None: not detected yet."""
        return self._hands.side if self._given_side == AUTO else self._given_side

    @property
    def side_warning(self) -> str:
        """A warning if the detected side differs from the given one; else empty."""
        return _side_warning(self._given_side, self._hands.side)

    def push(self, points: np.ndarray, stamp: float) -> np.ndarray:
        """Convert a frame to keypoints (21, 3) [m] of a right hand in the canonical hand frame.

        Args:
            points: As the device gives them, shape (N, 3).
            stamp: Time of the measurement [s].

        Raises:
            KeypointsRefused: The frame cannot be used; the message says why. Later frames can be pushed.
        """
        points = np.asarray(points, dtype=np.float64)
        if points.ndim != 2:
            raise KeypointsRefused(f"a hand must have shape (points, 3), got {points.shape}")
        if len(points) == 0:
            raise KeypointsRefused("no hand in view: the message has no points")
        if not np.isfinite(points).all():
            raise KeypointsRefused("no hand in view: the points are not finite")
        self._check_not_frozen(points, stamp)
        keypoints, layout = to_21(points, self.layout)
        refuse_image_coordinates(keypoints)
        keypoints = to_hand_frame(keypoints * self._metres)
        refuse_unknown_order(keypoints, layout)
        self._measure.add(keypoints)
        self.layout = layout
        elapsed, self._time = min(stamp - self._time, _MAX_FRAME_TIME), stamp
        self._hands.add(float(evidence(keypoints)), elapsed)
        if self.side is None:
            raise KeypointsRefused("left or right is not detected yet: bend the fingers, or set the side")
        return mirrored_keypoints(keypoints) if self.side == "left" else keypoints

    def _check_not_frozen(self, points: np.ndarray, stamp: float) -> None:
        if self._last is None or not np.array_equal(points, self._last):
            self._last, self._changed = np.array(points), stamp  # a copy, because the caller may reuse the array
        elif stamp - self._changed > self.frozen_after:
            raise KeypointsRefused(f"frozen: the points have been constant for more than {self.frozen_after:g} s")


@dataclass(frozen=True)
class CanonicalHands:
    """A recording, converted to a right hand in the canonical hand frame.

    Attributes:
        keypoints: Shape (T, 21, 3) [m]; NaN where a frame was rejected.
        valid: Shape (T,): whether the frame can be used.
        rejected: Counts of rejected frames by reason.
        layout: Layout of the points.
        side: Side of the recorded hand; if it is ``left``, the keypoints were mirrored.
        size: Size of the hand.
        side_warning: Why the given side seems wrong; empty if it does not.
    """

    keypoints: np.ndarray = field(repr=False)
    valid: np.ndarray = field(repr=False)
    rejected: Counter[str]
    layout: str
    side: str
    size: HandSize
    side_warning: str = ""


def canonical_hands(points: np.ndarray, layout: str = AUTO, units: str = "m", side: str = AUTO) -> CanonicalHands:
    """Convert a recording of one hand from any device.

    The side is detected from all frames together. Frames that show no hand are marked, not dropped.

    Args:
        points: Shape (T, N, 3).
        layout, units, side: As of :class:`HandInput`.

    Raises:
        KeypointsRefused: No frame can be used, or left and right cannot be distinguished.
    """
    side_name(side)
    points = np.asarray(points, dtype=np.float64)
    if points.ndim != 3 or not len(points):
        raise KeypointsRefused(f"a recording must have shape (frames, points, 3), got {points.shape}")
    found, layout = to_21(points, layout)
    refuse_image_coordinates(found)
    found = found * metres(units)
    keypoints = np.full((len(points), KEYPOINTS, 3), np.nan)
    rejected: Counter[str] = Counter()
    try:
        keypoints = to_hand_frame(found)  # all at once; frame by frame only if one is rejected
    except KeypointsRefused as error_of_all:
        first = error_of_all
        for t, frame in enumerate(found):
            try:
                keypoints[t] = to_hand_frame(frame)
            except KeypointsRefused as error:
                rejected[str(error).split(", got")[0]] += 1
        if sum(rejected.values()) == len(found):
            raise first from None
    valid = np.isfinite(keypoints).all(axis=(1, 2))
    refuse_unknown_order(keypoints[valid], layout)
    score = float(evidence(keypoints[valid]).mean())
    detected = None if abs(score) < _MIN_MEAN_EVIDENCE else "right" if score > 0 else "left"
    warning = _side_warning(side, detected)
    if side == AUTO:
        if detected is None:
            raise KeypointsRefused("left and right cannot be distinguished: the fingers hardly bend; set the side")
        side = detected
    keypoints = mirrored_keypoints(keypoints) if side == "left" else keypoints
    return CanonicalHands(keypoints, valid, rejected, layout, side, HandSize.of(keypoints), warning)
