"""Policy: inference. Observations of any number of robots are one batch; each robot gets one action chunk."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch

from latent_policy_ros.common.errors import ArtifactError, LatentPolicyError, ObservationRefused
from latent_policy_ros.latent.space import LatentSpace
from latent_policy_ros.observations.observation import Observation
from latent_policy_ros.policy.action_chunk import ActionChunk
from latent_policy_ros.policy.checkpoint import RETRAIN, Checkpoint
from latent_policy_ros.policy.device import choose_device
from latent_policy_ros.policy.diffusion import PolicyNetwork
from latent_policy_ros.policy.observation_batch import CameraImages, ObservationBatch
from latent_policy_ros.policy.scaling import POSITION, flatten

#: Plausibility bound of joints [rad or m] and wrist pose [m]; observations with larger values are rejected.
MAX_MAGNITUDE = 100.0


@dataclass(frozen=True)
class PolicyInput:
    """Validated input of one robot, made by :meth:`Policy.prepare`.

    Attributes:
        observation: The newest observation.
        states: Raw states (S, 9 + L), oldest first: wrist position and rotation, latent of the hand.
    """

    observation: Observation
    states: np.ndarray


class Policy:
    """A trained policy for inference.

    Args:
        checkpoint: Settings, weights and scaling.
        latent_space: The latent space that the policy was trained for.
        seed: Random seed of the noise from which chunks are sampled.
        device: Device of the network, see :func:`~latent_policy_ros.policy.device.choose_device`.

    Raises:
        ArtifactError: The policy was trained for another latent space, a component of its network is not installed, or its
            weights do not fit its settings.
        LatentPolicyError: No such device.
    """

    def __init__(self, checkpoint: Checkpoint, latent_space: LatentSpace, seed: int = 0, device: str = "cpu") -> None:
        if checkpoint.latent_id != latent_space.latent_id:
            raise ArtifactError(
                f"policy {checkpoint.policy_id[:12]} was trained for latent space {checkpoint.latent_id!r}, got "
                f"{latent_space.latent_id!r}; load that latent space, or {RETRAIN}"
            )
        self.checkpoint, self.latent_space, self.settings = checkpoint, latent_space, checkpoint.settings
        weights = {name: torch.from_numpy(array.copy()) for name, array in checkpoint.weights.items()}
        try:
            self._network = PolicyNetwork(checkpoint.settings, latent_space.dim).eval()
            self._network.load_state_dict(weights)
        except LatentPolicyError as cause:
            raise ArtifactError(f"policy {checkpoint.policy_id[:12]}: {cause}") from cause
        except RuntimeError as cause:
            raise ArtifactError(f"policy {checkpoint.policy_id[:12]}: weights do not fit: {cause}; {RETRAIN}") from cause
        self.device = choose_device(device)
        self._network.to(self.device, memory_format=torch.channels_last)
        self._generator = torch.Generator().manual_seed(seed)
        self._sequence = 0

    @classmethod
    def load(cls, folder: Path | str, latent_space: LatentSpace, seed: int = 0, device: str = "cpu") -> Policy:
        """Read a policy from its folder. Raises the errors of :meth:`Checkpoint.load` and of the class."""
        return cls(Checkpoint.load(folder), latent_space, seed, device)

    @property
    def policy_id(self) -> str:
        """Content hash of the policy."""
        return self.checkpoint.policy_id

    @property
    def dt(self) -> float:
        """Time between observations and between steps of a chunk [s]."""
        return self.settings.dt

    @property
    def observation_steps(self) -> int:
        """Length of the observation history."""
        return self.settings.observation_steps

    @property
    def cameras(self) -> tuple[str, ...]:
        """Names of the camera inputs."""
        return self.settings.cameras

    def prepare(self, history: Sequence[Observation]) -> PolicyInput:
        """Validate the observations of one robot and encode its states.

        This is the only check of the policy's contract: :meth:`predict` accepts its result only.

        Args:
            history: The last observations, ``dt`` apart, oldest first, at least one. Images are read from the newest only. If
                there are fewer than ``observation_steps``, the oldest is repeated.

        Raises:
            ObservationRefused: Unknown embodiment, no image of a known camera, wrong shape or type, NaN, or a value beyond
                ``MAX_MAGNITUDE``.
        """
        actions = np.stack([self._checked_action(observation) for observation in history])
        last = np.maximum(0, np.arange(len(history) - self.observation_steps, len(history)))
        newest = history[-1]
        latents = self.latent_space.encode(newest.embodiment.name, actions[last])
        return PolicyInput(newest, flatten(np.stack([history[k].wrist_pose for k in last]), latents))

    def predict(self, inputs: Sequence[PolicyInput]) -> list[ActionChunk]:
        """Sample an action chunk for each robot, as one batch."""
        if not inputs:
            return []
        newest = [robot.observation for robot in inputs]
        scaled = self._network.sample(self._batch(inputs).to(self.device), self._generator).cpu().numpy()
        position = np.stack([observation.wrist_pose[POSITION] for observation in newest])
        wrist, latents = self.checkpoint.scaling.unscale_chunks(scaled, position)
        return [self._chunk(*parts) for parts in zip(newest, latents, wrist, strict=True)]

    def _checked_action(self, observation: Observation) -> np.ndarray:
        """The joints of a valid observation in the action representation, (d,)."""
        embodiment, size = observation.embodiment, self.settings.image_size
        name = embodiment.name
        try:
            self.latent_space.codec(name)
        except ArtifactError as cause:
            raise ObservationRefused(str(cause)) from cause
        cameras = [camera for camera in self.cameras if camera in observation.images]
        if not cameras:
            got = sorted(observation.images)
            raise ObservationRefused(f"{name}: images: expected at least one of {list(self.cameras)}, got {got}")
        for camera in cameras:
            image = observation.images[camera]
            if image.shape != (size, size, 3) or image.dtype != np.uint8:
                raise ObservationRefused(
                    f"{name}: images.{camera}: expected {(size, size, 3)} uint8, got {image.shape} {image.dtype}"
                )
        _check_numbers(f"{name}: wrist_pose", observation.wrist_pose, observation.wrist_pose, (7,))
        shape = (len(embodiment.joint_names),)
        action = embodiment.to_action(observation.joints) if np.shape(observation.joints) == shape else None
        _check_numbers(f"{name}: joints", action, observation.joints, shape)
        return action

    def _batch(self, inputs: Sequence[PolicyInput]) -> ObservationBatch:
        newest = [robot.observation for robot in inputs]
        images = {}
        for camera in self.cameras:
            rows = [row for row, observation in enumerate(newest) if camera in observation.images]
            if rows:
                stacked = np.stack([newest[row].images[camera] for row in rows])
                images[camera] = CameraImages(torch.tensor(rows), torch.from_numpy(stacked))
        states = self.checkpoint.scaling.scale_states(np.stack([robot.states for robot in inputs]))
        return ObservationBatch(torch.from_numpy(states), images, tuple(observation.task for observation in newest))

    def _chunk(self, observation: Observation, latents: np.ndarray, wrist: np.ndarray) -> ActionChunk:
        self._sequence += 1
        return ActionChunk(observation.stamp, self.dt, latents, wrist, self.latent_space.latent_id, self.policy_id, self._sequence)


def _check_numbers(what: str, values: np.ndarray | None, got: np.ndarray | None, shape: tuple[int, ...]) -> None:
    if values is None or np.shape(values) != shape or not (np.abs(values) < MAX_MAGNITUDE).all():
        raise ObservationRefused(f"{what}: expected {shape} finite numbers below {MAX_MAGNITUDE:g}, got {got}")
