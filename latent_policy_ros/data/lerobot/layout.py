"""The layout of LeRobotDataset v3.0: names, paths and columns, in one place for writer and reader."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pyarrow as pa

VERSION = "v3.0"
INFO, STATS, TASKS = "meta/info.json", "meta/stats.json", "meta/tasks.parquet"
FILE = "chunk-{chunk_index:03d}/file-{file_index:03d}"
DATA, EPISODES = f"data/{FILE}.parquet", f"meta/episodes/{FILE}.parquet"
VIDEO = f"videos/{{video_key}}/{FILE}.mp4"
CHUNK_SIZE, DATA_MB, VIDEO_MB = 1000, 100, 200
MANIFEST = "meta/latent_policy.json"  # ours, beside the format's own files

STATE, ACTION = "observation.state", "action"
WRIST, WRIST_ACTION = "observation.wrist", "action.wrist"
DONE, SUCCESS = "next.done", "next.success"
IMAGES = "observation.images."
POSE_NAMES = ("x", "y", "z", "qx", "qy", "qz", "qw")
ARROW = {"float32": pa.float32(), "int64": pa.int64(), "bool": pa.bool_()}

#: What every data set has, after its own features.
DEFAULTS: dict[str, dict[str, Any]] = {
    "timestamp": {"dtype": "float32", "shape": [1], "names": None},
    "frame_index": {"dtype": "int64", "shape": [1], "names": None},
    "episode_index": {"dtype": "int64", "shape": [1], "names": None},
    "index": {"dtype": "int64", "shape": [1], "names": None},
    "task_index": {"dtype": "int64", "shape": [1], "names": None},
}


def vector(names: Sequence[str]) -> dict[str, Any]:
    """A feature of named numbers."""
    return {"dtype": "float32", "shape": [len(names)], "names": list(names)}


def flag() -> dict[str, Any]:
    """A feature that is true or false."""
    return {"dtype": "bool", "shape": [1], "names": None}


def video(height: int, width: int, fps: int, pixel_format: str) -> dict[str, Any]:
    """A camera."""
    told = {
        "video.height": height, "video.width": width, "video.codec": "h264", "video.pix_fmt": pixel_format,
        "video.is_depth_map": False, "video.fps": fps, "video.channels": 3, "has_audio": False,
    }  # fmt: skip
    return {"dtype": "video", "shape": [height, width, 3], "names": ["height", "width", "channels"], "info": told}


def is_video(feature: Mapping[str, Any]) -> bool:
    """Whether a feature is kept as video."""
    return feature["dtype"] == "video"


def schema(features: Mapping[str, Mapping[str, Any]]) -> pa.Schema:
    """Columns of the data files."""
    fields = []
    for name, feature in features.items():
        if not is_video(feature):
            kind, (size,) = ARROW[feature["dtype"]], feature["shape"]
            fields.append(pa.field(name, kind if size == 1 else pa.list_(kind, size)))
    return pa.schema(fields)


def info(embodiment: str, fps: int, features: Mapping[str, Any], episodes: int, frames: int, tasks: int) -> dict[str, Any]:
    """Content of ``meta/info.json``."""
    return {
        "codebase_version": VERSION,
        "robot_type": embodiment,
        "total_episodes": episodes,
        "total_frames": frames,
        "total_tasks": tasks,
        "chunks_size": CHUNK_SIZE,
        "data_files_size_in_mb": DATA_MB,
        "video_files_size_in_mb": VIDEO_MB,
        "fps": fps,
        "splits": {"train": f"0:{episodes}"},
        "data_path": DATA,
        "video_path": VIDEO if any(map(is_video, features.values())) else None,
        "features": dict(features),
    }


def after(chunk: int, file: int) -> tuple[int, int]:
    """Indices of the next file."""
    return (chunk + 1, 0) if file == CHUNK_SIZE - 1 else (chunk, file + 1)


def table_of(columns: Mapping[str, np.ndarray], form: pa.Schema) -> pa.Table:
    """Arrays (T, d) or (T,) as columns."""
    made = []
    for field in form:
        values = columns[field.name]
        flat = pa.array(np.ascontiguousarray(values).ravel(), getattr(field.type, "value_type", field.type))
        listed = pa.types.is_fixed_size_list(field.type)
        made.append(pa.FixedSizeListArray.from_arrays(flat, field.type.list_size) if listed else flat)
    return pa.Table.from_arrays(made, schema=form)


def array_of(column: pa.ChunkedArray) -> np.ndarray:
    """A column as (T, d) or (T,)."""
    whole = column.combine_chunks()
    if pa.types.is_fixed_size_list(whole.type):
        return whole.flatten().to_numpy().reshape(len(whole), -1)
    return whole.to_numpy(zero_copy_only=False)
