"""Keypoints of a person's hand as they come from a device -> right hands in the canonical frame, or a reason why not."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field

import numpy as np

from latent_policy_ros.common.errors import available
from latent_policy_ros.embodiments.human.hand_size import HandMeasure, HandSize
from latent_policy_ros.embodiments.human.handedness import Handedness, evidence, mirrored
from latent_policy_ros.embodiments.human.human_hand import KEYPOINTS
from latent_policy_ros.embodiments.human.keypoint_layouts import AUTO, layout_name, metres, to_21
from latent_policy_ros.embodiments.human.keypoints import KeypointsRefused, to_hand_frame
from latent_policy_ros.embodiments.model.catalogue import SIDES

#: A recording shows neither hand clearly if its mean evidence is weaker than this.
_UNCLEAR = 0.2
#: One frame, however long after the one before, is evidence of so much time [s].
_LONGEST_GAP = 0.05


def side_name(side: str) -> str:
    """``left``, ``right`` or ``auto``.

    Raises:
        KeypointsRefused: Anything else.
    """
    if side not in (AUTO, *SIDES):
        raise KeypointsRefused(f"no side {side!r}; {available((AUTO, *SIDES))}")
    return side


class HandInput:
    """A live stream of one hand, frame by frame.

    Args:
        layout: Order of the points, see ``LAYOUTS``; ``auto`` tells by itself, once.
        units: ``m``, ``cm`` or ``mm``.
        side: ``left`` or ``right``: what hand the keypoints show; ``auto`` waits until the hand's bends tell.
        frozen_after: When keypoints have not changed at all for this long [s], the device is stuck: no one is so still.
    """

    def __init__(self, layout: str = AUTO, units: str = "m", side: str = AUTO, frozen_after: float = 1.0) -> None:
        self.layout, self._metres, self._told = layout_name(layout), metres(units), side_name(side)
        self.frozen_after = frozen_after
        self._asked = self.layout
        self._measure, self._hands = HandMeasure(), Handedness()
        self.reset()

    def reset(self) -> None:
        """Another person, or another device."""
        self.layout = self._asked
        self._measure.reset()
        self._hands.reset()
        self._last: np.ndarray | None = None
        self._time, self._changed = -np.inf, 0.0

    @property
    def size(self) -> HandSize | None:
        """The hand as measured so far."""
        return self._measure.size

    @property
    def side(self) -> str | None:
        """Which hand it is taken for; None: not known yet."""
        return self._hands.side if self._told == AUTO else self._told

    @property
    def doubt(self) -> str:
        """What speaks against the side that was told; empty if nothing does."""
        seen = self._hands.side
        if self._told == AUTO or seen in (None, self._told):
            return ""
        return f"told that it is a {self._told} hand, but it bends as a {seen} hand does (are the axes left-handed?)"

    def take(self, points: np.ndarray, stamp: float) -> np.ndarray:
        """Keypoints (21, 3) [m] of a right hand in the canonical frame.

        Args:
            points: (N, 3), as the device gives them.
            stamp: When they were measured [s].

        Raises:
            KeypointsRefused: They cannot be used; says why. The stream goes on with the next frame.
        """
        points = np.asarray(points, dtype=np.float64)
        if points.ndim != 2:
            raise KeypointsRefused(f"a hand must have shape (points, 3), got {points.shape}")
        if len(points) == 0:
            raise KeypointsRefused("no hand is seen: a message without points")
        if not np.isfinite(points).all():
            raise KeypointsRefused("no hand is seen: keypoints are not finite")
        self._check_alive(points, stamp)
        keypoints, layout = to_21(points, self.layout)
        keypoints = to_hand_frame(keypoints * self._metres)
        self._measure.see(keypoints)
        self.layout = layout
        elapsed, self._time = min(stamp - self._time, _LONGEST_GAP), stamp
        self._hands.see(float(evidence(keypoints)), elapsed)
        if self.side is None:
            raise KeypointsRefused("left or right is not clear yet: bend the fingers, or say which side it is")
        return mirrored(keypoints) if self.side == "left" else keypoints

    def _check_alive(self, points: np.ndarray, stamp: float) -> None:
        if self._last is None or not np.array_equal(points, self._last):
            self._last, self._changed = np.array(points), stamp  # a copy: its owner may write the next hand into it
        elif stamp - self._changed > self.frozen_after:
            raise KeypointsRefused(f"frozen: the keypoints have not changed at all for {self.frozen_after:g} s")


@dataclass(frozen=True)
class CanonicalHands:
    """A whole recording, brought to right hands in the canonical frame.

    Attributes:
        keypoints: (T, 21, 3) [m]; NaN where a frame is refused.
        good: (T,) whether the frame can be used.
        refused: How many frames were refused, by reason.
        layout, side: What the device gave; ``side`` left means that the keypoints were mirrored.
        size: The hand's.
    """

    keypoints: np.ndarray = field(repr=False)
    good: np.ndarray = field(repr=False)
    refused: Counter[str]
    layout: str
    side: str
    size: HandSize


def canonical_hands(points: np.ndarray, layout: str = AUTO, units: str = "m", side: str = AUTO) -> CanonicalHands:
    """A recording from any device: points (T, N, 3) of one hand.

    Left or right is decided by all frames together. Frames that show no hand are marked, not dropped.

    Raises:
        KeypointsRefused: Nothing of it can be used, or left and right cannot be told.
    """
    side_name(side)
    points = np.asarray(points, dtype=np.float64)
    if points.ndim != 3 or not len(points):
        raise KeypointsRefused(f"a recording must have shape (frames, points, 3), got {points.shape}")
    found, layout = to_21(points, layout)
    found = found * metres(units)
    keypoints, refused = np.full((len(points), KEYPOINTS, 3), np.nan), Counter()
    try:
        keypoints = to_hand_frame(found)  # all at once, if all are good
    except KeypointsRefused as every:
        first = every
        for t, frame in enumerate(found):
            try:
                keypoints[t] = to_hand_frame(frame)
            except KeypointsRefused as error:
                refused[str(error).split(", got")[0]] += 1
        if sum(refused.values()) == len(found):
            raise first from None
    good = np.isfinite(keypoints).all(axis=(1, 2))
    if side == AUTO:
        score = float(evidence(keypoints[good]).mean())
        if abs(score) < _UNCLEAR:
            raise KeypointsRefused("left or right cannot be told: the hand hardly bends; say which side it is")
        side = "right" if score > 0 else "left"
    keypoints = mirrored(keypoints) if side == "left" else keypoints
    return CanonicalHands(keypoints, good, refused, layout, side, HandSize.of(keypoints))
