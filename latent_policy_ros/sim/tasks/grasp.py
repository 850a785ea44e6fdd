"""One human precision grasp on any end-effector: its joints along the grasp, and how to bring them to a cube.

The human plan is retargeted; where the retargeted thumb meets the fingers then says how the wrist has to be held.
Nothing here knows any embodiment: a gripper's two jaws are its thumb and its finger.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

import numpy as np

from latent_policy_ros.common.errors import LatentPolicyError
from latent_policy_ros.embodiments import Embodiment, HandKinematics
from latent_policy_ros.embodiments.kinematics.capsules import capsules
from latent_policy_ros.embodiments.model.content_hash import EmbodimentKey
from latent_policy_ros.retargeting import Retargeter
from latent_policy_ros.retargeting.human_motion.generator import grasp_plan

OPPOSING = ("index", "middle")  # against the thumb; those of them that there are
CLEARANCE = 0.004  # m: least height of any part of the hand above the table while it grasps
ROLLS = np.radians(np.arange(0, 61, 2.5))  # of the hand about its pinch axis, to gain clearance [rad]
RAISES = np.arange(0.0, 0.0101, 0.0025)  # of the pinch above the object's centre [m], likewise


@dataclass(frozen=True)
class Grasp:
    """A retargeted grasp of an object between two parallel faces, T steps from open to squeezing.

    Attributes:
        q: Joints of the end-effector (T, n).
        centre: Middle between thumb and opposing fingertips, in the hand frame (T, 3) [m].
        rotation: (3, 3) hand frame <- grasp frame, whose x is the pinch axis (thumb to fingers), z the way down.
        height: Of the pinch above the object's centre [m].
        contact: The step (a fraction counts) at which the fingertips' surfaces are as far apart as the object is wide.
        clearance: Least height of the hand above the table during the grasp [m].
    """

    q: np.ndarray
    centre: np.ndarray
    rotation: np.ndarray
    height: float
    contact: float
    clearance: float

    @property
    def end(self) -> float:
        """The last step: closed, squeezing."""
        return len(self.q) - 1.0

    def at(self, step: float) -> tuple[np.ndarray, np.ndarray]:
        """Joints (n,) and pinch centre (3,) at a step, a fraction counts."""
        low = int(np.clip(np.floor(step), 0, len(self.q) - 2))
        part = np.clip(step - low, 0.0, 1.0)
        return (1 - part) * self.q[low] + part * self.q[low + 1], (1 - part) * self.centre[low] + part * self.centre[low + 1]


def retargeted_grasp(embodiment: Embodiment, width: float, down: np.ndarray) -> Grasp:
    """The human grasp on `embodiment`, for an object `width` [m] wide on a table.

    Args:
        down: The direction in the hand frame (3,) in which the arm would like to approach (the flange's axis).

    Raises:
        LatentPolicyError: The retargeted fingers never open wider, or never close narrower, than the object.
    """
    down = np.asarray(down, float)
    return _retargeted_grasp(EmbodimentKey.of(embodiment), width, tuple(down / np.linalg.norm(down)))


@lru_cache(maxsize=16)
def _retargeted_grasp(key: EmbodimentKey, width: float, down: tuple[float, ...]) -> Grasp:
    embodiment = key.embodiment
    keypoints, _ = grasp_plan(width)
    q = Retargeter(embodiment).retarget_sequence(keypoints[None])[0]
    moves = np.abs(q - q[0]).max(axis=1) > 1e-6
    q = q[max(0, int(moves.argmax()) - 1) :]  # a person opens wider than a gripper can: it has to wait, we need not
    kinematics = HandKinematics(embodiment)
    tips = dict(zip(kinematics.fingers, kinematics.fingertips(q).swapaxes(0, 1)))
    thumb, opposing = tips["thumb"], np.mean([tips[f] for f in OPPOSING if f in tips], axis=0)
    contact = _contact(embodiment, np.linalg.norm(opposing - thumb, axis=1) - 2 * embodiment.shape.tip_radius, width)
    centre = (thumb + opposing) / 2
    near = round(contact)
    axis = opposing[near] - thumb[near]
    axis /= np.linalg.norm(axis)
    rotation, height, clearance = _orient(embodiment, kinematics, q, centre, axis, np.array(down), width)
    return Grasp(q, centre, rotation, height, contact, clearance)


def _contact(embodiment: Embodiment, gap: np.ndarray, width: float) -> float:
    if gap.max() <= width or gap[-1] >= width:
        raise LatentPolicyError(
            f"{embodiment.name}: the retargeted grasp opens to {gap.max() * 1e3:.0f} mm and closes to {gap[-1] * 1e3:.0f} mm: "
            f"an object of {width * 1e3:.0f} mm does not fit in between"
        )
    last = int(np.flatnonzero(gap > width)[-1])
    return last + (gap[last] - width) / (gap[last] - gap[last + 1])


def _orient(embodiment, kinematics, q, centre, axis, down, width) -> tuple[np.ndarray, float, float]:
    """The grasp frame whose way down is nearest to `down`, turned about the pinch axis, and raised, only as far as the
    hand's clearance over the table needs."""
    bodies = {h.name: i for i, h in enumerate(embodiment.hinges)}
    motion = kinematics.link_transforms(q)  # (T, hinges, 4, 4), palm frame
    points, radii = [], []
    for shape in capsules(embodiment):
        for end in (shape.start, shape.end):
            moved = np.tile(end, (len(q), 1)) if shape.hinge is None else (motion[:, bodies[shape.hinge]] @ [*end, 1.0])[:, :3]
            points.append((moved - embodiment.T_base_hand[:3, 3]) @ embodiment.T_base_hand[:3, :3] - centre)
            radii.append(shape.radius)
    points, radii = np.stack(points), np.array(radii)
    best = None
    for raised in RAISES:
        for roll in sorted(np.concatenate([ROLLS, -ROLLS[1:]]), key=abs):
            z = down - (down @ axis) * axis
            z /= np.linalg.norm(z)
            z = np.cos(roll) * z + np.sin(roll) * np.cross(axis, z)
            clearance = width / 2 + raised - float(((points @ z).max(axis=1) + radii).max())
            if best is None or clearance > best[2]:
                best = np.column_stack([axis, np.cross(z, axis), z]), float(raised), clearance
            if clearance >= CLEARANCE:
                return best
    return best
