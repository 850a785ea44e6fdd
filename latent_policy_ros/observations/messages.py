"""Conversion of ROS messages to arrays. Fields are read by name, so messages of rclpy and of bags both work.

:mod:`latent_policy_ros.observations.images` reads images; it is separate because it needs OpenCV.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from latent_policy_ros.common.errors import ActionRefused


def to_seconds(stamp: Any) -> float:
    """A builtin_interfaces/Time or Duration in seconds."""
    return stamp.sec + 1e-9 * stamp.nanosec


def pose_array(pose: Any) -> np.ndarray:
    """A geometry_msgs/Pose as (7,): x y z [m], qx qy qz qw."""
    p, q = pose.position, pose.orientation
    return np.array([p.x, p.y, p.z, q.x, q.y, q.z, q.w])


def command_position(message: Any, names: Sequence[str]) -> np.ndarray | None:
    """Read the last point of a trajectory_msgs/JointTrajectory.

    Args:
        message: The trajectory.
        names: The n joints of the receiver.

    Returns:
        (n,) [rad or m] in the order of ``names``; None for a trajectory without points, which commands a driver to hold.

    Raises:
        ActionRefused: Joints are missing, unknown or named twice, or the number of positions differs from that of names.
    """
    if not message.points:
        return None
    received, values = list(message.joint_names), message.points[-1].positions
    if sorted(received) != sorted(names):
        missing = [name for name in names if name not in received]
        unknown = [name for name in received if name not in names]
        raise ActionRefused(
            f"command: expected the joints {', '.join(names)}; missing: {', '.join(missing) or '-'}; "
            f"unknown or repeated: {', '.join(unknown) or '-'}"
        )
    if len(values) != len(received):
        raise ActionRefused(f"command: {len(received)} joint names but {len(values)} positions")
    by_name = dict(zip(received, values))
    return np.array([by_name[name] for name in names])
