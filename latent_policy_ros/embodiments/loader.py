"""YAML file -> Embodiment. Everything is checked here, once: whoever holds an Embodiment holds a valid one."""

from __future__ import annotations

import hashlib
import json
from functools import lru_cache
from pathlib import Path
from types import MappingProxyType

import numpy as np

from latent_policy_ros.embodiments.hinge_table import joint_limits, read_couplings, read_hinges
from latent_policy_ros.embodiments.reader import Section, frozen
from latent_policy_ros.embodiments.schema import FINGERS, Embodiment, Fingertip, Hinge, Servo, Shape
from latent_policy_ros.errors import ConfigError, available
from latent_policy_ros.paths import config_dir

ROTATION_NAMES = ("r11", "r21", "r31", "r12", "r22", "r32")  # first two columns of a rotation: the 6D representation


def list_embodiments() -> list[str]:
    """Names of the embodiments under ``config/embodiments``."""
    return sorted(path.stem for path in (config_dir() / "embodiments").glob("*.yaml"))


def load_embodiment(name_or_path: str | Path) -> Embodiment:
    """The embodiment of that name under ``config/embodiments``, or in that YAML file.

    Raises:
        ConfigError: No such name or file, or the file is wrong; says where, what was got and what was expected.
    """
    text = str(name_or_path)
    path = Path(text) if text.endswith((".yaml", ".yml")) else config_dir() / "embodiments" / f"{text}.yaml"
    if not path.is_file():
        raise ConfigError(path, "", f"no embodiment {text!r}; {available(list_embodiments())}")
    return _load(path.resolve(), path.stat().st_mtime_ns)


@lru_cache(maxsize=64)
def _load(path: Path, _modified: int) -> Embodiment:
    top = Section.load(path)
    name, kind = top.string("name"), top.choice("kind", ("hand", "gripper", "human"))
    side = top.choice("side", ("right",))
    parts = _human(top) if kind == "human" else _robot(top, kind)
    top.finish()
    return Embodiment(name=name, kind=kind, side=side, file=path, content_hash=_hash(name, kind, side, parts), **parts)


def _human(top: Section) -> dict:
    keypoints, reach = top.strings("keypoints"), top.number("reach", above=0.0)
    if len(keypoints) != 21:
        raise top.error("keypoints", f"expected 21 names, got {len(keypoints)}")
    names = [f"{point}.{axis}" for point in keypoints for axis in ("x", "y", "z", *ROTATION_NAMES)]
    bound = frozen(np.tile([reach] * 3 + [1.0] * 6, len(keypoints)))
    none = frozen(np.zeros(0))
    nothing = dict.fromkeys(("lower", "upper", "max_velocity", "rest"), none)
    return {
        **nothing, "joint_names": (), "hinges": (), "coupling": frozen(np.zeros((0, 0))),
        "fingertips": MappingProxyType({}), "T_base_hand": frozen(np.eye(4)), "action_names": tuple(names),
        "action_lower": frozen(-bound), "action_upper": bound, "action_closed": 0.0, "action_open": 1.0,
        "shape": None, "servo": None,
    }  # fmt: skip


def _robot(top: Section, kind: str) -> dict:
    hinges = read_hinges(top.section("hinges"))
    by_name = {hinge.name: hinge for hinge in hinges}
    actuated = top.section("actuated")
    joint_names = actuated.names()
    for joint in joint_names:
        if joint not in by_name:
            raise actuated.error(joint, f"is not a hinge; {available(by_name)}")
    if not joint_names:
        raise actuated.error("", "expected at least one actuated hinge, got none")
    couplings = top.section("couplings") if top.has("couplings") else Section(top.file, "couplings", {})
    coupling = read_couplings(couplings, tuple(by_name), joint_names)
    lower, upper = joint_limits(couplings, hinges, joint_names, coupling)
    max_velocity, rest = _joint_settings(actuated, lower, upper)
    closed, opened, action_name = 0.0, 1.0, None
    if kind == "gripper":
        closed, opened, action_name = _gripper_action(top.section("action"), joint_names, lower, upper)
    named = action_name is not None
    return {
        "joint_names": joint_names, "lower": lower, "upper": upper, "max_velocity": max_velocity, "rest": rest,
        "hinges": hinges, "coupling": coupling, "fingertips": _fingertips(top.section("fingertips"), by_name),
        "T_base_hand": _hand_frame(top.section("hand_frame")),
        "action_names": (action_name,) if named else joint_names,
        "action_lower": frozen([0.0]) if named else lower, "action_upper": frozen([1.0]) if named else upper,
        "action_closed": closed, "action_open": opened,
        "shape": Shape(**_positive(top.section("shape"), ("link_radius", "tip_radius", "palm_radius"))),
        "servo": Servo(**_positive(top.section("servo"), ("kp", "damping", "max_effort", "armature"))),
    }  # fmt: skip


def _joint_settings(section: Section, lower: np.ndarray, upper: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """(max_velocity, rest) of the actuated joints."""
    max_velocity, rest = [], []
    for (_, fields), low, high in zip(section.sections(), lower, upper, strict=True):
        max_velocity.append(fields.number("max_velocity", above=0.0))
        rest.append(fields.number("rest"))
        if not low <= rest[-1] <= high:
            raise fields.error("rest", f"expected a number in [{low:g}, {high:g}], got {rest[-1]:g}")
        fields.finish()
    return frozen(max_velocity), frozen(rest)


def _gripper_action(
    section: Section, joint_names: tuple[str, ...], lower: np.ndarray, upper: np.ndarray
) -> tuple[float, float, str]:
    """(q when closed, q when open, name of the one action)."""
    if len(joint_names) != 1:
        raise ConfigError(section.file, "actuated", f"a gripper has one actuated joint, got {len(joint_names)}")
    name, closed, opened = section.string("name"), section.number("closed"), section.number("open")
    for field, value in (("closed", closed), ("open", opened)):
        if not lower[0] <= value <= upper[0]:
            raise section.error(field, f"expected a number in [{lower[0]:g}, {upper[0]:g}], got {value:g}")
    if closed == opened:
        raise section.error("open", f"expected a number other than closed, got {opened:g}")
    section.finish()
    return closed, opened, name


def _fingertips(section: Section, hinges: dict[str, Hinge]) -> MappingProxyType:
    tips = {}
    for finger, fields in section.sections():
        if finger not in FINGERS:
            raise section.error(finger, f"unknown finger; {available(FINGERS)}")
        tips[finger] = Fingertip(fields.choice("hinge", hinges), fields.vector("point", 3))
        fields.finish()
    if "thumb" not in tips or len(tips) < 2:
        raise section.error("", f"expected the thumb and at least one other finger, got {', '.join(tips) or 'none'}")
    return MappingProxyType({finger: tips[finger] for finger in FINGERS if finger in tips})


def _hand_frame(section: Section) -> np.ndarray:
    """T_base_hand (4, 4): z = fingers, x = palm made perpendicular to it, y = z cross x."""
    origin, z, palm = section.vector("origin", 3), section.direction("fingers"), section.direction("palm")
    x = palm - z * (z @ palm)
    if np.linalg.norm(x) < 0.1:
        got = f"{palm.tolist()} for fingers {z.tolist()}"
        raise section.error("palm", f"expected a direction across fingers, got {got}")
    section.finish()
    x = x / np.linalg.norm(x)
    T_base_hand = np.eye(4)
    T_base_hand[:3] = np.column_stack((x, np.cross(z, x), z, origin))
    return frozen(T_base_hand)


def _positive(section: Section, fields: tuple[str, ...]) -> dict[str, float]:
    values = {field: section.number(field, above=0.0) for field in fields}
    section.finish()
    return values


def _hash(name: str, kind: str, side: str, parts: dict) -> str:
    """sha256 of the canonical JSON of everything that gives q and x their meaning."""
    content = {
        "name": name, "kind": kind, "side": side,
        "joint_names": parts["joint_names"], "action_names": parts["action_names"],
        "hinges": [[h.name, h.parent, h.kind, *h.axis, *h.point] for h in parts["hinges"]],
        "fingertips": {finger: [tip.hinge, *tip.point] for finger, tip in parts["fingertips"].items()},
        **{key: parts[key].tolist() for key in ("lower", "upper", "coupling", "T_base_hand")},
        "action_limits": [parts["action_lower"].tolist(), parts["action_upper"].tolist()],
        "action": [parts["action_closed"], parts["action_open"]],
    }  # fmt: skip
    return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()
