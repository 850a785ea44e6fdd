"""The topics of a recorder: names, types, whether they are required, and their status messages."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Mapping, Sequence

from diagnostic_msgs.msg import DiagnosticArray, DiagnosticStatus, KeyValue
from rclpy.node import Node
from rclpy.serialization import deserialize_message
from trajectory_msgs.msg import JointTrajectory

from latent_policy_ros.common.errors import LatentPolicyError
from latent_policy_ros.data.recording.bag_writer import BagWriter
from latent_policy_ros.data.recording.jpeg import COMPRESSED_IMAGE_TYPE, IMAGE_TYPE, JPEG
from latent_policy_ros.nodes.recorder.subscriptions import TopicSubscription
from latent_policy_ros.nodes.topics.message_conversion import to_stamp

IMAGE_DEPTH, DEPTH = 60, 1000  # queued messages: 2 s of a camera at 30 Hz, 5 s of joint states at 200 Hz
STATES = (("joint_states", "sensor_msgs/msg/JointState"), ("wrist_pose", "geometry_msgs/msg/PoseStamped"))
_COMMAND, _EVENT = "trajectory_msgs/msg/JointTrajectory", "latent_policy_ros/msg/EpisodeEvent"
#: Topics of a robot that are not required: a robot is also recorded without a policy.
ACTIONS = (
    ("latent_action", "latent_policy_ros/msg/LatentAction"), ("hand_command", _COMMAND), ("gripper_command", _COMMAND),
    ("arm_command", _COMMAND), ("wrist_command", "geometry_msgs/msg/PoseStamped"), ("robot_event", _EVENT),
)  # fmt: skip
COMMANDS = tuple(name for name, _ in ACTIONS if name.endswith("_command"))
COMMON = (("episode_event", _EVENT), ("/diagnostics", "diagnostic_msgs/msg/DiagnosticArray"))
CLOCK = "/clock", "rosgraph_msgs/msg/Clock"
Resolve = Callable[[str], str]  # relative name -> fully qualified and remapped name


def cameras_by_robot(robots: Sequence[str], cameras: Sequence[str]) -> dict[str, list[str]]:
    """Cameras of each robot, from the parameters ``robots`` and ``cameras``.

    Raises:
        LatentPolicyError: ``cameras`` does not have one entry for each robot.
    """
    if robots and len(cameras) != len(robots):
        raise LatentPolicyError(
            f"parameters robots and cameras must have one entry for each robot; got {list(robots)}, {list(cameras)}"
        )
    return {robot: [name.strip() for name in listed.split(",") if name.strip()] for robot, listed in zip(robots, cameras)}


def robot_topics(resolve: Resolve, prefix: str, cameras: Sequence[str], images: str) -> list[TopicSubscription]:
    """Subscriptions of one robot. Cameras, joint states and the wrist pose are required.

    Args:
        resolve: Resolves names.
        prefix: Precedes the names of the robot's topics.
        cameras: Names of the cameras.
        images: ``jpeg`` prefers the compressed topic of a camera, ``raw`` the raw topic.
    """
    found = []
    for camera in cameras:
        raw = resolve(f"{prefix}{camera}/image_raw")
        both = [(f"{raw}/compressed", COMPRESSED_IMAGE_TYPE), (raw, IMAGE_TYPE)]
        found.append(TopicSubscription(both if images == JPEG else both[::-1], True, IMAGE_DEPTH))
    for topics, required in ((STATES, True), (ACTIONS, False)):
        for name, msg_type in topics:
            found.append(TopicSubscription([(resolve(f"{prefix}{name}"), msg_type)], required, DEPTH, name not in COMMANDS))
    return found


def all_topics(
    resolve: Resolve, cameras: Mapping[str, Sequence[str]], prefixes: Mapping[str, str], extra: Sequence[str], images: str,
    simulated_time: bool = False,
) -> list[TopicSubscription]:  # fmt: skip
    """Subscriptions to everything that is recorded.

    Args:
        resolve: Resolves names.
        cameras: {robot: names of its cameras}.
        prefixes: {robot: what precedes the names of its topics}.
        extra: Additional topics of any type; required.
        images: ``jpeg`` or ``raw``.
        simulated_time: Also record ``/clock``.
    """
    found = [topic for robot, names in cameras.items() for topic in robot_topics(resolve, prefixes[robot], names, images)]
    common = (*COMMON, CLOCK) if simulated_time else COMMON
    found += [TopicSubscription([(resolve(name), msg_type)], False, DEPTH) for name, msg_type in common]
    known = {topic for subscription in found for topic, _ in subscription.candidates}
    named = dict.fromkeys(resolve(name) for name in extra)
    return [*found, *(TopicSubscription([(name, "")], True, DEPTH) for name in named if name not in known)]


def command_topics(resolve: Resolve, prefixes: Iterable[str]) -> frozenset[str]:
    """Fully qualified topics of the robots' commands."""
    return frozenset(resolve(f"{prefix}{name}") for prefix in prefixes for name in COMMANDS)


def renamed_topics(
    resolve: Resolve, cameras: Mapping[str, Sequence[str]], prefixes: Mapping[str, str]
) -> dict[str, dict[str, str]]:
    """{robot: {name: fully qualified topic}} of the topics that are not named ``/<robot>/<name>``, e.g. in a pushed namespace."""
    names = [name for name, _ in (*STATES, *ACTIONS)]
    found = {
        robot: {name: resolve(f"{prefixes[robot]}{name}") for name in (*(f"{c}/image_raw" for c in seen), *names)}
        for robot, seen in cameras.items()
    }
    differing = {
        robot: {name: topic for name, topic in topics.items() if topic != f"/{robot}/{name}"} for robot, topics in found.items()
    }
    return {robot: topics for robot, topics in differing.items() if topics}


def is_motion_command(subscription: TopicSubscription, data: bytes) -> bool:
    """Whether a command commands a motion. A trajectory without points commands the robot to hold."""
    return subscription.msg_type != _COMMAND or bool(deserialize_message(data, JointTrajectory).points)


def status_message(
    node: Node, level: bytes, text: str, values: Mapping[str, str], topics: Sequence[TopicSubscription], writer: BagWriter | None,
    silent_after: float,
) -> DiagnosticArray:  # fmt: skip
    """Status of the recorder, followed by the status of each topic.

    Args:
        node: The recorder.
        level, text, values: Status of the recorder.
        topics: Its subscriptions.
        writer: The writer of the open bag; None while nothing is recorded.
        silent_after: Time without a message after which a topic is silent [s].
    """
    message = DiagnosticArray(status=[_status(level, node.get_fully_qualified_name(), text, values)])
    message.header.stamp = to_stamp(node.get_clock().now().nanoseconds * 1e-9)
    message.status += [_topic_status(topic, writer, silent_after) for topic in topics]
    return message


def _topic_status(subscription: TopicSubscription, writer: BagWriter | None, silent_after: float) -> DiagnosticStatus:
    dropped = writer.dropped[subscription.topic] if writer else 0
    values = {
        "type": subscription.msg_type, "rate_hz": f"{subscription.rate:.1f}", "publishers": str(subscription.publishers),
        "reliability": "reliable" if subscription.reliable else "best effort",
        "durability": "transient local" if subscription.transient_local else "volatile",
        "recorded": str(writer.accepted[subscription.topic] if writer else 0), "dropped": str(dropped),
        "lost": str(subscription.lost),
    }  # fmt: skip
    silence = subscription.silence(time.monotonic(), silent_after)
    if silence and subscription.required:
        return _status(DiagnosticStatus.ERROR, subscription.topic, silence, values)
    if dropped or subscription.lost:
        return _status(
            DiagnosticStatus.WARN, subscription.topic, f"{dropped} dropped, {subscription.lost} lost in transport", values
        )
    return _status(DiagnosticStatus.OK, subscription.topic, "silent" if silence else "received", values)


def _status(level: bytes, name: str, text: str, values: Mapping[str, str]) -> DiagnosticStatus:
    pairs = [KeyValue(key=key, value=value) for key, value in values.items()]
    return DiagnosticStatus(level=level, name=name, message=text, values=pairs)
