"""Handedness: detect from keypoints alone whether they show a left or a right hand.

:func:`~latent_policy_ros.embodiments.human.keypoints.to_hand_frame` assumes a right hand, with +x out of the palm. A left hand
then seems to bend backwards. Fingers bend towards the palm (except for a few degrees), and the thumb tip is in front of it.
A flat hand gives little evidence and a noisy frame gives wrong evidence, so the evidence of many frames is added.

A right hand in left-handed axes, as game engines use them, counts as a left hand and is mirrored as one.
"""

from __future__ import annotations

import numpy as np

_BACKWARD_BEND = 1.2  # sum of sines of the eight finger joints that is ignored: straight fingers of some people and devices
_THUMB_HEIGHT = 0.03  # height of the thumb tip over the palm [m] that counts as much as a joint bent by 90 degrees
_MAX_EVIDENCE = 3.0  # bound on the evidence of one frame


def evidence(keypoints: np.ndarray) -> np.ndarray:
    """Evidence that frames show a right hand (positive) or a left hand (negative).

    Args:
        keypoints: In the hand frame of a right hand [m], shape (..., 21, 3).

    Returns:
        Shape (...); 1 is the evidence of one joint bent by 90 degrees.
    """
    fingers = np.diff(keypoints[..., 5:, :].reshape(*keypoints.shape[:-2], 4, 4, 3), axis=-2)
    bones = fingers / np.maximum(np.linalg.norm(fingers, axis=-1, keepdims=True), 1e-9)
    before, after = bones[..., :-1, :], bones[..., 1:, :]
    bend = (before[..., 2] * after[..., 0] - before[..., 0] * after[..., 2]).sum(axis=(-1, -2))  # about +y
    bend = np.sign(bend) * np.maximum(np.abs(bend) - _BACKWARD_BEND, 0.0)
    return np.clip(bend + keypoints[..., 4, 0] / _THUMB_HEIGHT, -_MAX_EVIDENCE, _MAX_EVIDENCE)


def mirrored_keypoints(keypoints: np.ndarray) -> np.ndarray:
    """Turn a left hand that was assumed to be right into a right hand: keypoints (..., 21, 3) in its hand frame."""
    return keypoints * np.array([-1.0, 1.0, 1.0])


class Handedness:
    """Handedness of a stream of keypoints, with hysteresis.

    Args:
        threshold: Accumulated evidence that decides [s]: 1 s is one joint bent by 90 degrees for one second.
        limit: Bound on the accumulated evidence [s]. A decision is reversed by ``limit + threshold`` of contrary evidence.

    Attributes:
        side: ``left``, ``right``, or None before the first decision.
        total: Accumulated evidence [s].
    """

    def __init__(self, threshold: float = 0.4, limit: float = 3.0) -> None:
        self.threshold, self.limit = threshold, limit
        self.reset()

    def reset(self) -> None:
        """Discard the evidence and the decision."""
        self.total = 0.0
        self.side: str | None = None

    def add(self, score: float, elapsed: float) -> str | None:
        """Add the evidence of a frame and return the side.

        Args:
            score: The frame's :func:`evidence`.
            elapsed: Time since the frame before [s].
        """
        self.total = float(np.clip(self.total + score * max(elapsed, 0.0), -self.limit, self.limit))
        if abs(self.total) >= self.threshold:
            self.side = "right" if self.total > 0 else "left"
        return self.side
