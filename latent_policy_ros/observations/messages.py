"""Conversion of ROS messages to arrays. Fields are read by name, so messages of rclpy and of bags both work.

:mod:`latent_policy_ros.observations.images` reads images; it is separate because it needs OpenCV.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from latent_policy_ros.common.errors import ObservationRefused

#: Errors of messages that cannot be used: refused ones, and damaged ones or those of another definition.
UNUSABLE = (ObservationRefused, ArithmeticError, AttributeError, LookupError, TypeError, ValueError)


def to_seconds(stamp: Any) -> float:
    """A builtin_interfaces/Time or Duration in seconds."""
    return stamp.sec + 1e-9 * stamp.nanosec


def pose_array(pose: Any) -> np.ndarray:
    """A geometry_msgs/Pose as (7,): x y z [m], qx qy qz qw."""
    p, q = pose.position, pose.orientation
    return np.array([p.x, p.y, p.z, q.x, q.y, q.z, q.w])


def stamp_of(message: Any) -> float | None:
    """The stamp in a message [s]: of its header, of its first transform, or of itself; None for a message without a stamp."""
    if hasattr(message, "transforms") and len(message.transforms):
        message = message.transforms[0]
    if hasattr(message, "header"):
        return to_seconds(message.header.stamp)
    return to_seconds(message.timestamp) if hasattr(message, "timestamp") else None


def frame_of(message: Any) -> str:
    """The tf frame of a message without a leading ``/``; empty for a message type without one."""
    return message.header.frame_id.lstrip("/") if hasattr(message, "header") else ""


def pose_of(message: Any) -> Any:
    """The pose of a Pose, or of a message that holds one with a header, a covariance or a twist."""
    while hasattr(message, "pose"):
        message = message.pose
    return message


def transform_array(transform: Any) -> np.ndarray:
    """A geometry_msgs/Transform as (7,): x y z [m], qx qy qz qw."""
    t, q = transform.translation, transform.rotation
    return np.array([t.x, t.y, t.z, q.x, q.y, q.z, q.w])
