"""Hinges with their couplings, before it is settled what every joint's limits and rest are."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace

import numpy as np

from latent_policy_ros.common.config_reader import Section, frozen
from latent_policy_ros.common.errors import ConfigError
from latent_policy_ros.embodiments.description.description import Coupling
from latent_policy_ros.embodiments.model.schema import Fingertip, Hinge

STAYS = 1e-3  # range [m] either way of a hinge that no joint moves, for simulators, which want one


@dataclass(frozen=True)
class Mechanism:
    """What moves, from a YAML's own table or from a description.

    Attributes:
        hinges: Parents before children. A range may be (-inf, inf) where nothing is known.
        fingertips: By finger.
        couplings: By the name of the hinge that follows.
        locked: Hinges that are held at an angle [rad or m]; they vanish in :meth:`coupled`.
        max_velocity, max_effort: By joint, where the source tells.
        notes: What had to be decided.
    """

    hinges: tuple[Hinge, ...]
    fingertips: Mapping[str, Fingertip]
    couplings: Mapping[str, Coupling]
    locked: Mapping[str, float] = field(default_factory=dict)
    max_velocity: Mapping[str, float] = field(default_factory=dict)
    max_effort: Mapping[str, float] = field(default_factory=dict)
    notes: tuple[str, ...] = ()

    def free(self) -> tuple[str, ...]:
        """Hinges that neither follow another nor are locked."""
        return tuple(h.name for h in self.hinges if h.name not in self.couplings and h.name not in self.locked)

    def coupled(self, couplings: Section, joint_names: tuple[str, ...]) -> tuple[Mechanism, np.ndarray]:
        """(mechanism, matrix): angles of all its hinges are ``matrix @ q``, shape (n_hinges, n).

        Chains of couplings are multiplied out, offsets become part of the zero pose, and locked hinges part of what
        they carry.

        Raises:
            ConfigError: A hinge is neither actuated nor coupled, or couplings form a circle.
        """
        matrix, offsets = np.zeros((len(self.hinges), len(joint_names))), np.zeros(len(self.hinges))
        for row, hinge in enumerate(self.hinges):
            leader, ratio, offset = self._follow(couplings, hinge.name)
            if leader is None:
                offsets[row] = offset
            elif leader in joint_names:
                matrix[row, joint_names.index(leader)], offsets[row] = ratio, offset
            else:
                message = f"neither actuated nor coupled; actuated: {', '.join(joint_names)}"
                raise ConfigError(couplings.file, f"hinges.{leader}", message)
        moved = self._from(offsets)
        kept = matrix.any(axis=1) | self._bears_fixed_tip(matrix)
        return (moved if kept.all() else moved._without(~kept)), frozen(matrix[kept])

    def _bears_fixed_tip(self, matrix: np.ndarray) -> np.ndarray:
        """Hinges that never move but carry a fingertip that nothing else carries: the fixed jaw of a gripper."""
        parent = {hinge.name: hinge.parent for hinge in self.hinges}
        moves = {hinge.name: row.any() for hinge, row in zip(self.hinges, matrix, strict=True)}
        bearers = set()
        for tip in self.fingertips.values():
            at: str | None = tip.hinge
            while at is not None and not moves[at]:
                at = parent[at]
            if at is None:
                bearers.add(tip.hinge)
        return np.array([hinge.name in bearers for hinge in self.hinges])

    def _follow(self, couplings: Section, name: str) -> tuple[str | None, float, float]:
        """(actuated hinge, ratio, offset) that a hinge comes down to; the hinge is None if it is locked."""
        at, ratio, offset, way = name, 1.0, 0.0, [name]
        while at in self.couplings:
            at, factor, shift = self.couplings[at]
            offset, ratio = offset + ratio * shift, ratio * factor
            way.append(at)
            if way.count(at) > 1:
                message = f"cycle: {' -> '.join(way)}; expected to end at an actuated hinge"
                raise couplings.error(f"{name}.follows", message)
        if at in self.locked:
            return None, 0.0, offset + ratio * self.locked[at]
        return at, ratio, offset

    def _from(self, zero: np.ndarray) -> Mechanism:
        """The same mechanism with its angles counted from the pose ``zero`` (n_hinges,)."""
        if not zero.any():
            return self
        bodies, hinges = motions(self.hinges, zero[None]), []
        for hinge, angle in zip(self.hinges, zero, strict=True):
            above = bodies[hinge.parent][0]
            axis, point = above[:3, :3] @ hinge.axis, (above @ [*hinge.point, 1.0])[:3]
            ends = hinge.lower - angle, hinge.upper - angle
            hinges.append(Hinge(hinge.name, hinge.parent, frozen(axis), frozen(point), *ends, hinge.kind))
        tips = {
            finger: Fingertip(tip.hinge, frozen((bodies[tip.hinge][0] @ [*tip.point, 1.0])[:3]))
            for finger, tip in self.fingertips.items()
        }
        return replace(self, hinges=tuple(hinges), fingertips=tips)

    def _without(self, still: Sequence[bool]) -> Mechanism:
        """Without the hinges that never move; what they carry hangs on the hinge before them."""
        above: dict[str | None, str | None] = {None: None}
        for hinge, stands in zip(self.hinges, still, strict=True):
            above[hinge.name] = above[hinge.parent] if stands else hinge.name
        hinges = tuple(
            replace(hinge, parent=above[hinge.parent]) for hinge, stands in zip(self.hinges, still, strict=True) if not stands
        )
        tips = {finger: Fingertip(above[tip.hinge], tip.point) for finger, tip in self.fingertips.items()}
        return replace(self, hinges=hinges, fingertips=tips)


def motions(hinges: Sequence[Hinge], angles: np.ndarray) -> dict[str | None, np.ndarray]:
    """Motion (B, 4, 4) of the body behind each hinge since the zero pose; None is the base. Angles (B, n_hinges).

    For the few poses that reading a file needs; :class:`HingeTree` is the fast way, once it is compiled.
    """
    bodies: dict[str | None, np.ndarray] = {None: np.tile(np.eye(4), (len(angles), 1, 1))}
    for hinge, angle in zip(hinges, angles.T, strict=True):
        own = np.tile(np.eye(4), (len(angles), 1, 1))
        if hinge.kind == "prismatic":
            own[:, :3, 3] = angle[:, None] * hinge.axis
        else:
            x, y, z = hinge.axis
            skew = np.array([[0.0, -z, y], [z, 0.0, -x], [-y, x, 0.0]])
            own[:, :3, :3] += np.multiply.outer(np.sin(angle), skew) + np.multiply.outer(1.0 - np.cos(angle), skew @ skew)
            own[:, :3, 3] = hinge.point - own[:, :3, :3] @ hinge.point
        bodies[hinge.name] = bodies[hinge.parent] @ own
    return bodies
