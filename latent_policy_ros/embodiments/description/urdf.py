"""URDF files: joints and links, edits in memory, export for pinocchio and MuJoCo, conversion to a Description.

This is the only module of the package that reads URDF.
"""

from __future__ import annotations

import math
import os
import xml.etree.ElementTree as ET
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np

from latent_policy_ros.common.errors import ConfigError, Finding, available
from latent_policy_ros.common.paths import package_folder
from latent_policy_ros.embodiments.description.description import Coupling, Description, Joint, Link
from latent_policy_ros.embodiments.description.xml_file import number, numbers, parse_xml

JOINT_TYPES = ("fixed", "revolute", "continuous", "prismatic", "floating", "planar")
ONE_DOF_TYPES = ("revolute", "continuous", "prismatic")
CONTINUOUS_RANGE = (-math.pi, math.pi)  # range of a continuous joint in a Description [rad]
PACKAGE, FILE = "package://", "file://"


@dataclass(frozen=True)
class UrdfJoint:
    """A joint as the file gives it.

    Attributes:
        name: Name of the joint.
        type: One of ``JOINT_TYPES``.
        parent, child: Names of the links that it connects.
        origin: Pose of the joint frame in the frame of the parent link, shape (4, 4).
        axis: Unit vector in the joint frame, shape (3,).
        limits: (lower, upper) [rad or m], equal if the joint does not move; None if the file gives none.
        max_velocity, max_effort: [rad/s or m/s] and [N m or N]; None if the file gives none, or zero.
        mimic: The coupling to another joint, or None.
    """

    name: str
    type: str
    parent: str
    child: str
    origin: np.ndarray
    axis: np.ndarray
    limits: tuple[float, float] | None
    max_velocity: float | None
    max_effort: float | None
    mimic: Coupling | None


class UrdfFile:
    """A parsed URDF file, which can be edited in memory; the file on disk does not change.

    Args:
        path: The file, for error messages and relative mesh file names.
        robot: The ``<robot>`` element.

    Attributes:
        path, robot: The arguments.
    """

    def __init__(self, path: Path, robot: ET.Element) -> None:
        self.path, self.robot = path, robot

    @classmethod
    def read(cls, path: str | Path) -> UrdfFile:
        """Read a file.

        Raises:
            ConfigError: The file cannot be read, is not XML, still has xacro macros, or its root element is not ``<robot>``.
        """
        path = Path(path)
        root = parse_xml(path)
        if root.tag != "robot":
            raise ConfigError(path, "", f"expected a URDF file (root element <robot>), got <{root.tag}>")
        return cls(path, root)

    @cached_property
    def links(self) -> Mapping[str, ET.Element]:
        """The ``<link>`` elements by name."""
        return {_name(self.path, element): element for element in self.robot.findall("link")}

    @property
    def joints(self) -> Mapping[str, UrdfJoint]:
        """All joints by name, fixed ones included, as they are after the edits so far.

        Raises:
            ConfigError: Joints are wrong: no name, a duplicate name, an unknown type or link, or a malformed number; lists all.
        """
        joints: dict[str, UrdfJoint] = {}
        findings: list[Finding] = []
        for element in self._joint_elements:
            try:
                joint = _joint(self.path, element, self.links)
            except ConfigError as error:
                findings += error.findings
                continue
            if joint.name in joints:
                findings.append(Finding(f"joint {joint.name}", "duplicate name: two joints have it"))
            joints[joint.name] = joint
        if findings:
            raise ConfigError(self.path, *findings[0], findings[1:])
        return joints

    def set_limits(self, joint: str, lower: float, upper: float) -> None:
        """Set the range of a joint with one degree of freedom [rad or m]. A continuous joint becomes revolute."""
        element = next(element for element in self._joint_elements if element.get("name") == joint)
        if element.get("type") == "continuous":
            element.set("type", "revolute")
        limit = element.find("limit")
        if limit is None:
            limit = ET.SubElement(element, "limit", effort="0", velocity="0")
        limit.set("lower", str(float(lower)))
        limit.set("upper", str(float(upper)))

    def remove_visuals(self) -> None:
        """Remove the visual geometry of all links."""
        for link in self.links.values():
            for visual in link.findall("visual"):
                link.remove(visual)

    def resolve_meshes(self) -> None:
        """Replace the file names of all meshes by absolute paths: of ``package://``, ``file://`` and relative names.

        Raises:
            ConfigError: A ``package://`` name refers to a package that is not installed.
        """
        for link in self.links.values():
            for mesh in link.iter("mesh"):
                if name := mesh.get("filename"):
                    mesh.set("filename", self._resolve(f"link {link.get('name')}", name))

    def set_mujoco_compiler(self, **options: str) -> None:
        """Set attributes of MuJoCo's ``<compiler>`` element, which MuJoCo reads from an extension of URDF."""
        extension = self.robot.find("mujoco")
        if extension is None:
            self.robot.insert(0, extension := ET.Element("mujoco"))
        compiler = extension.find("compiler")
        if compiler is None:
            compiler = ET.SubElement(extension, "compiler")
        compiler.attrib.update(options)

    def to_xml(self) -> str:
        """The URDF as text, with all edits."""
        return ET.tostring(self.robot, encoding="unicode")

    def to_description(self) -> Description:
        """Convert to a :class:`Description`: all links and moving joints in the frame of the root link at the zero pose.

        Raises:
            ConfigError: A link or joint is wrong, or the joints do not form a tree.
        """
        by_child: dict[str, UrdfJoint] = {}
        for joint in self.joints.values():
            if joint.child in by_child:
                message = f"link {joint.child} is already the child of joint {by_child[joint.child].name}"
                raise ConfigError(self.path, f"joint {joint.name}", message)
            by_child[joint.child] = joint
        children: dict[str | None, list[str]] = {name: [] for name in (None, *self.links)}
        for name in self.links:
            children[by_child[name].parent if name in by_child else None].append(name)
        links: dict[str, Link] = {}
        joints: dict[str, Joint] = {}
        couplings: dict[str, Coupling] = {}
        pending = children[None][::-1]
        while pending:
            name = pending.pop()
            above, centre = by_child.get(name), self._centre_of_mass(name)
            if above is None:
                links[name] = Link(name, None, np.eye(4), (), centre)
            else:
                pose, fixed = links[above.parent].pose @ above.origin, above.type == "fixed"
                links[name] = Link(name, above.parent, pose, () if fixed else (above.name,), centre)
                if not fixed:
                    joints[above.name] = _in_root_frame(above, pose)
                    if above.mimic is not None:
                        couplings[above.name] = above.mimic
            pending += children[name][::-1]
        if len(links) < len(self.links):
            missing = next(name for name in self.links if name not in links)
            raise ConfigError(self.path, f"link {missing}", "is in a cycle of joints; expected a tree")
        return Description(self.path, links, joints, couplings, {}, {}, driven=self._driven())

    def _driven(self) -> frozenset[str] | None:
        """Joints with a command interface of ros2_control, or else with a transmission; None if the file has neither."""
        commanded = [j for j in self.robot.iterfind("ros2_control/joint") if j.find("command_interface") is not None]
        names = {joint.get("name", "") for joint in commanded or self.robot.iterfind("transmission/joint")}
        return frozenset(names) if names else None

    @property
    def _joint_elements(self) -> list[ET.Element]:
        return self.robot.findall("joint")

    def _resolve(self, where: str, name: str) -> str:
        if not name.startswith(PACKAGE):
            local = name.removeprefix(FILE)
            return local if "://" in local else os.path.abspath(self.path.parent / local)
        package, _, inside = name.removeprefix(PACKAGE).partition("/")
        try:
            return str(package_folder(package) / inside)
        except FileNotFoundError as error:
            raise ConfigError(self.path, where, f"mesh {name!r}: {error}") from error

    def _centre_of_mass(self, link: str) -> np.ndarray | None:
        """Centre of mass [m] in the link frame, shape (3,); None if the file gives no pose of the inertia."""
        origin = self.links[link].find("inertial/origin")
        return None if origin is None else numbers(self.path, origin, "xyz", 3, "0 0 0", f"link {link}")


def _in_root_frame(joint: UrdfJoint, pose: np.ndarray) -> Joint:
    """The joint with its axis and point in the root frame; ``pose`` (4, 4) is that of the joint frame at the zero pose."""
    continuous = joint.type == "continuous"
    return Joint(
        joint.name, "revolute" if continuous else joint.type, pose[:3, :3] @ joint.axis, pose[:3, 3],
        CONTINUOUS_RANGE if continuous else joint.limits, joint.max_velocity, joint.max_effort,
    )  # fmt: skip


def _joint(path: Path, element: ET.Element, links: Mapping[str, ET.Element]) -> UrdfJoint:
    name, joint_type = _name(path, element), element.get("type", "")
    where = f"joint {name}"
    parent, child = (_end(path, element, end, links) for end in ("parent", "child"))
    if joint_type not in JOINT_TYPES:
        raise ConfigError(path, where, f"got the type {joint_type!r}; {available(JOINT_TYPES)}")
    axis, limits, velocity, effort = np.array([1.0, 0.0, 0.0]), None, 0.0, 0.0
    if joint_type != "fixed":
        if (axis_element := element.find("axis")) is not None:
            axis = numbers(path, axis_element, "xyz", 3, None, where)
        if (length := np.linalg.norm(axis)) < 1e-9:
            raise ConfigError(path, where, "<axis xyz>: expected a direction, got zeros")
        axis = axis / length
        if (limit := element.find("limit")) is not None:
            lower, upper = (number(path, limit, end, "0", where) for end in ("lower", "upper"))
            limits = (lower, upper) if lower <= upper and {"lower", "upper"} & limit.attrib.keys() else None
            velocity, effort = (number(path, limit, field, "0", where) for field in ("velocity", "effort"))
    return UrdfJoint(
        name, joint_type, parent, child, _origin(path, element, where), axis, limits,
        velocity if velocity > 0.0 else None, effort if effort > 0.0 else None, _mimic(path, element, where),
    )  # fmt: skip


def _name(path: Path, element: ET.Element) -> str:
    name = element.get("name")
    if not name:
        raise ConfigError(path, "", f"a <{element.tag}> element has no name")
    return name


def _end(path: Path, joint: ET.Element, end: str, links: Mapping[str, ET.Element]) -> str:
    element = joint.find(end)
    name = None if element is None else element.get("link")
    if name is None or name not in links:
        hint = "the name is a xacro expression: run xacro first" if "${" in (name or "") else available(links)
        raise ConfigError(path, f"joint {_name(path, joint)}", f"<{end} link={name!r}>: no such link; {hint}")
    return name


def _mimic(path: Path, element: ET.Element, where: str) -> Coupling | None:
    mimic = element.find("mimic")
    if mimic is None:
        return None
    ratio, offset = (number(path, mimic, *field, where) for field in (("multiplier", "1"), ("offset", "0")))
    return Coupling(mimic.get("joint", ""), ratio, offset)


def _origin(path: Path, element: ET.Element, where: str) -> np.ndarray:
    """Pose (4, 4) of an ``<origin>`` child; the identity if there is none."""
    origin = element.find("origin")
    pose = np.eye(4)
    if origin is not None:
        pose[:3, 3] = numbers(path, origin, "xyz", 3, "0 0 0", where)
        pose[:3, :3] = _rotation(numbers(path, origin, "rpy", 3, "0 0 0", where))
    return pose


def _rotation(rpy: np.ndarray) -> np.ndarray:
    """Rotation (3, 3) of roll, pitch and yaw [rad] about the fixed axes x, y, z."""
    (sr, sp, sy), (cr, cp, cy) = np.sin(rpy), np.cos(rpy)
    return np.array([
        [cy * cp, cy * sp * sr - sy * cr, cy * sp * cr + sy * sr],
        [sy * cp, sy * sp * sr + cy * cr, sy * sp * cr - cy * sr],
        [-sp, cp * sr, cp * cr],
    ])  # fmt: skip
