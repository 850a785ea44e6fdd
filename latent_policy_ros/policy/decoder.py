"""RobotDecoder: converts action chunks in the shared latent space to joint and wrist commands of one robot."""

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
    """Command of one robot at one time.

    Attributes:
        q: Positions of the actuated joints in ``Embodiment.joint_names`` order, (n,) [rad] or [m].
        wrist_pose: Pose of the hand frame in the robot's base frame, (7,): x y z [m], qx qy qz qw.
        observed: Time of the newest observation that the command is based on [s].
    """

    q: np.ndarray
    wrist_pose: np.ndarray
    observed: float


class RobotDecoder:
    """Validates action chunks and decodes the command for the current time.

    Args:
        latent_space: Latent space of the policy.
        embodiment: End-effector of the robot.
        max_age: As in ChunkBuffer [s].
        blend: As in ChunkBuffer [s].
        silence: Maximum time since the arrival of the newest chunk for which commands are returned [s], by the steady clock
            of ``accept`` and ``command``. It bounds the time until a robot holds after its policy stopped.

    Raises:
        ArtifactError: The latent space does not have this embodiment, or has another version of it.
    """

    def __init__(
        self, latent_space: LatentSpace, embodiment: Embodiment, max_age: float = 0.5, blend: float = 0.2, silence: float = 0.2
    ) -> None:
        latent_space.check(embodiment)
        self.latent_space, self.embodiment = latent_space, embodiment
        self._buffer = ChunkBuffer(max_age, blend)
        self._silence, self._arrival, self._accepted = silence, -math.inf, -math.inf

    def reset(self) -> None:
        """Remove all chunks, e.g. at the start of an episode or when the clock jumps."""
        self._buffer.clear()
        self._arrival = self._accepted = -math.inf

    def accept(self, chunk: ActionChunk, now: float, steady: float | None = None) -> None:
        """Add a chunk that arrives now.

        Args:
            chunk: The chunk.
            now: Time of the clock of the chunk's stamp [s]. It may be simulated, stand still and jump.
            steady: Time of a steady clock [s]; default ``now``.

        Raises:
            ActionRefused: Another latent space, wrong shape, NaN or infinity, stamp in the future, stale, not newer than the
                previous chunk, or from another source while chunks of the present one are fresh.
        """
        self._check(chunk)
        self._reset_if_clock_went_back(now)
        steady = now if steady is None else steady
        name, age = f"latent action {chunk.sequence}", now - chunk.stamp
        if -age > min(chunk.dt, self._buffer.max_age):
            raise ActionRefused(f"{name}: stamp is {-age:.3f} s in the future of this clock")
        if age > self._buffer.max_age:  # unusable, and must not block chunks of other sources
            raise ActionRefused(f"{name}: stamp is {age:.3f} s old, expected at most {self._buffer.max_age:g} s")
        last = self._buffer.newest
        if last is not None and chunk.policy_id != last.policy_id:
            if steady - self._arrival <= self._silence:  # chunks of two sources must not be averaged
                raise ActionRefused(
                    f"{name}: policy_id: got {chunk.policy_id[:12]!r} while {last.policy_id[:12]!r} drives this robot; "
                    "stop one of the two"
                )
            self.reset()
        elif last is not None and chunk.stamp <= last.stamp:
            raise ActionRefused(
                f"{name}: out of order: its observation is {last.stamp - chunk.stamp:.3f} s older than that of "
                f"{last.sequence}, which arrived before it"
            )
        self._buffer.add(chunk, now)
        self._arrival, self._accepted = steady, now

    def command(self, now: float, steady: float | None = None) -> DecodedCommand | None:
        """Command for time ``now`` [s]; None without a fresh chunk. The times are as of :meth:`accept`."""
        self._reset_if_clock_went_back(now)
        newest, steady = self._buffer.newest, now if steady is None else steady
        if newest is None or steady - self._arrival > self._silence or (sampled := self._buffer.sample(now)) is None:
            return None
        latent, wrist_pose = sampled
        action = self.latent_space.decode(self.embodiment.name, latent)
        q = np.asarray(self.embodiment.to_joints(action.astype(np.float64)))
        return DecodedCommand(q, wrist_pose, newest.stamp)

    def _reset_if_clock_went_back(self, now: float) -> None:
        """Remove all chunks when the clock was set back, so that they are not executed again at their scheduled time."""
        if now < self._accepted:
            self.reset()

    def _check(self, chunk: ActionChunk) -> None:
        name, dim = f"latent action {chunk.sequence}", self.latent_space.dim
        if chunk.latent_id != self.latent_space.latent_id:
            raise ActionRefused(
                f"{name}: latent_id: got {chunk.latent_id!r}, but the decoder of {self.embodiment.name} has "
                f"{self.latent_space.latent_id!r}; start policy and decoders with the same latent space"
            )
        if chunk.latents.ndim != 2 or chunk.latents.shape[0] < 1 or chunk.latents.shape[1] != dim:
            raise ActionRefused(f"{name}: latents: expected (horizon, {dim}), got {chunk.latents.shape}")
        if chunk.wrist_poses.shape != (chunk.horizon, 7):
            raise ActionRefused(f"{name}: wrist_poses: expected {(chunk.horizon, 7)}, got {chunk.wrist_poses.shape}")
        if not (np.isfinite(chunk.dt) and chunk.dt > 0 and np.isfinite(chunk.stamp)):
            raise ActionRefused(f"{name}: expected a finite stamp and dt > 0, got stamp {chunk.stamp}, dt {chunk.dt}")
        for field in ("latents", "wrist_poses"):
            finite = np.isfinite(getattr(chunk, field))
            if not finite.all():
                bad = np.argwhere(~finite)
                raise ActionRefused(f"{name}: {field}: NaN or infinity, first at step {bad[0, 0]}, component {bad[0, 1]}")
        length = np.linalg.norm(chunk.wrist_poses[:, 3:], axis=1)
        if np.abs(length - 1).max() > 0.01:
            step = int(np.abs(length - 1).argmax())
            raise ActionRefused(f"{name}: wrist_poses: expected unit quaternions, got length {length[step]:.3f} at step {step}")
