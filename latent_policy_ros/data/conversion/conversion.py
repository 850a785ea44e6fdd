"""Conversion of bags to LeRobot data sets, one for each embodiment.

Finished episodes are staged, so that an interrupted conversion continues where it stopped.
"""

from __future__ import annotations

import contextlib
import ctypes
import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

from latent_policy_ros.common.artifacts import load_json, write_atomically
from latent_policy_ros.common.errors import (
    ArtifactError,
    ConfigError,
    LatentPolicyError,
    available,
    describe_error,
)
from latent_policy_ros.common.parallel import ALL, Shard, Workers
from latent_policy_ros.data.bags.reader import DISK_FULL, Bag, open_bag
from latent_policy_ros.data.conversion.alignment import Alignment, replay
from latent_policy_ros.data.conversion.bag_metadata import Window, check_metadata, marked_episodes, outcome
from latent_policy_ros.data.conversion.bag_table import BagTable
from latent_policy_ros.data.conversion.episode_builder import RecordingBuilder
from latent_policy_ros.data.conversion.mapping import NO_ROBOTS, RobotTopics, TopicMapping, robots_of_bag, with_cameras
from latent_policy_ros.data.conversion.provenance import Provenance
from latent_policy_ros.data.conversion.topic_resolution import ResolvedTopics, camera_rate, camera_topics, resolve_topics
from latent_policy_ros.data.issues import BagUnreadable, Issue, IssueReporter, Issues
from latent_policy_ros.data.lerobot.collection import REPORT, SETTINGS, DatasetCollection
from latent_policy_ros.data.lerobot.layout import WHOLE
from latent_policy_ros.data.lerobot.staging import DatasetIdentity, EpisodeWriter
from latent_policy_ros.embodiments import Embodiment

M_TRIM_THRESHOLD, M_MMAP_THRESHOLD = -1, -3  # options of glibc's mallopt
TRIM_THRESHOLD, MMAP_THRESHOLD = 256 << 20, 32 << 20  # bytes

Progress = Callable[[Path, int, int], None]  # bag, messages read, total
Recordings = dict[str, list[int]]  # key of each recording: lengths of its episodes that were written; empty if it was kept
IN_PROCESS = Workers(1)
BAGS_PER_JOB = 4  # a job reads the manifest of each data set once


@dataclass(frozen=True)
class Options:
    """Settings of a conversion.

    Attributes:
        mapping: Topics of the robots, task, frame rate and limits. Without robots, the metadata of each bag names them.
        cameras: Cameras to convert; all cameras of the robots if empty.
        keep_failed: Also convert episodes that are marked as failures.
        table: Tasks, outcomes and robots of bags.
        layout: ``whole`` or ``separate``; see :data:`~latent_policy_ros.data.lerobot.layout.LAYOUTS`.
        accepts: Raises LatentPolicyError for an embodiment whose episodes are left out; None accepts all.
    """

    mapping: TopicMapping = field(default_factory=lambda: TopicMapping(()))
    cameras: tuple[str, ...] = ()
    keep_failed: bool = False
    table: BagTable = BagTable(())
    layout: str = WHOLE
    accepts: Callable[[Embodiment], None] | None = None

    def robots(self, bag: Bag) -> tuple[RobotTopics, ...]:
        """The robots of a bag. Task and outcome of the table replace those in its metadata.

        Raises:
            ConfigError: The table names a robot that is not in the bag, or a robot has none of the cameras.
        """
        robots, chosen = self.mapping.robots or robots_of_bag(bag.custom), self.table.apply(bag)
        names = [robot.robot for robot in robots]
        if unknown := sorted(set(chosen) - set(names)):
            raise ConfigError(bag.path, "robot", f"no {', '.join(unknown)} of the table; {available(names)}")
        return with_cameras([robot for robot in robots if not chosen or robot.robot in chosen], self.cameras)


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

    def add(self, other: Report) -> None:
        """Add the result of further bags."""
        self.written, self.kept, self.frames = self.written + other.written, self.kept + other.kept, self.frames + other.frames
        self.left_out += other.left_out
        self.warnings += other.warnings

    def repeat(self, lengths: Sequence[int]) -> None:
        """Count the episodes of a recording, which were counted as written, as kept: another worker wrote them too."""
        if lengths:
            self.written, self.kept, self.frames = self.written - len(lengths), self.kept + 1, self.frames - sum(lengths)

    def to_dict(self) -> dict[str, Any]:
        """The report as JSON values."""
        left_out = [{"source": source, "issues": [issue.to_dict() for issue in issues]} for source, issues in self.left_out]
        return {
            "written": self.written, "kept": self.kept, "frames": self.frames, "left_out": left_out,
            "warnings": [issue.to_dict() for issue in self.warnings], "datasets": [str(path) for path in self.datasets],
        }  # fmt: skip


def convert(
    bags: Sequence[Path], out: Path, options: Options, progress: Progress = lambda *_: None, workers: Workers = IN_PROCESS,
    shard: Shard = ALL,
) -> Report:  # fmt: skip
    """Convert bags to data sets in ``out``, with a mixture manifest and a report.

    Args:
        bags: The bags.
        out: Folder of data sets; created if missing.
        options: Settings.
        progress: Called while a bag is read in this process, and after it was read in another one.
        workers: Processes that read bags. The data sets do not depend on them.
        shard: Part of the bags that this call converts. Its episodes stay in the staging area until a call without shards.

    Raises:
        ConfigError: ``out`` holds episodes that were converted with other settings.
        OSError: A disk is full.
        KeyboardInterrupt: Finished episodes are kept; the same call continues from there.
    """
    collection = DatasetCollection(out)
    fps = _settle_fps(collection, options, bags)
    bags = shard.part(bags)
    job = _Job(out, fps, options)
    batches = [bags] if workers.in_process else [bags[k : k + BAGS_PER_JOB] for k in range(0, len(bags), BAGS_PER_JOB)]
    parts: dict[int, Report] = {}
    recordings: Recordings = {}
    run = partial(job.run, progress=progress) if workers.in_process else job.run
    for number, parts[number], found in workers.run(run, list(enumerate(batches))):
        for key in found.keys() & recordings.keys():  # workers converted copies of a bag at the same time
            parts[number].repeat(found[key])
        recordings |= found
        for bag in () if workers.in_process else batches[number]:
            progress(bag, 1, 1)
    report = Report()
    for number in sorted(parts):
        report.add(parts[number])
    if shard.count > 1:
        return report
    for episode, reason in collection.commit(keys=recordings):
        source, robot = episode.metadata["source"], episode.metadata["robot"]
        report.written -= 1
        report.frames -= episode.length
        report.left_out.append((f"{source} ({robot})", [Issue("does not fit", reason, Path(source), robot=robot)]))
    report.datasets = collection.write_mixture()
    write_atomically(out / REPORT, json.dumps(report.to_dict(), indent=1).encode())
    return report


@dataclass(frozen=True)
class _Job:
    """Parameters of the workers."""

    root: Path
    fps: int
    options: Options

    def run(
        self, batch: tuple[int, Sequence[Path]], progress: Progress = lambda *_: None
    ) -> tuple[int, Report, Recordings]:  # fmt: skip
        """Convert a numbered batch of bags; returns its number, its report and its recordings."""
        number, bags = batch
        _reuse_image_buffers()
        report, collection = Report(), DatasetCollection(self.root)
        recordings: Recordings = {}
        for bag in bags:
            try:
                _convert_bag(bag, collection, self.fps, self.options, report, recordings, progress)
            except BagUnreadable as error:
                report.left_out.append((str(bag), [error.issue]))
            except (ConfigError, ArtifactError) as error:
                report.left_out.append((str(bag), [Issue("unusable", str(error), bag)]))
            except Exception as error:  # one bag must not stop the conversion of the others
                if getattr(error, "errno", None) in DISK_FULL:
                    raise
                report.left_out.append((str(bag), [Issue("unusable", describe_error(error), bag)]))
        return number, report, recordings


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
                if rate := camera_rate(bag, robots, options.mapping.stamps == "receive"):
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


@dataclass
class _Conversion:
    """One robot's episodes while its bag is read."""

    robot: RobotTopics
    provenance: Provenance
    topics: ResolvedTopics
    builder: RecordingBuilder
    issues: Issues


def _convert_bag(
    path: Path, collection: DatasetCollection, fps: int, options: Options, report: Report, recordings: Recordings,
    progress: Progress,
) -> None:  # fmt: skip
    with open_bag(path) as bag:
        robots = options.robots(bag)
        if not robots:
            raise ConfigError(path, "", NO_ROBOTS)
        conversions: list[_Conversion] = []
        windows: list[Window] = []
        marks = Issues()
        with contextlib.ExitStack() as stack:
            for robot in robots:
                provenance = Provenance.of(bag, robot, options.mapping, fps)
                if collection.has_recording(provenance):
                    report.kept += 1
                    recordings[provenance.key] = []
                    continue
                windows = windows or marked_episodes(bag, options.mapping.episodes, marks.add)
                if conversion := _begin(bag, robot, provenance, collection, fps, options, report, windows):
                    conversions.append(conversion)
                    stack.callback(conversion.builder.abort)
                    for issue in marks:
                        conversion.issues.add(issue)
            try:
                replay(bag, [(c.builder.alignment, c.builder.add) for c in conversions], partial(progress, path))
            except BagUnreadable as error:
                for conversion in conversions:
                    conversion.issues.add(error.issue)
            for conversion in conversions:
                if lengths := _end(bag, conversion, options, report):
                    recordings[conversion.provenance.key] = lengths


def _begin(
    bag: Bag, robot: RobotTopics, provenance: Provenance, collection: DatasetCollection, fps: int, options: Options, report: Report,
    windows: Sequence[Window],
) -> _Conversion | None:  # fmt: skip
    """Prepare the conversion of one robot; None, with the issues in the report, if its episode is unusable."""
    issues, mapping = Issues(), options.mapping
    check_metadata(bag, robot, issues.add)
    if outcome(bag, robot, mapping.outcome) is False and not options.keep_failed:
        issues.add(Issue("failed", "marked as a failure (--keep-failed converts it)", bag.path, robot=robot.robot))
    if options.accepts is not None:
        try:
            options.accepts(robot.embodiment)
        except LatentPolicyError as error:
            issues.add(Issue("latent space", str(error), bag.path, robot=robot.robot))
    topics = resolve_topics(bag, robot, issues.add)
    if issues.fatal or topics is None:
        report.left_out.append((_source(bag, robot), list(issues)))
        return None
    alignment = Alignment(robot, topics, fps, mapping, bag.start, issues.add, bag.path, windows)
    identity = DatasetIdentity.for_embodiment(robot.embodiment, fps)
    expected = round((bag.end - bag.start) * fps)
    layout = collection.layout(robot.embodiment.name, options.layout)

    def new_writer(number: int) -> EpisodeWriter:
        folder = collection.staging_folder(robot.embodiment.name)
        key = provenance.part_key(number) if number else provenance.key
        return EpisodeWriter(folder, key, identity, tuple(topics.cameras), expected, layout, topics.depth)

    reporter = IssueReporter(issues.add, bag.path, robot.robot, bag.start)
    return _Conversion(robot, provenance, topics, RecordingBuilder(robot, topics, alignment, new_writer, reporter), issues)


def _end(bag: Bag, conversion: _Conversion, options: Options, report: Report) -> list[int]:
    """Finish the conversion of one robot; returns the lengths of the episodes written."""
    issues, builder, robot, mapping = conversion.issues, conversion.builder, conversion.robot, options.mapping
    if not issues.fatal:
        builder.close()
    if not issues.fatal:
        marked = outcome(bag, robot, mapping.outcome)
        if marked is None:
            text = "no success: policies are trained on successes only; `outcome: success` in the mapping, or --outcome, says it"
            issues.add(Issue("outcome unknown", text, bag.path, robot=robot.robot, fatal=False))
        about = {
            "source": str(bag.path), **conversion.provenance.to_dict(), "seed": _seed(bag),
            "policy_id": bag.custom.get("policy_id", ""), "latent_id": bag.custom.get("latent_id", ""),
            "tolerance": {"camera": mapping.limits.camera_at(builder.alignment.fps), "state": mapping.limits.state},
            "outcome": {True: "success", False: "failure", None: "unknown"}[marked],
            "issues": [str(issue) for issue in issues],
        }  # fmt: skip
        task = conversion.provenance.settings["task"]
        written = builder.finish(task, bool(marked), about, conversion.provenance.part_key)
    if issues.fatal:
        report.left_out.append((_source(bag, robot), list(issues)))
        return []
    report.written += len(written)
    report.frames += sum(written)
    report.warnings += list(issues)
    return written


def _seed(bag: Bag) -> int:
    """The seed in the metadata of a bag; -1 if there is none or it is not a number."""
    try:
        return int(bag.custom.get("seed", "-1"))
    except ValueError:
        return -1


def _source(bag: Bag, robot: RobotTopics) -> str:
    return f"{bag.path} ({robot.robot})"
