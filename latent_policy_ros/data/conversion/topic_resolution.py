"""Which of a robot's topics a bag has; and what the bag tells of the robot, held against what is known here."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from itertools import islice

import numpy as np

from latent_policy_ros.data.bags.reader import Bag
from latent_policy_ros.data.conversion.mapping import RobotTopics
from latent_policy_ros.data.issues import Issue

IMAGE = ("sensor_msgs/msg/Image", "sensor_msgs/msg/CompressedImage")
STATE, POSE = ("sensor_msgs/msg/JointState",), ("geometry_msgs/msg/PoseStamped",)
ARRAY = "std_msgs/msg/Float64MultiArray"
COMMAND = ("trajectory_msgs/msg/JointTrajectory", "sensor_msgs/msg/JointState", ARRAY)

SAMPLE = 50  # images of each camera that tell its rate

Report = Callable[[Issue], None]


@dataclass(frozen=True)
class Sources:
    """The topics of one robot in one bag; empty where there is none."""

    cameras: dict[str, str]
    state: str
    command: str
    wrist: str = ""
    wrist_command: str = ""

    @property
    def topics(self) -> set[str]:
        """All of them."""
        return {t for t in (*self.cameras.values(), self.state, self.command, self.wrist, self.wrist_command) if t}


def camera_topics(robots: Iterable[RobotTopics]) -> set[str]:
    """All topics on which cameras of these robots may be."""
    return {topic for robot in robots for topics in robot.cameras.values() for topic in topics}


def camera_rate(bag: Bag, robots: Iterable[RobotTopics]) -> int:
    """Images a second of the robots' fastest camera (one that fell asleep must not set it); 0 if they do not tell."""
    times: dict[str, list[float]] = {topic: [] for topic in camera_topics(robots) if topic in bag.topics}
    for topic, received, _ in islice(bag.messages(times), SAMPLE * len(times)):
        times[topic].append(received)
    periods = [float(np.median(np.diff(of))) for of in times.values() if len(of) > 2]
    return round(max((1 / period for period in periods if period > 0), default=0.0))


def find_sources(bag: Bag, robot: RobotTopics, report: Report) -> Sources | None:
    """The topics of ``robot`` in ``bag``; None, with the reasons told, if one is missing or of a type nobody understands."""
    failed = False

    def choose(names: Sequence[str], kinds: Sequence[str], required: bool = True) -> str:
        nonlocal failed
        there = [name for name in names if name in bag.topics and bag.topics[name].count]
        if not there:
            if required:
                failed = True
                there = ", ".join(sorted(bag.topics)) or "none"
                text = f"no message on it; the bag has {there}"
                report(Issue("missing topic", text, bag.path, " or ".join(names), robot=robot.robot))
            return ""
        kind = bag.topics[there[0]].kind
        if kind not in kinds:
            failed = True
            report(Issue("wrong type", f"is {kind}, expected {' or '.join(kinds)}", bag.path, there[0], robot=robot.robot))
        elif kind == ARRAY and not robot.order:
            failed = True
            report(Issue("no names", f"{kind} without `order` in the mapping", bag.path, there[0], robot=robot.robot))
        return there[0]

    found = Sources(
        {camera: choose(names, IMAGE) for camera, names in robot.cameras.items()},
        choose((robot.state,), STATE),
        choose(robot.command, COMMAND),
        choose((robot.wrist,), POSE, not robot.optional_wrist) if robot.wrist else "",
        choose((robot.wrist_command,), POSE, not robot.optional_wrist) if robot.wrist_command else "",
    )
    return None if failed else found


def check_told(bag: Bag, robot: RobotTopics, report: Report) -> None:
    """Report what the bag tells of itself and does not agree with what is known here."""
    told = _told(bag, "embodiments").get(robot.robot, {})
    e = robot.embodiment
    if told and told.get("name", e.name) != e.name:
        report(Issue("another robot", f"recorded with {told['name']}, the mapping says {e.name}", bag.path, robot=robot.robot))
    elif told.get("content_hash", e.content_hash) != e.content_hash:
        text = f"recorded with {e.name} {told['content_hash'][:12]}, which is {e.content_hash[:12]} here"
        report(Issue("another robot", text, bag.path, robot=robot.robot))
    if bag.unlisted:
        text = f"{', '.join(bag.unlisted)}: not named in metadata.yaml, so not read (`dataset repair` takes in pieces of a bag)"
        report(Issue("files passed over", text, bag.path, fatal=False))
    for key in ("dropped", "lost"):
        for topic, count in _told(bag, key).items():
            report(Issue(f"messages {key}", f"{count} by the recorder's own account", bag.path, topic, fatal=False))


def outcome(bag: Bag, robot: RobotTopics) -> bool | None:
    """Whether the robot did what it should; None if nobody said."""
    words = {"success": True, "true": True, "failure": False, "false": False}
    mine = _told(bag, "outcomes").get(robot.robot)
    told = (mine, bag.custom.get("outcome"), bag.custom.get("success"))
    return next((words[word] for word in told if word in words), None)


def _told(bag: Bag, key: str) -> dict:
    """A mapping that a bag tells of itself; empty where it tells none, or nothing that can be understood."""
    try:
        value = json.loads(bag.custom.get(key, "{}"))
    except ValueError:
        return {}
    return value if isinstance(value, dict) else {}
