"""Where a hand touches itself though the person whom it imitates does not."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from latent_policy_ros.embodiments import Embodiment
from latent_policy_ros.embodiments.model.schema import PALM, finger_by_hinge
from latent_policy_ros.retargeting.checks.geometry_checks import WARNING, Finding
from latent_policy_ros.retargeting.checks.self_collision import SelfCollision
from latent_policy_ros.retargeting.human_motion.reference_poses import ReferencePose

REST = "rest"
OPEN_POSES = (REST, "flat", "spread", "relaxed")  # nothing should touch in them
SHALLOW = 0.002  # capsules stand for rounder and thinner things: less [m] than this is no contact
DEEP = 0.008  # and more than this, in an open pose, is worth a warning


@dataclass(frozen=True)
class Contact:
    """Two links that run ``depth`` [m] into each other, in ``share`` of the poses, deepest in ``pose``."""

    links: tuple[str, str]
    depth: float
    share: float
    pose: str


class ReferenceContacts:
    """Contacts at rest and in the reference poses, but for those that are meant.

    Args:
        embodiment: A hand.
        poses: The reference poses.
        q_poses: Its joints in them, shape (poses, n).
    """

    def __init__(self, embodiment: Embodiment, poses: Sequence[ReferencePose], q_poses: np.ndarray) -> None:
        self._collision = SelfCollision(embodiment)
        self._names = (REST, *(pose.name for pose in poses))
        self._q = np.concatenate((embodiment.rest[None], q_poses))
        part = finger_by_hinge(embodiment)
        touching = [tuple(part.get(link, PALM) for link in pair) for pair in self._collision.pairs]
        self._meant = np.zeros((len(self._names), len(touching)), dtype=bool)
        for row, pose in zip(self._meant[1:], poses):
            row[:] = [_is_meant(pose, set(pair)) for pair in touching]

    def found(self, only: Sequence[str] | None = None) -> tuple[Contact, ...]:
        """The deepest first; ``only`` in poses of these names."""
        rows = [i for i, name in enumerate(self._names) if only is None or name in only]
        overlaps = self._collision.overlaps(self._q[rows], self._meant[rows], SHALLOW)
        return tuple(Contact(o.links, o.depth, o.share, self._names[rows[o.worst]]) for o in overlaps)

    def findings(self) -> Iterator[Finding]:
        """The links that run deepest into each other where nothing should touch."""
        deep = [contact for contact in self.found(OPEN_POSES) if contact.depth > DEEP]
        if deep:
            (a, b), pose = deep[0].links, deep[0].pose
            message = f"{a} and {b} run {1000 * deep[0].depth:.0f} mm into each other in pose {pose!r}"
            message += f", and {len(deep) - 1} more pairs of links" if len(deep) > 1 else ""
            what = "another rest" if pose == REST else "a range"
            yield Finding(WARNING, "shape", f"{message}: are the radii too large, or is {what} needed?")

    def colliding(self, q: np.ndarray) -> float:
        """Share of poses q (B, n) with any contact."""
        depth = self._collision.depths(q)
        return float((depth > SHALLOW).any(axis=1).mean()) if depth.size else 0.0


def _is_meant(pose: ReferencePose, touching: set[str]) -> bool:
    """Whether the person's own hand has a contact of these two parts: a pinch, or a finger closed on palm or thumb."""
    closed = touching & set(pose.closed) and touching & {"thumb", PALM}
    return bool(closed) or ("thumb" in touching and bool(touching & set(pose.pinched)))
