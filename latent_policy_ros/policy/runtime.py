"""Policy: observations of any number of robots in, a plan for each out, as one batch."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch

from latent_policy_ros.common.errors import ArtifactError, ObservationRefused
from latent_policy_ros.latent.space import LatentSpace
from latent_policy_ros.policy.action_chunk import ActionChunk, Observation
from latent_policy_ros.policy.checkpoint import RETRAIN, Checkpoint
from latent_policy_ros.policy.device import choose_device
from latent_policy_ros.policy.diffusion import ImageBatch, PolicyNetwork
from latent_policy_ros.policy.scaling import POSITION, flatten

#: Rad or m: beyond lies no joint, no keypoint and no wrist, and what a network makes of it soon is no number any more.
FURTHEST = 100.0


class Policy:
    """A trained policy, ready to act.

    Args:
        checkpoint: Settings, weights and scaling.
        latent_space: The one it was made for.
        seed: Of the noise that plans are made from.
        device: Where the network runs, see :func:`~latent_policy_ros.policy.device.choose_device`.

    Raises:
        ArtifactError: The policy was made for another latent space, or its weights do not fit its settings.
        LatentPolicyError: There is no such device.
    """

    def __init__(self, checkpoint: Checkpoint, latent_space: LatentSpace, seed: int = 0, device: str = "cpu") -> None:
        if checkpoint.latent_id != latent_space.latent_id:
            raise ArtifactError(
                f"policy {checkpoint.policy_id[:12]} was made for latent space {checkpoint.latent_id!r}, got "
                f"{latent_space.latent_id!r}; load that latent space, or {RETRAIN}"
            )
        self.checkpoint, self.latent_space, self.settings = checkpoint, latent_space, checkpoint.settings
        self._network = PolicyNetwork(checkpoint.settings, latent_space.dim).eval()
        weights = {name: torch.from_numpy(array.copy()) for name, array in checkpoint.weights.items()}
        try:
            self._network.load_state_dict(weights)
        except RuntimeError as cause:
            raise ArtifactError(f"policy {checkpoint.policy_id[:12]}: weights do not fit: {cause}; {RETRAIN}") from cause
        self.device = choose_device(device)
        self._network.to(self.device, memory_format=torch.channels_last)
        self._generator = torch.Generator().manual_seed(seed)
        self._sequence = 0

    @classmethod
    def load(cls, folder: Path | str, latent_space: LatentSpace, seed: int = 0, device: str = "cpu") -> Policy:
        """Read a policy from its folder; errors as of ``Checkpoint.load`` and of the class."""
        return cls(Checkpoint.load(folder), latent_space, seed, device)

    @property
    def policy_id(self) -> str:
        """Content hash of the policy."""
        return self.checkpoint.policy_id

    @property
    def dt(self) -> float:
        """Time between observations, and between steps of a plan [s]."""
        return self.settings.dt

    @property
    def observation_steps(self) -> int:
        """Observations that a plan takes into account."""
        return self.settings.observation_steps

    @property
    def cameras(self) -> tuple[str, ...]:
        """Cameras it can use."""
        return self.settings.cameras

    def check(self, observation: Observation) -> None:
        """Make sure that a plan can be made for this observation.

        Raises:
            ObservationRefused: Unknown embodiment, no image of any known camera, wrong sizes or types, not finite, or
                so far away that nobody can have measured it.
        """
        name, size = observation.embodiment, self.settings.image_size
        try:
            d = self.latent_space.codec(name).action_dim
        except ArtifactError as cause:
            raise ObservationRefused(str(cause)) from cause
        seen = [camera for camera in self.cameras if camera in observation.images]
        if not seen:
            got = sorted(observation.images)
            raise ObservationRefused(f"{name}: images: expected one of {list(self.cameras)} at least, got {got}")
        for camera in seen:
            image = observation.images[camera]
            if image.shape != (size, size, 3) or image.dtype != np.uint8:
                raise ObservationRefused(
                    f"{name}: images.{camera}: expected {(size, size, 3)} uint8, got {image.shape} {image.dtype}"
                )
        for field, value, shape in (("wrist_pose", observation.wrist_pose, (7,)), ("hand", observation.hand, (d,))):
            if np.shape(value) != shape or not (np.abs(value) < FURTHEST).all():
                raise ObservationRefused(f"{name}: {field}: expected {shape} finite numbers, none beyond {FURTHEST:g}, got {value}")

    def predict(self, histories: Sequence[Sequence[Observation]]) -> list[ActionChunk]:
        """A plan for each robot.

        Args:
            histories: For each robot its last observations, ``dt`` apart, oldest first, at least one. The newest alone
                gives image_batch; if there are fewer than ``observation_steps``, the oldest counts repeatedly.

        Raises:
            ObservationRefused: As of ``check``, for any robot.
        """
        if not histories:
            return []
        for history in histories:
            for observation in history:
                self.check(observation)
        scaling = self.checkpoint.scaling
        states = np.stack([self._states(history) for history in histories])
        newest = [history[-1] for history in histories]
        plans = self._network.sample(
            torch.from_numpy(scaling.scale_states(states)).to(self.device), self._image_batch(newest), self._generator
        ).cpu()
        position = np.stack([observation.wrist_pose[POSITION] for observation in newest])
        wrist, latents = scaling.unscale_plans(plans.numpy(), position)
        return [self._chunk(*parts) for parts in zip(newest, latents, wrist, strict=True)]

    def _chunk(self, observation: Observation, latents: np.ndarray, wrist: np.ndarray) -> ActionChunk:
        self._sequence += 1
        return ActionChunk(observation.stamp, self.dt, latents, wrist, self.latent_space.latent_id, self.policy_id, self._sequence)

    def _states(self, history: Sequence[Observation]) -> np.ndarray:
        """Raw states (S, 9 + L) of one robot."""
        steps = self.observation_steps
        last = [history[0]] * (steps - len(history)) + list(history[-steps:])
        hands = self.latent_space.encode(last[-1].embodiment, np.stack([o.hand for o in last]))
        return flatten(np.stack([o.wrist_pose for o in last]), hands)

    def _image_batch(self, observations: Sequence[Observation]) -> ImageBatch:
        image_batch: ImageBatch = {}
        for camera in self.cameras:
            rows = [row for row, observation in enumerate(observations) if camera in observation.images]
            if rows:
                images = np.stack([observations[row].images[camera] for row in rows])
                image_batch[camera] = (torch.tensor(rows).to(self.device), torch.from_numpy(images).to(self.device), None)
        return image_batch
