"""The mechanism of an embodiment whose YAML lists its hinges, and the limits that follow from hinges and couplings."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np

from latent_policy_ros.common.config_reader import Section, frozen
from latent_policy_ros.common.errors import available
from latent_policy_ros.embodiments.description.description import Coupling
from latent_policy_ros.embodiments.description.mechanism import STAYS, Mechanism
from latent_policy_ros.embodiments.model.schema import FINGERS, Fingertip, Hinge

PALM = "palm"


def read_hinges(section: Section) -> tuple[tuple[Hinge, ...], dict[str, float]]:
    """All hinges, parents before children, and those that are locked: ``kind: fixed`` carries a jaw that stays."""
    given, locked = {}, {}
    for name, fields in section.sections():
        if name == PALM:
            raise section.error(name, f"{PALM!r} is the base and cannot be a hinge")
        kind = fields.choice("kind", ("revolute", "prismatic", "fixed")) if fields.has("kind") else "revolute"
        parent = fields.choice("parent", (PALM, *section.names()))
        if kind == "fixed":
            kind, axis, (lower, upper), locked[name] = "prismatic", frozen([0.0, 0.0, 1.0]), (-STAYS, STAYS), 0.0
        else:
            axis, (lower, upper) = fields.direction("axis"), fields.interval("range")
        point = fields.vector("point", 3)
        fields.finish()
        given[name] = Hinge(name, None if parent == PALM else parent, axis, point, float(lower), float(upper), kind)
    if not given:
        raise section.error("", "expected at least one hinge, got none")
    ordered: dict[str, Hinge] = {}
    while len(ordered) < len(given):
        ready = [h for h in given.values() if h.name not in ordered and (h.parent is None or h.parent in ordered)]
        if not ready:
            stuck = next(name for name in given if name not in ordered)
            chain = _chain(stuck, lambda name: given[name].parent)
            raise section.error(f"{stuck}.parent", f"cycle: {chain}; expected a way to {PALM}")
        ordered.update((hinge.name, hinge) for hinge in ready)
    return (tuple(ordered[name] for name in given) if _sorted(given) else tuple(ordered.values())), locked


def _sorted(hinges: dict[str, Hinge]) -> bool:
    """Whether parents already stand before their children, as in a readable file."""
    place = {name: i for i, name in enumerate(hinges)}
    return all(hinge.parent is None or place[hinge.parent] < place[hinge.name] for hinge in hinges.values())


def _chain(start: str, step: Callable[[str], str | None]) -> str:
    """``a -> b -> a``: the way from ``start`` until it meets itself."""
    seen, at = [start], step(start)
    while at is not None and at not in seen:
        seen.append(at)
        at = step(at)
    return " -> ".join([*seen, str(at)])


def read_table(top: Section) -> Mechanism:
    """Fields ``hinges``, ``couplings`` and ``fingertips`` of a YAML that lists its own hinges."""
    hinges, locked = read_hinges(top.section("hinges"))
    names = tuple(hinge.name for hinge in hinges)
    tips = {}
    for finger, fields in top.section("fingertips").sections():
        if finger not in FINGERS:
            raise fields.error("", f"unknown finger; {available(FINGERS)}")
        tips[finger] = Fingertip(fields.choice("hinge", names), fields.vector("point", 3))
        fields.finish()
    couplings = read_couplings(top.optional("couplings"), names)
    return Mechanism(hinges, {finger: tips[finger] for finger in FINGERS if finger in tips}, couplings, locked)


def read_couplings(section: Section, names: Sequence[str], what: str = "hinge") -> dict[str, Coupling]:
    """What follows what, by the name of the hinge that follows."""
    couplings = {}
    for name, fields in section.sections():
        if name not in names:
            raise section.error(name, f"is not a {what}; {available(names)}")
        leader, ratio = fields.choice("follows", names), fields.number("ratio")
        if ratio == 0.0:
            raise fields.error("ratio", "expected a number other than 0, got 0")
        couplings[name] = Coupling(leader, ratio, fields.number("offset") if fields.has("offset") else 0.0)
        fields.finish()
    return couplings


def joint_limits(
    section: Section, hinges: Sequence[Hinge], joint_names: tuple[str, ...], coupling: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Limits of q, narrowed so that no coupled hinge leaves its own range."""
    lower, upper = np.full(len(joint_names), -np.inf), np.full(len(joint_names), np.inf)
    for hinge, row in zip(hinges, coupling, strict=True):
        if not row.any():
            continue
        joint = int(np.flatnonzero(row)[0])
        ends = sorted((hinge.lower / row[joint], hinge.upper / row[joint]))
        lower[joint], upper[joint] = max(lower[joint], ends[0]), min(upper[joint], ends[1])
        if not lower[joint] < upper[joint]:
            got = f"range [{hinge.lower:g}, {hinge.upper:g}] at ratio {row[joint]:g}"
            message = f"{got} leaves no motion to {joint_names[joint]}; expected ranges that overlap"
            raise section.error(hinge.name, message)
    return frozen(lower), frozen(upper)
