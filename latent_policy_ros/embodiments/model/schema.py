"""What an embodiment is. Instances are made by :mod:`loader`, which has checked every field."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import numpy as np

from latent_policy_ros.common.errors import available

FINGERS = ("thumb", "index", "middle", "ring", "pinky")


PALM = "palm"


@dataclass(frozen=True)
class Hinge:
    """One degree of freedom of the mechanism, actuated or coupled, given at the zero pose in the palm frame.

    Attributes:
        name: Unique name.
        parent: The hinge one step closer to the palm; None for the palm itself.
        axis: Unit vector of rotation (revolute) or of travel (prismatic), shape (3,).
        point: A point on the axis [m], shape (3,).
        lower: Lower limit [rad], or [m] if prismatic, as the file gives it.
        upper: Upper limit, likewise.
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
    """A contact point: carried by ``hinge``, at ``point`` [m] in the palm frame at the zero pose, shape (3,)."""

    hinge: str
    point: np.ndarray


@dataclass(frozen=True)
class Shape:
    """Radii [m] of the primitive shapes (see :mod:`shapes`) that stand for the hand in collisions and images."""

    link_radius: float
    tip_radius: float
    palm_radius: float


@dataclass(frozen=True)
class Servo:
    """Position servo of each actuated hinge: N m, rad (N, m if prismatic), s, kg m^2 (kg)."""

    kp: float
    damping: float
    max_effort: float
    armature: float


@dataclass(frozen=True)
class Embodiment:
    """A kind of end-effector.

    ``q`` are the actuated joints in the order of ``joint_names``: hinge angles [rad], for a gripper metres per finger,
    or the angle of its jaw [rad].
    ``x`` is the action representation that encoders, decoders and policies see: for hands ``q`` itself, for a gripper
    its opening in [0, 1] (0 closed), for the human hand 189 numbers.

    Attributes:
        name: Unique name, e.g. ``faive_hand``.
        kind: ``hand``, ``gripper`` or ``human``.
        side: ``right`` or ``left``. A left hand's frame is right-handed too: z fingers, x palm, its thumb on -y.
        file: Where it was loaded from.
        reference: What ``load_embodiment`` takes, in any process, to get the same again: a shipped name, or a path.
        joint_names: The n actuated joints.
        lower, upper: Limits of q, shape (n,): narrowed where a coupled hinge would leave its own range.
        max_velocity: Limit of |dq/dt|, shape (n,).
        rest: A relaxed pose q, shape (n,).
        hinges: All hinges, parents before children; coupled ones included.
        coupling: Angles of all hinges are ``coupling @ q``, shape (n_hinges, n), one joint a hinge; a row of zeros is the
            fixed jaw of a gripper.
        fingertips: By finger name.
        T_base_hand: The canonical hand frame in the palm (base) frame, shape (4, 4).
        action_names, action_lower, action_upper: Of x, shape (action_dim,).
        action_closed, action_open: q of a gripper at x = 0 and at x = 1 [m or rad]; without meaning for others.
        shape, servo: For simulation; None for the human hand.
        notes: What was left to be decided when the file was read, for people.
        content_hash: sha256 of all that gives q and x their meaning (not of names of files, comments, radii or gains).
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
    notes: tuple[str, ...]
    content_hash: str

    @property
    def action_dim(self) -> int:
        """Length of x."""
        return len(self.action_names)

    @property
    def hinge_names(self) -> tuple[str, ...]:
        """Names of all hinges, in the order of ``hinges``."""
        return tuple(hinge.name for hinge in self.hinges)

    @property
    def command(self) -> str | None:
        """Which driver and command topic it takes: ``hand``, ``gripper``, or None for a person."""
        return None if self.kind == "human" else self.kind

    def hinge(self, name: str) -> Hinge:
        """The hinge of that name; KeyError if there is none."""
        for hinge in self.hinges:
            if hinge.name == name:
                return hinge
        raise KeyError(f"{self.name} has no hinge {name!r}; {available(self.hinge_names)}")

    def to_action(self, q: np.ndarray) -> np.ndarray:
        """Action representation of joints: (..., n) -> (..., action_dim)."""
        q = self._last_axis(q, len(self.joint_names), "joints")
        return (q - self.action_closed) / (self.action_open - self.action_closed) if self.kind == "gripper" else q

    def to_joints(self, x: np.ndarray) -> np.ndarray:
        """Joints of an action representation: (..., action_dim) -> (..., n). Not clipped: safety is the guard's."""
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
    """The hinges from the palm to the tip of ``finger``. KeyError: it has no such finger."""
    hinge, chain = embodiment.hinge(embodiment.fingertips[finger].hinge), []
    while True:
        chain.append(hinge)
        if hinge.parent is None:
            return tuple(chain[::-1])
        hinge = embodiment.hinge(hinge.parent)


def parts(embodiment: Embodiment) -> dict[str | None, str]:
    """The finger that each hinge moves (None, the base itself: the palm); ``palm`` if it moves several, or none."""
    moves: dict[str | None, list[str]] = {None: [], **{name: [] for name in embodiment.hinge_names}}
    for finger in embodiment.fingertips:
        for hinge in finger_chain(embodiment, finger):
            moves[hinge.name].append(finger)
    return {name: fingers[0] if len(fingers) == 1 else PALM for name, fingers in moves.items()}
