"""Human keypoints -> joints of one embodiment.

Hands: keyvectors. Each fingertip as seen from its own knuckle is scaled by the ratio of the two fingers' lengths, so
that hands with other palms and other fingers move alike (the thumb's scale and place are fitted, see :mod:`fitting`); the
vectors from the thumb's tip to the other tips are kept in metres, vanish when the person's fingertips touch, and weigh more
the nearer these are, so that what the person pinches the robot pinches too: the objects between the fingers do not grow
with the hand. Limits and couplings hold exactly.

Grippers: the smallest keyvector that starts at the thumb's tip, as the distance of the jaws (Bauer et al. 2025).
"""

from __future__ import annotations

import os
from concurrent.futures import ThreadPoolExecutor
from functools import lru_cache

import numpy as np

from latent_policy_ros.embodiments import Embodiment, HandKinematics
from latent_policy_ros.embodiments.human.human_hand import BASES, TIPS, HumanHand
from latent_policy_ros.embodiments.human.keypoints import KeypointsRefused, to_hand_frame
from latent_policy_ros.retargeting.human_motion.generator import generate_motion
from latent_policy_ros.retargeting.retarget_kernel import CONTACT, FINE, LARGEST, Joints, Match, State, follow, pace
from latent_policy_ros.retargeting.solver import keyvectors
from latent_policy_ros.retargeting.thumb_fit import fit_thumb

REFERENCE_SECONDS, REFERENCE_FPS = 24.0, 10.0
TRAVEL = 0.05  # a prismatic joint may travel so far [m] where a hinge may turn 1 rad

_FITTED: dict[tuple[str, bytes], Match] = {}


class Retargeter:
    """Retargets to one embodiment, frame by frame (:meth:`retarget`) or whole recordings (:meth:`retarget_sequence`).

    Both give the same: each frame starts from the one before it. Keypoints [m] of a right hand may come in any frame; a
    person's size is measured on the way. A left embodiment does what its mirror image would.

    No joint of a hand moves further between two frames than the person's fastest bone turned (and 0.02 rad to settle), nor,
    where ``dt`` [s] between frames is given, any faster than ``max_velocity``; a gripper's opening follows the person's at once.
    """

    def __init__(self, embodiment: Embodiment) -> None:
        if embodiment.kind == "human":
            raise ValueError(f"{embodiment.name} is not a robot: there is nothing to retarget to")
        self.embodiment = embodiment
        self._method = _Jaws(embodiment) if embodiment.kind == "gripper" else _Fingers(embodiment)
        self.reset()

    def reset(self) -> None:
        """Forget the pose before: the next one starts afresh."""
        self._state = self._method.fresh()

    def retarget(self, keypoints: np.ndarray, dt: float | None = None) -> np.ndarray:
        """Joints q (n,) for keypoints (21, 3) [m], near those of the call before.

        Raises:
            KeypointsRefused: Wrong shape, not finite, or not a hand. The pose before is kept.
        """
        keypoints = np.ascontiguousarray(keypoints, dtype=np.float64)
        if keypoints.shape != (21, 3):
            raise KeypointsRefused(f"keypoints must have shape (21, 3), got {keypoints.shape}")
        q = np.empty((1, len(self.embodiment.joint_names)))
        self._method.follow(self._state, keypoints[None], dt or 0.0, q)
        return q[0]

    def retarget_sequence(self, keypoints: np.ndarray, dt: float | None = None) -> np.ndarray:
        """Joints (S, T, n) for S recordings of T frames, keypoints (S, T, 21, 3) [m]; the recordings are independent.

        Raises:
            KeypointsRefused: Wrong shape, not finite, or not a hand; says which frame.
        """
        keypoints = np.ascontiguousarray(keypoints, dtype=np.float64)
        if keypoints.ndim != 4 or keypoints.shape[2:] != (21, 3):
            raise KeypointsRefused(f"keypoints must have shape (S, T, 21, 3), got {keypoints.shape}")
        q = np.empty((*keypoints.shape[:2], len(self.embodiment.joint_names)))

        def one(s: int) -> None:
            self._method.follow(self._method.fresh(), keypoints[s], dt or 0.0, q[s])

        with ThreadPoolExecutor(os.cpu_count()) as threads:  # the compiled code holds no lock
            for s, done in enumerate([threads.submit(one, s) for s in range(len(keypoints))]):
                try:
                    done.result()
                except KeypointsRefused as refused:
                    raise KeypointsRefused(f"recording {s}: {refused}") from None
        return q

    def wanted_fingertips(self, keypoints: np.ndarray) -> np.ndarray:
        """Where a hand's fingertips would be, were reach and contact no matter: (T, 21, 3) -> (T, F, 3) [m, hand frame]."""
        return self._method.wanted(to_hand_frame(keypoints))


class _Fingers:
    """Keyvector retargeting of a hand."""

    def __init__(self, embodiment: Embodiment) -> None:
        kinematics = HandKinematics(embodiment)
        self._fingers = kinematics.fingers
        # The mirror image of a left hand is a right one, which the same q moves alike.
        self._mirror = mirror = np.array([1.0, -1.0 if embodiment.side == "left" else 1.0, 1.0])
        chains = [mirror * _from_knuckle(finger, chain) for finger, chain in kinematics.fingers_at_zero().items()]
        bones = [np.linalg.norm(np.diff(chain, axis=0), axis=1) for chain in chains]
        match = Match(
            bases=np.array([BASES[finger] for finger in self._fingers]),
            tips=np.array([TIPS[finger] for finger in self._fingers]),
            origins=np.array([chain[0] for chain in chains]),
            turns=np.tile(np.eye(3), (len(chains), 1, 1)),
            lengths=np.array([lengths.sum() for lengths in bones]),
            last_bones=np.array([lengths[-1] for lengths in bones]),
        )
        tree, count = kinematics.tree_in_hand_frame(mirror), len(chains)
        tips, hinges = list(range(count)), list(range(count, 2 * count))  # of the points that the tree carries
        self._vectors = keyvectors(tree, [-1] * count + [0] * (count - 1) + hinges, tips + tips[1:] + tips)
        self._joints = Joints(
            embodiment.lower.copy(), embodiment.upper.copy(), embodiment.rest.copy(), embodiment.max_velocity.copy(),
            _per_radian(embodiment),
        )  # fmt: skip
        key = embodiment.content_hash, embodiment.rest.tobytes()
        if key not in _FITTED:
            _FITTED[key] = fit_thumb(match, lambda trial: self._reach(trial, kinematics, mirror))
        self._match = _FITTED[key]

    def _reach(self, match: Match, kinematics: HandKinematics, mirror: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """The thumb of a person (as a share of its length) and of this robot [m] in the reference poses, (T, 3) each."""
        hands = _reference_hands()
        q = np.empty((len(hands), len(self._joints.rest)))
        follow(self._vectors, match, self._joints, self.fresh(), hands, 0.0, q)
        thumb = hands[:, match.bases[0] : match.tips[0] + 1]
        length = np.linalg.norm(np.diff(thumb, axis=1), axis=-1).sum(axis=-1, keepdims=True)
        return (thumb[:, -1] - thumb[:, 0]) / length, mirror * kinematics.fingertips(q)[:, 0]

    def fresh(self) -> State:
        n, count = len(self._joints.rest), len(self._fingers)
        return State(np.zeros(1, dtype=np.int64), np.zeros(n), np.zeros((20, 3)), np.zeros(count))

    def wanted(self, hands: np.ndarray) -> np.ndarray:
        """Targets of the fingertips (T, F, 3) for one recording of hands (T, 21, 3) in the hand frame."""
        match = self._match
        bones = np.stack([hands[:, base : tip + 1] for base, tip in zip(match.bases, match.tips, strict=True)], axis=1)
        lengths = np.linalg.norm(np.diff(bones, axis=2), axis=-1).sum(axis=-1).mean(axis=0)
        reach = (match.lengths / lengths)[:, None] * (bones[:, :, -1] - bones[:, :, 0])
        return self._mirror * (match.origins + np.einsum("frc,tfc->tfr", match.turns, reach))

    def follow(self, state: State, keypoints: np.ndarray, dt: float, q: np.ndarray) -> None:
        """q (T, n) for keypoints (T, 21, 3), going on from ``state``."""
        refused = follow(self._vectors, self._match, self._joints, state, keypoints, dt, q)
        if refused != FINE:
            try:
                hand = to_hand_frame(keypoints[refused])  # says what is wrong
            except KeypointsRefused as error:
                raise KeypointsRefused(f"frame {refused}: {error}" if len(keypoints) > 1 else str(error)) from None
            for finger, base, tip in zip(self._fingers, self._match.bases, self._match.tips, strict=True):
                if np.linalg.norm(np.diff(hand[base : tip + 1], axis=0), axis=1).sum() < 1e-3:
                    raise KeypointsRefused(f"frame {refused}: the {finger} has no length")
            raise KeypointsRefused(f"frame {refused}: not a hand")


def _from_knuckle(finger: str, chain: np.ndarray) -> np.ndarray:
    """A finger's points without a bone of the palm that moves: the first of at least four, longer than all that follow."""
    bones = np.linalg.norm(np.diff(chain, axis=0), axis=1)
    return chain[1:] if finger != "thumb" and len(bones) > 3 and bones[0] > bones[1:].max() else chain


def _per_radian(embodiment: Embodiment) -> np.ndarray:
    """What counts as much as a radian, for each joint (n,): itself, or a travel [m]."""
    return np.array([1.0 if embodiment.hinge(name).kind == "revolute" else TRAVEL for name in embodiment.joint_names])


@lru_cache(maxsize=1)
def _reference_hands() -> np.ndarray:
    """An average hand's keypoints (T, 21, 3) in all kinds of poses, slow enough to be followed."""
    return to_hand_frame(generate_motion(0, REFERENCE_SECONDS, REFERENCE_FPS, HumanHand()).keypoints)


class _Jaws:
    """The smallest keyvector from the thumb's tip, as the distance between the jaws."""

    def __init__(self, embodiment: Embodiment) -> None:
        self._embodiment = embodiment
        opening = np.linspace(0.0, 1.0, 101)[:, None]
        tips = HandKinematics(embodiment).fingertips(embodiment.to_joints(opening))
        gaps = np.linalg.norm(tips[:, 0] - tips[:, 1], axis=-1)
        self._gaps, self._opening = np.maximum.accumulate(gaps), opening[:, 0]

    def fresh(self) -> np.ndarray:
        return np.full(1, np.nan)

    def follow(self, state: np.ndarray, keypoints: np.ndarray, dt: float, q: np.ndarray) -> None:
        """q (T, 1) for keypoints (T, 21, 3), going on from ``state``, the q before."""
        keypoints = to_hand_frame(keypoints)
        tips = keypoints[:, [TIPS[finger] for finger in TIPS if finger != "thumb"]]
        gap = np.linalg.norm(tips - keypoints[:, [TIPS["thumb"]]], axis=-1).min(axis=1) - CONTACT
        q[:] = self._embodiment.to_joints(np.interp(gap, self._gaps, self._opening)[:, None])
        reach = LARGEST * _per_radian(self._embodiment)[0]
        pace(q, state, min(reach, dt * self._embodiment.max_velocity[0]) if dt > 0 else reach)
