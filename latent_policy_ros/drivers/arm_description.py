"""An arm as its YAML file describes it: which URDF, what of it moves, and how it carries end-effectors."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

import numpy as np
import pinocchio as pin

from latent_policy_ros.embodiments import Embodiment, HandKinematics
from latent_policy_ros.embodiments.reader import Section, frozen
from latent_policy_ros.errors import ConfigError, available
from latent_policy_ros.paths import config_dir

PANDA = "panda"  # the arm where no other is named
PINCH_POINT = np.array([0.075, 0.008, 0.125])  # where a person's thumb meets the fingers, in the hand frame [m]
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
        return self.tool * pin.SE3(rotation, np.array([0.0, 0.0, BRACKET_DEPTH]) - rotation @ PINCH_POINT)


def list_arms() -> tuple[str, ...]:
    """Names of the shipped arms."""
    return tuple(sorted(path.stem for path in _shipped().glob("*.yaml")))


def load_arm(name_or_path: str) -> Arm:
    """The arm of that name under ``config/arms``, or in that YAML file.

    Raises:
        ConfigError: There is none, or its file or URDF is wrong; says where, what was got and what was expected.
    """
    own = name_or_path.endswith((".yaml", ".yml"))
    file = Path(name_or_path).expanduser() if own else _shipped() / f"{name_or_path}.yaml"
    if not file.is_file():
        raise ConfigError(file, "", f"no arm {name_or_path!r}; {available(list_arms())}, or a YAML file")
    return _load(file.resolve(), file.stat().st_mtime_ns)


@lru_cache(maxsize=8)
def _load(file: Path, _modified: int) -> Arm:
    top = Section.load(file)
    full = _read_urdf(top)
    home = top.section("home")
    model, names = _reduced(full, home)
    base, flange = (_link(top, field, model) for field in ("base", "flange"))
    _check_chain(top, model, base, flange)
    lower, upper, velocity = model.lowerPositionLimit, model.upperPositionLimit, model.velocityLimit
    at_home = [_within(home, name, low, high) for name, low, high in zip(names, lower, upper)]
    slow = top.number("max_velocity", above=0.0) if top.has("max_velocity") else np.inf
    if still := [name for name, speed in zip(names, velocity) if not 0.0 < min(speed, slow) < np.inf]:
        raise top.error("max_velocity", f"missing: the URDF has none for {', '.join(still)}; expected rad/s, for all joints")
    tool = _pose(top.section("tool")) if top.has("tool") else pin.SE3.Identity()
    mounts = {name: _pose(section) for name, section in top.optional("mounts").sections()}
    top.finish()
    return Arm(
        file, model, base, flange, names, frozen(lower), frozen(upper), frozen(np.minimum(velocity, slow)), frozen(at_home),
        tool, mounts,
    )  # fmt: skip


def _shipped() -> Path:
    return (config_dir() / "arms").resolve()


def _read_urdf(top: Section) -> pin.Model:
    file = top.file_path("description")
    if not file.is_file():
        raise top.error("description", f"no file {file}")
    try:
        return pin.buildModelFromUrdf(str(file))
    except (ValueError, RuntimeError) as error:
        raise top.error("description", f"{file} cannot be read: {error}") from error


def _reduced(full: pin.Model, home: Section) -> tuple[pin.Model, tuple[str, ...]]:
    """The model with the joints of ``home`` alone, and these in its order; all others stay where they are at zero."""
    known = list(full.names)[1:]
    if not home.names():
        raise home.error("", f"expected the joints that move, got none; {available(known)}")
    for name in home.names():
        if name not in known:
            raise home.error(name, f"the URDF has no such joint that moves; {available(known)}")
        joint = full.joints[full.getJointId(name)]
        limits = full.lowerPositionLimit[joint.idx_q], full.upperPositionLimit[joint.idx_q]
        if joint.nq != 1 or not np.isfinite(limits).all() or not limits[0] < limits[1]:
            raise home.error(name, "a joint without limits; expected a revolute or prismatic one that has some in the URDF")
    others = [full.getJointId(name) for name in known if name not in home.names()]
    model = pin.buildReducedModel(full, others, pin.neutral(full))
    return model, tuple(model.names)[1:]


def _link(top: Section, field: str, model: pin.Model) -> str:
    links = [frame.name for frame in model.frames if frame.type == pin.FrameType.BODY]
    return top.choice(field, links)


def _check_chain(top: Section, model: pin.Model, base: str, flange: str) -> None:
    """The base stands still, and all joints move the flange."""
    if parent := model.frames[model.getFrameId(base)].parentJoint:
        raise top.error("base", f"{base} is moved by {model.names[parent]}; expected a link that stands still")
    moving = set(model.supports[model.frames[model.getFrameId(flange)].parentJoint])
    if idle := [name for i, name in enumerate(model.names) if i not in moving]:
        raise top.error("home", f"{', '.join(idle)} does not move {flange}; expected the joints between base and flange")


def _within(home: Section, name: str, lower: float, upper: float) -> float:
    return home.number_in(name, float(lower), float(upper))


def _pose(section: Section) -> pin.SE3:
    """``xyz`` [m] and ``rpy`` [rad], as a URDF's origin."""
    xyz, (roll, pitch, yaw) = section.vector("xyz", 3), section.vector("rpy", 3)
    section.finish()
    rotate = pin.utils.rotate
    return pin.SE3(rotate("z", yaw) @ rotate("y", pitch) @ rotate("x", roll), xyz)


def _jaws_ahead(gripper: Embodiment) -> bool:
    tips = HandKinematics(gripper).fingertips(gripper.rest[None])[0]
    return bool((gripper.T_base_hand @ [*tips.mean(axis=0), 1.0])[2] > 0)
