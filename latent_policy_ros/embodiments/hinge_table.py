"""The mechanical part of an embodiment's YAML: hinges, couplings between them, and the limits that follow."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from latent_policy_ros.embodiments.reader import Section, frozen
from latent_policy_ros.embodiments.schema import Hinge
from latent_policy_ros.errors import ConfigError, available

PALM = "palm"


def read_hinges(section: Section) -> tuple[Hinge, ...]:
    """All hinges, parents before children."""
    given = {}
    for name, fields in section.sections():
        if name == PALM:
            raise section.error(name, f"{PALM!r} is the base and cannot be a hinge")
        kind = fields.choice("kind", ("revolute", "prismatic")) if fields.has("kind") else "revolute"
        parent = fields.choice("parent", (PALM, *section.names()))
        axis, point = fields.direction("axis"), fields.vector("point", 3)
        lower, upper = fields.vector("range", 2)
        if not lower < upper:
            raise fields.error("range", f"expected lower < upper, got [{lower:g}, {upper:g}]")
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
    return tuple(ordered[name] for name in given) if _sorted(given) else tuple(ordered.values())


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


def read_couplings(section: Section, hinge_names: tuple[str, ...], joint_names: tuple[str, ...]) -> np.ndarray:
    """Matrix (n_hinges, n): angles of all hinges from the actuated ones; chains of couplings multiplied out."""
    follows: dict[str, tuple[str, float]] = {}
    for name, fields in section.sections():
        if name not in hinge_names:
            raise section.error(name, f"is not a hinge; {available(hinge_names)}")
        if name in joint_names:
            raise section.error(name, "is actuated, so it cannot follow another hinge")
        leader, ratio = fields.choice("follows", hinge_names), fields.number("ratio")
        if ratio == 0.0:
            raise fields.error("ratio", "expected a number other than 0, got 0")
        fields.finish()
        follows[name] = (leader, ratio)
    matrix = np.zeros((len(hinge_names), len(joint_names)))
    for row, name in enumerate(hinge_names):
        at, ratio, seen = name, 1.0, {name}
        while at in follows:
            at, factor = follows[at]
            ratio *= factor
            if at in seen:
                chain = _chain(name, lambda n: follows[n][0])
                raise section.error(f"{name}.follows", f"cycle: {chain}; expected to end at an actuated hinge")
            seen.add(at)
        if at not in joint_names:
            message = f"neither actuated nor coupled; actuated: {', '.join(joint_names)}"
            raise ConfigError(section.file, f"hinges.{at}", message)
        matrix[row, joint_names.index(at)] = ratio
    return frozen(matrix)


def joint_limits(
    section: Section, hinges: tuple[Hinge, ...], joint_names: tuple[str, ...], coupling: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Limits of q, narrowed so that no coupled hinge leaves its own range."""
    lower, upper = np.full(len(joint_names), -np.inf), np.full(len(joint_names), np.inf)
    for hinge, row in zip(hinges, coupling, strict=True):
        joint = int(np.flatnonzero(row)[0])
        ends = sorted((hinge.lower / row[joint], hinge.upper / row[joint]))
        lower[joint], upper[joint] = max(lower[joint], ends[0]), min(upper[joint], ends[1])
        if not lower[joint] < upper[joint]:
            got = f"range [{hinge.lower:g}, {hinge.upper:g}] at ratio {row[joint]:g}"
            message = f"{got} leaves no motion to {joint_names[joint]}; expected ranges that overlap"
            raise section.error(hinge.name, message)
    return frozen(lower), frozen(upper)
