"""Finished episodes, each in a folder of its own, on their way into a data set. Half an episode never looks like a whole one."""

from __future__ import annotations

import hashlib
import json
import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq

from latent_policy_ros.common.artifacts import load_json, write_atomically
from latent_policy_ros.common.errors import ArtifactError
from latent_policy_ros.data.lerobot.feature_statistics import Stats, arrays, plain, vector_stats
from latent_policy_ros.data.lerobot.layout import DEFAULTS, DONE, IMAGES, SUCCESS, array_of, flag, schema, table_of, vector, video
from latent_policy_ros.data.lerobot.video import VideoWriter, encoder_threads, pixel_format
from latent_policy_ros.embodiments import Embodiment
from latent_policy_ros.observations.observation import RgbImage

TOLD, FRAMES, PART = "episode.json", "frames.parquet", ".part"


@dataclass(frozen=True)
class Identity:
    """What all episodes of a data set have in common.

    Attributes:
        embodiment, embodiment_hash: The end-effector.
        joints: Its actuated joints, which are the first of ``observation.state`` and of ``action``.
        closed, open: The action that policies see is (q - closed) / (open - closed).
        fps: Frames a second.
    """

    embodiment: str
    embodiment_hash: str
    joints: tuple[str, ...]
    closed: float
    open: float
    fps: int

    @classmethod
    def for_embodiment(cls, embodiment: Embodiment, fps: int) -> Identity:
        """Of the episodes of an embodiment."""
        ends = (embodiment.action_closed, embodiment.action_open) if embodiment.kind == "gripper" else (0.0, 1.0)
        return cls(embodiment.name, embodiment.content_hash, embodiment.joint_names, *ends, fps)

    def to_action(self, q: np.ndarray) -> np.ndarray:
        """Joints (..., n) to what policies see (..., n)."""
        return (q - self.closed) / (self.open - self.closed)

    def to_joints(self, x: np.ndarray) -> np.ndarray:
        """The other way."""
        return self.closed + x * (self.open - self.closed)

    def plain(self) -> dict[str, Any]:
        """As JSON may hold it."""
        return {**vars(self), "joints": list(self.joints)}

    @classmethod
    def of(cls, told: Mapping[str, Any]) -> Identity:
        """What :meth:`plain` made plain; KeyError if something is missing."""
        values = {name: told[name] for name in cls.__dataclass_fields__}
        return cls(**{**values, "joints": tuple(values["joints"])})


@dataclass(frozen=True)
class StagedEpisode:
    """One finished episode on disk.

    Attributes:
        folder: Where it is.
        key: Names it among all; the same source has the same key.
        length: Number of frames.
        task: In words.
        features: Its own, without those that every data set has.
        stats: Of these, and of time and frame number.
        identity: Which data set it is for.
        about: Where it comes from, and how well things fitted.
    """

    folder: Path
    key: str
    length: int
    task: str
    features: Mapping[str, Any]
    stats: Mapping[str, Stats]
    identity: Identity
    about: Mapping[str, Any]

    def columns(self) -> dict[str, np.ndarray]:
        """Its vectors and flags."""
        table = pq.read_table(self.folder / FRAMES)
        return {name: array_of(table.column(name)) for name in table.column_names}

    def video(self, feature: str) -> Path:
        """The video of one camera."""
        return self.folder / f"{feature[len(IMAGES) :]}.mp4"

    @classmethod
    def load(cls, folder: Path) -> StagedEpisode:
        """Raises ArtifactError if there is no whole episode."""
        told = load_json(folder / TOLD, ArtifactError, "delete the folder")
        try:
            told["identity"] = Identity.of(told["identity"])
            told["stats"] = arrays(told["stats"])
            return cls(folder, **told)
        except (KeyError, TypeError) as error:
            raise ArtifactError(f"{folder}: not an episode: {error}; delete the folder") from error


def staged(root: Path) -> list[StagedEpisode]:
    """All finished episodes in a folder, in the order of their keys."""
    folders = sorted(p for p in root.iterdir() if p.suffix != PART and (p / TOLD).is_file()) if root.is_dir() else []
    return [StagedEpisode.load(folder) for folder in folders]


def key_of(*parts: str) -> str:
    """A short name for what is described by some strings."""
    return hashlib.sha256("\n".join(parts).encode()).hexdigest()[:20]


class EpisodeWriter:
    """Writes one episode: images as they come, numbers at the end.

    Args:
        root: Folder of all staged episodes.
        key: Of this one.
        identity: Which data set it is for.
        cameras: Its cameras.
        frames: About how many will come.
    """

    def __init__(self, root: Path, key: str, identity: Identity, cameras: tuple[str, ...], frames: int = 0) -> None:
        self.folder, self.key, self.identity = root / key, key, identity
        self._part = root / f"{key}{PART}"
        shutil.rmtree(self._part, ignore_errors=True)
        self._part.mkdir(parents=True)
        threads = encoder_threads(len(cameras))
        self._videos = {c: VideoWriter(self._part / f"{c}.mp4", identity.fps, frames, threads) for c in cameras}

    def add(self, stamp: float, images: Mapping[str, RgbImage]) -> None:
        """Append a frame's images."""
        for camera, writer in self._videos.items():
            writer.add(stamp, images[camera])

    @property
    def failure(self) -> tuple[str, float, str] | None:
        """Camera, stamp and text of the first image that could not be taken."""
        failed = [(w.failed[0], camera, str(w.failed[1])) for camera, w in self._videos.items() if w.failed]
        return (min(failed)[1], min(failed)[0], min(failed)[2]) if failed else None

    def finish(
        self, vectors: Mapping[str, tuple[tuple[str, ...], np.ndarray]], task: str, success: bool, about: Mapping[str, Any]
    ) -> StagedEpisode:
        """Complete the episode.

        Args:
            vectors: {feature: (names (d,), values (T, d))}.
            task: In words.
            success: Whether it was fulfilled.
            about: Where it comes from.

        Raises:
            ObservationRefused: An image could not be taken.
        """
        for writer in self._videos.values():
            writer.close()
        length = len(next(iter(vectors.values()))[1])
        features = {name: vector(names) for name, (names, _) in vectors.items()}
        fps = self.identity.fps
        features |= {f"{IMAGES}{c}": video(*w.size, fps, pixel_format(*w.size)) for c, w in self._videos.items()}
        features |= {DONE: flag(), SUCCESS: flag()}
        last = np.arange(length) == length - 1
        columns = {name: np.asarray(values, np.float32) for name, (_, values) in vectors.items()}
        columns |= {DONE: last, SUCCESS: last & success}
        columns |= {"timestamp": (np.arange(length) / self.identity.fps).astype(np.float32), "frame_index": np.arange(length)}
        stats = {name: vector_stats(values) for name, values in columns.items()}
        stats |= {f"{IMAGES}{camera}": writer.stats.result() for camera, writer in self._videos.items()}
        kept = {**features, **{name: DEFAULTS[name] for name in ("timestamp", "frame_index")}}
        pq.write_table(table_of(columns, schema(kept)), self._part / FRAMES)
        told = {
            "key": self.key, "length": length, "task": task, "features": features, "stats": plain(stats),
            "identity": self.identity.plain(), "about": {**about, "success": success},
        }  # fmt: skip
        write_atomically(self._part / TOLD, json.dumps(told).encode())
        shutil.rmtree(self.folder, ignore_errors=True)
        self._part.rename(self.folder)
        return StagedEpisode.load(self.folder)

    def abort(self) -> None:
        """Forget the episode."""
        for writer in self._videos.values():
            writer.abort()
        shutil.rmtree(self._part, ignore_errors=True)
