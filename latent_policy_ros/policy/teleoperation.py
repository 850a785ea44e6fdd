"""A person's hand drives a robot: keypoints become plans in the shared latent space, or joints by retargeting.

Both end where a policy's plans end: in the robot's decoder or at its driver, behind the same guard. The arm stays: with
the first plan the measured wrist is taken as the one to hold, and it is not followed afterwards (it would drift).
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
SOURCE = "human_hand"  # instead of a policy's id
LONG_AGO = 0.2  # s: after such a gap the pose before says nothing of speed


class NotReady(LatentPolicyError):
    """A robot cannot be driven yet: something of it was not measured."""


class HandToRobot:
    """One robot that follows a person's hand. The first moment does not count: the robot is eased into it.

    Args:
        embodiment: The robot's end-effector.
        latent_space: For :meth:`plan`; None if only :meth:`joints` is wanted.
        ease: Time over which the robot goes over from its measured pose to the person's [s]; 0: at once.

    Raises:
        ArtifactError: The latent space does not know the person's hand or this embodiment, or knew them otherwise.
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
        """Follow no more; the next frame begins anew, from the pose measured then."""
        self._began: float | None = None
        self._stamp = -np.inf
        self._start: np.ndarray | None = None
        self._wrist: np.ndarray | None = None
        self._retargeter.reset()

    @property
    def following(self) -> bool:
        """Whether the robot follows the hand."""
        return self._began is not None

    def plan(
        self, latent: np.ndarray, stamp: float, valid_for: float, measured: np.ndarray | None, wrist: np.ndarray | None
    ) -> ActionChunk:
        """A plan of one step: the latent (L,) of the person's hand, and the wrist pose to hold.

        Args:
            latent: As :func:`encode_hand` makes it; one for all robots.
            stamp: When the hand was seen [s].
            valid_for: How long the plan is good for [s].
            measured: Joints (n,) now; None: not known.
            wrist: Measured wrist pose (7,) now; None: not known.

        Raises:
            NotReady: Something is not known of the robot; it is not followed any more, and begins anew when it is.
        """
        if wrist is None:
            self.release()
            raise NotReady("no wrist pose was measured")
        share = self._begin(stamp, measured)
        if self._wrist is None:
            self._wrist = np.array(wrist)
        if share < 1.0:
            start = self.latent_space.encode(self.embodiment.name, self.embodiment.to_action(self._start))
            latent = (1.0 - share) * start + share * latent  # a decoder looks at its direction only
        self._sequence += 1
        return ActionChunk(stamp, valid_for, latent[None], self._wrist[None], self.latent_space.latent_id, SOURCE, self._sequence)

    def joints(self, keypoints: np.ndarray, stamp: float, measured: np.ndarray | None) -> np.ndarray:
        """Joints (n,) by retargeting keypoints (21, 3) [m] of a right hand; ``stamp`` and ``measured`` as in :meth:`plan`.

        Raises:
            NotReady: As in :meth:`plan`.
            KeypointsRefused: The keypoints are no hand.
        """
        last, share = self._stamp, self._begin(stamp, measured)
        dt = stamp - last
        q = self._retargeter.retarget(keypoints, dt if 0.0 < dt < LONG_AGO else None)
        return q if share >= 1.0 else (1.0 - share) * self._start + share * q

    def _begin(self, stamp: float, measured: np.ndarray | None) -> float:
        """How far the robot is on its way from where it was to the person's hand, in [0, 1]."""
        if measured is None:
            self.release()
            raise NotReady("no joint states were measured")
        if self._began is None or stamp < self._stamp:  # the clock may have been set back
            self._began, self._start = stamp, np.array(measured)
        self._stamp = stamp
        if self.ease <= 0:
            return 1.0
        s = float(np.clip((stamp - self._began) / self.ease, 0.0, 1.0))
        return s * s * (3.0 - 2.0 * s)


def encode_hand(latent_space: LatentSpace, keypoints: np.ndarray) -> np.ndarray:
    """Latent (L,) of a right hand, keypoints (21, 3) [m] in the canonical frame."""
    return latent_space.encode(HUMAN, human_action(keypoints))
