"""Conversion of ROS messages to arrays. Fields are read by name, so messages of rclpy and of bags both work.

:mod:`latent_policy_ros.observations.images` reads images; it is separate because it needs OpenCV.
"""

from __future__ import annotations

from typing import Any

import numpy as np


def to_seconds(stamp: Any) -> float:
    """A builtin_interfaces/Time or Duration in seconds."""
    return stamp.sec + 1e-9 * stamp.nanosec


def pose_array(pose: Any) -> np.ndarray:
    """A geometry_msgs/Pose as (7,): x y z [m], qx qy qz qw."""
    p, q = pose.position, pose.orientation
    return np.array([p.x, p.y, p.z, q.x, q.y, q.z, q.w])


def stamp_of(message: Any) -> float:
    """The stamp in a message's header [s]; 0 for a message type without a header."""
    return to_seconds(message.header.stamp) if hasattr(message, "header") else 0.0
