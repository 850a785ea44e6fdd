"""DemonstrationDataset: demonstrations of data sets, sampled as batches of observations and action chunks."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from latent_policy_ros.common.artifacts import artifact_hash
from latent_policy_ros.common.errors import ArtifactError
from latent_policy_ros.common.paths import runs_dir
from latent_policy_ros.data.lerobot.collection import find_datasets
from latent_policy_ros.data.lerobot.episodes import Episode, load_episode
from latent_policy_ros.data.lerobot.foreign import dataset_identity, episode_metadata
from latent_policy_ros.data.lerobot.image_cache import ImageCache
from latent_policy_ros.data.lerobot.reader import LeRobotReader
from latent_policy_ros.embodiments import load_embodiment
from latent_policy_ros.latent.space import LatentSpace
from latent_policy_ros.policy.grasp_space import GraspSpace
from latent_policy_ros.policy.network.encoders.keypoint_net import shifted_images
from latent_policy_ros.policy.network.observation_batch import CameraImages, ObservationBatch
from latent_policy_ros.policy.relative_chunk import relative_chunks
from latent_policy_ros.policy.scaling import POSE, STATE_LATENT, Scaling
from latent_policy_ros.policy.settings import PolicySettings
from latent_policy_ros.policy.training.colour_jitter import colour_matrices, coloured_images
from latent_policy_ros.policy.training.displacement import warped_image
from latent_policy_ros.policy.training.perturbation import Perturbation, PerturbedStates
from latent_policy_ros.policy.training.processes import WHOLE, Share
from latent_policy_ros.policy.training.sampling import EmbodimentSampler, held_out

BLOCK = 50_000  # chunks in memory while their range is computed


@dataclass(frozen=True)
class TrainingBatch:
    """Input and target of one training step.

    Attributes:
        observations: B observations.
        chunks: Scaled chunks (B, H, 9 + L) float32.
    """

    observations: ObservationBatch
    chunks: Tensor


class DemonstrationDataset:
    """All successful episodes of some data sets. States and commands are in memory, images in an :class:`ImageCache` on disk.

    Args:
        folders: Folders of data sets.
        settings: Cameras, image size, dt, horizon, batch size, augmentation and share of validation episodes.
        grasp_space: Conversion of measurements and commands to states and actions.
        share: Part of each batch that this process takes.
        cache: Folder of the decoded images; None: ``cache/images`` in :func:`~latent_policy_ros.common.paths.runs_dir`.
        scaling: Scaling of states and chunks; None: fitted to the demonstrations.

    Raises:
        ArtifactError: No successful episode, or a data set has a frame rate that does not fit ``dt``, has none of the cameras,
            or was recorded with another version of an embodiment than the latent space has. The message names the data set.
    """

    def __init__(
        self,
        folders: Iterable[Path | str],
        settings: PolicySettings,
        grasp_space: GraspSpace,
        share: Share = WHOLE,
        cache: Path | None = None,
        scaling: Scaling | None = None,
    ) -> None:
        self.model, self.training, self._share = settings.model, settings.training, share
        self._perturbation = Perturbation(settings)
        self.episodes: dict[str, int] = {}
        self._images: list[dict[str, np.ndarray]] = []  # of each episode
        self._tasks: list[str] = []  # of each episode
        self._image_hashes: list[str] = []
        states, commands, names, weights = [], [], [], []
        frames: list[tuple[int, int, int, int, bool]] = []
        images = ImageCache(cache or runs_dir() / "cache" / "images", self.model.resize)
        for episode, weight, is_held_out in self._successful_episodes(folders, grasp_space.latent_space, images):
            name, number = episode.meta.embodiment, len(self._tasks)
            self.episodes[name] = self.episodes.get(name, 0) + 1
            first, last = len(frames), len(frames) + len(episode) - 1
            names += [name] * len(episode)
            weights += [weight] * len(episode)
            frames += [(number, t, first, last, is_held_out) for t in range(len(episode))]
            self._tasks.append(episode.meta.task)
            embodiment = load_embodiment(name)
            states.append(grasp_space.states(embodiment, episode.wrist_pose, episode.hand))
            commands.append(grasp_space.actions(embodiment, episode.wrist_command, episode.hand_command))
        if not frames:
            raise ArtifactError(f"no successful episode in {', '.join(map(str, folders))}")
        self._states, self._commands, self._weights = np.concatenate(states), np.concatenate(commands), np.array(weights)
        self._frames = np.array(frames)  # (N, 5): episode, frame in the episode, first and last row of the episode, validation
        validation = self._frames[:, 4] == 1
        rows = np.flatnonzero(~validation)
        self._sampler = EmbodimentSampler(names, self._weights, rows)
        self._validation = EmbodimentSampler(names, self._weights, np.flatnonzero(validation)) if validation.any() else None
        self.scaling = scaling or Scaling.fit(self._states[rows], self._chunk_range(rows))

    def __len__(self) -> int:
        return len(self._states)

    @property
    def cameras(self) -> set[str]:
        """The policy's cameras of which any episode has images."""
        return set().union(*self._images)

    @property
    def validation_frames(self) -> int:
        """Number of frames of the episodes that are held out for validation."""
        return int(self._frames[:, 4].sum())

    def batch(self, generator: np.random.Generator, augment: bool = True) -> TrainingBatch:
        """A random batch of the training episodes.

        ``batch_size`` is the number of observations of each process. All processes draw the same whole batch, and each takes its
        part. So the batches of several processes are together that of one process with a larger batch.
        """
        return self._batch(self._sampler, generator, augment)

    def validation_batch(self, generator: np.random.Generator) -> TrainingBatch | None:
        """A random batch of the validation episodes without augmentation; None: no episode is held out."""
        return self._batch(self._validation, generator, augment=False) if self._validation else None

    def _batch(self, sampler: EmbodimentSampler, generator: np.random.Generator, augment: bool) -> TrainingBatch:
        names, rows = sampler.draw(generator, self.training.batch_size * self._share.processes)
        states = self._states[self._windows(rows, 1 - self.model.observation_steps, self.model.observation_steps)]
        chunks = self._commands[self._windows(rows, 0, self.model.horizon)]
        perturbed = PerturbedStates(states, states, {})
        if augment:
            perturbed = self._perturbation.perturb(states, self._has_wrist_image(rows), generator)
        chunks = relative_chunks(chunks, perturbed.origin[:, -1, :POSE], self.model.action_axes)
        scaled = self.scaling.scale_states(perturbed.observed)
        if augment:
            scaled[generator.random(len(rows)) < self.training.latent_dropout, :, STATE_LATENT] = 0.0
            withheld = generator.random(len(rows)) < self.training.embodiment_dropout
            names = ["" if hidden else name for name, hidden in zip(names, withheld)]
        images, tasks = (
            self._camera_images(rows, generator, augment, perturbed.homographies),
            self._task_texts(rows, generator, augment),
        )
        own = self._share.part(len(rows))
        observations = ObservationBatch(torch.from_numpy(scaled[own]), images, tasks[own], names[own])
        scaled_chunks = self.scaling.scale_chunks(chunks[own])
        return TrainingBatch(observations, torch.from_numpy(scaled_chunks))

    def _chunk_range(self, rows: np.ndarray) -> np.ndarray:
        """Smallest and largest values (2, H, 9 + L) of the relative chunks at ``rows``, of which few are in memory at a time."""
        ranges, generator = [], np.random.default_rng(0)
        for some in np.array_split(rows, -(-len(rows) // BLOCK)):
            chunks, states = self._commands[self._windows(some, 0, self.model.horizon)], self._states[some, None]
            for origin in self._perturbation.origins(states, self._has_wrist_image(some), generator):
                relative = relative_chunks(chunks, origin[:, 0, :POSE], self.model.action_axes)
                ranges += [relative.min(axis=0), relative.max(axis=0)]
        return np.stack([np.min(ranges, axis=0), np.max(ranges, axis=0)])

    def _windows(self, rows: np.ndarray, first: int, count: int) -> np.ndarray:
        """Rows (B, count) from ``rows + first`` on, clamped to the episode of each row."""
        spans = self._frames[rows]
        return np.clip(rows[:, None] + first + np.arange(count), spans[:, 2:3], spans[:, 3:4])

    def _has_image(self, rows: np.ndarray, camera: str | None) -> np.ndarray:
        """Which rows have an image of a camera, (B,) bool."""
        return np.array([camera in self._images[e] for e in self._frames[rows, 0]])

    def _has_wrist_image(self, rows: np.ndarray) -> np.ndarray:
        """Which rows have an image of the camera whose hand can be displaced, (B,) bool."""
        return self._has_image(rows, self._perturbation.wrist_camera)

    def _camera_images(
        self, rows: np.ndarray, generator: np.random.Generator, augment: bool, homographies: Mapping[int, np.ndarray]
    ) -> dict[str, CameraImages]:
        """Images of a batch; those of displaced hands are mapped by their homographies."""
        cameras = self.model.cameras
        has = np.stack([self._has_image(rows, camera) for camera in cameras], axis=1)
        if augment:
            dropout = np.array([self.training.camera_dropout.get(camera, 0.0) for camera in cameras])
            kept = has & (generator.random(has.shape) >= dropout)
            has = np.where(kept.any(axis=1, keepdims=True), kept, has)
        wrist = self._perturbation.wrist_camera
        if homographies:
            has[list(homographies)] = np.array(cameras) == wrist  # others would show the hand where it was
        largest, jitter = (self.training.image_shift, self.training.colour_jitter) if augment else (0, 0.0)
        own, batch = self._share.part(len(rows)), {}
        for column, camera in enumerate(cameras):
            chosen = np.flatnonzero(has[:, column])
            shifts = generator.integers(-largest, largest, size=(len(chosen), 2), endpoint=True)
            matrices = colour_matrices(generator, len(chosen), jitter) if jitter else None
            mine = (chosen >= own.start) & (chosen < own.stop)  # only these are read
            chosen, shifts = chosen[mine], shifts[mine]
            if len(chosen):
                images = np.stack([self._images[e][camera][t] for e, t in self._frames[rows[chosen], :2]])
                if camera == wrist:
                    images = np.stack([warped_image(image, homographies.get(row)) for image, row in zip(images, chosen)])
                images = images if matrices is None else coloured_images(images, matrices[mine])
                arrays = chosen - own.start, shifted_images(images, shifts), shifts.astype(np.float32)
                batch[camera] = CameraImages(*map(torch.from_numpy, arrays))
        return batch

    def _task_texts(self, rows: np.ndarray, generator: np.random.Generator, augment: bool) -> list[str]:
        tasks = [self._tasks[episode] for episode in self._frames[rows, 0]]
        if augment and self.model.text_encoder != "none":
            masked = generator.random(len(rows)) < self.training.task_dropout
            tasks = ["" if mask else task for mask, task in zip(masked, tasks)]
        return tasks

    def fingerprint(self) -> str:
        """Content hash of states, commands, images, weights and the choice of validation episodes."""
        arrays = {"states": self._states, "commands": self._commands, "frames": self._frames, "weights": self._weights}
        return artifact_hash({"images": self._image_hashes}, arrays)

    def _successful_episodes(
        self, folders: Iterable[Path | str], latent_space: LatentSpace, cache: ImageCache
    ) -> Iterator[tuple[Episode, float, bool]]:
        """Each successful episode, resampled to ``dt``, with the weight of its data set, and whether it is held out.

        Its images are appended to those of the class.
        """
        for place, (root, weight) in enumerate(find_datasets(folders)):
            reader = LeRobotReader(root)
            stride = self._stride(reader, latent_space)
            numbers = [number for number in range(len(reader)) if episode_metadata(reader, number)["success"]]
            images: list[dict[str, np.ndarray]] = [{} for _ in numbers]
            for camera in self.model.cameras:
                if camera in reader.cameras and numbers:
                    decoded, content = cache.images(reader, camera, numbers, stride)
                    self._image_hashes.append(content)
                    for by_camera, of_episode in zip(images, decoded):
                        by_camera[camera] = of_episode
            self._images += images
            validation = held_out(len(numbers), self.training.validation, (self.training.seed, place))
            for number, held in zip(numbers, validation):
                yield load_episode(reader, number, (), cache.resize, stride), weight, bool(held)

    def _stride(self, reader: LeRobotReader, latent_space: LatentSpace) -> int:
        """Frame stride from the data set's fps to the policy's dt. Checks that the data set can be used."""
        identity, dt = dataset_identity(reader), self.model.dt
        expected = latent_space.expected_hash(identity.embodiment)
        if identity.embodiment_hash != expected:
            raise ArtifactError(
                f"{reader.root}: recorded with {identity.embodiment} {identity.embodiment_hash[:12]}, but the latent space has "
                f"{expected[:12]}; record again, or train a latent space for that version"
            )
        stride = round(dt * reader.fps)
        if stride < 1 or abs(stride / reader.fps - dt) > 1e-6:
            raise ArtifactError(
                f"{reader.root}: fps: expected a multiple of {1 / dt:g}, as model.dt is {dt} s in the settings; got {reader.fps}"
            )
        if not set(self.model.cameras) & set(reader.cameras):
            expected_cameras, got = list(self.model.cameras), list(reader.cameras)
            raise ArtifactError(f"{reader.root}: cameras: expected at least one of {expected_cameras}, got {got}")
        return stride
