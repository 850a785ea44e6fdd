"""Topic resolution: the topics of a robot that a bag contains, their message types, and checks of the bag's metadata."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import islice

import numpy as np

from latent_policy_ros.common.bounded_reader import parse_json
from latent_policy_ros.data.bags.reader import Bag
from latent_policy_ros.data.conversion.command_types import CommandType, command_types
from latent_policy_ros.data.conversion.mapping import RobotTopics
from latent_policy_ros.data.issues import Issue
from latent_policy_ros.observations.modalities import Field, Modality, message_types, modality_for, value_modality

RATE_SAMPLE = 50  # images per camera from which its rate is estimated

Report = Callable[[Issue], None]


@dataclass(frozen=True)
class ResolvedTopics:
    """Topics and message types of one robot in one bag.

    Attributes:
        cameras: {camera: topic}.
        state, command: Topics of measured and commanded joints.
        command_type: Message type of the command.
        wrist, wrist_command: Topics of the measured and the commanded wrist pose; empty without one.
        streams: {name: topic} of additional streams.
        modalities: Conversion of the messages of each topic but ``command``.
    """

    cameras: Mapping[str, str]
    state: str
    command: str
    command_type: CommandType
    wrist: str = ""
    wrist_command: str = ""
    streams: Mapping[str, str] = field(default_factory=dict)
    modalities: Mapping[str, Modality] = field(default_factory=dict)

    @property
    def names(self) -> set[str]:
        """Names of all topics."""
        topics = *self.cameras.values(), self.state, self.command, self.wrist, self.wrist_command, *self.streams.values()
        return {topic for topic in topics if topic}


def camera_topics(robots: Iterable[RobotTopics]) -> set[str]:
    """All topics on which cameras of these robots may publish."""
    return {topic for robot in robots for topics in robot.cameras.values() for topic in topics}


def camera_rate(bag: Bag, robots: Iterable[RobotTopics]) -> int:
    """Images per second of the fastest camera of the robots; 0 if it cannot be estimated.

    The fastest is used because a camera that stalls must not lower the frame rate of the data set.
    """
    times: dict[str, list[float]] = {topic: [] for topic in camera_topics(robots) if topic in bag.topics}
    for topic, received, _ in islice(bag.messages(times), RATE_SAMPLE * len(times)):
        times[topic].append(received)
    periods = [float(np.median(np.diff(of))) for of in times.values() if len(of) > 2]
    return round(max((1 / period for period in periods if period > 0), default=0.0))


def resolve_topics(bag: Bag, robot: RobotTopics, report: Report) -> ResolvedTopics | None:
    """Find the topics of a robot in a bag.

    Returns:
        The topics; None, after reporting the issues, if one is missing or has an unsupported message type.
    """
    search = _Search(bag, robot, report)
    commands = command_types()
    command = search.find(robot.command, tuple(commands))
    command_type = commands.get(search.msg_type(command))
    if command_type and not command_type.named and not robot.order:
        search.fail("no names", f"{command_type.message_type} without `order` in the mapping", command)
    cameras = {camera: search.find_modality(topics, "images") for camera, topics in robot.cameras.items()}
    state = search.find_modality((robot.state,), "joints")
    wrist = search.find_modality((robot.wrist,), "wrist_pose", not robot.optional_wrist) if robot.wrist else ""
    wrist_command = (
        search.find_modality((robot.wrist_command,), "wrist_pose", not robot.optional_wrist) if robot.wrist_command else ""
    )
    for topic, name in robot.streams.values():
        modality = value_modality(name)
        if search.find((topic,), modality.message_types):
            search.modalities[topic] = modality
    if search.failed or command_type is None:
        return None
    streams = {name: topic for name, (topic, _) in robot.streams.items()}
    return ResolvedTopics(cameras, state, command, command_type, wrist, wrist_command, streams, search.modalities)


class _Search:
    """Searches topics in a bag and reports those that are missing or of unsupported type."""

    def __init__(self, bag: Bag, robot: RobotTopics, report: Report) -> None:
        self.bag, self.robot, self._report = bag, robot, report
        self.failed = False
        self.modalities: dict[str, Modality] = {}

    def msg_type(self, topic: str) -> str:
        return self.bag.topics[topic].msg_type if topic in self.bag.topics else ""

    def find(self, names: Sequence[str], msg_types: Sequence[str], required: bool = True) -> str:
        """The first of several topics that has messages; empty if there is none."""
        found = next((name for name in names if name in self.bag.topics and self.bag.topics[name].count), "")
        if not found:
            if required:
                others = ", ".join(sorted(self.bag.topics)) or "none"
                self.fail("missing topic", f"no message on it; the bag has {others}", " or ".join(names))
        elif self.msg_type(found) not in msg_types:
            self.fail("wrong type", f"got {self.msg_type(found)}, expected {' or '.join(msg_types)}", found)
        return found

    def find_modality(self, names: Sequence[str], field: Field, required: bool = True) -> str:
        """Like ``find``, for the message types of a field of observations."""
        found = self.find(names, message_types(field), required)
        if modality := modality_for(field, self.msg_type(found)):
            self.modalities[found] = modality
        return found

    def fail(self, kind: str, text: str, topic: str) -> None:
        self.failed = True
        self._report(Issue(kind, text, self.bag.path, topic, robot=self.robot.robot))


def check_metadata(bag: Bag, robot: RobotTopics, report: Report) -> None:
    """Report metadata of a bag that contradicts the mapping or the installed embodiment, and messages the recorder lost."""
    recorded = _json_object(bag, "embodiments").get(robot.robot, {})
    e = robot.embodiment
    if recorded and recorded.get("name", e.name) != e.name:
        text = f"recorded with {recorded['name']}, the mapping says {e.name}"
        report(Issue("another robot", text, bag.path, robot=robot.robot))
    elif recorded.get("content_hash", e.content_hash) != e.content_hash:
        text = f"recorded with {e.name} {recorded['content_hash'][:12]}, the installed one is {e.content_hash[:12]}"
        report(Issue("another robot", text, bag.path, robot=robot.robot))
    if bag.unlisted:
        text = f"{', '.join(bag.unlisted)}: not listed in metadata.yaml and not read (`dataset repair` adds files of the bag)"
        report(Issue("files passed over", text, bag.path, fatal=False))
    for key in ("dropped", "lost"):
        for topic, count in _json_object(bag, key).items():
            report(Issue(f"messages {key}", f"{count} according to the recorder", bag.path, topic, fatal=False))


def outcome(bag: Bag, robot: RobotTopics) -> bool | None:
    """Whether the episode is marked as a success; None if it is not marked."""
    words = {"success": True, "true": True, "failure": False, "false": False}
    marks = _json_object(bag, "outcomes").get(robot.robot), bag.custom.get("outcome"), bag.custom.get("success")
    return next((words[word] for word in marks if word in words), None)


def _json_object(bag: Bag, key: str) -> dict:
    """A JSON object in the metadata of a bag; empty if it is missing or invalid."""
    try:
        value = parse_json(bag.custom.get(key, "{}"))
    except ValueError:
        return {}
    return value if isinstance(value, dict) else {}
