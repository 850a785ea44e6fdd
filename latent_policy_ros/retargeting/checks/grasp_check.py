"""Check of the precision grasp: whether the end-effector opens and closes as far as the grasp frame requires."""

from __future__ import annotations

from collections.abc import Iterator

from latent_policy_ros.embodiments import Embodiment
from latent_policy_ros.embodiments.kinematics.grasp_frame import REFERENCE_WIDTH, GraspFrame
from latent_policy_ros.retargeting.checks.geometry_checks import WARNING, Diagnosis
from latent_policy_ros.retargeting.human_motion.generator import grasp_plan
from latent_policy_ros.retargeting.retargeter import Retargeter


def check_grasp(embodiment: Embodiment) -> Iterator[Diagnosis]:
    """Check that a person's grasp of an object of ``REFERENCE_WIDTH``, retargeted, opens wider and closes narrower than that."""
    q = Retargeter(embodiment).retarget_sequence(grasp_plan(REFERENCE_WIDTH).keypoints[None])[0]
    try:
        aperture = GraspFrame(embodiment, q).measure(q)[1]
    except ValueError as error:  # no opposing finger
        yield Diagnosis(WARNING, "fingertips", f"{error}: policies cannot control it")
        return
    if not aperture.min() < REFERENCE_WIDTH < aperture.max():
        low, high, width = (f"{1000 * value:.0f}" for value in (aperture.min(), aperture.max(), REFERENCE_WIDTH))
        message = f"in a person's grasp its tips are {low} to {high} mm apart: it cannot grasp an object of {width} mm"
        yield Diagnosis(WARNING, "fingertips", f"{message}; are hand_frame, the ranges and shape.tip_radius right?")
