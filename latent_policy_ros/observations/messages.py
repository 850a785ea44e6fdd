"""What ROS messages carry, as arrays. The fields are read by name, so rclpy's messages and a bag's serve alike."""

from __future__ import annotations

from typing import Any

import numpy as np

from latent_policy_ros.observations.images import compressed_to_rgb, raw_to_rgb


def seconds(stamp: Any) -> float:
    """A builtin_interfaces/Time or Duration as seconds."""
    return stamp.sec + 1e-9 * stamp.nanosec


def pose_array(pose: Any) -> np.ndarray:
    """A geometry_msgs/Pose as (7,): x y z [m], qx qy qz qw."""
    p, q = pose.position, pose.orientation
    return np.array([p.x, p.y, p.z, q.x, q.y, q.z, q.w])


def image(message: Any) -> np.ndarray:
    """A sensor_msgs/Image or CompressedImage as (H, W, 3) uint8 RGB.

    Raises:
        ObservationRefused: It cannot be decoded, its encoding is unknown, or its sizes contradict each other.
    """
    if hasattr(message, "height"):
        return raw_to_rgb(message.encoding, message.height, message.width, message.step, message.data)
    return compressed_to_rgb(message.data, message.format)
