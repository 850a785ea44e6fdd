"""Demonstrations in memory, and the batches of observations and plans that a policy learns from."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from latent_policy_ros.data.episodes import Episode, find_episodes
from latent_policy_ros.errors import ArtifactError
from latent_policy_ros.latent.space import LatentSpace
from latent_policy_ros.policy.scaling import POSITION, Scaling, flatten
from latent_policy_ros.policy.settings import PolicySettings
from latent_policy_ros.policy.vision import random_shift


@dataclass(frozen=True)
class Batch:
    """What one training step sees; B observations.

    Attributes:
        states: Scaled states (B, S, 9 + L) float32.
        plans: Scaled plans (B, H, 9 + L) float32.
        pictures: {camera: (rows that have its picture (N,), pictures (N, H, W, 3) uint8, their shifts (N, 2))}.
    """

    states: np.ndarray
    plans: np.ndarray
    pictures: dict[str, tuple[np.ndarray, np.ndarray, np.ndarray]]


class Demonstrations:
    """All successful episodes of some folders.

    Args:
        folders: Where the episodes are.
        settings: Cameras, picture size, dt, horizon and augmentation.
        latent_space: Encodes measured and commanded hands.

    Raises:
        ArtifactError: No successful episode, or one made at another rate or picture size, or with another version of an
            embodiment than the latent space knows; the message names the file.
    """

    def __init__(self, folders: Iterable[Path | str], settings: PolicySettings, latent_space: LatentSpace) -> None:
        self.settings = settings
        self.episodes: dict[str, int] = {}
        self._images: list[dict[str, np.ndarray]] = []
        states, commands, frames = [], [], []
        rows: dict[str, list[int]] = {}
        files = find_episodes(folders)
        for file in files:
            episode = Episode.load(file)
            if not episode.meta.success:
                continue
            self._check(file, episode, latent_space)
            name, number = episode.meta.embodiment, len(self._images)
            self.episodes[name] = self.episodes.get(name, 0) + 1
            first, last = len(frames), len(frames) + len(episode) - 1
            rows.setdefault(name, []).extend(range(first, last + 1))
            frames += [(number, t, first, last) for t in range(len(episode))]
            self._images.append({c: images for c, images in episode.images.items() if c in settings.cameras})
            states.append(flatten(episode.wrist_pose, latent_space.encode(name, episode.hand)))
            commands.append(flatten(episode.wrist_command, latent_space.encode(name, episode.hand_command)))
        if not frames:
            raise ArtifactError(f"none of the {len(files)} episodes in {', '.join(map(str, folders))} was a success")
        self._states, self._commands = np.concatenate(states), np.concatenate(commands)
        self._frames = np.array(frames)  # (N, 4): episode, frame in it, first and last row of it
        self._rows = {name: np.array(indices) for name, indices in rows.items()}
        everything = np.arange(len(self._states))
        plans = self._commands[self._windows(everything, 0, settings.horizon)]
        plans[..., POSITION] -= self._states[:, None, POSITION]
        self.scaling = Scaling.of(self._states, plans)

    def __len__(self) -> int:
        return len(self._states)

    def batch(self, generator: np.random.Generator, augment: bool = True) -> Batch:
        """A random batch with as many observations of each embodiment, give or take one."""
        s, names = self.settings, sorted(self._rows)
        turn = generator.integers(len(names))
        rows = np.array([generator.choice(self._rows[names[(turn + i) % len(names)]]) for i in range(s.batch)])
        states = self._states[self._windows(rows, 1 - s.observation_steps, s.observation_steps)]
        if augment:
            states[..., POSITION] += generator.normal(0, s.wrist_noise, (*states.shape[:2], 3)).astype(np.float32)
        plans = self._commands[self._windows(rows, 0, s.horizon)]
        return Batch(
            self.scaling.scale_states(states),
            self.scaling.scale_plans(plans, states[:, -1, POSITION]),
            self._pictures(rows, generator, augment),
        )

    def _windows(self, rows: np.ndarray, first: int, count: int) -> np.ndarray:
        """Rows (B, count) from ``first`` after each, held at the ends of its episode."""
        spans = self._frames[rows]
        return np.clip(rows[:, None] + first + np.arange(count), spans[:, 2:3], spans[:, 3:4])

    def _pictures(self, rows, generator, augment) -> dict[str, tuple[np.ndarray, np.ndarray, np.ndarray]]:
        cameras = self.settings.cameras
        has = np.array([[camera in self._images[e] for camera in cameras] for e in self._frames[rows, 0]])
        if augment:
            kept = has & (generator.random(has.shape) >= self.settings.camera_dropout)
            has = np.where(kept.any(axis=1, keepdims=True), kept, has)
        pictures = {}
        for column, camera in enumerate(cameras):
            chosen = np.flatnonzero(has[:, column])
            if len(chosen):
                images = np.stack([self._images[e][camera][t] for e, t in self._frames[rows[chosen], :2]])
                pictures[camera] = (chosen, *random_shift(images, self.settings.shift if augment else 0, generator))
        return pictures

    def _check(self, file: Path, episode: Episode, latent_space: LatentSpace) -> None:
        meta, size = episode.meta, self.settings.image_size
        codec = latent_space.codec(meta.embodiment)
        if meta.embodiment_hash != codec.content_hash:
            raise ArtifactError(
                f"{file}: recorded with {meta.embodiment} {meta.embodiment_hash[:12]}, but the latent space knows "
                f"{codec.content_hash[:12]}; record again, or train a latent space for that version"
            )
        if abs(meta.dt - self.settings.dt) > 1e-6:
            raise ArtifactError(
                f"{file}: dt: expected {self.settings.dt} s, got {meta.dt} s; set dt in the training settings"
            )
        if not set(self.settings.cameras) & set(episode.images):
            raise ArtifactError(
                f"{file}: images: expected one of {list(self.settings.cameras)}, got {sorted(episode.images)}"
            )
        for camera in set(self.settings.cameras) & set(episode.images):
            if episode.images[camera].shape[1:] != (size, size, 3):
                got = episode.images[camera].shape[1:]
                raise ArtifactError(f"{file}: images.{camera}: expected {(size, size, 3)}, got {got}")
