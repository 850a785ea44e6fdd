"""MJCF files: conversion to a Description.

MuJoCo compiles the file (defaults, angles, frames, replicas) after everything that kinematics does not need is removed. Meshes,
plugins and textures may therefore be missing.
"""

from __future__ import annotations

import xml.etree.ElementTree as ET
from functools import lru_cache
from pathlib import Path

import numpy as np

from latent_policy_ros.common.errors import ConfigError
from latent_policy_ros.embodiments.description.description import Description, Joint, Link, Site
from latent_policy_ros.embodiments.description.mjcf_transmission import fixed_tendons, read_transmission
from latent_policy_ros.embodiments.description.xml_file import numbers, parse_xml

# Attributes that are kept, by element; other elements are removed.
_PLACE = {"name", "pos", "quat", "axisangle", "xyaxes", "zaxis", "euler"}
_KEPT = {
    "mujoco": set(), "compiler": {"angle", "eulerseq", "autolimits"}, "default": {"class"}, "worldbody": set(), "equality": set(),
    "body": _PLACE | {"childclass"}, "frame": _PLACE | {"childclass"}, "site": _PLACE | {"class", "fromto"},
    "joint": {"name", "class", "type", "pos", "axis", "range", "limited", "ref", "stiffness", "joint1", "joint2", "polycoef",
              "active", "joint", "coef"},
    "freejoint": {"name"}, "replicate": {"count", "offset", "euler", "sep", "childclass"}, "inertial": {"pos"},
    "tendon": {"limited", "range"}, "fixed": {"name", "class", "limited", "range"},
}  # fmt: skip
_PARENTS = {  # elements that are kept only inside these
    "joint": {"body", "default", "equality", "frame", "replicate", "fixed"}, "fixed": {"tendon"}, "tendon": {"mujoco", "default"},
    "site": {"body", "worldbody", "default", "frame", "replicate"},
}  # fmt: skip
MIN_DEGREES = 7.0  # if no joint limit is larger than this, the file cannot be in degrees
STILL = 1e-9  # width that MuJoCo accepts as the range of a joint that does not move


def read_mjcf(path: Path, root: ET.Element) -> Description:
    """Convert a parsed MJCF file: a complete model, or a part that other files include.

    Raises:
        ConfigError: An included file does not exist, a number is malformed, or MuJoCo rejects the file; with MuJoCo's message.
    """
    import mujoco

    root.tag = "mujoco"  # instead of mujocoinclude
    _include(path, path, root, ())
    _complete(path, root)
    tendons, notes = fixed_tendons(path, root), list[str]()
    centred: set[str] = set()
    bare = _kinematics_only(path, root, centred, [0])
    model = _compiled(path, bare)
    if not any("angle" in compiler.attrib for compiler in root.iter("compiler")) and _is_in_radians(model):
        ET.SubElement(bare, "compiler", {"angle": "radian"})
        model = _compiled(path, bare)
        notes.append("angles are read as radians: the file gives no unit, and in degrees the ranges would be too small")
    data = mujoco.MjData(model)
    data.qpos[:] = 0.0
    for joint in np.flatnonzero((model.jnt_type == mujoco.mjtJoint.mjJNT_FREE) | (model.jnt_type == mujoco.mjtJoint.mjJNT_BALL)):
        start = model.jnt_qposadr[joint]
        size = 7 if model.jnt_type[joint] == mujoco.mjtJoint.mjJNT_FREE else 4
        data.qpos[start : start + size] = model.qpos0[start : start + size]
    mujoco.mj_kinematics(model, data)
    kinds = {0: "free", 1: "ball", 2: "prismatic", 3: "revolute"}
    joints = {}
    for i in range(model.njnt):
        name = model.joint(i).name
        lower, upper = (float(end) for end in model.jnt_range[i])
        limits = (lower, upper) if model.jnt_limited[i] else None
        joints[name] = Joint(name, kinds[int(model.jnt_type[i])], data.xaxis[i].copy(), data.xanchor[i].copy(), limits)
    links = {}
    for i in range(model.nbody):
        pose = np.eye(4)
        pose[:3, :3], pose[:3, 3] = data.xmat[i].reshape(3, 3), data.xpos[i]
        first = model.body_jntadr[i]
        own = tuple(model.joint(j).name for j in range(first, first + model.body_jntnum[i]))
        name = model.body(i).name
        parent = None if i == 0 else model.body(model.body_parentid[i]).name
        links[name] = Link(name, parent, pose, own, model.body_ipos[i].copy() if name in centred else None)
    sites = {
        model.site(i).name: Site(model.body(model.site_bodyid[i]).name, model.site_pos[i].copy())
        for i in range(model.nsite) if model.site(i).name
    }  # fmt: skip
    moved = read_transmission(root, tendons, model, joints, links, notes)
    return Description(path, links, joints, moved.couplings, moved.locked, sites, tuple(notes), moved.driven, moved.unsupported)


def _compiled(path: Path, bare: ET.Element):
    """The ``mujoco.MjModel`` of a file that is reduced to its kinematics."""
    import mujoco

    try:
        return mujoco.MjModel.from_xml_string(ET.tostring(bare, encoding="unicode"))
    except ValueError as error:
        raise ConfigError(path, "", f"MuJoCo cannot read it: {' '.join(str(error).split())}") from error


def _is_in_radians(model) -> bool:
    """Whether the limits of the hinges, which MuJoCo has read as degrees, must be radians: every finger moves further.

    MJCF's default is degrees. A partial file leaves the choice to the file that includes it.
    """
    import mujoco

    ends = np.degrees(model.jnt_range[(model.jnt_type == mujoco.mjtJoint.mjJNT_HINGE) & (model.jnt_limited != 0)])
    return bool(len(ends)) and float(np.abs(ends).max()) < MIN_DEGREES


def _include(main: Path, file: Path, element: ET.Element, above: tuple[Path, ...]) -> None:
    """Replace all ``<include>`` elements by the content of the files, in place.

    Args:
        main: The main file.
        file: The file of ``element``.
        element: The element whose children are searched.
        above: The files that include ``file``, to detect cycles.
    """
    for child in list(element):
        if child.tag != "include":
            _include(main, file, child, above)
            continue
        name = child.get("file", "")
        candidates = _candidates(main, file, name)
        found = next((path for path in candidates if path.is_file()), None)
        if found is None:
            raise ConfigError(file, "", f"<include file={name!r}>: no such file: {', '.join(dict.fromkeys(map(str, candidates)))}")
        if found.resolve() in above:
            raise ConfigError(file, "", f"<include file={name!r}>: the files include each other")
        content = parse_xml(found)
        _include(main, found, content, (*above, found.resolve()))
        place = list(element).index(child)
        element.remove(child)
        for i, part in enumerate(list(content)):
            element.insert(place + i, part)


def _candidates(main: Path, file: Path, name: str) -> list[Path]:
    """Paths where MuJoCo looks for a file ``name`` that ``file``, a part of ``main``, includes."""
    return [main.parent / name, file.parent / name]


def files_of(main: Path) -> list[Path]:
    """The file and all files that it includes; missing includes are skipped.

    Raises:
        OSError: ``main`` does not exist.
        ConfigError: A file cannot be read or is not XML.
    """
    files = [main]
    for file in files:  # grows in the loop
        for name in _included_names(file, file.stat().st_mtime_ns):
            found = next((path for path in _candidates(main, file, name) if path.is_file()), None)
            if found is not None and found not in files:
                files.append(found)
    return files


@lru_cache(maxsize=256)
def _included_names(file: Path, _modified: int) -> tuple[str, ...]:
    """Names of the files that a file includes; its modification time is part of the cache's key."""
    return tuple(element.get("file", "") for element in parse_xml(file).iter("include"))


def _complete(path: Path, root: ET.Element) -> None:
    """Complete a partial file in place: a world body, and names of tendons.

    Raises:
        ConfigError: It has no bodies, or default classes that it does not define.
    """
    if root.find("worldbody") is None:
        bodies = root.findall("body")
        if not bodies:
            raise ConfigError(path, "", "has no <worldbody> and no <body>; give the file that includes this one")
        world = ET.SubElement(root, "worldbody")
        for body in bodies:
            root.remove(body)
            world.append(body)
    for i, tendon in enumerate(root.iterfind("tendon/*")):
        tendon.attrib.setdefault("name", f"tendon_{i + 1}")
    classes = {"main", *(default.get("class") for default in root.iter("default"))}
    used = (element.get(attribute) for element in root.iter() for attribute in ("class", "childclass") if element.tag != "default")
    if unknown := sorted(set(filter(None, used)) - classes):
        message = f"has no <default class> of the name {', '.join(unknown)}"
        raise ConfigError(path, "", f"{message}: this file is included by another one that defines them; give that one")


def _kinematics_only(path: Path, element: ET.Element, centred: set[str], count: list[int]) -> ET.Element:
    """A copy with only bodies, joints, sites, equalities, and the defaults they use. All bodies and joints get names.

    ``centred`` collects the names of the bodies whose centre of mass the file gives; ``count`` is the number of bodies so far.
    """
    bare = ET.Element(element.tag, {key: value for key, value in element.attrib.items() if key in _KEPT[element.tag]})
    if element.tag == "body":
        count[0] += 1
        bare.attrib.setdefault("name", f"body_{count[0]}")
        _add_mass(path, element, bare, centred)
    for child in element:
        if child.tag not in _KEPT or child.tag == "inertial" or element.tag not in _PARENTS.get(child.tag, {element.tag}):
            continue
        part = _kinematics_only(path, child, centred, count)
        if child.tag == "joint" and "range" in part.attrib:
            _widen(path, part)
        if child.tag in ("joint", "freejoint") and element.tag not in ("default", "equality", "fixed"):
            siblings = [other for other in element if other.tag in ("joint", "freejoint")]
            number = "" if len(siblings) == 1 else f"_{siblings.index(child) + 1}"
            part.attrib.setdefault("name", f"{bare.get('name', 'frame')}_joint{number}")
        bare.append(part)
    return bare


def _widen(path: Path, joint: ET.Element) -> None:
    """Widen an empty range, which MuJoCo rejects, by ``STILL``. Without ``limited`` it accepts [0, 0], and means no limits."""
    lower, upper = numbers(path, joint, "range", 2, None, joint.get("name", ""))
    if lower == upper and (lower != 0.0 or joint.get("limited") == "true"):
        joint.set("range", f"{float(lower)!r} {float(lower) + STILL!r}")


def _add_mass(path: Path, element: ET.Element, bare: ET.Element, centred: set[str]) -> None:
    """Add a unit mass, which MuJoCo requires, at the file's centre of mass: that of ``<inertial>``, else the mean of the geoms."""
    inertial = element.find("inertial")
    places = [numbers(path, geom, "pos", 3, None, bare.attrib["name"]) for geom in element.findall("geom") if geom.get("pos")]
    centre = inertial.get("pos") if inertial is not None else None
    if centre is None and places:
        centre = " ".join(map(str, np.mean(places, axis=0)))
    if centre is not None:
        centred.add(bare.attrib["name"])
    ET.SubElement(bare, "inertial", {"pos": centre or "0 0 0", "mass": "1", "diaginertia": "1 1 1"})
