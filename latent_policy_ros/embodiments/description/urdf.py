"""URDF -> Description."""

from __future__ import annotations

import math
import xml.etree.ElementTree as ET
from pathlib import Path

import numpy as np

from latent_policy_ros.common.errors import ConfigError, available
from latent_policy_ros.embodiments.description.description import Coupling, Description, Joint, Link
from latent_policy_ros.embodiments.description.xml_file import number, numbers

KINDS = ("fixed", "revolute", "continuous", "prismatic", "floating", "planar")
TURN = (-math.pi, math.pi)  # range of a joint that the file calls continuous [rad]


def read_urdf(path: Path, robot: ET.Element) -> Description:
    """The mechanism of a parsed URDF file. Raises ConfigError with the element at fault."""
    centres = {_name(path, link): _centre(path, link) for link in robot.findall("link")}
    elements: dict[str, ET.Element] = {}  # joints by the link they carry
    for element in robot.findall("joint"):
        parent, child = (_end(path, element, end, centres) for end in ("parent", "child"))
        if child in elements:
            message = f"link {child} already hangs on joint {elements[child].get('name')}"
            raise ConfigError(path, f"joint {element.get('name')}", message)
        elements[child] = element
    children: dict[str | None, list[str]] = {name: [] for name in (None, *centres)}
    for name in centres:
        children[_end(path, elements[name], "parent", centres) if name in elements else None].append(name)
    links, joints, couplings = {}, {}, {}
    waiting = [(name, None) for name in reversed(children[None])]
    while waiting:
        name, parent = waiting.pop()
        pose = np.eye(4) if parent is None else links[parent].pose
        moving: tuple[str, ...] = ()
        if parent is not None:
            element = elements[name]
            pose = pose @ _origin(path, element)
            joint = _joint(path, element, pose)
            if joint is not None:
                if joint.name in joints:
                    raise ConfigError(path, f"joint {joint.name}", "this name is given to two joints")
                joints[joint.name], moving = joint, (joint.name,)
                _mimic(path, element, couplings)
        links[name] = Link(name, parent, pose, moving, centres[name])
        waiting += [(child, name) for child in reversed(children[name])]
    if len(links) < len(centres):
        lost = next(name for name in centres if name not in links)
        raise ConfigError(path, f"link {lost}", "hangs on itself, in a circle of joints; expected a tree")
    return Description(path, links, joints, couplings, {}, {})


def _name(path: Path, element: ET.Element) -> str:
    name = element.get("name")
    if not name:
        raise ConfigError(path, "", f"a <{element.tag}> has no name")
    return name


def _end(path: Path, joint: ET.Element, end: str, links: dict) -> str:
    element = joint.find(end)
    name = None if element is None else element.get("link")
    if name not in links:
        raise ConfigError(path, f"joint {_name(path, joint)}", f"<{end} link={name!r}>: no such link; {available(links)}")
    return name


def _joint(path: Path, element: ET.Element, pose: np.ndarray) -> Joint | None:
    """The joint whose frame at the zero pose is ``pose``; None if it is fixed."""
    name, kind = _name(path, element), element.get("type", "")
    where = f"joint {name}"
    if kind not in KINDS:
        raise ConfigError(path, where, f"got the type {kind!r}; {available(KINDS)}")
    if kind == "fixed":
        return None
    axis = element.find("axis")
    direction = np.array([1.0, 0.0, 0.0]) if axis is None else numbers(path, axis, "xyz", 3, None, where)
    length = np.linalg.norm(direction)
    if length < 1e-9:
        raise ConfigError(path, where, "<axis xyz>: expected a direction, got zeros")
    limit, bounds, velocity, effort = element.find("limit"), None, 0.0, 0.0
    if limit is not None:
        lower, upper = (number(path, limit, end, "0", where) for end in ("lower", "upper"))
        bounds = (lower, upper) if lower < upper else None  # both left out, or equal: no limits are given
        velocity, effort = (number(path, limit, field, "0", where) for field in ("velocity", "effort"))
    if kind == "continuous":
        kind, bounds = "revolute", TURN
    return Joint(name, kind, pose[:3, :3] @ (direction / length), pose[:3, 3], bounds, _given(velocity), _given(effort))


def _given(limit: float) -> float | None:
    return limit if limit > 0.0 else None


def _mimic(path: Path, element: ET.Element, couplings: dict[str, Coupling]) -> None:
    mimic, name = element.find("mimic"), element.get("name")
    if mimic is None:
        return
    ratio = number(path, mimic, "multiplier", "1", f"joint {name}")
    couplings[name] = Coupling(mimic.get("joint", ""), ratio, number(path, mimic, "offset", "0", f"joint {name}"))


def _origin(path: Path, element: ET.Element) -> np.ndarray:
    origin = element.find("origin")
    pose = np.eye(4)
    if origin is not None:
        where = f"{element.tag} {element.get('name')}"
        pose[:3, 3] = numbers(path, origin, "xyz", 3, "0 0 0", where)
        pose[:3, :3] = _rotation(numbers(path, origin, "rpy", 3, "0 0 0", where))
    return pose


def _rotation(rpy: np.ndarray) -> np.ndarray:
    """Roll, pitch and yaw about the fixed axes x, y, z [rad] -> (3, 3)."""
    (sr, sp, sy), (cr, cp, cy) = np.sin(rpy), np.cos(rpy)
    return np.array([
        [cy * cp, cy * sp * sr - sy * cr, cy * sp * cr + sy * sr],
        [sy * cp, sy * sp * sr + cy * cr, sy * sp * cr - cy * sr],
        [-sp, cp * sr, cp * cr],
    ])  # fmt: skip


def _centre(path: Path, link: ET.Element) -> np.ndarray | None:
    """Centre of mass in the link's frame, where the file gives an inertia."""
    origin = link.find("inertial/origin")
    return None if origin is None else numbers(path, origin, "xyz", 3, "0 0 0", f"link {link.get('name')}")
