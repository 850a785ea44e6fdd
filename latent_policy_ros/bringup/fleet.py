"""Fleet files: the robots that one policy drives, with their embodiments, arms, cameras and drivers."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import yaml
from pydantic import AfterValidator, BeforeValidator, Field, model_validator

from latent_policy_ros.bringup.node_parameters import CAMERA_NODE, FLEET_NODES, ROBOT_NODES, checked_parameters
from latent_policy_ros.common.config import (
    YAML_SUFFIXES,
    Config,
    FileModel,
    Interval,
    Text,
    Whole,
    config_file,
    describe,
    field_errors,
    load,
    one_of,
    validate,
)
from latent_policy_ros.common.errors import ArtifactError, ConfigError, Finding, HardwareError, available
from latent_policy_ros.common.paths import artifact
from latent_policy_ros.control.arm_controller import MAX_REACH
from latent_policy_ros.control.arm_description import PANDA, Arm, list_arms, load_arm
from latent_policy_ros.drivers.registry import DRIVERS, driver_class, is_simulated
from latent_policy_ros.embodiments import Embodiment, load_commanded
from latent_policy_ros.latent import LatentSpace
from latent_policy_ros.policy.action_chunk import CHUNK_RATES
from latent_policy_ros.sim.tasks.registry import DEFAULT_TASK, TASKS

if TYPE_CHECKING:
    from latent_policy_ros.embodiments.human.hand_input import CanonicalHands

MAX_SEED = 2**31 - 1  # of the simulator node
LATENT = "latent"
MODES = LATENT, "direct"  # of teleoperation
WHOLE_ROBOT = ("mock", "sim")  # drivers that drive the arm as well as the end-effector
NONE = "none"  # driver: the user's own node drives the hardware; camera source: the user's own node publishes the images
DEVICE = re.compile(r"auto|cpu|cuda(:[0-9]+)?")
ROS_NAME = re.compile(r"[A-Za-z][A-Za-z0-9_]*")
CAMERA_SUFFIX = "_camera"  # of the names of camera nodes


def _ros_name(name: str) -> str:
    if not ROS_NAME.fullmatch(name):
        raise ValueError(f"got the name {name!r}; expected a ROS name: letters, digits and _, starting with a letter")
    return name


def _arm(name: Any) -> Any:
    if isinstance(name, str):
        if not name.endswith(YAML_SUFFIXES) and name not in list_arms():
            raise ValueError(f"got {name!r}; {available(list_arms())}, or a YAML file")
        return load_arm(name)
    return name


def _cameras(value: Any) -> Any:
    """A list of names as a mapping of names to sources."""
    if not isinstance(value, (list, tuple)):
        if isinstance(value, dict):
            return value
        raise ValueError(f"expected a list of names, or a mapping of names to sources; got {describe(value)}")
    if repeated := sorted({str(name) for name in value if value.count(name) > 1}):
        raise ValueError(f"duplicate: {', '.join(repeated)}")
    return dict.fromkeys(value, NONE)


def _driver(name: str) -> str:
    if name != NONE:
        try:
            driver_class(name)
        except HardwareError as error:
            raise ValueError(str(error)) from error
    return name


def _device(name: str) -> str:
    if not DEVICE.fullmatch(name):
        raise ValueError(f"got {name!r}; expected auto, cpu, cuda or cuda:N")
    return name


def _artifact(kind: str) -> BeforeValidator:
    def find(name: Any) -> Any:
        if not isinstance(name, str) or not name:
            raise ValueError(f"expected a folder, or a name under config/{kind}; got {describe(name)}")
        try:
            return artifact(kind, name).resolve()
        except FileNotFoundError as error:
            raise ValueError(str(error)) from error

    return BeforeValidator(find)


def _within_bounds(interval: tuple[float, float]) -> tuple[float, float]:
    if interval[0] >= MAX_REACH or interval[1] <= -MAX_REACH:
        raise ValueError(f"expected a part of {-MAX_REACH:g} to {MAX_REACH:g} m, got {list(interval)}")
    return interval


def _node_parameters(nodes: Mapping[str, str]) -> AfterValidator:
    """Check parameters {node: {parameter: value}}, of nodes {name: executable}."""

    def check(values: dict[str, dict[str, Any]]) -> dict[str, dict[str, Any]]:
        checked, faults = {}, []
        for node, parameters in values.items():
            camera = nodes is ROBOT_NODES and node.endswith(CAMERA_SUFFIX)
            if not camera and node not in nodes:
                also = f", <camera>{CAMERA_SUFFIX}" if nodes is ROBOT_NODES else ""
                raise ValueError(f"no node {node!r}; {available(nodes)}{also}")
            try:
                checked[node] = checked_parameters(CAMERA_NODE if camera else nodes[node], node, parameters)
            except ValueError as error:
                faults.append(str(error))
        if faults:
            raise ValueError("; ".join(faults))
        return checked

    return AfterValidator(check)


NodeParameters = dict[str, dict[str, Any]]
RosName = Annotated[Text, AfterValidator(_ros_name)]
Driver = Annotated[Text, AfterValidator(_driver)]
Bounds = Annotated[Interval, AfterValidator(_within_bounds)]


class WorkspaceSection(Config):
    """Box that the wrist is kept in, in the frame of the arm's base."""

    x: Bounds = Field((-MAX_REACH, MAX_REACH), description="Lowest and highest x [m].")
    y: Bounds = Field((-MAX_REACH, MAX_REACH), description="Lowest and highest y [m].")
    z: Bounds = Field((-MAX_REACH, MAX_REACH), description="Lowest and highest z [m].")

    def bounds(self) -> list[float]:
        """[x low, x high, y low, y high, z low, z high], the form of the arm driver's parameter."""
        return [*self.x, *self.y, *self.z]


class Robot(Config):
    """A robot of a fleet."""

    embodiment: Annotated[Embodiment, BeforeValidator(load_commanded)] = Field(
        description="End-effector: a name from `latent-policy embodiments list`, or a YAML file."
    )
    cameras: Annotated[dict[RosName, Text], BeforeValidator(_cameras)] = Field(
        description="Cameras: a list of names, or a mapping of each name to the source that OpenCV opens (a device, file or URL), "
        f"`{NONE}` where another node publishes the images. Images are on `<robot>/<camera>/image_raw`."
    )
    driver: Driver = Field(
        description=f"Driver of the end-effector: {', '.join(DRIVERS.names())}, `{NONE}` (the user's own node), or "
        "package.module:Class@address."
    )
    arm_driver: Driver | None = Field(None, description="Driver of the arm, as `driver`. Default: the same driver moves both.")
    arm: Annotated[Arm, BeforeValidator(_arm)] = Field(
        PANDA, validate_default=True, description="Arm: a name under config/arms, or a YAML file."
    )
    wrist_frame: str = Field(
        "", description="Frame in tf of the hand; its pose is then the measured wrist pose. Default: computed from the joints."
    )
    images: Literal["raw", "compressed"] = Field("raw", description="Image topics that the policy subscribes to.")
    sim_task: Annotated[Text, one_of(TASKS.names)] = Field(
        DEFAULT_TASK, description="Task of the simulated scene; `task` of the fleet is its description."
    )
    seed: Whole = Field(0, ge=0, le=MAX_SEED, description="Seed of the simulated scene.")
    workspace: WorkspaceSection = Field(
        WorkspaceSection(), description="Box that the wrist is kept in, in the frame of the arm's base."
    )
    parameters: Annotated[NodeParameters, _node_parameters(ROBOT_NODES)] = Field(
        {}, description=f"Parameters of the robot's nodes, by node: {', '.join(ROBOT_NODES)}, `<camera>{CAMERA_SUFFIX}`."
    )

    @property
    def sources(self) -> dict[str, str]:
        """Cameras that a camera node of this package opens, with what OpenCV opens; see ``drivers/cameras/camera.py``."""
        return {camera: source for camera, source in self.cameras.items() if source != NONE}

    def moves_hardware(self) -> bool:
        """Whether a driver moves hardware. A node of the user counts as hardware, unless it drives a hand on a mock arm."""
        arm = self.arm_driver or self.driver
        if arm == NONE or not is_simulated(arm):
            return True
        return self.driver != NONE and not is_simulated(self.driver)

    @model_validator(mode="after")
    def _check(self) -> Robot:
        self.arm.mount(self.embodiment)
        if conflicts := list(self._conflicts()):
            raise field_errors(conflicts)
        return self

    def _conflicts(self) -> Iterator[tuple[str, str]]:
        """(field, message) of fields that contradict each other."""
        simulated = self.driver == "sim"
        if self.arm_driver is None and self.driver not in WHOLE_ROBOT:
            yield "arm_driver", f"missing: {self.driver} drives the end-effector only; expected mock, none, or a class of yours"
        if self.arm_driver not in (None, self.driver) and "sim" in (self.driver, self.arm_driver):
            message = f"sim drives both or none: expected driver and arm_driver sim; got {self.driver} and {self.arm_driver}"
            yield "arm_driver", message
        if simulated and self.arm.simulation is None:
            yield "arm", f"got {self.arm.reference!r}; a simulated robot needs an arm whose file has a section simulation"
        if simulated and self.sources:
            yield "cameras", "a simulated robot publishes its own images; expected a list of names, got sources"
        elif simulated:
            from latent_policy_ros.sim.simulation import CAMERAS  # slow to import, and not needed for real robots

            if message := unknown_camera(self.cameras, tuple(CAMERAS), f"a simulated {self.embodiment.name}"):
                yield "cameras", message
        for node in self.parameters:
            if node not in ROBOT_NODES and node.removesuffix(CAMERA_SUFFIX) not in self.sources:
                yield f"parameters.{node}", f"no camera node of that name; {available(f'{c}{CAMERA_SUFFIX}' for c in self.sources)}"


class Fleet(FileModel):
    """Robots that one policy drives."""

    robots: Annotated[dict[RosName, Robot], Field(min_length=1)] = Field(description="Robots by namespace.")
    policy: Annotated[Path, _artifact("policies")] = Field(description="Folder of the policy, or a name under config/policies.")
    latent: Annotated[Path, _artifact("latents")] = Field(description="Folder of the latent space, or a name under config/latents.")
    rate: float = Field(10.0, ge=CHUNK_RATES[0], le=CHUNK_RATES[1], description="Rate of the policy for each robot [Hz].")
    task: str = Field("", description="Task description: recorded in bags, and given to policies that read text.")
    device: Annotated[Text, AfterValidator(_device)] = Field(
        "auto", description="Device of the policy's network: auto, cpu, cuda or cuda:N."
    )
    parameters: Annotated[NodeParameters, _node_parameters(FLEET_NODES)] = Field(
        {}, description=f"Parameters of the fleet's nodes, by node: {', '.join(FLEET_NODES)}."
    )
    robot_namespaces: bool = Field(
        True, description="The nodes of a robot are in a namespace of its name; false, for a fleet of one robot: beside the policy."
    )

    @model_validator(mode="after")
    def _check(self) -> Fleet:
        if not self.robot_namespaces and len(self.robots) != 1:
            raise field_errors([("robot_namespaces", f"false needs a fleet of one robot, got {', '.join(self.robots)}")])
        return self

    def moves_hardware(self) -> bool:
        """Whether a robot of the fleet is hardware."""
        return any(robot.moves_hardware() for robot in self.robots.values())

    def robot_namespace(self, name: str) -> str:
        """Namespace of a robot's nodes, relative to that of the fleet."""
        return name if self.robot_namespaces else ""

    def text(self) -> str:
        """Content of the fleet's file; for a fleet from launch arguments, the equivalent file."""
        if self.file.is_file():
            return self.file.read_text(encoding="utf-8")
        robots = {
            name: {"embodiment": robot.embodiment.reference, "cameras": list(robot.cameras), "driver": robot.driver,
                   **({"arm_driver": robot.arm_driver} if robot.arm_driver else {}), "arm": robot.arm.reference}
            for name, robot in self.robots.items()
        }  # fmt: skip
        content = {
            "task": self.task, "policy": str(self.policy), "latent": str(self.latent), "rate": self.rate,
            **({} if self.robot_namespaces else {"robot_namespaces": False}), "robots": robots,
        }  # fmt: skip
        return yaml.safe_dump(content, sort_keys=False)

    def with_embodiments(self, embodiments: Sequence[str]) -> Fleet:
        """The fleet with other end-effectors, one for each of its first robots; robots beyond are left out.

        Raises:
            ConfigError: Unknown embodiment, more embodiments than robots, or they do not fit the robots.
        """
        if len(embodiments) > len(self.robots):
            message = f"expected at most {len(self.robots)} embodiments, one for each robot; got {', '.join(embodiments)}"
            raise ConfigError(self.file, "robots", message)
        robots = {}
        for (name, robot), embodiment in zip(self.robots.items(), embodiments, strict=False):
            robots[name] = {field: getattr(robot, field) for field in Robot.model_fields} | {"embodiment": embodiment}
        content = {"robots": robots, "policy": str(self.policy), "latent": str(self.latent)}
        settings = {field: getattr(self, field) for field in ("rate", "task", "device", "parameters", "robot_namespaces")}
        fleet = validate(Fleet, content | settings, Path("command line"))
        fleet.check_embodiments()
        return fleet

    def check_embodiments(self) -> None:
        """Check that the latent space was made for every robot's embodiment as it is now.

        Raises:
            ConfigError: The latent space cannot be loaded, or does not have an embodiment.
        """
        try:
            space = LatentSpace.load(self.latent)
        except ArtifactError as error:
            raise ConfigError(self.file, "latent", str(error)) from error
        findings = []
        for name, robot in self.robots.items():
            try:
                space.check(robot.embodiment)
            except ArtifactError as error:
                findings.append(Finding(f"robots.{name}.embodiment", str(error)))
        if findings:
            raise ConfigError(self.file, *findings[0], findings[1:])


@dataclass(frozen=True)
class Teleoperation:
    """Teleoperation of the robots of a fleet by a human hand, instead of the policy.

    Attributes:
        mode: ``latent`` (through the latent space and the decoder nodes) or ``direct`` (by retargeting).
        robots: Namespaces of the robots to drive; empty: all.
        file: Hand recording to play instead of the topic ``keypoints``; empty: none.
        entry: Array, topic or hand in the recording; see ``data/hand_recordings.py``.
        webcam: Camera that shows the hand, instead of the topic; empty: none.
        hand_model: MediaPipe's model file, for the webcam.
        keypoints_type: Message type of the topic ``keypoints``.
        loop: Play the recording repeatedly.
        side, layout, units: Of the keypoints; see ``embodiments/human/hand_input.py``.
    """

    mode: str = LATENT
    robots: tuple[str, ...] = ()
    file: str = ""
    entry: str = ""
    webcam: str = ""
    hand_model: str = ""
    keypoints_type: str = "geometry_msgs/msg/PoseArray"
    loop: bool = False
    side: str = "auto"
    layout: str = "auto"
    units: str = "m"

    def select(self, fleet: Fleet) -> dict[str, Robot]:
        """The robots to drive, by namespace.

        Raises:
            ConfigError: Unknown mode, or a robot that the fleet does not have.
        """
        if self.mode not in MODES:
            raise ConfigError("teleoperation", "mode", f"got {self.mode!r}; {available(MODES)}")
        unknown = [name for name in self.robots if name not in fleet.robots]
        if unknown:
            raise ConfigError(fleet.file, "robots", f"no robot {unknown[0]!r} to teleoperate; {available(fleet.robots)}")
        return {name: robot for name, robot in fleet.robots.items() if not self.robots or name in self.robots}

    def hands(self) -> CanonicalHands | None:
        """The hand in the recording; None without a file.

        Raises:
            KeypointsRefused: Unknown side, layout or units, or they do not fit the keypoints of the file.
            ArtifactError, FileNotFoundError: The file cannot be read.
        """
        from latent_policy_ros.data.hand_recordings import read_hand_recording  # slow to import, and rarely needed
        from latent_policy_ros.embodiments.human.hand_input import HandInput

        HandInput(self.layout, self.units, self.side)
        if not self.file:
            return None
        return read_hand_recording(self.file, self.entry).hands(self.layout, self.units, self.side)


def load_fleet(name_or_path: str | Path, *, decoded: bool = True) -> Fleet:
    """Load a fleet by its name in ``config/robots`` or from a YAML file.

    Args:
        name_or_path: Name or path.
        decoded: The robots follow latent actions, so the latent space must have their embodiments.

    Raises:
        ConfigError: No such fleet, or errors in its file.
    """
    fleet = load(Fleet, config_file("robots", name_or_path, "fleet"))
    if decoded:
        fleet.check_embodiments()
    return fleet


def single_robot(
    name: str,
    embodiment: str,
    cameras: Sequence[str],
    driver: str = "sim",
    policy: str = "default",
    latent: str = "default",
    arm_driver: str = "",
    arm: str = PANDA,
    robot_namespaces: bool = True,
) -> Fleet:
    """A fleet of one robot, from launch arguments; an empty ``arm_driver`` means the same as ``driver``.

    Raises:
        ConfigError: Errors in the arguments, named like the fields of a fleet file.
    """
    robot = {"embodiment": embodiment, "cameras": list(cameras), "driver": driver, "arm": arm}
    if arm_driver:
        robot["arm_driver"] = arm_driver
    content = {"policy": policy, "latent": latent, "robots": {name: robot}, "robot_namespaces": robot_namespaces}
    fleet = validate(Fleet, content, "launch arguments")
    fleet.check_embodiments()
    return fleet


def unknown_camera(cameras: Mapping[str, str], known: Sequence[str], owner: str) -> str:
    """Message about the first camera that is not among the known ones of ``owner``; empty if there is none."""
    name = next((camera for camera in cameras if camera not in known), None)
    return "" if name is None else f"got {name!r}: {owner} has no camera of that name; {available(known)}"
