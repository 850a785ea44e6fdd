"""Recordings of hand keypoints from NumPy, zarr and CSV files and bags, and their playback.

The order and the unit of the keypoints are interpreted by ``embodiments.human``, not here.
"""

from __future__ import annotations

import csv
import re
import zipfile
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, TypeVar

import numpy as np

from latent_policy_ros.common.errors import ArtifactError, available
from latent_policy_ros.embodiments.human.hand_input import CanonicalHands, canonical_hands
from latent_policy_ros.embodiments.human.keypoint_layouts import AUTO, COUNTS
from latent_policy_ros.embodiments.human.keypoints import KeypointsRefused
from latent_policy_ros.embodiments.model.sides import SIDES

T = TypeVar("T")

TIMES = ("timestamps", "timestamp", "stamps", "stamp", "times", "time", "time_s", "t")
MAX_STEP, MIN_STEP = 2.0, 0.0005  # s; outside of this range the median time between frames is not in seconds
MAX_SIZE = 1 << 30  # bytes of a NumPy or CSV file, decompressed; an hour at 120 Hz takes 200 MB
BAG_SUFFIXES = (".mcap", ".db3")
FORMATS = ".npz, .npy, .zarr, .csv, .mcap, .db3 or a rosbag2 folder"
HANDS = {"left": 0, "right": 1, "0": 0, "1": 1}  # the hands of an array (frames, 2, points, ...), by the name of the entry
FROZEN, GAP = 1.0, 0.5  # constant points and missing frames for longer than this [s] are reported


@dataclass(frozen=True)
class HandRecording:
    """Keypoints of one hand over time.

    Attributes:
        file: The file that was read.
        timestamps: (T,) [s], not decreasing.
        points: (T, N, 3) in the order and unit of the device; NaN for frames without a hand.
        warnings: Frozen points, gaps and missing times, for people.
        entry: Selected part of the file, as given.
    """

    file: Path
    timestamps: np.ndarray = field(repr=False)
    points: np.ndarray = field(repr=False)
    warnings: tuple[str, ...] = ()
    entry: str = ""

    def hands(self, layout: str = AUTO, units: str = "m", side: str = AUTO) -> CanonicalHands:
        """Convert to a right hand in the canonical hand frame. Arguments as of :func:`canonical_hands`.

        A side in the name of the entry (``left``, ``right/points``) that contradicts the bending of the fingers gives a warning.

        Raises:
            KeypointsRefused: As of :func:`canonical_hands`; the message names the file.
        """
        try:
            hands = canonical_hands(self.points, layout, units, side)
        except KeypointsRefused as error:
            raise KeypointsRefused(f"{self.file}: {error}") from error
        named = re.findall(rf"(?<![a-z])({'|'.join(SIDES)})", self.entry.lower())
        if side == AUTO and named and hands.side not in named:
            warning = f"the entry is {self.entry}, but the fingers bend as those of a {hands.side} hand (are the hands exchanged?)"
            return replace(hands, side_warning=warning)
        return hands


def read_hand_recording(file: str | Path, entry: str = "", fps: float = 30.0) -> HandRecording:
    """Read a recording.

    Frames are positions (N, 3), poses (N, 7) with the position first, as MANUS gloves give them, or matrices (N, 4, 4), as visionOS
    does. Arrays of two hands have the shape (T, 2, N, ...).

    Args:
        file: ``.npz`` or ``.zarr`` (an array of frames and optionally timestamps), ``.npy``, ``.csv`` (one row per frame:
            optionally the time, then x, y, z of each point), or a bag (rosbag2 folder, ``.mcap``, ``.db3``) with hand poses.
        entry: Array of an ``.npz`` or ``.zarr`` file, topic of a bag, or hand of an array of two hands (``left``, ``right``, 0, 1;
            after the name of the array and a colon if there are several arrays); required if there are several.
        fps: Frames per second of files without timestamps.

    Raises:
        ArtifactError: The file cannot be read, or is not a recording of a hand.
        FileNotFoundError: The file does not exist.
    """
    path = Path(file).expanduser()
    if not path.exists():
        raise FileNotFoundError(f"no recording {str(path)!r}")
    _check_size(path)
    suffix = "bag" if path.suffix in BAG_SUFFIXES or (path.is_dir() and path.suffix != ".zarr") else path.suffix.lower()
    times: np.ndarray | None
    if suffix == "bag":
        times, points = _read_bag(path, entry)
    elif suffix == ".npz":
        times, points = _select(path, _load(path, lambda: dict(np.load(path, allow_pickle=False))), entry)
    elif suffix == ".zarr":
        times, points = _select(path, _read_zarr(path), entry)
    elif suffix == ".npy":
        times, points = None, _one_hand(path, _load(path, lambda: np.load(path, allow_pickle=False)), entry)
    elif suffix == ".csv":
        times, points = _read_csv(path)
    else:
        raise ArtifactError(f"{path}: expected {FORMATS}, got {path.suffix or 'a file without a suffix'}")
    return replace(_checked(path, times, points, fps), entry=entry)


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


def _read_zarr(path: Path) -> dict[str, np.ndarray]:
    """All arrays of a zarr file, by their path in it."""
    try:
        import zarr
    except ImportError as error:
        raise ArtifactError(f"{path}: reading zarr files needs the package zarr: pip install zarr") from error

    def arrays(group: Any, above: str) -> dict[str, Any]:
        found: dict[str, Any] = {f"{above}{name}": array for name, array in group.arrays()}
        for name, below in group.groups():
            found.update(arrays(below, f"{above}{name}/"))
        return found

    def read() -> dict[str, np.ndarray]:
        opened = zarr.open(str(path), mode="r")
        found: dict[str, Any] = {"": opened} if hasattr(opened, "shape") else arrays(opened, "")
        if (size := sum(array.nbytes for array in found.values() if _fits(array))) > MAX_SIZE:
            raise ArtifactError(f"{path}: {size} bytes, the limit of a hand recording is {MAX_SIZE}")
        return {name: np.asarray(array) for name, array in found.items() if _fits(array) or (_is_time(name) and array.ndim < 3)}

    return _load(path, read)


def _fits(array: Any) -> bool:
    """Whether an array has the shape of one hand over time, or of two."""
    shape = tuple(array.shape)
    if len(shape) > 3 and shape[1] == len(set(HANDS.values())) and shape[2] in COUNTS:
        shape = (shape[0], *shape[2:])
    return (len(shape) == 3 and shape[2] in (3, 7)) or (len(shape) == 4 and shape[2:] == (4, 4))


def _is_time(name: str) -> bool:
    """Whether an array's name can be that of times: ``time``, ``left/time``, or ``left_time`` for an array ``left``."""
    last = name.split("/")[-1]
    return last in TIMES or last.endswith(tuple(f"_{time}" for time in TIMES))


def _times_of(path: Path, arrays: Mapping[str, np.ndarray], chosen: str) -> np.ndarray | None:
    """The times of the chosen array: those that stand beside it, else the only ones of its length; None without any.

    Those of array ``left/points`` may be ``left/points_time`` or ``left/time``.

    Raises:
        ArtifactError: Only times of another length exist, or different ones of this length.
    """
    folder = chosen.rpartition("/")[0]
    names = [*(f"{chosen}_{time}" for time in TIMES), *(f"{folder}/{time}".removeprefix("/") for time in TIMES)]
    if beside := [arrays[name] for name in names if name in arrays]:
        return beside[0]
    times = {name: array for name, array in arrays.items() if name.split("/")[-1] in TIMES}
    fits = [array for array in times.values() if array.shape == arrays[chosen].shape[:1]]
    if fits and all(np.array_equal(array, fits[0]) for array in fits):
        return fits[0]
    if times:
        got = ", ".join(f"{name} {array.shape}" for name, array in sorted(times.items()))
        expected = f"expected one array of times beside {chosen} {arrays[chosen].shape}"
        raise ArtifactError(f"{path}: {expected}, named {names[0]}; got {got}")
    return None


def _select(path: Path, arrays: Mapping[str, np.ndarray], entry: str) -> tuple[np.ndarray | None, np.ndarray]:
    """(times or None, points) of the array that ``entry`` names, or of the only one that fits."""
    name, _, hand = entry.rpartition(":") if entry.rpartition(":")[0] in arrays else (entry, "", "")
    if name and name not in arrays and name in HANDS:
        name, hand = "", name
    if name and name not in arrays:
        raise ArtifactError(f"{path}: no array {name!r}; {available(arrays)}")
    fits = [key for key, array in arrays.items() if _fits(array)]
    chosen = name or ("keypoints" if "keypoints" in arrays else fits[0] if len(fits) == 1 else None)
    if chosen is None:
        shapes = ", ".join(f"{key} {array.shape}" for key, array in sorted(arrays.items()))
        expected = "expected an array of shape (frames, points, 3)"
        if fits:
            expected = "expected one of a hand, or one named keypoints; select one with --entry"
        raise ArtifactError(f"{path}: {expected}; got {shapes or 'nothing'}")
    return _times_of(path, arrays, chosen), _one_hand(path, arrays[chosen], hand)


def _one_hand(path: Path, array: np.ndarray, hand: str) -> np.ndarray:
    """One hand's array of an array of two hands; other arrays as they are."""
    if array.ndim < 4 or not _fits(array) or array.shape[2:] == (4, 4):
        return array
    if hand not in HANDS:
        got = f", got {hand!r}" if hand else ""
        raise ArtifactError(f"{path}: two hands, shape {array.shape}: select one with --entry left or right (0 or 1){got}")
    return array[:, HANDS[hand]]


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
    from latent_policy_ros.observations.messages import stamp_of
    from latent_policy_ros.observations.modalities import message_types, modality_for

    times, frames = [], []
    try:
        with open_bag(path) as bag:
            types = {name: about.msg_type for name, about in bag.topics.items()}
            topics = sorted(name for name, kind in types.items() if kind in message_types("keypoints"))
            # Arrays of numbers have any meaning: they are read only if they are named.
            plain = [name for name in topics if not types[name].startswith("std_msgs/")]
            if topic and topic not in topics:
                raise ArtifactError(f"{path}: no hand poses on {topic}; {available(topics)}")
            if not topic and len(plain) != 1:
                expected = "select a topic" if topics else f"expected a topic of {', '.join(message_types('keypoints'))}"
                raise ArtifactError(f"{path}: {expected}; {available(topics or bag.topics)}")
            topic = topic or plain[0]
            modality = modality_for("keypoints", types[topic])
            assert modality is not None
            for _, received, message in bag.messages([topic]):
                times.append(stamp_of(message) or received)
                frames.append(modality.read(message))
    except BagUnreadable as error:
        raise ArtifactError(f"not a bag that can be read: {error}") from error
    counts = {len(frame) for frame in frames if len(frame)}
    if len(counts) != 1:
        raise ArtifactError(f"{path}: expected messages of one number of poses, got {sorted(counts) or 'none'}")
    missing = np.full((counts.pop(), 3), np.nan)  # a frame without a hand
    return np.array(times), np.array([frame if len(frame) else missing for frame in frames])


def _checked(path: Path, times: np.ndarray | None, points: np.ndarray, fps: float) -> HandRecording:
    if points.dtype.kind not in "fiu":
        raise ArtifactError(f"{path}: expected numbers, got {points.dtype}")
    if points.ndim == 3 and points.shape[2] == 7:
        points = points[..., :3]  # position and quaternion
    elif points.ndim == 4 and points.shape[2:] == (4, 4):
        points = points[..., :3, 3]
    if points.ndim == 2 and points.shape[1] % 3 == 0:
        points = points.reshape(len(points), -1, 3)
    if points.ndim != 3 or points.shape[2] != 3 or points.shape[1] not in COUNTS or not len(points):
        counts = " or ".join(map(str, COUNTS))
        raise ArtifactError(f"{path}: expected frames of {counts} points (frames, points, 3), got shape {points.shape}")
    assumed = []
    if times is None:
        times = np.arange(len(points)) / fps
        form = f"an array or column {TIMES[0]} [s] (or {', '.join(TIMES[1:])})"
        assumed = [f"the file has no times: {fps:g} frames per second are assumed; add {form}"]
    times = np.asarray(times)
    if times.shape != (len(points),) or times.dtype.kind not in "fiu" or not np.isfinite(times).all():
        raise ArtifactError(f"{path}: expected a finite time for each of {len(points)} frames, got shape {times.shape}")
    steps = np.diff(times.astype(np.float64))
    if (steps < 0).any():
        raise ArtifactError(f"{path}: times must not decrease, but do after frame {int(np.argmax(steps < 0))}")
    if len(steps) and not MIN_STEP <= np.median(steps) <= MAX_STEP:
        raise ArtifactError(f"{path}: times must be in seconds, but the median step is {np.median(steps):g}")
    times, points = times.astype(np.float64), points.astype(np.float64)
    return HandRecording(path, times, points, (*assumed, *_warnings(times, points)))


def _warnings(times: np.ndarray, points: np.ndarray) -> Iterator[str]:
    """Long gaps between frames that show a hand, and times in which the device gave the same points."""
    begin = times[0]
    seen = np.r_[begin, times[np.isfinite(points).all(axis=(1, 2))], times[-1]]
    steps = np.diff(seen)
    if len(gaps := np.flatnonzero(steps > GAP)):
        longest = gaps[steps[gaps].argmax()]
        yield f"{len(gaps)} gaps of more than {GAP:g} s, the longest {steps[longest]:.1f} s after {seen[longest] - begin:.1f} s"
    edges = np.flatnonzero(np.r_[True, (points[1:] != points[:-1]).any(axis=(1, 2)), True])  # starts of constant runs, and the end
    lasting = times[edges[1:] - 1] - times[edges[:-1]]
    if len(frozen := np.flatnonzero(lasting > FROZEN)):
        longest = frozen[lasting[frozen].argmax()]
        where = f"the longest {lasting[longest]:.1f} s from {times[edges[longest]] - begin:.1f} s"
        yield f"frozen {len(frozen)} times: the points are constant for more than {FROZEN:g} s, {where}"


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
