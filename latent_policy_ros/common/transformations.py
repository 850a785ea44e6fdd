"""Quaternions and Euler angles as in ROS: functions of tf_transformations, or their equals where that package is not installed.

tf_transformations comes with a ROS 2 installation, and not from PyPI. It is a layer over transforms3d, and so are these equals.
Quaternions are x y z w. Euler angles are roll, pitch and yaw [rad] about fixed axes, as in a URDF.
"""

from __future__ import annotations

import contextlib
from collections.abc import Sequence
from typing import Union

import numpy as np
import transforms3d

__all__ = [
    "euler_from_matrix", "quaternion_conjugate", "quaternion_from_euler", "quaternion_from_matrix", "quaternion_matrix",
    "quaternion_multiply",
]  # fmt: skip
Numbers = Union[Sequence[float], np.ndarray]


def _wxyz(quaternion: Numbers) -> tuple[float, ...]:
    x, y, z, w = quaternion
    return w, x, y, z


def _xyzw(quaternion: Numbers) -> tuple[float, ...]:
    w, x, y, z = quaternion
    return x, y, z, w


def quaternion_multiply(quaternion1: Numbers, quaternion0: Numbers) -> Numbers:
    """The product of two quaternions (4,): the rotation by ``quaternion0``, followed by that by ``quaternion1``."""
    return _xyzw(transforms3d.quaternions.qmult(_wxyz(quaternion1), _wxyz(quaternion0)))


def quaternion_conjugate(quaternion: Numbers) -> Numbers:
    """The conjugate (4,), which is the inverse of a unit quaternion."""
    x, y, z, w = quaternion
    return np.array([-x, -y, -z, w])


def quaternion_matrix(quaternion: Numbers) -> np.ndarray:
    """The transform (4, 4) with the rotation of a quaternion (4,) of any norm."""
    matrix = np.eye(4)
    matrix[:3, :3] = transforms3d.quaternions.quat2mat(_wxyz(quaternion))
    return matrix


def quaternion_from_matrix(matrix: np.ndarray) -> Numbers:
    """The unit quaternion (4,) of the rotation of a transform (4, 4), with w >= 0."""
    return _xyzw(transforms3d.quaternions.mat2quat(matrix[:3, :3]))


def quaternion_from_euler(ai: float, aj: float, ak: float) -> Numbers:
    """The unit quaternion (4,) of roll, pitch and yaw [rad]."""
    return _xyzw(transforms3d.euler.euler2quat(ai, aj, ak))


def euler_from_matrix(matrix: np.ndarray) -> tuple[float, float, float]:
    """Roll, pitch and yaw [rad] of a rotation (3, 3) or of that of a transform (4, 4)."""
    return transforms3d.euler.mat2euler(matrix)


with contextlib.suppress(ImportError):  # replaces the equals
    from tf_transformations import (  # type: ignore[no-redef]  # noqa: F811
        euler_from_matrix,
        quaternion_conjugate,
        quaternion_from_euler,
        quaternion_from_matrix,
        quaternion_matrix,
        quaternion_multiply,
    )
