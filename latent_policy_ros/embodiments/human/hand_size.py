"""A person's hand as measured from keypoints: lengths of palm and fingers, and what cannot be the same hand."""

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
        palm: Wrist to middle knuckle.
        fingers: The three bones of each finger together, thumb first, (5,). (The thumb's begin at its carpometacarpal.)
        frames: Of how many frames it is the median.
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
        """In a line for people."""
        fingers = ", ".join(f"{name} {1e3 * length:.0f}" for name, length in zip(FINGERS, self.fingers))
        return f"palm {1e3 * self.palm:.0f}, {fingers} mm: {self.scale:.2f} of an average adult hand"

    @staticmethod
    def of(keypoints: np.ndarray) -> HandSize:
        """Of a recording: medians over its finite frames, keypoints (T, 21, 3) [m].

        Raises:
            KeypointsRefused: No frame is finite.
        """
        good = np.isfinite(keypoints).all(axis=(-1, -2))
        if not good.any():
            raise KeypointsRefused("no frame of the recording shows a whole hand")
        palm, fingers = lengths(keypoints[good])
        return HandSize(float(np.median(palm)), tuple(np.median(fingers, axis=0).tolist()), int(good.sum()))


def lengths(keypoints: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Palm (...) and fingers (..., 5) [m] of keypoints (..., 21, 3) [m]."""
    fingers = keypoints[..., 1:, :].reshape(*keypoints.shape[:-2], 5, 4, 3)
    palm = np.linalg.norm(keypoints[..., 9, :] - keypoints[..., 0, :], axis=-1)
    return palm, np.linalg.norm(np.diff(fingers, axis=-2), axis=-1).sum(axis=-1)


class HandMeasure:
    """The size of the hand in a stream: the running median of the first ``frames`` frames, which then stays.

    Frames that are far from it (another hand, a tracker that lost the fingers) are refused.

    Args:
        frames: After so many the size stays.
        tolerance: Palm and all fingers together may differ from the measured by this factor.
    """

    def __init__(self, frames: int = 60, tolerance: float = 1.5) -> None:
        self.frames, self.tolerance = frames, tolerance
        self.reset()

    def reset(self) -> None:
        """Another hand: measure anew."""
        self._seen: deque[np.ndarray] = deque(maxlen=self.frames)
        self.size: HandSize | None = None
        self._odd = 0

    @property
    def settled(self) -> bool:
        """Whether the size stays as it is."""
        return self.size is not None and self.size.frames >= self.frames

    def see(self, keypoints: np.ndarray) -> HandSize:
        """Measure a frame (21, 3) [m].

        Raises:
            KeypointsRefused: The frame cannot be of the hand that was measured. If as many frames in a row are so as it
                takes to measure a hand, it is another hand, and is measured anew.
        """
        palm, fingers = lengths(keypoints)
        seen = np.r_[palm, fingers]
        if self.size is not None and self.size.frames >= 5:
            known = np.array([self.size.palm, sum(self.size.fingers)])
            ratio = np.array([palm, fingers.sum()]) / known
            if (ratio > self.tolerance).any() or (ratio < 1 / self.tolerance).any():
                self._odd += 1
                if self._odd < self.frames:
                    raise KeypointsRefused(f"not the hand measured before: its palm is {ratio[0]:.2f} and its fingers are "
                                           f"{ratio[1]:.2f} times as long")  # fmt: skip
                self.reset()
        self._odd = 0
        if not self.settled:
            self._seen.append(seen)
            median = np.median(np.array(self._seen), axis=0)
            self.size = HandSize(float(median[0]), tuple(median[1:].tolist()), len(self._seen))
        return self.size


@lru_cache(maxsize=1)
def _average() -> tuple[float, np.ndarray]:
    palm, fingers = lengths(HumanHand().keypoints(np.zeros((1, 21))))
    return float(palm[0]), fingers[0]
