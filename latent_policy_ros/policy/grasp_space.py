"""GraspSpace: conversion of wrist poses and joints of any end-effector to the states and actions that the policy sees, and back."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from latent_policy_ros.common.errors import ArtifactError
from latent_policy_ros.embodiments import Embodiment
from latent_policy_ros.embodiments.kinematics.grasp_frame import GraspFrame
from latent_policy_ros.latent.space import LatentSpace
from latent_policy_ros.policy.rotations import (
    matrix_to_quaternion,
    matrix_to_rotation_6d,
    quaternion_to_matrix,
    rotation_6d_to_matrix,
)
from latent_policy_ros.policy.scaling import LATENT, POSITION, ROTATION


class GraspSpace:
    """States and actions in terms that all end-effectors have in common.

    An action (..., 9 + L) is the pose of the grasp frame in the robot's base frame (position [m], 6D rotation), and a latent. A
    state (..., 10 + L) has the aperture [m] in addition. The same numbers mean the same grasp for every end-effector, although
    their hand frames differ by centimetres. The grasp frame of an end-effector is computed from the latents of a person's
    precision grasp, which are stored with the policy.

    Args:
        latent_space: Latent space of the hand actions.
        grasp: Latents (T, L) of a person's precision grasp, from open to closed, see :func:`human_grasp`.
    """

    def __init__(self, latent_space: LatentSpace, grasp: np.ndarray) -> None:
        self.latent_space, self._grasp = latent_space, grasp
        self._frames: dict[tuple[str, str], GraspFrame] = {}

    def states(self, embodiment: Embodiment, wrist_pose: np.ndarray, x: np.ndarray) -> np.ndarray:
        """States (T, 10 + L) float32 of measured wrist poses (T, 7) and end-effectors in the action representation (T, d)."""
        pose, aperture = self._pose(embodiment, wrist_pose, embodiment.to_joints(x))
        latents = self.latent_space.encode(embodiment.name, x)
        return np.concatenate([pose, latents, aperture[:, None]], axis=-1).astype(np.float32)

    def actions(self, embodiment: Embodiment, wrist_pose: np.ndarray, x: np.ndarray) -> np.ndarray:
        """Actions (T, 9 + L) float32 of commanded wrist poses (T, 7) and end-effectors in the action representation (T, d)."""
        pose, _ = self._pose(embodiment, wrist_pose, embodiment.to_joints(x))
        return np.concatenate([pose, self.latent_space.encode(embodiment.name, x)], axis=-1).astype(np.float32)

    def commands(self, embodiments: Sequence[Embodiment], actions: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Wrist poses (N, T, 7) and latents (N, T, L) of actions (N, T, 9 + L) of N end-effectors."""
        latents, rotations, wrists = actions[..., LATENT], rotation_6d_to_matrix(actions[..., ROTATION]), []
        for embodiment, position, rotation, latent in zip(embodiments, actions[..., POSITION], rotations, latents, strict=True):
            q = embodiment.to_joints(self.latent_space.decode(embodiment.name, latent).astype(np.float64))
            frame = self.frame(embodiment)
            wrists.append(frame.to_wrist(position, rotation, frame.measure(q)[0]))
        positions, rotations = (np.stack(parts) for parts in zip(*wrists))
        return np.concatenate([positions, matrix_to_quaternion(rotations)], axis=-1), latents

    def frame(self, embodiment: Embodiment) -> GraspFrame:
        """Grasp frame of an end-effector.

        Raises:
            ArtifactError: The latent space lacks the embodiment, or it has no thumb and opposing finger.
        """
        key = embodiment.name, embodiment.content_hash
        if key not in self._frames:
            x = self.latent_space.decode(embodiment.name, self._grasp)
            try:
                self._frames[key] = GraspFrame(embodiment, embodiment.to_joints(x.astype(np.float64)))
            except ValueError as cause:
                raise ArtifactError(f"cannot be driven by a policy: {cause}") from cause
        return self._frames[key]

    def _pose(self, embodiment: Embodiment, wrist_pose: np.ndarray, q: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Poses (T, 9) of the grasp frame, position and 6D rotation, and apertures (T,)."""
        frame = self.frame(embodiment)
        pinch_point, aperture = frame.measure(q)
        position, rotation = frame.from_wrist(wrist_pose[:, :3], quaternion_to_matrix(wrist_pose[:, 3:]), pinch_point)
        return np.concatenate([position, matrix_to_rotation_6d(rotation)], axis=-1), aperture
