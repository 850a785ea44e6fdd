"""Reference poses of a person's hand, for checks and images of embodiments."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from latent_policy_ros.embodiments.human.human_hand import HumanHand
from latent_policy_ros.retargeting.human_motion.postures import fist, pinch, posture, relaxed, spread

FOUR_FINGERS = ("index", "middle", "ring", "pinky")
PINCH_GAP = 0.006  # distance between the tips of thumb and finger in a pinch [m]
GRASP_GAP = 0.045  # distance between the tips in the grasp of a small object [m]
FRAMES = 16  # of the motion from the relaxed hand to the pose
_OPEN_THUMB = {"thumb_cmc_abduction": -0.3, "thumb_cmc_flexion": -0.35, "thumb_mcp": -0.1, "thumb_ip": -0.2}
_OTHERS_OUT = {
    f"{finger}_{joint}": angle for finger in FOUR_FINGERS for joint, angle in (("mcp", 0.1), ("pip", 0.25), ("dip", 0.15))
}


@dataclass(frozen=True)
class ReferencePose:
    """One pose of a person's hand.

    Attributes:
        name: Unique name, e.g. ``pinch index``.
        motion: Keypoints from the relaxed hand to the pose [m, hand frame], shape (FRAMES, 21, 3).
        pinched: The fingers whose tips touch the thumb's.
        closed: The fingers that touch the palm.
    """

    name: str
    motion: np.ndarray
    pinched: tuple[str, ...] = ()
    closed: tuple[str, ...] = ()

    @property
    def keypoints(self) -> np.ndarray:
        """The pose, shape (21, 3)."""
        return self.motion[-1]


def reference_poses(hand: HumanHand | None = None) -> tuple[ReferencePose, ...]:
    """The reference poses of ``hand`` (default: an average adult's)."""
    hand = HumanHand() if hand is None else hand
    open_thumb = posture(hand, _OPEN_THUMB)[:5]

    def thumb_out(angles: np.ndarray) -> np.ndarray:
        return np.concatenate((open_thumb, angles[5:]))

    others = posture(hand, _OTHERS_OUT)
    poses = [
        ("relaxed", relaxed(hand), (), ()),
        ("flat", spread(hand, 0.0), (), ()),
        ("spread", thumb_out(spread(hand, 1.0)), (), ()),
        ("fist", fist(hand, 1.0), (), FOUR_FINGERS),
        ("point", fist(hand, 1.0, ("index",)), (), FOUR_FINGERS[1:]),
        ("victory", fist(hand, 1.0, ("index", "middle")) + 0.6 * (spread(hand, 1.0) - spread(hand, 0.0)), (), FOUR_FINGERS[2:]),
        ("thumb up", thumb_out(fist(hand, 1.0)), (), FOUR_FINGERS),
        *((f"pinch {finger}", pinch(hand, (finger,), PINCH_GAP, others=others)[0], (finger,), ()) for finger in FOUR_FINGERS),
        ("grasp", pinch(hand, ("index", "middle"), GRASP_GAP)[0], (), ()),
    ]
    share = np.linspace(0.0, 1.0, FRAMES)[:, None]
    start = relaxed(hand)
    return tuple(
        ReferencePose(name, hand.keypoints(start + share * (np.clip(angles, hand.lower, hand.upper) - start)), pinched, closed)
        for name, angles, pinched, closed in poses
    )
