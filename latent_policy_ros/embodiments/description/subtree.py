"""The part of a description beyond one link, the base of a hand."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping

import numpy as np

from latent_policy_ros.embodiments.description.description import Coupling, Description, Joint, Link, Site

ON_AXIS = 0.003  # a point nearer than this [m] to the axis of the joint that carries it is not accepted as a fingertip
LAST_BONE = 1.0  # guessed length of a finger's last link, relative to the one before; 0.7 (Allegro) to 1.4 (LEAP, Inspire)


class Subtree:
    """Links and joints beyond a base link, in the frame of the base.

    Args:
        description: The whole mechanism.
        base: Name of the base link.

    Attributes:
        description: The whole mechanism.
        base: The base link.
    """

    def __init__(self, description: Description, base: str) -> None:
        self.description, self.base = description, description.links[base]
        self._link_of = {joint: link for link in description.links.values() for joint in link.joints}
        self._T_base_root = np.linalg.inv(self.base.pose)

    def contains(self, link: str) -> bool:
        """Whether a link is the base or beyond it."""
        return any(above.name == self.base.name for above in self.description.upwards(link))

    def joints(self) -> tuple[str, ...]:
        """Names of all joints beyond the base."""
        links = (link for link in self.description.links.values() if link.name != self.base.name and self.contains(link.name))
        return tuple(joint for link in links for joint in link.joints)

    def joints_to(self, link: str) -> tuple[str, ...]:
        """Names of the joints from the base to a link, in this order."""
        joints: list[str] = []
        for above in self._upwards(link):
            joints[:0] = above.joints
        return tuple(joints)

    def joints_before(self, joint: str) -> tuple[str, ...]:
        """Names of the joints from the base to a joint, without it."""
        path = self.joints_to(self._link_of[joint].name)
        return path[: path.index(joint)]

    def closure(self, joints: Iterable[str], couplings: Mapping[str, Coupling]) -> set[str]:
        """The joints, the joints that they follow, and all joints between these and the base."""
        kept, pending = set(), list(joints)
        while pending:
            name = pending.pop()
            if name in kept:
                continue
            kept.add(name)
            if self.contains(self._link_of[name].name):
                pending += self.joints_before(name)
            if name in couplings:
                pending.append(couplings[name].leader)
        return kept

    def link_of(self, joint: str) -> Link:
        """The link that a joint moves."""
        return self._link_of[joint]

    def direction(self, vector: np.ndarray) -> np.ndarray:
        """A direction (3,) of the root frame in the base frame."""
        return self._T_base_root[:3, :3] @ vector

    def place(self, point: np.ndarray, link: Link | None = None) -> np.ndarray:
        """A point (3,) [m] of a link's frame (default: the root frame) in the base frame."""
        pose = self._T_base_root if link is None else self._T_base_root @ link.pose
        return (pose @ [*point, 1.0])[:3]

    def end_of(self, link: Link) -> tuple[np.ndarray, str] | None:
        """Find the fingertip on a moving link: (point in its frame [m], description of the source), or None.

        In this order: the origin of the link, if it is off the axis of its own joint; the farthest origin of the links fixed
        to it; twice the centre of mass; the farthest site; a link as long as the one before it.
        """
        joint, *before = (self.description.joints[name] for name in reversed(self.joints_to(link.name)))
        inverse = np.linalg.inv(link.pose)
        if _distance(joint, link.pose[:3, 3]) > ON_AXIS:
            return np.zeros(3), ""
        rigid = {link.name}
        for other in self.description.links.values():
            if other.parent in rigid and not other.joints:
                rigid.add(other.name)
        end = max((self.description.links[name] for name in rigid), key=lambda other: _distance(joint, other.pose[:3, 3]))
        if _distance(joint, end.pose[:3, 3]) > ON_AXIS:
            return (inverse @ end.pose[:, 3])[:3], f"the origin of {end.name}"
        if link.centre is not None and _distance(joint, (link.pose @ [*link.centre, 1.0])[:3]) > ON_AXIS:
            return 2.0 * link.centre, f"estimated from the centre of mass of {link.name}; give its point to be exact"
        sites = {name: self._root_point(site) for name, site in self.description.sites.items() if site.link in rigid}
        name = max(sites, key=lambda name: _distance(joint, sites[name]), default="")
        if name and _distance(joint, sites[name]) > ON_AXIS:
            return (inverse @ [*sites[name], 1.0])[:3], f"the site {name}"
        steps = [joint.point - other.point for other in before if _distance(joint, other.point) > ON_AXIS]
        if steps:
            guess = joint.point + LAST_BONE * steps[0]
            source = f"guessed from the link before {link.name}, which has no mass and no end; give its point to be exact"
            return (inverse @ [*guess, 1.0])[:3], source
        return None

    def on_axis(self, joint: str, link: Link, point: np.ndarray) -> bool:
        """Whether a point (3,) [m] of a link's frame is on the axis of a revolute joint, so that the joint does not move it."""
        moved = self.description.joints[joint]
        return moved.kind == "revolute" and _distance(moved, (link.pose @ [*point, 1.0])[:3]) < ON_AXIS

    def _root_point(self, site: Site) -> np.ndarray:
        """The point of a site in the root frame (3,) [m]."""
        return (self.description.links[site.link].pose @ [*site.point, 1.0])[:3]

    def _upwards(self, link: str) -> Iterator[Link]:
        """The link and its parents up to the base, without the base."""
        for above in self.description.upwards(link):
            if above.name == self.base.name:
                return
            yield above


def _distance(joint: Joint, place: np.ndarray) -> float:
    """Distance [m] of a point from the axis of a revolute joint, or from the point of a prismatic one."""
    arm = place - joint.point
    return float(np.linalg.norm(np.cross(joint.axis, arm) if joint.kind == "revolute" else arm))
