"""Human keypoints -> joints of one embodiment.

Hands: keyvectors. Each fingertip as seen from its own knuckle is scaled by the ratio of the two fingers' lengths, so
that hands with other palms and other fingers move alike; the vectors from the thumb's tip to the other tips are kept in
metres and weigh more the nearer the person's fingertips are, so that what the person pinches the robot pinches too: the
objects between the fingers do not grow with the hand. Limits and couplings hold exactly.

Grippers: the smallest keyvector that starts at the thumb's tip, as a share of the jaws' range (Bauer et al. 2025).
"""

from __future__ import annotations

import numpy as np

from latent_policy_ros.embodiments import Embodiment, HandKinematics
from latent_policy_ros.embodiments.human_hand import BASES, TIPS
from latent_policy_ros.embodiments.keypoints import KeypointsRefused, to_hand_frame
from latent_policy_ros.retargeting.solver import KeyvectorProblem

# Weight of a thumb-to-finger vector relative to a knuckle-to-tip vector: FAR at rest, rising to NEAR when the person's
# fingertips touch; it is halfway where they are PINCH_RANGE [m] apart.
FAR, NEAR, PINCH_RANGE = 0.05, 8.0, 0.04
LAST_BONE = 0.15  # weight of the direction of each finger's last bone: decides where fingertips leave a choice
CONTACT = 0.012  # the tips of a person's touching fingers are this far apart, being a finger's thickness [m]
SMOOTHNESS = 1e-5  # pull to the pose before [m^2/rad^2]: 1 rad weighs as much as 3 mm of one keyvector
REST = 1e-4  # pull to the relaxed pose, likewise: makes the answer one, where fingertips leave a choice
FIRST_STEPS, WARM_STEPS = 40, 6


class Retargeter:
    """Retargets to one embodiment, frame by frame (:meth:`retarget`) or whole recordings (:meth:`retarget_sequence`).

    Both give the same: each frame starts from the one before it. Keypoints [m] may come in any frame; a person's size
    is read off the keypoints.
    """

    def __init__(self, embodiment: Embodiment) -> None:
        if embodiment.kind == "human":
            raise ValueError(f"{embodiment.name} is not a robot: there is nothing to retarget to")
        self.embodiment = embodiment
        self._method = _Jaws(embodiment) if embodiment.kind == "gripper" else _Fingers(embodiment)
        self._last: np.ndarray | None = None

    def reset(self) -> None:
        """Forget the pose before: the next one starts afresh."""
        self._last = None

    def retarget(self, keypoints: np.ndarray) -> np.ndarray:
        """Joints q (n,) for keypoints (21, 3) [m], near those of the call before.

        Raises:
            KeypointsRefused: Wrong shape, not finite, or not a hand. The pose before is kept.
        """
        keypoints = np.asarray(keypoints, dtype=np.float64)
        if keypoints.ndim != 2:
            raise KeypointsRefused(f"keypoints must have shape (21, 3), got {keypoints.shape}")
        self._last = self._method.solve(to_hand_frame(keypoints)[None], self._last)
        return self._last[0].copy()

    def retarget_sequence(self, keypoints: np.ndarray) -> np.ndarray:
        """Joints (S, T, n) for S recordings of T frames, keypoints (S, T, 21, 3) [m]; the recordings are independent.

        Raises:
            KeypointsRefused: Wrong shape, not finite, or not a hand; says which frame.
        """
        keypoints = np.asarray(keypoints, dtype=np.float64)
        if keypoints.ndim != 4:
            raise KeypointsRefused(f"keypoints must have shape (S, T, 21, 3), got {keypoints.shape}")
        keypoints = to_hand_frame(keypoints)
        q = np.empty((*keypoints.shape[:2], len(self.embodiment.joint_names)))
        last = None
        for t in range(keypoints.shape[1]):
            last = q[:, t] = self._method.solve(keypoints[:, t], last)
        return q


class _Fingers:
    """Keyvector retargeting of a hand."""

    def __init__(self, embodiment: Embodiment) -> None:
        kinematics = HandKinematics(embodiment)
        chains = kinematics.fingers_at_zero()
        self._fingers, self._rest = kinematics.fingers, embodiment.rest
        self._lower, self._upper = embodiment.lower, embodiment.upper
        self._knuckles = np.array([chains[finger][0] for finger in self._fingers])
        self._lengths = np.array([np.linalg.norm(np.diff(chain, axis=0), axis=1).sum() for chain in chains.values()])
        self._last_bones = np.array([np.linalg.norm(chain[-1] - chain[-2]) for chain in chains.values()])
        self._bases = [BASES[finger] for finger in self._fingers]
        self._tips = [TIPS[finger] for finger in self._fingers]
        count = len(self._fingers)  # the thumb is the first
        tip = np.eye(count, 2 * count)  # of the points of HandKinematics: fingertips, then last hinges
        last_bone = tip - np.eye(count, 2 * count, count)
        n = len(embodiment.joint_names)
        self._problem = KeyvectorProblem(
            kinematics.points_and_jacobian, np.vstack((tip, tip[1:] - tip[0], last_bone)), self._lower, self._upper,
            np.full(n, SMOOTHNESS + REST),
        )  # fmt: skip

    def solve(self, keypoints: np.ndarray, last: np.ndarray | None) -> np.ndarray:
        """q (B, n) for keypoints (B, 21, 3) in the hand frame, near ``last`` (B, n) if given."""
        targets, weights = self._targets(keypoints)
        if last is not None:
            prior = (SMOOTHNESS * last + REST * self._rest) / (SMOOTHNESS + REST)
            return self._problem.solve(last, prior, targets, weights, WARM_STEPS)[0]
        best, best_cost = None, None
        for share in (None, 0.25, 0.6):  # first frame: the relaxed pose, a more open and a more closed one
            start = self._rest if share is None else self._lower + share * (self._upper - self._lower)
            starts = np.tile(start, (len(keypoints), 1))
            prior = np.tile(self._rest, (len(keypoints), 1))
            q, cost = self._problem.solve(starts, prior, targets, weights, FIRST_STEPS)
            if best is None:
                best, best_cost = q, cost
            else:
                best, best_cost = np.where((cost < best_cost)[:, None], q, best), np.minimum(cost, best_cost)
        return best

    def _targets(self, keypoints: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Keyvectors (B, K, 3) [m] that the robot should have, and their weights (B, K)."""
        tips, bases = keypoints[:, self._tips], keypoints[:, self._bases]
        bones = np.stack([keypoints[:, base : base + 4] for base in self._bases], axis=1)
        lengths = np.linalg.norm(np.diff(bones, axis=2), axis=-1).sum(axis=-1)  # (B, F)
        if (lengths < 1e-3).any():
            frame, finger = np.argwhere(lengths < 1e-3)[0]
            raise KeypointsRefused(f"the {self._fingers[finger]} has no length in frame {frame} of the batch")
        ratio = self._lengths / lengths
        reach = self._knuckles + ratio[..., None] * (tips - bases)
        between = tips[:, 1:] - tips[:, :1]
        distance = np.linalg.norm(between, axis=-1)
        nearness = 1.0 / (1.0 + (np.maximum(distance - CONTACT, 0.0) / PINCH_RANGE) ** 4)
        last_bones = bones[:, :, 3] - bones[:, :, 2]
        last_bones *= (self._last_bones / np.maximum(np.linalg.norm(last_bones, axis=-1), 1e-6))[..., None]
        ones = np.ones_like(lengths)
        weights = np.concatenate((ones, FAR + (NEAR - FAR) * nearness, LAST_BONE * ones), axis=1)
        return np.concatenate((reach, between, last_bones), axis=1), weights


class _Jaws:
    """The smallest keyvector from the thumb's tip, as a share of the jaws' range."""

    def __init__(self, embodiment: Embodiment) -> None:
        self._embodiment = embodiment
        kinematics = HandKinematics(embodiment)
        ends = kinematics.fingertips(np.array([[embodiment.action_closed], [embodiment.action_open]]))
        self._gap_closed, self._gap_open = np.linalg.norm(ends[:, 0] - ends[:, 1], axis=-1)

    def solve(self, keypoints: np.ndarray, last: np.ndarray | None) -> np.ndarray:
        """q (B, 1) for keypoints (B, 21, 3) in the hand frame; no memory is needed."""
        tips = keypoints[:, [TIPS[finger] for finger in TIPS if finger != "thumb"]]
        gap = np.linalg.norm(tips - keypoints[:, [TIPS["thumb"]]], axis=-1).min(axis=1) - CONTACT
        share = (gap - self._gap_closed) / (self._gap_open - self._gap_closed)
        return self._embodiment.to_joints(np.clip(share, 0.0, 1.0)[:, None])
