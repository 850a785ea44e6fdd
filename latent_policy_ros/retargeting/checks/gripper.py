"""Checks of a gripper: aperture, and its hand frame by comparison with a person's pinch."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from latent_policy_ros.embodiments import Embodiment, HandKinematics
from latent_policy_ros.embodiments.human.keypoints import PINCH_AXIS, pinch_point
from latent_policy_ros.retargeting.checks.frame_checks import PALM_ANGLE
from latent_policy_ros.retargeting.checks.geometry_checks import FAILURE, WARNING, Diagnosis

SAMPLES = 101
MAX_CLOSED, MAX_OPEN = 0.01, 0.4  # largest plausible distance of the tips when closed and when open [m]
MAX_PINCH_OFFSET = 0.04  # largest distance of the closed jaws from a person's pinch [m]


@dataclass(frozen=True)
class Aperture:
    """Aperture of a gripper, and its position relative to a person's pinch.

    Attributes:
        closed, open: Distance of the tips at action 0 and 1 [m].
        monotonic: Whether the distance increases with the action over the whole range.
        pinch_offset: Distance from a person's pinch point to the middle of the closed jaws [m].
        pinch_angle: Angle between a person's pinch and the line from thumb to finger [rad].
    """

    closed: float
    open: float
    monotonic: bool
    pinch_offset: float
    pinch_angle: float


def aperture(embodiment: Embodiment) -> Aperture:
    """Measure the aperture over the range of the action."""
    tips = HandKinematics(embodiment).fingertips(embodiment.to_joints(np.linspace(0.0, 1.0, SAMPLES)[:, None]))
    across = tips[:, 1] - tips[:, 0]
    gap = np.linalg.norm(across, axis=1)
    offset = float(np.linalg.norm(tips[0, :2].mean(axis=0) - pinch_point(embodiment.side)))
    cosine = float(across[-1] @ PINCH_AXIS / max(gap[-1], 1e-12))
    return Aperture(float(gap[0]), float(gap[-1]), bool((np.diff(gap) > 0).all()), offset, float(np.arccos(np.clip(cosine, -1, 1))))


def check_gripper(jaw: Aperture, side: str) -> Iterator[Diagnosis]:
    """Check the aperture and the hand frame."""
    closed, opened = f"{1000 * jaw.closed:.0f} mm", f"{1000 * jaw.open:.0f} mm"
    if jaw.closed >= jaw.open:
        yield Diagnosis(FAILURE, "action", f"the tips are {closed} apart when closed and {opened} when open: swap closed and open")
        return
    if not jaw.monotonic:
        yield Diagnosis(WARNING, "action", "the tips come nearer again while the gripper opens: do they cross inside the range?")
    elif jaw.closed > MAX_CLOSED:
        yield Diagnosis(WARNING, "action.closed", f"the tips are still {closed} apart: are the fingertips on the pads?")
    if jaw.open > MAX_OPEN:
        yield Diagnosis(WARNING, "fingertips", f"the tips open {opened}; points must be in metres")
    if jaw.pinch_offset > MAX_PINCH_OFFSET:
        point = ", ".join(f"{v:.3f}" for v in pinch_point(side))
        message = f"the closed jaws are {1000 * jaw.pinch_offset:.0f} mm from ({point}) m, where a person's fingertips meet"
        yield Diagnosis(WARNING, "hand_frame.origin", message)
    if jaw.pinch_angle > PALM_ANGLE:
        axis = ", ".join(f"{v:.2f}" for v in PINCH_AXIS)
        message = f"thumb to finger is {np.rad2deg(jaw.pinch_angle):.0f} degrees away from a person's pinch, ({axis})"
        yield Diagnosis(WARNING, "hand_frame", message)
