"""Mapping files: the meaning of the topics and joints of bags that this package did not record."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Literal, Union

from pydantic import AfterValidator, BeforeValidator, Field, model_validator

from latent_policy_ros.common.config import Config, Names, Text, Whole, config_file, field_errors, load
from latent_policy_ros.common.errors import LatentPolicyError, available
from latent_policy_ros.common.path_names import PathName, namespace, path_name
from latent_policy_ros.data.conversion.mapping import EpisodeMarks, Limits, RobotTopics, TopicMapping, mark_text
from latent_policy_ros.data.conversion.sources import (
    JOINT_KINDS,
    NEXT_STATE,
    UNITS,
    Command,
    Frame,
    NextState,
    Pose,
    SourceMapping,
    Sources,
    joints_of_kind,
)
from latent_policy_ros.embodiments import Embodiment, load_commanded
from latent_policy_ros.observations.modalities import value_modality

RESERVED_STREAMS = "state", "wrist", "images", "joint_states", "wrist_pose"  # names of other features and streams


def load_mapping(name_or_path: str | Path) -> TopicMapping:
    """Load a mapping by its name in ``config/mappings`` or from a YAML file.

    Raises:
        ConfigError: No such mapping, or errors in its file.
    """
    content = load(MappingFile, config_file("mappings", name_or_path, "mapping"))
    robots = tuple(robot.topics(name) for name, robot in content.robots.items())
    marks = content.episodes.marks if content.episodes else None
    return TopicMapping(
        robots, content.task, content.outcome or "", content.fps or 0, content.limits, content.on_hole, content.stamps, marks
    )


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


class StreamMapping(Config):
    """An additional stream of a robot in a bag."""

    topic: Text = Field(description="Topic.")
    modality: Annotated[str, AfterValidator(_value_modality)] = Field(
        description="Conversion of the messages: depth_image, wrench, tactile, or a modality of an installed package."
    )


class RobotMapping(Config):
    """Topics and joints of one robot in a bag."""

    embodiment: Annotated[Embodiment, BeforeValidator(load_commanded)] = Field(
        description="End-effector: a name from `latent-policy embodiments list`, or a YAML file."
    )
    cameras: dict[PathName, Text] = Field(
        description="Topic (Image or CompressedImage) of each camera, by its name in the data set."
    )
    state: Sources = Field(
        description="Measured joints: a topic, or a list of topics that are merged by joint name (JointState, DynamicJointState, "
        "arrays, single numbers)."
    )
    command: Command = Field(
        description="Commanded joints, likewise (also JointTrajectory, GripperCommand, Bool); `next_state`, or `{next_state: "
        "FRAMES}`, if none were recorded: the action is the measured state that many frames later."
    )
    wrist: Pose = Field(
        None, description="Measured wrist pose in the robot's base frame: a topic of poses or transforms, or `{frames: [base, "
        "wrist]}` of tf."
    )  # fmt: skip
    wrist_command: Pose = Field(
        None, description="Commanded wrist pose, likewise; `next_state`: the next measured one, as of `command: next_state`."
    )  # fmt: skip
    frames: dict[str, Frame] = Field(
        {}, description="Poses of tf frames in the robot's base frame: `same`, or x y z [m], qx qy qz qw. Required if the "
        "wrist is measured and commanded in different frames."
    )  # fmt: skip
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
        joints = self.embodiment, self.more_joints
        command = [] if isinstance(self.command, NextState) else self.command
        target = None if self._wrist_follows else self.wrist_command
        return RobotTopics(
            robot, self.embodiment, {camera: (topic,) for camera, topic in self.cameras.items()},
            tuple(source.source(*joints) for source in self.state), tuple(source.source(*joints) for source in command),
            self.command.next_state if isinstance(self.command, NextState) else 0, self._wrist_follows,
            self.wrist.source if self.wrist else None, target.source if target else None,
            {name.lstrip("/"): pose for name, pose in self.frames.items()}, self.more_joints, self.rename,
            streams={name: (stream.topic, stream.modality) for name, stream in self.streams.items()},
        )  # fmt: skip

    @property
    def _wrist_follows(self) -> bool:
        """Whether the next measured wrist pose is the action."""
        if self.wrist_command is None:
            return self.wrist is not None and isinstance(self.command, NextState)
        return self.wrist_command.topic == NEXT_STATE

    def _joint_sources(self) -> Iterator[tuple[str, SourceMapping]]:
        """Path and content of each source of joints."""
        for name, sources in (("state", self.state), ("command", self.command)):
            if not isinstance(sources, NextState):
                for number, source in enumerate(sources):
                    yield f"{name}[{number}]" if len(sources) > 1 else name, source

    def _name_conflicts(self) -> Iterator[tuple[str, str]]:
        if twice := sorted(set(self.more_joints) & set(self.embodiment.joint_names)):
            yield "more_joints", f"joints of the end-effector: {', '.join(twice)}; expected other joints"
        if unknown := sorted(set(self.rename.values()) - set(self.joints)):
            yield "rename", f"no joints {', '.join(unknown)}; {available(self.joints)}"
        for path, source in self._joint_sources():
            if source.order and not {self.rename.get(name, name) for name in source.order} & set(self.joints):
                yield f"{path}.order", f"names no joint of the robot; got {', '.join(source.order)}; {available(self.joints)}"

    def _unit_conflicts(self) -> Iterator[tuple[str, str]]:
        for path, source in self._joint_sources():
            if source.closed is not None and self.embodiment.kind != "gripper":
                yield f"{path}.closed", f"a value map is for grippers; {self.embodiment.name} is a {self.embodiment.kind}"
            if source.units not in JOINT_KINDS:
                continue
            kind = JOINT_KINDS[source.units]
            if not joints_of_kind(self.embodiment, kind):
                yield f"{path}.units", f"{source.units} is a unit of {kind} joints, but {self.embodiment.name} has none"
            elif self.more_joints and source.more_units is None:
                yield f"{path}.more_units", f"missing: are more_joints in {source.units} too? {available(UNITS)}"

    def _topic_conflicts(self) -> Iterator[tuple[str, str]]:
        named = {f"cameras.{camera}": topic for camera, topic in self.cameras.items()}
        named |= {f"{path}.topic": source.topic for path, source in self._joint_sources()}
        poses = {"wrist": self.wrist, "wrist_command": self.wrist_command}
        named |= {name: pose.topic for name, pose in poses.items() if pose and not pose.frames}
        named |= {f"streams.{name}.topic": stream.topic for name, stream in self.streams.items()}
        if both := sorted(set(self.streams) & set(self.cameras)):
            yield "streams", f"{', '.join(both)} are cameras already; expected other names"
        if self.wrist is None and self._wrist_follows:
            yield "wrist_command", "next_state takes the next measured pose; `wrist` is missing"
        for name, topic in named.items():
            first = next(other for other, same in named.items() if same == topic)
            if first != name:
                remedy = "; without recorded commands, write `command: next_state`" if name.startswith("command") else ""
                yield name, f"{topic} is already {first}; expected another topic{remedy}"


class EpisodesMapping(Config):
    """Topics that mark several episodes in one bag."""

    marker: Text = Field(description="Topic of marks (String, Bool or a number).")
    begin: Union[str, bool, float] = Field("start", description="Value that begins an episode; case does not count.")
    end: Union[str, bool, float] = Field("stop", description="Value that ends an episode; case does not count.")
    task: str = Field("", description="Topic (String) of the task of an episode, sent before or during it.")

    @property
    def marks(self) -> EpisodeMarks:
        """The topics, with values as text."""
        return EpisodeMarks(self.marker, mark_text(self.begin), mark_text(self.end), self.task)


class MappingFile(Config):
    """Content of a mapping file: the meaning of the topics and joints of bags that this package did not record."""

    robots: Annotated[dict[Annotated[str, AfterValidator(namespace)], RobotMapping], Field(min_length=1)] = Field(
        description="Robots in each bag, by name."
    )
    task: str = Field("", description="Task description of episodes whose bag has none.")
    outcome: Literal["success", "failure"] | None = Field(
        None, description="Outcome of episodes whose bag has none. Default: unknown, which is no success; policies are trained "
        "on successes."
    )  # fmt: skip
    fps: Whole | None = Field(None, gt=0, description="Frame rate of the data set [Hz]. Default: that of the fastest camera.")
    limits: Limits = Field(Limits(), description="Largest time differences within a frame.")
    on_hole: Literal["split", "keep", "drop"] = Field(
        "split", description="What a hole longer than `limits.bridge` does: `split` the episode, `keep` it with the nearest "
        "values, or `drop` it."
    )  # fmt: skip
    episodes: EpisodesMapping | None = Field(None, description="Topics that mark several episodes in one bag.")
    stamps: Literal["header", "receive"] = Field(
        "header", description="Time of a message: `header` (its stamp), or `receive` (for clocks that are not synchronised)."
    )
