"""What a portrait shows of a hand: capsules in the hand frame, each belonging to a finger or to the palm."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace

import numpy as np

from latent_policy_ros.embodiments import Embodiment, HandKinematics
from latent_policy_ros.embodiments.human.keypoints import BASES, TIPS
from latent_policy_ros.embodiments.kinematics.capsules import capsules
from latent_policy_ros.embodiments.model.schema import FINGERS, PALM, finger_by_hinge, finger_chain

RIB = 0.0025  # capsules that stand so close [m] look like one solid palm
BONE = 0.0075  # radius of a person's finger [m]
GRIPPER_BODY, GRIPPER_HEIGHT = 0.045, 0.075  # of a gripper's body, and where its jaws begin above the wrists of hands [m]
GRIPPER_RADIUS = 0.018


@dataclass(frozen=True)
class Solid:
    """A capsule (or a sphere) from ``start`` to ``end`` (3,) with ``radius`` [m], in the canonical hand frame.

    ``part`` is the finger it belongs to, or ``palm``; ``is_tip`` marks the sphere around a fingertip.
    """

    start: np.ndarray
    end: np.ndarray
    radius: float
    part: str
    is_tip: bool = False


def human_solids(keypoints: np.ndarray) -> list[Solid]:
    """A person's hand from its keypoints (21, 3) [m] in the hand frame."""
    solids = []
    for finger in FINGERS:
        chain = keypoints[BASES[finger] : TIPS[finger] + 1]
        solids += [Solid(a, b, BONE, finger) for a, b in zip(chain[:-1], chain[1:])]
        solids.append(Solid(chain[-1], chain[-1], BONE * 1.05, finger, True))
    return solids + _palm({finger: keypoints[BASES[finger]] for finger in FINGERS}, BONE * 1.2)


def hand_solids(embodiment: Embodiment, q: np.ndarray) -> list[Solid]:
    """The shapes of a robot's hand at joints q (n,), or of a gripper, which is turned to stand upright beside hands."""
    moved = _Moved(embodiment, q)
    part = finger_by_hinge(embodiment)
    solids = [
        Solid(moved(c.start, c.hinge), moved(c.end, c.hinge), c.radius, part[c.hinge], c.finger is not None)
        for c in capsules(embodiment) if c.hinge is not None
    ]  # fmt: skip
    if embodiment.kind == "gripper":
        return _upright_gripper(embodiment, solids)
    roots = {finger: moved(finger_chain(embodiment, finger)[0].point) for finger in embodiment.fingertips}
    return solids + _palm(roots, embodiment.shape.palm_radius)


class _Moved:
    """Points of the palm frame at the zero pose -> where they are at q, in the hand frame."""

    def __init__(self, embodiment: Embodiment, q: np.ndarray) -> None:
        self._row = {name: i for i, name in enumerate(embodiment.hinge_names)}
        self._motion = HandKinematics(embodiment).link_transforms(np.asarray(q, dtype=np.float64)[None])[0]
        self._R, self._origin = embodiment.T_base_hand[:3, :3], embodiment.T_base_hand[:3, 3]

    def __call__(self, point: np.ndarray, hinge: str | None = None) -> np.ndarray:
        if hinge is not None:
            T = self._motion[self._row[hinge]]
            point = T[:3, :3] @ point + T[:3, 3]
        return (point - self._origin) @ self._R


def _palm(roots: Mapping[str, np.ndarray], radius: float) -> list[Solid]:
    """A solid palm between the wrist and the fingers' first hinges, by finger."""
    points = list(roots.values())
    between = [points[0]]
    for a, b in zip(points[:-1], points[1:]):
        count = 1 + int(np.ceil(np.linalg.norm(b - a) / RIB))
        between += [a + s * (b - a) for s in np.linspace(0.0, 1.0, count)[1:]]
    return [Solid(np.array([0.0, 0.5 * p[1], 0.0]), p, radius, PALM) for p in between]


def _upright_gripper(embodiment: Embodiment, solids: list[Solid]) -> list[Solid]:
    """With a body, jaws up, the thumb's jaw on the thumb's side.

    Its own hand frame serves to pinch where a person pinches, and lies aslant in the gripper.
    """
    opened = embodiment.to_joints(np.ones((1, 1)))
    thumb, finger = HandKinematics(embodiment).fingertips(opened)[0, :2]
    moved = _Moved(embodiment, opened[0])
    first = [finger_chain(embodiment, name)[0] for name in list(embodiment.fingertips)[:2]]
    bases = np.array([moved(hinge.point, hinge.name) for hinge in first])
    middle = bases.mean(axis=0)
    y = _unit(thumb - finger)
    up = 0.5 * (thumb + finger) - middle
    z = _unit(up - y * (y @ up))
    R = np.stack((np.cross(y, z), y, z))

    def turned(point: np.ndarray) -> np.ndarray:
        return R @ (point - middle) + [0.0, 0.0, GRIPPER_HEIGHT]

    radius = min(embodiment.shape.palm_radius, GRIPPER_RADIUS)
    # Tips are the middles of the pads' roundings; drawn so, closed jaws would be inside each other.
    apart = {part: side * embodiment.shape.tip_radius * y for part, side in zip(embodiment.fingertips, (1.0, -1.0))}
    solids = [
        replace(s, start=s.start + apart.get(s.part, 0.0), end=s.end + apart.get(s.part, 0.0)) for s in solids
    ]  # fmt: skip
    body = [Solid(bases[0], bases[1], radius, PALM), Solid(middle, middle - GRIPPER_BODY * z, 1.3 * radius, PALM)]
    return [replace(solid, start=turned(solid.start), end=turned(solid.end)) for solid in solids + body]


def _unit(vector: np.ndarray) -> np.ndarray:
    return vector / max(float(np.linalg.norm(vector)), 1e-12)
