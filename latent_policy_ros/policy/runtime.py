"""Policy: observations of any number of robots in, a plan for each out, as one batch."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch

from latent_policy_ros.common.errors import ArtifactError, ObservationRefused
from latent_policy_ros.latent.space import LatentSpace
from latent_policy_ros.observations.observation import Observation
from latent_policy_ros.policy.action_chunk import ActionChunk
from latent_policy_ros.policy.checkpoint import RETRAIN, Checkpoint
from latent_policy_ros.policy.device import choose_device
from latent_policy_ros.policy.diffusion import ImageBatch, PolicyNetwork
from latent_policy_ros.policy.scaling import POSITION, flatten

PLAUSIBLE = 100.0  # plausibility bound [rad or m]; larger inputs are rejected


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

    def prepare(self, history: Sequence[Observation]) -> PolicyInput:
        """Validate the observations of one robot and encode its states.

        This is the only check of the policy's contract: :meth:`predict` accepts its result only.

        Args:
            history: The last observations, ``dt`` apart, oldest first, at least one. Images are read from the newest only. If
                there are fewer than ``observation_steps``, the oldest is repeated.

        Raises:
            ObservationRefused: Unknown embodiment, no image of a known camera, wrong shapes or types, or numbers that are not
                finite or beyond ``PLAUSIBLE``.
        """
        actions = np.stack([self._checked_action(observation) for observation in history])
        last = np.maximum(0, np.arange(len(history) - self.observation_steps, len(history)))
        newest = history[-1]
        latents = self.latent_space.encode(newest.embodiment.name, actions[last])
        return PolicyInput(newest, flatten(np.stack([history[k].wrist_pose for k in last]), latents))

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

    def predict(self, inputs: Sequence[PolicyInput]) -> list[ActionChunk]:
        """Sample an action chunk for each robot, as one batch."""
        if not inputs:
            return []
        scaling = self.checkpoint.scaling
        states = np.stack([robot.states for robot in inputs])
        newest = [robot.observation for robot in inputs]
        plans = self._network.sample(
            torch.from_numpy(scaling.scale_states(states)).to(self.device), self._image_batch(newest), self._generator
        ).cpu()
        position = np.stack([observation.wrist_pose[POSITION] for observation in newest])
        wrist, latents = scaling.unscale_plans(plans.numpy(), position)
        return [self._chunk(*parts) for parts in zip(newest, latents, wrist, strict=True)]

    def _chunk(self, observation: Observation, latents: np.ndarray, wrist: np.ndarray) -> ActionChunk:
        self._sequence += 1
        return ActionChunk(observation.stamp, self.dt, latents, wrist, self.latent_space.latent_id, self.policy_id, self._sequence)

    def _image_batch(self, observations: Sequence[Observation]) -> ImageBatch:
        image_batch: ImageBatch = {}
        for camera in self.cameras:
            rows = [row for row, observation in enumerate(observations) if camera in observation.images]
            if rows:
                images = np.stack([observations[row].images[camera] for row in rows])
                image_batch[camera] = (torch.tensor(rows).to(self.device), torch.from_numpy(images).to(self.device), None)
        return image_batch


def _check_numbers(what: str, values: np.ndarray | None, got: np.ndarray | None, shape: tuple[int, ...]) -> None:
    if values is None or np.shape(values) != shape or not (np.abs(values) < PLAUSIBLE).all():
        raise ObservationRefused(f"{what}: expected {shape} finite numbers below {PLAUSIBLE:g}, got {got}")
