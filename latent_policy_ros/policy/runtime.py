"""Policy: inference. Observations of any number of robots are one batch; each robot gets one action chunk."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch

from latent_policy_ros.common.errors import ArtifactError, LatentPolicyError, ObservationRefused
from latent_policy_ros.latent.space import LatentSpace
from latent_policy_ros.observations.observation import Observation
from latent_policy_ros.policy.action_chunk import ActionChunk
from latent_policy_ros.policy.checkpoint import RETRAIN, Checkpoint
from latent_policy_ros.policy.grasp_space import GraspSpace
from latent_policy_ros.policy.network.device import choose_device
from latent_policy_ros.policy.network.diffusion import PolicyNetwork
from latent_policy_ros.policy.network.observation_batch import CameraImages, ObservationBatch
from latent_policy_ros.policy.relative_chunk import absolute_chunks
from latent_policy_ros.policy.scaling import POSE

#: Plausibility bound of joints [rad or m] and wrist pose [m]; observations with larger values are rejected.
MAX_MAGNITUDE = 100.0


@dataclass(frozen=True)
class PolicyInput:
    """Validated input of one robot, made by :meth:`Policy.prepare`.

    Attributes:
        observation: The newest observation.
        images: Images of the policy's cameras, {camera: (H, W, 3) uint8}; those without an image are absent.
        states: Raw states (S, 10 + L), oldest first, see :class:`~latent_policy_ros.policy.grasp_space.GraspSpace`.
    """

    observation: Observation
    images: Mapping[str, np.ndarray]
    states: np.ndarray


class Policy:
    """A trained policy for inference.

    Args:
        checkpoint: Settings, weights and scaling.
        latent_space: The latent space that the policy was trained for.
        seed: Random seed of the noise from which chunks are sampled.
        device: Device of the network, see :func:`~latent_policy_ros.policy.network.device.choose_device`.
        sampling_steps: Sampling steps of an action chunk; 0: those of the checkpoint's settings.

    Raises:
        ArtifactError: The policy was trained for another latent space, a component of its network is not installed, or its
            weights do not fit its settings.
        LatentPolicyError: No such device, or more sampling steps than noise levels.
    """

    def __init__(
        self, checkpoint: Checkpoint, latent_space: LatentSpace, seed: int = 0, device: str = "cpu", sampling_steps: int = 0
    ) -> None:
        if checkpoint.latent_id != latent_space.latent_id:
            raise ArtifactError(
                f"policy {checkpoint.policy_id[:12]} was trained for latent space {checkpoint.latent_id!r}, got "
                f"{latent_space.latent_id!r}; load that latent space, or {RETRAIN}"
            )
        self.checkpoint, self.latent_space, self.settings = checkpoint, latent_space, checkpoint.settings
        if sampling_steps:
            if not 1 <= sampling_steps <= (most := self.settings.diffusion_steps):
                raise LatentPolicyError(
                    f"sampling_steps: expected 1 to {most}, the noise levels of the policy, got {sampling_steps}"
                )
            self.settings = self.settings.model_copy(update={"sampling_steps": sampling_steps})
        weights = {name: torch.from_numpy(array.copy()) for name, array in checkpoint.weights.items()}
        try:
            self._network = PolicyNetwork(self.settings, latent_space.dim).eval()
            self._network.load_state_dict(weights)
        except LatentPolicyError as cause:
            raise ArtifactError(f"policy {checkpoint.policy_id[:12]}: {cause}") from cause
        except RuntimeError as cause:
            raise ArtifactError(f"policy {checkpoint.policy_id[:12]}: weights do not fit: {cause}; {RETRAIN}") from cause
        self.device = choose_device(device)
        self._network.to(self.device, memory_format=torch.channels_last)  # type: ignore[call-overload]  # missing in torch's stubs
        self._grasp_space = GraspSpace(latent_space, checkpoint.grasp)
        self._generator = torch.Generator().manual_seed(seed)
        self._sequence = 0

    @classmethod
    def load(
        cls, folder: Path | str, latent_space: LatentSpace, seed: int = 0, device: str = "cpu", sampling_steps: int = 0
    ) -> Policy:
        """Read a policy from its folder. Raises the errors of :meth:`Checkpoint.load` and of the class."""
        return cls(Checkpoint.load(folder), latent_space, seed, device, sampling_steps)

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
            ObservationRefused: Unknown embodiment, no image of a known camera, an image that is not decoded yet, wrong shape or
                type, NaN, or a value beyond ``MAX_MAGNITUDE``.
        """
        images, wrist_poses, actions = zip(*(self._validate(observation) for observation in history))
        last = np.maximum(0, np.arange(len(history) - self.observation_steps, len(history)))
        newest = history[-1]
        states = self._grasp_space.states(newest.embodiment, np.stack(wrist_poses)[last], np.stack(actions)[last])
        return PolicyInput(newest, images[-1], states)

    def predict(self, inputs: Sequence[PolicyInput]) -> list[ActionChunk]:
        """Sample an action chunk for each robot, as one batch."""
        if not inputs:
            return []
        scaled = self._network.sample(self._batch(inputs).to(self.device), self._generator).cpu().numpy()
        poses = np.stack([robot.states[-1, :POSE] for robot in inputs])
        chunks = absolute_chunks(self.checkpoint.scaling.unscale_chunks(scaled), poses, self.settings.action_axes)
        wrists, latents = self._grasp_space.commands([robot.observation.embodiment for robot in inputs], chunks)
        return [self._chunk(robot, *parts) for robot, *parts in zip(inputs, wrists, latents, strict=True)]

    def _validate(self, observation: Observation) -> tuple[dict[str, np.ndarray], np.ndarray, np.ndarray]:
        """Images by camera, wrist pose (7,), and joints in the action representation (d,)."""
        embodiment, size = observation.embodiment, self.settings.image_size
        name = embodiment.name
        try:
            self.latent_space.codec(name)
        except ArtifactError as cause:
            raise ObservationRefused(str(cause)) from cause
        images: dict[str, np.ndarray] = {}
        for camera in self.cameras:
            image = observation.images.get(camera)
            if image is None:
                continue
            if callable(image):
                raise ObservationRefused(f"{name}: images.{camera}: expected a decoded image, got a function that decodes one")
            if image.shape != (size, size, 3) or image.dtype != np.uint8:
                raise ObservationRefused(
                    f"{name}: images.{camera}: expected {(size, size, 3)} uint8, got {image.shape} {image.dtype}"
                )
            images[camera] = image
        if not images:
            got = sorted(observation.images)
            raise ObservationRefused(f"{name}: images: expected at least one of {list(self.cameras)}, got {got}")
        wrist_pose = _checked_numbers(f"{name}: wrist_pose", observation.wrist_pose, observation.wrist_pose, (7,))
        shape = (len(embodiment.joint_names),)
        action = embodiment.to_action(observation.joints) if np.shape(observation.joints) == shape else None
        return images, wrist_pose, _checked_numbers(f"{name}: joints", action, observation.joints, shape)

    def _batch(self, inputs: Sequence[PolicyInput]) -> ObservationBatch:
        images = {}
        for camera in self.cameras:
            rows = [row for row, robot in enumerate(inputs) if camera in robot.images]
            if rows:
                stacked = np.stack([inputs[row].images[camera] for row in rows])
                images[camera] = CameraImages(torch.tensor(rows), torch.from_numpy(stacked))
        states = self.checkpoint.scaling.scale_states(np.stack([robot.states for robot in inputs]))
        tasks = tuple(robot.observation.task for robot in inputs)
        embodiments = tuple(robot.observation.embodiment.name for robot in inputs)
        return ObservationBatch(torch.from_numpy(states), images, tasks, embodiments)

    def _chunk(self, robot: PolicyInput, wrist: np.ndarray, latents: np.ndarray) -> ActionChunk:
        self._sequence += 1
        stamp = robot.observation.stamp
        return ActionChunk(stamp, self.dt, latents, wrist, self.latent_space.latent_id, self.policy_id, self._sequence)


def _checked_numbers(what: str, values: np.ndarray | None, got: np.ndarray | None, shape: tuple[int, ...]) -> np.ndarray:
    """Return ``values`` if they have this shape and are in the plausible range; ``got`` is shown in the error otherwise."""
    if values is None or np.shape(values) != shape or not (np.abs(values) < MAX_MAGNITUDE).all():
        raise ObservationRefused(f"{what}: expected {shape} finite numbers below {MAX_MAGNITUDE:g}, got {got}")
    return values
