"""What a URDF or MJCF file says of a mechanism, in one form: links, and the joints between them, at the zero pose.

Both readers (:mod:`urdf`, :mod:`mjcf`) give a :class:`Description`; everything behind it is the same for both. Meshes,
masses and everything else that kinematics does not need are never read.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import numpy as np

MOVING = ("revolute", "prismatic")


@dataclass(frozen=True)
class Joint:
    """A joint, in the frame of the root link at the zero pose.

    Attributes:
        name: Unique name.
        kind: ``revolute``, ``prismatic``, or what the file calls a joint with more than one degree of freedom.
        axis: Unit vector, shape (3,).
        point: A point on the axis [m], shape (3,).
        range: (lower, upper) [rad or m]; None if the file gives none.
        max_velocity, max_effort: [rad/s or m/s] and [N m or N]; None if the file gives none.
    """

    name: str
    kind: str
    axis: np.ndarray
    point: np.ndarray
    range: tuple[float, float] | None
    max_velocity: float | None = None
    max_effort: float | None = None


@dataclass(frozen=True)
class Link:
    """A rigid body: its frame in the root link's at the zero pose, shape (4, 4), and the joints to its parent.

    ``centre`` is the centre of its mass [m] in its own frame, shape (3,), where the file tells.
    """

    name: str
    parent: str | None
    pose: np.ndarray
    joints: tuple[str, ...]
    centre: np.ndarray | None = None


class Coupling(NamedTuple):
    """angle = ratio * angle of ``leader`` + offset [rad or m]."""

    leader: str
    ratio: float
    offset: float = 0.0


class Site(NamedTuple):
    """A named place on a link: ``point`` [m] in the link's frame, shape (3,)."""

    link: str
    point: np.ndarray


@dataclass(frozen=True)
class Description:
    """A tree of links, parents first.

    Attributes:
        file: Where it was read from.
        links, joints: By name.
        couplings: By the name of the joint that follows.
        locked: Joints that an equation of the file holds at one angle.
        sites: Named places (MJCF only).
        notes: What the reader had to decide.
    """

    file: Path
    links: Mapping[str, Link]
    joints: Mapping[str, Joint]
    couplings: Mapping[str, Coupling]
    locked: Mapping[str, float]
    sites: Mapping[str, Site]
    notes: tuple[str, ...] = ()

    def upwards(self, link: str) -> Iterator[Link]:
        """The link, its parent, and so on to the root."""
        at: str | None = link
        while at is not None:
            yield self.links[at]
            at = self.links[at].parent
