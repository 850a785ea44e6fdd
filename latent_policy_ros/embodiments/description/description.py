"""Description: links and joints of a URDF or MJCF file in one form, at the zero pose.

The readers :mod:`urdf` and :mod:`mjcf` produce it. It has no meshes and no masses: only what kinematics needs.
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
    """A joint that is not fixed, in the frame of the root link at the zero pose.

    Attributes:
        name: Unique name.
        kind: ``revolute``, ``prismatic``, or the file's word for a joint with more degrees of freedom.
        axis: Unit vector, shape (3,).
        point: A point on the axis [m], shape (3,).
        range: (lower, upper) [rad or m], equal if the joint does not move; None if the file gives none.
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
    """A rigid body.

    Attributes:
        name: Unique name.
        parent: Name of the parent link; None for a root.
        pose: Its frame in the root frame at the zero pose, shape (4, 4).
        joints: Names of the moving joints between it and its parent.
        centre: Centre of mass in its frame [m], shape (3,); None if the file gives none.
    """

    name: str
    parent: str | None
    pose: np.ndarray
    joints: tuple[str, ...]
    centre: np.ndarray | None = None


class Coupling(NamedTuple):
    """A joint that follows another: position = ratio * position of ``leader`` + offset [rad or m]."""

    leader: str
    ratio: float
    offset: float = 0.0


class Unsupported(NamedTuple):
    """A constraint of the file that no coupling expresses.

    Attributes:
        what: The element, for people.
        joints: The joints that it constrains.
        loop: Whether it closes a loop of links.
    """

    what: str
    joints: tuple[str, ...]
    loop: bool


class Site(NamedTuple):
    """A named point on a link: ``point`` [m] in the link's frame, shape (3,)."""

    link: str
    point: np.ndarray


@dataclass(frozen=True)
class Description:
    """A tree of links, parents first.

    Attributes:
        file: The file it was read from.
        links, joints: By name.
        couplings: By the name of the following joint.
        locked: Positions of the joints that an equality of the file holds.
        sites: By name (MJCF only).
        notes: What the reader assumed, for people.
        driven: The joints that actuators of the file drive; None if the file lists no actuators.
        unsupported: Constraints that no coupling expresses.
    """

    file: Path
    links: Mapping[str, Link]
    joints: Mapping[str, Joint]
    couplings: Mapping[str, Coupling]
    locked: Mapping[str, float]
    sites: Mapping[str, Site]
    notes: tuple[str, ...] = ()
    driven: frozenset[str] | None = None
    unsupported: tuple[Unsupported, ...] = ()

    def upwards(self, link: str) -> Iterator[Link]:
        """The link, its parent, and so on to the root."""
        at: str | None = link
        while at is not None:
            yield self.links[at]
            at = self.links[at].parent
