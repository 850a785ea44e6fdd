"""Topic mapping of bags: the topics, joints and units of each robot, as a mapping file or the metadata of a bag names them."""

from __future__ import annotations

import json
from collections.abc import Mapping as Map
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field, replace
from typing import Any

from pydantic import Field

from latent_policy_ros.common.bounded_reader import parse_json
from latent_policy_ros.common.config import Config, Positive
from latent_policy_ros.common.errors import ConfigError, available
from latent_policy_ros.common.path_names import UnsafeName, namespace, path_name
from latent_policy_ros.common.yaml_file import parse_yaml
from latent_policy_ros.data.conversion.sources import JointSource, PoseSource
from latent_policy_ros.embodiments import Embodiment, load_embodiment

NO_ROBOTS = "the bag has no metadata about its robots; name them in a mapping, or give the fleet"


class Limits(Config):
    """Largest time differences within a frame."""

    camera: Positive = Field(
        0.0, description="Between a frame and its images [s]. Default: 1.5 frames, so that one image may be lost."
    )
    state: Positive = Field(0.1, description="Between a frame and its measured joints and wrist [s], as in the policy node.")
    command: Positive = Field(0.3, description="Age of a command that is still in force [s].")
    bridge: float = Field(
        0.5, ge=0.0, description="Longest hole that is bridged with the nearest values [s], whatever `on_hole` says; reported."
    )
    repeated: float = Field(0.25, ge=0.0, le=1.0, description="Largest share of frames that may repeat an image or be bridged.")

    def camera_at(self, fps: int) -> float:
        """The limit for cameras at a frame rate [s]."""
        return self.camera or 1.5 / fps


@dataclass(frozen=True)
class RobotTopics:
    """Topics and joints of one robot. Of several topics, the first that is in the bag is used.

    Attributes:
        robot: Name of the robot.
        embodiment: Its end-effector.
        cameras: {camera: topics}.
        state: Topics of measured joints, merged by joint name.
        command: Topics of commanded joints, merged by joint name; see
            :data:`~latent_policy_ros.data.conversion.command_types.COMMAND_TYPES`.
        next_state: Number of frames after which the measured state is the action; 0 if commands were recorded.
        wrist_follows: Whether the measured wrist pose after as many frames (1 if commands were recorded) is the action.
        wrist, wrist_command: Topics of the measured and the commanded wrist pose; None without one.
        frames: {frame: pose (7,) of that tf frame in the robot's base frame}.
        more_joints: Joints to keep beside those of the end-effector, e.g. of the arm.
        rename: {joint name in the bag: joint name of the embodiment or of ``more_joints``}.
        optional_wrist: Whether the wrist topics may be missing.
        streams: {name: (topic, modality)} of additional measurements.
    """

    robot: str
    embodiment: Embodiment
    cameras: Map[str, tuple[str, ...]]
    state: tuple[JointSource, ...]
    command: tuple[JointSource, ...] = ()
    next_state: int = 0
    wrist_follows: bool = False
    wrist: PoseSource | None = None
    wrist_command: PoseSource | None = None
    frames: Map[str, tuple[float, ...]] = field(default_factory=dict)
    more_joints: tuple[str, ...] = ()
    rename: Map[str, str] = field(default_factory=dict)
    optional_wrist: bool = False
    streams: Map[str, tuple[str, str]] = field(default_factory=dict)

    @property
    def joints(self) -> tuple[str, ...]:
        """Names of all joints: those of the end-effector, then ``more_joints``."""
        return self.embodiment.joint_names + self.more_joints

    def settings(self) -> dict[str, Any]:
        """Everything as JSON values; lists of sources as mappings by number."""
        content = {**vars(self), "embodiment": self.embodiment.name, "embodiment_hash": self.embodiment.content_hash}
        for name in ("state", "command"):
            content[name] = {str(k): asdict(source) for k, source in enumerate(getattr(self, name))}
        for name in ("wrist", "wrist_command"):
            content[name] = getattr(self, name) and asdict(getattr(self, name))
        return parse_json(json.dumps(content))


@dataclass(frozen=True)
class EpisodeMarks:
    """Topics that mark the episodes of a bag.

    Attributes:
        marker: Topic of marks (String, Bool or a number).
        begin, end: Values that begin and end an episode.
        task: Topic (String) of the task; empty without one.
    """

    marker: str
    begin: str
    end: str
    task: str = ""


@dataclass(frozen=True)
class TopicMapping:
    """Topic mapping of bags.

    Attributes:
        robots: Robots in each bag; if empty, the metadata of each bag names them.
        task: Task description of episodes whose bag has none.
        outcome: Outcome of episodes whose bag has none: ``success``, ``failure`` or empty.
        fps: Frame rate of the data set [Hz]; 0 uses that of the fastest camera.
        limits: Largest time differences within a frame.
        on_hole: What a hole longer than ``limits.bridge`` does: ``split``, ``keep`` or ``drop``.
        stamps: Time of a message: ``header`` (its stamp) or ``receive``.
        episodes: Topics that mark several episodes in one bag; None without such topics.
    """

    robots: tuple[RobotTopics, ...]
    task: str = ""
    outcome: str = ""
    fps: int = 0
    limits: Limits = Limits()
    on_hole: str = "split"
    stamps: str = "header"
    episodes: EpisodeMarks | None = None


def conventional(robot: str, embodiment: Embodiment, cameras: Sequence[str], renamed: Map[str, str] | None = None) -> RobotTopics:
    """The topics that this package's nodes use for a robot.

    Args:
        robot: Name of the robot.
        embodiment: Its end-effector.
        cameras: Names of its cameras.
        renamed: {name: topic} of the topics that are not named ``/<robot>/<name>``.
    """
    topic = lambda name: (renamed or {}).get(name, f"/{robot}/{name}")
    images = {camera: topic(f"{camera}/image_raw") for camera in cameras}
    return RobotTopics(
        robot, embodiment, {camera: (raw, f"{raw}/compressed") for camera, raw in images.items()},
        (JointSource((topic("joint_states"),)),), (JointSource((topic(f"{embodiment.command}_command"),)),),
        wrist=PoseSource(topic("wrist_pose")), wrist_command=PoseSource(topic("wrist_command")), optional_wrist=True,
    )  # fmt: skip


def with_cameras(robots: Sequence[RobotTopics], cameras: Sequence[str]) -> tuple[RobotTopics, ...]:
    """Restrict robots to some of their cameras; an empty ``cameras`` keeps all.

    Raises:
        ConfigError: A robot has none of the cameras.
    """
    chosen = []
    for robot in robots:
        seen = {name: topics for name, topics in robot.cameras.items() if not cameras or name in cameras}
        if not seen:
            raise ConfigError("cameras", robot.robot, f"got {', '.join(cameras)}; {available(robot.cameras)}")
        chosen.append(replace(robot, cameras=seen))
    return tuple(chosen)


def robots_of_bag(custom: Map[str, str]) -> tuple[RobotTopics, ...]:
    """The robots that the metadata of a bag names; empty without such metadata.

    Raises:
        ConfigError: Invalid metadata, or an embodiment that is not installed.
    """
    try:
        cameras, embodiments = parse_json(custom.get("cameras", "{}")), parse_json(custom.get("embodiments", "{}"))
        renamed = {robot: {str(k): str(v) for k, v in topics.items()}
                   for robot, topics in parse_json(custom.get("topics", "{}")).items()}  # fmt: skip
        fleet = parse_yaml(custom.get("fleet", "")) or {}
        for robot, content in (fleet.get("robots") or {}).items():
            embodiments.setdefault(robot, {"name": content["embodiment"]})
            cameras[robot] = content["cameras"]  # excludes cameras that are only recorded
            embodiments[robot].setdefault("reference", content["embodiment"])
        named = {
            namespace(robot, "name of a robot"): (
                (c.get("reference", ""), c["name"]), [path_name(camera, "name of a camera") for camera in cameras[robot]],
            )
            for robot, c in embodiments.items()
        }  # fmt: skip
    except UnsafeName as error:
        raise ConfigError("metadata of the bag", "robots", str(error)) from error
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise ConfigError("metadata of the bag", "embodiments", f"invalid: {error!r}") from error
    return tuple(conventional(robot, _first_known(names), seen, renamed.get(robot)) for robot, (names, seen) in named.items())


def _first_known(names: Sequence[str]) -> Embodiment:
    """The first embodiment that can be loaded. Its content hash is checked later."""
    failed: list[ConfigError] = []
    for name in filter(None, names):
        try:
            return load_embodiment(name)
        except ConfigError as error:
            failed.append(error)
    raise failed[0]


def mark_text(value: Any) -> str:
    """The value of a mark as text: ``true``, ``1`` or the string."""
    return str(value).lower() if isinstance(value, bool) else f"{value:g}" if isinstance(value, (int, float)) else str(value)
