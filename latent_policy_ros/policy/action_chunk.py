"""ActionChunk: the output of the policy for one robot."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np


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

    @property
    def horizon(self) -> int:
        """Number of steps."""
        return len(self.latents)

    @property
    def end(self) -> float:
        """Scheduled time of the last step [s]."""
        return self.stamp + (self.horizon - 1) * self.dt
