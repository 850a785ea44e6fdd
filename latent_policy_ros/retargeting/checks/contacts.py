"""Unintended self-contacts of a hand at rest and in the reference poses."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from latent_policy_ros.embodiments import Embodiment
from latent_policy_ros.embodiments.model.schema import PALM, finger_by_hinge
from latent_policy_ros.retargeting.checks.geometry_checks import WARNING, Diagnosis
from latent_policy_ros.retargeting.checks.self_collision import SelfCollision
from latent_policy_ros.retargeting.human_motion.reference_poses import ReferencePose

REST = "rest"
OPEN_POSES = (REST, "flat", "spread", "relaxed")  # poses without any intended contact
MIN_DEPTH = 0.002  # less overlap [m] does not count: capsules are thicker than the links
WARNING_DEPTH = 0.008  # more overlap [m] in an open pose gives a warning


@dataclass(frozen=True)
class Contact:
    """Overlap of two links.

    Attributes:
        links: Names of the hinges that carry them, or ``palm``.
        depth: Largest overlap [m].
        share: Share of the poses in which they overlap.
        pose: Name of the pose with the largest overlap.
    """

    links: tuple[str, str]
    depth: float
    share: float
    pose: str


class ReferenceContacts:
    """Contacts at rest and in the reference poses, without the intended ones.

    Args:
        embodiment: A hand.
        poses: The reference poses.
        q_poses: Joints of the hand in these poses, shape (poses, n).
    """

    def __init__(self, embodiment: Embodiment, poses: Sequence[ReferencePose], q_poses: np.ndarray) -> None:
        self._collision = SelfCollision(embodiment)
        self._names = (REST, *(pose.name for pose in poses))
        self._q = np.concatenate((embodiment.rest[None], q_poses))
        part = finger_by_hinge(embodiment)
        touching = [tuple(part.get(link, PALM) for link in pair) for pair in self._collision.pairs]
        self._intended = np.zeros((len(self._names), len(touching)), dtype=bool)
        for row, pose in zip(self._intended[1:], poses):
            row[:] = [_is_intended(pose, set(pair)) for pair in touching]

    def found(self, only: Sequence[str] | None = None) -> tuple[Contact, ...]:
        """The contacts, the deepest first; ``only`` in poses of these names."""
        rows = [i for i, name in enumerate(self._names) if only is None or name in only]
        overlaps = self._collision.overlaps(self._q[rows], self._intended[rows], MIN_DEPTH)
        return tuple(Contact(o.links, o.depth, o.share, self._names[rows[o.worst]]) for o in overlaps)

    def diagnoses(self) -> Iterator[Diagnosis]:
        """Warn about the deepest contact in the open poses."""
        deep = [contact for contact in self.found(OPEN_POSES) if contact.depth > WARNING_DEPTH]
        if deep:
            (a, b), pose = deep[0].links, deep[0].pose
            message = f"{a} and {b} overlap by {1000 * deep[0].depth:.0f} mm in pose {pose!r}"
            message += f", and {len(deep) - 1} more pairs of links do" if len(deep) > 1 else ""
            remedy = "another rest pose" if pose == REST else "a smaller range"
            yield Diagnosis(WARNING, "shape", f"{message}: are the radii too large, or is {remedy} needed?")

    def colliding(self, q: np.ndarray) -> float:
        """Share of the poses q (B, n) with any contact."""
        depth = self._collision.depths(q)
        return float((depth > MIN_DEPTH).any(axis=1).mean()) if depth.size else 0.0


def _is_intended(pose: ReferencePose, touching: set[str]) -> bool:
    """Whether these two fingers (or finger and palm) touch in the person's pose: a pinch, or a closed finger on palm or thumb."""
    closed = touching & set(pose.closed) and touching & {"thumb", PALM}
    return bool(closed) or ("thumb" in touching and bool(touching & set(pose.pinched)))
