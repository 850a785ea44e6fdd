"""URDF of a robot: its arm with its end-effector, for ``robot_description``, RViz and other programs."""

from __future__ import annotations

import xml.etree.ElementTree as ET
from collections.abc import Mapping, Sequence

import numpy as np
import pinocchio as pin

from latent_policy_ros.common.transformations import euler_from_matrix
from latent_policy_ros.control.arm_description import Arm
from latent_policy_ros.embodiments import Embodiment
from latent_policy_ros.embodiments.description.urdf import UrdfFile
from latent_policy_ros.embodiments.kinematics.capsules import Capsule, capsules

PALM, HAND = "palm", "hand"  # links: base of the end-effector, and its canonical hand frame, in which wrist poses are
MASS, INERTIA = 0.02, 1e-5  # kg and kg m^2 of each link of an end-effector, which programs need; not measured
COMPILER = {"strippath": "false", "balanceinertia": "true", "discardvisual": "true", "fusestatic": "false"}


def robot_urdf(embodiment: Embodiment, arm: Arm) -> str:
    """The URDF of an arm with an end-effector.

    The arm's links and meshes are those of its own URDF, with the ranges of its YAML file. The end-effector has a link for each
    hinge, of primitive shapes, named ``<hinge>_link``; coupled hinges mimic the actuated one. Links ``palm`` and ``hand`` are the
    base of the end-effector and its hand frame, ``<finger>_tip`` the fingertips. Names of joints are those in ``joint_states``.
    Meshes have absolute paths.

    Raises:
        ConfigError: A mesh of the arm's URDF refers to a package that is not installed.
    """
    urdf = UrdfFile.read(arm.urdf)
    urdf.resolve_meshes()
    urdf.set_mujoco_compiler(**COMPILER)
    for name, lower, upper in zip(arm.joint_names, arm.lower, arm.upper):
        urdf.set_limits(name, lower, upper)
    robot = urdf.robot
    robot.set("name", f"{arm.file.stem}_{embodiment.name}")
    _remove_below(robot, arm.flange)
    for joint in robot.findall("joint"):  # all others stay at zero, as in the arm's kinematics
        if joint.get("name") not in arm.joint_names:
            joint.set("type", "fixed")
    for mesh in robot.iterfind("link/visual/geometry/mesh"):
        mesh.set("filename", f"file://{mesh.get('filename')}")  # RViz needs a URL; collision meshes stay paths, for MuJoCo
    T_base_hand = pin.SE3(embodiment.T_base_hand)
    _fixed(robot, arm.flange, PALM, arm.mount(embodiment) * T_base_hand.inverse())
    _fixed(robot, PALM, HAND, T_base_hand)
    _add_hinges(robot, embodiment)
    ET.indent(robot)
    return ET.tostring(robot, encoding="unicode")


def _remove_below(robot: ET.Element, link: str) -> None:
    """Remove everything that a link carries: an end-effector that the arm's URDF contains."""
    removed = [link]
    while removed:
        parent = removed.pop()
        for joint in robot.findall("joint"):
            if joint.find("parent").get("link") == parent:  # type: ignore[union-attr]
                child = joint.find("child").get("link")  # type: ignore[union-attr]
                robot.remove(joint)
                robot.remove(next(element for element in robot.findall("link") if element.get("name") == child))
                removed.append(str(child))


def _add_hinges(robot: ET.Element, embodiment: Embodiment) -> None:
    """Add a link for each hinge, with its frame at the hinge and parallel to the palm at the zero pose."""
    shapes = capsules(embodiment)
    links: dict[str | None, str] = {None: PALM, **{name: f"{name}_link" for name in embodiment.hinge_names}}
    origins: dict[str | None, np.ndarray] = {None: np.zeros(3), **{hinge.name: hinge.point for hinge in embodiment.hinges}}
    for name, link in links.items():
        if name is not None:
            element = ET.SubElement(robot, "link", name=link)
            _add_mass(element)
        else:
            element = next(found for found in robot.findall("link") if found.get("name") == PALM)
        for shape in shapes:
            if shape.hinge == name:
                _add_shape(element, shape, origins[name])
    for row, hinge in zip(embodiment.coupling, embodiment.hinges):
        T = pin.SE3(np.eye(3), hinge.point - origins[hinge.parent])
        joint = _joint(robot, hinge.name, hinge.kind, links[hinge.parent], links[hinge.name], T)
        ET.SubElement(joint, "axis", xyz=_text(hinge.axis))
        leader = int(np.argmax(np.abs(row)))
        speed, actuated = float(embodiment.max_velocity[leader]), embodiment.joint_names[leader]
        effort = embodiment.servo.max_effort if embodiment.servo else 0.0
        limits = {"lower": hinge.lower, "upper": hinge.upper, "velocity": speed, "effort": effort}
        ET.SubElement(joint, "limit", {key: f"{value:.12g}" for key, value in limits.items()})
        if not row.any():  # the fixed jaw of a gripper
            joint.set("type", "fixed")
        elif hinge.name != actuated:
            ET.SubElement(joint, "mimic", joint=actuated, multiplier=f"{row[leader]:.12g}", offset="0")
    for finger, tip in embodiment.fingertips.items():
        _fixed(robot, links[tip.hinge], f"{finger}_tip", pin.SE3(np.eye(3), tip.point - origins[tip.hinge]))


def _fixed(robot: ET.Element, parent: str, child: str, T: pin.SE3) -> None:
    """Add a link that is fixed to another one."""
    ET.SubElement(robot, "link", name=child)
    _joint(robot, f"{child}_fixed", "fixed", parent, child, T)


def _joint(robot: ET.Element, name: str, kind: str, parent: str, child: str, T: pin.SE3) -> ET.Element:
    joint = ET.SubElement(robot, "joint", name=name, type=kind)
    ET.SubElement(joint, "origin", xyz=_text(T.translation), rpy=_text(euler_from_matrix(T.rotation)))
    ET.SubElement(joint, "parent", link=parent)
    ET.SubElement(joint, "child", link=child)
    return joint


def _add_mass(link: ET.Element) -> None:
    inertial = ET.SubElement(link, "inertial")
    ET.SubElement(inertial, "mass", value=f"{MASS:g}")
    diagonal = dict.fromkeys(("ixx", "iyy", "izz"), f"{INERTIA:g}")
    ET.SubElement(inertial, "inertia", {**diagonal, **dict.fromkeys(("ixy", "ixz", "iyz"), "0")})


def _add_shape(link: ET.Element, shape: Capsule, origin: np.ndarray) -> None:
    """Add a capsule: URDF has cylinders and spheres."""
    start, end = shape.start - origin, shape.end - origin
    length = float(np.linalg.norm(end - start))
    ends = [start] if length == 0.0 else [start, end]
    for point in ends:
        _geometry(link, point, (0.0, 0.0, 0.0), "sphere", radius=shape.radius)
    if length > 0.0:
        R = pin.Quaternion.FromTwoVectors(np.array([0.0, 0.0, 1.0]), end - start).toRotationMatrix()
        _geometry(link, (start + end) / 2, euler_from_matrix(R), "cylinder", radius=shape.radius, length=length)


def _geometry(link: ET.Element, xyz: np.ndarray, rpy: Sequence[float], kind: str, **size: float) -> None:
    visual = ET.SubElement(link, "visual")
    ET.SubElement(visual, "origin", xyz=_text(xyz), rpy=_text(rpy))
    ET.SubElement(ET.SubElement(visual, "geometry"), kind, {name: f"{value:.9g}" for name, value in size.items()})


def _text(values: Sequence[float] | np.ndarray) -> str:
    return " ".join(f"{value:.15g}" for value in values)


def _link(joint: ET.Element, end: str) -> str:
    """Name of the link at an end of a joint: ``parent`` or ``child``."""
    return next(element.get("link", "") for element in joint.findall(end))


class LinkTransforms:
    """Transforms of all links of a URDF to their parents, for tf.

    Args:
        urdf: Content of the URDF.

    Attributes:
        root: The link above all others.
        joints: Names of the joints that move links; joints that mimic another one are left out.
        static: (parent, child, pose (7,): x y z [m], qx qy qz qw) of the links that never move in their parent.
    """

    def __init__(self, urdf: str) -> None:
        self._model = pin.buildModelFromXML(urdf, mimic=True)
        self._data = self._model.createData()
        joints = ET.fromstring(urdf).findall("joint")
        pairs = [(j.get("type") != "fixed", _link(j, "parent"), _link(j, "child")) for j in joints]
        (self.root,) = {parent for _, parent, _ in pairs} - {child for _, _, child in pairs}
        self._moving = [(parent, child) for moves, parent, child in pairs if moves]
        mimics = {j.get("name") for j in joints if j.find("mimic") is not None}
        self.joints = tuple(name for name in list(self._model.names)[1:] if name not in mimics)
        self._index = {name: self._model.joints[self._model.getJointId(name)].idx_q for name in self.joints}
        self._q = pin.neutral(self._model)
        self.static = self._transforms([(parent, child) for moves, parent, child in pairs if not moves])

    def moving(self, positions: Mapping[str, float]) -> list[tuple[str, str, np.ndarray]]:
        """(parent, child, pose (7,)) of the links that move, at {joint: position [rad or m]}; other joints keep their position."""
        for name, value in positions.items():
            if name in self._index:
                self._q[self._index[name]] = value
        return self._transforms(self._moving)

    def _transforms(self, pairs: Sequence[tuple[str, str]]) -> list[tuple[str, str, np.ndarray]]:
        pin.framesForwardKinematics(self._model, self._data, self._q)
        placed = lambda link: self._data.oMf[self._model.getFrameId(link, pin.FrameType.BODY)]
        return [(parent, child, pin.SE3ToXYZQUAT(placed(parent).actInv(placed(child)))) for parent, child in pairs]
