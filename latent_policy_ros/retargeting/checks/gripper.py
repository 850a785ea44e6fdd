"""What can be told of a gripper: how far it opens, and whether its frame fits a person's pinch."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from latent_policy_ros.embodiments import Embodiment, HandKinematics
from latent_policy_ros.embodiments.human.keypoints import PINCH_AXIS, PINCH_POINT
from latent_policy_ros.retargeting.checks.frame_checks import ODD_ANGLE
from latent_policy_ros.retargeting.checks.geometry_checks import FAILURE, WARNING, Finding

SAMPLES = 101
CLOSED, WIDEST = 0.01, 0.4  # m
BESIDE = 0.04  # from where a person pinches to where the jaws close [m]


@dataclass(frozen=True)
class Aperture:
    """Of a gripper: distance of its tips [m] when closed and open, and how it fits a person's pinch.

    Attributes:
        closed, open: At action 0 and 1.
        monotonic: Whether it grows with the action all the way.
        beside: From where a person pinches to the middle of the closed jaws, hand frame [m].
        tilt: Between a person's pinch and the line from thumb to finger [rad].
    """

    closed: float
    open: float
    monotonic: bool
    beside: float
    tilt: float


def aperture(embodiment: Embodiment) -> Aperture:
    """The jaws over the whole range of the action."""
    tips = HandKinematics(embodiment).fingertips(embodiment.to_joints(np.linspace(0.0, 1.0, SAMPLES)[:, None]))
    way = tips[:, 1] - tips[:, 0]
    gap = np.linalg.norm(way, axis=1)
    beside = float(np.linalg.norm(tips[0, :2].mean(axis=0) - PINCH_POINT))
    cosine = float(way[-1] @ PINCH_AXIS / max(gap[-1], 1e-12))
    return Aperture(float(gap[0]), float(gap[-1]), bool((np.diff(gap) > 0).all()), beside, float(np.arccos(np.clip(cosine, -1, 1))))


def jaws(jaw: Aperture) -> Iterator[Finding]:
    """What looks wrong with a gripper."""
    closed, opened = f"{1000 * jaw.closed:.0f} mm", f"{1000 * jaw.open:.0f} mm"
    if jaw.closed >= jaw.open:
        yield Finding(FAILURE, "action", f"the tips are {closed} apart when closed and {opened} when open: swap closed and open")
        return
    if not jaw.monotonic:
        yield Finding(WARNING, "action", "the tips come nearer again while it opens: does the range end before they cross?")
    elif jaw.closed > CLOSED:
        yield Finding(WARNING, "action.closed", f"the tips are still {closed} apart: do the fingertips lie on the pads?")
    if jaw.open > WIDEST:
        yield Finding(WARNING, "fingertips", f"the tips open {opened}: points are in metres")
    if jaw.beside > BESIDE:
        point = ", ".join(f"{v:.3f}" for v in PINCH_POINT)
        message = f"closed jaws lie {1000 * jaw.beside:.0f} mm from ({point}) m, where a person's fingertips meet"
        yield Finding(WARNING, "hand_frame.origin", message)
    if jaw.tilt > ODD_ANGLE:
        axis = ", ".join(f"{v:.2f}" for v in PINCH_AXIS)
        message = f"thumb to finger runs {np.rad2deg(jaw.tilt):.0f} degrees beside a person's pinch, ({axis}) in the hand frame"
        yield Finding(WARNING, "hand_frame", message)
