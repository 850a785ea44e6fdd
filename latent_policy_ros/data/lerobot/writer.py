"""Writer of LeRobotDataset v3.0: appends staged episodes to a data set atomically."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from latent_policy_ros.common.errors import ArtifactError
from latent_policy_ros.data.lerobot.feature_statistics import Stats, aggregate_statistics, statistics_to_json, vector_statistics
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
from latent_policy_ros.data.lerobot.reader import LeRobotReader
from latent_policy_ros.data.lerobot.staging import DatasetIdentity, StagedEpisode
from latent_policy_ros.data.lerobot.video import concatenate

MB = 1 << 20
FORMAT = "latent-policy-dataset/1"
NEW, OLD = ".{}.new", ".{}.old"
INDEX_COLUMNS = ("index", "episode_index", "task_index")  # they depend on the position of an episode in its data set


def recover_dataset(root: Path) -> None:
    """Restore a data set after a crash of ``append_episodes``: to its state before the call, or after it."""
    new, old = root.with_name(NEW.format(root.name)), root.with_name(OLD.format(root.name))
    if old.is_dir() and not root.is_dir():
        old.rename(root)
    for rest in (new, old):
        shutil.rmtree(rest, ignore_errors=True)


def append_episodes(root: Path, episodes: Sequence[StagedEpisode]) -> None:
    """Append episodes to the data set ``root`` in the given order; the data set is created if it does not exist.

    Raises:
        ArtifactError: An episode is incompatible with the data set or with the other episodes; nothing is changed.
    """
    if not episodes:
        return
    recover_dataset(root)
    old = LeRobotReader(root) if root.is_dir() else None
    features = {**episodes[0].features, **DEFAULT_FEATURES}
    _check(root, episodes, old)
    new = root.with_name(NEW.format(root.name))
    if old:
        shutil.copytree(root, new, copy_function=_link)
    _write(new, episodes, features, old)
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


def _check(root: Path, episodes: Sequence[StagedEpisode], old: LeRobotReader | None) -> None:
    features = old.features if old else episodes[0].features
    identity = old.identity if old else episodes[0].identity
    for episode in episodes:
        if reason := incompatibility(episode, features, identity):
            raise ArtifactError(f"{root}: episode of {episode.metadata.get('source', episode.folder)}: {reason}")


def _write(new: Path, episodes: Sequence[StagedEpisode], features: dict[str, Any], old: LeRobotReader | None) -> None:
    count, frames = (len(old), old.frames) if old else (0, 0)
    tasks = list(old.tasks) if old else []
    rows: list[dict[str, Any]] = []
    meta_file = _next_file(new, EPISODES)
    for episode in episodes:
        if episode.task not in tasks:
            tasks.append(episode.task)
        number, first = count + len(rows), frames
        frames += episode.length
        rows.append(
            {"episode_index": number, "tasks": [episode.task], "length": episode.length,
             "dataset_from_index": first, "dataset_to_index": frames}
        )  # fmt: skip
    stats = _write_data(new, episodes, rows, features, tasks)
    for feature in (name for name, feature in features.items() if is_video(feature)):
        _write_videos(new, episodes, rows, feature)
    for row, of_episode in zip(rows, stats):
        content = statistics_to_json(of_episode)
        row.update({f"stats/{key}/{name}": value for key, values in content.items() for name, value in values.items()})
        row["meta/episodes/chunk_index"], row["meta/episodes/file_index"] = meta_file
    path = _path(new, EPISODES, *meta_file)
    pq.write_table(pa.Table.from_pylist(rows), path, compression="snappy")
    _write_tasks(new / TASKS, tasks)
    if old:
        stats = [old.stats, *stats]
    _write_json(new / STATS, statistics_to_json(aggregate_statistics(stats)))
    identity = episodes[0].identity
    metadata = (old.episode_metadata if old else []) + [{"key": e.key, **e.metadata} for e in episodes]
    _write_json(new / MANIFEST, {"format": FORMAT, **identity.to_dict(), "episodes": metadata})
    _write_json(new / INFO, info_content(identity.embodiment, identity.fps, features, count + len(rows), frames, len(tasks)))


def _write_data(
    new: Path, episodes: Sequence[StagedEpisode], rows: list[dict[str, Any]], features: Mapping[str, Any], tasks: list[str]
) -> list[dict[str, Stats]]:
    """Write vectors and scalars, one row group per episode; returns the statistics of each episode with ``INDEX_COLUMNS``."""
    schema, all_stats = data_schema(features), []
    chunk, file = _next_file(new, DATA)
    writer, per_frame, frames = None, 0.0, 0
    try:
        for episode, row in zip(episodes, rows):
            path = _path(new, DATA, chunk, file)
            size = path.stat().st_size if writer else 0
            per_frame = size / frames if frames else 0.0
            if writer and size + per_frame * episode.length >= DATA_MB * MB:
                writer.close()
                writer, frames = None, 0
                chunk, file = next_indices(chunk, file)
                path = _path(new, DATA, chunk, file)
            writer = writer or pq.ParquetWriter(path, schema, compression="snappy", use_dictionary=True)
            index = np.arange(row["dataset_from_index"], row["dataset_to_index"])
            values = (index, np.full_like(index, row["episode_index"]), np.full_like(index, tasks.index(episode.task)))
            indices = dict(zip(INDEX_COLUMNS, values))
            writer.write_table(to_table({**episode.columns(), **indices}, schema), row_group_size=len(index))
            frames += episode.length
            row["data/chunk_index"], row["data/file_index"] = chunk, file
            all_stats.append({**episode.stats, **{name: vector_statistics(column) for name, column in indices.items()}})
    finally:
        if writer:
            writer.close()
    return all_stats


def _write_videos(new: Path, episodes: Sequence[StagedEpisode], rows: list[dict[str, Any]], feature: str) -> None:
    """Concatenate the videos of one camera to files of bounded size."""
    chunk, file = _next_file(new, VIDEO, video_key=feature)
    for group in _groups([episode.video(feature) for episode in episodes]):
        start = 0
        for i in group:
            fps, prefix = episodes[i].identity.fps, f"videos/{feature}"
            rows[i][f"{prefix}/chunk_index"], rows[i][f"{prefix}/file_index"] = chunk, file
            rows[i][f"{prefix}/from_timestamp"] = start / fps
            start += episodes[i].length
            rows[i][f"{prefix}/to_timestamp"] = start / fps
        concatenate([episodes[i].video(feature) for i in group], _path(new, VIDEO, chunk, file, video_key=feature), fps)
        chunk, file = next_indices(chunk, file)


def _groups(files: Sequence[Path]) -> Iterator[list[int]]:
    """Indices of consecutive files, grouped so that a group stays below ``VIDEO_MB`` where possible."""
    group: list[int] = []
    size = 0
    for i, file in enumerate(files):
        added = file.stat().st_size
        if group and size + added >= VIDEO_MB * MB:
            yield group
            group, size = [], 0
        group.append(i)
        size += added
    yield group


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
    path.unlink(missing_ok=True)  # it may be a hard link to the previous version
    path.write_text(json.dumps(content, indent=4, ensure_ascii=False), encoding="utf-8")
