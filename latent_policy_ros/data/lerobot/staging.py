"""Staging area for finished episodes, each in a folder of its own, before they are appended to a data set."""

from __future__ import annotations

import errno
import hashlib
import json
import shutil
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from uuid import uuid4

import numpy as np
import pyarrow.parquet as pq

from latent_policy_ros.common.artifacts import load_json, write_atomically
from latent_policy_ros.common.errors import ArtifactError, ObservationRefused
from latent_policy_ros.common.path_names import path_name
from latent_policy_ros.data.lerobot.depth import DepthVideoWriter
from latent_policy_ros.data.lerobot.feature_statistics import Stats, statistics_from_json, statistics_to_json, vector_statistics
from latent_policy_ros.data.lerobot.layout import (
    DEFAULT_FEATURES,
    DONE,
    IMAGES,
    SUCCESS,
    WHOLE,
    data_schema,
    flag_feature,
    joined,
    to_array,
    to_table,
    vector_feature,
)
from latent_policy_ros.data.lerobot.video import DamagedImages, VideoWriter, encoder_threads
from latent_policy_ros.embodiments import Embodiment
from latent_policy_ros.observations.observation import RgbImage

EPISODE_FILE, FRAMES_FILE = "episode.json", "frames.parquet"
PART_SUFFIX = ".part"  # of folders that are being written; a crash leaves them, and they are never read


@dataclass(frozen=True)
class DatasetIdentity:
    """The properties that all episodes of a data set have in common.

    Attributes:
        embodiment, embodiment_hash: Name and content hash of the embodiment.
        joints: Its actuated joints; they are the first elements of ``observation.state`` and ``action``.
        closed, open: The policy's representation of a joint position is (q - closed) / (open - closed).
        fps: Frames per second.
    """

    embodiment: str
    embodiment_hash: str
    joints: tuple[str, ...]
    closed: float
    open: float
    fps: int

    @classmethod
    def for_embodiment(cls, embodiment: Embodiment, fps: int) -> DatasetIdentity:
        """The identity of a data set of an embodiment."""
        ends = (embodiment.action_closed, embodiment.action_open) if embodiment.kind == "gripper" else (0.0, 1.0)
        return cls(embodiment.name, embodiment.content_hash, embodiment.joint_names, *ends, fps)

    def to_action(self, q: np.ndarray) -> np.ndarray:
        """Convert joint positions (..., n) [rad or m] to the action representation (..., n)."""
        return (q - self.closed) / (self.open - self.closed)

    def to_joints(self, x: np.ndarray) -> np.ndarray:
        """Convert the action representation (..., n) to joint positions (..., n) [rad or m]."""
        return self.closed + x * (self.open - self.closed)

    def to_dict(self) -> dict[str, Any]:
        """The identity as JSON values."""
        return {**vars(self), "joints": list(self.joints)}

    @classmethod
    def from_dict(cls, content: Mapping[str, Any]) -> DatasetIdentity:
        """The inverse of ``to_dict``. Other keys are ignored.

        Raises:
            KeyError: A key is missing.
        """
        values = {name: content[name] for name in cls.__dataclass_fields__}
        return cls(**{**values, "joints": tuple(values["joints"])})


@dataclass(frozen=True)
class StagedEpisode:
    """A finished episode in the staging area.

    Attributes:
        folder: Folder of the episode.
        key: Identifier; the same recording has the same key.
        length: Number of frames.
        task: Description of the task.
        features: Features of the episode, without ``DEFAULT_FEATURES``.
        stats: Statistics of the features, of the timestamp and of the frame index.
        identity: Identity of the data set that the episode belongs to.
        metadata: Source, settings and outcome; stored in the manifest of the data set.
    """

    folder: Path
    key: str
    length: int
    task: str
    features: Mapping[str, Any]
    stats: Mapping[str, Stats]
    identity: DatasetIdentity
    metadata: Mapping[str, Any]

    def columns(self) -> dict[str, np.ndarray]:
        """Vectors (T, d) and scalars (T,) of all frames."""
        table = pq.ParquetFile(self.folder / FRAMES_FILE).read()
        return {name: to_array(table.column(name)) for name in table.column_names}

    def video(self, feature: str) -> Path:
        """Video file of an image feature."""
        return self.folder / f"{path_name(feature[len(IMAGES) :], 'name of a camera')}.mp4"

    @classmethod
    def load(cls, folder: Path) -> StagedEpisode:
        """Load an episode without its frames.

        Raises:
            ArtifactError: The folder does not hold a complete episode.
        """
        content = load_json(folder / EPISODE_FILE, ArtifactError, "delete the folder")
        try:
            content["identity"] = DatasetIdentity.from_dict(content["identity"])
            content["stats"] = statistics_from_json(content["stats"])
            return cls(folder, metadata=content.pop("about"), **content)
        except (KeyError, TypeError) as error:
            raise ArtifactError(f"{folder}: not a complete episode: {error}; delete the folder") from error


def staged_episodes(root: Path) -> Iterator[StagedEpisode]:
    """The finished episodes of a staging folder, sorted by key; loaded one at a time, because there may be thousands."""
    folders = sorted(root.iterdir()) if root.is_dir() else []
    return (StagedEpisode.load(p) for p in folders if p.suffix != PART_SUFFIX and (p / EPISODE_FILE).is_file())


def short_hash(*parts: str) -> str:
    """A short identifier of strings: the first 20 hexadecimal digits of their SHA-256."""
    return hashlib.sha256("\n".join(parts).encode()).hexdigest()[:20]


class EpisodeWriter:
    """Writes one episode to the staging area: images as they arrive, vectors at the end.

    Args:
        root: Staging folder.
        key: Identifier of the episode.
        identity: Identity of the data set that the episode belongs to.
        cameras: Names of the cameras.
        frames: Expected number of frames.
        layout: ``whole`` or ``separate``; see :data:`~latent_policy_ros.data.lerobot.layout.LAYOUTS`.
        depth: Names of the depth cameras, whose images are (H, W) float32 [m].
    """

    def __init__(
        self, root: Path, key: str, identity: DatasetIdentity, cameras: tuple[str, ...], frames: int = 0, layout: str = WHOLE,
        depth: Sequence[str] = (),
    ) -> None:  # fmt: skip
        self.folder, self.key, self.identity = root / path_name(key, "key of an episode"), key, identity
        self._layout, self.depth = layout, tuple(depth)
        self._part = root / f"{key}-{uuid4().hex}{PART_SUFFIX}"  # another worker may convert a copy of the same bag
        for camera in (*cameras, *depth):
            path_name(camera, "name of a camera")
        self._part.mkdir(parents=True)
        threads = encoder_threads(len(cameras) + len(depth))
        self._videos = {c: VideoWriter(self._part / f"{c}.mp4", identity.fps, frames, threads) for c in cameras}
        self._videos |= {name: DepthVideoWriter(self._part / f"{name}.mp4", identity.fps, threads) for name in depth}

    def add(self, stamp: float, images: Mapping[str, RgbImage]) -> None:
        """Append the images of one frame; ``stamp`` [s] is used in errors only."""
        for camera, writer in self._videos.items():
            writer.add(stamp, images[camera])

    def rename(self, key: str) -> None:
        """Change the identifier of the episode."""
        self.folder, self.key = self.folder.with_name(key), key

    def close(self) -> None:
        """Complete the videos.

        Raises:
            ObservationRefused: An image could not be encoded; see ``image_error``.
        """
        errors = []
        for writer in self._videos.values():
            try:
                writer.close()
            except ObservationRefused as error:
                errors.append(error)
        if errors:
            raise errors[0]

    @property
    def damaged(self) -> dict[str, DamagedImages]:
        """Images that could not be decoded, by camera; the image before each is repeated."""
        return {camera: writer.damaged for camera, writer in self._videos.items() if writer.damaged}

    @property
    def image_error(self) -> tuple[str, float, str] | None:
        """Camera, stamp [s] and error of the earliest image that could not be encoded; None if there is none."""
        errors = [(w.failed[0], camera, str(w.failed[1])) for camera, w in self._videos.items() if w.failed]
        return (min(errors)[1], min(errors)[0], min(errors)[2]) if errors else None

    def finish(
        self, vectors: Mapping[str, tuple[Sequence[str], np.ndarray]], task: str, success: bool, metadata: Mapping[str, Any]
    ) -> StagedEpisode:
        """Complete the episode.

        Args:
            vectors: {feature: (names (d,), values (T, d))}.
            task: Description of the task.
            success: Whether the episode succeeded in its last frame.
            metadata: Source and settings; its ``success`` has precedence over that of the last frame.

        Raises:
            ObservationRefused: An image could not be encoded; see ``image_error``.
            ArtifactError: A camera has no image.
        """
        self.close()
        if self._layout == WHOLE:
            vectors = joined(vectors)
        length, fps = len(next(iter(vectors.values()))[1]), self.identity.fps
        features = {name: vector_feature(names) for name, (names, _) in vectors.items()}
        for camera, writer in self._videos.items():
            if writer.size is None:
                raise ArtifactError(f"{self.folder}: camera {camera!r} has no image")
            features[f"{IMAGES}{camera}"] = writer.feature()
        features |= {DONE: flag_feature(), SUCCESS: flag_feature()}
        last = np.arange(length) == length - 1
        columns: dict[str, np.ndarray] = {name: np.asarray(values, np.float32) for name, (_, values) in vectors.items()}
        columns |= {DONE: last, SUCCESS: last & success}
        columns |= {"timestamp": (np.arange(length) / fps).astype(np.float32), "frame_index": np.arange(length)}
        stats = {name: vector_statistics(values) for name, values in columns.items()}
        stats |= {f"{IMAGES}{camera}": writer.statistics() for camera, writer in self._videos.items()}
        stored = {**features, **{name: DEFAULT_FEATURES[name] for name in ("timestamp", "frame_index")}}
        pq.write_table(to_table(columns, data_schema(stored)), self._part / FRAMES_FILE)
        content = {
            "key": self.key, "length": length, "task": task, "features": features, "stats": statistics_to_json(stats),
            "identity": self.identity.to_dict(), "about": {"success": success, **metadata},
        }  # fmt: skip
        write_atomically(self._part / EPISODE_FILE, json.dumps(content).encode())
        shutil.rmtree(self.folder, ignore_errors=True)
        try:
            self._part.rename(self.folder)
        except OSError as error:
            if error.errno not in (errno.ENOTEMPTY, errno.EEXIST):
                raise
            shutil.rmtree(self._part)  # another worker finished the same episode meanwhile
        return StagedEpisode.load(self.folder)

    def abort(self) -> None:
        """Stop encoding and delete the incomplete episode."""
        for writer in self._videos.values():
            writer.abort()
        shutil.rmtree(self._part, ignore_errors=True)
