"""Node: a camera of a robot, where no driver of its maker publishes it."""

from __future__ import annotations

import sys
import time
from typing import Any

from sensor_msgs.msg import Image

from latent_policy_ros.common.errors import HardwareError, LatentPolicyError
from latent_policy_ros.drivers.camera import Camera
from latent_policy_ros.nodes.base import message_conversion, qos
from latent_policy_ros.nodes.base.lifecycle_node import ERROR, OK, ManagedNode
from latent_policy_ros.nodes.base.lifecycle_node import main as run
from latent_policy_ros.nodes.base.statistics import RateMeter

LOOK = 1000.0  # Hz: each turn waits for the next image
RETRY = 1.0  # Hz, of turns without a camera


class CameraNode(ManagedNode):
    """Publishes ``<camera>/image_raw`` (rgb8). Without its camera it stays up, says so, and tries again."""

    def __init__(self, **node_options: Any) -> None:
        super().__init__("camera", rate=RETRY, **node_options)
        self.declare("camera", "front", "Its name: it publishes <camera>/image_raw.")
        self.declare("source", "", "A device (/dev/video0 or 0), a URL (rtsp://...), or a film.")
        self.declare("width", 0, "Asked of the device [pixels]; 0: as it is set.", 0, 10_000)
        self.declare("height", 0, "Likewise.", 0, 10_000)
        self.declare("frame_rate", 30.0, "Likewise [Hz].", 0.0, 1000.0)
        self.camera: Camera | None = None

    def configure(self) -> None:
        if not self.value("source"):
            raise LatentPolicyError("parameter source: expected a device, a URL or a film, got none")
        self.camera = Camera(self.value("source"), self.value("width"), self.value("height"), self.value("frame_rate"))
        self.images = self.publisher(Image, f"{self.value('camera')}/image_raw", qos.IMAGES)
        self.meter, self.size = RateMeter(), ""

    def deactivate(self) -> None:
        self.cleanup()

    def cleanup(self) -> None:
        if self.camera is not None:
            self.camera.close()
        self.rate = RETRY

    def tick(self, now: float) -> None:
        try:
            if not self.camera.connected:
                self.camera.connect()
            stamp, pixels = self.camera.read()
        except HardwareError as error:
            self.rate = RETRY
            self.count("hardware", str(error))
            return
        self.rate = LOOK
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
    return run(CameraNode, images=True)


if __name__ == "__main__":
    sys.exit(main())
