"""Topic mapping of bags: the topics, joints and units of each robot, from a mapping file or from the metadata of a bag."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from collections.abc import Mapping as Map
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BeforeValidator, Field, model_validator

from latent_policy_ros.common.bounded_reader import parse_json
from latent_policy_ros.common.config import Config, Names, Positive, Text, Whole, config_file, field_errors, load
from latent_policy_ros.common.errors import ConfigError, LatentPolicyError, available
from latent_policy_ros.common.path_names import PathName, UnsafeName, namespace, path_name
from latent_policy_ros.common.yaml_file import parse_yaml
from latent_policy_ros.embodiments import Embodiment, load_embodiment
from latent_policy_ros.observations.modalities import value_modality

UNITS = {"rad": 1.0, "deg": math.pi / 180, "m": 1.0, "mm": 1e-3}
Unit = Literal["rad", "deg", "m", "mm"]
JOINT_KINDS = {"deg": "revolute", "mm": "prismatic"}  # kind of joint that a unit other than rad and m belongs to
RESERVED_STREAMS = "state", "wrist", "images", "joint_states", "wrist_pose"  # names of other features and streams
NO_ROBOTS = "the bag has no metadata about its robots; name them in a mapping, or give the fleet"


class Limits(Config):
    """Largest time differences within a frame."""

    camera: Positive = Field(
        0.0, description="Between a frame and its images [s]. Default: 1.5 frames, so that one image may be lost."
    )
    state: Positive = Field(0.1, description="Between a frame and its measured joints and wrist [s], as in the policy node.")
    command: Positive = Field(0.3, description="Age of a command that is still in force [s].")

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
        state: Topic of measured joints (JointState).
        command: Topics of commanded joints; see :data:`~latent_policy_ros.data.conversion.command_types.COMMAND_TYPES`.
        wrist, wrist_command: Topics of the measured and the commanded wrist pose (PoseStamped); empty without one.
        more_joints: Joints to keep beside those of the end-effector, e.g. of the arm.
        rename: {joint name in the bag: joint name of the embodiment or of ``more_joints``}.
        order: Joint names, as in the bag, of the numbers of commands without names.
        state_scale, command_scale: {joint: factor from the unit of the bag to rad or m}; 1 for joints that are not listed.
        optional_wrist: Whether the wrist topics may be missing.
        streams: {name: (topic, modality)} of additional measurements.
    """

    robot: str
    embodiment: Embodiment
    cameras: Map[str, tuple[str, ...]]
    state: str
    command: tuple[str, ...]
    wrist: str = ""
    wrist_command: str = ""
    more_joints: tuple[str, ...] = ()
    rename: Map[str, str] = field(default_factory=dict)
    order: tuple[str, ...] = ()
    state_scale: Map[str, float] = field(default_factory=dict)
    command_scale: Map[str, float] = field(default_factory=dict)
    optional_wrist: bool = False
    streams: Map[str, tuple[str, str]] = field(default_factory=dict)

    @property
    def joints(self) -> tuple[str, ...]:
        """Names of all joints: those of the end-effector, then ``more_joints``."""
        return self.embodiment.joint_names + self.more_joints


@dataclass(frozen=True)
class TopicMapping:
    """Topic mapping of bags.

    Attributes:
        robots: Robots in each bag; if empty, the metadata of each bag names them.
        task: Task description of episodes whose bag has none.
        fps: Frame rate of the data set [Hz]; 0 uses that of the fastest camera.
        limits: Largest time differences within a frame.
        stamps: Time of a message: ``header`` (its stamp) or ``receive``.
    """

    robots: tuple[RobotTopics, ...]
    task: str = ""
    fps: int = 0
    limits: Limits = Limits()
    stamps: str = "header"


def conventional(robot: str, embodiment: Embodiment, cameras: Sequence[str]) -> RobotTopics:
    """The topics that this package's nodes use for a robot."""
    return RobotTopics(
        robot, embodiment,
        {camera: (f"/{robot}/{camera}/image_raw", f"/{robot}/{camera}/image_raw/compressed") for camera in cameras},
        f"/{robot}/joint_states", (f"/{robot}/{embodiment.command}_command",), f"/{robot}/wrist_pose", f"/{robot}/wrist_command",
        optional_wrist=True,
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
    return tuple(conventional(robot, _first_known(names), seen) for robot, (names, seen) in named.items())


def _first_known(names: Sequence[str]) -> Embodiment:
    """The first embodiment that can be loaded. Its content hash is checked later."""
    failed: list[ConfigError] = []
    for name in filter(None, names):
        try:
            return load_embodiment(name)
        except ConfigError as error:
            failed.append(error)
    raise failed[0]


def load_mapping(name_or_path: str | Path) -> TopicMapping:
    """Load a mapping by its name in ``config/mappings`` or from a YAML file.

    Raises:
        ConfigError: No such mapping, or errors in its file.
    """
    content = load(MappingFile, config_file("mappings", name_or_path, "mapping"))
    robots = tuple(robot.topics(name) for name, robot in content.robots.items())
    return TopicMapping(robots, content.task, content.fps or 0, content.limits, content.stamps)


def _embodiment(name: Any) -> Any:
    if not isinstance(name, str):
        return name
    try:
        embodiment = load_embodiment(name)
    except ConfigError as error:
        raise ValueError(str(error)) from error
    if embodiment.command is None:
        raise ValueError(f"{embodiment.name} cannot be commanded; expected a hand or a gripper")
    return embodiment


def _stream(name: str) -> str:
    if name in RESERVED_STREAMS:
        raise ValueError(f"got the name {name!r}; expected none of {', '.join(RESERVED_STREAMS)}")
    return path_name(name)


def _value_modality(name: str) -> str:
    try:
        return value_modality(name).name
    except LatentPolicyError as error:
        raise ValueError(str(error)) from error


def _renamed_once(rename: dict[str, str]) -> dict[str, str]:
    if repeated := sorted({ours for ours in rename.values() if list(rename.values()).count(ours) > 1}):
        raise ValueError(f"two joints become {', '.join(repeated)}")
    return rename


class StateMapping(Config):
    """Measured joints of a robot in a bag."""

    topic: Text = Field(description="Topic.")
    units: Unit = Field("rad", description="Unit of the end-effector's joints of that kind: deg of hinges, mm of slides.")
    more_units: Unit | None = Field(None, description="Unit of `more_joints`; required if `units` is deg or mm.")

    def scale(self, embodiment: Embodiment, more_joints: Sequence[str]) -> dict[str, float]:
        """Factors from the bag's units to rad or m, by joint; joints that are not listed have factor 1."""
        scale: dict[str, float] = {}
        if self.units in JOINT_KINDS:
            scale |= dict.fromkeys(joints_of_kind(embodiment, JOINT_KINDS[self.units]), UNITS[self.units])
        if self.more_units in JOINT_KINDS:
            scale |= dict.fromkeys(more_joints, UNITS[self.more_units])
        return scale


class CommandMapping(StateMapping):
    """Commanded joints of a robot in a bag."""

    order: Names = Field((), description="The bag's joint names of the entries of a Float64MultiArray, in its order.")


class StreamMapping(Config):
    """An additional stream of a robot in a bag."""

    topic: Text = Field(description="Topic.")
    modality: Annotated[str, AfterValidator(_value_modality)] = Field(
        description="Conversion of the messages: depth_image, wrench, tactile, or a modality of an installed package."
    )


class RobotMapping(Config):
    """Topics and joints of one robot in a bag."""

    embodiment: Annotated[Embodiment, BeforeValidator(_embodiment)] = Field(
        description="End-effector: a name from `latent-policy embodiments list`, or a YAML file."
    )
    cameras: dict[PathName, Text] = Field(
        description="Topic (Image or CompressedImage) of each camera, by its name in the data set."
    )
    state: StateMapping = Field(description="Measured joints (JointState).")
    command: CommandMapping = Field(description="Commanded joints (JointTrajectory, JointState or Float64MultiArray).")
    wrist: str = Field("", description="Topic (PoseStamped) of the measured wrist pose in the robot's base frame.")
    wrist_command: str = Field("", description="Topic (PoseStamped) of the commanded wrist pose in the robot's base frame.")
    more_joints: Names = Field((), description="Joints to keep beside the end-effector's, such as the arm's.")
    rename: Annotated[dict[str, Text], AfterValidator(_renamed_once)] = Field(
        {}, description="Joint names of the embodiment or of `more_joints`, by their names in the bag."
    )

    streams: dict[Annotated[str, AfterValidator(_stream)], StreamMapping] = Field(
        {}, description="Additional measurements, by name; vectors become the feature `observation.NAME` of the data set."
    )

    @model_validator(mode="after")
    def _check(self) -> RobotMapping:
        if conflicts := [*self._name_conflicts(), *self._unit_conflicts(), *self._topic_conflicts()]:
            raise field_errors(conflicts)
        return self

    @property
    def joints(self) -> tuple[str, ...]:
        """Names of all joints: those of the end-effector, then ``more_joints``."""
        return self.embodiment.joint_names + self.more_joints

    def topics(self, robot: str) -> RobotTopics:
        """The topics of this robot under its name."""
        return RobotTopics(
            robot, self.embodiment, {camera: (topic,) for camera, topic in self.cameras.items()},
            self.state.topic, (self.command.topic,), self.wrist, self.wrist_command, self.more_joints, self.rename,
            self.command.order, self.state.scale(self.embodiment, self.more_joints),
            self.command.scale(self.embodiment, self.more_joints),
            streams={name: (stream.topic, stream.modality) for name, stream in self.streams.items()},
        )  # fmt: skip

    def _name_conflicts(self) -> Iterator[tuple[str, str]]:
        if twice := sorted(set(self.more_joints) & set(self.embodiment.joint_names)):
            yield "more_joints", f"joints of the end-effector: {', '.join(twice)}; expected other joints"
        if unknown := sorted(set(self.rename.values()) - set(self.joints)):
            yield "rename", f"no joints {', '.join(unknown)}; {available(self.joints)}"
        order = self.command.order
        if order and (missing := sorted(set(self.joints) - {self.rename.get(name, name) for name in order})):
            yield "command.order", f"does not name {', '.join(missing)}; got {', '.join(order)}"

    def _unit_conflicts(self) -> Iterator[tuple[str, str]]:
        for name, source in (("state", self.state), ("command", self.command)):
            if source.units not in JOINT_KINDS:
                continue
            kind = JOINT_KINDS[source.units]
            if not joints_of_kind(self.embodiment, kind):
                yield f"{name}.units", f"{source.units} is a unit of {kind} joints, but {self.embodiment.name} has none"
            elif self.more_joints and source.more_units is None:
                yield f"{name}.more_units", f"missing: are more_joints in {source.units} too? {available(UNITS)}"

    def _topic_conflicts(self) -> Iterator[tuple[str, str]]:
        named = {f"cameras.{camera}": topic for camera, topic in self.cameras.items()}
        named |= {"state.topic": self.state.topic, "command.topic": self.command.topic}
        named |= {name: topic for name, topic in (("wrist", self.wrist), ("wrist_command", self.wrist_command)) if topic}
        named |= {f"streams.{name}.topic": stream.topic for name, stream in self.streams.items()}
        if both := sorted(set(self.streams) & set(self.cameras)):
            yield "streams", f"{', '.join(both)} are cameras already; expected other names"
        for name, topic in named.items():
            first = next(other for other, same in named.items() if same == topic)
            if first != name:
                yield name, f"{topic} is already {first}; expected another topic"


class MappingFile(Config):
    """Content of a mapping file: the meaning of the topics and joints of bags that this package did not record."""

    robots: Annotated[dict[Annotated[str, AfterValidator(namespace)], RobotMapping], Field(min_length=1)] = Field(
        description="Robots in each bag, by name."
    )
    task: str = Field("", description="Task description of episodes whose bag has none.")
    fps: Whole | None = Field(None, gt=0, description="Frame rate of the data set [Hz]. Default: that of the fastest camera.")
    limits: Limits = Field(Limits(), description="Largest time differences within a frame.")
    stamps: Literal["header", "receive"] = Field(
        "header", description="Time of a message: `header` (its stamp), or `receive` (for clocks that are not synchronised)."
    )


def joints_of_kind(embodiment: Embodiment, kind: str) -> list[str]:
    """Names of the revolute or prismatic joints of an embodiment."""
    return [name for name in embodiment.joint_names if embodiment.hinge(name).kind == kind]
