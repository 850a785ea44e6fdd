"""Shapes of a hand for drawing: capsules in the hand frame, each part of a finger or of the palm."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace

import numpy as np

from latent_policy_ros.embodiments import Embodiment, HandKinematics
from latent_policy_ros.embodiments.human.keypoints import BASES, TIPS
from latent_policy_ros.embodiments.kinematics.capsules import capsules, shape_of
from latent_policy_ros.embodiments.model.schema import FINGERS, PALM, finger_by_hinge, finger_chain

RIB = 0.0025  # distance between the capsules of a palm [m], small enough that they look like one solid
HUMAN_RADIUS = 0.0075  # radius of a human finger [m]
GRIPPER_BODY = 0.045  # length of the body of a gripper [m]
GRIPPER_HEIGHT = 0.075  # height at which the jaws of a gripper begin, above the wrists of hands [m]
GRIPPER_RADIUS = 0.018  # largest radius of the body of a gripper [m]


@dataclass(frozen=True)
class Solid:
    """A capsule, or a sphere, in the hand frame.

    Attributes:
        start, end: Ends of its axis (3,) [m]; equal for a sphere.
        radius: [m].
        part: Finger that it is part of, or ``palm``.
        is_tip: Whether it is the sphere around a fingertip.
    """

    start: np.ndarray
    end: np.ndarray
    radius: float
    part: str
    is_tip: bool = False


def human_solids(keypoints: np.ndarray) -> list[Solid]:
    """Shapes of a human hand with keypoints (21, 3) [m] in the hand frame."""
    solids = []
    for finger in FINGERS:
        chain = keypoints[BASES[finger] : TIPS[finger] + 1]
        solids += [Solid(a, b, HUMAN_RADIUS, finger) for a, b in zip(chain[:-1], chain[1:])]
        solids.append(Solid(chain[-1], chain[-1], HUMAN_RADIUS * 1.05, finger, True))
    return solids + _palm({finger: keypoints[BASES[finger]] for finger in FINGERS}, HUMAN_RADIUS * 1.2)


def hand_solids(embodiment: Embodiment, q: np.ndarray) -> list[Solid]:
    """Shapes of an end-effector at joints ``q`` (n,). A gripper is rotated to stand upright beside hands."""
    moved = _HandPose(embodiment, q)
    part = finger_by_hinge(embodiment)
    solids = [
        Solid(moved(c.start, c.hinge), moved(c.end, c.hinge), c.radius, part[c.hinge], c.finger is not None)
        for c in capsules(embodiment) if c.hinge is not None
    ]  # fmt: skip
    if embodiment.kind == "gripper":
        return _upright_gripper(embodiment, solids)
    roots = {finger: moved(finger_chain(embodiment, finger)[0].point) for finger in embodiment.fingertips}
    return solids + _palm(roots, shape_of(embodiment).palm_radius)


class _HandPose:
    """Transform of points from the palm frame at the zero pose to the hand frame at joints ``q``."""

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
    """Shapes of a palm between the wrist and ``roots``, the first hinge of each finger (3,) [m]."""
    points = list(roots.values())
    between = [points[0]]
    for a, b in zip(points[:-1], points[1:]):
        count = 1 + int(np.ceil(np.linalg.norm(b - a) / RIB))
        between += [a + s * (b - a) for s in np.linspace(0.0, 1.0, count)[1:]]
    return [Solid(np.array([0.0, 0.5 * p[1], 0.0]), p, radius, PALM) for p in between]


def _upright_gripper(embodiment: Embodiment, solids: list[Solid]) -> list[Solid]:
    """Rotate a gripper so that its jaws point up, the thumb's jaw on the side of the thumb, and add a body.

    The hand frame of a gripper is oriented such that it pinches as a human hand does, and is oblique to the gripper.
    """
    opened = embodiment.to_joints(np.ones((1, 1)))
    thumb, finger = HandKinematics(embodiment).fingertips(opened)[0, :2]
    moved = _HandPose(embodiment, opened[0])
    first = [finger_chain(embodiment, name)[0] for name in list(embodiment.fingertips)[:2]]
    bases = np.array([moved(hinge.point, hinge.name) for hinge in first])
    middle = bases.mean(axis=0)
    y = _unit(thumb - finger)
    up = 0.5 * (thumb + finger) - middle
    z = _unit(up - y * (y @ up))
    R = np.stack((np.cross(y, z), y, z))

    def turned(point: np.ndarray) -> np.ndarray:
        return R @ (point - middle) + [0.0, 0.0, GRIPPER_HEIGHT]

    shape = shape_of(embodiment)
    radius = min(shape.palm_radius, GRIPPER_RADIUS)
    # Fingertips are centres of spheres on the pads; without an offset, closed jaws would overlap.
    offset = {part: side * shape.tip_radius * y for part, side in zip(embodiment.fingertips, (1.0, -1.0))}
    solids = [
        replace(s, start=s.start + offset.get(s.part, 0.0), end=s.end + offset.get(s.part, 0.0)) for s in solids
    ]  # fmt: skip
    body = [Solid(bases[0], bases[1], radius, PALM), Solid(middle, middle - GRIPPER_BODY * z, 1.3 * radius, PALM)]
    return [replace(solid, start=turned(solid.start), end=turned(solid.end)) for solid in solids + body]


def _unit(vector: np.ndarray) -> np.ndarray:
    return vector / max(float(np.linalg.norm(vector)), 1e-12)
