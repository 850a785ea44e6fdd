"""Writer of LeRobotDataset v3.0: appends staged episodes to a data set atomically."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from itertools import chain
from pathlib import Path
from typing import Any, TextIO

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from latent_policy_ros.common.errors import ArtifactError
from latent_policy_ros.data.lerobot.feature_statistics import AggregatedStatistics, statistics_to_json, vector_statistics
from latent_policy_ros.data.lerobot.layout import (
    DATA,
    DATA_MB,
    DEFAULT_FEATURES,
    EPISODES,
    INFO,
    MANIFEST,
    STATS,
    TASKS,
    VIDEO,
    VIDEO_MB,
    data_schema,
    info_content,
    is_video,
    next_indices,
    to_table,
)  # fmt: skip
from latent_policy_ros.data.lerobot.manifest import ManifestWriter
from latent_policy_ros.data.lerobot.reader import LeRobotReader
from latent_policy_ros.data.lerobot.staging import DatasetIdentity, StagedEpisode
from latent_policy_ros.data.lerobot.video import VideoConcatenation

MB = 1 << 20
FORMAT = "latent-policy-dataset/1"
NEW, OLD = ".{}.new", ".{}.old"
MAX_ROW_GROUPS = 250  # of a data file; its writer keeps some kB of each, which counts when episodes are short
ROWS_AT_ONCE = 250  # episodes whose rows are written together; readers keep some kB of each such group
INDEX_COLUMNS = ("index", "episode_index", "task_index")  # they depend on the position of an episode in its data set


def recover_dataset(root: Path) -> None:
    """Restore a data set after a crash of ``append_episodes``: to its state before the call, or after it."""
    new, old = root.with_name(NEW.format(root.name)), root.with_name(OLD.format(root.name))
    if old.is_dir() and not root.is_dir():
        old.rename(root)
    for rest in (new, old):
        shutil.rmtree(rest, ignore_errors=True)


def append_episodes(root: Path, episodes: Iterable[StagedEpisode]) -> None:
    """Append episodes to the data set ``root`` in the given order; the data set is created if it does not exist.

    Memory does not depend on the number of episodes: each is written before the next one is taken.

    Raises:
        ArtifactError: An episode is incompatible with the data set or with the first one; nothing is changed.
    """
    following = iter(episodes)
    first = next(following, None)
    if first is None:
        return
    recover_dataset(root)
    old = LeRobotReader(root) if root.is_dir() else None
    new = root.with_name(NEW.format(root.name))
    if old:
        shutil.copytree(root, new, copy_function=_link)
    try:
        with _Appending(new, first, old) as writer:
            for episode in chain((first,), following):
                reference = old or first
                if reason := incompatibility(episode, reference.features, reference.identity):
                    raise ArtifactError(f"{root}: episode of {episode.metadata.get('source', episode.folder)}: {reason}")
                writer.add(episode)
            writer.finish()
    except BaseException:
        shutil.rmtree(new, ignore_errors=True)
        raise
    if old:
        previous = root.with_name(OLD.format(root.name))
        root.rename(previous)
        new.rename(root)
        shutil.rmtree(previous)
    else:
        new.rename(root)


def _link(source: str, target: str) -> None:
    """Hard-link a file where possible: data and video files never change after they are written."""
    try:
        os.link(source, target)
    except OSError:
        shutil.copy2(source, target)


def incompatibility(episode: StagedEpisode, features: Mapping[str, Any], identity: DatasetIdentity) -> str:
    """Why an episode cannot be part of a data set with these features and this identity; empty if it can."""
    for name, value in identity.to_dict().items():
        if episode.identity.to_dict()[name] != value:
            return f"{name}: expected {value}, as in the data set, got {episode.identity.to_dict()[name]}"
    for name in sorted({*features, *episode.features} - set(DEFAULT_FEATURES)):
        got, expected = episode.features.get(name), features.get(name)
        if got is None or expected is None:
            return f"{name} is {'missing' if got is None else 'new'}; all episodes of a data set have the same features"
        if (got["shape"], got["names"]) != (expected["shape"], expected["names"]):
            return (
                f"{name}: expected {expected['shape']} {expected['names']}, as in the data set, got {got['shape']} {got['names']}"
            )
    return ""


class _Appending:
    """The files of a data set to which episodes are appended.

    Args:
        new: Folder of the data set; it holds the files of the episodes so far.
        first: The first episode to append.
        old: Reader of the data set so far.
    """

    def __init__(self, new: Path, first: StagedEpisode, old: LeRobotReader | None) -> None:
        self._new, self._old, self._identity = new, old, first.identity
        self._features = {**first.features, **DEFAULT_FEATURES}
        self._count, self._frames = (len(old), old.frames) if old else (0, 0)
        self._tasks = list(old.tasks) if old else []
        self._statistics = AggregatedStatistics(old.stats if old else None)
        with ExitStack() as stack:
            self._data = stack.enter_context(_DataFiles(new, data_schema(self._features)))
            videos = (name for name, feature in self._features.items() if is_video(feature))
            self._videos = {name: stack.enter_context(_VideoFiles(new, name, first.identity.fps)) for name in videos}
            self._rows = stack.enter_context(_EpisodeFile(new))
            self._manifest_file = stack.enter_context(_replaced(new / MANIFEST))
            self._manifest = ManifestWriter(self._manifest_file, {"format": FORMAT, **first.identity.to_dict()})
            for metadata in old.read_metadata() if old else ():
                self._manifest.add(metadata)
            self._files = stack.pop_all()

    def __enter__(self) -> _Appending:
        return self

    def __exit__(self, *_: object) -> None:
        self._files.close()

    def add(self, episode: StagedEpisode) -> None:
        """Append one episode."""
        if episode.task not in self._tasks:
            self._tasks.append(episode.task)
        first, self._frames = self._frames, self._frames + episode.length
        row = {"episode_index": self._count, "tasks": [episode.task], "length": episode.length,
               "dataset_from_index": first, "dataset_to_index": self._frames}  # fmt: skip
        index = np.arange(first, self._frames)
        values = (index, np.full_like(index, self._count), np.full_like(index, self._tasks.index(episode.task)))
        indices = dict(zip(INDEX_COLUMNS, values))
        row |= self._data.add({**episode.columns(), **indices})
        for name, files in self._videos.items():
            row |= files.add(episode.video(name), episode.length)
        statistics = {**episode.stats, **{name: vector_statistics(column) for name, column in indices.items()}}
        self._statistics.add(statistics)
        content = statistics_to_json(statistics)
        row |= {f"stats/{key}/{name}": value for key, values in content.items() for name, value in values.items()}
        self._rows.add(row)
        self._manifest.add({"key": episode.key, **episode.metadata})
        self._count += 1

    def finish(self) -> None:
        """Complete all files."""
        self._manifest.finish()
        self._files.close()
        _write_tasks(self._new / TASKS, self._tasks)
        _write_json(self._new / STATS, statistics_to_json(self._statistics.result))
        embodiment, fps = self._identity.embodiment, self._identity.fps
        info = info_content(embodiment, fps, self._features, self._count, self._frames, len(self._tasks))
        _write_json(self._new / INFO, info)


class _DataFiles:
    """Parquet files of vectors and scalars: one row group for each episode, files of bounded size."""

    def __init__(self, new: Path, schema: pa.Schema) -> None:
        self._new, self._schema = new, schema
        self._place = _next_file(new, DATA)
        self._writer: pq.ParquetWriter | None = None
        self._frames = self._groups = 0

    def __enter__(self) -> _DataFiles:
        return self

    def __exit__(self, *_: object) -> None:
        self._close()

    def add(self, columns: Mapping[str, np.ndarray]) -> dict[str, Any]:
        """Write the frames of an episode; returns their place."""
        length = len(columns[INDEX_COLUMNS[0]])
        if self._writer and self._is_full(length):
            self._close()
            self._place = next_indices(*self._place)
        if self._writer is None:
            path = _path(self._new, DATA, *self._place)
            self._writer = pq.ParquetWriter(path, self._schema, compression="snappy", use_dictionary=True)
        self._writer.write_table(to_table(columns, self._schema), row_group_size=length)
        self._frames += length
        self._groups += 1
        return {"data/chunk_index": self._place[0], "data/file_index": self._place[1]}

    def _is_full(self, length: int) -> bool:
        size = _path(self._new, DATA, *self._place).stat().st_size
        return self._groups >= MAX_ROW_GROUPS or size + size / self._frames * length >= DATA_MB * MB

    def _close(self) -> None:
        if self._writer:
            self._writer.close()
        self._writer, self._frames, self._groups = None, 0, 0


class _VideoFiles:
    """Videos of one camera, joined to files of bounded size."""

    def __init__(self, new: Path, feature: str, fps: int) -> None:
        self._new, self._feature, self._fps = new, feature, fps
        self._place = _next_file(new, VIDEO, video_key=feature)
        self._file: VideoConcatenation | None = None
        self._size = self._frames = 0

    def __enter__(self) -> _VideoFiles:
        return self

    def __exit__(self, *_: object) -> None:
        self._close()

    def add(self, video: Path, length: int) -> dict[str, Any]:
        """Append a video of that many images; returns its place."""
        size = video.stat().st_size
        if self._file and self._size + size >= VIDEO_MB * MB:
            self._close()
            self._place = next_indices(*self._place)
        if self._file is None:
            self._file = VideoConcatenation(_path(self._new, VIDEO, *self._place, video_key=self._feature), self._fps)
        self._file.add(video)
        first, self._frames, self._size = self._frames, self._frames + length, self._size + size
        place = {"chunk_index": self._place[0], "file_index": self._place[1],
                 "from_timestamp": first / self._fps, "to_timestamp": self._frames / self._fps}  # fmt: skip
        return {f"videos/{self._feature}/{name}": value for name, value in place.items()}

    def _close(self) -> None:
        if self._file:
            self._file.close()
        self._file, self._size, self._frames = None, 0, 0


class _EpisodeFile:
    """Parquet file with one row for each episode."""

    def __init__(self, new: Path) -> None:
        self._place = _next_file(new, EPISODES)
        self._path = _path(new, EPISODES, *self._place)
        self._rows: list[dict[str, Any]] = []
        self._writer: pq.ParquetWriter | None = None

    def __enter__(self) -> _EpisodeFile:
        return self

    def __exit__(self, *_: object) -> None:
        if self._rows:
            self._write()
        if self._writer:
            self._writer.close()

    def add(self, row: Mapping[str, Any]) -> None:
        """Append the row of an episode."""
        chunk, file = self._place
        self._rows.append({**row, "meta/episodes/chunk_index": chunk, "meta/episodes/file_index": file})
        if len(self._rows) == ROWS_AT_ONCE:
            self._write()

    def _write(self) -> None:
        table = pa.Table.from_pylist(self._rows, self._writer.schema if self._writer else None)
        self._writer = self._writer or pq.ParquetWriter(self._path, table.schema, compression="snappy")
        self._writer.write_table(table)
        self._rows = []


@contextmanager
def _replaced(path: Path) -> Iterator[TextIO]:
    """A new text file at ``path``; the one before stays as it is where it has other links."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.unlink(missing_ok=True)
    with path.open("w", encoding="utf-8") as file:
        yield file


def _next_file(root: Path, template: str, **names: str) -> tuple[int, int]:
    chunk = file = 0
    while (root / template.format(chunk_index=chunk, file_index=file, **names)).exists():
        chunk, file = next_indices(chunk, file)
    return chunk, file


def _path(root: Path, template: str, chunk: int, file: int, **names: str) -> Path:
    path = root / template.format(chunk_index=chunk, file_index=file, **names)
    path.parent.mkdir(parents=True, exist_ok=True)
    return path


def _write_tasks(path: Path, tasks: Sequence[str]) -> None:
    """Write one row per task. LeRobot expects the description as the index of a pandas frame."""
    index = "__index_level_0__"
    column = {"field_name": None, "metadata": None, "numpy_type": "int64", "pandas_type": "int64"}
    frame = {
        "index_columns": [index],
        "column_indexes": [{"name": None, "field_name": None, "pandas_type": "unicode", "numpy_type": "object",
                            "metadata": {"encoding": "UTF-8"}}],
        "columns": [{**column, "name": "task_index", "field_name": "task_index"},
                    {**column, "name": None, "field_name": index, "pandas_type": "unicode", "numpy_type": "object"}],
        "creator": {"library": "pyarrow", "version": pa.__version__},
        "pandas_version": "2.2.0",
    }  # fmt: skip
    schema = pa.schema([("task_index", pa.int64()), (index, pa.string())], metadata={"pandas": json.dumps(frame)})
    columns = [pa.array(range(len(tasks)), pa.int64()), pa.array(tasks, pa.string())]
    path.unlink(missing_ok=True)
    pq.write_table(pa.Table.from_arrays(columns, schema=schema), path)


def _write_json(path: Path, content: Any) -> None:
    with _replaced(path) as file:
        file.write(json.dumps(content, indent=4, ensure_ascii=False))
