"""Conversion of bags to LeRobot data sets, one for each embodiment.

Finished episodes are staged, so that an interrupted conversion continues where it stopped.
"""

from __future__ import annotations

import contextlib
import ctypes
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from latent_policy_ros.common.artifacts import load_json, write_atomically
from latent_policy_ros.common.errors import (
    ArtifactError,
    ConfigError,
    ObservationRefused,
    available,
    describe_error,
)
from latent_policy_ros.data.bags.reader import DISK_FULL, Bag, open_bag
from latent_policy_ros.data.conversion.alignment import Alignment, Row, replay
from latent_policy_ros.data.conversion.mapping import NO_ROBOTS, RobotTopics, TopicMapping, robots_of_bag, with_cameras
from latent_policy_ros.data.conversion.provenance import Provenance
from latent_policy_ros.data.conversion.topic_resolution import (
    ResolvedTopics,
    camera_rate,
    camera_topics,
    check_metadata,
    outcome,
    resolve_topics,
)
from latent_policy_ros.data.issues import BagUnreadable, Issue, Issues
from latent_policy_ros.data.lerobot.collection import REPORT, SETTINGS, DatasetCollection
from latent_policy_ros.data.lerobot.layout import ACTION, POSE_NAMES, STATE, WRIST, WRIST_ACTION
from latent_policy_ros.data.lerobot.staging import DatasetIdentity, EpisodeWriter, StagedEpisode

M_TRIM_THRESHOLD, M_MMAP_THRESHOLD = -1, -3  # options of glibc's mallopt
TRIM_THRESHOLD, MMAP_THRESHOLD = 256 << 20, 32 << 20  # bytes

Progress = Callable[[Path, int, int], None]  # bag, messages read, total


@dataclass(frozen=True)
class Options:
    """Settings of a conversion.

    Attributes:
        mapping: Topics of the robots, task, frame rate and limits. Without robots, the metadata of each bag names them.
        cameras: Cameras to convert; all cameras of the robots if empty.
        keep_failed: Also convert episodes that are marked as failures.
    """

    mapping: TopicMapping = field(default_factory=lambda: TopicMapping(()))
    cameras: tuple[str, ...] = ()
    keep_failed: bool = False

    def robots(self, bag: Bag) -> tuple[RobotTopics, ...]:
        """The robots of a bag."""
        return with_cameras(self.mapping.robots or robots_of_bag(bag.custom), self.cameras)


@dataclass
class Report:
    """Result of a conversion.

    Attributes:
        written, kept: Number of episodes converted by this call, and by earlier ones.
        frames: Number of frames written.
        left_out: (source, issues) of episodes that were not converted.
        warnings: Issues of converted episodes.
        datasets: Folders of the data sets.
    """

    written: int = 0
    kept: int = 0
    frames: int = 0
    left_out: list[tuple[str, list[Issue]]] = field(default_factory=list)
    warnings: list[Issue] = field(default_factory=list)
    datasets: list[Path] = field(default_factory=list)

    def to_dict(self) -> dict[str, Any]:
        """The report as JSON values."""
        left_out = [{"source": source, "issues": [issue.to_dict() for issue in issues]} for source, issues in self.left_out]
        return {
            "written": self.written, "kept": self.kept, "frames": self.frames, "left_out": left_out,
            "warnings": [issue.to_dict() for issue in self.warnings], "datasets": [str(path) for path in self.datasets],
        }  # fmt: skip


def convert(bags: Sequence[Path], out: Path, options: Options, progress: Progress = lambda *_: None) -> Report:
    """Convert bags to data sets in ``out``, with a mixture manifest and a report.

    Raises:
        ConfigError: ``out`` holds episodes that were converted with other settings.
        OSError: A disk is full.
        KeyboardInterrupt: Finished episodes are kept; the same call continues from there.
    """
    _reuse_image_buffers()
    report, collection = Report(), DatasetCollection(out)
    fps = _settle_fps(collection, options, bags)
    keys: set[str] = set()  # of the episodes of this call
    for bag in bags:
        try:
            _convert_bag(bag, collection, fps, options, report, keys, progress)
        except BagUnreadable as error:
            report.left_out.append((str(bag), [error.issue]))
        except (ConfigError, ArtifactError) as error:
            report.left_out.append((str(bag), [Issue("unusable", str(error), bag)]))
        except Exception as error:  # one bag must not stop the conversion of the others
            if getattr(error, "errno", None) in DISK_FULL:
                raise
            report.left_out.append((str(bag), [Issue("unusable", describe_error(error), bag)]))
    for episode, reason in collection.commit(keys=keys):
        source, robot = episode.metadata["source"], episode.metadata["robot"]
        report.written -= 1
        report.frames -= episode.length
        report.left_out.append((f"{source} ({robot})", [Issue("does not fit", reason, Path(source), robot=robot)]))
    report.datasets = collection.write_mixture()
    write_atomically(out / REPORT, json.dumps(report.to_dict(), indent=1).encode())
    return report


def _reuse_image_buffers() -> None:
    """Make glibc keep freed image buffers. Returning each to the system took a third of the conversion time."""
    with contextlib.suppress(OSError, AttributeError):  # another C library
        libc = ctypes.CDLL(None)
        libc.mallopt(M_MMAP_THRESHOLD, MMAP_THRESHOLD)
        libc.mallopt(M_TRIM_THRESHOLD, TRIM_THRESHOLD)


def _settle_fps(collection: DatasetCollection, options: Options, bags: Sequence[Path]) -> int:
    """The frame rate. It is stored with the data sets and cannot change once they hold an episode."""
    requested = options.mapping.fps
    file = collection.root / SETTINGS
    if file.is_file() and collection.has_episodes:
        stored = load_json(file, ArtifactError, "choose another folder").get("fps")
        if not isinstance(stored, int):
            raise ConfigError(file, "fps", f"expected a frame rate, got {stored!r}; choose another folder")
        if requested not in (0, stored):
            text = f"expected {stored}, as in the data sets of this folder, got {requested}; choose another folder"
            raise ConfigError(file, "fps", text)
        return stored
    fps = requested or _camera_rate(bags, options)
    write_atomically(file, json.dumps({"fps": fps}).encode())
    return fps


def _camera_rate(bags: Sequence[Path], options: Options) -> int:
    """Images per second of the fastest camera of the first readable bag."""
    first_reason = ""
    for path in bags:
        try:
            with open_bag(path) as bag:
                robots = options.robots(bag)
                if rate := camera_rate(bag, robots):
                    return rate
                names = camera_topics(robots)
                if not robots:
                    reason = NO_ROBOTS
                elif names and names.isdisjoint(bag.topics):
                    reason = f"none of {', '.join(sorted(names))}; {available(bag.topics)}"
                else:
                    reason = f"{'too few images' if names else 'no camera'} to determine the frame rate (give --fps)"
                first_reason = first_reason or f"{path}: {reason}"
        except Exception as error:  # one bag must not stop the conversion of the others
            if getattr(error, "errno", None) in DISK_FULL:
                raise
            first_reason = first_reason or f"{path}: {describe_error(error)}"
    raise ArtifactError(f"none of {len(bags)} bags has images of a known camera; the first: {first_reason}")


class EpisodeBuilder:
    """Collects the rows of one robot and writes them as a staged episode.

    Images are encoded as they arrive; numbers are written at the end.

    Args:
        robot: The robot.
        alignment: Source of the rows.
        writer: Destination.
    """

    def __init__(self, robot: RobotTopics, alignment: Alignment, writer: EpisodeWriter) -> None:
        self.robot, self.alignment, self.writer = robot, alignment, writer
        #: Additional streams whose values are not vectors. Data sets cannot hold them.
        self.not_stored: set[str] = set()
        self._start: float | None = None
        self._columns: dict[str, list[np.ndarray]] = {STATE: [], WRIST: [], ACTION: [], WRIST_ACTION: []}

    def add(self, row: Row) -> None:
        """Add one row."""
        observation = row.observation
        self._start = self._start or observation.stamp
        self.writer.add(observation.stamp, observation.images)
        vectors = {
            STATE: observation.joints, WRIST: observation.wrist_pose, ACTION: row.command, WRIST_ACTION: row.wrist_command,
        }  # fmt: skip
        for name, value in observation.values.items():
            if value.ndim == 1:
                vectors[f"observation.{name}"] = value
            else:
                self.not_stored.add(name)
        for name, values in vectors.items():
            if values is not None:
                self._columns.setdefault(name, []).append(values.astype(np.float32))

    def finish(self, task: str, success: bool, about: Mapping[str, Any]) -> StagedEpisode:
        """Complete the episode.

        Raises:
            ObservationRefused: An image could not be decoded or encoded.
        """
        joints = self.robot.joints
        names = {STATE: joints, WRIST: POSE_NAMES, ACTION: joints, WRIST_ACTION: POSE_NAMES}
        columns = {name: np.array(values) for name, values in self._columns.items() if values}
        vectors = {name: (names.get(name) or _numbered(name, values.shape[1]), values) for name, values in columns.items()}
        count = self.alignment.count
        skew = {name: {"mean": total / count, "max": largest} for name, (total, largest) in self.alignment.skew.items()}
        return self.writer.finish(vectors, task, success, {**about, "begins": self._start, "skew": skew})


def _numbered(feature: str, size: int) -> tuple[str, ...]:
    name = feature.removeprefix("observation.")
    return tuple(f"{name}_{k}" for k in range(size))


@dataclass
class _Conversion:
    """One robot's episode while its bag is read."""

    robot: RobotTopics
    provenance: Provenance
    topics: ResolvedTopics
    builder: EpisodeBuilder
    issues: Issues


def _convert_bag(
    path: Path, collection: DatasetCollection, fps: int, options: Options, report: Report, keys: set[str], progress: Progress
) -> None:
    with open_bag(path) as bag:
        robots = options.robots(bag)
        if not robots:
            raise ConfigError(path, "", NO_ROBOTS)
        conversions: list[_Conversion] = []
        with contextlib.ExitStack() as stack:
            for robot in robots:
                provenance = Provenance.of(bag, robot, options.mapping, fps)
                if collection.has_recording(provenance):
                    report.kept += 1
                    keys.add(provenance.key)
                elif conversion := _begin(bag, robot, provenance, collection, fps, options, report):
                    conversions.append(conversion)
                    stack.callback(conversion.builder.writer.abort)
            try:
                replay(bag, [(c.builder.alignment, c.builder.add) for c in conversions], partial(progress, path))
            except BagUnreadable as error:
                for conversion in conversions:
                    conversion.issues.add(error.issue)
            for conversion in conversions:
                if _end(bag, conversion, options, report):
                    keys.add(conversion.provenance.key)


def _begin(
    bag: Bag, robot: RobotTopics, provenance: Provenance, collection: DatasetCollection, fps: int, options: Options, report: Report
) -> _Conversion | None:
    """Prepare the conversion of one robot; None, with the issues in the report, if its episode is unusable."""
    issues = Issues()
    check_metadata(bag, robot, issues.add)
    if outcome(bag, robot) is False and not options.keep_failed:
        issues.add(Issue("failed", "marked as a failure (--keep-failed converts it)", bag.path, robot=robot.robot))
    topics = resolve_topics(bag, robot, issues.add)
    if issues.fatal or topics is None:
        report.left_out.append((_source(bag, robot), list(issues)))
        return None
    mapping = options.mapping
    alignment = Alignment(robot, topics, fps, mapping.limits, mapping.stamps == "receive", bag.start, issues.add, bag.path)
    identity = DatasetIdentity.for_embodiment(robot.embodiment, fps)
    expected = round((bag.end - bag.start) * fps)
    writer = EpisodeWriter(
        collection.staging_folder(robot.embodiment.name), provenance.key, identity, tuple(topics.cameras), expected
    )
    return _Conversion(robot, provenance, topics, EpisodeBuilder(robot, alignment, writer), issues)


def _end(bag: Bag, conversion: _Conversion, options: Options, report: Report) -> bool:
    """Finish the conversion of one robot; returns whether its episode was written."""
    issues, builder, robot = conversion.issues, conversion.builder, conversion.robot
    if not issues.fatal:
        marked = outcome(bag, robot)
        if marked is None:
            issues.add(Issue("outcome unknown", "assumed to be a success", bag.path, robot=robot.robot, fatal=False))
        for name in sorted(builder.not_stored):
            text = f"values of {name} are not vectors; data sets hold vectors only"
            issues.add(Issue("not stored", text, bag.path, conversion.topics.streams[name], robot=robot.robot, fatal=False))
        about = {
            "source": str(bag.path), **conversion.provenance.to_dict(), "seed": _seed(bag),
            "policy_id": bag.custom.get("policy_id", ""), "latent_id": bag.custom.get("latent_id", ""),
            "tolerance": {"camera": options.mapping.limits.camera_at(builder.alignment.fps), "state": options.mapping.limits.state},
            "issues": [str(issue) for issue in issues],
        }  # fmt: skip
        try:
            builder.finish(conversion.provenance.settings["task"], marked is not False, about)
        except ObservationRefused as error:
            camera, stamp, text = builder.writer.image_error or ("", bag.start, str(error))
            topic = conversion.topics.cameras.get(camera, "")
            issues.add(Issue("image", text, bag.path, topic, stamp - bag.start, robot.robot))
    if issues.fatal:
        report.left_out.append((_source(bag, robot), list(issues)))
        return False
    report.written += 1
    report.frames += builder.alignment.count
    report.warnings += list(issues)
    return True


def _seed(bag: Bag) -> int:
    """The seed in the metadata of a bag; -1 if there is none or it is not a number."""
    try:
        return int(bag.custom.get("seed", "-1"))
    except ValueError:
        return -1


def _source(bag: Bag, robot: RobotTopics) -> str:
    return f"{bag.path} ({robot.robot})"
