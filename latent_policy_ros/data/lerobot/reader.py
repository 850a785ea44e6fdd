"""Reading a LeRobotDataset v3.0: numbers, images, and what is told of each episode."""

from __future__ import annotations

from collections.abc import Iterator
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from latent_policy_ros.common.artifacts import load_json
from latent_policy_ros.common.errors import ArtifactError, available
from latent_policy_ros.data.lerobot.feature_statistics import Stats, arrays
from latent_policy_ros.data.lerobot.layout import EPISODES, IMAGES, INFO, MANIFEST, STATS, TASKS, VERSION, array_of, is_video
from latent_policy_ros.data.lerobot.staging import Identity
from latent_policy_ros.data.lerobot.video import decode

REMEDY = "convert or generate it again"


class LeRobotReader:
    """A data set on disk.

    Args:
        root: Its folder.

    Raises:
        ArtifactError: It is not one, of another version, or incomplete.
    """

    def __init__(self, root: Path | str) -> None:
        self.root = Path(root)
        self.info = load_json(self.root / INFO, ArtifactError, REMEDY)
        if self.info.get("codebase_version") != VERSION:
            got = self.info.get("codebase_version")
            raise ArtifactError(f"{self.root / INFO}: codebase_version: expected {VERSION!r}, got {got!r}")
        self.features: dict[str, Any] = self.info["features"]
        self.fps, self.frames = int(self.info["fps"]), int(self.info["total_frames"])
        self.episodes = self._read_episodes()
        self.tasks = self._read_tasks()
        if len(self.episodes) != self.info["total_episodes"]:
            raise ArtifactError(f"{self.root}: {len(self.episodes)} episodes, expected {self.info['total_episodes']}; {REMEDY}")

    def __len__(self) -> int:
        return len(self.episodes)

    @property
    def cameras(self) -> tuple[str, ...]:
        """Names of the cameras."""
        return tuple(name[len(IMAGES):] for name, feature in self.features.items() if is_video(feature))  # fmt: skip

    @cached_property
    def stats(self) -> dict[str, Stats]:
        """Of all episodes together."""
        return arrays(load_json(self.root / STATS, ArtifactError, REMEDY))

    @cached_property
    def manifest(self) -> dict[str, Any]:
        """What this package told of the data set; ArtifactError if another made it."""
        return load_json(self.root / MANIFEST, ArtifactError, "it was not made by latent-policy dataset")

    @cached_property
    def identity(self) -> Identity:
        """What all episodes have in common; ArtifactError if another package made the data set."""
        try:
            return Identity.of(self.manifest)
        except KeyError as error:
            raise ArtifactError(f"{self.root / MANIFEST}: {error} is missing; {REMEDY}") from error

    @cached_property
    def about(self) -> list[dict[str, Any]]:
        """Of each episode: where it comes from."""
        return self.manifest["episodes"]

    def columns(self, episode: int) -> dict[str, np.ndarray]:
        """Vectors (T, d) and scalars (T,) of one episode."""
        row = self.episodes[episode]
        path = self.root / self.info["data_path"].format(chunk_index=row["data/chunk_index"], file_index=row["data/file_index"])
        try:
            with pq.ParquetFile(path) as file:
                table = file.read_row_group(self._row_group(file, episode))
        except (OSError, pa.ArrowException) as error:
            raise ArtifactError(f"{path}: cannot be read: {error}; {REMEDY}") from error
        columns = {name: array_of(table.column(name)) for name in table.column_names}
        named = {name for name, feature in self.features.items() if feature["names"]}  # one number alone is kept as a scalar
        return {name: values.reshape(len(values), -1) if name in named else values for name, values in columns.items()}

    def images(self, episode: int, camera: str, size: tuple[int, int] | None = None) -> Iterator[np.ndarray]:
        """All images of one camera, (H, W, 3) uint8 RGB, fitted to ``size`` (height, width) if it is given.

        Raises:
            ArtifactError: No such camera, or the video is damaged.
        """
        if camera not in self.cameras:
            raise ArtifactError(f"{self.root}: no camera {camera!r}; {available(self.cameras)}")
        key, row = f"{IMAGES}{camera}", self.episodes[episode]
        names = {name: row[f"videos/{key}/{name}"] for name in ("chunk_index", "file_index")}
        path = self.root / self.info["video_path"].format(video_key=key, **names)
        first = round(row[f"videos/{key}/from_timestamp"] * self.fps)
        return decode(path, first, row["length"], self.fps, size)

    def _row_group(self, file: pq.ParquetFile, episode: int) -> int:
        """Episodes of one file follow each other, one row group each."""
        row = self.episodes[episode]
        place = row["data/chunk_index"], row["data/file_index"]
        first = next(r for r in self.episodes if (r["data/chunk_index"], r["data/file_index"]) == place)
        group = episode - first["episode_index"]
        if group >= file.num_row_groups or file.metadata.row_group(group).num_rows != row["length"]:
            raise ArtifactError(f"{self.root}: episode {episode} is not a row group of its own; {REMEDY}")
        return group

    def _read_episodes(self) -> list[dict[str, Any]]:
        files = sorted((self.root / EPISODES.split("/chunk")[0]).glob("*/*.parquet"))
        if not files:
            raise ArtifactError(f"{self.root}: no episodes; {REMEDY}")
        rows: list[dict[str, Any]] = []
        for file in files:
            try:
                wanted = [name for name in pq.read_schema(file).names if not name.startswith("stats/")]
                rows += pq.read_table(file, columns=wanted).to_pylist()
            except (OSError, pa.ArrowException) as error:
                raise ArtifactError(f"{file}: cannot be read: {error}; {REMEDY}") from error
        return sorted(rows, key=lambda row: row["episode_index"])

    def _read_tasks(self) -> list[str]:
        table = pq.read_table(self.root / TASKS).to_pydict()
        (texts,) = (values for name, values in table.items() if name != "task_index")
        return [text for _, text in sorted(zip(table["task_index"], texts))]
