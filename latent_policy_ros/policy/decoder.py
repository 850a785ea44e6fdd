"""RobotDecoder: one robot's half of the policy. Plans in the shared latent space become joint and wrist commands."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from latent_policy_ros.common.errors import ActionRefused
from latent_policy_ros.latent.space import LatentSpace
from latent_policy_ros.policy.action_chunk import ActionChunk
from latent_policy_ros.policy.chunking import ChunkBuffer

if TYPE_CHECKING:
    from latent_policy_ros.embodiments import Embodiment


@dataclass(frozen=True)
class DecodedCommand:
    """What one robot is to do now.

    Attributes:
        q: Positions of the actuated joints in ``Embodiment.joint_names`` order, (n,) [rad] or [m].
        wrist_pose: Pose of the hand frame in the robot's base frame, (7,): x y z [m], qx qy qz qw.
        observed: Time of the newest observation that this answers [s].
    """

    q: np.ndarray
    wrist_pose: np.ndarray
    observed: float


class RobotDecoder:
    """Takes plans, refuses what is not meant for this robot, and decodes the present moment of them.

    Args:
        latent_space: The latent space of the policy that plans.
        embodiment: The end-effector of this robot.
        max_age: As in ChunkBuffer [s].
        blend: As in ChunkBuffer [s].
        silence: A command is given only while the newest plan came at most this long ago [s], by the clock of
            ``accept`` and ``command``: however quick the policy was, a robot whose policy died holds this soon.

    Raises:
        ArtifactError: The latent space does not know this embodiment, or knew it otherwise.
    """

    def __init__(
        self, latent_space: LatentSpace, embodiment: Embodiment, max_age: float = 0.5, blend: float = 0.1, silence: float = 0.25
    ) -> None:
        latent_space.check(embodiment)
        self.latent_space, self.embodiment = latent_space, embodiment
        self._buffer = ChunkBuffer(max_age, blend)
        self._silence, self._came = silence, -math.inf

    def reset(self) -> None:
        """Forget all plans, e.g. when an episode begins or the clock jumps."""
        self._buffer.clear()
        self._came = -math.inf

    def accept(self, chunk: ActionChunk, now: float) -> None:
        """Take a plan at ``now`` [s].

        Raises:
            ActionRefused: Foreign latent space, wrong shape, not finite, from the future, stale, not newer than the plan
                before, or of another source than plans that are fresh.
        """
        self._check(chunk)
        self._notice_jump(now)
        name, age = f"latent action {chunk.sequence}", now - chunk.stamp
        if -age > min(chunk.dt, self._buffer.max_age):
            raise ActionRefused(f"{name}: stamp: {-age:.3f} s in the future of this clock")
        if age > self._buffer.max_age:  # it would never be followed, and must not keep out those that can be
            raise ActionRefused(f"{name}: stamp: {age:.3f} s ago, expected {self._buffer.max_age:g} s at most")
        last = self._buffer.newest
        if last is not None and chunk.policy_id != last.policy_id:
            if now - self._came <= self._silence:  # two that drive one robot: the mean of both is neither's wish
                raise ActionRefused(
                    f"{name}: policy_id: {chunk.policy_id[:12]!r}, but plans of {last.policy_id[:12]!r} are being followed; "
                    "stop one of the two"
                )
            self.reset()
        elif last is not None and chunk.stamp <= last.stamp:
            raise ActionRefused(
                f"{name}: out of order: its observation is {last.stamp - chunk.stamp:.3f} s older than that of "
                f"{last.sequence}, which came before"
            )
        self._buffer.add(chunk)
        self._came = now

    def command(self, now: float) -> DecodedCommand | None:
        """What to do at ``now`` [s]; None while there is no fresh plan."""
        self._notice_jump(now)
        sampled = self._buffer.sample(now) if now - self._came <= self._silence else None
        if sampled is None:
            return None
        latent, wrist_pose = sampled
        action = self.latent_space.decode(self.embodiment.name, latent)
        q = np.asarray(self.embodiment.to_joints(action.astype(np.float64)))
        return DecodedCommand(q, wrist_pose, self._buffer.newest.stamp)

    def _notice_jump(self, now: float) -> None:
        """Forget all plans when the clock was set back: they would be carried out when their time comes round again."""
        if now < self._came:
            self.reset()

    def _check(self, chunk: ActionChunk) -> None:
        name, dim = f"latent action {chunk.sequence}", self.latent_space.dim
        if chunk.latent_id != self.latent_space.latent_id:
            raise ActionRefused(
                f"{name}: latent_id: it is of latent space {chunk.latent_id!r}, but {self.embodiment.name} decodes "
                f"{self.latent_space.latent_id!r}; start policy and decoders with the same latent space"
            )
        if chunk.latents.ndim != 2 or chunk.latents.shape[0] < 1 or chunk.latents.shape[1] != dim:
            raise ActionRefused(f"{name}: latents: expected (horizon, {dim}), got {chunk.latents.shape}")
        if chunk.wrist_poses.shape != (chunk.horizon, 7):
            raise ActionRefused(f"{name}: wrist_poses: expected {(chunk.horizon, 7)}, got {chunk.wrist_poses.shape}")
        if not (np.isfinite(chunk.dt) and chunk.dt > 0 and np.isfinite(chunk.stamp)):
            raise ActionRefused(f"{name}: expected a finite stamp and dt > 0, got stamp {chunk.stamp}, dt {chunk.dt}")
        for field in ("latents", "wrist_poses"):
            bad = np.argwhere(~np.isfinite(getattr(chunk, field)))
            if len(bad):
                raise ActionRefused(f"{name}: {field}: NaN or infinite, first at step {bad[0, 0]}, component {bad[0, 1]}")
        length = np.linalg.norm(chunk.wrist_poses[:, 3:], axis=1)
        if np.abs(length - 1).max() > 0.01:
            step = int(np.abs(length - 1).argmax())
            raise ActionRefused(f"{name}: wrist_poses: expected unit quaternions, got length {length[step]:.3f} at step {step}")
