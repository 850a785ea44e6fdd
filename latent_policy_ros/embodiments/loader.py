"""Loading of embodiments from YAML files. Every field is checked here, so that an Embodiment is always valid."""

from __future__ import annotations

from dataclasses import replace
from functools import lru_cache
from pathlib import Path
from types import MappingProxyType

import numpy as np

from latent_policy_ros.common.config_reader import Section, frozen
from latent_policy_ros.common.errors import ConfigError, available
from latent_policy_ros.embodiments.description.defaults import EmbodimentDefaults
from latent_policy_ros.embodiments.description.from_description import described_files, read_described, with_ranges
from latent_policy_ros.embodiments.description.hinge_table import joint_limits, read_table
from latent_policy_ros.embodiments.description.mechanism import Mechanism
from latent_policy_ros.embodiments.model.catalogue import embodiment_files, find_embodiment, reference_of
from latent_policy_ros.embodiments.model.content_hash import content_hash
from latent_policy_ros.embodiments.model.schema import Embodiment, Servo, Shape
from latent_policy_ros.embodiments.model.sides import SIDES, mirrored

ROTATION_NAMES = ("r11", "r21", "r31", "r12", "r22", "r32")  # 6D representation: the first two columns of a rotation
DEFAULT_MAX_VELOCITY = {"revolute": 6.0, "prismatic": 0.1}  # [rad/s], [m/s] where no file gives one
SHAPE_FIELDS, SERVO_FIELDS = ("link_radius", "tip_radius", "palm_radius"), ("kp", "damping", "max_effort", "armature")
HAND_FRAME_FORM = "hand_frame: {origin: [x, y, z] of the wrist, fingers: [x, y, z] direction, palm: [x, y, z] outward normal}"


def list_embodiments() -> list[str]:
    """Names of all embodiments, shipped and of the user's folders. Each also exists as ``<name>_left`` and ``<name>_right``."""
    return sorted(embodiment_files())


def load_embodiment(name_or_path: str | Path) -> Embodiment:
    """Load an embodiment by its name (see :func:`list_embodiments`) or from a YAML file.

    ``<name>_left``, ``<name>_right`` and ``<file>_left.yaml`` load the embodiment for that side: the file as it is, if it
    describes that side, else its mirror image.

    Raises:
        ConfigError: No such name or file, or the file is wrong. The message says where, what was got and what was expected.
    """
    found = find_embodiment(str(name_or_path))
    path = found.file.resolve()
    embodiment = _load(path, path.stat().st_mtime_ns, described_files(path))
    if found.by_name and embodiment.name != path.stem:
        raise ConfigError(path, "name", f"expected {path.stem!r}, the name of the file; got {embodiment.name!r}")
    if found.side in (None, embodiment.side):
        return embodiment
    return mirrored(embodiment)


@lru_cache(maxsize=128)
def _load(path: Path, _modified: int, _described: tuple) -> Embodiment:
    """Load a file; the other arguments are only part of the cache's key."""
    top = Section.load(path)
    name, kind = top.string("name") if top.has("name") else path.stem, top.choice("kind", ("hand", "gripper", "human"))
    side = top.choice("side", SIDES)
    for text in (name, path.stem):  # embodiments are found by either
        if other := next((s for s in SIDES if s != side and text.endswith(f"_{s}")), ""):
            raise top.error("side", f"got {side!r}, but the name {text} ends in _{other}; expected {other!r}, or another name")
    fields = _human(top) if kind == "human" else _robot(top, kind, side)
    top.finish()
    embodiment = Embodiment(
        name=name, kind=kind, side=side, file=path, reference=reference_of(path, name), content_hash="", **fields
    )
    return replace(embodiment, content_hash=content_hash(embodiment))


def _human(top: Section) -> dict:
    """Fields of an Embodiment of kind ``human``: it has an action representation and no joints."""
    keypoints, reach = top.strings("keypoints"), top.number("reach", above=0.0)
    if len(keypoints) != 21:
        raise top.error("keypoints", f"expected 21 names, got {len(keypoints)}")
    names = [f"{point}.{axis}" for point in keypoints for axis in ("x", "y", "z", *ROTATION_NAMES)]
    bound = frozen(np.tile([reach] * 3 + [1.0] * 6, len(keypoints)))
    return {
        **dict.fromkeys(("lower", "upper", "max_velocity", "rest"), frozen(np.zeros(0))),
        "joint_names": (), "hinges": (), "coupling": frozen(np.zeros((0, 0))),
        "fingertips": MappingProxyType({}), "T_base_hand": frozen(np.eye(4)), "action_names": tuple(names),
        "action_lower": frozen(-bound), "action_upper": bound, "action_closed": 0.0, "action_open": 1.0,
        "shape": None, "servo": None, "notes": (),
    }  # fmt: skip


def _robot(top: Section, kind: str, side: str) -> dict:
    """Fields of an Embodiment of kind ``hand`` or ``gripper``."""
    actuated = _actuated(top)
    described = top.has("description")
    mechanism = read_described(top, None if actuated is None else actuated.names()) if described else read_table(top)
    joint_names = mechanism.independent() if actuated is None else actuated.names()
    _check_joints(top, mechanism, joint_names)
    couplings = top.optional("couplings")
    mechanism, coupling = mechanism.resolve_couplings(couplings, joint_names)
    if described:
        mechanism = with_ranges(top, mechanism, joint_names, coupling)
    lower, upper = joint_limits(couplings, mechanism.hinges, joint_names, coupling)
    defaults = EmbodimentDefaults(mechanism, coupling, lower, upper)
    max_velocity, rest = _joint_settings(top, actuated, mechanism, joint_names, lower, upper)
    closed, opened, action_name = 0.0, 1.0, None
    if kind == "gripper":
        closed, opened, action_name = _gripper_action(top, defaults, joint_names, lower, upper)
    if np.isnan(rest).any():
        rest = np.where(np.isnan(rest), defaults.rest() if kind == "hand" else opened, rest)
    has_opening = action_name is not None
    return {
        "joint_names": joint_names, "lower": lower, "upper": upper, "max_velocity": max_velocity, "rest": frozen(rest),
        "hinges": mechanism.hinges, "coupling": coupling, "fingertips": MappingProxyType(dict(mechanism.fingertips)),
        "T_base_hand": _hand_frame(top, defaults, side, (closed, opened) if has_opening else None),
        "action_names": (action_name,) if has_opening else joint_names,
        "action_lower": frozen([0.0]) if has_opening else lower, "action_upper": frozen([1.0]) if has_opening else upper,
        "action_closed": closed, "action_open": opened,
        "shape": Shape(**_positive(top.section("shape"), SHAPE_FIELDS)) if top.has("shape") else defaults.shape(),
        "servo": (
            Servo(**_positive(top.section("servo"), SERVO_FIELDS)) if top.has("servo") else defaults.servo(mechanism.max_effort)
        ),
        "notes": mechanism.notes,
    }  # fmt: skip


def _actuated(top: Section) -> Section | None:
    """The field ``actuated`` as names with settings (a plain list has none); None if the file omits it."""
    if not top.has("actuated"):
        return None
    if top.is_list("actuated"):
        return Section(top.file, "actuated", {name: {} for name in top.strings("actuated")})
    return top.section("actuated")


def _check_joints(top: Section, mechanism: Mechanism, joint_names: tuple[str, ...]) -> None:
    """Check that the actuated joints are free hinges, and that there are a thumb and another finger."""
    names = {hinge.name for hinge in mechanism.hinges}
    for joint in joint_names:
        if joint not in names:
            raise ConfigError(top.file, f"actuated.{joint}", f"is not a hinge; {available(names)}")
        if joint in mechanism.couplings:
            raise ConfigError(top.file, f"couplings.{joint}", "is actuated, so it cannot follow another hinge")
        if joint in mechanism.locked:
            raise ConfigError(top.file, f"actuated.{joint}", "is fixed, so it cannot be actuated")
    if not joint_names:
        raise ConfigError(top.file, "actuated", "expected at least one actuated hinge, got none")
    fingers = mechanism.fingertips
    if "thumb" not in fingers or len(fingers) < 2:
        got = ", ".join(fingers) or "none"
        raise ConfigError(top.file, "fingertips", f"expected the thumb and at least one other finger, got {got}")


def _joint_settings(
    top: Section, section: Section | None, mechanism: Mechanism, joint_names: tuple[str, ...], lower: np.ndarray, upper: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:  # fmt: skip
    """(max_velocity, rest) of the actuated joints; rest is NaN where the file omits it."""
    kinds = {hinge.name: hinge.kind for hinge in mechanism.hinges}
    max_velocity = [mechanism.max_velocity.get(name, DEFAULT_MAX_VELOCITY[kinds[name]]) for name in joint_names]
    rest = np.full(len(joint_names), np.nan)
    for i, (_, fields) in enumerate(section.sections() if section else ()):
        if fields.has("max_velocity"):
            max_velocity[i] = fields.number("max_velocity", above=0.0)
        if fields.has("rest"):
            rest[i] = fields.number("rest")
            if not lower[i] <= rest[i] <= upper[i]:
                raise fields.error("rest", f"expected a number in [{lower[i]:g}, {upper[i]:g}], got {rest[i]:g}")
        fields.finish()
    return frozen(max_velocity), rest


def _gripper_action(
    top: Section, defaults: EmbodimentDefaults, joint_names: tuple[str, ...], lower: np.ndarray, upper: np.ndarray
) -> tuple[float, float, str]:  # fmt: skip
    """(q when closed, q when open, name of the action) of a gripper."""
    if len(joint_names) != 1:
        got = f"got {len(joint_names)}: {', '.join(joint_names)}"
        raise ConfigError(top.file, "actuated", f"a gripper has one actuated joint, {got}; let the others follow it by couplings")
    if "index" not in defaults.fingers or len(defaults.fingers) != 2:
        raise ConfigError(top.file, "fingertips", f"a gripper has a thumb and an index, got {', '.join(defaults.fingers)}")
    if not top.has("action"):
        return *defaults.gripper_ends(), "opening"
    section = top.section("action")
    name, closed, opened = section.string("name"), section.number("closed"), section.number("open")
    for field, value in (("closed", closed), ("open", opened)):
        if not lower[0] <= value <= upper[0]:
            raise section.error(field, f"expected a number in [{lower[0]:g}, {upper[0]:g}], got {value:g}")
    if closed == opened:
        raise section.error("open", f"expected a number other than closed, got {opened:g}")
    section.finish()
    return closed, opened, name


def _hand_frame(top: Section, defaults: EmbodimentDefaults, side: str, ends: tuple[float, float] | None) -> np.ndarray:
    """T_base_hand (4, 4) from the file: z = fingers, x = palm made perpendicular to z, y = z cross x. Else from the geometry.

    ``ends`` are a gripper's (q when closed, q when open); None for a hand.
    """
    if not top.has("hand_frame"):
        frame = defaults.gripper_frame(*ends, side) if ends else defaults.hand_frame(side)
        if isinstance(frame, str):
            raise top.error("hand_frame", f"cannot be derived from the geometry: {frame}; otherwise write {HAND_FRAME_FORM}")
        return frozen(frame)
    section = top.section("hand_frame")
    origin, z, palm = section.vector("origin", 3), section.direction("fingers"), section.direction("palm")
    x = palm - z * (z @ palm)
    if np.linalg.norm(x) < 0.1:
        got = f"{palm.tolist()} for fingers {z.tolist()}"
        raise section.error("palm", f"expected a direction that is not parallel to fingers, got {got}")
    section.finish()
    x = x / np.linalg.norm(x)
    T_base_hand = np.eye(4)
    T_base_hand[:3] = np.column_stack((x, np.cross(z, x), z, origin))
    return frozen(T_base_hand)


def _positive(section: Section, fields: tuple[str, ...]) -> dict[str, float]:
    """Read the fields of a section as positive numbers."""
    values = {field: section.number(field, above=0.0) for field in fields}
    section.finish()
    return values
