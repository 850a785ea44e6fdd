"""ActionChunk: the output of the policy for one robot."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True)
class ActionChunk:
    """A plan of H steps; step k is meant for time ``stamp + k * dt``.

    Attributes:
        stamp: Time of the observation that this answers [s].
        dt: Time between steps [s].
        latents: End-effector actions in the shared latent space, (H, L).
        wrist_poses: Wrist poses in the robot's base frame, (H, 7): x y z [m], qx qy qz qw.
        latent_id: Hash of the latent space in which ``latents`` are.
        policy_id: Hash of the policy that made the plan.
        sequence: Number of the plan; grows by one with each.
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
        """Time for which the last step is meant [s]."""
        return self.stamp + (self.horizon - 1) * self.dt
