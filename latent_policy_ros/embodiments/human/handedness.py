"""Left or right, told by how a hand bends: no device needs to say.

:func:`to_hand_frame` takes every hand for a right one, so that +x leaves the palm. Of a left hand it makes a mirror
image that bends backwards. Fingers bend towards the palm only (a few degrees aside), and the thumb's tip stands in front
of the palm. A flat hand tells little and a noisy frame tells lies, so the evidence of many frames is added up.

What counts is what the keypoints show. A right hand in left-handed axes (as game engines have) shows a left hand, and is
mirrored back just so.
"""

from __future__ import annotations

import numpy as np

_BACKWARDS = 1.2  # eight joints of four straight fingers bend back by this sum of sines, in some people and some devices
_THUMB = 0.03  # m that the thumb's tip stands before the palm, to weigh as much as a joint bent at a right angle
_STRONGEST = 3.0  # the most that one frame may say, either way


def evidence(keypoints: np.ndarray) -> np.ndarray:
    """How much frames look like a right hand: (..., 21, 3) [m, hand frame, taken for right] -> (...), negative: left."""
    fingers = np.diff(keypoints[..., 5:, :].reshape(*keypoints.shape[:-2], 4, 4, 3), axis=-2)
    bones = fingers / np.maximum(np.linalg.norm(fingers, axis=-1, keepdims=True), 1e-9)
    before, after = bones[..., :-1, :], bones[..., 1:, :]
    bend = (before[..., 2] * after[..., 0] - before[..., 0] * after[..., 2]).sum(axis=(-1, -2))  # about +y
    bend = np.sign(bend) * np.maximum(np.abs(bend) - _BACKWARDS, 0.0)
    return np.clip(bend + keypoints[..., 4, 0] / _THUMB, -_STRONGEST, _STRONGEST)


def mirrored(keypoints: np.ndarray) -> np.ndarray:
    """Left for right: (..., 21, 3) in the hand frame of a hand that was taken for the other."""
    return keypoints * np.array([-1.0, 1.0, 1.0])


class Handedness:
    """Which hand a stream of keypoints shows, and it does not change its mind lightly.

    Args:
        decide: Evidence needed to decide, as that of one bent joint over so many seconds.
        most: Evidence is not kept beyond this: to be overruled, it takes as much of the contrary, and ``decide`` more.
    """

    def __init__(self, decide: float = 0.4, most: float = 3.0) -> None:
        self.decide, self.most = decide, most
        self.reset()

    def reset(self) -> None:
        """Forget what was seen."""
        self.total, self.side = 0.0, None

    def see(self, score: float, elapsed: float) -> str | None:
        """Add :func:`evidence` of a frame, ``elapsed`` seconds after the one before; ``left``, ``right`` or None: not sure."""
        self.total = float(np.clip(self.total + score * max(elapsed, 0.0), -self.most, self.most))
        if abs(self.total) >= self.decide:
            self.side = "right" if self.total > 0 else "left"
        return self.side
