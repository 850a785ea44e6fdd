"""Loading of embodiments from YAML files. Every field is checked here, so that an Embodiment is always valid."""

from __future__ import annotations

from dataclasses import replace
from functools import lru_cache
from pathlib import Path
from types import MappingProxyType
from typing import Any

import numpy as np

from latent_policy_ros.common.config import validate
from latent_policy_ros.common.errors import ConfigError, Findings, available
from latent_policy_ros.common.path_names import UnsafeName, path_name
from latent_policy_ros.common.yaml_file import YAML_SUFFIXES, read_yaml
from latent_policy_ros.embodiments.description.defaults import EmbodimentDefaults
from latent_policy_ros.embodiments.description.embodiment_file import (
    DEFAULT_CORRESPONDENCE,
    DescribedFile,
    HumanFile,
    RobotFile,
    TableFile,
    file_model,
)
from latent_policy_ros.embodiments.description.from_description import described_files, read_described, with_ranges
from latent_policy_ros.embodiments.description.hinge_table import joint_limits, read_table
from latent_policy_ros.embodiments.description.mechanism import Mechanism
from latent_policy_ros.embodiments.model.catalogue import embodiment_files, find_embodiment, reference_of
from latent_policy_ros.embodiments.model.content_hash import content_hash
from latent_policy_ros.embodiments.model.schema import RAMP_TIME, Embodiment, Servo, Shape, read_only
from latent_policy_ros.embodiments.model.sides import SIDES, mirrored

ROTATION_NAMES = ("r11", "r21", "r31", "r12", "r22", "r32")  # 6D representation: the first two columns of a rotation
DEFAULT_MAX_VELOCITY = {"revolute": 6.0, "prismatic": 0.1}  # [rad/s], [m/s] where no file gives one
LONG_FINGER, OTHER_UNITS = 0.25, 1.0  # bounds on the length of a finger [m]: implausible, and not in metres
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


def load_commanded(name: Any) -> Any:
    """Validator of configuration fields: load the hand or gripper of a name or YAML file; values of other types stay as they are.

    Raises:
        ConfigError: A YAML file is wrong.
        ValueError: No such name, or the embodiment has no joints to command.
    """
    if not isinstance(name, str):
        return name
    try:
        embodiment = load_embodiment(name)
    except ConfigError as error:
        if name.endswith(YAML_SUFFIXES):
            raise
        raise ValueError(f"got {name!r}; {_commanded()}") from error
    if embodiment.command is None:
        raise ValueError(f"{name} cannot be commanded; {_commanded()}")
    return embodiment


def _commanded() -> str:
    """The names of all hands and grippers, for error messages."""
    return f"{available(name for name in list_embodiments() if load_embodiment(name).command)}, each hand also with _left"


@lru_cache(maxsize=128)
def _load(path: Path, _modified: int, _described: tuple) -> Embodiment:
    """Load a file; the other arguments are only part of the cache's key."""
    values = read_yaml(path)
    content = validate(file_model(values), values, path)
    try:
        name, side = content.name or path_name(path.stem, "name of the file"), content.side
    except UnsafeName as error:
        raise content.error("name", f"missing; {error}") from error
    for text in (name, path.stem):  # embodiments are found by either
        if other := next((s for s in SIDES if s != side and text.endswith(f"_{s}")), ""):
            raise content.error("side", f"got {side!r}, but the name {text} ends in _{other}; expected {other!r}, or another name")
    fields = _human(content) if isinstance(content, HumanFile) else _robot(content)
    embodiment = Embodiment(
        name=name, kind=content.kind, side=side, file=path, reference=reference_of(path, name), content_hash="", **fields
    )
    return replace(embodiment, content_hash=content_hash(embodiment))


def _human(content: HumanFile) -> dict:
    """Fields of an Embodiment of kind ``human``: it has an action representation and no joints."""
    keypoints, reach = content.keypoints, content.reach
    names = [f"{point}.{axis}" for point in keypoints for axis in ("x", "y", "z", *ROTATION_NAMES)]
    bound = read_only(np.tile([reach] * 3 + [1.0] * 6, len(keypoints)))
    return {
        **dict.fromkeys(("lower", "upper", "max_velocity", "max_acceleration", "rest"), read_only(np.zeros(0))),
        "joint_names": (), "hinges": (), "coupling": read_only(np.zeros((0, 0))),
        "fingertips": MappingProxyType({}), "T_base_hand": read_only(np.eye(4)), "action_names": tuple(names),
        "action_lower": read_only(-bound), "action_upper": bound, "action_closed": 0.0, "action_open": 1.0,
        "shape": None, "servo": None, "correspondence": DEFAULT_CORRESPONDENCE, "notes": (),
    }  # fmt: skip


def _robot(content: TableFile | DescribedFile) -> dict:
    """Fields of an Embodiment of kind ``hand`` or ``gripper``."""
    actuated = None if content.actuated is None else tuple(content.actuated)
    findings, described = Findings(content.file), isinstance(content, DescribedFile)
    mechanism = read_described(content, actuated, findings) if isinstance(content, DescribedFile) else read_table(content)
    joint_names = mechanism.independent() if actuated is None else actuated
    _check_joints(content, mechanism, joint_names, findings)
    findings.check()
    mechanism, coupling = mechanism.resolve_couplings(content, joint_names)
    if described:
        mechanism = with_ranges(mechanism, joint_names, coupling)
    lower, upper = joint_limits(mechanism.hinges, joint_names, coupling, findings)
    max_velocity, max_acceleration, rest = _joint_settings(content, mechanism, joint_names, lower, upper, findings)
    findings.check()
    defaults = EmbodimentDefaults(mechanism, coupling, lower, upper)
    _check_lengths(content, defaults, findings)
    findings.check()
    closed, opened, action_name = 0.0, 1.0, None
    if content.kind == "gripper":
        closed, opened, action_name = _gripper_action(content, defaults, lower, upper)
    if np.isnan(rest).any():
        rest = np.where(np.isnan(rest), defaults.rest() if content.kind == "hand" else opened, rest)
    has_opening = action_name is not None
    return {
        "joint_names": joint_names, "lower": lower, "upper": upper, "max_velocity": max_velocity,
        "max_acceleration": max_acceleration, "rest": read_only(rest),
        "hinges": mechanism.hinges, "coupling": coupling, "fingertips": MappingProxyType(dict(mechanism.fingertips)),
        "T_base_hand": _hand_frame(content, defaults, (closed, opened) if has_opening else None),
        "action_names": (action_name,) if has_opening else joint_names,
        "action_lower": read_only([0.0]) if has_opening else lower, "action_upper": read_only([1.0]) if has_opening else upper,
        "action_closed": closed, "action_open": opened,
        "shape": Shape(**content.shape.model_dump()) if content.shape else defaults.shape(),
        "servo": (
            Servo(**content.servo.model_dump()) if content.servo else defaults.servo(mechanism.max_effort)
        ),
        "correspondence": content.correspondence, "notes": mechanism.notes,
    }  # fmt: skip


def _check_joints(content: RobotFile, mechanism: Mechanism, joint_names: tuple[str, ...], findings: Findings) -> None:
    """Check that the actuated joints are free hinges, and that there are a thumb and another finger."""
    names = {hinge.name for hinge in mechanism.hinges}
    for joint in joint_names:
        if joint not in names and not findings.at(f"actuated.{joint}"):
            findings.add(f"actuated.{joint}", f"is not a hinge; {available(names)}")
        if joint in mechanism.couplings:
            findings.add(f"couplings.{joint}", "is actuated, so it cannot follow another hinge")
        if joint in mechanism.locked and not findings.at("ranges"):
            findings.add(f"actuated.{joint}", "is fixed, so it cannot be actuated")
    if not joint_names and not findings.at("ranges"):
        findings.add("actuated", "expected at least one actuated hinge, got none")
    fingers = mechanism.fingertips
    if ("thumb" not in fingers or len(fingers) < 2) and not findings.at("fingertips"):
        got = ", ".join(fingers) or "none"
        findings.add("fingertips", f"expected the thumb and at least one other finger, got {got}")
    if content.kind == "gripper":
        if len(joint_names) > 1:
            got = f"got {len(joint_names)}: {', '.join(joint_names)}"
            remedy = f"let the others follow it by couplings{_example_of_couplings(mechanism, joint_names)}"
            findings.add("actuated", f"a gripper has one actuated joint, {got}; {remedy}")
        if ("index" not in fingers or len(fingers) != 2) and not findings.at("fingertips"):
            findings.add("fingertips", f"a gripper has a thumb and an index, got {', '.join(fingers)}")


def _example_of_couplings(mechanism: Mechanism, joint_names: tuple[str, ...]) -> str:
    """Couplings of the joints of a gripper to the first one, if their ranges are equal or opposite; else an empty text."""
    hinges = {hinge.name: hinge for hinge in mechanism.hinges}
    if not set(joint_names) <= hinges.keys():
        return ""
    first, *others = (hinges[name] for name in joint_names)
    entries = []
    for hinge in others:
        ratios = {(first.lower, first.upper): 1, (-first.upper, -first.lower): -1}
        ratio = next((ratio for ends, ratio in ratios.items() if np.allclose(ends, (hinge.lower, hinge.upper), rtol=1e-3)), None)
        if ratio is None or hinge.kind != first.kind or not np.isfinite([first.lower, first.upper]).all():
            return ""
        entries.append(f"{hinge.name}: {{follows: {first.name}, ratio: {ratio}}}")
    return f", e.g. `couplings: {{{', '.join(entries)}}}`"


def _check_lengths(content: RobotFile, defaults: EmbodimentDefaults, findings: Findings) -> None:
    """Check that no finger of a hand is implausibly long. Larger lengths in other units are found by the check of embodiments."""
    for finger, length in defaults.own_lengths.items():
        if content.kind == "hand" and LONG_FINGER < length < OTHER_UNITS:
            expected = f"expected up to {1000 * LONG_FINGER:.0f} mm: give the tip in the frame of its link, in metres"
            findings.add(
                f"fingertips.{finger}", f"the {finger} is {1000 * length:.0f} mm long from its first hinge to its tip; {expected}"
            )


def _joint_settings(
    content: RobotFile, mechanism: Mechanism, joint_names: tuple[str, ...], lower: np.ndarray, upper: np.ndarray, findings: Findings
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:  # fmt: skip
    """(max_velocity, max_acceleration, rest) of the actuated joints; rest is NaN where the file omits it."""
    kinds = {hinge.name: hinge.kind for hinge in mechanism.hinges}
    max_velocity = [mechanism.max_velocity.get(name, DEFAULT_MAX_VELOCITY[kinds[name]]) for name in joint_names]
    max_acceleration, rest = np.full((2, len(joint_names)), np.nan)
    for i, (name, fields) in enumerate((content.actuated or {}).items()):
        if fields.max_velocity is not None:
            max_velocity[i] = fields.max_velocity
        if fields.max_acceleration is not None:
            max_acceleration[i] = fields.max_acceleration
        if fields.rest is not None:
            rest[i] = fields.rest
            if not lower[i] <= rest[i] <= upper[i]:
                message = f"expected a number in [{lower[i]:g}, {upper[i]:g}], got {rest[i]:g}"
                findings.add(f"actuated.{name}.rest", message)
    max_acceleration = np.where(np.isnan(max_acceleration), np.array(max_velocity) / RAMP_TIME, max_acceleration)
    return read_only(max_velocity), read_only(max_acceleration), rest


def _gripper_action(
    content: RobotFile, defaults: EmbodimentDefaults, lower: np.ndarray, upper: np.ndarray
) -> tuple[float, float, str]:  # fmt: skip
    """(q when closed, q when open, name of the action) of a gripper."""
    action = content.action
    if action is None:
        return *defaults.gripper_ends(), "opening"
    for field, value in (("closed", action.closed), ("open", action.open)):
        if not lower[0] <= value <= upper[0]:
            raise content.error(f"action.{field}", f"expected a number in [{lower[0]:g}, {upper[0]:g}], got {value:g}")
    return action.closed, action.open, action.name


def _hand_frame(content: RobotFile, defaults: EmbodimentDefaults, ends: tuple[float, float] | None) -> np.ndarray:
    """T_base_hand (4, 4), from the file or else from the geometry.

    ``ends`` are a gripper's (q when closed, q when open); None for a hand.
    """
    if content.hand_frame:
        return read_only(content.hand_frame.transform())
    frame = defaults.gripper_frame(*ends, content.side) if ends else defaults.hand_frame(content.side)
    if isinstance(frame, str):
        raise content.error("hand_frame", f"cannot be derived from the geometry: {frame}; otherwise write {HAND_FRAME_FORM}")
    return read_only(frame)
