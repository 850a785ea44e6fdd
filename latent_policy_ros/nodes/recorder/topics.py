"""Which topics a recorder listens to, which of them it expects, and under what name each is recorded."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence

from rclpy.serialization import deserialize_message
from trajectory_msgs.msg import JointTrajectory

from latent_policy_ros.data.bags.metadata import Topic
from latent_policy_ros.data.recording.episode_bag import offered_qos
from latent_policy_ros.data.recording.jpeg import COMPRESSED_KIND, JPEG
from latent_policy_ros.data.recording.jpeg import KIND as IMAGE_KIND
from latent_policy_ros.nodes.recorder.subscriptions import Source

IMAGE_DEPTH, DEPTH = 60, 1000  # messages that may wait: 2 s of a camera, 5 s of joints at 200 Hz
STATES = (("joint_states", "sensor_msgs/msg/JointState"), ("wrist_pose", "geometry_msgs/msg/PoseStamped"))
_COMMAND, _EVENT = "trajectory_msgs/msg/JointTrajectory", "latent_policy_ros/msg/EpisodeEvent"
#: Not expected: a robot is recorded also when no policy drives it.
PLANS = (
    ("latent_action", "latent_policy_ros/msg/LatentAction"), ("hand_command", _COMMAND), ("gripper_command", _COMMAND),
    ("arm_command", _COMMAND), ("wrist_command", "geometry_msgs/msg/PoseStamped"), ("episode_event", _EVENT),
)  # fmt: skip
COMMANDS = tuple(name for name, _ in PLANS if name.endswith("_command"))
COMMON = (("episode_event", _EVENT), ("/diagnostics", "diagnostic_msgs/msg/DiagnosticArray"))
Resolve = Callable[[str], str]  # relative name -> fully qualified, remapped


def robot_sources(resolve: Resolve, robot: str, cameras: Sequence[str], images: str) -> list[Source]:
    """The topics of one robot. Cameras, measured joints and wrist are expected.

    Args:
        resolve: Makes names fully qualified.
        robot: Its namespace.
        cameras: Their names; of each, the topic with compressed or raw images, whichever is published.
        images: ``jpeg`` or ``raw``: which of the two is preferred.
    """
    found = []
    for camera in cameras:
        raw = resolve(f"{robot}/{camera}/image_raw")
        both = [(f"{raw}/compressed", COMPRESSED_KIND), (raw, IMAGE_KIND)]
        found.append(Source(both if images == JPEG else both[::-1], True, IMAGE_DEPTH))
    for topics, expected in ((STATES, True), (PLANS, False)):
        found += [Source([(resolve(f"{robot}/{name}"), kind)], expected, DEPTH) for name, kind in topics]
    return found


def sources(resolve: Resolve, cameras: Mapping[str, Sequence[str]], extra: Sequence[str], images: str) -> list[Source]:
    """Everything that is recorded.

    Args:
        resolve: Makes names fully qualified.
        cameras: Of each robot.
        extra: More topics, expected, of whatever types they are published as.
        images: ``jpeg`` or ``raw``.
    """
    found = [source for robot, names in cameras.items() for source in robot_sources(resolve, robot, names, images)]
    found += [Source([(resolve(name), kind)], False, DEPTH) for name, kind in COMMON]
    known = {topic for source in found for topic, _ in source.candidates}
    named = dict.fromkeys(resolve(name) for name in extra)
    return [*found, *(Source([(name, "")], True, DEPTH) for name in named if name not in known)]


def command_topics(resolve: Resolve, robots: Iterable[str]) -> frozenset[str]:
    """The topics on which robots are told where to go."""
    return frozenset(resolve(f"{robot}/{name}") for robot in robots for name in COMMANDS)


def is_motion(source: Source, data: bytes) -> bool:
    """Whether a command tells where to go: a trajectory without points tells to hold."""
    return source.kind != _COMMAND or bool(deserialize_message(data, JointTrajectory).points)


def is_encoded(source: Source, images: str) -> bool:
    """Whether its messages become JPEGs on the way into the bag."""
    return images == JPEG and source.kind == IMAGE_KIND


def recorded_topic(source: Source) -> Topic:
    """The topic as a bag describes it."""
    return Topic(source.topic, source.kind, (offered_qos(source.reliable, source.transient_local),))
