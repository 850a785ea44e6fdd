"""Arms from YAML files: URDF, moving joints, tool frame, and the mounting of end-effectors."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pinocchio as pin
from pydantic import Field, field_validator

from latent_policy_ros.common.config import (
    Config,
    ExistingFile,
    FileModel,
    Interval,
    Names,
    Positive,
    Text,
    Vector3,
    config_file,
    load,
)
from latent_policy_ros.common.errors import ConfigError, available
from latent_policy_ros.common.paths import config_dir
from latent_policy_ros.control.command_guard import RAMP_TIME
from latent_policy_ros.embodiments import Embodiment
from latent_policy_ros.embodiments.description.urdf import ONE_DOF_TYPES, UrdfFile
from latent_policy_ros.embodiments.human.keypoints import PINCH_AXIS, pinch_point
from latent_policy_ros.embodiments.kinematics.pinocchio_model import pinocchio_model
from latent_policy_ros.embodiments.model.schema import read_only

PANDA = "panda"  # the default arm
BRACKET_DEPTH = 0.167  # distance along the tool axis to a hand's grasp point [m]; leaves room for a bracket behind the palm
HALF_TURN = pin.SE3(np.diag([-1.0, -1.0, 1.0]), np.zeros(3))  # about z


class Pose(Config):
    """A pose as in the origin of a URDF joint."""

    xyz: Vector3 = Field(description="Translation [m].")
    rpy: Vector3 = Field(description="Roll, pitch and yaw [rad].")

    @field_validator("xyz")
    @classmethod
    def _metres(cls, xyz: tuple[float, float, float]) -> tuple[float, float, float]:
        if max(map(abs, xyz)) > 1.0:
            raise ValueError(f"expected metres, at most 1 in each axis; got {list(xyz)}: millimetres?")
        return xyz

    @field_validator("rpy")
    @classmethod
    def _radians(cls, rpy: tuple[float, float, float]) -> tuple[float, float, float]:
        if max(map(abs, rpy)) > 2 * np.pi:
            raise ValueError(f"expected radians, at most 2 pi for each angle; got {list(rpy)}: degrees?")
        return rpy

    def to_se3(self) -> pin.SE3:
        """The pose as a rigid transform."""
        roll, pitch, yaw = self.rpy
        rotate = pin.utils.rotate
        return pin.SE3(rotate("z", yaw) @ rotate("y", pitch) @ rotate("x", roll), np.array(self.xyz))


class SimulationSection(Config):
    """Parameters of the simulated arm."""

    kp: list[Positive] = Field(description="Proportional gain of each joint's position servo [N m/rad or N/m].")
    kv_ratio: float = Field(ge=0.0, description="Velocity gain of the servos as a multiple of `kp` [s].")
    max_effort: list[Positive] = Field(description="Maximum torque or force of each joint [N m or N].")
    armature: float = Field(ge=0.0, description="Rotor inertia of every joint, reflected to the joint [kg m^2 or kg].")
    damping: float = Field(ge=0.0, description="Viscous friction of every joint [N m s/rad or N s/m].")
    colliding_links: Names = Field(description="Links of the URDF that collide with the table and with objects.")


class ArmFile(FileModel):
    """Content of an arm's YAML file."""

    description: ExistingFile = Field(description="URDF file; relative to this file, or package://NAME/PATH.")
    base: Text = Field(description="Link whose frame wrist poses are expressed in.")
    flange: Text = Field(description="Link that carries the end-effector.")
    home: dict[str, float] = Field(
        description="Joints between base and flange with their home positions [rad or m]: start of the mock driver, and target "
        "of the null space. All other joints of the URDF stay at zero."
    )
    ranges: dict[str, Interval] = Field(
        {}, description="Joint ranges [rad or m]: a part of the URDF's range, or any range for a continuous joint."
    )
    max_velocity: Positive | None = Field(
        None, description="Upper bound on all joint velocities [rad/s or m/s]; required where the URDF has none."
    )
    max_acceleration: dict[str, Positive] = Field(
        {}, description="Acceleration limits of joints [rad/s^2 or m/s^2], e.g. from the data sheet; default: the velocity "
        "limit is reached in 0.2 s."
    )  # fmt: skip
    tool: Pose | None = Field(
        None, description="Tool frame in the flange: z away from the arm, y along the jaws of a gripper. Default: the flange."
    )
    mounts: dict[str, Pose] = Field(
        {}, description="Base of each end-effector, by embodiment name, in the flange. Default: mounted on the tool frame."
    )
    simulation: SimulationSection | None = Field(
        None, description="Parameters of the simulated arm; `kp` and `max_effort` in the order of the joints from the base on."
    )


@dataclass(frozen=True, eq=False)
class Arm:
    """An arm with n moving joints.

    Attributes:
        file: Its YAML file.
        urdf: Its URDF file.
        model: Pinocchio model of the moving joints alone.
        base, flange: Links: the frame of wrist poses, and the carrier of the end-effector.
        joint_names: The n joints between base and flange, in the order of every q.
        slides: (n,) whether a joint is prismatic.
        lower, upper: Limits (n,) [rad or m].
        max_velocity: (n,) [rad/s or m/s].
        max_acceleration: (n,) [rad/s^2 or m/s^2].
        home: (n,) start of the mock driver, and target of the null space.
        tool: Tool frame in the flange: z away from the arm, y along the jaws of a gripper.
        mounts: Base of each end-effector, by embodiment name, in the flange; empty: mounted on the tool frame.
        simulation: Parameters of the simulated arm; None if the file has none.
    """

    file: Path
    urdf: Path
    model: pin.Model
    base: str
    flange: str
    joint_names: tuple[str, ...]
    slides: np.ndarray
    lower: np.ndarray
    upper: np.ndarray
    max_velocity: np.ndarray
    max_acceleration: np.ndarray
    home: np.ndarray
    tool: pin.SE3
    mounts: Mapping[str, pin.SE3]
    simulation: SimulationSection | None = None

    @property
    def T_base_root(self) -> pin.SE3:
        """Pose of the URDF's root link in the base frame."""
        return self.model.frames[self.model.getFrameId(self.base, pin.FrameType.BODY)].placement.inverse()

    @property
    def reference(self) -> str:
        """Argument of ``load_arm`` that loads the same arm in another process: a shipped name, or a path."""
        return self.file.stem if self.file.parent == _shipped() else str(self.file)

    def mount(self, embodiment: Embodiment) -> pin.SE3:
        """Pose of the hand frame H of an end-effector in the flange.

        Without mounts in the arm's file, a gripper whose jaws point along z of its base is mounted on the tool frame, as the
        Panda's own gripper is; turned by half a turn if its thumb would otherwise be opposite to those of hands. A hand, or any
        other gripper, is mounted on a bracket such that its grasp point lies on the tool axis and thumb and fingers close along
        y of the tool. Hands and grippers then grasp from the same wrist pose.

        Raises:
            ConfigError: The arm's file has mounts, but none for this end-effector.
        """
        base_hand = pin.SE3(embodiment.T_base_hand)
        if self.mounts:
            if embodiment.name not in self.mounts:
                raise ConfigError(self.file, "mounts", f"none for {embodiment.name}; {available(self.mounts)}")
            return self.mounts[embodiment.name] * base_hand
        if embodiment.kind == "gripper" and _jaws_along_z(embodiment):
            opposite = (base_hand.rotation @ PINCH_AXIS)[1] < 0
            return self.tool * (HALF_TURN if opposite else pin.SE3.Identity()) * base_hand
        x, y = np.array([0.0, 1.0, 0.0]), PINCH_AXIS
        rotation = np.array([x, y, np.cross(x, y)])
        return self.tool * pin.SE3(rotation, np.array([0.0, 0.0, BRACKET_DEPTH]) - rotation @ pinch_point(embodiment.side))


def list_arms() -> tuple[str, ...]:
    """Names of the shipped arms."""
    return tuple(sorted(path.stem for path in _shipped().glob("*.yaml")))


def load_arm(name_or_path: str) -> Arm:
    """Load an arm by its name in ``config/arms`` or from a YAML file.

    Raises:
        ConfigError: No such arm, or an error in its file or URDF.
    """
    file = config_file("arms", name_or_path, "arm").resolve()
    content = load(ArmFile, file)
    full, mimics = _read_urdf(content)
    _check_chain(content, full, mimics)
    model = _reduced(content, full)
    names = tuple(model.names)[1:]
    lower, upper = model.lowerPositionLimit, model.upperPositionLimit
    home = [content.home[name] for name in names]
    for name, value, low, high in zip(names, home, lower, upper):
        if not low <= value <= high:
            raise content.error(f"home.{name}", f"expected a number from {low:.12g} to {high:.12g}, got {value:.12g}")
    limit = np.inf if content.max_velocity is None else content.max_velocity
    velocity = np.minimum(np.where(model.velocityLimit > 0.0, model.velocityLimit, np.inf), limit)
    if unlimited := [name for name, speed in zip(names, velocity) if not np.isfinite(speed)]:
        message = f"missing: the URDF has no velocity limit for {', '.join(unlimited)}; expected one number for all joints [rad/s]"
        raise content.error("max_velocity", message)
    for name in content.max_acceleration:
        if name not in names:
            raise content.error(f"max_acceleration.{name}", f"not a joint of this arm; {available(names)}")
    acceleration = np.array([content.max_acceleration.get(name, speed / RAMP_TIME) for name, speed in zip(names, velocity)])
    slides = np.array([joint.shortname().startswith("JointModelP") for joint in model.joints[1:]])
    tool = content.tool.to_se3() if content.tool else pin.SE3.Identity()
    mounts = {name: pose.to_se3() for name, pose in content.mounts.items()}
    limits = read_only(lower), read_only(upper), read_only(velocity), read_only(acceleration)
    _check_simulation(content, full, len(names))
    return Arm(
        file, content.description, model, content.base, content.flange, names, slides, *limits, read_only(home), tool, mounts,
        content.simulation,
    )  # fmt: skip


def _shipped() -> Path:
    return (config_dir() / "arms").resolve()


def _read_urdf(content: ArmFile) -> tuple[pin.Model, set[str]]:
    """The model of all moving joints, and the names of mimic joints (which pinocchio treats as independent)."""
    urdf = UrdfFile.read(content.description)
    mimics = {joint.name for joint in urdf.joints.values() if joint.mimic is not None}
    joints = {name: joint for name, joint in urdf.joints.items() if joint.type in ONE_DOF_TYPES}
    for name, (lower, upper) in content.ranges.items():
        if name not in joints:
            raise content.error(f"ranges.{name}", f"not a moving joint of the URDF; {available(joints)}")
        least, most = joints[name].limits or (0.0, 0.0)
        if joints[name].type != "continuous" and (lower < least or upper > most):
            message = f"expected a part of the URDF's [{least:g}, {most:g}], got [{lower:g}, {upper:g}]"
            raise content.error(f"ranges.{name}", message)
        urdf.set_limits(name, lower, upper)
    try:
        return pin.buildModelFromXML(urdf.to_xml()), mimics
    except (ValueError, RuntimeError) as error:
        raise content.error("description", f"{content.description} cannot be read: {error}") from error


def _check_chain(content: ArmFile, model: pin.Model, mimics: set[str]) -> None:
    """Check that ``home`` names exactly the joints between base and flange, and that each can be commanded."""
    links = [frame.name for frame in model.frames if frame.type == pin.FrameType.BODY]
    for field in ("base", "flange"):
        if (link := getattr(content, field)) not in links:
            raise content.error(field, f"got {link!r}; {available(links)}")
    base, flange, named, known = content.base, content.flange, content.home, list(model.names)[1:]
    before, after = (_moving_joints(model, link) for link in (base, flange))
    chain = [name for name in after if name not in before]
    between = f"expected joints between base and flange: {', '.join(chain)}"
    if not named:
        raise content.error("home", f"{between}; got none")
    for name in named:
        if name not in known:
            raise content.error(f"home.{name}", f"not a moving joint of the URDF; {available(known)}")
        if name in before:
            raise content.error(f"home.{name}", f"moves the base, {base}; {between}")
        if name not in chain:
            raise content.error(f"home.{name}", f"does not move {flange}; {between}")
    for name in chain:
        joint = model.joints[model.getJointId(name)]
        limits = model.lowerPositionLimit[joint.idx_q], model.upperPositionLimit[joint.idx_q]
        if name not in named:
            raise content.error(f"home.{name}", f"missing: this joint moves {flange}; add it, or make it fixed in the URDF")
        if name in mimics:
            raise content.error(f"home.{name}", "mimic joints are not supported in arms; make it fixed in the URDF")
        if joint.nq != 1 or not np.isfinite(limits).all() or not limits[0] < limits[1]:
            raise content.error(f"home.{name}", "no limits in the URDF; add them to `ranges`, e.g. [-3.14, 3.14]")


def _check_simulation(content: ArmFile, model: pin.Model, joints: int) -> None:
    """Check the number of joints and the names of links in the section ``simulation``."""
    if (simulation := content.simulation) is None:
        return
    for field in ("kp", "max_effort"):
        if (count := len(getattr(simulation, field))) != joints:
            raise content.error(f"simulation.{field}", f"expected {joints} numbers, one for each joint; got {count}")
    links = [frame.name for frame in model.frames if frame.type == pin.FrameType.BODY]
    if unknown := [link for link in simulation.colliding_links if link not in links]:
        raise content.error("simulation.colliding_links", f"got {unknown[0]!r}; {available(links)}")


def _moving_joints(model: pin.Model, link: str) -> list[str]:
    """Names of the joints that move a link, from the root on."""
    parent = model.frames[model.getFrameId(link, pin.FrameType.BODY)].parentJoint
    return [model.names[i] for i in model.supports[parent] if i]


def _reduced(content: ArmFile, full: pin.Model) -> pin.Model:
    """The model with the joints of ``home`` alone; all others are fixed at zero."""
    others = [full.getJointId(name) for name in list(full.names)[1:] if name not in content.home]
    try:
        return pin.buildReducedModel(full, others, pin.neutral(full))
    except ValueError as error:  # e.g. a joint and a link of the same name
        raise content.error("home", f"pinocchio cannot fix the other joints of the URDF: {error}") from error


def _jaws_along_z(gripper: Embodiment) -> bool:
    """Whether the fingertips of a gripper lie at positive z of its base."""
    model = pinocchio_model(gripper)  # not HandKinematics: its compiled kernels take two seconds to load
    data = model.createData()
    pin.framesForwardKinematics(model, data, gripper.coupling @ gripper.rest)
    tips = [data.oMf[model.getFrameId(f"{finger}_tip")].translation[2] for finger in gripper.fingertips]
    return bool(np.mean(tips) > 0)
