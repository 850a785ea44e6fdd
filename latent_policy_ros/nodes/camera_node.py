"""Node: publishes the images of a camera that OpenCV can open."""

from __future__ import annotations

import sys
import time
from typing import Any

from sensor_msgs.msg import Image

from latent_policy_ros.common.errors import HardwareError, LatentPolicyError
from latent_policy_ros.drivers.camera import Camera
from latent_policy_ros.nodes.base import message_conversion, qos
from latent_policy_ros.nodes.base.lifecycle_node import ERROR, OK, ManagedNode
from latent_policy_ros.nodes.base.main_loop import run_node
from latent_policy_ros.nodes.base.statistics import RateMeter

CONNECTED_RATE = 1000.0  # Hz, an upper bound: each cycle waits for the next image
RECONNECT_RATE = 1.0  # Hz


class CameraNode(ManagedNode):
    """Publishes the images of a webcam, a network stream or a video file as ``<camera>/image_raw`` (rgb8).

    Use it for cameras without a ROS driver of their own. While the camera is missing, the node stays active, reports an
    error on ``/diagnostics``, and tries to connect once per second.
    """

    def __init__(self, **node_options: Any) -> None:
        super().__init__("camera", rate=RECONNECT_RATE, **node_options)
        self.declare("camera", "front", "Name of the camera, used in the topic <camera>/image_raw and as frame_id.")
        self.declare("source", "", "Device (/dev/video0 or 0), URL (rtsp://...), or video file, which is repeated.")
        self.declare("width", 0, "Requested image width [px]; 0 keeps the device's default.", 0, 10_000)
        self.declare("height", 0, "Requested image height [px]; 0 keeps the device's default.", 0, 10_000)
        self.declare("frame_rate", 30.0, "Requested frame rate [Hz]; 0 keeps the device's default.", 0.0, 1000.0)
        self.camera: Camera | None = None

    def configure(self) -> None:
        """Read the parameters; the camera is not opened yet."""
        if not self.value("source"):
            raise LatentPolicyError("parameter source: expected a device, a URL or a video file, got none")
        self.camera = Camera(self.value("source"), self.value("width"), self.value("height"), self.value("frame_rate"))
        self.images = self.publisher(Image, f"{self.value('camera')}/image_raw", qos.IMAGES)
        self.meter, self.size = RateMeter(), ""

    def deactivate(self) -> None:
        """Close the camera."""
        self.cleanup()

    def cleanup(self) -> None:
        if self.camera is not None:
            self.camera.close()
        self.rate = RECONNECT_RATE

    def tick(self, now: float) -> None:
        try:
            if not self.camera.connected:
                self.camera.connect()
            stamp, pixels = self.camera.read()
        except HardwareError as error:
            self.rate = RECONNECT_RATE
            self.count("hardware", str(error))
            return
        self.rate = CONNECTED_RATE
        self.images.publish(message_conversion.image(stamp, self.value("camera"), pixels))
        self.meter.tick(time.monotonic())
        self.size = f"{pixels.shape[1]} x {pixels.shape[0]}"

    def status(self) -> tuple[bytes, str, dict[str, str]]:
        if not self.active:
            return OK, "inactive", {}
        if not self.camera.connected:
            return ERROR, "no camera", {}
        return OK, "running", {"rate_hz": f"{self.meter.rate(time.monotonic()):.1f}", "size": self.size}


def main() -> int:
    """Entry point of ``ros2 run latent_policy_ros camera_node``."""
    return run_node(CameraNode, images=True)


if __name__ == "__main__":
    sys.exit(main())
