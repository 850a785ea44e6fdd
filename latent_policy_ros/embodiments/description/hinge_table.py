"""Mechanism of an embodiment whose YAML file lists its hinges; couplings; joint limits."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np

from latent_policy_ros.common.errors import Findings
from latent_policy_ros.embodiments.description.embodiment_file import TableFile
from latent_policy_ros.embodiments.description.mechanism import FIXED_RANGE, Mechanism
from latent_policy_ros.embodiments.model.schema import FINGERS, PALM, Fingertip, Hinge, read_only


def read_table(content: TableFile) -> Mechanism:
    """The mechanism of the fields ``hinges``, ``couplings`` and ``fingertips``."""
    hinges, locked = read_hinges(content)
    tips = {finger: content.fingertips[finger] for finger in FINGERS if finger in content.fingertips}
    fingertips = {finger: Fingertip(tip.hinge, read_only(tip.point)) for finger, tip in tips.items()}
    return Mechanism(hinges, fingertips, content.coupling_table(), locked)


def read_hinges(content: TableFile) -> tuple[tuple[Hinge, ...], dict[str, float]]:
    """(all hinges, parents before children; positions of the locked hinges by name).

    A hinge of ``kind: fixed`` is locked. It carries the fixed jaw of a gripper.

    Raises:
        ConfigError: Parents form a cycle.
    """
    given, locked = {}, {}
    for name, fields in content.hinges.items():
        kind, axis, ends = fields.kind, fields.axis, fields.range
        if axis is None or ends is None:
            kind, axis, ends, locked[name] = "prismatic", (0.0, 0.0, 1.0), (-FIXED_RANGE, FIXED_RANGE), 0.0
        parent = None if fields.parent == PALM else fields.parent
        given[name] = Hinge(name, parent, read_only(axis), read_only(fields.point), *ends, kind)
    ordered: dict[str, Hinge] = {}
    while len(ordered) < len(given):
        ready = [h for h in given.values() if h.name not in ordered and (h.parent is None or h.parent in ordered)]
        if not ready:
            name = next(name for name in given if name not in ordered)
            path = _path(name, lambda name: given[name].parent)
            raise content.error(f"hinges.{name}.parent", f"cycle: {path}; expected parents that end at {PALM}")
        ordered.update((hinge.name, hinge) for hinge in ready)
    return (tuple(ordered[name] for name in given) if _parents_first(given) else tuple(ordered.values())), locked


def joint_limits(
    hinges: Sequence[Hinge], joint_names: tuple[str, ...], coupling: np.ndarray, findings: Findings
) -> tuple[np.ndarray, np.ndarray]:
    """(lower, upper) of q, shape (n,) each, narrowed so that every coupled hinge stays in its own range.

    Args:
        hinges: All hinges.
        joint_names: The n actuated hinges.
        coupling: Positions of all hinges are ``coupling @ q``, shape (n_hinges, n).
        findings: Gets the joints that the ranges of coupled hinges leave no motion.
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
            findings.add(f"couplings.{hinge.name}", message)
    return read_only(lower), read_only(upper)


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
