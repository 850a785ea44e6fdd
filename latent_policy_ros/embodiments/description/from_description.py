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
from latent_policy_ros.common.errors import ConfigError, Findings, available
from latent_policy_ros.embodiments.description.description import MOVING, Coupling, Description, Joint
from latent_policy_ros.embodiments.description.embodiment_file import DescribedFile
from latent_policy_ros.embodiments.description.mechanism import FIXED_RANGE, Mechanism
from latent_policy_ros.embodiments.description.mjcf import files_of, read_mjcf
from latent_policy_ros.embodiments.description.subtree import Subtree
from latent_policy_ros.embodiments.description.urdf import UrdfFile
from latent_policy_ros.embodiments.description.xml_file import parse_xml
from latent_policy_ros.embodiments.model.schema import FINGERS, Fingertip, Hinge, read_only

MIN_SHARED_RANGE = 0.05  # a coupled joint's own range is ignored if it leaves less than this share of its leader's range
UNKNOWN_RANGE = (-math.inf, math.inf)
STILL_RANGE = {"revolute": 0.005, "prismatic": 1e-4}  # a joint with a smaller range [rad or m] does not move


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


def read_described(content: DescribedFile, actuated: Sequence[str] | None, findings: Findings) -> Mechanism:
    """Read hinges, fingertips and couplings beyond the palm.

    Reads the fields ``description``, ``base``, ``fingertips``, ``couplings``, ``fixed`` and ``ranges``. Joints that move no
    fingertip, and that no joint follows, are left out unless they are actuated. If the description lists actuators of these
    joints, the joints without one are held at zero.

    Args:
        content: The YAML file.
        actuated: Names of the actuated joints; None if the file omits them.
        findings: Gets all mistakes; the result is usable only if there are none.

    Raises:
        ConfigError: The description cannot be read, or the base is unknown.
    """
    description = read_description(content.description)
    _check_names(content, description, actuated or (), findings)
    places = _places(content, description, findings)
    tree = Subtree(description, _base(content, description, [link for link, _ in places.values()], findings))
    for finger, (link, _) in places.items():
        if not tree.contains(link):
            path = " -> ".join(above.name for above in description.upwards(link))
            findings.add(f"fingertips.{finger}", f"{link} is not beyond the base {tree.base.name}; its parents: {path}")
    findings.check()
    locked, notes = {**description.locked, **content.fixed}, list(description.notes)
    couplings = _couplings(content, tree, actuated or (), locked, notes, findings)
    paths = {finger: tree.joints_to(link) for finger, (link, _) in places.items()}
    kept = tree.closure({joint for path in paths.values() for joint in path} | set(actuated or ()), couplings)
    joints = [joint for name, joint in description.joints.items() if name in kept]
    if not joints:
        message = f"the fingertips do not move relative to the base {tree.base.name}: all joints between them are fixed"
        findings.add("fingertips", f"{message} in {description.file.name}; expected a revolute or prismatic joint")
        findings.check()
    free = [joint for joint in joints if joint.name not in {*couplings, *locked}]
    if actuated is None:
        _check_unsupported(description, [joint.name for joint in free], findings)
    locked.update(_still(content, free, actuated or (), notes, findings))
    if actuated is None:
        locked.update(_passive(content, description, [joint for joint in free if joint.name not in locked], notes))
    free = [joint for joint in free if joint.name not in locked]
    unassigned = [joint.name for joint in free if actuated is not None and joint.name not in actuated]
    if unassigned:
        message = f"got {', '.join(actuated or ())}; {unassigned[0]} moves a fingertip too: list it, couple it, or write fixed"
        findings.add("actuated", f"{message}: [{', '.join(unassigned)}]")
    unlimited = [joint.name for joint in free if joint.range is None and joint.name not in content.ranges and joint.kind in MOVING]
    if unlimited:
        form = ", ".join(f"{name}: [lower, upper]" for name in unlimited)
        message = f"{_nouns('joint', unlimited)} no limits, or a lower limit above the upper one, in {content.description.name}"
        findings.add("ranges", f"{message}; write ranges: {{{form}}} [rad, or m if it is prismatic]")
    unused = [name for name in tree.joints() if name not in kept and name not in locked]
    if unused:
        notes.append(f"left out, because they move no fingertip: {', '.join(unused)}")
    hinges = [_hinge(content, tree, joint.name, kept, name_locked=joint.name in locked, findings=findings) for joint in joints]
    tips = {}
    for finger in (finger for finger in FINGERS if finger in places):
        carrier = next(reversed(paths[finger]), None)
        point = _point(tree, finger, *places[finger], paths[finger], notes, findings)
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


def with_ranges(mechanism: Mechanism, joint_names: Sequence[str], coupling: np.ndarray) -> Mechanism:
    """The mechanism with a finite range for every hinge.

    A coupled hinge whose own range is unknown, or overlaps too little with its leader's, gets the range that follows from
    its leader's.
    """
    at = {hinge.name: hinge for hinge in mechanism.hinges}
    hinges, notes = [], list(mechanism.notes)
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


def _check_names(content: DescribedFile, description: Description, actuated: Sequence[str], findings: Findings) -> None:
    """Check the names of joints in ``actuated``, ``fixed``, ``ranges`` and ``couplings``."""
    for field, names in (("actuated", actuated), ("fixed", content.fixed), ("ranges", content.ranges)):
        for name in names:
            if name not in description.joints:
                what = f"is no moving joint of {description.file.name}"
                findings.add(f"{field}.{name}", f"{what}; {available(description.joints)}")
    for path, message in content.coupling_errors(tuple(description.joints), "moving joint"):
        findings.add(path, message)


def _places(content: DescribedFile, description: Description, findings: Findings) -> dict[str, tuple[str, np.ndarray | None]]:
    """(link, point in its frame [m] or None) of the fingertips by finger. A site is replaced by its link and point.

    A site on a link of the same name marks the fingertip better than the origin of the link.
    """
    places: dict[str, tuple[str, np.ndarray | None]] = {}
    names = (*description.links, *description.sites)
    for finger, tip in content.fingertips.items():
        name, point = tip.link, None if tip.point is None else read_only(tip.point)
        if name not in names:
            findings.add(f"fingertips.{finger}", f"got {name!r}; {available(names)}")
            continue
        if other := next((other for other in places if content.fingertips[other] == tip), ""):
            findings.add(f"fingertips.{finger}", f"got {name!r}, which is the tip of the {other} too; expected a place of its own")
        site = description.sites.get(name)
        if site is not None and (name not in description.links or (point is None and site.link == name and site.point.any())):
            name, point = site.link, site.point if point is None else site.point + point
        places[finger] = name, point
    return places


def _base(content: DescribedFile, description: Description, tips: Sequence[str], findings: Findings) -> str:
    """The link that is the palm: as the YAML file says, else the last link that all fingertips have above them."""
    shared: set[str] = set.intersection(*({link.name for link in description.upwards(tip)} for tip in tips)) if tips else set()
    found = next((link.name for tip in tips for link in description.upwards(tip) if link.name in shared), None)
    if content.base is not None and content.base not in description.links:
        findings.add("base", f"got {content.base!r}; {available(description.links)}")
    elif content.base is not None:
        return content.base
    elif len(content.fingertips) < 2:
        got = ", ".join(content.fingertips) or "none"
        message = f"expected the thumb and at least one other finger, got {got}; {available(description.links)}"
        findings.add("fingertips", message)
    elif tips and found is None:
        findings.add("fingertips", f"these links have no common parent: {', '.join(tips)}")
    if found is None:
        findings.check()
    return found or next(iter(description.links))


def _still(
    content: DescribedFile, joints: Sequence[Joint], actuated: Sequence[str], notes: list[str], findings: Findings
) -> dict[str, float]:  # fmt: skip
    """Positions of the joints whose range in the description is empty; they are fixed, unless the YAML file gives a range."""
    still = {
        joint.name: sum(joint.range) / 2 for joint in joints
        if joint.name not in content.ranges and joint.range is not None
        and joint.range[1] - joint.range[0] <= STILL_RANGE.get(joint.kind, -1.0)
    }  # fmt: skip
    form = ", ".join(f"{name}: [lower, upper]" for name in still)
    if still and (len(still) == len(joints) or set(still) & set(actuated)):
        message = f"{_nouns('joint', list(still))} an empty range in {content.description.name} and cannot move"
        findings.add("ranges", f"{message}; write ranges: {{{form}}} [rad, or m if it is prismatic]")
    elif still:
        notes.append(f"fixed, because their range is empty: {', '.join(still)}; write ranges if they move")
    return still


def _passive(content: DescribedFile, description: Description, joints: Sequence[Joint], notes: list[str]) -> dict[str, float]:
    """Positions of the joints that no actuator of the description drives; empty if it lists no actuators of the hand.

    The joints that others follow in the YAML file count as driven.
    """
    driven = (description.driven or frozenset()) & {joint.name for joint in joints}
    if not driven:
        return {}
    driven |= {coupling.follows for coupling in content.couplings.values()}
    held = {
        j.name: float(np.clip(0.0, *(content.ranges.get(j.name) or j.range or (0.0, 0.0)))) for j in joints if j.name not in driven
    }
    if held:
        names = ", ".join(f"{name} at {position:g}" for name, position in held.items())
        notes.append(
            f"held, because no actuator of {description.file.name} drives them: {names}; write actuated or couplings to change it"
        )
    return held


def _check_unsupported(description: Description, free: Sequence[str], findings: Findings) -> None:
    """Report the constraints on joints that are neither coupled nor fixed and that no actuator drives."""
    if findings.at("couplings"):
        return
    driven, reported = description.driven or frozenset(), set[str]()
    for what, joints, loop in description.unsupported:
        open_joints = [name for name in joints if name in free and name not in driven]
        if not reported.issuperset(open_joints):
            reported.update(open_joints)
            names = ", ".join(open_joints)
            why = f"{what} {'closes a loop with' if loop else 'moves'} {names}, and their positions do not follow from it"
            form = f"couplings: {{{open_joints[0]}: {{follows: JOINT, ratio: R}}}} for each that follows another joint"
            findings.add("couplings", f"{why}; write {form}, fixed: [{names}] for those that stay, or actuated with all joints")


def _couplings(
    content: DescribedFile, tree: Subtree, actuated: Sequence[str], locked: Mapping[str, float], notes: list[str],
    findings: Findings,
) -> dict[str, Coupling]:  # fmt: skip
    """Couplings of the YAML file, and those of the description that it does not override.

    A leader that does not exist is replaced by the one joint whose name ends alike; ``notes`` gets a line about it.
    """
    description = tree.description
    given = content.coupling_table()
    edges = {name: edge for name, edge in description.couplings.items() if name not in given and name not in locked}
    couplings = {**_led_by(actuated, edges), **given}
    for name, edge in list(couplings.items()):
        if edge.leader in description.joints or not tree.contains(tree.link_of(name).name):
            continue
        similar = [joint for joint in tree.joints() if joint.endswith(edge.leader) and edge.leader]
        if len(similar) != 1:
            form = f"{name}: {{follows: NAME, ratio: 1}}"
            message = f"in {description.file.name} it follows {edge.leader!r}, which is no joint; write {form}"
            findings.add(f"couplings.{name}", f"{message}; {available(tree.joints())}")
            del couplings[name]
            continue
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


def _hinge(content: DescribedFile, tree: Subtree, name: str, kept: set[str], name_locked: bool, findings: Findings) -> Hinge:
    """The hinge of a joint, in the base frame. A locked joint may have more than one degree of freedom."""
    joint, link = tree.description.joints[name], tree.link_of(name).name
    if not tree.contains(link) or link == tree.base.name:
        message = f"joint {name}, which is actuated or has followers, is not beyond the base {tree.base.name}"
        findings.add("base", f"{message}; expected a base above it, or its name under fixed")
    elif joint.kind not in MOVING and not name_locked:
        message = f"joint {name} is of the kind {joint.kind}; expected only revolute and prismatic joints beyond the base"
        remedy = (
            f"write base: {link}, if that is the palm, or fixed: [{name}], or replace it by hinges in {tree.description.file.name}"
        )
        findings.add("base", f"{message}: {remedy}")
    lower, upper = content.ranges.get(name) or joint.range or UNKNOWN_RANGE
    before = [other for other in tree.joints_before(name) if other in kept] if tree.contains(link) else []
    axis, point = read_only(tree.direction(joint.axis)), read_only(tree.place(joint.point))
    kind = joint.kind if joint.kind in MOVING else "revolute"
    return Hinge(name, before[-1] if before else None, axis, point, lower, upper, kind)


def _point(
    tree: Subtree, finger: str, name: str, point: np.ndarray | None, path: Sequence[str], notes: list[str], findings: Findings
) -> np.ndarray:  # fmt: skip
    """The fingertip in the base frame [m]: the point of the YAML file, else one that the description implies."""
    link = tree.description.links[name]
    if point is not None and path and tree.on_axis(path[-1], tree.description.links[name], point):
        message = f"the point is on the axis of {path[-1]}, the joint that carries it; give the end of the finger"
        findings.add(f"fingertips.{finger}", f"{message}: {{link: {name}, point: [x, y, z]}}, in the frame of that link [m]")
    if point is None and not path and name != tree.base.name:
        point = np.zeros(3)  # a fixed link at the tip of a fixed jaw
    if point is None:
        end = tree.end_of(link) if path else None
        if end is None:
            why = "lies on the axis of its own joint" if path else "does not move"
            form = f"{{link: {name}, point: [x, y, z]}}, in the frame of that link [m]"
            findings.add(f"fingertips.{finger}", f"the origin of {name} {why}; give the fingertip: {form}")
            end = np.zeros(3), ""
        point, source = end
        notes += [f"tip of the {finger}: {source}"] if source else []
    return tree.place(point, link)


def _nouns(noun: str, names: Sequence[str]) -> str:
    """``joint a has`` or ``joints a, b have``."""
    return f"{noun}{'s' if len(names) > 1 else ''} {', '.join(names)} {'have' if len(names) > 1 else 'has'}"
