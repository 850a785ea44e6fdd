"""Which topic of a bag is what: read from a mapping file, or known from the names that this package's nodes use."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Mapping as Map
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

import yaml

from latent_policy_ros.common.config_reader import YAML_SUFFIXES, Section
from latent_policy_ros.common.errors import ConfigError, available
from latent_policy_ros.common.paths import config_dir
from latent_policy_ros.embodiments import Embodiment, load_embodiment

UNITS = {"rad": 1.0, "deg": math.pi / 180, "m": 1.0, "mm": 1e-3}
OF_KIND = {"deg": "revolute", "mm": "prismatic"}  # joints that may be in other units than rad and m
STAMPS = ("header", "receive")
CAMERA = re.compile(r"[A-Za-z][\w-]*")  # its name becomes that of a feature and of a file
UNTOLD = "does not tell of its robots; name them in a mapping, or give the fleet"  # of a bag


@dataclass(frozen=True)
class Limits:
    """How far in time things may lie apart [s]; for states as the policy node has it.

    Attributes:
        camera, state: Between a frame and the image, or the measured values, in it; a camera's 0 means 1.5 frames: one image
            may be lost, whatever the rate, and its neighbours need not come to the millisecond.
        command: The oldest that a command may be that is still in force.
    """

    camera: float = 0.0
    state: float = 0.1
    command: float = 0.3

    def camera_at(self, fps: int) -> float:
        """The limit of cameras at so many frames a second [s]."""
        return self.camera or 1.5 / fps


@dataclass(frozen=True)
class RobotTopics:
    """The topics of one robot. Where several names are given, the first that is in the bag counts.

    Attributes:
        robot: Its name.
        embodiment: Its end-effector.
        cameras: {camera: topics}.
        state: JointState, measured.
        command: JointTrajectory, JointState or Float64MultiArray.
        wrist, wrist_command: PoseStamped; empty where there is none.
        more_joints: Joints that are kept beside the end-effector's, such as the arm's.
        rename: {the bag's name of a joint: ours}.
        order: Names (the bag's) of the numbers of a command without names.
        state_scale, command_scale: {joint: what its numbers in the bag are multiplied by to get rad or m}; others are in these.
        optional_wrist: The wrist's topics may be missing.
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

    @property
    def joints(self) -> tuple[str, ...]:
        """All joints that are kept: the end-effector's first."""
        return self.embodiment.joint_names + self.more_joints


@dataclass(frozen=True)
class Mapping:
    """What a mapping file says: robots, task, frames a second (0: as the cameras), limits, and which stamps count."""

    robots: tuple[RobotTopics, ...]
    task: str = ""
    fps: int = 0
    limits: Limits = Limits()
    stamps: str = "header"


def conventional(robot: str, embodiment: Embodiment, cameras: Sequence[str]) -> RobotTopics:
    """The topics of this package's nodes."""
    return RobotTopics(
        robot, embodiment,
        {camera: (f"/{robot}/{camera}/image_raw", f"/{robot}/{camera}/image_raw/compressed") for camera in cameras},
        f"/{robot}/joint_states", (f"/{robot}/{embodiment.command}_command",), f"/{robot}/wrist_pose", f"/{robot}/wrist_command",
        optional_wrist=True,
    )  # fmt: skip


def with_cameras(robots: Sequence[RobotTopics], cameras: Sequence[str]) -> tuple[RobotTopics, ...]:
    """Robots with some of their cameras only; all, if none are named.

    Raises:
        ConfigError: A robot has none of them.
    """
    chosen = []
    for robot in robots:
        seen = {name: topics for name, topics in robot.cameras.items() if not cameras or name in cameras}
        if not seen:
            raise ConfigError("cameras", robot.robot, f"got {', '.join(cameras)}; {available(robot.cameras)}")
        chosen.append(replace(robot, cameras=seen))
    return tuple(chosen)


def robots_of_bag(custom: Map[str, str]) -> tuple[RobotTopics, ...]:
    """The robots of a bag that tells of itself; none if it does not.

    Raises:
        ConfigError: It names an embodiment that is not known here.
    """
    try:
        cameras, embodiments = json.loads(custom.get("cameras", "{}")), json.loads(custom.get("embodiments", "{}"))
        fleet = yaml.safe_load(custom.get("fleet", "")) or {}
        for robot, content in (fleet.get("robots") or {}).items():
            embodiments.setdefault(robot, {"name": content["embodiment"]})
            cameras[robot] = content["cameras"]  # the robot's own, without those that only watch
            embodiments[robot].setdefault("reference", content["embodiment"])
        named = {robot: ((c.get("reference", ""), c["name"]), cameras[robot]) for robot, c in embodiments.items()}
    except (ValueError, KeyError, TypeError, AttributeError, yaml.YAMLError) as error:
        raise ConfigError("metadata of the bag", "embodiments", f"cannot be understood: {error!r}") from error
    return tuple(conventional(robot, _first_known(names), seen) for robot, (names, seen) in named.items())


def _first_known(names: Sequence[str]) -> Embodiment:
    """The embodiment of the first of its names and files that is known here; whether it is still the same is checked later."""
    failed: list[ConfigError] = []
    for name in filter(None, names):
        try:
            return load_embodiment(name)
        except ConfigError as error:
            failed.append(error)
    raise failed[0]


def load_mapping(name_or_path: str | Path) -> Mapping:
    """The mapping of that name under ``config/mappings``, or in that YAML file.

    Raises:
        ConfigError: No such name or file, or the file is wrong; says where, what was got and what was expected.
    """
    text, folder = str(name_or_path), config_dir() / "mappings"
    path = Path(text).expanduser() if text.endswith(YAML_SUFFIXES) else folder / f"{text}.yaml"
    if not path.is_file():
        raise ConfigError(path, "", f"no mapping {text!r}; {available(p.stem for p in folder.glob('*.yaml'))}")
    top = Section.load(path)
    robots = tuple(_robot(name, section) for name, section in top.section("robots").sections())
    if not robots:
        raise top.error("robots", "expected at least one robot, got none")
    fps = top.number("fps", above=0.0) if top.has("fps") else 0.0
    if fps != int(fps):
        raise top.error("fps", f"expected a whole number, got {fps:g}")
    mapping = Mapping(
        robots,
        top.string("task") if top.has("task") else "",
        int(fps),
        _limits(top.section("limits")) if top.has("limits") else Limits(),
        top.choice("stamps", STAMPS) if top.has("stamps") else "header",
    )
    top.finish()
    return mapping


def _limits(section: Section) -> Limits:
    given = {name: section.number(name, above=0.0) for name in ("camera", "state", "command") if section.has(name)}
    section.finish()
    return Limits(**given)


def _robot(name: str, section: Section) -> RobotTopics:
    try:
        embodiment = load_embodiment(section.string("embodiment"))
    except ConfigError as error:
        raise section.error("embodiment", str(error)) from error
    if embodiment.command is None:
        raise section.error("embodiment", f"{embodiment.name} is no robot's")
    cameras = section.section("cameras")
    seen = {camera: (cameras.string(camera),) for camera in cameras.names()}
    for camera in seen:
        if not CAMERA.fullmatch(camera):
            raise cameras.error(camera, f"got the name {camera!r}; expected letters, digits, _ and -, first a letter")
    state, command = section.section("state"), section.section("command")
    more = section.strings("more_joints") if section.has("more_joints") else ()
    topics = RobotTopics(
        name, embodiment, seen, state.string("topic"), (command.string("topic"),),
        section.string("wrist") if section.has("wrist") else "",
        section.string("wrist_command") if section.has("wrist_command") else "",
        more,
        _renaming(section.section("rename")) if section.has("rename") else {},
        command.strings("order") if command.has("order") else (),
        _scale(state, embodiment, more), _scale(command, embodiment, more),
    )  # fmt: skip
    for part in (cameras, state, command, section):
        part.finish()
    _check_names(section, command, topics)
    _check_topics(section, topics)
    return topics


def _renaming(section: Section) -> dict[str, str]:
    renamed = {theirs: section.string(theirs) for theirs in section.names()}
    doubles = {ours for ours in renamed.values() if list(renamed.values()).count(ours) > 1}
    if doubles:
        raise section.error("", f"two joints become {', '.join(sorted(doubles))}")
    section.finish()
    return renamed


def _scale(section: Section, embodiment: Embodiment, more_joints: Sequence[str]) -> dict[str, float]:
    """Degrees are of hinges and millimetres of slides; of other joints than the end-effector's nobody knows what they are."""
    scale: dict[str, float] = {}
    units = section.choice("units", UNITS) if section.has("units") else "rad"
    if units in OF_KIND:
        mine = [name for name in embodiment.joint_names if embodiment.hinge(name).kind == OF_KIND[units]]
        if not mine:
            raise section.error("units", f"{units} is of {OF_KIND[units]} joints, but {embodiment.name} has none")
        scale |= dict.fromkeys(mine, UNITS[units])
        if more_joints and not section.has("more_units"):
            raise section.error("more_units", f"missing: are more_joints in {units} too? {available(UNITS)}")
    if section.has("more_units"):
        more = section.choice("more_units", UNITS)
        scale |= dict.fromkeys(more_joints if more in OF_KIND else (), UNITS[more])
    return scale


def _check_topics(section: Section, topics: RobotTopics) -> None:
    named = {f"cameras.{camera}": names[0] for camera, names in topics.cameras.items()}
    named |= {"state.topic": topics.state, "command.topic": topics.command[0]}
    named |= {name: getattr(topics, name) for name in ("wrist", "wrist_command") if getattr(topics, name)}
    for name, topic in named.items():
        first = next(other for other, same in named.items() if same == topic)
        if first != name:
            raise section.error(name, f"{topic} is {first} already; each topic is one thing")


def _check_names(section: Section, command: Section, topics: RobotTopics) -> None:
    twice = sorted(set(topics.more_joints) & set(topics.embodiment.joint_names))
    if twice:
        raise section.error("more_joints", f"{', '.join(twice)} are the end-effector's already")
    unknown = sorted(set(topics.rename.values()) - set(topics.joints))
    if unknown:
        raise section.error("rename", f"no joints {', '.join(unknown)}; {available(topics.joints)}")
    if topics.order:
        missing = sorted(set(topics.joints) - {topics.rename.get(name, name) for name in topics.order})
        if missing:
            raise command.error("order", f"does not name {', '.join(missing)}; got {', '.join(topics.order)}")
