"""Recordings of hand keypoints from NumPy files, CSV files and bags, and their playback.

The order and the unit of the keypoints are interpreted by ``embodiments.human``, not here.
"""

from __future__ import annotations

import csv
import zipfile
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import TypeVar

import numpy as np

from latent_policy_ros.common.errors import ArtifactError, available
from latent_policy_ros.embodiments.human.keypoint_layouts import COUNTS

T = TypeVar("T")

TIMES = ("timestamps", "timestamp", "stamps", "stamp", "times", "time", "t")
POSES = "geometry_msgs/msg/PoseArray"
MAX_STEP, MIN_STEP = 2.0, 0.0005  # s; outside of this range the median time between frames is not in seconds
MAX_SIZE = 1 << 30  # bytes of a NumPy or CSV file, decompressed; an hour at 120 Hz takes 200 MB
BAG_SUFFIXES = (".mcap", ".db3")
FORMATS = ".npz, .npy, .csv, .mcap, .db3 or a rosbag2 folder"


@dataclass(frozen=True)
class HandRecording:
    """Keypoints of one hand over time.

    Attributes:
        file: The file that was read.
        timestamps: (T,) [s], not decreasing.
        points: (T, N, 3) in the order and unit of the device; NaN for frames without a hand.
    """

    file: Path
    timestamps: np.ndarray = field(repr=False)
    points: np.ndarray = field(repr=False)


def read_hand_recording(file: str | Path, entry: str = "", fps: float = 30.0) -> HandRecording:
    """Read a recording.

    Args:
        file: ``.npz`` (an array (T, N, 3) and optionally timestamps), ``.npy``, ``.csv`` (one row per frame: optionally the
            time, then x, y, z of each point), or a bag (rosbag2 folder, ``.mcap``, ``.db3``) of PoseArrays.
        entry: Array of an ``.npz`` file or topic of a bag; required if there are several.
        fps: Frames per second of files without timestamps.

    Raises:
        ArtifactError: The file cannot be read, or is not a recording of a hand.
        FileNotFoundError: The file does not exist.
    """
    path = Path(file).expanduser()
    if not path.exists():
        raise FileNotFoundError(f"no recording {str(path)!r}")
    _check_size(path)
    suffix = "bag" if path.is_dir() or path.suffix in BAG_SUFFIXES else path.suffix.lower()
    times: np.ndarray | None
    if suffix == "bag":
        times, points = _read_bag(path, entry)
    elif suffix == ".npz":
        times, points = _read_npz(path, entry)
    elif suffix == ".npy":
        times, points = None, _load(path, lambda: np.load(path, allow_pickle=False))
    elif suffix == ".csv":
        times, points = _read_csv(path)
    else:
        raise ArtifactError(f"{path}: expected {FORMATS}, got {path.suffix or 'a file without a suffix'}")
    return _checked(path, times, points, fps)


class HandPlayer:
    """Plays a recording at its own rate.

    Args:
        recording: The recording.
        speed: Factor of the playback speed.
        loop: Repeat the recording.
    """

    def __init__(self, recording: HandRecording, speed: float = 1.0, loop: bool = False) -> None:
        self.recording, self.speed, self.loop = recording, speed, loop
        times = recording.timestamps - recording.timestamps[0]
        self._times = times
        self.duration = float(times[-1] + (np.median(np.diff(times)) if len(times) > 1 else 0.0)) / speed
        self._returned = -1

    def frame(self, elapsed: float) -> np.ndarray | None:
        """Points (N, 3) of the newest frame at ``elapsed`` [s] after the start; None if it was already returned."""
        repetition, at = divmod(elapsed, self.duration) if self.loop and self.duration > 0 else (0, elapsed)
        index = int(np.searchsorted(self._times, at * self.speed + 1e-9, side="right")) - 1
        number = int(repetition) * len(self._times) + index
        if index < 0 or number == self._returned:
            return None
        self._returned = number
        return self.recording.points[index]

    def finished(self, elapsed: float) -> bool:
        """Whether the playback has ended."""
        return not self.loop and elapsed > self.duration


def _check_size(path: Path) -> None:
    """Raise ArtifactError for a device or pipe, and for a file that is larger than ``MAX_SIZE``, also after decompression."""
    if path.is_dir():
        return
    if not path.is_file():
        raise ArtifactError(f"{path}: is a device or a pipe; expected a file")
    size = path.stat().st_size
    if zipfile.is_zipfile(path):
        with zipfile.ZipFile(path) as packed:
            size = max(size, sum(entry.file_size for entry in packed.infolist()))
    if size > MAX_SIZE and path.suffix not in BAG_SUFFIXES:
        raise ArtifactError(f"{path}: {size} bytes, the limit of a hand recording is {MAX_SIZE}")


def _read_npz(path: Path, entry: str) -> tuple[np.ndarray | None, np.ndarray]:
    arrays = _load(path, lambda: dict(np.load(path, allow_pickle=False)))
    if entry and entry not in arrays:
        raise ArtifactError(f"{path}: no array {entry!r}; {available(arrays)}")
    fits = [name for name, array in arrays.items() if array.ndim == 3 and array.shape[2] == 3]
    name = entry or ("keypoints" if "keypoints" in arrays else fits[0] if len(fits) == 1 else "")
    if not name:
        shapes = ", ".join(f"{key} {array.shape}" for key, array in sorted(arrays.items()))
        expected = "expected one of a hand, or one named keypoints" if fits else "expected an array of shape (frames, points, 3)"
        raise ArtifactError(f"{path}: {expected}; got {shapes or 'nothing'}")
    times = next((arrays[key] for key in TIMES if key in arrays), None)
    return times, arrays[name]


def _read_csv(path: Path) -> tuple[np.ndarray | None, np.ndarray]:
    with path.open(encoding="utf-8-sig", newline="") as file:
        rows = [row for row in csv.reader(file) if any(cell.strip() for cell in row)]
    header = []
    if rows and not all(_is_number(cell) for cell in rows[0]):
        header, rows = [cell.strip().lower() for cell in rows[0]], rows[1:]
    widths = {len(row) for row in rows} | ({len(header)} if header else set())
    if not rows or len(widths) != 1:
        raise ArtifactError(f"{path}: expected rows of one length, got lengths {sorted(widths) or 'none'}")
    try:
        table = np.array([[float(cell) if cell.strip() else np.nan for cell in row] for row in rows])
    except ValueError as error:
        raise ArtifactError(f"{path}: not a number: {error}") from error
    column = next((header.index(name) for name in TIMES if name in header), None)
    if column is None and not header and table.shape[1] % 3 == 1:
        column = 0
    times = None
    if column is not None:
        times, table = table[:, column], np.delete(table, column, axis=1)
        header = [name for i, name in enumerate(header) if i != column]
    axes = [next((c for c in (name[-1:], name[:1]) if c in "xyz" and c), "") for name in header]
    if all(axes) and axes and axes != [*"xyz"] * (len(axes) // 3):
        raise ArtifactError(f"{path}: expected the columns of each point as x, y, z, got {', '.join(header[:4])}, ...")
    return times, table


def _read_bag(path: Path, topic: str) -> tuple[np.ndarray, np.ndarray]:
    from latent_policy_ros.data.bags.reader import open_bag
    from latent_policy_ros.data.issues import BagUnreadable

    times, frames = [], []
    try:
        with open_bag(path) as bag:
            topics = sorted(name for name, about in bag.topics.items() if about.msg_type == POSES)
            if topic and topic not in topics:
                raise ArtifactError(f"{path}: no {POSES} on {topic}; {available(topics)}")
            if not topic and len(topics) != 1:
                expected = "select a topic" if topics else f"expected a topic of {POSES}"
                raise ArtifactError(f"{path}: {expected}; {available(topics or bag.topics)}")
            for _, received, message in bag.messages([topic or topics[0]]):
                stamp = message.header.stamp.sec + 1e-9 * message.header.stamp.nanosec
                times.append(stamp or received)
                frames.append([(p.position.x, p.position.y, p.position.z) for p in message.poses])
    except BagUnreadable as error:
        raise ArtifactError(f"not a bag that can be read: {error}") from error
    counts = {len(frame) for frame in frames if frame}
    if len(counts) != 1:
        raise ArtifactError(f"{path}: expected messages of one number of poses, got {sorted(counts) or 'none'}")
    missing = [(np.nan,) * 3] * counts.pop()  # a frame without a hand
    return np.array(times), np.array([frame or missing for frame in frames])


def _checked(path: Path, times: np.ndarray | None, points: np.ndarray, fps: float) -> HandRecording:
    if points.dtype.kind not in "fiu":
        raise ArtifactError(f"{path}: expected numbers, got {points.dtype}")
    if points.ndim == 2 and points.shape[1] % 3 == 0:
        points = points.reshape(len(points), -1, 3)
    if points.ndim != 3 or points.shape[2] != 3 or points.shape[1] not in COUNTS or not len(points):
        counts = " or ".join(map(str, COUNTS))
        raise ArtifactError(f"{path}: expected frames of {counts} points (frames, points, 3), got shape {points.shape}")
    if times is None:
        times = np.arange(len(points)) / fps
    times = np.asarray(times)
    if times.shape != (len(points),) or times.dtype.kind not in "fiu" or not np.isfinite(times).all():
        raise ArtifactError(f"{path}: expected a finite time for each of {len(points)} frames, got shape {times.shape}")
    steps = np.diff(times.astype(np.float64))
    if (steps < 0).any():
        raise ArtifactError(f"{path}: times must not decrease, but do after frame {int(np.argmax(steps < 0))}")
    if len(steps) and not MIN_STEP <= np.median(steps) <= MAX_STEP:
        raise ArtifactError(f"{path}: times must be in seconds, but the median step is {np.median(steps):g}")
    return HandRecording(path, times.astype(np.float64), points.astype(np.float64))


def _load(path: Path, read: Callable[[], T]) -> T:
    try:
        return read()
    except (OSError, ValueError, EOFError, MemoryError, zipfile.BadZipFile) as error:
        raise ArtifactError(f"{path}: cannot be read: {error}") from error


def _is_number(cell: str) -> bool:
    try:
        float(cell or "nan")
    except ValueError:
        return False
    return True
