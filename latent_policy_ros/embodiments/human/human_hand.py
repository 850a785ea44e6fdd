"""Kinematic model of a person's right hand: 21 joint angles to 21 keypoints and bone rotations.

Lengths are those of an average adult hand (0.19 m long; phalanges by Buryanov & Kotiuk 2010, soft tissue of the fingertips
included). Joint limits are the usual clinical ranges with hyperextension. All positions are in the canonical hand frame: origin
at the wrist, +z to the middle knuckle, +x out of the palm, +y to the thumb's side. Angles are in radians: flexion is positive
towards the palm, abduction of the fingers is positive towards the thumb.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pinocchio

from latent_policy_ros.embodiments.human.keypoints import KEYPOINTS
from latent_policy_ros.embodiments.kinematics.hinge_tree import HingeTree
from latent_policy_ros.embodiments.model.schema import FINGERS, Hinge

# Position of the knuckle and lengths of the three phalanges [m] at scale 1; for the thumb: of the carpometacarpal joint, and of
# the metacarpal and two phalanges.
_GEOMETRY = {
    "thumb": ((0.018, 0.024, 0.022), (0.046, 0.034, 0.028)),
    "index": ((0.0, 0.025, 0.091), (0.045, 0.026, 0.024)),
    "middle": ((0.0, 0.0, 0.093), (0.050, 0.030, 0.025)),
    "ring": ((0.002, -0.021, 0.087), (0.046, 0.028, 0.025)),
    "pinky": ((0.006, -0.040, 0.078), (0.036, 0.021, 0.022)),
}
# Direction of the thumb and of its flexion at zero angles: it points forwards and away from the edge of the palm, and bends
# across the palm.
_THUMB_ALONG, _THUMB_FLEXION = np.array([0.35, 0.62, 0.70]), np.array([0.45, -0.85, 0.30])

# (name, axis in the frame of the finger: x in the direction of flexion, y = flexion axis, z along the finger).
_FINGER_JOINTS = (("abduction", (-1, 0, 0)), ("mcp", (0, 1, 0)), ("pip", (0, 1, 0)), ("dip", (0, 1, 0)))
_FINGER_LIMITS = {
    "index": ((-0.20, 0.35), (-0.50, 1.57), (-0.15, 1.85), (-0.40, 1.30)),
    "middle": ((-0.20, 0.20), (-0.50, 1.57), (-0.15, 1.85), (-0.40, 1.30)),
    "ring": ((-0.30, 0.20), (-0.50, 1.57), (-0.15, 1.85), (-0.40, 1.30)),
    "pinky": ((-0.50, 0.20), (-0.50, 1.57), (-0.15, 1.85), (-0.40, 1.30)),
}
# (name, axis, index of the bone that starts at the joint, limits [rad])
_JointSpec = tuple[str, tuple[int, int, int], int, tuple[float, float]]
_THUMB_JOINTS: tuple[_JointSpec, ...] = (
    ("cmc_abduction", (-1, 0, 0), 0, (-0.5, 0.8)),  # out of the plane of flexion, away from the palm
    ("cmc_flexion", (0, 1, 0), 0, (-0.4, 0.9)),
    ("cmc_rotation", (0, 0, 1), 0, (-0.6, 0.6)),  # axial: opposition turns the pad towards the fingers
    ("mcp", (0, 1, 0), 1, (-0.4, 1.0)),
    ("ip", (0, 1, 0), 2, (-0.6, 1.4)),
)


@dataclass(frozen=True)
class _Model:
    hinges: tuple[Hinge, ...]
    tree: HingeTree
    keypoint_hinge: tuple[int, ...]  # index of the hinge that moves the bone of each keypoint; -1: the palm
    zero_rotations: np.ndarray  # (21, 3, 3), of the bones at zero angles


class HumanHand:
    """Kinematic model of one person's hand.

    Args:
        scale: Size relative to an average adult hand.
        bone_scale: Factors on the lengths of the bones, thumb first, shape (5, 3) or (5, 1).
        shifts: Offsets of the first joints of the five fingers [m at scale 1], shape (5, 3).
        thumb_turn: Rotation vector of the whole thumb [rad], shape (3,).
        knuckles: Offset of the four fingers' first joints along the finger [m at scale 1]; the first bone is shorter by as much.
            Trackers with the MANO hand model put these joints 15 mm beyond the anatomical ones.

    Attributes:
        scale: As given.
        tree: The 21 joints and the 21 keypoints that they move.
        angle_names: Names of the 21 joint angles.
        lower, upper: Limits of the joint angles [rad], shape (21,).
    """

    def __init__(
        self, scale: float = 1.0, bone_scale: np.ndarray | None = None, shifts: np.ndarray | None = None,
        thumb_turn: np.ndarray | None = None, knuckles: float = 0.0,
    ) -> None:  # fmt: skip
        factors = np.ones((5, 1)) if bone_scale is None else np.asarray(bone_scale, dtype=np.float64)
        if factors.shape not in ((5, 1), (5, 3)) or not np.all(factors > 0) or not scale > 0:
            raise ValueError(f"expected a positive scale and (5, 3) positive bone scales, got {scale} and {bone_scale}")
        shifts = np.zeros((5, 3)) if shifts is None else np.asarray(shifts, dtype=np.float64)
        turn = np.zeros(3) if thumb_turn is None else np.asarray(thumb_turn, dtype=np.float64)
        model = _build(float(scale), factors, shifts, pinocchio.exp3(turn), float(knuckles))
        self.scale, self._model = float(scale), model
        self.tree = model.tree
        self.angle_names = tuple(hinge.name for hinge in model.hinges)
        self.lower = np.array([hinge.lower for hinge in model.hinges])
        self.upper = np.array([hinge.upper for hinge in model.hinges])

    def keypoints(self, angles: np.ndarray) -> np.ndarray:
        """Keypoints [m] at joint angles [rad]: (B, 21) -> (B, 21, 3)."""
        return self._model.tree.points(self._checked(angles))

    def keypoints_and_jacobian(self, angles: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Keypoints (B, 21, 3) [m] and their derivatives by the angles (B, 21, 3, 21) [m/rad]."""
        return self._model.tree.points_and_jacobian(self._checked(angles))

    def rotations(self, angles: np.ndarray) -> np.ndarray:
        """Rotation of the bone that starts at each keypoint: (B, 21) -> (B, 21, 3, 3).

        z is along the bone, x in the direction of flexion. A fingertip has the rotation of the bone that ends there; the wrist
        has the identity.
        """
        motion, _ = self._model.tree.motion(self._checked(angles))
        motion = np.concatenate((motion, np.broadcast_to(np.eye(3), (len(motion), 1, 3, 3))), axis=1)
        return motion[:, self._model.keypoint_hinge] @ self._model.zero_rotations

    def _checked(self, angles: np.ndarray) -> np.ndarray:
        angles = np.asarray(angles, dtype=np.float64)
        if angles.ndim != 2 or angles.shape[1] != len(self._model.hinges):
            raise ValueError(f"angles must have shape (B, {len(self._model.hinges)}), got {angles.shape}")
        return angles


def _build(scale: float, factors: np.ndarray, shifts: np.ndarray, thumb_turn: np.ndarray, knuckles: float) -> _Model:
    """Hinges and keypoints of a hand; the arguments are those of :class:`HumanHand`, ``thumb_turn`` as a rotation (3, 3)."""
    hinges: list[Hinge] = []
    carriers: list[str | None] = [None]  # of the keypoints; None: the palm
    points, rotations = [np.zeros(3)], [np.eye(3)]
    for finger, factor, shift in zip(FINGERS, factors, shifts, strict=True):
        base, lengths = _GEOMETRY[finger]
        frame = thumb_turn @ _thumb_frame() if finger == "thumb" else np.eye(3)
        along = np.r_[0.0 if finger == "thumb" else knuckles, np.cumsum(factor * lengths)]
        starts = scale * (np.array(base) + shift + np.outer(along, frame[:, 2]))
        last_of_bone: dict[int, str] = {}
        above: str | None = None
        for name, axis, bone, (lower, upper) in _joints_of(finger):
            hinge_axis = frame @ np.array(axis, dtype=np.float64)
            hinge = Hinge(f"{finger}_{name}", above, hinge_axis, starts[bone], lower, upper, "revolute")
            hinges.append(hinge)
            above = last_of_bone[bone] = hinge.name
        carriers += [None, last_of_bone[0], last_of_bone[1], last_of_bone[2]]
        points += list(starts)
        rotations += [frame] * 4
    index: dict[str | None, int] = {hinge.name: i for i, hinge in enumerate(hinges)}
    # The bone that starts at a keypoint moves with the last hinge there; a tip belongs to the bone before it.
    behind = [-1]
    for i in range(1, KEYPOINTS):
        carrier = carriers[i] if i % 4 == 0 else carriers[i + 1]
        behind.append(index[carrier])
    return _Model(tuple(hinges), HingeTree(hinges, carriers, np.array(points)), tuple(behind), np.array(rotations))


def _joints_of(finger: str) -> tuple[_JointSpec, ...]:
    """Joints of a finger, from the palm outwards."""
    if finger == "thumb":
        return _THUMB_JOINTS
    joints = enumerate(zip(_FINGER_JOINTS, _FINGER_LIMITS[finger], strict=True))
    return tuple((name, axis, max(i - 1, 0), limits) for i, ((name, axis), limits) in joints)


def _thumb_frame() -> np.ndarray:
    """Rotation (3, 3) of the thumb at zero angles: columns x (direction of flexion), y (flexion axis), z (along the thumb)."""
    z = _THUMB_ALONG / np.linalg.norm(_THUMB_ALONG)
    x = _THUMB_FLEXION - z * (z @ _THUMB_FLEXION)
    x /= np.linalg.norm(x)
    return np.column_stack((x, np.cross(z, x), z))
