"""Precision grasp of an object on a table: joint trajectory and hand pose, for any end-effector.

A human grasp is retargeted to the end-effector. The pose of the hand at the object follows from where the retargeted
thumb meets the opposing fingers. A gripper's two jaws count as its thumb and its finger.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

import numpy as np

from latent_policy_ros.common.errors import LatentPolicyError
from latent_policy_ros.embodiments import Embodiment, HandKinematics
from latent_policy_ros.embodiments.kinematics.capsules import capsules, shape_of
from latent_policy_ros.embodiments.kinematics.grasp_frame import OPPOSING_FINGERS
from latent_policy_ros.embodiments.model.content_hash import EmbodimentKey
from latent_policy_ros.retargeting import Retargeter
from latent_policy_ros.retargeting.human_motion.generator import TOUCH, grasp_plan

CLEARANCE = 0.004  # wanted distance of the hand from the table during the grasp [m]
ROLLS = np.radians(np.arange(-60, 61, 2.5))  # candidate rotations about the pinch axis, which may increase the clearance [rad]
ROLL_COST = 0.0057  # clearance for which the hand is rolled by one radian [m]; arms reach few poses of a hand that is rolled far
RAISE_COST = 0.1  # clearance for which the pinch point is raised by one metre [m]
RAISES = np.arange(0.0, 0.0101, 0.0025)  # candidate heights of the pinch point above the object's centre [m]
TOP_MARGIN = 0.004  # smallest distance of the pinch point from the object's top [m]


@dataclass(frozen=True)
class Grasp:
    """A grasp of an object between two parallel faces, in T steps from open to squeezing.

    Attributes:
        q: Joints of the end-effector (T, n).
        centre: Pinch point, the midpoint between thumb and opposing fingertips, in the hand frame (T, 3) [m]; constant from the
            contact on.
        rotation: Rotation (3, 3) of the grasp frame in the hand frame: x is the pinch axis (thumb to fingers), z the approach
            axis (down).
        height: Height of the pinch point above the object's centre [m].
        contact: Step, possibly fractional, at which the fingertip surfaces are as far apart as the object is wide.
        clearance: Smallest distance of the hand from the table during the grasp [m].
    """

    q: np.ndarray
    centre: np.ndarray
    rotation: np.ndarray
    height: float
    contact: float
    clearance: float

    @property
    def end(self) -> float:
        """Last step: closed and squeezing."""
        return len(self.q) - 1.0

    def at(self, step: float) -> tuple[np.ndarray, np.ndarray]:
        """Joints (n,) and pinch point (3,) at a step; fractional steps are interpolated."""
        low = int(np.clip(np.floor(step), 0, len(self.q) - 2))
        u = np.clip(step - low, 0.0, 1.0)
        return (1 - u) * self.q[low] + u * self.q[low + 1], (1 - u) * self.centre[low] + u * self.centre[low + 1]


def retargeted_grasp(
    embodiment: Embodiment, width: float, down: np.ndarray, *, height: float | None = None, opening: float | None = None
) -> Grasp:
    """Return the human grasp retargeted to ``embodiment``, for an object on a table.

    Args:
        embodiment: End-effector with a thumb and at least one opposing finger.
        width: Width of the object [m].
        down: Preferred approach direction in the hand frame (3,): the flange's axis.
        height: Height of the object [m]; it is grasped near the middle. Default: as high as wide.
        opening: Distance between the human's fingers and thumb at the start [m]; default: as wide as the end-effector can open.

    Raises:
        LatentPolicyError: The retargeted fingers never open wider, or never close narrower, than the object.
    """
    down = np.asarray(down, float)
    key = EmbodimentKey.of(embodiment)
    return _retargeted_grasp(key, width, tuple(down / np.linalg.norm(down)), width if height is None else height, opening)


@lru_cache(maxsize=64)
def _retargeted_grasp(key: EmbodimentKey, width: float, down: tuple[float, ...], height: float, opening: float | None) -> Grasp:
    human = grasp_plan(width)
    q = Retargeter(key.embodiment).retarget_sequence(human.keypoints[None])[0]
    moves = np.abs(q - q[0]).max(axis=1) > 1e-6
    first = max(0, int(moves.argmax()) - 1)  # skip the start, where the human hand is wider than a gripper can open
    if opening is not None:
        first = max(first, int((human.gap - TOUCH <= opening).argmax()))
    return grasp_from_joints(key.embodiment, q[first:], width, np.array(down), height)


def grasp_from_joints(embodiment: Embodiment, q: np.ndarray, width: float, down: np.ndarray, height: float | None = None) -> Grasp:
    """Return the grasp that the joint trajectory ``q`` (T, n) performs on an object ``width`` [m] wide.

    Args:
        down: Preferred approach direction in the hand frame, a unit vector (3,).
        height: Height of the object [m]; default: as high as wide.

    Raises:
        LatentPolicyError: The fingers never open wider, or never close narrower, than the object.
    """
    kinematics = HandKinematics(embodiment)
    tips = dict(zip(kinematics.fingers, kinematics.fingertips(q).swapaxes(0, 1)))
    thumb, opposing = tips["thumb"], np.mean([tips[f] for f in OPPOSING_FINGERS if f in tips], axis=0)
    contact = _contact(embodiment, np.linalg.norm(opposing - thumb, axis=1) - 2 * shape_of(embodiment).tip_radius, width)
    centre = (thumb + opposing) / 2
    # The object stops the fingers at the contact. A commanded midpoint beyond it is not where the object is: with a gripper of
    # one moving jaw it moves on, and the hand would push the object after it.
    stopped, u = int(contact), contact % 1.0
    centre[stopped + 1 :] = (1 - u) * centre[stopped] + u * centre[stopped + 1]
    nearest = round(contact)
    axis = opposing[nearest] - thumb[nearest]
    axis /= np.linalg.norm(axis)
    half = (width if height is None else height) / 2
    rotation, raised, clearance = _orient(embodiment, kinematics, q, centre, axis, down, half)
    return Grasp(q, centre, rotation, raised, contact, clearance)


def _contact(embodiment: Embodiment, gap: np.ndarray, width: float) -> float:
    """Fractional step at which the gap (T,) between the fingertips equals ``width`` [m]."""
    if gap.max() <= width or gap[-1] >= width:
        raise LatentPolicyError(
            f"{embodiment.name}: cannot grasp an object of {width * 1e3:.0f} mm: the retargeted grasp opens to "
            f"{gap.max() * 1e3:.0f} mm and closes to {gap[-1] * 1e3:.0f} mm"
        )
    last = int(np.flatnonzero(gap > width)[-1])
    return last + (gap[last] - width) / (gap[last] - gap[last + 1])


def _orient(
    embodiment: Embodiment,
    kinematics: HandKinematics,
    q: np.ndarray,
    centre: np.ndarray,
    axis: np.ndarray,
    down: np.ndarray,
    half: float,
) -> tuple[np.ndarray, float, float]:
    """Rotation of the grasp frame, height of the pinch point and clearance.

    The approach axis is as near to ``down`` as the pinch axis allows. The hand is rolled about the pinch axis and raised where that
    gains more of the wanted :data:`CLEARANCE` than it costs. ``half`` is half the object's height.
    """
    rows = {hinge.name: i for i, hinge in enumerate(embodiment.hinges)}
    transforms = kinematics.link_transforms(q)  # (T, hinges, 4, 4) in the palm frame
    axes, radii = [], []  # of the capsules: both ends of the axis, in the hand frame relative to the pinch point
    for shape in capsules(embodiment):
        for end in (shape.start, shape.end):
            moved = np.tile([*end, 1.0], (len(q), 1)) if shape.hinge is None else transforms[:, rows[shape.hinge]] @ [*end, 1.0]
            moved = moved[:, :3]
            axes.append((moved - embodiment.T_base_hand[:3, 3]) @ embodiment.T_base_hand[:3, :3] - centre)
            radii.append(shape.radius)
    points, radius = np.stack(axes), np.array(radii)
    z = down - (down @ axis) * axis
    z /= np.linalg.norm(z)
    approach = np.cos(ROLLS)[:, None] * z + np.sin(ROLLS)[:, None] * np.cross(axis, z)  # (rolls, 3)
    raises = RAISES[max(half - TOP_MARGIN, 0.0) >= RAISES]
    lowest = half - ((points @ approach.T).max(axis=1) + radius[:, None]).max(axis=0)  # clearance (rolls,) without raising
    clearance = lowest[:, None] + raises  # (rolls, raises)
    cost = np.maximum(CLEARANCE - clearance, 0.0) + ROLL_COST * np.abs(ROLLS)[:, None] + RAISE_COST * raises
    roll, up = np.unravel_index(cost.argmin(), cost.shape)
    rotation = np.column_stack([axis, np.cross(approach[roll], axis), approach[roll]])
    return rotation, float(raises[up]), float(clearance[roll, up])
