"""An arm as its YAML file describes it: which URDF, what of it moves, and how it carries end-effectors."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pinocchio as pin

from latent_policy_ros.common.config_reader import YAML_SUFFIXES, Section, frozen
from latent_policy_ros.common.errors import ConfigError, available
from latent_policy_ros.common.paths import config_dir
from latent_policy_ros.embodiments import Embodiment
from latent_policy_ros.embodiments.description.urdf import ONE_DOF_TYPES, UrdfFile
from latent_policy_ros.embodiments.kinematics.pinocchio_model import pinocchio_model

PANDA = "panda"  # the arm where no other is named
PINCH_POINT = np.array([0.075, 0.008, 0.125])  # where a person's right thumb meets the fingers, in the hand frame [m]
PINCH_AXIS = np.array([-0.371, 0.0, 0.928])  # and the direction from thumb to fingers
BRACKET_DEPTH = 0.167  # m along the tool's axis to that point, for a hand: leaves room for a bracket behind the palm


@dataclass(frozen=True, eq=False)
class Arm:
    """An arm, of which only ``joint_names`` move.

    Attributes:
        file: Where it is described.
        model: Of its joints alone.
        base, flange: Links: the frame of wrist poses, and what carries the end-effector.
        joint_names: The n joints between them, in the order of every q.
        slides: (n,) whether a joint slides.
        lower, upper: Limits (n,) [rad or m].
        max_velocity: (n,) [rad/s or m/s].
        home: (n,) where it begins without hardware, and where its null space is drawn to.
        tool: The tool frame in the flange: z away from the arm, y along a gripper's jaws.
        mounts: Where end-effectors are mounted by name: their base in the flange. Empty: all as this package mounts them.
    """

    file: Path
    model: pin.Model
    base: str
    flange: str
    joint_names: tuple[str, ...]
    slides: np.ndarray
    lower: np.ndarray
    upper: np.ndarray
    max_velocity: np.ndarray
    home: np.ndarray
    tool: pin.SE3
    mounts: Mapping[str, pin.SE3]

    @property
    def reference(self) -> str:
        """What ``load_arm`` takes for it, in any process."""
        return self.file.stem if self.file.parent == _shipped() else str(self.file)

    def mount(self, embodiment: Embodiment) -> pin.SE3:
        """Pose of the hand frame H of an end-effector in the flange.

        Without mounts in the arm's file, a gripper sits on the tool frame as the Panda's own does. A hand, or a gripper whose
        jaws are not along z of its base, sits on a bracket so that thumb and fingers meet on the tool's axis and along the
        gripper's jaws: held the same way, a hand and a gripper then grasp from the same wrist pose.

        Raises:
            ConfigError: The arm's file has mounts, but none for this end-effector.
        """
        base_hand = pin.SE3(embodiment.T_base_hand)
        if self.mounts:
            if embodiment.name not in self.mounts:
                raise ConfigError(self.file, "mounts", f"none for {embodiment.name}; {available(self.mounts)}")
            return self.mounts[embodiment.name] * base_hand
        if embodiment.kind == "gripper" and _jaws_ahead(embodiment):
            return self.tool * base_hand
        x, y = np.array([0.0, 1.0, 0.0]), PINCH_AXIS / np.linalg.norm(PINCH_AXIS)
        rotation = np.array([x, y, np.cross(x, y)])
        return self.tool * pin.SE3(rotation, np.array([0.0, 0.0, BRACKET_DEPTH]) - rotation @ pinch_point(embodiment))


def pinch_point(embodiment: Embodiment) -> np.ndarray:
    """Where a person's thumb meets the fingers, in the hand frame of an end-effector of this side (3,) [m]."""
    return PINCH_POINT * ([1.0, -1.0, 1.0] if embodiment.side == "left" else 1.0)


def list_arms() -> tuple[str, ...]:
    """Names of the shipped arms."""
    return tuple(sorted(path.stem for path in _shipped().glob("*.yaml")))


def load_arm(name_or_path: str) -> Arm:
    """The arm of that name under ``config/arms``, or in that YAML file.

    Raises:
        ConfigError: There is none, or its file or URDF is wrong; says where, what was got and what was expected.
    """
    own = name_or_path.endswith(YAML_SUFFIXES)
    file = Path(name_or_path).expanduser() if own else _shipped() / f"{name_or_path}.yaml"
    if not file.is_file():
        raise ConfigError(file, "", f"no arm {name_or_path!r}; {available(list_arms())}, or a YAML file")
    top = Section.load(file.resolve())
    full, followers = _read_urdf(top)
    base, flange = (_link(top, field, full) for field in ("base", "flange"))
    home = top.section("home")
    _check_chain(home, full, base, flange, followers)
    model = _reduced(full, home)
    names = tuple(model.names)[1:]
    lower, upper = model.lowerPositionLimit, model.upperPositionLimit
    at_home = [home.number_in(name, float(low), float(high)) for name, low, high in zip(names, lower, upper)]
    slow = top.number("max_velocity", above=0.0) if top.has("max_velocity") else np.inf
    velocity = np.minimum(np.where(model.velocityLimit > 0.0, model.velocityLimit, np.inf), slow)
    if still := [name for name, speed in zip(names, velocity) if not np.isfinite(speed)]:
        raise top.error("max_velocity", f"missing: the URDF has none for {', '.join(still)}; expected rad/s, for all joints")
    tool = _pose(top.section("tool")) if top.has("tool") else pin.SE3.Identity()
    mounts = {name: _pose(section) for name, section in top.optional("mounts").sections()}
    top.finish()
    slides = np.array([joint.shortname().startswith("JointModelP") for joint in model.joints[1:]])
    return Arm(
        top.file, model, base, flange, names, slides, frozen(lower), frozen(upper), frozen(velocity), frozen(at_home), tool, mounts
    )


def _shipped() -> Path:
    return (config_dir() / "arms").resolve()


def _read_urdf(top: Section) -> tuple[pin.Model, set[str]]:
    """The model of all joints that move, and those of them that follow another one (which it does not know)."""
    file = top.file_path("description")
    if not file.is_file():
        raise top.error("description", f"no file {file}")
    urdf = UrdfFile.read(file)
    followers = {joint.name for joint in urdf.joints.values() if joint.mimic is not None}
    _narrow(top.optional("ranges"), urdf)
    try:
        return pin.buildModelFromXML(urdf.to_xml()), followers
    except (ValueError, RuntimeError) as error:
        raise top.error("description", f"{file} cannot be read: {error}") from error


def _narrow(ranges: Section, urdf: UrdfFile) -> None:
    """Set the joint ranges of the arm's file: a part of the URDF's range, or any range for a continuous joint."""
    joints = {name: joint for name, joint in urdf.joints.items() if joint.type in ONE_DOF_TYPES}
    for name in ranges.names():
        if name not in joints:
            raise ranges.error(name, f"the URDF has no such joint that moves; {available(joints)}")
        joint, (lower, upper) = joints[name], ranges.interval(name)
        least, most = joint.limits or (0.0, 0.0)
        if joint.type != "continuous" and (lower < least or upper > most):
            raise ranges.error(name, f"expected a part of the URDF's [{least:g}, {most:g}], got [{lower:g}, {upper:g}]")
        urdf.set_limits(name, lower, upper)


def _link(top: Section, field: str, model: pin.Model) -> str:
    return top.choice(field, [frame.name for frame in model.frames if frame.type == pin.FrameType.BODY])


def _check_chain(home: Section, model: pin.Model, base: str, flange: str, followers: set[str]) -> None:
    """All that moves the flange against the base is named, nothing else is, and each can be commanded."""
    known, named = list(model.names)[1:], home.names()
    before, after = (_movers(model, link) for link in (base, flange))
    chain = [name for name in after if name not in before]
    if not named:
        raise home.error("", f"expected the joints that move, got none; those between {base} and {flange}: {', '.join(chain)}")
    for name in named:
        if name not in known:
            raise home.error(name, f"the URDF has no such joint that moves; {available(known)}")
        if name in before:
            raise home.error(name, f"moves the base, {base}; expected joints between base and flange: {', '.join(chain)}")
        if name not in chain:
            raise home.error(name, f"does not move {flange}; expected joints between base and flange: {', '.join(chain)}")
    for name in chain:
        joint = model.joints[model.getJointId(name)]
        limits = model.lowerPositionLimit[joint.idx_q], model.upperPositionLimit[joint.idx_q]
        if name not in named:
            raise home.error(name, f"missing: it moves {flange} too; name it, or make it fixed in the URDF")
        if name in followers:
            raise home.error(name, "follows another joint (mimic), which no arm here does; make it fixed in the URDF")
        if joint.nq != 1 or not np.isfinite(limits).all() or not limits[0] < limits[1]:
            raise home.error(name, "has no limits in the URDF; expected some in `ranges`, e.g. [-3.14, 3.14]")


def _movers(model: pin.Model, link: str) -> list[str]:
    """Names of the joints that move a link, from the root on."""
    parent = model.frames[model.getFrameId(link, pin.FrameType.BODY)].parentJoint
    return [model.names[i] for i in model.supports[parent] if i]


def _reduced(full: pin.Model, home: Section) -> pin.Model:
    """The model with the joints of ``home`` alone; all others, before the base or beside the arm, stay at zero."""
    others = [full.getJointId(name) for name in list(full.names)[1:] if name not in home.names()]
    try:
        return pin.buildReducedModel(full, others, pin.neutral(full))
    except ValueError as error:  # e.g. a joint that has the name of a link
        raise home.error("", f"pinocchio cannot hold the other joints of the URDF where they are: {error}") from error


def _pose(section: Section) -> pin.SE3:
    """``xyz`` [m] and ``rpy`` [rad], as a URDF's origin."""
    xyz, (roll, pitch, yaw) = section.vector("xyz", 3), section.vector("rpy", 3)
    if np.abs(xyz).max() > 1.0:
        raise section.error("xyz", f"expected metres, none more than 1; got {xyz.tolist()}: millimetres?")
    if np.abs([roll, pitch, yaw]).max() > 2 * np.pi:
        raise section.error("rpy", f"expected radians, no more than a whole turn; got {[roll, pitch, yaw]}: degrees?")
    section.finish()
    rotate = pin.utils.rotate
    return pin.SE3(rotate("z", yaw) @ rotate("y", pitch) @ rotate("x", roll), xyz)


def _jaws_ahead(gripper: Embodiment) -> bool:
    model = pinocchio_model(gripper)  # our own kinematics are compiled code: two seconds to load, for one pose
    data = model.createData()
    pin.framesForwardKinematics(model, data, gripper.coupling @ gripper.rest)
    tips = [data.oMf[model.getFrameId(f"{finger}_tip")].translation[2] for finger in gripper.fingertips]
    return bool(np.mean(tips) > 0)
