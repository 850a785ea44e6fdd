"""Hands as lines, for images: each finger from the wrist over its joints to its tip."""

from __future__ import annotations

import numpy as np

from latent_policy_ros.embodiments import Embodiment, HandKinematics
from latent_policy_ros.embodiments.human.keypoints import BASES, keypoints_of_action


def finger_lines(embodiment: Embodiment, actions: np.ndarray) -> dict[str, np.ndarray]:
    """Points of each finger from the wrist (the origin) to the tip: actions (N, d) -> {finger: (N, K, 3)} [m, hand frame]."""
    actions = np.atleast_2d(np.asarray(actions, dtype=np.float64))
    origin = np.zeros((len(actions), 1, 3))
    if embodiment.kind == "human":
        keypoints = keypoints_of_action(actions)
        return {f: np.concatenate((origin, keypoints[:, base : base + 4]), axis=1) for f, base in BASES.items()}
    motion = HandKinematics(embodiment).link_transforms(embodiment.to_joints(actions))
    index = {hinge.name: i for i, hinge in enumerate(embodiment.hinges)}
    rotation, shift = embodiment.T_base_hand[:3, :3], embodiment.T_base_hand[:3, 3]
    lines = {}
    for finger, tip in embodiment.fingertips.items():
        points, name = [(tip.hinge, tip.point)], tip.hinge
        while name is not None:
            points.append((name, embodiment.hinge(name).point))
            name = embodiment.hinge(name).parent
        moved = [(motion[:, index[hinge]] @ [*point, 1.0])[:, :3] for hinge, point in reversed(points)]
        lines[finger] = np.concatenate((origin, (np.stack(moved, axis=1) - shift) @ rotation), axis=1)
    return lines
