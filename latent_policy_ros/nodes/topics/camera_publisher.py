"""CameraPublisher: images of a camera with their CameraInfo, as image pipelines of ROS expect them."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from rclpy.serialization import serialize_message
from sensor_msgs.msg import CameraInfo, CompressedImage, Image

from latent_policy_ros.drivers.cameras.camera_calibration import CameraCalibration
from latent_policy_ros.nodes.base.lifecycle_node import ManagedNode
from latent_policy_ros.nodes.topics import message_conversion, qos

JPEG_QUALITY = 95  # of compressed images, which a policy sees


class CameraPublisher:
    """Publishes ``<camera>/image_raw`` (rgb8) and ``<camera>/camera_info``, with the same stamp and frame.

    Args:
        node: The node that publishes, until its cleanup.
        camera: Name of the camera.
        compressed: Also publish ``<camera>/image_raw/compressed`` (JPEG), for receivers on other machines.

    Attributes:
        frame: The optical frame of the camera, ``<camera>_optical_frame`` in the namespace of the node: z forward, x right and y
            down in the image.
    """

    def __init__(self, node: ManagedNode, camera: str, compressed: bool = False) -> None:
        self.frame = node.frame(f"~/{camera}_optical_frame")
        self._images = node.publisher(Image, f"{camera}/image_raw", qos.IMAGES)
        self._compressed = node.publisher(CompressedImage, f"{camera}/image_raw/compressed", qos.IMAGES) if compressed else None
        self._calibrations = node.publisher(CameraInfo, f"{camera}/camera_info", qos.IMAGES)

    def publish(self, stamp: float, pixels: np.ndarray, calibration: Callable[[], CameraCalibration]) -> None:
        """Publish an image (H, W, 3) uint8 RGB, taken at ``stamp`` [s], and, if anybody listens, the intrinsics of such images."""
        image = message_conversion.image(stamp, self.frame, pixels)
        if self._images.get_subscription_count():
            self._images.publish(image)
        if self._compressed is not None and self._compressed.get_subscription_count():
            from latent_policy_ros.data.recording.jpeg import to_jpeg  # imports OpenCV, which a simulator else does without

            self._compressed.publish(to_jpeg(serialize_message(image), JPEG_QUALITY))
        if self._calibrations.get_subscription_count():
            self._calibrations.publish(message_conversion.camera_info(stamp, self.frame, calibration()))
