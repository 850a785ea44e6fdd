"""Mechanism of an embodiment whose YAML file lists its hinges; couplings; joint limits."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np

from latent_policy_ros.common.config_reader import Section, frozen
from latent_policy_ros.common.errors import available
from latent_policy_ros.embodiments.description.description import Coupling
from latent_policy_ros.embodiments.description.mechanism import FIXED_RANGE, Mechanism
from latent_policy_ros.embodiments.model.schema import FINGERS, PALM, Fingertip, Hinge


def read_table(top: Section) -> Mechanism:
    """Read the fields ``hinges``, ``couplings`` and ``fingertips``."""
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


def read_hinges(section: Section) -> tuple[tuple[Hinge, ...], dict[str, float]]:
    """(all hinges, parents before children; positions of the locked hinges by name).

    A hinge of ``kind: fixed`` is locked. It carries the fixed jaw of a gripper.
    """
    given, locked = {}, {}
    for name, fields in section.sections():
        if name == PALM:
            raise section.error(name, f"{PALM!r} is the base and cannot be a hinge")
        kind = fields.choice("kind", ("revolute", "prismatic", "fixed")) if fields.has("kind") else "revolute"
        parent = fields.choice("parent", (PALM, *section.names()))
        if kind == "fixed":
            kind, axis, (lower, upper), locked[name] = "prismatic", frozen([0.0, 0.0, 1.0]), (-FIXED_RANGE, FIXED_RANGE), 0.0
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
            name = next(name for name in given if name not in ordered)
            path = _path(name, lambda name: given[name].parent)
            raise section.error(f"{name}.parent", f"cycle: {path}; expected parents that end at {PALM}")
        ordered.update((hinge.name, hinge) for hinge in ready)
    return (tuple(ordered[name] for name in given) if _parents_first(given) else tuple(ordered.values())), locked


def read_couplings(section: Section, names: Sequence[str], noun: str = "hinge") -> dict[str, Coupling]:
    """Read couplings by the name of the following hinge. ``noun`` is the word for hinges in error messages."""
    couplings = {}
    for name, fields in section.sections():
        if name not in names:
            raise section.error(name, f"is not a {noun}; {available(names)}")
        leader, ratio = fields.choice("follows", names), fields.number("ratio")
        if ratio == 0.0:
            raise fields.error("ratio", "expected a number other than 0, got 0")
        couplings[name] = Coupling(leader, ratio, fields.number("offset") if fields.has("offset") else 0.0)
        fields.finish()
    return couplings


def joint_limits(
    section: Section, hinges: Sequence[Hinge], joint_names: tuple[str, ...], coupling: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """(lower, upper) of q, shape (n,) each, narrowed so that every coupled hinge stays in its own range.

    Args:
        section: The field ``couplings``, for error messages.
        hinges: All hinges.
        joint_names: The n actuated hinges.
        coupling: Positions of all hinges are ``coupling @ q``, shape (n_hinges, n).

    Raises:
        ConfigError: The ranges of coupled hinges leave a joint no motion.
    """
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


def _parents_first(hinges: dict[str, Hinge]) -> bool:
    """Whether every parent stands before its children, so that the order of the file can be kept."""
    place = {name: i for i, name in enumerate(hinges)}
    return all(hinge.parent is None or place[hinge.parent] < place[hinge.name] for hinge in hinges.values())


def _path(start: str, step: Callable[[str], str | None]) -> str:
    """``a -> b -> a``: the names from ``start`` until one repeats."""
    seen, at = [start], step(start)
    while at is not None and at not in seen:
        seen.append(at)
        at = step(at)
    return " -> ".join([*seen, str(at)])
