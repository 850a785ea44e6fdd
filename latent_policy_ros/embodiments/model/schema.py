"""Embodiment and its parts. :mod:`latent_policy_ros.embodiments.loader` creates and validates all instances."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from latent_policy_ros.common.errors import available

FINGERS = ("thumb", "index", "middle", "ring", "pinky")
PALM = "palm"  # name of the base in tables of hinges and links
RAMP_TIME = 0.2  # s from rest to max_velocity, where no max_acceleration is given


def read_only(values: Any) -> np.ndarray:
    """A read-only float64 array."""
    array = np.array(values, dtype=np.float64)
    array.setflags(write=False)
    return array


@dataclass(frozen=True)
class Hinge:
    """One degree of freedom of the mechanism, actuated or coupled, at the zero pose in the palm (base) frame.

    Attributes:
        name: Unique name.
        parent: Name of the next hinge towards the palm; None if it is mounted on the palm.
        axis: Unit vector of rotation (revolute) or of travel (prismatic), shape (3,).
        point: A point on the axis [m], shape (3,).
        lower, upper: Limits from the file [rad], or [m] if prismatic.
        kind: ``revolute`` or ``prismatic``.
    """

    name: str
    parent: str | None
    axis: np.ndarray
    point: np.ndarray
    lower: float
    upper: float
    kind: str


class Fingertip(NamedTuple):
    """A contact point that moves with ``hinge``: ``point`` [m] in the palm frame at the zero pose, shape (3,)."""

    hinge: str
    point: np.ndarray


@dataclass(frozen=True)
class Shape:
    """Radii [m] of the capsules (see :mod:`latent_policy_ros.embodiments.kinematics.capsules`) for collisions and images."""

    link_radius: float
    tip_radius: float
    palm_radius: float


@dataclass(frozen=True)
class Servo:
    """Position servo of every actuated hinge in simulation.

    Attributes:
        kp: Stiffness [N m/rad, N/m if prismatic].
        damping: [N m s/rad, N s/m if prismatic].
        max_effort: [N m, N if prismatic].
        armature: Rotor inertia [kg m^2, kg if prismatic].
    """

    kp: float
    damping: float
    max_effort: float
    armature: float


@dataclass(frozen=True)
class Embodiment:
    """A kind of end-effector: joints, couplings, kinematics and action representation.

    ``q`` are the positions of the n actuated joints in the order of ``joint_names`` [rad, m if prismatic].
    ``x`` is the action representation of encoders, decoders and policies: ``q`` for hands; the opening in [0, 1] (0 closed)
    for grippers; 189 numbers for the human hand (position and 6D rotation of 21 keypoints).

    Attributes:
        name: Unique name, e.g. ``faive_hand``.
        kind: ``hand``, ``gripper`` or ``human``.
        side: ``right`` or ``left``. The hand frame is right-handed for both; a left hand has its thumb on -y.
        file: The YAML file.
        reference: Argument of ``load_embodiment`` that gives the same embodiment in any process: a shipped name, or a path.
        joint_names: The n actuated joints.
        lower, upper: Limits of q, shape (n,), narrowed so that coupled hinges stay in their own range.
        max_velocity, max_acceleration: Limits of |dq/dt| and of its change per second, shape (n,).
        rest: The rest pose q, shape (n,).
        hinges: All hinges, coupled ones included, parents before children.
        coupling: Positions of all hinges are ``coupling @ q``, shape (n_hinges, n), at most one nonzero entry a row. A row of
            zeros is the fixed jaw of a gripper.
        fingertips: By finger name.
        T_base_hand: Pose of the canonical hand frame (origin at the wrist, z along the fingers, x out of the palm) in the palm
            (base) frame, shape (4, 4).
        action_names, action_lower, action_upper: Names and limits of x, shape (action_dim,).
        action_closed, action_open: q of a gripper at x = 0 and at x = 1 [m or rad]; unused for other kinds.
        shape, servo: For simulation; None for the human hand.
        correspondence: What retargeting to a hand maps: ``fingers``, each on its own, or the whole ``hand``.
        notes: What the reader of the file assumed or left out, for people.
        content_hash: sha256 of everything that defines the meaning of q and x (not file names, comments, radii, gains or how people
            are retargeted to it).
    """

    name: str
    kind: str
    side: str
    file: Path
    reference: str
    joint_names: tuple[str, ...]
    lower: np.ndarray
    upper: np.ndarray
    max_velocity: np.ndarray
    max_acceleration: np.ndarray
    rest: np.ndarray
    hinges: tuple[Hinge, ...]
    coupling: np.ndarray
    fingertips: Mapping[str, Fingertip]
    T_base_hand: np.ndarray
    action_names: tuple[str, ...]
    action_lower: np.ndarray
    action_upper: np.ndarray
    action_closed: float
    action_open: float
    shape: Shape | None
    servo: Servo | None
    correspondence: str
    notes: tuple[str, ...]
    content_hash: str

    @property
    def action_dim(self) -> int:
        """Dimension of x."""
        return len(self.action_names)

    @property
    def hinge_names(self) -> tuple[str, ...]:
        """Names of all hinges, in the order of ``hinges``."""
        return tuple(hinge.name for hinge in self.hinges)

    @property
    def command(self) -> str | None:
        """Kind of driver and command topic: ``hand``, ``gripper``, or None for the human hand."""
        return None if self.kind == "human" else self.kind

    def hinge(self, name: str) -> Hinge:
        """The hinge of this name.

        Raises:
            KeyError: There is none.
        """
        for hinge in self.hinges:
            if hinge.name == name:
                return hinge
        raise KeyError(f"{self.name} has no hinge {name!r}; {available(self.hinge_names)}")

    def to_action(self, q: np.ndarray) -> np.ndarray:
        """Convert joints to the action representation: (..., n) -> (..., action_dim)."""
        q = self._last_axis(q, len(self.joint_names), "joints")
        return (q - self.action_closed) / (self.action_open - self.action_closed) if self.kind == "gripper" else q

    def to_joints(self, x: np.ndarray) -> np.ndarray:
        """Convert an action representation to joints: (..., action_dim) -> (..., n), without clipping to limits.

        Raises:
            ValueError: Wrong shape, or the embodiment is of kind ``human``.
        """
        if self.kind == "human":
            raise ValueError(f"{self.name} has no joints to command")
        x = self._last_axis(x, self.action_dim, "action")
        return self.action_closed + x * (self.action_open - self.action_closed) if self.kind == "gripper" else x

    def _last_axis(self, value: np.ndarray, size: int, what: str) -> np.ndarray:
        value = np.asarray(value)
        if value.ndim == 0 or value.shape[-1] != size:
            raise ValueError(f"{self.name}: {what} must have shape (..., {size}), got {value.shape}")
        return value


def finger_chain(embodiment: Embodiment, finger: str) -> tuple[Hinge, ...]:
    """The hinges from the palm to the tip of ``finger``.

    Raises:
        KeyError: The embodiment has no such finger.
    """
    hinge, chain = embodiment.hinge(embodiment.fingertips[finger].hinge), []
    while True:
        chain.append(hinge)
        if hinge.parent is None:
            return tuple(chain[::-1])
        hinge = embodiment.hinge(hinge.parent)


def finger_by_hinge(embodiment: Embodiment) -> dict[str | None, str]:
    """Map each hinge (None: the base) to the finger that it moves, or to ``palm`` if it moves several fingers or none."""
    moves: dict[str | None, list[str]] = {None: [], **{name: [] for name in embodiment.hinge_names}}
    for finger in embodiment.fingertips:
        for hinge in finger_chain(embodiment, finger):
            moves[hinge.name].append(finger)
    return {name: fingers[0] if len(fingers) == 1 else PALM for name, fingers in moves.items()}
