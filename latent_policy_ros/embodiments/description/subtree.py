"""The part of a description that lies beyond one link, the base of a hand."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping

import numpy as np

from latent_policy_ros.embodiments.description.description import Coupling, Description, Joint, Link

ON_AXIS = 0.003  # a place nearer than this [m] to the axis of the joint that carries it is no fingertip
LAST_BONE = 1.0  # length of a finger's last link, in lengths of the one before: 0.7 (Allegro) to 1.4 (LEAP, Inspire)


class Subtree:
    """Links and joints beyond ``base``, seen from it."""

    def __init__(self, description: Description, base: str) -> None:
        self.description, self.base = description, description.links[base]
        self._link_of = {joint: link for link in description.links.values() for joint in link.joints}
        self._T_base_root = np.linalg.inv(self.base.pose)

    def holds(self, link: str) -> bool:
        """Whether a link is the base or beyond it."""
        return any(above.name == self.base.name for above in self.description.upwards(link))

    def joints(self) -> tuple[str, ...]:
        """All joints beyond the base."""
        links = (link for link in self.description.links.values() if link.name != self.base.name and self.holds(link.name))
        return tuple(joint for link in links for joint in link.joints)

    def way(self, link: str) -> tuple[str, ...]:
        """Joints from the base to a link that it holds."""
        joints: list[str] = []
        for above in self._upwards(link):
            joints[:0] = above.joints
        return tuple(joints)

    def before(self, joint: str) -> tuple[str, ...]:
        """Joints from the base to a joint."""
        way = self.way(self._link_of[joint].name)
        return way[: way.index(joint)]

    def closure(self, joints: Iterable[str], couplings: Mapping[str, Coupling]) -> set[str]:
        """The joints, those that they follow, and what lies between all of them and the base."""
        kept, waiting = set(), list(joints)
        while waiting:
            name = waiting.pop()
            if name in kept:
                continue
            kept.add(name)
            if self.holds(self._link_of[name].name):
                waiting += self.before(name)
            if name in couplings:
                waiting.append(couplings[name].leader)
        return kept

    def link_of(self, joint: str) -> Link:
        """The link that a joint carries."""
        return self._link_of[joint]

    def direction(self, vector: np.ndarray) -> np.ndarray:
        """A direction (3,) of the root frame in the base frame."""
        return self._T_base_root[:3, :3] @ vector

    def place(self, point: np.ndarray, link: Link | None = None) -> np.ndarray:
        """A point (3,) of a link's frame (of the root frame by default) in the base frame [m]."""
        pose = self._T_base_root if link is None else self._T_base_root @ link.pose
        return (pose @ [*point, 1.0])[:3]

    def end_of(self, link: Link) -> tuple[np.ndarray, str] | None:
        """(point in the frame of a moving link, what it is): its fingertip, as far as the file tells.

        The origin of the link if it is not on the axis of its own joint; else the farthest origin of what is fixed to it;
        else the point twice as far as the centre of mass; else as the links before it go on.
        """
        joint, *before = (self.description.joints[name] for name in reversed(self.way(link.name)))
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
            return 2.0 * link.centre, f"twice as far out as the centre of {link.name}; better give its point"
        steps = [joint.point - other.point for other in before if _distance(joint, other.point) > ON_AXIS]
        if steps:
            guess = joint.point + LAST_BONE * steps[0]
            return (inverse @ [*guess, 1.0])[:3], f"a guess, as {link.name} has no mass and no end; better give its point"
        return None

    def _upwards(self, link: str) -> Iterator[Link]:
        """The link and those between it and the base, which is left out."""
        for above in self.description.upwards(link):
            if above.name == self.base.name:
                return
            yield above


def _distance(joint: Joint, place: np.ndarray) -> float:
    """Of a place from the axis of a joint; from its point if it slides [m]."""
    arm = place - joint.point
    return float(np.linalg.norm(np.cross(joint.axis, arm) if joint.kind == "revolute" else arm))
