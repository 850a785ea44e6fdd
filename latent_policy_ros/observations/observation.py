"""Observation of one robot: the input of the policy and the source of data set frames."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Union

import numpy as np

from latent_policy_ros.common.errors import NotFinite, ObservationRefused

if TYPE_CHECKING:
    from latent_policy_ros.embodiments import Embodiment

#: RGB image (H, W, 3) uint8, or a function that decodes one. Images of a bag are decoded late and in threads.
RgbImage = Union[np.ndarray, Callable[[], np.ndarray]]

QUATERNION_TOLERANCE = 0.01  # largest accepted deviation of a quaternion's norm from 1


@dataclass(frozen=True)
class Observation:
    """Synchronised measurements of one robot.

    Attributes:
        stamp: Time of the observation [s].
        images: RGB images by camera, {camera: (H, W, 3) uint8}. Cameras without an image are absent.
        wrist_pose: Measured pose of the hand frame in the robot's base frame, (7,): x y z [m], qx qy qz qw.
            None for a robot without a wrist pose.
        joints: Measured joints (n,) [rad or m]: those of the embodiment in its order, then additional joints if the
            observation buffer was configured with some.
        embodiment: The end-effector.
        task: Task description in plain text; empty if unspecified.
        values: Measurements of additional modalities by stream name, e.g. ``{"fingertips": (24,)}``.
        offsets: Time of measurement minus ``stamp`` [s], by stream name.
    """

    stamp: float
    images: Mapping[str, RgbImage]
    wrist_pose: np.ndarray | None
    joints: np.ndarray
    embodiment: Embodiment
    task: str = ""
    values: Mapping[str, np.ndarray] = field(default_factory=dict)
    offsets: Mapping[str, float] = field(default_factory=dict, compare=False)


def normalize_pose(values: Sequence[float] | np.ndarray, name: str) -> np.ndarray:
    """Validate a pose and normalise its quaternion.

    Args:
        values: x y z [m], qx qy qz qw.
        name: Name of the pose in error messages, e.g. ``wrist_pose``.

    Returns:
        (7,) float64 with a quaternion of norm 1.

    Raises:
        ObservationRefused: Not 7 finite numbers, or the norm of the quaternion differs from 1 by more than 1%.
    """
    pose = np.array(values, dtype=np.float64)
    if pose.shape != (7,):
        raise ObservationRefused(f"{name}: expected 7 numbers, got shape {pose.shape}")
    if not np.isfinite(pose).all():
        raise NotFinite(f"{name} is not finite")
    norm = float(np.linalg.norm(pose[3:]))
    if abs(norm - 1.0) > QUATERNION_TOLERANCE:
        raise ObservationRefused(f"{name} has a quaternion of norm {norm:.3g}, expected 1")
    pose[3:] /= norm
    return pose
