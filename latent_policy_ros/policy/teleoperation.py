"""Teleoperation of an end-effector with a human hand, through the shared latent space or by direct retargeting.

Keypoints of the hand become action chunks for the robot's decoder, or joint positions for its driver, and pass the same command
guard as a policy's actions. The arm holds the wrist pose that was measured at the start. Commanding the current measured
pose would make the arm drift.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from latent_policy_ros.common.errors import LatentPolicyError
from latent_policy_ros.embodiments.human.keypoints import human_action
from latent_policy_ros.policy.action_chunk import ActionChunk
from latent_policy_ros.retargeting import Retargeter

if TYPE_CHECKING:
    from latent_policy_ros.embodiments import Embodiment
    from latent_policy_ros.latent.space import LatentSpace

HUMAN = "human_hand"
SOURCE = "human_hand"  # policy_id of the chunks
MAX_VELOCITY_GAP = 0.2  # s; joint velocity is not limited across longer gaps between frames


class NotReady(LatentPolicyError):
    """A robot cannot be driven yet, because a measurement is missing."""


class HandToRobot:
    """Follows a human hand with one end-effector. The motion starts at the measured pose and blends into that of the hand.

    Args:
        embodiment: End-effector of the robot.
        latent_space: Latent space for :meth:`chunk`; None if only :meth:`joints` is used.
        ease: Duration of the transition from the measured pose to that of the hand [s]; 0: none.

    Raises:
        ArtifactError: The latent space does not have the human hand or this embodiment, or has another version of it.
    """

    def __init__(self, embodiment: Embodiment, latent_space: LatentSpace | None = None, ease: float = 0.5) -> None:
        if latent_space is not None:
            latent_space.codec(HUMAN)
            latent_space.check(embodiment)
        self.embodiment, self.latent_space, self.ease = embodiment, latent_space, ease
        self._retargeter = Retargeter(embodiment)
        self._sequence = 0
        self.release()

    def release(self) -> None:
        """Stop following. The next frame starts a new transition from the pose measured then."""
        self._start: tuple[float, np.ndarray] | None = None  # time [s] and measured joints (n,)
        self._stamp = -np.inf
        self._wrist: np.ndarray | None = None
        self._retargeter.reset()

    @property
    def following(self) -> bool:
        """Whether the robot is following the hand."""
        return self._start is not None

    def chunk(
        self, latent: np.ndarray, stamp: float, valid_for: float, measured: np.ndarray | None, wrist: np.ndarray | None
    ) -> ActionChunk:
        """An action chunk of one step: the latent of the human hand, and the wrist pose to hold.

        Args:
            latent: Latent (L,) from :func:`encode_hand`; the same for all robots.
            stamp: Time of the keypoints [s].
            valid_for: Duration for which the chunk may be executed [s].
            measured: Measured joints (n,); None: unknown.
            wrist: Measured wrist pose (7,); None: unknown.

        Raises:
            NotReady: A measurement is missing. The robot is released; it starts again when both are available.
            ValueError: The object was made without a latent space.
        """
        if self.latent_space is None:
            raise ValueError(f"{self.embodiment.name}: chunk() requires a latent space; use joints(), or give one")
        if wrist is None:
            self.release()
            raise NotReady("no wrist pose measured")
        progress, start = self._progress(stamp, measured)
        if self._wrist is None:
            self._wrist = np.array(wrist)
        if progress < 1.0:
            start_latent = self.latent_space.encode(self.embodiment.name, self.embodiment.to_action(start))
            latent = (1.0 - progress) * start_latent + progress * latent
        self._sequence += 1
        return ActionChunk(stamp, valid_for, latent[None], self._wrist[None], self.latent_space.latent_id, SOURCE, self._sequence)

    def joints(self, keypoints: np.ndarray, stamp: float, measured: np.ndarray | None) -> np.ndarray:
        """Joints (n,) by retargeting keypoints (21, 3) [m] of a right hand; ``stamp`` and ``measured`` as in :meth:`chunk`.

        Raises:
            NotReady: As in :meth:`chunk`.
            KeypointsRefused: The keypoints are not those of a hand.
        """
        last = self._stamp
        progress, start = self._progress(stamp, measured)
        dt = stamp - last
        q = self._retargeter.retarget(keypoints, dt if 0.0 < dt < MAX_VELOCITY_GAP else None)
        return q if progress >= 1.0 else (1.0 - progress) * start + progress * q

    def _progress(self, stamp: float, measured: np.ndarray | None) -> tuple[float, np.ndarray]:
        """Progress of the transition to the pose of the hand, 0 to 1, and the joints (n,) that it started from."""
        if measured is None:
            self.release()
            raise NotReady("no joint states measured")
        if self._start is None or stamp < self._stamp:  # the clock may have been set back
            self._start = stamp, np.array(measured)
        self._stamp = stamp
        started, joints = self._start
        s = float(np.clip((stamp - started) / self.ease, 0.0, 1.0)) if self.ease > 0 else 1.0
        return s * s * (3.0 - 2.0 * s), joints


def encode_hand(latent_space: LatentSpace, keypoints: np.ndarray) -> np.ndarray:
    """Latent (L,) of a right hand, keypoints (21, 3) [m] in the canonical frame."""
    return latent_space.encode(HUMAN, human_action(keypoints))
