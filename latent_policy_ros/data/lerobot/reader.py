"""Reader of LeRobotDataset v3.0: vectors, images and metadata of episodes."""

from __future__ import annotations

from collections.abc import Iterator
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from latent_policy_ros.common.artifacts import load_json
from latent_policy_ros.common.errors import ArtifactError, ObservationRefused, available
from latent_policy_ros.common.path_names import inside
from latent_policy_ros.data.lerobot.feature_statistics import Stats, statistics_from_json
from latent_policy_ros.data.lerobot.layout import (
    DATA,
    EPISODES,
    IMAGES,
    INFO,
    MANIFEST,
    POSE_OF,
    STATS,
    TASKS,
    VERSION,
    VIDEO,
    WRIST_NAMES,
    element_names,
    is_camera,
    is_video,
    joint_names,
    to_array,
)
from latent_policy_ros.data.lerobot.manifest import read_episodes, read_properties
from latent_policy_ros.data.lerobot.staging import DatasetIdentity
from latent_policy_ros.data.lerobot.video import decode_images
from latent_policy_ros.observations.images import compressed_to_rgb
from latent_policy_ros.observations.resize import Resize

REMEDY = "convert or generate it again"


class LeRobotReader:
    """A data set on disk.

    Args:
        root: Folder of the data set.

    Attributes:
        info: Content of ``meta/info.json``.
        features: {name: feature}.
        fps: Frames per second.
        frames: Number of frames.
        tasks: Descriptions of the tasks by task index.

    Raises:
        ArtifactError: The folder is not a data set, has another version, or is incomplete.
    """

    def __init__(self, root: Path | str) -> None:
        self.root = Path(root)
        self.info = load_json(self.root / INFO, ArtifactError, REMEDY)
        if self.info.get("codebase_version") != VERSION:
            got = self.info.get("codebase_version")
            raise ArtifactError(f"{self.root / INFO}: codebase_version: expected {VERSION!r}, got {got!r}")
        for key, expected in (("data_path", (DATA,)), ("video_path", (VIDEO, None))):
            if self.info.get(key) not in expected:  # a template from outside must not choose paths
                raise ArtifactError(f"{self.root / INFO}: {key}: expected {expected[0]!r}, got {self.info.get(key)!r}")
        self.features: dict[str, Any] = self.info["features"]
        self.fps, self.frames = int(self.info["fps"]), int(self.info["total_frames"])
        self.tasks = self._read_tasks()
        self._length = sum(self._footer(file).num_rows for file in self._episode_files())
        if self._length != self.info["total_episodes"]:
            raise ArtifactError(f"{self.root}: expected {self.info['total_episodes']} episodes, got {self._length}; {REMEDY}")

    def __len__(self) -> int:
        return self._length

    @cached_property
    def episodes(self) -> list[dict[str, Any]]:
        """Row of each episode in ``meta/episodes``, without statistics."""
        rows: list[dict[str, Any]] = []
        for file in self._episode_files():
            try:
                columns = [name for name in pq.read_schema(file).names if not name.startswith("stats/")]
                rows += pq.read_table(file, columns=columns).to_pylist()
            except (OSError, pa.ArrowException) as error:
                raise ArtifactError(f"{file}: cannot be read: {error}; {REMEDY}") from error
        return sorted(rows, key=lambda row: row["episode_index"])

    @property
    def cameras(self) -> tuple[str, ...]:
        """Names of the cameras, without those of depth."""
        return tuple(name[len(IMAGES):] for name, feature in self.features.items() if is_camera(name, feature))  # fmt: skip

    @cached_property
    def stats(self) -> dict[str, Stats]:
        """Statistics of the features over all episodes."""
        return statistics_from_json(load_json(self.root / STATS, ArtifactError, REMEDY))

    @cached_property
    def identity(self) -> DatasetIdentity:
        """Properties of all episodes; ArtifactError if another package made the data set."""
        try:
            return DatasetIdentity.from_dict(read_properties(self.root / MANIFEST))
        except KeyError as error:
            raise ArtifactError(f"{self.root / MANIFEST}: {error} is missing; {REMEDY}") from error

    @cached_property
    def episode_metadata(self) -> list[dict[str, Any]]:
        """Source, settings and outcome of each episode; ArtifactError if another package made the data set."""
        return list(self.read_metadata())

    def read_metadata(self) -> Iterator[dict[str, Any]]:
        """The same, one episode at a time, because there may be thousands."""
        return read_episodes(self.root / MANIFEST)

    def columns(self, episode: int) -> dict[str, np.ndarray]:
        """Vectors (T, d) and scalars (T,) of one episode; ArtifactError if the file is damaged.

        State and action contain joints only; wrist poses are columns of their own in either layout.
        """
        stored = [name for name, feature in self.features.items() if feature["dtype"] not in ("video", "image")]
        table = self._table(episode, stored)
        columns = {name: to_array(table.column(name)) for name in stored}
        vectors = {name for name in stored if self.features[name].get("names")}  # one element is stored as a scalar
        columns = {name: values.reshape(len(values), -1) if name in vectors else values for name, values in columns.items()}
        for feature, pose in POSE_OF.items():
            names = element_names(self.features, feature) if feature in columns else ()
            if set(WRIST_NAMES) <= set(names):
                values, joints = columns[feature], self.joint_names(feature)
                columns[feature] = values[:, [names.index(name) for name in joints]]
                columns[pose] = values[:, [names.index(name) for name in WRIST_NAMES]]
        return columns

    def joint_names(self, feature: str) -> tuple[str, ...]:
        """Names of the joints in the state or the action."""
        return joint_names(self.features, feature)

    def images(self, episode: int, camera: str, resize: Resize | None = None) -> Iterator[np.ndarray]:
        """Images of one camera of an episode, each (H, W, 3) uint8 RGB.

        Args:
            resize: Conversion of the images to one size; None keeps their size.

        Raises:
            ArtifactError: The camera does not exist, or the video is damaged.
        """
        path, first = self.image_file(episode, camera)
        if is_video(self.features[f"{IMAGES}{camera}"]):
            return decode_images(path, first, self.episodes[episode]["length"], self.fps, resize)
        return self._stored_images(path, episode, camera, resize)

    def image_file(self, episode: int, camera: str) -> tuple[Path, int]:
        """File with the images of an episode, a video or a data file, and the index of the episode's first image in it.

        Raises:
            ArtifactError: The camera does not exist.
        """
        if camera not in self.cameras:
            raise ArtifactError(f"{self.root}: no camera {camera!r}; {available(self.cameras)}")
        key, row = f"{IMAGES}{camera}", self.episodes[episode]
        if not is_video(self.features[key]):
            return self._data_file(episode), int(row["dataset_from_index"])
        indices = {name: int(row[f"videos/{key}/{name}"]) for name in ("chunk_index", "file_index")}
        path = inside(self.root, VIDEO.format(video_key=key, **indices))
        return path, round(row[f"videos/{key}/from_timestamp"] * self.fps)

    def _stored_images(self, path: Path, episode: int, camera: str, resize: Resize | None) -> Iterator[np.ndarray]:
        for stored in self._table(episode, [f"{IMAGES}{camera}"]).column(0):
            try:
                image = compressed_to_rgb(stored["bytes"].as_py() or b"", "")
            except ObservationRefused as error:
                raise ArtifactError(f"{path}: episode {episode}: {camera}: {error}") from error
            yield resize(image) if resize else image

    def _data_file(self, episode: int) -> Path:
        row = self.episodes[episode]
        return self.root / DATA.format(chunk_index=int(row["data/chunk_index"]), file_index=int(row["data/file_index"]))

    def _table(self, episode: int, columns: list[str]) -> pa.Table:
        """Columns of an episode; other packages may store several episodes in a row group."""
        path, length = self._data_file(episode), self.episodes[episode]["length"]
        try:
            table = pq.read_table(path, columns=columns, filters=[("episode_index", "=", episode)], partitioning=None)
        except (OSError, pa.ArrowException) as error:
            raise ArtifactError(f"{path}: cannot be read: {error}; {REMEDY}") from error
        if len(table) != length:
            raise ArtifactError(f"{path}: episode {episode}: expected {length} frames, got {len(table)}; {REMEDY}")
        return table

    def _episode_files(self) -> list[Path]:
        files = sorted((self.root / EPISODES.split("/chunk")[0]).glob("*/*.parquet"))
        if not files:
            raise ArtifactError(f"{self.root}: no episodes; {REMEDY}")
        return files

    @staticmethod
    def _footer(file: Path) -> pq.FileMetaData:
        try:
            return pq.read_metadata(file)
        except (OSError, pa.ArrowException) as error:
            raise ArtifactError(f"{file}: cannot be read: {error}; {REMEDY}") from error

    def _read_tasks(self) -> list[str]:
        table = pq.read_table(self.root / TASKS).to_pydict()
        (texts,) = (values for name, values in table.items() if name != "task_index")
        return [text for _, text in sorted(zip(table["task_index"], texts))]
