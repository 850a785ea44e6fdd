"""Defaults of an embodiment, derived from its geometry: rest pose, hand frame, gripper range, shape and servo."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from functools import cached_property

import numpy as np

from latent_policy_ros.embodiments.description.mechanism import Mechanism
from latent_policy_ros.embodiments.human.keypoints import PINCH_AXIS, pinch_point
from latent_policy_ros.embodiments.model.schema import Servo, Shape, read_only

PALM_PER_FINGER = 0.093 / 0.105  # wrist to middle knuckle, in lengths of the middle finger: an average person's (HumanHand)
# Direction from the palm to the pinch, hand frame; perpendicular to PINCH_AXIS. A gripper's hand frame is placed so that a
# person's hand in this frame would pinch between the jaws.
PINCH_AHEAD = np.array([PINCH_AXIS[2], 0.0, -PINCH_AXIS[0]])
REST_BEND, HALF_BEND = 0.2, 0.5  # share of the way from straight to bent: in the rest pose, and to find the side of the palm
ONE_SIDED = 1.3  # a joint bends a finger to the end of its range that is farther by this factor; else it has no such end
MAX_SPREAD_RANGE = 1.2  # a joint with a larger range [rad] places a finger; one with a smaller range may only spread it
REST_GAP = 0.04  # thumb tip to the nearest fingertip in the rest pose [m]
THUMB_TRIALS, SEED = 400, 0
GRIPPER_SAMPLES = 401
KNUCKLE_SHARE = 0.25  # hinges nearer to a finger's first one than this share of its length are parts of one knuckle
SIDE_SHARE = 0.1  # a straight thumb whose tip is less than this share of a finger's length off the middle has no side
CROSSING = 1e-4  # tips that come nearer inside the range than at its end, by more than this [m], cross each other


class EmbodimentDefaults:
    """Defaults derived from a mechanism and its joint limits.

    Args:
        mechanism: Hinges and fingertips.
        coupling: Positions of the hinges are ``coupling @ q``, shape (n_hinges, n).
        lower, upper: Limits of the joints, shape (n,).

    Attributes:
        fingers: Names of the fingers.
        lengths: Length of each finger along its links, from its first hinge to its tip [m].
    """

    def __init__(self, mechanism: Mechanism, coupling: np.ndarray, lower: np.ndarray, upper: np.ndarray) -> None:
        self._mechanism, self._coupling, self._lower, self._upper = mechanism, coupling, lower, upper
        self.fingers = tuple(mechanism.fingertips)
        self._at = {hinge.name: hinge for hinge in mechanism.hinges}
        self._rows = rows = {hinge.name: i for i, hinge in enumerate(mechanism.hinges)}
        self._chains = {finger: self._chain(finger) for finger in self.fingers}
        self._joints = {
            finger: np.flatnonzero(coupling[[rows[name] for name in chain]].any(axis=0)) for finger, chain in self._chains.items()
        }
        self.lengths = {finger: self._length(finger, chain) for finger, chain in self._chains.items()}

    @property
    def own_lengths(self) -> dict[str, float]:
        """Length of each finger from the first hinge that moves no other finger to its tip [m]."""
        counts = Counter(name for chain in self._chains.values() for name in chain)
        return {
            finger: self._length(finger, [name for name in self._chains[finger] if counts[name] == 1]) for finger in self.fingers
        }

    def tips(self, q: np.ndarray) -> dict[str, np.ndarray]:
        """Fingertips [m] in the base frame by finger: (B, n) -> (B, 3) each."""
        bodies = self._mechanism.body_motions(q @ self._coupling.T)
        tips = self._mechanism.fingertips
        return {finger: bodies[tip.hinge][:, :3, :3] @ tip.point + bodies[tip.hinge][:, :3, 3] for finger, tip in tips.items()}

    @cached_property
    def straight(self) -> np.ndarray:
        """The pose (n,) with straight fingers: zero, except for joints at which a finger is longer elsewhere in their range.

        Joints that spread fingers are in the middle of their range.
        """
        q = np.where(self._spreads(), (self._lower + self._upper) / 2, np.clip(0.0, self._lower, self._upper))
        for finger in self.fingers:
            knuckle = self._at[self._chains[finger][0]].point
            for joint in self._joints[finger]:
                moved = [self._at[name].point for name in self._chains[finger] if self._coupling[self._rows[name], joint]]
                if np.linalg.norm(moved - knuckle, axis=1).max() < KNUCKLE_SHARE * self.lengths[finger]:
                    continue  # hinges at the knuckle change the distance to the tip only by the offsets of their axes
                trials = np.tile(q, (41, 1))
                trials[:, joint] = np.linspace(self._lower[joint], self._upper[joint], 41)
                reach = np.linalg.norm(self.tips(np.vstack((q, trials)))[finger] - knuckle, axis=1)
                if reach.max() > reach[0] + 0.03 * self.lengths[finger]:
                    q = np.vstack((q, trials))[reach.argmax()]
        return q

    @cached_property
    def bent(self) -> np.ndarray:
        """The pose (n,) with every joint at the end of its range that is farther from straight; others stay straight.

        In a finger without such a joint, each joint goes to the end where the fingertip is nearer to the thumb's.
        """
        straight = self.straight
        down, up = straight - self._lower, self._upper - straight
        q = np.where(up > ONE_SIDED * down, self._upper, np.where(down > ONE_SIDED * up, self._lower, straight))
        for finger in self.fingers:
            joints = self._joints[finger]
            if finger == "thumb" or (q[joints] != straight[joints]).any():
                continue
            for joint in joints:
                ends = np.tile(q, (2, 1))
                ends[:, joint] = self._lower[joint], self._upper[joint]
                tips = self.tips(ends)
                q = ends[np.linalg.norm(tips[finger] - tips["thumb"], axis=1).argmin()]
        return q

    def rest(self) -> np.ndarray:
        """The rest pose (n,): fingers slightly bent, the thumb tip in front of them.

        The thumb's joints are the best of ``THUMB_TRIALS`` random samples.
        """
        q = self.straight + REST_BEND * (self.bent - self.straight)
        others = [joint for finger in self.fingers if finger != "thumb" for joint in self._joints[finger]]
        thumb = np.setdiff1d(self._joints["thumb"], others)
        if not len(thumb):
            return read_only(np.clip(q, self._lower, self._upper))
        middle = (self._lower + self._upper) / 2
        trials = np.tile(q, (THUMB_TRIALS, 1))
        shares = np.random.default_rng(SEED).uniform(0.05, 0.95, (THUMB_TRIALS, len(thumb)))
        trials[:, thumb] = self._lower[thumb] + shares * (self._upper - self._lower)[thumb]
        tips = self.tips(trials)
        gaps = [np.linalg.norm(tips[finger] - tips["thumb"], axis=1) for finger in self.fingers if finger != "thumb"]
        strain = np.square((trials - middle) / (self._upper - self._lower))[:, thumb].sum(axis=1)
        cost = np.square((np.min(gaps, axis=0) - REST_GAP) / REST_GAP) + 0.5 * strain
        return read_only(np.clip(trials[cost.argmin()], self._lower, self._upper))

    def hand_frame(self, side: str) -> np.ndarray | str:
        """T_base_hand (4, 4) of a hand, or the reason why the geometry does not determine it."""
        half_bent = self.straight + HALF_BEND * (self.bent - self.straight)
        poses, axes = self.tips(np.array([self.straight, half_bent])), self._last_axes(self.straight)
        fingers = [finger for finger in self.fingers if finger != "thumb" and self.lengths[finger] > 0]
        z, palm, knuckles = np.zeros(3), np.zeros(3), {}
        for finger in fingers:
            knuckles[finger] = self._at[self._chains[finger][0]].point
            along = poses[finger][0] - knuckles[finger]
            along -= axes[finger] * (axes[finger] @ along)  # the first hinge may have an offset along the axis of bending
            z += along / max(np.linalg.norm(along), 1e-9)
            palm += (poses[finger][1] - poses[finger][0]) / self.lengths[finger]
        if np.linalg.norm(z) < 0.5:
            return "the fingers do not point in one direction"
        z /= np.linalg.norm(z)
        across = palm - z * (z @ palm)
        if np.linalg.norm(across) < 0.1 * len(fingers):
            return "the joints do not bend the fingers to one side"
        x = across / np.linalg.norm(across)
        y = np.cross(z, x)
        sideways = y @ (poses["thumb"][0] - np.mean(list(knuckles.values()), axis=0))
        if abs(sideways) < SIDE_SHARE * np.median(list(self.lengths.values())) and len(fingers) > 1:
            sideways = y @ (knuckles[fingers[0]] - knuckles[fingers[-1]])  # a thumb in the middle: the index is on its side
        if (sideways > 0) != (side == "right"):
            other = "left" if side == "right" else "right"
            return f"the tip of the thumb is on the side of a {other} hand; write side: {other} if it is one"
        first = "middle" if "middle" in fingers else fingers[0]
        origin = knuckles[first] - PALM_PER_FINGER * self.lengths[first] * z
        return _frame(x, z, origin)

    def gripper_frame(self, closed: float, opened: float, side: str) -> np.ndarray | str:
        """T_base_hand (4, 4) of a gripper, or the reason why the geometry does not determine it."""
        firsts = [self._at[self._chains[finger][0]] for finger in self.fingers if len(self._joints[finger])]
        tips = self.tips(np.array([[closed + 0.25 * (opened - closed)]]))
        thumb, index = (tips[finger][0] for finger in ("thumb", "index"))
        across, pinch = index - thumb, (index + thumb) / 2
        if np.linalg.norm(across) < 1e-4:
            return "the tips of the jaws do not move apart when the gripper opens"
        across /= np.linalg.norm(across)
        ahead = pinch - np.mean([hinge.point for hinge in firsts], axis=0)
        for sideways in (*(hinge.axis for hinge in firsts if hinge.kind == "revolute"), across):
            ahead -= sideways * (sideways @ ahead)  # a hinge's point is arbitrary along its axis
        if np.linalg.norm(ahead) < 1e-3:
            ahead = pinch - across * (across @ pinch)
        if np.linalg.norm(ahead) < 1e-3:
            return "the jaws do not point away from the base"
        ahead /= np.linalg.norm(ahead)
        z, x = (PINCH_AXIS[i] * across + PINCH_AHEAD[i] * ahead for i in (2, 0))
        frame = _frame(x, z, np.zeros(3))
        frame[:3, 3] = pinch - frame[:3, :3] @ pinch_point(side)
        return frame

    def gripper_ends(self) -> tuple[float, float]:
        """(q when closed, q when open) of a gripper: where its tips are nearest, and where they are farthest apart.

        These are the ends of its range, unless the tips cross inside it, or come nearer again when it opens further.
        """
        q = np.linspace(self._lower, self._upper, GRIPPER_SAMPLES)
        tips = self.tips(q)
        gap = np.linalg.norm(tips["index"] - tips["thumb"], axis=1)
        closed = 0 if gap[0] < gap[-1] else len(q) - 1
        if gap.min() < gap[closed] - CROSSING:
            closed = int(gap.argmin())
        opened = int(gap[: closed + 1].argmax()) if gap[0] > gap[-1] else closed + int(gap[closed:].argmax())
        return float(q[closed, 0]), float(q[opened, 0])

    def shape(self) -> Shape:
        """Radii in proportion to the length of the fingers: a person's finger is a sixth as thick as it is long."""
        length = float(np.median([length for length in self.lengths.values() if length > 0.0] or [0.1]))
        radius = round(float(np.clip(length / 12.0, 0.006, 0.012)), 4)
        return Shape(radius, radius, round(1.4 * radius, 4))

    def servo(self, efforts: Mapping[str, float]) -> Servo:
        """Gains for a hand of usual size; the effort limit is the median of ``efforts`` [N m], clipped to 0.3 to 5."""
        if all(hinge.kind == "prismatic" for hinge in self._mechanism.hinges):
            return Servo(kp=1000.0, damping=50.0, max_effort=40.0, armature=0.1)
        effort = float(np.median(list(efforts.values()))) if efforts else 1.0
        return Servo(kp=3.0, damping=0.2, max_effort=float(np.clip(effort, 0.3, 5.0)), armature=0.001)

    def _spreads(self) -> np.ndarray:
        """Mask (n,) of the joints that only spread fingers: small range, and an axis across that of each finger's last joint."""
        axes = self._last_axes(np.zeros(len(self._lower)))
        spreads, bends = np.zeros(len(self._lower), dtype=bool), np.zeros(len(self._lower), dtype=bool)
        for finger in (finger for finger in self.fingers if finger != "thumb"):
            for name in self._chains[finger]:
                moved = self._coupling[self._rows[name]] != 0.0
                across = abs(self._at[name].axis @ axes[finger]) < 0.5
                spreads, bends = spreads | (moved & across), bends | (moved & ~across)
        return spreads & ~bends & (self._upper - self._lower < MAX_SPREAD_RANGE)

    def _last_axes(self, q: np.ndarray) -> dict[str, np.ndarray]:
        """Axis (3,) of each finger's last joint at the pose q (n,), base frame; zeros if it is prismatic."""
        bodies = self._mechanism.body_motions(q[None] @ self._coupling.T)
        last = {finger: self._at[chain[-1]] for finger, chain in self._chains.items()}
        return {f: bodies[h.name][0, :3, :3] @ h.axis * (h.kind == "revolute") for f, h in last.items()}

    def _chain(self, finger: str) -> list[str]:
        """Names of the hinges from the base to a fingertip."""
        chain: list[str] = []
        at: str | None = self._mechanism.fingertips[finger].hinge
        while at is not None:
            chain.insert(0, at)
            at = self._at[at].parent
        return chain

    def _length(self, finger: str, hinges: Sequence[str]) -> float:
        """Length of a finger along these hinges and its tip [m]."""
        points = [self._at[name].point for name in hinges] + [self._mechanism.fingertips[finger].point]
        return float(np.linalg.norm(np.diff(points, axis=0), axis=1).sum())


def _frame(x: np.ndarray, z: np.ndarray, origin: np.ndarray) -> np.ndarray:
    """Pose (4, 4) with these axes, y = z cross x, and this origin."""
    frame = np.eye(4)
    frame[:3] = np.column_stack((x, np.cross(z, x), z, origin))
    return frame
