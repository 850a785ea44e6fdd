"""Pinches: distance of thumb and fingertips where a person's touch, and the kept values of the shipped embodiments.

The shipped ones are computed once, because each needs its own fit of the correspondence. After a change of retargeting or of a
shipped embodiment, ``python -m latent_policy_ros.retargeting.checks.pinches`` writes ``config/checks/pinches.json`` anew.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np

from latent_policy_ros.common.paths import config_dir
from latent_policy_ros.embodiments import Embodiment, HandKinematics, load_embodiment
from latent_policy_ros.embodiments.model.catalogue import shipped_folder
from latent_policy_ros.retargeting.human_motion.reference_poses import ReferencePose, reference_poses
from latent_policy_ros.retargeting.retargeter import Retargeter

DECIMALS = 5  # of the kept distances [m]


def kept_file() -> Path:
    """The file of the shipped embodiments' pinches."""
    return config_dir() / "checks" / "pinches.json"


def shipped_pinches() -> dict[str, dict[str, float]]:
    """Pinches of all shipped robots by name and finger [m], without any computation."""
    return json.loads(kept_file().read_text(encoding="utf-8"))


def retarget_poses(embodiment: Embodiment, poses: Sequence[ReferencePose]) -> np.ndarray:
    """Joints (poses, FRAMES, n) along the reference motions, each retargeted from a first frame."""
    return Retargeter(embodiment).retarget_sequence(np.stack([pose.motion for pose in poses]))


def pinch_gaps(embodiment: Embodiment, poses: Sequence[ReferencePose]) -> dict[str, float]:
    """Distance [m] of thumb and fingertip in a person's pinch, by finger; for a gripper that of its jaws for every finger."""
    kinematics = HandKinematics(embodiment)
    pinches = [pose for pose in poses if pose.pinched]
    tips = kinematics.fingertips(retarget_poses(embodiment, pinches)[:, -1])
    gaps = {}
    for place, pose in zip(tips, pinches):
        finger = kinematics.fingers[1] if embodiment.kind == "gripper" else pose.pinched[0]
        if finger in kinematics.fingers:
            gaps[pose.pinched[0]] = float(np.linalg.norm(place[kinematics.fingers.index(finger)] - place[0]))
    return gaps


def compute_shipped() -> Mapping[str, Mapping[str, float]]:
    """The content of the kept file, computed."""
    robots = [load_embodiment(file) for file in sorted(shipped_folder().glob("*.yaml"))]
    poses = reference_poses()
    return {
        robot.name: {finger: round(gap, DECIMALS) for finger, gap in pinch_gaps(robot, poses).items()}
        for robot in robots if robot.kind != "human"
    }  # fmt: skip


if __name__ == "__main__":
    kept_file().parent.mkdir(exist_ok=True)
    kept_file().write_text(json.dumps(compute_shipped(), indent=1) + "\n", encoding="utf-8")
