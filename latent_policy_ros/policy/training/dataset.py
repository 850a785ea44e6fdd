"""DemonstrationDataset: demonstrations in memory, sampled as batches of observations and action chunks."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from latent_policy_ros.common.artifacts import artifact_hash
from latent_policy_ros.common.errors import ArtifactError
from latent_policy_ros.data.lerobot.collection import find_datasets
from latent_policy_ros.data.lerobot.episodes import Episode, load_episode
from latent_policy_ros.data.lerobot.reader import LeRobotReader
from latent_policy_ros.embodiments import load_embodiment
from latent_policy_ros.latent.space import LatentSpace
from latent_policy_ros.policy.encoders.keypoint_net import random_shift
from latent_policy_ros.policy.grasp_space import GraspSpace
from latent_policy_ros.policy.observation_batch import CameraImages, ObservationBatch
from latent_policy_ros.policy.scaling import APERTURE, POSITION, ROTATION, STATE_LATENT, Scaling
from latent_policy_ros.policy.settings import PolicySettings


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
    """All successful episodes of some data sets. Images are decoded once and kept in memory.

    Args:
        folders: Folders of data sets.
        settings: Cameras, image size, dt, horizon, batch size and augmentation.
        grasp_space: Conversion of measurements and commands to states and actions.

    Raises:
        ArtifactError: No successful episode, or a data set has a frame rate that does not fit ``dt``, has none of the cameras,
            or was recorded with another version of an embodiment than the latent space has. The message names the data set.
    """

    def __init__(self, folders: Iterable[Path | str], settings: PolicySettings, grasp_space: GraspSpace) -> None:
        self.model, self.training = settings.model, settings.training
        self.episodes: dict[str, int] = {}
        self._images: list[dict[str, np.ndarray]] = []  # of each episode
        self._tasks: list[str] = []  # of each episode
        states, commands = [], []
        frames: list[tuple[int, int, int, int]] = []
        rows: dict[str, list[int]] = {}
        weights: dict[str, list[float]] = {}  # of each row
        for episode, weight in self._successful_episodes(folders, grasp_space.latent_space):
            name, number = episode.meta.embodiment, len(self._images)
            self.episodes[name] = self.episodes.get(name, 0) + 1
            first, last = len(frames), len(frames) + len(episode) - 1
            rows.setdefault(name, []).extend(range(first, last + 1))
            weights.setdefault(name, []).extend([weight] * len(episode))
            frames += [(number, t, first, last) for t in range(len(episode))]
            self._images.append(episode.images)
            self._tasks.append(episode.meta.task)
            embodiment = load_embodiment(name)
            states.append(grasp_space.states(embodiment, episode.wrist_pose, episode.hand))
            commands.append(grasp_space.actions(embodiment, episode.wrist_command, episode.hand_command))
        if not frames:
            raise ArtifactError(f"no successful episode in {', '.join(map(str, folders))}")
        self._states, self._commands = np.concatenate(states), np.concatenate(commands)
        self._frames = np.array(frames)  # (N, 4): episode, frame in the episode, first and last row of the episode
        self._rows = {name: np.array(indices) for name, indices in rows.items()}
        self._weights = {name: float(np.mean(values)) for name, values in weights.items()}
        self._probabilities = {n: None if len(set(w)) == 1 else np.array(w) / np.sum(w) for n, w in weights.items()}
        chunks = self._commands[self._windows(np.arange(len(self._states)), 0, self.model.horizon)]
        chunks[..., POSITION] -= self._states[:, None, POSITION]
        self.scaling = Scaling.fit(self._states, chunks)

    def __len__(self) -> int:
        return len(self._states)

    def batch(self, generator: np.random.Generator, augment: bool = True) -> TrainingBatch:
        """A random batch. The share of each embodiment is the mean weight of its frames, to within one observation."""
        names = self._embodiments(int(generator.integers(len(self._rows))))
        rows = np.array([generator.choice(self._rows[name], p=self._probabilities[name]) for name in names])
        states = self._states[self._windows(rows, 1 - self.model.observation_steps, self.model.observation_steps)]
        chunks = self._commands[self._windows(rows, 0, self.model.horizon)]
        if augment:
            self._add_noise(states, generator)
        scaled = self.scaling.scale_states(states)
        if augment:
            scaled[generator.random(len(rows)) < self.training.latent_dropout, :, STATE_LATENT] = 0.0
            withheld = generator.random(len(rows)) < self.training.embodiment_dropout
            names = ["" if hidden else name for name, hidden in zip(names, withheld)]
        images, tasks = self._camera_images(rows, generator, augment), self._task_texts(rows, generator, augment)
        observations = ObservationBatch(torch.from_numpy(scaled), images, tasks, names)
        return TrainingBatch(observations, torch.from_numpy(self.scaling.scale_chunks(chunks, states[:, -1, POSITION])))

    def _add_noise(self, states: np.ndarray, generator: np.random.Generator) -> None:
        """Add noise to raw states (B, S, 10 + L), in place."""
        t, latent_dim = self.training, states.shape[-1] - 10
        for group, sigma in (
            (POSITION, t.position_noise),
            (ROTATION, t.rotation_noise),
            (STATE_LATENT, t.latent_noise / np.sqrt(latent_dim)),
            (APERTURE, t.aperture_noise),
        ):
            states[..., group] += sigma * generator.standard_normal(states[..., group].shape, dtype=np.float32)

    def _embodiments(self, shift: int) -> list[str]:
        """Embodiment of each observation of a batch: repeatedly the one furthest below its share, starting at ``shift``."""
        names = sorted(self._rows)
        shares = np.array([self._weights[name] for name in names])
        shares, counts, chosen = shares / shares.sum(), np.zeros(len(names)), []
        for done in range(1, self.training.batch_size + len(names)):
            chosen.append(int(np.argmax(np.round(shares * done - counts, 9))))
            counts[chosen[-1]] += 1
        return [names[k] for k in chosen[shift : shift + self.training.batch_size]]

    def _windows(self, rows: np.ndarray, first: int, count: int) -> np.ndarray:
        """Rows (B, count) from ``rows + first`` on, clamped to the episode of each row."""
        spans = self._frames[rows]
        return np.clip(rows[:, None] + first + np.arange(count), spans[:, 2:3], spans[:, 3:4])

    def _camera_images(self, rows: np.ndarray, generator: np.random.Generator, augment: bool) -> dict[str, CameraImages]:
        cameras = self.model.cameras
        has = np.array([[camera in self._images[e] for camera in cameras] for e in self._frames[rows, 0]])
        if augment:
            dropout = np.array([self.training.camera_dropout.get(camera, 0.0) for camera in cameras])
            kept = has & (generator.random(has.shape) >= dropout)
            has = np.where(kept.any(axis=1, keepdims=True), kept, has)
        batch = {}
        for column, camera in enumerate(cameras):
            chosen = np.flatnonzero(has[:, column])
            if len(chosen):
                images = np.stack([self._images[e][camera][t] for e, t in self._frames[rows[chosen], :2]])
                shifted = random_shift(images, self.training.image_shift if augment else 0, generator)
                batch[camera] = CameraImages(*(torch.from_numpy(array) for array in (chosen, *shifted)))
        return batch

    def _task_texts(self, rows: np.ndarray, generator: np.random.Generator, augment: bool) -> list[str]:
        tasks = [self._tasks[episode] for episode in self._frames[rows, 0]]
        if augment and self.model.text_encoder != "none":
            masked = generator.random(len(rows)) < self.training.task_dropout
            tasks = ["" if mask else task for mask, task in zip(masked, tasks)]
        return tasks

    def fingerprint(self) -> str:
        """Content hash of all states and commands, the first images of each episode, and the weights."""
        first = {f"{k} {camera}": p[0] for k, images in enumerate(self._images) for camera, p in images.items()}
        probabilities = {f"probabilities {name}": p for name, p in self._probabilities.items() if p is not None}
        rows = {"states": self._states, "commands": self._commands, "frames": self._frames}
        return artifact_hash({"weights": self._weights}, {**rows, **first, **probabilities})

    def _successful_episodes(self, folders: Iterable[Path | str], latent_space: LatentSpace) -> Iterator[tuple[Episode, float]]:
        """Each successful episode, resampled to ``dt`` and ``image_size``, with the weight of its data set."""
        model = self.model
        for root, weight in find_datasets(folders):
            reader = LeRobotReader(root)
            stride = self._stride(reader, latent_space)
            for number, metadata in enumerate(reader.episode_metadata):
                if metadata["success"]:
                    yield load_episode(reader, number, model.cameras, (model.image_size, model.image_size), stride), weight

    def _stride(self, reader: LeRobotReader, latent_space: LatentSpace) -> int:
        """Frame stride from the data set's fps to the policy's dt. Checks that the data set can be used."""
        identity, dt = reader.identity, self.model.dt
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
