"""Demonstrations in memory, and the batches of observations and plans that a policy learns from."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from latent_policy_ros.common.artifacts import content_hash
from latent_policy_ros.common.errors import ArtifactError
from latent_policy_ros.data.lerobot.collection import find_datasets
from latent_policy_ros.data.lerobot.episodes import Episode, load_episode
from latent_policy_ros.data.lerobot.reader import LeRobotReader
from latent_policy_ros.latent.space import LatentSpace
from latent_policy_ros.policy.encoders.keypoint_net import random_shift
from latent_policy_ros.policy.scaling import POSITION, Scaling, flatten
from latent_policy_ros.policy.settings import PolicySettings


@dataclass(frozen=True)
class Batch:
    """What one training step sees; B observations.

    Attributes:
        states: Scaled states (B, S, 9 + L) float32.
        plans: Scaled plans (B, H, 9 + L) float32.
        images: {camera: (rows that have its image (N,), image_batch (N, H, W, 3) uint8, their shifts (N, 2))}.
    """

    states: np.ndarray
    plans: np.ndarray
    images: dict[str, tuple[np.ndarray, np.ndarray, np.ndarray]]


class Demonstrations:
    """All successful episodes of some data sets, in memory: image_batch are decoded once.

    Args:
        folders: Where the data sets are.
        settings: Cameras, image size, dt, horizon and augmentation.
        latent_space: Encodes measured and commanded hands.

    Raises:
        ArtifactError: No successful episode, or a data set at a rate that does not fit, without any of the cameras, or made
            with another version of an embodiment than the latent space knows; the message names it.
    """

    def __init__(self, folders: Iterable[Path | str], settings: PolicySettings, latent_space: LatentSpace) -> None:
        self.settings = settings
        self.episodes: dict[str, int] = {}
        self._images: list[dict[str, np.ndarray]] = []
        states, commands, frames = [], [], []
        rows: dict[str, list[int]] = {}
        weights: dict[str, list[float]] = {}  # of each of these rows
        for episode, weight in self._successes(folders, latent_space):
            name, number = episode.meta.embodiment, len(self._images)
            self.episodes[name] = self.episodes.get(name, 0) + 1
            first, last = len(frames), len(frames) + len(episode) - 1
            rows.setdefault(name, []).extend(range(first, last + 1))
            weights.setdefault(name, []).extend([weight] * len(episode))
            frames += [(number, t, first, last) for t in range(len(episode))]
            self._images.append(episode.images)
            states.append(flatten(episode.wrist_pose, latent_space.encode(name, episode.hand)))
            commands.append(flatten(episode.wrist_command, latent_space.encode(name, episode.hand_command)))
        if not frames:
            raise ArtifactError(f"none of the episodes in {', '.join(map(str, folders))} was a success")
        self._states, self._commands = np.concatenate(states), np.concatenate(commands)
        self._frames = np.array(frames)  # (N, 4): episode, frame in it, first and last row of it
        self._rows = {name: np.array(indices) for name, indices in rows.items()}
        self._weights = {name: float(np.mean(values)) for name, values in weights.items()}
        self._chances = {n: None if len(set(w)) == 1 else np.array(w) / np.sum(w) for n, w in weights.items()}
        everything = np.arange(len(self._states))
        plans = self._commands[self._windows(everything, 0, settings.horizon)]
        plans[..., POSITION] -= self._states[:, None, POSITION]
        self.scaling = Scaling.of(self._states, plans)

    def __len__(self) -> int:
        return len(self._states)

    def batch(self, generator: np.random.Generator, augment: bool = True) -> Batch:
        """A random batch, with observations of each embodiment by the mean weight of its frames, give or take one."""
        s = self.settings
        turns = self._turns(generator.integers(len(self._rows)))
        rows = np.array([generator.choice(self._rows[name], p=self._chances[name]) for name in turns])
        states = self._states[self._windows(rows, 1 - s.observation_steps, s.observation_steps)]
        if augment:
            states[..., POSITION] += generator.normal(0, s.wrist_noise, (*states.shape[:2], 3)).astype(np.float32)
        plans = self._commands[self._windows(rows, 0, s.horizon)]
        return Batch(
            self.scaling.scale_states(states),
            self.scaling.scale_plans(plans, states[:, -1, POSITION]),
            self._image_batch(rows, generator, augment),
        )

    def _turns(self, shift: int) -> list[str]:
        """Whose turn it is in a batch: always that of the embodiment furthest behind its share, from a random one on."""
        names = sorted(self._rows)
        shares = np.array([self._weights[name] for name in names])
        shares, given, turns = shares / shares.sum(), np.zeros(len(names)), []
        for done in range(1, self.settings.batch + len(names)):
            turns.append(int(np.argmax(np.round(shares * done - given, 9))))
            given[turns[-1]] += 1
        return [names[k] for k in turns[shift : shift + self.settings.batch]]

    def _windows(self, rows: np.ndarray, first: int, count: int) -> np.ndarray:
        """Rows (B, count) from ``first`` after each, held at the ends of its episode."""
        spans = self._frames[rows]
        return np.clip(rows[:, None] + first + np.arange(count), spans[:, 2:3], spans[:, 3:4])

    def _image_batch(self, rows, generator, augment) -> dict[str, tuple[np.ndarray, np.ndarray, np.ndarray]]:
        cameras = self.settings.cameras
        has = np.array([[camera in self._images[e] for camera in cameras] for e in self._frames[rows, 0]])
        if augment:
            kept = has & (generator.random(has.shape) >= self.settings.camera_dropout)
            has = np.where(kept.any(axis=1, keepdims=True), kept, has)
        image_batch = {}
        for column, camera in enumerate(cameras):
            chosen = np.flatnonzero(has[:, column])
            if len(chosen):
                images = np.stack([self._images[e][camera][t] for e, t in self._frames[rows[chosen], :2]])
                image_batch[camera] = (chosen, *random_shift(images, self.settings.shift if augment else 0, generator))
        return image_batch

    def fingerprint(self) -> str:
        """Hash of the demonstrations: of every state and command, each episode's first image_batch, and the weights."""
        first = {f"{k} {camera}": p[0] for k, images in enumerate(self._images) for camera, p in images.items()}
        chances = {f"chances {name}": p for name, p in self._chances.items() if p is not None}
        rows = {"states": self._states, "commands": self._commands, "frames": self._frames}
        return content_hash({"weights": self._weights}, {**rows, **first, **chances})

    def _successes(self, folders: Iterable[Path | str], latent_space: LatentSpace) -> Iterator[tuple[Episode, float]]:
        """Every successful episode, at our pace and with image_batch of our size, and the weight of its data set."""
        s = self.settings
        for root, weight in find_datasets(folders):
            reader = LeRobotReader(root)
            stride = self._stride(reader, latent_space)
            for number, told in enumerate(reader.about):
                if told["success"]:
                    yield load_episode(reader, number, s.cameras, (s.image_size, s.image_size), stride), weight

    def _stride(self, reader: LeRobotReader, latent_space: LatentSpace) -> int:
        """Every how manyth frame of a data set is ours, which must fit the settings and the latent space."""
        identity, dt = reader.identity, self.settings.dt
        expected = latent_space.expected_hash(identity.embodiment)
        if identity.embodiment_hash != expected:
            raise ArtifactError(
                f"{reader.root}: recorded with {identity.embodiment} {identity.embodiment_hash[:12]}, but the latent space knows "
                f"{expected[:12]}; record again, or train a latent space for that version"
            )
        stride = round(dt * reader.fps)
        if stride < 1 or abs(stride / reader.fps - dt) > 1e-6:
            raise ArtifactError(
                f"{reader.root}: fps: expected a multiple of {1 / dt:g}, as dt is {dt} s in the training settings; got {reader.fps}"
            )
        if not set(self.settings.cameras) & set(reader.cameras):
            wanted, got = list(self.settings.cameras), list(reader.cameras)
            raise ArtifactError(f"{reader.root}: cameras: expected one of {wanted}, got {got}")
        return stride
