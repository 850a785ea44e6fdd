"""Mechanism: hinges, fingertips and couplings of an embodiment, before joint limits and the rest pose are known."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace

import numpy as np

from latent_policy_ros.common.config import FileModel
from latent_policy_ros.embodiments.description.description import Coupling
from latent_policy_ros.embodiments.model.schema import Fingertip, Hinge, read_only

FIXED_RANGE = 1e-3  # range [m] to either side of a hinge that no joint moves; simulators need a range


@dataclass(frozen=True)
class Mechanism:
    """Hinges, fingertips and couplings, from a table in YAML or from a URDF or MJCF file.

    Attributes:
        hinges: Parents before children. A range is (-inf, inf) where it is unknown.
        fingertips: By finger.
        couplings: By the name of the following hinge.
        locked: Positions [rad or m] of the hinges that are held; :meth:`resolve_couplings` removes them.
        max_velocity, max_effort: By joint, where the source gives them.
        notes: What the reader assumed or left out, for people.
    """

    hinges: tuple[Hinge, ...]
    fingertips: Mapping[str, Fingertip]
    couplings: Mapping[str, Coupling]
    locked: Mapping[str, float] = field(default_factory=dict)
    max_velocity: Mapping[str, float] = field(default_factory=dict)
    max_effort: Mapping[str, float] = field(default_factory=dict)
    notes: tuple[str, ...] = ()

    def independent(self) -> tuple[str, ...]:
        """Names of the hinges that neither follow another nor are locked."""
        return tuple(h.name for h in self.hinges if h.name not in self.couplings and h.name not in self.locked)

    def resolve_couplings(self, content: FileModel, joint_names: tuple[str, ...]) -> tuple[Mechanism, np.ndarray]:
        """Return (mechanism, matrix), where the positions of all its hinges are ``matrix @ q``; shape (n_hinges, n).

        Chains of couplings are multiplied out. Offsets become part of the zero pose. Locked hinges are removed, and their
        position becomes part of the zero pose of what they carry.

        Args:
            content: The embodiment file, for error messages.
            joint_names: The n actuated hinges.

        Raises:
            ConfigError: A hinge is neither actuated nor coupled, or couplings form a cycle.
        """
        matrix, offsets = np.zeros((len(self.hinges), len(joint_names))), np.zeros(len(self.hinges))
        for row, hinge in enumerate(self.hinges):
            leader, ratio, offset = self._follow(content, hinge.name)
            if leader is None:
                offsets[row] = offset
            elif leader in joint_names:
                matrix[row, joint_names.index(leader)], offsets[row] = ratio, offset
            else:
                message = f"neither actuated nor coupled; actuated: {', '.join(joint_names)}"
                raise content.error(f"hinges.{leader}", message)
        moved = self._with_zero_pose(offsets)
        kept = matrix.any(axis=1) | self._carries_fixed_tip(matrix)
        return (moved if kept.all() else moved._without(~kept)), read_only(matrix[kept])

    def body_motions(self, positions: np.ndarray) -> dict[str | None, np.ndarray]:
        """Motion (B, 4, 4) of the body behind each hinge since the zero pose, base frame; None is the base.

        ``positions`` [rad or m] are those of all hinges, shape (B, n_hinges).
        """
        # Not at the top of the module: most files give all fields, and then no process pays for the import.
        from latent_policy_ros.embodiments.kinematics.pinocchio_model import body_motions

        return body_motions(self.hinges, positions)

    def _carries_fixed_tip(self, matrix: np.ndarray) -> np.ndarray:
        """Mask of hinges that never move but carry a fingertip that no moving hinge carries: the fixed jaw of a gripper."""
        parent = {hinge.name: hinge.parent for hinge in self.hinges}
        moves = {hinge.name: row.any() for hinge, row in zip(self.hinges, matrix, strict=True)}
        carriers = set()
        for tip in self.fingertips.values():
            at: str | None = tip.hinge
            while at is not None and not moves[at]:
                at = parent[at]
            if at is None:
                carriers.add(tip.hinge)
        return np.array([hinge.name in carriers for hinge in self.hinges])

    def _follow(self, content: FileModel, name: str) -> tuple[str | None, float, float]:
        """(actuated hinge, ratio, offset) at the end of a chain of couplings; the hinge is None if it is locked."""
        at, ratio, offset, path = name, 1.0, 0.0, [name]
        while at in self.couplings:
            at, factor, shift = self.couplings[at]
            offset, ratio = offset + ratio * shift, ratio * factor
            path.append(at)
            if path.count(at) > 1:
                message = f"cycle: {' -> '.join(path)}; expected to end at an actuated hinge"
                raise content.error(f"couplings.{name}.follows", message)
        if at in self.locked:
            return None, 0.0, offset + ratio * self.locked[at]
        return at, ratio, offset

    def _with_zero_pose(self, zero: np.ndarray) -> Mechanism:
        """The same mechanism whose positions are measured from the pose ``zero`` (n_hinges,)."""
        if not zero.any():
            return self
        bodies, hinges = self.body_motions(zero[None]), []
        for hinge, offset in zip(self.hinges, zero, strict=True):
            above = bodies[hinge.parent][0]
            axis, point = above[:3, :3] @ hinge.axis, (above @ [*hinge.point, 1.0])[:3]
            ends = hinge.lower - offset, hinge.upper - offset
            hinges.append(Hinge(hinge.name, hinge.parent, read_only(axis), read_only(point), *ends, hinge.kind))
        tips = {
            finger: Fingertip(tip.hinge, read_only((bodies[tip.hinge][0] @ [*tip.point, 1.0])[:3]))
            for finger, tip in self.fingertips.items()
        }
        return replace(self, hinges=tuple(hinges), fingertips=tips)

    def _without(self, removed: np.ndarray) -> Mechanism:
        """A copy without the hinges of the mask ``removed`` (n_hinges,).

        What they carry is attached to the nearest remaining hinge towards the palm. Every fingertip needs one.
        """
        carrier: dict[str | None, str | None] = {None: None}
        for hinge, gone in zip(self.hinges, removed, strict=True):
            carrier[hinge.name] = carrier[hinge.parent] if gone else hinge.name
        hinges = tuple(
            replace(hinge, parent=carrier[hinge.parent]) for hinge, gone in zip(self.hinges, removed, strict=True) if not gone
        )
        tips = {}
        for finger, tip in self.fingertips.items():
            hinge_of_tip = carrier[tip.hinge]
            assert hinge_of_tip is not None, f"{finger}: no hinge remains"  # _carries_fixed_tip keeps one
            tips[finger] = Fingertip(hinge_of_tip, tip.point)
        return replace(self, hinges=hinges, fingertips=tips)
