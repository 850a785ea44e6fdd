"""Topic resolution: the topics of a robot that a bag contains, and their message types."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import islice
from typing import Any

import numpy as np

from latent_policy_ros.data.bags.reader import Bag
from latent_policy_ros.data.conversion.command_stream import JointReader
from latent_policy_ros.data.conversion.command_types import CommandPoint, CommandType, command_types
from latent_policy_ros.data.conversion.mapping import RobotTopics
from latent_policy_ros.data.conversion.sources import TF_STATIC, JointSource, PoseSource
from latent_policy_ros.data.conversion.stream_monitor import typical_interval
from latent_policy_ros.data.issues import Issue
from latent_policy_ros.observations.messages import UNUSABLE, stamp_of
from latent_policy_ros.observations.modalities import (
    DEPTH_IMAGE,
    Field,
    Modality,
    load_modality,
    message_types,
    modality_for,
    value_modality,
)

RATE_SAMPLE = 50  # images per camera from which its rate is estimated
RATE_LAG = 6  # images between two receipts that are compared, because a network may deliver several at once
NAME_SAMPLE = 200  # commands of a topic in which joint names are looked up
TF_TYPES = "tf2_msgs/msg/TFMessage", "geometry_msgs/msg/TransformStamped"

Report = Callable[[Issue], None]


@dataclass(frozen=True)
class ResolvedTopics:
    """Topics and message types of one robot in one bag.

    Attributes:
        cameras: {camera: topic}.
        state, command: Readers of measured and commanded joints by topic; no commands if the next state is the action.
        action_joints: Joints of the action: those of the end-effector, and of the additional joints those that are commanded.
        wrist, wrist_command: The measured and the commanded wrist pose; None without one.
        streams: {name: topic} of additional streams.
        modalities: Conversion of the messages of cameras, poses and streams by topic.
    """

    cameras: Mapping[str, str]
    state: Mapping[str, JointReader]
    command: Mapping[str, JointReader]
    action_joints: tuple[str, ...]
    wrist: PoseSource | None = None
    wrist_command: PoseSource | None = None
    streams: Mapping[str, str] = field(default_factory=dict)
    modalities: Mapping[str, Modality] = field(default_factory=dict)

    @property
    def names(self) -> set[str]:
        """Names of all topics."""
        poses = [pose for pose in (self.wrist, self.wrist_command) if pose]
        static = [TF_STATIC for pose in poses if pose.frames]
        return {*self.cameras.values(), *self.state, *self.command, *(p.topic for p in poses), *static, *self.streams.values()}

    def image_topic(self, camera: str) -> str:
        """The topic of a camera or of a stream of depth images; empty without one."""
        return self.cameras.get(camera) or self.streams.get(camera, "")

    @property
    def depth(self) -> tuple[str, ...]:
        """Names of the streams of depth images."""
        return tuple(name for name, topic in self.streams.items() if self.modalities[topic].name == DEPTH_IMAGE.name)

    @property
    def state_topic(self) -> str:
        """The first topic of measured joints."""
        return next(iter(self.state))

    @property
    def command_topic(self) -> str:
        """The first topic of commanded joints; empty without commands."""
        return next(iter(self.command), "")


def camera_topics(robots: Iterable[RobotTopics]) -> set[str]:
    """All topics on which cameras of these robots may publish."""
    return {topic for robot in robots for topics in robot.cameras.values() for topic in topics}


def camera_rate(bag: Bag, robots: Iterable[RobotTopics], by_receipt: bool = False) -> int:
    """Images per second of the fastest camera of the robots, by their stamps; 0 if it cannot be estimated.

    The fastest is used because a camera that stalls must not lower the frame rate of the data set.

    Args:
        bag: An open bag.
        robots: The robots.
        by_receipt: Use the times of receipt; they are also used for a camera without stamps.
    """
    stamps: dict[str, list[float]] = {topic: [] for topic in camera_topics(robots) if topic in bag.topics}
    received: dict[str, list[float]] = {topic: [] for topic in stamps}
    for topic, at, message in islice(bag.messages(stamps), RATE_SAMPLE * len(stamps)):
        received[topic].append(at)
        stamps[topic].append(stamp_of(message) or 0.0)
    periods = []
    for topic, times in stamps.items():
        usable = not by_receipt and len(set(times)) == len(times)
        ordered = np.sort(times if usable else received[topic])
        lag = 1 if usable else max(1, min(RATE_LAG, len(ordered) // 3))
        if len(ordered) > 2:
            periods.append(typical_interval(ordered[lag:] - ordered[:-lag]) / lag)
    return round(max((1 / period for period in periods if period > 0), default=0.0))


def resolve_topics(bag: Bag, robot: RobotTopics, report: Report) -> ResolvedTopics | None:
    """Find the topics of a robot in a bag.

    Returns:
        The topics; None, after reporting the issues, if one is missing or has an unsupported message type.
    """
    search = _Search(bag, robot, report)
    types = command_types()
    measuring = {name: kind for name, kind in types.items() if kind.measures}
    measuring |= {name: _named_type(name) for name in message_types("joints") if name not in measuring}
    commands = search.joint_topics("command", robot.command, types)
    cameras = {camera: search.find_modality(topics, "images") for camera, topics in robot.cameras.items()}
    states = search.joint_topics("state", robot.state, measuring)
    wrist = search.find_pose(robot.wrist, not robot.optional_wrist)
    wrist_command = search.find_pose(robot.wrist_command, not robot.optional_wrist)
    for topic, name in robot.streams.values():
        modality = value_modality(name)
        if search.find((topic,), modality.message_types):
            search.modalities[topic] = modality
    if search.failed:
        return None
    action_joints = robot.joints
    if commands:
        named = search.commanded_names(commands)
        action_joints = robot.embodiment.joint_names + tuple(name for name in robot.more_joints if name in named)
        if left := [name for name in robot.more_joints if name not in named]:
            text = f"no command for {', '.join(left)}: measured only, and not part of the action"
            report(Issue("not commanded", text, bag.path, next(iter(commands)), robot=robot.robot, fatal=False))
    streams = {name: topic for name, (topic, _) in robot.streams.items()}
    return ResolvedTopics(
        cameras, search.readers(states, robot.joints), search.readers(commands, action_joints), action_joints, wrist,
        wrist_command, streams, search.modalities,
    )  # fmt: skip


def _named_type(message_type: str) -> CommandType:
    """A type of measured joints of an installed modality; its messages name their joints in ``name``."""

    def read(message: Any) -> list[CommandPoint]:
        modality = modality_for("joints", message_type)
        return [CommandPoint(list(modality.read(message)), message.name)] if modality else []

    return CommandType(message_type, read)


class _Search:
    """Searches topics in a bag and reports those that are missing or of unsupported type."""

    def __init__(self, bag: Bag, robot: RobotTopics, report: Report) -> None:
        self.bag, self.robot, self._report = bag, robot, report
        self.failed = False
        self.modalities: dict[str, Modality] = {}

    def msg_type(self, topic: str) -> str:
        return self.bag.topics[topic].msg_type if topic in self.bag.topics else ""

    def find(self, names: Sequence[str], msg_types: Sequence[str], required: bool = True, remedy: str = "") -> str:
        """The first of several topics that has messages; empty if there is none."""
        found = next((name for name in names if name in self.bag.topics and self.bag.topics[name].count), "")
        if not found:
            if required:
                others = ", ".join(sorted(self.bag.topics)) or "none"
                self.fail("missing topic", f"no message on it; the bag has {others}{remedy}", " or ".join(names))
        elif self.msg_type(found) not in msg_types:
            got = self.msg_type(found)
            velocity = "; velocities are not integrated to poses: `wrist_command: next_state` takes the next measured pose"
            text = f"got {got}, expected {' or '.join(msg_types)}{velocity if '/Twist' in got else ''}"
            self.fail("wrong type", text, found)
        elif more := self.bag.topics[found].other_types:
            self.fail("wrong type", f"messages of {' and '.join((self.msg_type(found), *more))}; expected one type", found)
        return found

    def find_modality(self, names: Sequence[str], field: Field, required: bool = True) -> str:
        """Like ``find``, for the message types of a field of observations."""
        found = self.find(names, message_types(field), required)
        if modality := modality_for(field, self.msg_type(found)):
            self.modalities[found] = modality
        return found

    def find_pose(self, source: PoseSource | None, required: bool) -> PoseSource | None:
        if source is None:
            return None
        if source.frames:
            found = self.find((source.topic,), TF_TYPES, required)
            self.modalities[TF_STATIC] = self.modalities[source.topic] = load_modality("wrist_pose")
        else:
            found = self.find_modality((source.topic,), "wrist_pose", required)
        return source if found else None

    def joint_topics(
        self, name: str, sources: Sequence[JointSource], types: Mapping[str, CommandType]
    ) -> dict[str, tuple[JointSource, CommandType, str]]:
        """{topic: (source, type, path in the mapping)} of some sources; the order and the value map are completed."""
        found: dict[str, tuple[JointSource, CommandType, str]] = {}
        remedy = "; without recorded commands, write `command: next_state`" if name == "command" else ""
        for number, source in enumerate(sources):
            path = f"{name}[{number}]" if len(sources) > 1 else name
            topic = self.find(source.topics, tuple(types), remedy=remedy)
            kind = types.get(self.msg_type(topic))
            if kind is None:
                continue
            embodiment = self.robot.embodiment
            if not kind.named and not source.order:
                if len(embodiment.joint_names) == 1 and not kind.message_type.endswith("Array"):
                    source = replace(source, order=embodiment.joint_names)
                else:
                    self.fail("no names", f"{kind.message_type} without `{path}.order` in the mapping", topic)
            if kind.ends and source.ends is None and embodiment.kind == "gripper":
                source = replace(source, scale=source.mapped(kind.ends, embodiment))
                text = f"{kind.message_type} without `closed` and `open` in the mapping: true is taken for closed"
                self._report(Issue("assumed", text, self.bag.path, topic, robot=self.robot.robot, fatal=False))
            found[topic] = source, kind, path
        return found

    def readers(self, topics: Mapping[str, tuple[JointSource, CommandType, str]], joints: Sequence[str]) -> dict[str, JointReader]:
        return {topic: JointReader(source, kind, joints, self.robot.rename, path) for topic, (source, kind, path) in topics.items()}

    def commanded_names(self, topics: Mapping[str, tuple[JointSource, CommandType, str]]) -> set[str]:
        """Joints that the first commands of each topic are for, renamed."""
        rename = self.robot.rename
        names = {name for source, kind, _ in topics.values() if source.order for name in source.order}
        for topic, (source, kind, _) in topics.items():
            if self.robot.more_joints and not source.order:
                for _, _, message in islice(self.bag.messages([topic]), NAME_SAMPLE):
                    with contextlib.suppress(*UNUSABLE):  # reported when the message is converted
                        names |= {name for point in kind.read(message) or () for name in point.names or ()}
        return {rename.get(name, name) for name in names}

    def fail(self, kind: str, text: str, topic: str) -> None:
        self.failed = True
        self._report(Issue(kind, text, self.bag.path, topic, robot=self.robot.robot))
