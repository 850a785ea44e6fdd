"""Episodes as people and checks look at them: numbers whole, images small, of a bag or of a data set alike."""

from __future__ import annotations

import os
from collections.abc import Iterator
from collections.abc import Mapping as Map
from dataclasses import dataclass, field
from pathlib import Path

import cv2
import numpy as np

from latent_policy_ros.common.errors import ArtifactError, ConfigError, ObservationRefused
from latent_policy_ros.data.bags.reader import find_bags, open_bag
from latent_policy_ros.data.conversion.alignment import Alignment, Row, replay
from latent_policy_ros.data.conversion.mapping import NO_ROBOTS, TopicMapping, robots_of_bag
from latent_policy_ros.data.conversion.topic_resolution import camera_rate, check_metadata, resolve_topics
from latent_policy_ros.data.issues import BagUnreadable, Issue, IssueReporter, Issues
from latent_policy_ros.data.lerobot.collection import REPORT, datasets_in
from latent_policy_ros.data.lerobot.layout import ACTION, INFO, STATE, WRIST
from latent_policy_ros.data.lerobot.reader import LeRobotReader
from latent_policy_ros.data.lerobot.video import size_in_video
from latent_policy_ros.embodiments import Embodiment, load_embodiment

BAG_RATE = 10  # frames a second at which bags are looked at whose cameras tell none


@dataclass
class EpisodeView:
    """One episode.

    Attributes:
        name: For people and file names: no other episode of the same path has it. Parts may be separated by ``/``.
        source: The bag or data set.
        fps: Frames a second.
        joints: Names of the n joints.
        state, action: Measured and commanded, (T, n).
        wrist: Measured pose, (T, 7), or None.
        images: {camera: (K, h, w, 3) uint8 RGB}, of the frames ``moments`` (K,).
        topics: {camera, ``state`` or ``action``: where it was found}.
        embodiment: The end-effector; None if it is not known here.
        faults: What was found wrong on the way.
    """

    name: str
    source: Path
    fps: int
    joints: tuple[str, ...]
    state: np.ndarray
    action: np.ndarray
    wrist: np.ndarray | None
    images: dict[str, np.ndarray]
    moments: np.ndarray
    topics: dict[str, str]
    embodiment: Embodiment | None
    faults: list[Issue] = field(default_factory=list)


def datasets_or_bags(path: Path) -> tuple[list[Path], list[Path]]:
    """What people may look at: a data set or those of a folder, and without any, bags.

    Raises:
        ArtifactError: There is neither.
    """
    roots = [path] if (path / INFO).is_file() else datasets_in(path)
    try:
        return roots, [] if roots else find_bags([path], "data set or bag")
    except ArtifactError as error:
        if (path / REPORT).is_file():
            raise ArtifactError(f"{error}; {path / REPORT} says what was left out, and why") from None
        raise


def episode_views(path: Path, mapping: TopicMapping | None = None, rows: int = 24, moments: int = 0) -> Iterator[EpisodeView]:
    """All episodes of a data set, of a folder of data sets, or of bags.

    Args:
        mapping: What the topics of foreign bags are.
        rows: Height of the images.
        moments: About how many frames of each episode to take images of, evenly spread; 0: all.
    """
    datasets, bags = datasets_or_bags(path)
    for root in datasets:
        yield from _of_dataset(LeRobotReader(root), rows, moments)
    above = Path(os.path.abspath(path)).name if path in bags else ""
    for bag in bags:
        yield from _of_bag(bag, f"{above / bag.relative_to(path)}", mapping or TopicMapping(()), rows, moments)


def _small(image: np.ndarray, rows: int) -> np.ndarray:
    height, width = image.shape[:2]
    return cv2.resize(image, (max(1, round(width * rows / height)), rows), interpolation=cv2.INTER_AREA)


def _of_dataset(reader: LeRobotReader, rows: int, moments: int) -> Iterator[EpisodeView]:
    identity, faults = reader.identity, []
    embodiment = None
    try:
        embodiment = load_embodiment(identity.embodiment)
        if embodiment.content_hash != identity.embodiment_hash:
            text = f"made with {identity.embodiment} {identity.embodiment_hash[:12]}, which is {embodiment.content_hash[:12]} here"
            faults.append(Issue("mismatched ids", text, reader.root))
    except ConfigError as error:
        faults.append(Issue("mismatched ids", str(error), reader.root))
    for number, row in enumerate(reader.episodes):
        columns = reader.columns(number)
        wanted = _spread(row["length"], moments)
        images = {}
        for camera in reader.cameras:
            chosen = set(wanted)
            images[camera] = np.array([_small(p, rows) for k, p in enumerate(reader.images(number, camera)) if k in chosen])
        mine = list(faults)
        if not np.allclose(columns["timestamp"], np.arange(row["length"]) / reader.fps, atol=1e-4):
            mine.append(Issue("clock jump", f"timestamps are not frame_index / {reader.fps}", reader.root, f"episode {number}"))
        names = {camera: f"episode {number}, {camera}" for camera in reader.cameras}
        yield EpisodeView(
            f"{reader.root.name}_{number:04d}", reader.root, reader.fps, tuple(reader.features[STATE]["names"]), columns[STATE],
            columns[ACTION], columns.get(WRIST), images, wanted,
            {**names, "state": f"episode {number}, {STATE}", "action": f"episode {number}, {ACTION}"}, embodiment, mine,
        )  # fmt: skip


def _spread(length: int, moments: int) -> np.ndarray:
    return np.unique(np.linspace(0, length - 1, moments).round().astype(int)) if moments else np.arange(length)


def _of_bag(path: Path, name: str, mapping: TopicMapping, rows: int, moments: int) -> Iterator[EpisodeView]:
    faults = Issues()
    try:
        with open_bag(path) as bag:
            robots = mapping.robots or robots_of_bag(bag.custom)
            if not robots:
                raise ConfigError(path, "", NO_ROBOTS)
            fps, seen = mapping.fps or camera_rate(bag, robots) or BAG_RATE, []
            every = max(1, round((bag.end - bag.start) * fps / moments)) if moments else 1
            for robot in robots:
                mine = Issues()
                check_metadata(bag, robot, mine.add)
                if sources := resolve_topics(bag, robot, mine.add):
                    by_receipt = mapping.stamps == "receive"
                    alignment = Alignment(robot, sources, fps, mapping.limits, by_receipt, bag.start, mine.add, path)
                    desk = IssueReporter(mine.add, path, robot.robot, bag.start)
                    seen.append((robot, alignment, mine, _Gathering(rows, every, desk, sources.cameras)))
                else:
                    yield _empty(f"{name}_{robot.robot}", path, list(mine))
            replay(bag, [(alignment, gathering) for _, alignment, _, gathering in seen])
            for robot, alignment, mine, gathering in seen:
                yield gathering.look(f"{name}_{robot.robot}", path, robot.joints, alignment, robot.embodiment, mine)
    except BagUnreadable as error:
        faults.add(error.issue)
    except ConfigError as error:
        faults.add(Issue("unusable", str(error), path))
    if list(faults):
        yield _empty(name, path, list(faults))


def _empty(name: str, path: Path, faults: list[Issue]) -> EpisodeView:
    nothing = np.zeros((0, 0))
    return EpisodeView(name, path, BAG_RATE, (), nothing, nothing, None, {}, np.zeros(0, int), {}, None, faults)


class _Gathering:
    """Keeps the numbers of all rows, and small images of some."""

    def __init__(self, rows: int, every: int, desk: IssueReporter, topics: Map[str, str]) -> None:
        self._rows, self._every, self._desk, self._topics = rows, every, desk, topics
        self._sizes: dict[str, tuple[int, int]] = {}
        self._state: list[np.ndarray] = []
        self._action: list[np.ndarray] = []
        self._wrist: list[np.ndarray] = []
        self._moments: list[int] = []
        self._images: dict[str, list[np.ndarray]] = {}

    def __call__(self, row: Row) -> None:
        number = len(self._state)
        if number % self._every == 0 and (small := self._look_at(row)):
            self._moments.append(number)
            for camera, image in small.items():
                self._images.setdefault(camera, []).append(image)
        self._state.append(row.observation.joints)
        self._action.append(row.command)
        if row.observation.wrist_pose is not None:
            self._wrist.append(row.observation.wrist_pose)

    def _look_at(self, row: Row) -> dict[str, np.ndarray]:
        """Small images of a row, by camera; none, with a fault, if no video could take one of them."""
        small = {}
        for camera, image in row.observation.images.items():
            try:
                rgb = image()
                height, width = self._sizes[camera] = size_in_video(rgb, self._sizes.get(camera))
            except ObservationRefused as error:
                self._desk.report("image", self._topics[camera], row.observation.stamp, str(error))
                return {}
            small[camera] = _small(rgb[:height, :width], self._rows)
        return small

    def look(
        self, name: str, path: Path, joints: tuple[str, ...], alignment: Alignment, embodiment: Embodiment, faults: Issues
    ) -> EpisodeView:
        """All of it."""
        sources, n = alignment.topics, len(joints)
        return EpisodeView(
            name, path, alignment.fps, joints, np.array(self._state).reshape(-1, n), np.array(self._action).reshape(-1, n),
            np.array(self._wrist) if self._wrist else None, {c: np.array(p) for c, p in self._images.items()},
            np.array(self._moments, int), {**sources.cameras, "state": sources.state, "action": sources.command},
            embodiment, list(faults),
        )  # fmt: skip
