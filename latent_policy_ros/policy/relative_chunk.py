"""Action chunks relative to the newest observed pose of the grasp frame, and back."""

from __future__ import annotations

import numpy as np

from latent_policy_ros.policy.rotations import rotation_6d_to_matrix
from latent_policy_ros.policy.scaling import POSITION, ROTATION
from latent_policy_ros.policy.settings import ActionAxes


def relative_chunks(chunks: np.ndarray, pose: np.ndarray, axes: ActionAxes) -> np.ndarray:
    """Chunks whose positions start at the observed grasp frame.

    Args:
        chunks: Chunks (B, H, 9 + L) in the base frame.
        pose: Newest observed poses of the grasp frame (B, 9), position [m] and 6D rotation.
        axes: ``base``: positions along the axes of the base frame, and rotations in it; ``grasp``: along those of the observed
            grasp frame, and rotations in it.
    """
    relative = chunks.copy()
    relative[..., POSITION] -= pose[:, None, POSITION]
    if axes == "grasp":
        _rotate(relative, rotation_6d_to_matrix(pose[:, ROTATION]).mT)
    return relative


def absolute_chunks(relative: np.ndarray, pose: np.ndarray, axes: ActionAxes) -> np.ndarray:
    """Chunks in the base frame; the inverse of :func:`relative_chunks`."""
    chunks = relative.copy()
    if axes == "grasp":
        _rotate(chunks, rotation_6d_to_matrix(pose[:, ROTATION]))
    chunks[..., POSITION] += pose[:, None, POSITION]
    return chunks


def _rotate(chunks: np.ndarray, rotation: np.ndarray) -> None:
    """Rotate positions and both columns of the rotations (B, H, 9 + L) by a matrix each (B, 3, 3), in place."""
    for first in (0, 3, 6):
        columns = slice(first, first + 3)
        chunks[..., columns] = chunks[..., columns] @ rotation.mT
