"""Episodes of bags and data sets for inspection: complete vectors, reduced images, and the issues found while reading."""

from __future__ import annotations

import os
from collections.abc import Iterator
from collections.abc import Mapping as Map
from dataclasses import dataclass, field
from pathlib import Path

import cv2
import numpy as np

from latent_policy_ros.common.errors import ArtifactError, ConfigError, ObservationRefused, describe_error
from latent_policy_ros.data.bags.reader import find_bags, open_bag
from latent_policy_ros.data.conversion.alignment import Alignment, Row, replay
from latent_policy_ros.data.conversion.bag_metadata import check_metadata, marked_episodes
from latent_policy_ros.data.conversion.mapping import NO_ROBOTS, TopicMapping, robots_of_bag
from latent_policy_ros.data.conversion.topic_resolution import camera_rate, resolve_topics
from latent_policy_ros.data.issues import BagUnreadable, Issue, IssueReporter, Issues
from latent_policy_ros.data.lerobot.collection import REPORT, list_datasets
from latent_policy_ros.data.lerobot.layout import ACTION, INFO, STATE, WRIST
from latent_policy_ros.data.lerobot.reader import LeRobotReader
from latent_policy_ros.data.lerobot.video import encoded_size
from latent_policy_ros.embodiments import Embodiment, load_embodiment

DEFAULT_FPS = 10  # of bags without a camera from which the rate can be determined


@dataclass
class EpisodeView:
    """One episode of a bag or data set.

    Attributes:
        name: Name, unique below the inspected path; may contain ``/``.
        source: The bag or data set.
        fps: Frames per second.
        joints: Names of the n joints.
        state: Measured joint positions, (T, n) [rad or m].
        action: Commanded joint positions, (T, m) [rad or m]; (T, 0) for a bag without commands.
        wrist: Measured wrist pose, (T, 7), or None.
        images: {camera: (K, h, w, 3) uint8 RGB} of the frames ``image_frames``.
        image_frames: Frame numbers of the images, (K,).
        topics: {camera, ``state`` or ``action``: its topic or feature}.
        embodiment: The embodiment; None if it is unknown here.
        issues: Issues found while reading.
    """

    name: str
    source: Path
    fps: int
    joints: tuple[str, ...]
    state: np.ndarray
    action: np.ndarray
    wrist: np.ndarray | None
    images: dict[str, np.ndarray]
    image_frames: np.ndarray
    topics: dict[str, str]
    embodiment: Embodiment | None
    issues: list[Issue] = field(default_factory=list)
    action_joints: tuple[str, ...] = ()

    def commanded(self, joint: str) -> np.ndarray:
        """Commanded positions of a joint, (T,); NaN if it is not commanded."""
        known = joint in self.action_joints
        return self.action[:, self.action_joints.index(joint)] if known else np.full(len(self.state), np.nan)


def datasets_or_bags(path: Path) -> tuple[list[Path], list[Path]]:
    """The data set at ``path`` or the data sets in it; if there are none, the bags.

    Raises:
        ArtifactError: There is neither a data set nor a bag.
    """
    roots = [path] if (path / INFO).is_file() else list_datasets(path)
    try:
        return roots, [] if roots else find_bags([path], "data set or bag")
    except ArtifactError as error:
        if (path / REPORT).is_file():
            raise ArtifactError(f"{error}; {path / REPORT} says what was left out, and why") from None
        raise


def episode_views(
    path: Path, mapping: TopicMapping | None = None, image_height: int = 24, max_images: int = 0
) -> Iterator[EpisodeView]:
    """All episodes of a data set, of a folder of data sets, or of bags.

    Args:
        path: Data set, bag, or a folder of them.
        mapping: Topics of bags that were not recorded by this package.
        image_height: Height to which images are reduced [px].
        max_images: Approximate number of images of each episode and camera, evenly spaced; 0: all.
    """
    datasets, bags = datasets_or_bags(path)
    for root in datasets:
        yield from _views_of_dataset(LeRobotReader(root), image_height, max_images)
    parent = Path(os.path.abspath(path)).name if path in bags else ""
    for bag in bags:
        yield from _views_of_bag(bag, f"{parent / bag.relative_to(path)}", mapping or TopicMapping(()), image_height, max_images)


def _reduce(image: np.ndarray, height: int) -> np.ndarray:
    width = max(1, round(image.shape[1] * height / image.shape[0]))
    return cv2.resize(image, (width, height), interpolation=cv2.INTER_AREA)


def _views_of_dataset(reader: LeRobotReader, image_height: int, max_images: int) -> Iterator[EpisodeView]:
    identity, common = reader.identity, []
    embodiment = None
    try:
        embodiment = load_embodiment(identity.embodiment)
        if embodiment.content_hash != identity.embodiment_hash:
            text = (
                f"made with {identity.embodiment} {identity.embodiment_hash[:12]}; "
                f"the embodiment here is {embodiment.content_hash[:12]}"
            )
            common.append(Issue("mismatched ids", text, reader.root))
    except ConfigError as error:
        common.append(Issue("mismatched ids", str(error), reader.root))
    for number, row in enumerate(reader.episodes):
        columns = reader.columns(number)
        frames = _evenly_spaced(row["length"], max_images)
        chosen, images = set(frames), {}
        for camera in reader.cameras:
            selected = (image for k, image in enumerate(reader.images(number, camera)) if k in chosen)
            images[camera] = np.array([_reduce(image, image_height) for image in selected])
        issues = list(common)
        if not np.allclose(columns["timestamp"], np.arange(row["length"]) / reader.fps, atol=1e-4):
            text = f"timestamps differ from frame_index / {reader.fps}"
            issues.append(Issue("clock jump", text, reader.root, f"episode {number}"))
        topics = {camera: f"episode {number}, {camera}" for camera in reader.cameras}
        topics |= {"state": f"episode {number}, {STATE}", "action": f"episode {number}, {ACTION}"}
        yield EpisodeView(
            f"{reader.root.name}_{number:04d}", reader.root, reader.fps, reader.joint_names(STATE), columns[STATE],
            columns[ACTION], columns.get(WRIST), images, frames, topics, embodiment, issues, reader.joint_names(ACTION),
        )  # fmt: skip


def _evenly_spaced(length: int, count: int) -> np.ndarray:
    return np.unique(np.linspace(0, length - 1, count).round().astype(int)) if count else np.arange(length)


def _views_of_bag(path: Path, name: str, mapping: TopicMapping, image_height: int, max_images: int) -> Iterator[EpisodeView]:
    unreadable: list[Issue] = []
    try:
        with open_bag(path) as bag:
            robots = mapping.robots or robots_of_bag(bag.custom)
            if not robots:
                raise ConfigError(path, "", NO_ROBOTS)
            by_receipt = mapping.stamps == "receive"
            fps, collectors = mapping.fps or camera_rate(bag, robots, by_receipt) or DEFAULT_FPS, []
            marks = Issues()
            windows = marked_episodes(bag, mapping.episodes, marks.add)
            stride = max(1, round((bag.end - bag.start) * fps / max_images)) if max_images else 1
            for robot in robots:
                issues = Issues()
                check_metadata(bag, robot, issues.add)
                if topics := resolve_topics(bag, robot, issues.add):
                    for issue in marks:
                        issues.add(issue)
                    alignment = Alignment(robot, topics, fps, mapping, bag.start, issues.add, path, windows)
                    reporter = IssueReporter(issues.add, path, robot.robot, bag.start)
                    collectors.append((robot, alignment, issues, _RowCollector(image_height, stride, reporter, topics.cameras)))
                else:
                    yield _empty_view(f"{name}_{robot.robot}", path, list(issues))
            replay(bag, [(alignment, collector.add) for _, alignment, _, collector in collectors])
            for robot, alignment, issues, collector in collectors:
                yield collector.view(f"{name}_{robot.robot}", path, robot.joints, alignment, robot.embodiment, issues)
    except BagUnreadable as error:
        unreadable.append(error.issue)
    except Exception as error:  # one bag must not stop the inspection of the others
        unreadable.append(Issue("unusable", describe_error(error), path))
    if unreadable:
        yield _empty_view(name, path, unreadable)


def _empty_view(name: str, path: Path, issues: list[Issue]) -> EpisodeView:
    nothing = np.zeros((0, 0))
    return EpisodeView(name, path, DEFAULT_FPS, (), nothing, nothing, None, {}, np.zeros(0, int), {}, None, issues)


class _RowCollector:
    """Collects the vectors of all rows of one robot, and reduced images of every ``stride``-th row."""

    def __init__(self, image_height: int, stride: int, reporter: IssueReporter, topics: Map[str, str]) -> None:
        self._image_height, self._stride, self._reporter, self._topics = image_height, stride, reporter, topics
        self._sizes: dict[str, tuple[int, int]] = {}
        self._state: list[np.ndarray] = []
        self._action: list[np.ndarray] = []
        self._wrist: list[np.ndarray] = []
        self._image_frames: list[int] = []
        self._images: dict[str, list[np.ndarray]] = {}

    def add(self, row: Row) -> None:
        frame = len(self._state)
        if frame % self._stride == 0 and (reduced := self._reduced_images(row)):
            self._image_frames.append(frame)
            for camera, image in reduced.items():
                self._images.setdefault(camera, []).append(image)
        self._state.append(row.observation.joints)
        self._action.append(np.zeros(0) if row.command is None else row.command)
        if row.observation.wrist_pose is not None:
            self._wrist.append(row.observation.wrist_pose)

    def _reduced_images(self, row: Row) -> dict[str, np.ndarray]:
        """{camera: reduced image}; empty, with an issue reported, if an image could not be encoded as video."""
        reduced = {}
        for camera, image in row.observation.images.items():
            try:
                rgb = image() if callable(image) else image
                height, width = self._sizes[camera] = encoded_size(rgb, self._sizes.get(camera))
            except ObservationRefused as error:
                self._reporter.report("image", self._topics[camera], row.observation.stamp, str(error))
                return {}
            reduced[camera] = _reduce(rgb[:height, :width], self._image_height)
        return reduced

    def view(
        self, name: str, path: Path, joints: tuple[str, ...], alignment: Alignment, embodiment: Embodiment, issues: Issues
    ) -> EpisodeView:
        topics, n = alignment.topics, len(joints)
        actions = topics.action_joints if topics.command else ()
        return EpisodeView(
            name, path, alignment.fps, joints, np.array(self._state).reshape(-1, n),
            np.array(self._action).reshape(len(self._action), len(actions)),
            np.array(self._wrist) if self._wrist else None, {camera: np.array(images) for camera, images in self._images.items()},
            np.array(self._image_frames, int), {**topics.cameras, "state": topics.state_topic, "action": topics.command_topic},
            embodiment, list(issues), actions,
        )  # fmt: skip
