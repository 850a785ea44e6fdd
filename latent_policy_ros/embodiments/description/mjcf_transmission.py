"""Couplings, actuators and loops of an MJCF file: joint equalities, fixed and spatial tendons, and what the actuators drive.

All constraints between two joints form a graph. Each of its parts has one joint that leads; the others follow it at a fixed ratio.
"""

from __future__ import annotations

import xml.etree.ElementTree as ET
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np

from latent_policy_ros.embodiments.description.description import Coupling, Joint, Link, Unsupported
from latent_policy_ros.embodiments.description.xml_file import number

SAMPLES = 101  # of a nonlinear coupling, for the fit of a line
HELD_RANGE = 0.1  # a limited tendon holds its length if its range is at most this share of the travel of its joints
IDLE_ACTUATORS = ("damper", "adhesion")  # actuators that move no joint
_ENDS = ("tendon1", "tendon2", "body1", "body2", "site1", "site2")  # attributes of an equality that name what it connects


Tendons = Mapping[str, Sequence[tuple[str, float]]]  # (joint, coefficient) of each part, by tendon


class Pair(NamedTuple):
    """A constraint between two joints: position of ``second`` = ratio * position of ``first`` + offset [rad or m]."""

    first: str
    second: str
    ratio: float
    offset: float

    def reversed(self) -> Pair:
        """The same constraint with the joints exchanged."""
        return Pair(self.second, self.first, 1.0 / self.ratio, -self.offset / self.ratio)


class Transmission(NamedTuple):
    """What moves the joints of an MJCF file.

    Attributes:
        couplings: By the name of the following joint.
        locked: Positions of the joints that an equality holds.
        driven: The joints that actuators drive independently of each other; None if the file has no actuators of joints.
        unsupported: Constraints that no couplings can express.
    """

    couplings: dict[str, Coupling]
    locked: dict[str, float]
    driven: frozenset[str] | None
    unsupported: tuple[Unsupported, ...]


def read_transmission(
    root: ET.Element, fixed: Tendons, model, joints: Mapping[str, Joint], links: Mapping[str, Link], notes: list[str]
) -> Transmission:
    """Read the constraints and actuators of a file.

    Args:
        root: Content of the file, with all includes.
        fixed: Its fixed tendons.
        model: The compiled ``mujoco.MjModel`` of its joints, sites, fixed tendons and equalities.
        joints, links: Of the Description.
        notes: Gets a line about every approximation.
    """
    pairs, locked = _joint_equalities(model, notes)
    unsupported = [_loop(equality, model, links) for equality in _active(root, ("connect", "weld"))]
    for equality in _active(root, ("tendon",)):
        pair, parts = _held_tendon(equality, fixed, model, joints), fixed.get(equality.get("tendon1", ""), ())
        names = {joint for joint, _ in parts} | {joint for joint, _ in fixed.get(equality.get("tendon2", ""), ())}
        names |= _crossed(root, equality.get("tendon1", ""), model, links)
        if pair is None:
            unsupported.append(Unsupported(_text(equality), tuple(sorted(names)), False))
        elif _may_follow(pair, joints):
            pairs.append(pair)
        else:
            notes.append(
                f"{_text(equality)} is not used: it would move {pair.second} out of its range, so that it acts as a spring"
            )
    for name, parts in fixed.items():
        held = _held_by_limits(model, name, parts, joints)
        if held is None:
            continue
        if len(parts) == 2:
            (first, a), (second, b) = parts
            pairs.append(Pair(first, second, -a / b, held / b))
        else:
            unsupported.append(Unsupported(f"<fixed name={name}> of constant length", tuple(joint for joint, _ in parts), False))
    drives = _drives(root, fixed, model, joints, links)
    driving = [row for row in drives if row.joints]
    couplings = _oriented(pairs, [next(iter(row.joints)) for row in driving if len(row.joints) == 1])
    driven = _shared_tendons(driving, couplings, model, unsupported) if driving else None
    return Transmission(couplings, locked, driven, tuple(part for part in unsupported if part.joints))


def fixed_tendons(path: Path, root: ET.Element) -> Tendons:
    """Parts of the fixed tendons, by name.

    Raises:
        ConfigError: A coefficient is not a number.
    """
    return {
        tendon.get("name", ""): [
            (part.get("joint", ""), number(path, part, "coef", "1", tendon.get("name", ""))) for part in tendon.findall("joint")
        ]
        for tendon in root.iterfind("tendon/fixed")
    }


class _Drive(NamedTuple):
    """An actuator: moment arms by joint; NaN where they are not constant."""

    name: str
    joints: Mapping[str, float]


def _drives(root: ET.Element, fixed: Tendons, model, joints: Mapping[str, Joint], links: Mapping[str, Link]) -> list[_Drive]:
    """The actuators of joints and tendons."""
    found = []
    for actuator in root.iterfind("actuator/*"):
        if actuator.tag in IDLE_ACTUATORS:
            continue
        name = actuator.get("name", actuator.tag)
        joint, tendon = actuator.get("joint") or actuator.get("jointinparent"), actuator.get("tendon", "")
        if joint is not None and joint in joints:
            found.append(_Drive(name, {joint: 1.0}))
        elif tendon in fixed:
            found.append(_Drive(name, {part: coefficient for part, coefficient in fixed[tendon] if coefficient}))
        elif tendon:
            found.append(_Drive(name, dict.fromkeys(sorted(_crossed(root, tendon, model, links)), np.nan)))
    return found


def _shared_tendons(
    drives: Sequence[_Drive], couplings: dict[str, Coupling], model, unsupported: list[Unsupported]
) -> frozenset[str]:
    """The joints that the actuators drive independently. Joints that one actuated tendon moves together become couplings.

    One fixed tendon over several joints moves each in proportion to its coefficient, divided by the stiffness of the joint if
    all of them have one. As many tendons as joints move each joint independently.
    """
    rows: list[dict[str, float]] = []  # moment arms by leading joint
    random = np.random.default_rng(0)  # stands for moment arms that are not constant: only the rank is used
    for drive in drives:
        row: dict[str, float] = {}
        for joint, arm in drive.joints.items():
            leader, ratio = _leader(joint, couplings)
            row[leader] = row.get(leader, 0.0) + ratio * (random.uniform(0.5, 1.5) if np.isnan(arm) else arm)
        rows.append(row)
    driven: set[str] = set()
    pending = set(range(len(rows)))
    while pending:
        group, names = set(), {next(iter(rows[min(pending)]))}
        while more := {i for i in pending if names & rows[i].keys()}:
            group |= more
            pending -= more
            names.update(*(rows[i] for i in more))
        order = list(dict.fromkeys(name for i in sorted(group) for name in rows[i]))
        matrix = np.array([[rows[i].get(name, 0.0) for name in order] for i in sorted(group)])
        rank = int(np.linalg.matrix_rank(matrix))
        constant = not any(np.isnan(list(drives[i].joints.values())).any() for i in group)
        if rank == len(order):
            driven.update(order)
        elif rank == 1 and constant:
            arms = dict(zip(order, matrix[np.abs(matrix).sum(axis=1).argmax()], strict=True))
            stiffness = {name: float(model.jnt_stiffness[model.joint(name).id]) for name in order}
            if min(stiffness.values()) > 0.0:
                arms = {name: arm / stiffness[name] for name, arm in arms.items()}
            leader, *others = order
            driven.add(leader)
            couplings.update({name: Coupling(leader, arms[name] / arms[leader]) for name in others})
        else:
            driven.update(name for i in group if len(rows[i]) == 1 for name in rows[i])
            what = f"{_plural('actuator', [drives[i].name for i in sorted(group)])} on tendons over {len(order)} joints"
            unsupported.append(Unsupported(what, tuple(order), False))
    return frozenset(driven)


def _plural(noun: str, names: Sequence[str]) -> str:
    return f"{noun}{'s' if len(names) > 1 else ''} {', '.join(names)}"


def _leader(joint: str, couplings: Mapping[str, Coupling]) -> tuple[str, float]:
    """(the joint at the end of a chain of couplings, ratio of the motion to its motion)."""
    ratio = 1.0
    while joint in couplings:
        joint, ratio = couplings[joint].leader, ratio * couplings[joint].ratio
    return joint, ratio


def _oriented(pairs: Sequence[Pair], driven: Iterable[str]) -> dict[str, Coupling]:
    """Couplings of the constraints: each part of their graph follows its first driven joint, else one that follows no other."""
    both_ways: dict[str, list[Pair]] = {}
    for pair in pairs:
        both_ways.setdefault(pair.first, []).append(pair)
        both_ways.setdefault(pair.second, []).append(pair.reversed())
    followers = {pair.second for pair in pairs}
    couplings: dict[str, Coupling] = {}
    reached: set[str] = set()
    for root in (*driven, *(name for name in both_ways if name not in followers), *both_ways):
        pending = [] if root in reached else [root]
        reached.add(root)
        while pending:
            at = pending.pop()
            for _, other, ratio, offset in both_ways.get(at, ()):
                if other not in reached:
                    reached.add(other)
                    couplings[other] = Coupling(at, ratio, offset)
                    pending.append(other)
    return couplings


def _joint_equalities(model, notes: list[str]) -> tuple[list[Pair], dict[str, float]]:
    """(constraints, locked joints) of the joint equalities. A nonlinear one is replaced by a fitted line, with a note."""
    import mujoco

    pairs: list[Pair] = []
    locked: dict[str, float] = {}
    for i in np.flatnonzero((model.eq_type == mujoco.mjtEq.mjEQ_JOINT) & (model.eq_active0 != 0)):
        follower, leader, curve = model.eq_obj1id[i], model.eq_obj2id[i], model.eq_data[i, :5]
        name, at = model.joint(follower).name, float(model.qpos0[model.jnt_qposadr[follower]])
        if leader < 0:
            locked[name] = at + float(curve[0])
            continue
        at_leader = float(model.qpos0[model.jnt_qposadr[leader]])
        ratio, offset = float(curve[1]), float(curve[0])
        if curve[2:].any():
            lower, upper = model.jnt_range[leader] if model.jnt_limited[leader] else (-1.0, 1.0)
            x = np.linspace(lower, upper, SAMPLES) - at_leader
            y = np.polyval(curve[::-1], x)
            ratio, offset = (float(value) for value in np.polyfit(x, y, 1))
            off = float(np.abs(ratio * x + offset - y).max())
            notes.append(f"{name} follows {model.joint(leader).name} nonlinearly; a line is used, error up to {off:.3f}")
        if ratio == 0.0:
            locked[name] = at + offset
        else:
            pairs.append(Pair(model.joint(leader).name, name, ratio, at + offset - ratio * at_leader))
    return pairs, locked


def _held_tendon(equality: ET.Element, fixed: Tendons, model, joints: Mapping[str, Joint]) -> Pair | None:
    """The constraint of a tendon over two joints whose length an equality holds; None for other equalities of tendons."""
    parts = fixed.get(equality.get("tendon1", ""), ()) if "tendon2" not in equality.attrib else ()
    if len(parts) != 2 or not all(joint in joints and coefficient for joint, coefficient in parts):
        return None
    (first, a), (second, b) = tuple(parts)
    zero = {name: float(model.qpos0[model.joint(name).qposadr[0]]) for name in (first, second)}
    slack = float(equality.get("polycoef", "0").split()[0])
    return Pair(first, second, -a / b, zero[second] + a / b * zero[first] + slack / b)


def _held_by_limits(model, name: str, parts: Sequence[tuple[str, float]], joints: Mapping[str, Joint]) -> float | None:
    """The length that the limits of a tendon over several joints hold it at; None if they leave it free."""
    if len(parts) < 2 or not all(coefficient for _, coefficient in parts):
        return None
    tendon = model.tendon(name).id
    if not model.tendon_limited[tendon]:
        return None
    lower, upper = (float(end) for end in model.tendon_range[tendon])
    travel = sum(abs(coefficient) * (end[1] - end[0]) for joint, coefficient in parts if (end := joints[joint].range))
    return (lower + upper) / 2 if upper - lower <= HELD_RANGE * travel else None


def _may_follow(pair: Pair, joints: Mapping[str, Joint]) -> bool:
    """Whether the second joint is in its range for some position of the first in its own range."""
    first, second = joints[pair.first].range, joints[pair.second].range
    if first is None or second is None:
        return True
    ends = sorted(pair.ratio * end + pair.offset for end in first)
    return min(ends[1], second[1]) > max(ends[0], second[0])


def _active(root: ET.Element, tags: Sequence[str]) -> list[ET.Element]:
    return [e for e in root.iterfind("equality/*") if e.tag in tags and e.get("active") != "false"]


def _text(equality: ET.Element) -> str:
    """``<tendon tendon1=a>``."""
    return f"<{' '.join([equality.tag, *(f'{key}={equality.get(key)}' for key in _ENDS if key in equality.attrib)])}>"


def _loop(equality: ET.Element, model, links: Mapping[str, Link]) -> Unsupported:
    """The loop that a ``<connect>`` or ``<weld>`` closes: the joints between the bodies that it connects."""
    bodies = []
    for end in ("1", "2"):
        site, body = equality.get(f"site{end}"), equality.get(f"body{end}", "world")
        bodies.append(model.body(model.site(site).bodyid[0]).name if site else body)
    return Unsupported(_text(equality), _between(bodies[0], bodies[1], links), True)


def _crossed(root: ET.Element, tendon: str, model, links: Mapping[str, Link]) -> set[str]:
    """The joints that a spatial tendon crosses between its sites; empty for another tendon."""
    found: set[str] = set()
    for spatial in root.iterfind("tendon/spatial"):
        if spatial.get("name") == tendon:
            bodies = [model.body(model.site(site.get("site")).bodyid[0]).name for site in spatial.findall("site")]
            for first, second in zip(bodies, bodies[1:]):
                found.update(_between(first, second, links))
    return found


def _between(first: str, second: str, links: Mapping[str, Link]) -> tuple[str, ...]:
    """The joints on the path between two links."""
    above: list[set[str]] = []
    for name in (first, second):
        path: set[str] = set()
        at: str | None = name
        while at is not None:
            path.add(at)
            at = links[at].parent
        above.append(path)
    return tuple(joint for link in links.values() if link.name in above[0] ^ above[1] for joint in link.joints)
