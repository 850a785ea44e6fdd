"""Retargeter: human keypoints to joints of one embodiment.

Hands are retargeted by keyvectors. The field ``correspondence`` of the embodiment decides on the targets of the fingertips. With
``fingers``, the vector from each knuckle to its fingertip is scaled by the ratio of the lengths of the person's and the robot's
finger, so that hands of other proportions move alike; the scale, origin and rotation of the thumb are fitted
(:mod:`latent_policy_ros.retargeting.correspondence_fit`). With ``hand``, all fingertips have one scale and one fitted origin, so
that their arrangement stays similar to the person's.

The vectors from the thumb tip to the other tips are not scaled, because the objects between the fingers do not grow with the hand;
they are shortened when the person's tips touch, and the weight of vector and length grows as the tips come near, so that the robot
pinches when the person pinches. Joint limits and couplings hold exactly.

For grippers, the distance of the jaws is the shortest vector from the person's thumb tip to another tip (Bauer et al. 2025).
"""

from __future__ import annotations

import os
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import lru_cache, partial
from typing import Protocol

import numpy as np

from latent_policy_ros.embodiments import Embodiment, HandKinematics
from latent_policy_ros.embodiments.human.human_hand import HumanHand
from latent_policy_ros.embodiments.human.keypoints import BASES, TIPS, KeypointsRefused, to_hand_frame
from latent_policy_ros.retargeting.checks.geometry_checks import require_plausible
from latent_policy_ros.retargeting.correspondence_fit import fit_correspondence
from latent_policy_ros.retargeting.human_motion.generator import generate_motion
from latent_policy_ros.retargeting.retarget_kernel import (
    ALL_FRAMES,
    MAX_STEP,
    MIN_FINGER_LENGTH,
    Correspondence,
    JointBounds,
    RetargetState,
    limit_steps,
    retarget_frames,
)
from latent_policy_ros.retargeting.solver import keyvectors

REFERENCE_SECONDS, REFERENCE_FPS = 24.0, 10.0  # of the generated motion that correspondences are fitted to
ANCHOR = BASES["middle"]  # keypoint from which fingertips are measured if the hand corresponds as a whole
GRIPPER_CONTACT = 0.012  # distance of a person's tips [m] at which the jaws are closed
TRAVEL_PER_RADIAN = 0.05  # travel of a prismatic joint [m] that counts as 1 rad of a revolute one

# (keypoints (T, 21, 3) [m], dt [s] or 0 if unknown, q (T, n)): retargets successive frames and writes the joints to q.
_RetargetFrames = Callable[[np.ndarray, float, np.ndarray], None]

_FITTED: dict[tuple[str, str, bytes], Correspondence] = {}  # by content hash, kind of correspondence and rest pose


class Retargeter:
    """Retargeting to one embodiment, frame by frame (:meth:`retarget`) or for recordings (:meth:`retarget_sequence`).

    Both give the same joints: every frame starts from the one before it. Keypoints [m] are those of a right hand, in any frame; the
    size of the person's hand is measured. A left embodiment moves as the mirror image of its right one.

    Between two frames, a joint of a hand moves by at most the turn of the person's fastest bone plus 0.02 rad, and by at most
    0.5 rad. If the time ``dt`` [s] between frames is given, joints also keep to ``max_velocity``. The joint of a gripper has the
    bounds of 0.5 rad and ``max_velocity`` only.

    Args:
        embodiment: A hand or gripper.

    Attributes:
        embodiment: As given.

    Raises:
        ValueError: The embodiment is the human hand.
        ConfigError: Its lengths are implausible, e.g. in millimetres.
    """

    def __init__(self, embodiment: Embodiment) -> None:
        if embodiment.kind == "human":
            raise ValueError(f"{embodiment.name} is of kind human; expected a hand or gripper")
        require_plausible(embodiment)
        self.embodiment = embodiment
        self._method: _Method = _GripperMethod(embodiment) if embodiment.kind == "gripper" else _HandMethod(embodiment)
        self.reset()

    def reset(self) -> None:
        """Forget the frames so far; the next one is a first frame."""
        self._retarget_frames = self._method.start()

    def retarget(self, keypoints: np.ndarray, dt: float | None = None) -> np.ndarray:
        """Retarget one frame: keypoints (21, 3) [m] to joints q (n,).

        Args:
            keypoints: Of a right hand.
            dt: Time since the last frame [s], if known.

        Raises:
            KeypointsRefused: Wrong shape, not finite, or not a hand. The state stays as after the last valid frame.
        """
        keypoints = np.ascontiguousarray(keypoints, dtype=np.float64)
        if keypoints.shape != (21, 3):
            raise KeypointsRefused(f"keypoints must have shape (21, 3), got {keypoints.shape}")
        q = np.empty((1, len(self.embodiment.joint_names)))
        self._retarget_frames(keypoints[None], dt or 0.0, q)
        return q[0]

    def retarget_sequence(self, keypoints: np.ndarray, dt: float | None = None) -> np.ndarray:
        """Retarget S independent recordings of T frames: keypoints (S, T, 21, 3) [m] to joints (S, T, n).

        Raises:
            KeypointsRefused: Wrong shape, not finite, or not a hand; the message gives recording and frame.
        """
        keypoints = np.ascontiguousarray(keypoints, dtype=np.float64)
        if keypoints.ndim != 4 or keypoints.shape[2:] != (21, 3):
            raise KeypointsRefused(f"keypoints must have shape (S, T, 21, 3), got {keypoints.shape}")
        q = np.empty((*keypoints.shape[:2], len(self.embodiment.joint_names)))

        def retarget(s: int) -> None:
            self._method.start()(keypoints[s], dt or 0.0, q[s])

        with ThreadPoolExecutor(os.cpu_count()) as threads:  # the compiled code releases the GIL
            for s, done in enumerate([threads.submit(retarget, s) for s in range(len(keypoints))]):
                try:
                    done.result()
                except KeypointsRefused as refused:
                    raise KeypointsRefused(f"recording {s}: {refused}") from None
        return q

    def wanted_fingertips(self, keypoints: np.ndarray) -> np.ndarray:
        """Fingertip targets of a hand without regard to reach and contact: (T, 21, 3) -> (T, F, 3) [m, hand frame].

        Raises:
            ValueError: The embodiment is a gripper.
        """
        if not isinstance(self._method, _HandMethod):
            raise ValueError(f"{self.embodiment.name} is of kind {self.embodiment.kind}; expected a hand")
        return self._method.wanted_fingertips(to_hand_frame(keypoints))


class _Method(Protocol):
    """Retargeting method of a kind of embodiment."""

    def start(self) -> _RetargetFrames:
        """Start a recording; the returned function retargets its frames in order and keeps the state between its calls."""


class _HandMethod:
    """Retargeting of a hand by keyvectors."""

    def __init__(self, embodiment: Embodiment) -> None:
        kinematics = HandKinematics(embodiment)
        self._fingers = kinematics.fingers
        # A left hand is solved as its mirror image, a right hand that moves alike with the same q.
        self._mirror = mirror = np.array([1.0, -1.0 if embodiment.side == "left" else 1.0, 1.0])
        chains = [mirror * _from_knuckle(finger, chain) for finger, chain in kinematics.fingers_at_zero().items()]
        bones = [np.linalg.norm(np.diff(chain, axis=0), axis=1) for chain in chains]
        count, whole_hand = len(chains), embodiment.correspondence == "hand"
        bases, lengths = np.array([BASES[finger] for finger in self._fingers]), np.array([along.sum() for along in bones])
        origins = np.array([chain[0] for chain in chains])
        initial = Correspondence(
            whole_hand=whole_hand,
            bases=bases,
            tips=np.array([TIPS[finger] for finger in self._fingers]),
            anchors=np.full(count, ANCHOR) if whole_hand else bases,
            origins=np.tile(origins[1:].mean(axis=0), (count, 1)) if whole_hand else origins,
            rotations=np.tile(np.eye(3), (count, 1, 1)),
            lengths=np.full(count, lengths.mean()) if whole_hand else lengths,
            last_bones=np.array([along[-1] for along in bones]),
        )
        tree = kinematics.tree_in_hand_frame(mirror)
        tips, hinges = list(range(count)), list(range(count, 2 * count))  # indices of the points of the tree
        self._vectors = keyvectors(tree, [-1] * count + [0] * (count - 1) + hinges, tips + tips[1:] + tips)
        self._joints = JointBounds(
            embodiment.lower.copy(), embodiment.upper.copy(), embodiment.rest.copy(), embodiment.max_velocity.copy(),
            _per_radian(embodiment),
        )  # fmt: skip
        key = embodiment.content_hash, embodiment.correspondence, embodiment.rest.tobytes()
        if key not in _FITTED:
            _FITTED[key] = fit_correspondence(initial, lambda trial: self._reference_tips(trial, kinematics))
        self._hand_map = _FITTED[key]

    def _reference_tips(self, hand_map: Correspondence, kinematics: HandKinematics) -> tuple[np.ndarray, np.ndarray]:
        """Fingertips in the reference motion, (T, F, 3) each: the person's from their anchors, in lengths; the robot's [m]."""
        hands = _reference_hands()
        q = np.empty((len(hands), len(self._joints.rest)))
        retarget_frames(self._vectors, hand_map, self._joints, self._initial_state(), hands, 0.0, q)
        vectors, lengths = _from_anchors(hand_map, hands)
        return vectors / lengths[..., None], self._mirror * kinematics.fingertips(q)

    def start(self) -> _RetargetFrames:
        return partial(self._retarget, self._initial_state())

    def _initial_state(self) -> RetargetState:
        """State before the first frame."""
        n, count = len(self._joints.rest), len(self._fingers)
        return RetargetState(np.zeros(1, dtype=np.int64), np.zeros(n), np.zeros((20, 3)), np.zeros(count))

    def wanted_fingertips(self, hands: np.ndarray) -> np.ndarray:
        """Targets of the fingertips (T, F, 3) [m] for a recording (T, 21, 3) in the hand frame."""
        hand_map = self._hand_map
        vectors, lengths = _from_anchors(hand_map, hands)
        vectors = (hand_map.lengths / lengths.mean(axis=0))[:, None] * vectors
        return self._mirror * (hand_map.origins + np.einsum("frc,tfc->tfr", hand_map.rotations, vectors))

    def _retarget(self, state: RetargetState, keypoints: np.ndarray, dt: float, q: np.ndarray) -> None:
        """Write the joints q (T, n) for keypoints (T, 21, 3) and update ``state``."""
        rejected = retarget_frames(self._vectors, self._hand_map, self._joints, state, keypoints, dt, q)
        if rejected != ALL_FRAMES:
            try:
                hand = to_hand_frame(keypoints[rejected])  # raises with the reason
            except KeypointsRefused as error:
                raise KeypointsRefused(f"frame {rejected}: {error}" if len(keypoints) > 1 else str(error)) from None
            for finger, base, tip in zip(self._fingers, self._hand_map.bases, self._hand_map.tips, strict=True):
                if np.linalg.norm(np.diff(hand[base : tip + 1], axis=0), axis=1).sum() < MIN_FINGER_LENGTH:
                    raise KeypointsRefused(f"frame {rejected}: the {finger} has a length of zero")
            raise KeypointsRefused(f"frame {rejected}: not a hand")


def _from_anchors(hand_map: Correspondence, hands: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Vectors (T, F, 3) [m] from the anchors to the fingertips of hands (T, 21, 3), and the person's lengths (T, F) [m]."""
    bones = np.stack([hands[:, base : tip + 1] for base, tip in zip(hand_map.bases, hand_map.tips, strict=True)], axis=1)
    lengths = np.linalg.norm(np.diff(bones, axis=2), axis=-1).sum(axis=-1)
    if hand_map.whole_hand:
        lengths[:] = lengths.mean(axis=1, keepdims=True)
    return hands[:, hand_map.tips] - hands[:, hand_map.anchors], lengths


def _from_knuckle(finger: str, chain: np.ndarray) -> np.ndarray:
    """Points of a finger without a moving metacarpal: the first of at least four bones, if it is longer than all others."""
    bones = np.linalg.norm(np.diff(chain, axis=0), axis=1)
    return chain[1:] if finger != "thumb" and len(bones) > 3 and bones[0] > bones[1:].max() else chain


def _per_radian(embodiment: Embodiment) -> np.ndarray:
    """Motion (n,) of each joint that counts as one radian: 1 rad, or a travel [m]."""
    return np.array([1.0 if embodiment.hinge(name).kind == "revolute" else TRAVEL_PER_RADIAN for name in embodiment.joint_names])


@lru_cache(maxsize=1)
def _reference_hands() -> np.ndarray:
    """Generated motion of an average hand, keypoints (T, 21, 3), for the fit of correspondences."""
    return to_hand_frame(generate_motion(0, REFERENCE_SECONDS, REFERENCE_FPS, HumanHand()).keypoints)


class _GripperMethod:
    """Retargeting of a gripper: the shortest vector from the thumb tip to another tip is the distance between the jaws."""

    def __init__(self, embodiment: Embodiment) -> None:
        self._embodiment = embodiment
        opening = np.linspace(0.0, 1.0, 101)[:, None]
        tips = HandKinematics(embodiment).fingertips(embodiment.to_joints(opening))
        gaps = np.linalg.norm(tips[:, 0] - tips[:, 1], axis=-1)
        self._gaps, self._opening = np.maximum.accumulate(gaps), opening[:, 0]

    def start(self) -> _RetargetFrames:
        return partial(self._retarget, np.full(1, np.nan))

    def _retarget(self, state: np.ndarray, keypoints: np.ndarray, dt: float, q: np.ndarray) -> None:
        """Write the joint q (T, 1) for keypoints (T, 21, 3) and update ``state`` (1,): the last q, NaN before the first frame."""
        keypoints = to_hand_frame(keypoints)
        tips = keypoints[:, [TIPS[finger] for finger in TIPS if finger != "thumb"]]
        gap = np.linalg.norm(tips - keypoints[:, [TIPS["thumb"]]], axis=-1).min(axis=1) - GRIPPER_CONTACT
        q[:] = self._embodiment.to_joints(np.interp(gap, self._gaps, self._opening)[:, None])
        step = MAX_STEP * _per_radian(self._embodiment)[0]
        limit_steps(q, state, min(step, dt * self._embodiment.max_velocity[0]) if dt > 0 else step)
