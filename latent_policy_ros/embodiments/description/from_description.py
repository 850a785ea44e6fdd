"""The mechanism of an embodiment whose YAML names a URDF or MJCF file instead of listing its hinges."""

from __future__ import annotations

import math
import re
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np

from latent_policy_ros.common.config_reader import Section, frozen
from latent_policy_ros.common.errors import ConfigError, available
from latent_policy_ros.embodiments.description.couplings import all_couplings
from latent_policy_ros.embodiments.description.description import MOVING, Description
from latent_policy_ros.embodiments.description.description_file import read_description
from latent_policy_ros.embodiments.description.mechanism import STAYS, Mechanism
from latent_policy_ros.embodiments.description.mjcf import files_of
from latent_policy_ros.embodiments.description.subtree import Subtree
from latent_policy_ros.embodiments.model.schema import FINGERS, Fingertip, Hinge

TOO_SMALL = 0.05  # share of its leader's range that a coupled joint's own range must leave, to be believed
UNKNOWN = (-math.inf, math.inf)


def read_described(top: Section, actuated: Sequence[str] | None) -> Mechanism:
    """Hinges, fingertips and couplings beyond the palm; ``actuated`` as the YAML lists them, None if it does not.

    Reads the fields ``description``, ``base``, ``fingertips``, ``couplings``, ``fixed`` and ``ranges``. Joints that move no
    fingertip, and that nothing follows, are left out unless they are listed.
    """
    file = top.file_path("description")
    if not file.is_file():
        raise top.error("description", f"no such file: {file}")
    description = read_description(file)
    for name in actuated or ():
        _known(top, f"actuated.{name}", name, description)
    places = _places(top.section("fingertips"), description)
    tree = Subtree(description, _base(top, description, [link for link, _ in places.values()]))
    for finger, (link, _) in places.items():
        if not tree.holds(link):
            way = " -> ".join(above.name for above in description.upwards(link))
            raise top.error(f"fingertips.{finger}", f"{link} does not hang on the base {tree.base.name}: {way}")
    locked, notes = {**description.locked, **_fixed(top, description)}, list(description.notes)
    couplings = all_couplings(top, tree, actuated or (), locked, notes)
    ways = {finger: tree.way(link) for finger, (link, _) in places.items()}
    kept = tree.closure({joint for way in ways.values() for joint in way} | set(actuated or ()), couplings)
    joints = [joint for name, joint in description.joints.items() if name in kept]
    idle = [joint.name for joint in joints if joint.name not in (*(actuated or ()), *couplings, *locked)]
    if actuated is not None and idle:
        message = f"got {', '.join(actuated)}; {idle[0]} moves a fingertip too: list it, let it follow another, or write fixed"
        raise top.error("actuated", f"{message}: [{', '.join(idle)}]")
    out = [name for name in tree.joints() if name not in kept and name not in locked]
    if out:
        notes.append(f"left out, as no fingertip moves with them: {', '.join(out)}")
    hinges, tips = [_hinge(top, tree, joint.name, kept) for joint in joints], {}
    for finger in (finger for finger in FINGERS if finger in places):
        carrier, point = next(reversed(ways[finger]), None), _point(top, tree, finger, *places[finger], ways[finger], notes)
        if carrier is None:  # a jaw that stays: a hinge that is locked carries it
            carrier = f"{finger}_fixed"
            hinges.append(Hinge(carrier, None, frozen([0.0, 0.0, 1.0]), frozen(np.zeros(3)), -STAYS, STAYS, "prismatic"))
            locked[carrier] = 0.0
        tips[finger] = Fingertip(carrier, frozen(point))
    names = {hinge.name for hinge in hinges}
    return Mechanism(
        tuple(hinges), tips,
        {name: coupling for name, coupling in couplings.items() if name in names},
        {name: angle for name, angle in locked.items() if name in names},
        {joint.name: joint.max_velocity for joint in joints if joint.max_velocity is not None},
        {joint.name: joint.max_effort for joint in joints if joint.max_effort is not None},
        tuple(notes),
    )  # fmt: skip


def _point(
    top: Section, tree: Subtree, finger: str, name: str, point: np.ndarray | None, way: Sequence[str], notes: list[str]
) -> np.ndarray:  # fmt: skip
    """The fingertip in the base frame [m]: as the YAML says, else as the description does."""
    link = tree.description.links[name]
    if point is None and not way and name != tree.base.name:
        point = np.zeros(3)  # a frame that somebody put there
    if point is None:
        end = tree.end_of(link) if way else None
        if end is None:
            why = "lies on its own joint" if way else "does not move"
            form = f"{{link: {name}, point: [x, y, z]}}, in the frame of that link [m]"
            raise top.error(f"fingertips.{finger}", f"the origin of {name} {why}, so say where the fingertip is: {form}")
        point, what = end
        notes += [f"tip of the {finger}: {what}"] if what else []
    return tree.place(point, link)


def with_ranges(top: Section, mechanism: Mechanism, joint_names: Sequence[str], coupling: np.ndarray) -> Mechanism:
    """The mechanism with a range for every hinge: actuated ones must have one, coupled ones follow if theirs is no use."""
    at = {hinge.name: hinge for hinge in mechanism.hinges}
    hinges, notes = [], list(mechanism.notes)
    for name in joint_names:
        if not math.isfinite(at[name].upper - at[name].lower):
            message = f"joint {name} has no limits in {top.string('description')}"
            raise top.error("ranges", f"{message}; write ranges: {{{name}: [lower, upper]}} [rad, or m if it slides]")
    for hinge, row in zip(mechanism.hinges, coupling, strict=True):
        if hinge.name not in joint_names and row.any():
            joint = int(np.flatnonzero(row)[0])
            leader = at[joint_names[joint]]
            lower, upper = sorted((leader.lower * row[joint], leader.upper * row[joint]))
            shared = min(upper, hinge.upper) - max(lower, hinge.lower)
            believed = shared >= TOO_SMALL * (upper - lower)
            if not believed:
                notes.append(f"the range of {hinge.name} does not fit that of {leader.name}, which it follows: not used")
            if not believed or not math.isfinite(hinge.upper - hinge.lower):
                hinge = replace(hinge, lower=float(lower), upper=float(upper))
        hinges.append(hinge)
    return replace(mechanism, hinges=tuple(hinges), notes=tuple(notes))


def described_files(path: Path) -> tuple[tuple[str, int], ...]:
    """The files that a YAML's description consists of and when they changed: what a cache of the YAML must look at too."""
    match = re.search(rb"^description:\s*(.+?)\s*(?:#.*)?$", path.read_bytes(), re.MULTILINE)
    if match is None:
        return ()
    try:
        file = Section(path, "", {"description": match[1].decode().strip("'\"")}).file_path("description")
        return tuple((str(part), part.stat().st_mtime_ns) for part in files_of(file))
    except (OSError, ConfigError):
        return ()  # reading the YAML will say what is wrong


def _known(top: Section, field: str, joint: str, description: Description) -> None:
    if joint not in description.joints:
        raise top.error(field, f"is no moving joint of {description.file.name}; {available(description.joints)}")


def _places(section: Section, description: Description) -> dict[str, tuple[str, np.ndarray | None]]:
    """(link, point in its frame or None) by finger; the name of a site stands for its link and place."""
    places: dict[str, tuple[str, np.ndarray | None]] = {}
    names = (*description.links, *description.sites)
    for finger in section.names():
        if finger not in FINGERS:
            raise section.error(finger, f"unknown finger; {available(FINGERS)}")
        point = None
        if section.is_text(finger):
            name = section.choice(finger, names)
        else:
            fields = section.section(finger)
            name = fields.choice("link", names)
            point = fields.vector("point", 3) if fields.has("point") else None
            fields.finish()
        if name not in description.links:
            name, at = description.sites[name]
            point = at if point is None else at + point
        places[finger] = name, point
    return places


def _base(top: Section, description: Description, tips: Sequence[str]) -> str:
    """The palm: as the file says, else the last link that all fingertips hang on."""
    if top.has("base"):
        return top.choice("base", description.links)
    if not tips:
        raise top.error("fingertips", f"expected the thumb and at least one other finger, got none; {available(description.links)}")
    shared = set.intersection(*({link.name for link in description.upwards(tip)} for tip in tips))
    base = next((link.name for link in description.upwards(tips[0]) if link.name in shared), None)
    if base is None:
        raise top.error("fingertips", f"no link carries them all: {', '.join(tips)}")
    return base


def _hinge(top: Section, tree: Subtree, name: str, kept: set[str]) -> Hinge:
    joint, link = tree.description.joints[name], tree.link_of(name).name
    if not tree.holds(link) or link == tree.base.name:
        message = f"joint {name}, which another follows or which is actuated, does not lie beyond the base {tree.base.name}"
        raise top.error("base", f"{message}; expected a base that carries it, or name it under fixed")
    if joint.kind not in MOVING:
        message = f"joint {name} is of the kind {joint.kind}; expected hinges and slides only beyond the base"
        raise top.error("base", f"{message}: write base: {link}, if that is the palm")
    ranges = top.optional("ranges")
    lower, upper = ranges.interval(name) if ranges.has(name) else joint.range or UNKNOWN
    before = [other for other in tree.before(name) if other in kept]
    axis, point = frozen(tree.direction(joint.axis)), frozen(tree.place(joint.point))
    return Hinge(name, before[-1] if before else None, axis, point, lower, upper, joint.kind)


def _fixed(top: Section, description: Description) -> dict[str, float]:
    """Joints that the YAML locks: a list of names (at zero), or a mapping to angles."""
    if top.is_list("fixed"):
        angles = dict.fromkeys(top.strings("fixed"), 0.0)
    else:
        section = top.optional("fixed")
        angles = {name: section.number(name) for name in section.names()}
    for name in angles:
        _known(top, f"fixed.{name}", name, description)
    for name in top.optional("ranges").names():
        _known(top, f"ranges.{name}", name, description)
    return angles
