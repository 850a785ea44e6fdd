"""Layout of LeRobotDataset v3.0: file names, features and columns, shared by writer and reader."""

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
MANIFEST = "meta/latent_policy.json"  # written by this package; LeRobot ignores it

STATE, ACTION = "observation.state", "action"
WRIST, WRIST_ACTION = "observation.wrist", "action.wrist"
DONE, SUCCESS = "next.done", "next.success"
IMAGES = "observation.images."
POSE_NAMES = ("x", "y", "z", "qx", "qy", "qz", "qw")
#: Layouts of a data set: wrist poses at the end of state and action, as LeRobot's own policies need them, or as features.
WHOLE, SEPARATE = LAYOUTS = "whole", "separate"
POSE_OF = {STATE: WRIST, ACTION: WRIST_ACTION}  # joints: wrist pose
WRIST_NAMES = tuple(f"wrist.{name}" for name in POSE_NAMES)  # of a wrist pose in a whole vector
ARROW = {"float32": pa.float32(), "int64": pa.int64(), "bool": pa.bool_()}

#: Features of every data set; they follow its own features.
DEFAULT_FEATURES: dict[str, dict[str, Any]] = {
    "timestamp": {"dtype": "float32", "shape": [1], "names": None},
    "frame_index": {"dtype": "int64", "shape": [1], "names": None},
    "episode_index": {"dtype": "int64", "shape": [1], "names": None},
    "index": {"dtype": "int64", "shape": [1], "names": None},
    "task_index": {"dtype": "int64", "shape": [1], "names": None},
}


def vector_feature(names: Sequence[str]) -> dict[str, Any]:
    """Feature of a float32 vector with one name for each element."""
    return {"dtype": "float32", "shape": [len(names)], "names": list(names)}


def flag_feature() -> dict[str, Any]:
    """Feature of one bool."""
    return {"dtype": "bool", "shape": [1], "names": None}


def video_feature(height: int, width: int, fps: int, pixel_format: str) -> dict[str, Any]:
    """Feature of a camera."""
    encoding = {
        "video.height": height, "video.width": width, "video.codec": "h264", "video.pix_fmt": pixel_format,
        "video.is_depth_map": False, "video.fps": fps, "video.channels": 3, "has_audio": False,
    }  # fmt: skip
    return {"dtype": "video", "shape": [height, width, 3], "names": ["height", "width", "channels"], "info": encoding}


def is_video(feature: Mapping[str, Any]) -> bool:
    """Whether a feature is stored as video."""
    return feature["dtype"] == "video"


def joined(vectors: Mapping[str, tuple[Sequence[str], np.ndarray]]) -> dict[str, tuple[Sequence[str], np.ndarray]]:
    """Vectors, {feature: (names (d,), values (T, d))}, with wrist poses at the end of state and action."""
    whole = dict(vectors)
    for joints, pose in POSE_OF.items():
        if joints in whole and pose in whole:
            names, values = whole[joints]
            whole[joints] = (*names, *WRIST_NAMES), np.concatenate([values, whole.pop(pose)[1]], axis=1)
    return whole


def element_names(features: Mapping[str, Mapping[str, Any]], feature: str) -> tuple[str, ...]:
    """Names of the elements of a vector; empty without names. Other packages may group them: ``{"motors": [...]}``."""
    names = features[feature].get("names") or ()
    return tuple(name for group in names.values() for name in group) if isinstance(names, Mapping) else tuple(names)


def joint_names(features: Mapping[str, Mapping[str, Any]], feature: str) -> tuple[str, ...]:
    """Names of the joints in the state or the action of a data set of either layout."""
    names = element_names(features, feature)
    return tuple(name for name in names if name not in WRIST_NAMES) if set(WRIST_NAMES) <= set(names) else names


def is_depth(feature: Mapping[str, Any]) -> bool:
    """Whether a feature is a video of depth images."""
    return is_video(feature) and bool((feature.get("info") or {}).get("is_depth_map"))


def is_camera(name: str, feature: Mapping[str, Any]) -> bool:
    """Whether a feature holds the RGB images of a camera, as video or as single images in the data files."""
    return name.startswith(IMAGES) and (feature["dtype"] == "image" or (is_video(feature) and not is_depth(feature)))


def data_schema(features: Mapping[str, Mapping[str, Any]]) -> pa.Schema:
    """Arrow schema of the data files: one column for each feature that is not a video."""
    fields = []
    for name, feature in features.items():
        if not is_video(feature):
            dtype, (size,) = ARROW[feature["dtype"]], feature["shape"]
            fields.append(pa.field(name, dtype if size == 1 else pa.list_(dtype, size)))
    return pa.schema(fields)


def info_content(embodiment: str, fps: int, features: Mapping[str, Any], episodes: int, frames: int, tasks: int) -> dict[str, Any]:
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


def next_indices(chunk: int, file: int) -> tuple[int, int]:
    """Chunk and file index that follow the given ones."""
    return (chunk + 1, 0) if file == CHUNK_SIZE - 1 else (chunk, file + 1)


def to_table(columns: Mapping[str, np.ndarray], schema: pa.Schema) -> pa.Table:
    """Convert arrays (T, d) or (T,) to the columns of an Arrow table."""
    arrays = []
    for field in schema:
        values = columns[field.name]
        flat = pa.array(np.ascontiguousarray(values).ravel(), getattr(field.type, "value_type", field.type))
        is_list = pa.types.is_fixed_size_list(field.type)
        arrays.append(pa.FixedSizeListArray.from_arrays(flat, field.type.list_size) if is_list else flat)
    return pa.Table.from_arrays(arrays, schema=schema)


def to_array(column: pa.ChunkedArray) -> np.ndarray:
    """Convert a column of an Arrow table to an array (T, d) or (T,)."""
    combined = column.combine_chunks()
    if pa.types.is_fixed_size_list(combined.type) or pa.types.is_list(combined.type):
        return combined.flatten().to_numpy(zero_copy_only=False).reshape(len(combined), -1)
    return combined.to_numpy(zero_copy_only=False)
