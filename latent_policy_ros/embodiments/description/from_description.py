"""Mechanism of an embodiment whose YAML file names a URDF or MJCF file."""

from __future__ import annotations

import math
import os
import re
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np

from latent_policy_ros.common.bounded_reader import read_bytes
from latent_policy_ros.common.config import resolve_path
from latent_policy_ros.common.errors import ConfigError, available
from latent_policy_ros.embodiments.description.description import MOVING, Coupling, Description
from latent_policy_ros.embodiments.description.embodiment_file import DescribedFile
from latent_policy_ros.embodiments.description.mechanism import FIXED_RANGE, Mechanism
from latent_policy_ros.embodiments.description.mjcf import files_of, read_mjcf
from latent_policy_ros.embodiments.description.subtree import Subtree
from latent_policy_ros.embodiments.description.urdf import UrdfFile
from latent_policy_ros.embodiments.description.xml_file import parse_xml
from latent_policy_ros.embodiments.model.schema import FINGERS, Fingertip, Hinge, read_only

MIN_SHARED_RANGE = 0.05  # a coupled joint's own range is ignored if it leaves less than this share of its leader's range
UNKNOWN_RANGE = (-math.inf, math.inf)


def read_description(path: str | Path) -> Description:
    """Read a ``.urdf``, ``.xml`` or ``.mjcf`` file. Its root element decides which of the two formats it has.

    Raises:
        ConfigError: The file does not exist, is not XML, is neither URDF nor MJCF, or has an error.
    """
    path = Path(os.path.expandvars(path)).expanduser()
    root = parse_xml(path)
    if root.tag == "robot":
        return UrdfFile(path, root).to_description()
    if root.tag in ("mujoco", "mujocoinclude"):
        return read_mjcf(path, root)
    raise ConfigError(path, "", f"expected a URDF (<robot>) or MJCF (<mujoco>) file, got <{root.tag}>")


def read_described(content: DescribedFile, actuated: Sequence[str] | None) -> Mechanism:
    """Read hinges, fingertips and couplings beyond the palm.

    Reads the fields ``description``, ``base``, ``fingertips``, ``couplings``, ``fixed`` and ``ranges``. Joints that move no
    fingertip, and that no joint follows, are left out unless they are actuated.

    Args:
        content: The YAML file.
        actuated: Names of the actuated joints; None if the file omits them.
    """
    description = read_description(content.description)
    for name in actuated or ():
        _check_joint(content, f"actuated.{name}", name, description)
    places = _places(content, description)
    tree = Subtree(description, _base(content, description, [link for link, _ in places.values()]))
    for finger, (link, _) in places.items():
        if not tree.contains(link):
            path = " -> ".join(above.name for above in description.upwards(link))
            raise content.error(f"fingertips.{finger}", f"{link} is not beyond the base {tree.base.name}; its parents: {path}")
    locked, notes = {**description.locked, **_fixed(content, description)}, list(description.notes)
    couplings = _couplings(content, tree, actuated or (), locked, notes)
    paths = {finger: tree.joints_to(link) for finger, (link, _) in places.items()}
    kept = tree.closure({joint for path in paths.values() for joint in path} | set(actuated or ()), couplings)
    joints = [joint for name, joint in description.joints.items() if name in kept]
    unassigned = [joint.name for joint in joints if joint.name not in (*(actuated or ()), *couplings, *locked)]
    if actuated is not None and unassigned:
        message = f"got {', '.join(actuated)}; {unassigned[0]} moves a fingertip too: list it, couple it, or write fixed"
        raise content.error("actuated", f"{message}: [{', '.join(unassigned)}]")
    unused = [name for name in tree.joints() if name not in kept and name not in locked]
    if unused:
        notes.append(f"left out, because they move no fingertip: {', '.join(unused)}")
    hinges, tips = [_hinge(content, tree, joint.name, kept) for joint in joints], {}
    for finger in (finger for finger in FINGERS if finger in places):
        carrier, point = next(reversed(paths[finger]), None), _point(content, tree, finger, *places[finger], paths[finger], notes)
        if carrier is None:  # a fixed jaw: a locked hinge carries it
            carrier = f"{finger}_fixed"
            axis, origin = read_only([0.0, 0.0, 1.0]), read_only(np.zeros(3))
            hinges.append(Hinge(carrier, None, axis, origin, -FIXED_RANGE, FIXED_RANGE, "prismatic"))
            locked[carrier] = 0.0
        tips[finger] = Fingertip(carrier, read_only(point))
    names = {hinge.name for hinge in hinges}
    return Mechanism(
        tuple(hinges), tips,
        {name: coupling for name, coupling in couplings.items() if name in names},
        {name: position for name, position in locked.items() if name in names},
        {joint.name: joint.max_velocity for joint in joints if joint.max_velocity is not None},
        {joint.name: joint.max_effort for joint in joints if joint.max_effort is not None},
        tuple(notes),
    )  # fmt: skip


def with_ranges(content: DescribedFile, mechanism: Mechanism, joint_names: Sequence[str], coupling: np.ndarray) -> Mechanism:
    """The mechanism with a finite range for every hinge.

    A coupled hinge whose own range is unknown, or overlaps too little with its leader's, gets the range that follows from
    its leader's.

    Raises:
        ConfigError: An actuated hinge has no range.
    """
    at = {hinge.name: hinge for hinge in mechanism.hinges}
    hinges, notes = [], list(mechanism.notes)
    for name in joint_names:
        if not math.isfinite(at[name].upper - at[name].lower):
            message = f"joint {name} has no limits in {content.description.name}"
            raise content.error("ranges", f"{message}; write ranges: {{{name}: [lower, upper]}} [rad, or m if it is prismatic]")
    for hinge, row in zip(mechanism.hinges, coupling, strict=True):
        if hinge.name not in joint_names and row.any():
            joint = int(np.flatnonzero(row)[0])
            leader = at[joint_names[joint]]
            lower, upper = sorted((leader.lower * row[joint], leader.upper * row[joint]))
            shared = min(upper, hinge.upper) - max(lower, hinge.lower)
            valid = shared >= MIN_SHARED_RANGE * (upper - lower)
            if not valid:
                notes.append(f"the range of {hinge.name} is ignored: it does not fit that of {leader.name}, which it follows")
            if not valid or not math.isfinite(hinge.upper - hinge.lower):
                hinge = replace(hinge, lower=float(lower), upper=float(upper))
        hinges.append(hinge)
    return replace(mechanism, hinges=tuple(hinges), notes=tuple(notes))


def described_files(path: Path) -> tuple[tuple[str, int], ...]:
    """(path, modification time) of the files that a YAML file's description consists of, for the key of a cache."""
    try:
        match = re.search(rb"^description:[ \t]*(\S[^\n]*?)[ \t]*(?:#[^\n]*)?$", read_bytes(path), re.MULTILINE)
        if match is None:
            return ()
        file = resolve_path(match[1].decode().strip("'\""), path)
        return tuple((str(part), part.stat().st_mtime_ns) for part in files_of(file))
    except (OSError, ValueError, ConfigError):
        return ()  # loading the YAML file reports the error


def _check_joint(content: DescribedFile, field: str, joint: str, description: Description) -> None:
    if joint not in description.joints:
        raise content.error(field, f"is no moving joint of {description.file.name}; {available(description.joints)}")


def _places(content: DescribedFile, description: Description) -> dict[str, tuple[str, np.ndarray | None]]:
    """(link, point in its frame [m] or None) of the fingertips by finger. A site is replaced by its link and point."""
    places: dict[str, tuple[str, np.ndarray | None]] = {}
    names = (*description.links, *description.sites)
    for finger, tip in content.fingertips.items():
        name, point = tip.link, None if tip.point is None else read_only(tip.point)
        if name not in names:
            raise content.error(f"fingertips.{finger}", f"got {name!r}; {available(names)}")
        if name not in description.links:
            name, at = description.sites[name]
            point = at if point is None else at + point
        places[finger] = name, point
    return places


def _base(content: DescribedFile, description: Description, tips: Sequence[str]) -> str:
    """The link that is the palm: as the YAML file says, else the last link that all fingertips have above them."""
    if content.base is not None:
        if content.base not in description.links:
            raise content.error("base", f"got {content.base!r}; {available(description.links)}")
        return content.base
    if not tips:
        message = f"expected the thumb and at least one other finger, got none; {available(description.links)}"
        raise content.error("fingertips", message)
    shared = set.intersection(*({link.name for link in description.upwards(tip)} for tip in tips))
    base = next((link.name for link in description.upwards(tips[0]) if link.name in shared), None)
    if base is None:
        raise content.error("fingertips", f"these links have no common parent: {', '.join(tips)}")
    return base


def _fixed(content: DescribedFile, description: Description) -> dict[str, float]:
    """Positions of the joints that the YAML file locks; checks the names in ``fixed`` and ``ranges``."""
    for field, names in (("fixed", content.fixed), ("ranges", content.ranges)):
        for name in names:
            _check_joint(content, f"{field}.{name}", name, description)
    return dict(content.fixed)


def _couplings(
    content: DescribedFile, tree: Subtree, actuated: Sequence[str], locked: Mapping[str, float], notes: list[str]
) -> dict[str, Coupling]:  # fmt: skip
    """Couplings of the YAML file, and those of the description that it does not override.

    A leader that does not exist is replaced by the one joint whose name ends alike; ``notes`` gets a line about it.

    Raises:
        ConfigError: A joint follows one that does not exist.
    """
    description = tree.description
    for path, message in content.coupling_errors(tuple(description.joints), "moving joint"):
        raise content.error(path, message)
    given = content.coupling_table()
    edges = {name: edge for name, edge in description.couplings.items() if name not in given and name not in locked}
    couplings = {**_led_by(actuated, edges), **given}
    for name, edge in couplings.items():
        if edge.leader in description.joints or not tree.contains(tree.link_of(name).name):
            continue
        similar = [joint for joint in tree.joints() if joint.endswith(edge.leader) and edge.leader]
        if len(similar) != 1:
            form = f"{name}: {{follows: NAME, ratio: 1}}"
            message = f"in {description.file.name} it follows {edge.leader!r}, which is no joint; write {form}"
            raise content.error(f"couplings.{name}", f"{message}; {available(tree.joints())}")
        couplings[name] = edge._replace(leader=similar[0])
        notes.append(f"{name} follows {edge.leader}, which is no joint: {similar[0]} is used")
    return couplings


def _led_by(actuated: Sequence[str], edges: Mapping[str, Coupling]) -> dict[str, Coupling]:
    """The description's couplings, inverted where the YAML file actuates a joint that follows in the description."""
    both_ways = list(edges.items())
    both_ways += [(e.leader, Coupling(name, 1.0 / e.ratio, -e.offset / e.ratio)) for name, e in edges.items() if e.ratio]
    result, reached, pending = dict(edges), set(actuated), list(actuated)
    for name in actuated:
        result.pop(name, None)
    while pending:
        at = pending.pop()
        for name, edge in both_ways:
            if edge.leader == at and name not in reached:
                reached.add(name)
                pending.append(name)
                result[name] = edge
    return result


def _hinge(content: DescribedFile, tree: Subtree, name: str, kept: set[str]) -> Hinge:
    """The hinge of a joint, in the base frame."""
    joint, link = tree.description.joints[name], tree.link_of(name).name
    if not tree.contains(link) or link == tree.base.name:
        message = f"joint {name}, which is actuated or has followers, is not beyond the base {tree.base.name}"
        raise content.error("base", f"{message}; expected a base above it, or its name under fixed")
    if joint.kind not in MOVING:
        message = f"joint {name} is of the kind {joint.kind}; expected only revolute and prismatic joints beyond the base"
        raise content.error("base", f"{message}: write base: {link}, if that is the palm")
    lower, upper = content.ranges.get(name) or joint.range or UNKNOWN_RANGE
    before = [other for other in tree.joints_before(name) if other in kept]
    axis, point = read_only(tree.direction(joint.axis)), read_only(tree.place(joint.point))
    return Hinge(name, before[-1] if before else None, axis, point, lower, upper, joint.kind)


def _point(
    content: DescribedFile, tree: Subtree, finger: str, name: str, point: np.ndarray | None, path: Sequence[str], notes: list[str]
) -> np.ndarray:  # fmt: skip
    """The fingertip in the base frame [m]: the point of the YAML file, else one that the description implies."""
    link = tree.description.links[name]
    if point is None and not path and name != tree.base.name:
        point = np.zeros(3)  # a fixed link at the tip of a fixed jaw
    if point is None:
        end = tree.end_of(link) if path else None
        if end is None:
            why = "lies on the axis of its own joint" if path else "does not move"
            form = f"{{link: {name}, point: [x, y, z]}}, in the frame of that link [m]"
            raise content.error(f"fingertips.{finger}", f"the origin of {name} {why}; give the fingertip: {form}")
        point, source = end
        notes += [f"tip of the {finger}: {source}"] if source else []
    return tree.place(point, link)
