"""Bags -> data sets, one for each embodiment. Finished episodes are staged, so a run that is stopped goes on where it was."""

from __future__ import annotations

import contextlib
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
    ObservationRefused,
    available,
    describe_error,
)
from latent_policy_ros.data.bags.reader import FULL, Bag, open_bag
from latent_policy_ros.data.conversion.alignment import Alignment
from latent_policy_ros.data.conversion.allocation import keep_buffers
from latent_policy_ros.data.conversion.bag_replay import feed
from latent_policy_ros.data.conversion.episode_builder import EpisodeBuilder
from latent_policy_ros.data.conversion.mapping import UNTOLD, Mapping, RobotTopics, robots_of_bag, with_cameras
from latent_policy_ros.data.conversion.provenance import Origin
from latent_policy_ros.data.conversion.topic_resolution import (
    Sources,
    camera_rate,
    camera_topics,
    check_told,
    find_sources,
    outcome,
)
from latent_policy_ros.data.issues import BagUnreadable, Issue, Issues
from latent_policy_ros.data.lerobot.collection import REPORT, SETTINGS, Collection
from latent_policy_ros.data.lerobot.staging import EpisodeWriter, Identity

Progress = Callable[[Path, int, int], None]  # bag, messages done, of all


@dataclass(frozen=True)
class Options:
    """How bags are converted.

    Attributes:
        mapping: Where topics have other names; also task, frames a second and limits. Without robots: each bag tells.
        cameras: Those to convert; none named: all of the robots'.
        keep_failed: Also convert episodes that are marked as failures.
    """

    mapping: Mapping = field(default_factory=lambda: Mapping(()))
    cameras: tuple[str, ...] = ()
    keep_failed: bool = False

    def robots(self, bag: Bag) -> tuple[RobotTopics, ...]:
        """The robots of a bag."""
        return with_cameras(self.mapping.robots or robots_of_bag(bag.custom), self.cameras)


@dataclass
class Report:
    """What became of the bags.

    Attributes:
        written, kept: Episodes converted now, and those that were there already.
        frames: Of those written.
        left_out: (source, reasons) of those that were not.
        told: What else was found in episodes that were converted.
        datasets: Folders.
    """

    written: int = 0
    kept: int = 0
    frames: int = 0
    left_out: list[tuple[str, list[Issue]]] = field(default_factory=list)
    told: list[Issue] = field(default_factory=list)
    datasets: list[Path] = field(default_factory=list)

    def plain(self) -> dict[str, Any]:
        """As JSON may hold it."""
        out = [{"source": source, "reasons": [fault.plain() for fault in faults]} for source, faults in self.left_out]
        return {
            "written": self.written, "kept": self.kept, "frames": self.frames, "left_out": out,
            "told": [fault.plain() for fault in self.told], "datasets": [str(path) for path in self.datasets],
        }  # fmt: skip


def convert(bags: Sequence[Path], out: Path, options: Options, progress: Progress = lambda *_: None) -> Report:
    """Convert ``bags`` to data sets in ``out``, with a mixture manifest and a report.

    Raises:
        ConfigError: ``out`` holds episodes that were made with other settings.
        OSError: A disk is full.
        KeyboardInterrupt: Finished episodes stay; the same call goes on.
    """
    keep_buffers()
    report, collection = Report(), Collection(out)
    fps = _settled(collection, options, bags)
    keys: set[str] = set()  # of the episodes that are this call's
    for bag in bags:
        try:
            _convert_bag(bag, collection, fps, options, report, keys, progress)
        except BagUnreadable as error:
            report.left_out.append((str(bag), [error.fault]))
        except (ConfigError, ArtifactError) as error:
            report.left_out.append((str(bag), [Issue("unusable", str(error), bag)]))
        except Exception as error:  # one odd bag must not keep the others
            if getattr(error, "errno", None) in FULL:
                raise
            report.left_out.append((str(bag), [Issue("unusable", describe_error(error), bag)]))
    for episode, why in collection.commit(keys=keys):
        source, robot = episode.about["source"], episode.about["robot"]
        report.written -= 1
        report.frames -= episode.length
        report.left_out.append((f"{source} ({robot})", [Issue("does not fit", why, Path(source), robot=robot)]))
    report.datasets = collection.write_mixture()
    write_atomically(out / REPORT, json.dumps(report.plain(), indent=1).encode())
    return report


def _settled(collection: Collection, options: Options, bags: Sequence[Path]) -> int:
    """Frames a second; the settings are kept with the data, and must not change once there is an episode."""
    wanted = {"fps": options.mapping.fps}
    file = collection.root / SETTINGS
    if file.is_file() and collection.begun:
        known = load_json(file, ArtifactError, "choose another folder")
        wanted["fps"] = wanted["fps"] or known.get("fps")
        for name, value in wanted.items():
            if known.get(name) != value:
                text = f"the folder was begun with {known.get(name)!r}, got {value!r}; choose another folder"
                raise ConfigError(file, name, text)
    else:
        wanted["fps"] = wanted["fps"] or _camera_rate(bags, options)
        write_atomically(file, json.dumps(wanted).encode())
    return wanted["fps"]


def _camera_rate(bags: Sequence[Path], options: Options) -> int:
    """Images a second of the fastest camera of the first bag that can be read: a camera that fell asleep must not set it."""
    why = ""
    for path in bags:
        try:
            with open_bag(path) as bag:
                robots = options.robots(bag)
                if rate := camera_rate(bag, robots):
                    return rate
                names = camera_topics(robots)
                if not robots:
                    wanted = UNTOLD
                elif names and names.isdisjoint(bag.topics):
                    wanted = f"none of {', '.join(sorted(names))}; {available(bag.topics)}"
                else:
                    wanted = f"{'too few images' if names else 'no camera'} to tell the frames a second (give --fps)"
                why = why or f"{path}: {wanted}"
        except LatentPolicyError as error:
            why = why or str(error)
    raise ArtifactError(f"none of {len(bags)} bags has images of a camera that is known, the first because: {why}")


@dataclass
class _Recording:
    """One robot's episode on its way from a bag into the staging folder."""

    robot: RobotTopics
    origin: Origin
    sources: Sources
    builder: EpisodeBuilder
    faults: Issues


def _convert_bag(
    path: Path, collection: Collection, fps: int, options: Options, report: Report, keys: set[str], progress: Progress
) -> None:
    with open_bag(path) as bag:
        robots = options.robots(bag)
        if not robots:
            raise ConfigError(path, "", UNTOLD)
        recordings: list[_Recording] = []
        with contextlib.ExitStack() as stack:
            for robot in robots:
                origin = Origin.of(bag, robot, options.mapping, fps)
                if collection.converted(origin):
                    report.kept += 1
                    keys.add(origin.key)
                elif recording := _begin(bag, robot, origin, collection, fps, options, report):
                    recordings.append(recording)
                    stack.callback(recording.builder.writer.abort)
            try:
                feed(bag, [(r.builder.alignment, r.builder.add) for r in recordings], partial(progress, path))
            except BagUnreadable as error:
                for recording in recordings:
                    recording.faults.add(error.fault)
            for recording in recordings:
                if _end(bag, recording, options, report):
                    keys.add(recording.origin.key)


def _begin(
    bag: Bag, robot: RobotTopics, origin: Origin, collection: Collection, fps: int, options: Options, report: Report
) -> _Recording | None:
    """Open everything for one robot; None, with the reasons in the report, if its episode is of no use."""
    faults = Issues()
    check_told(bag, robot, faults.add)
    if outcome(bag, robot) is False and not options.keep_failed:
        faults.add(Issue("failed", "marked as a failure (--keep-failed keeps it)", bag.path, robot=robot.robot))
    sources = find_sources(bag, robot, faults.add)
    if faults.fatal or sources is None:
        report.left_out.append((_source(bag, robot), list(faults)))
        return None
    alignment = Alignment(
        robot, sources, fps, options.mapping.limits, options.mapping.stamps == "receive", bag.start, faults.add, bag.path
    )
    expected = round((bag.end - bag.start) * fps)
    identity = Identity.for_embodiment(robot.embodiment, fps)
    writer = EpisodeWriter(collection.staging(robot.embodiment.name), origin.key, identity, tuple(sources.cameras), expected)
    return _Recording(robot, origin, sources, EpisodeBuilder(robot, alignment, writer), faults)


def _end(bag: Bag, recording: _Recording, options: Options, report: Report) -> bool:
    """Whether there is an episode."""
    faults, builder, robot = recording.faults, recording.builder, recording.robot
    if not faults.fatal:
        told = outcome(bag, robot)
        if told is None:
            faults.add(Issue("outcome unknown", "taken for a success", bag.path, robot=robot.robot, fatal=False))
        about = {
            "source": str(bag.path), **recording.origin.plain(), "seed": _seed(bag),
            "policy_id": bag.custom.get("policy_id", ""), "latent_id": bag.custom.get("latent_id", ""),
            "tolerance": {"camera": options.mapping.limits.camera_at(builder.alignment.fps), "state": options.mapping.limits.state},
            "told": [str(fault) for fault in faults],
        }  # fmt: skip
        try:
            builder.finish(recording.origin.settings["task"], told is not False, about)
        except ObservationRefused as error:
            camera, stamp, text = builder.writer.failure or ("", bag.start, str(error))
            topic = recording.sources.cameras.get(camera, "")
            faults.add(Issue("image", text, bag.path, topic, stamp - bag.start, robot.robot))
    if faults.fatal:
        report.left_out.append((_source(bag, robot), list(faults)))
        return False
    report.written += 1
    report.frames += builder.alignment.count
    report.told += list(faults)
    return True


def _seed(bag: Bag) -> int:
    """The seed that a bag tells; -1 if it tells none that is a number."""
    try:
        return int(bag.custom.get("seed", "-1"))
    except ValueError:
        return -1


def _source(bag: Bag, robot: RobotTopics) -> str:
    return f"{bag.path} ({robot.robot})"
