"""ActionChunk: the output of the policy for one robot."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from latent_policy_ros.common.errors import ActionRefused
from latent_policy_ros.observations.messages import pose_array, to_seconds

CHUNK_RATES = 5.0, 100.0  # of the policy node [Hz]; at lower rates action chunks would end before the next one arrives


@dataclass(frozen=True)
class ActionChunk:
    """H future actions of one robot. Step k is scheduled for time ``stamp + k * dt``.

    Attributes:
        stamp: Time of the observation that the chunk was computed from [s].
        dt: Time between steps [s].
        latents: End-effector actions in the shared latent space, (H, L).
        wrist_poses: Wrist poses in the robot's base frame, (H, 7): x y z [m], qx qy qz qw.
        latent_id: Content hash of the latent space of ``latents``.
        policy_id: Content hash of the policy, or the name of another source of chunks.
        sequence: Sequence number, incremented with each chunk of a source.
    """

    stamp: float
    dt: float
    latents: np.ndarray
    wrist_poses: np.ndarray
    latent_id: str
    policy_id: str
    sequence: int

    @classmethod
    def from_message(cls, message: Any) -> ActionChunk:
        """Read a LatentAction message. Decoders validate the content.

        Raises:
            ActionRefused: The number of latents is not horizon x dim.
        """
        latents = np.frombuffer(message.latents, np.float32)
        if latents.size != message.horizon * message.dim:
            raise ActionRefused(
                f"latent action {message.sequence}: latents: expected horizon {message.horizon} x dim {message.dim} numbers, "
                f"got {latents.size}"
            )
        poses = np.array([pose_array(pose) for pose in message.wrist_poses]).reshape(-1, 7)
        return cls(
            to_seconds(message.header.stamp), message.time_step, latents.reshape(message.horizon, message.dim), poses,
            message.latent_id, message.policy_id, message.sequence,
        )  # fmt: skip

    @property
    def horizon(self) -> int:
        """Number of steps."""
        return len(self.latents)

    @property
    def end(self) -> float:
        """Scheduled time of the last step [s]."""
        return self.stamp + (self.horizon - 1) * self.dt
