"""Size of a person's hand, measured from keypoints; rejection of frames that show another hand."""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass
from functools import lru_cache

import numpy as np

from latent_policy_ros.embodiments.human.human_hand import HumanHand
from latent_policy_ros.embodiments.human.keypoints import KeypointsRefused
from latent_policy_ros.embodiments.model.schema import FINGERS


@dataclass(frozen=True)
class HandSize:
    """Lengths of one hand [m].

    Attributes:
        palm: From the wrist to the middle knuckle.
        fingers: Sum of the three bones of each finger, thumb first, shape (5,). The first bone of the thumb is its metacarpal.
        frames: Count of frames whose median it is.
    """

    palm: float
    fingers: tuple[float, ...]
    frames: int

    @property
    def scale(self) -> float:
        """Size relative to an average adult hand."""
        palm, fingers = _average()
        return float((self.palm + sum(self.fingers)) / (palm + fingers.sum()))

    def text(self) -> str:
        """A line for people: lengths [mm] and the scale."""
        fingers = ", ".join(f"{name} {1e3 * length:.0f}" for name, length in zip(FINGERS, self.fingers))
        return f"palm {1e3 * self.palm:.0f}, {fingers} mm: {self.scale:.2f} of an average adult hand"

    @staticmethod
    def of(keypoints: np.ndarray) -> HandSize:
        """Measure a recording: medians over the finite frames of keypoints (T, 21, 3) [m].

        Raises:
            KeypointsRefused: No frame is finite.
        """
        good = np.isfinite(keypoints).all(axis=(-1, -2))
        if not good.any():
            raise KeypointsRefused("no frame of the recording shows a complete hand")
        palm, fingers = lengths(keypoints[good])
        return HandSize(float(np.median(palm)), tuple(np.median(fingers, axis=0).tolist()), int(good.sum()))


def lengths(keypoints: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Lengths of palm (...) and fingers (..., 5) [m] from keypoints (..., 21, 3) [m]."""
    fingers = keypoints[..., 1:, :].reshape(*keypoints.shape[:-2], 5, 4, 3)
    palm = np.linalg.norm(keypoints[..., 9, :] - keypoints[..., 0, :], axis=-1)
    return palm, np.linalg.norm(np.diff(fingers, axis=-2), axis=-1).sum(axis=-1)


class HandMeasure:
    """Size of the hand in a stream: the running median of the first ``frames`` frames, constant afterwards.

    Frames whose size differs (another hand, a tracker that lost the fingers) are rejected.

    Args:
        frames: Count of frames that are measured.
        tolerance: Accepted factor between a frame and the median, for the palm and for the sum of the fingers.

    Attributes:
        size: The size so far, or None.
    """

    def __init__(self, frames: int = 60, tolerance: float = 1.5) -> None:
        self.frames, self.tolerance = frames, tolerance
        self.reset()

    def reset(self) -> None:
        """Discard the measurement."""
        self._measured: deque[np.ndarray] = deque(maxlen=self.frames)
        self.size: HandSize | None = None
        self._rejected = 0

    @property
    def settled(self) -> bool:
        """Whether ``frames`` frames were measured."""
        return self.size is not None and self.size.frames >= self.frames

    def add(self, keypoints: np.ndarray) -> HandSize:
        """Measure a frame (21, 3) [m] and return the size so far.

        Raises:
            KeypointsRefused: The size differs from the measured one. After ``frames`` such frames in a row the stream is taken
                to show another hand, and the measurement starts again.
        """
        palm, fingers = lengths(keypoints)
        measured = np.r_[palm, fingers]
        if self.size is not None and self.size.frames >= 5:
            known = np.array([self.size.palm, sum(self.size.fingers)])
            ratio = np.array([palm, fingers.sum()]) / known
            if (ratio > self.tolerance).any() or (ratio < 1 / self.tolerance).any():
                self._rejected += 1
                if self._rejected < self.frames:
                    raise KeypointsRefused(f"not the hand measured before: the palm is {ratio[0]:.2f} and the fingers are "
                                           f"{ratio[1]:.2f} times as long")  # fmt: skip
                self.reset()
        self._rejected = 0
        size = self.size
        if size is None or size.frames < self.frames:
            self._measured.append(measured)
            median = np.median(np.array(self._measured), axis=0)
            size = self.size = HandSize(float(median[0]), tuple(median[1:].tolist()), len(self._measured))
        return size


@lru_cache(maxsize=1)
def _average() -> tuple[float, np.ndarray]:
    """Lengths of palm and fingers (5,) [m] of an average adult hand."""
    palm, fingers = lengths(HumanHand().keypoints(np.zeros((1, 21))))
    return float(palm[0]), fingers[0]
