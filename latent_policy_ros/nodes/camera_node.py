"""Node: publishes the images of a camera that OpenCV can open."""

from __future__ import annotations

import os
import sys
import time
from typing import Any

import numpy as np

from latent_policy_ros.common.errors import HardwareError, LatentPolicyError, ModeError
from latent_policy_ros.drivers.cameras.camera import Camera
from latent_policy_ros.drivers.cameras.camera_calibration import CameraCalibration
from latent_policy_ros.nodes.base.lifecycle_node import ERROR, OK, ManagedNode
from latent_policy_ros.nodes.base.main_loop import run_node
from latent_policy_ros.nodes.base.statistics import RateMeter
from latent_policy_ros.nodes.topics.camera_publisher import CameraPublisher

CONNECTED_RATE = 1000.0  # Hz, an upper bound: each cycle waits for the next image
RECONNECT_RATE = 1.0  # Hz


class CameraNode(ManagedNode):
    """Publishes the images of a webcam, a network stream or a video file as ``<camera>/image_raw`` (rgb8).

    ``<camera>/camera_info`` has the intrinsics of the calibration file ``camera_info_url``; without one it says that the camera
    is not calibrated. Use the node for cameras without a ROS driver of their own. While the camera is missing, it stays active,
    reports an error on ``/diagnostics``, and tries to connect once per second.
    """

    def __init__(self, **node_options: Any) -> None:
        super().__init__("camera", rate=RECONNECT_RATE, **node_options)
        self.declare("camera", "front", "Name of the camera, in its topics and in its frame <namespace>/<camera>_optical_frame.")
        self.declare("source", "", "Device (/dev/video0 or 0), URL (rtsp://...), or video file, which is repeated.")
        self.declare("width", 0, "Requested image width [px]; 0 keeps the device's default.", 0, 10_000)
        self.declare("height", 0, "Requested image height [px]; 0 keeps the device's default.", 0, 10_000)
        self.declare("frame_rate", 30.0, "Requested frame rate [Hz]; 0 keeps the device's default.", 0.0, 1000.0)
        self.declare("compressed", False, "Also publish image_raw/compressed (JPEG).")
        self.declare(
            "camera_info_url", "", "Calibration file of ROS: a path, file:///PATH or package://NAME/PATH; empty: not calibrated."
        )
        self.camera: Camera | None = None

    def configure(self) -> None:
        """Read the parameters; the camera is not opened yet."""
        if not self.value("source"):
            raise LatentPolicyError("parameter source: expected a device, a URL or a video file, got none")
        if self.simulated_time and not os.path.isfile(self.value("source")):
            raise ModeError(
                f"parameter use_sim_time: camera {self.value('source')} is hardware, which has no simulation time; expected false, "
                "got true, or a video file as source"
            )
        self.camera = Camera(self.value("source"), self.value("width"), self.value("height"), self.value("frame_rate"))
        self.output = CameraPublisher(self, self.value("camera"), self.value("compressed"))
        self.calibration = CameraCalibration.read(url) if (url := self.value("camera_info_url")) else None
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
        stamp = now if self.simulated_time else stamp
        calibration = self._calibration_for(pixels)
        self.output.publish(stamp, pixels, lambda: calibration)
        self.meter.tick(time.monotonic())
        self.size = f"{pixels.shape[1]} x {pixels.shape[0]}"

    def _calibration_for(self, pixels: np.ndarray) -> CameraCalibration:
        """The calibration, if it is for images of this size."""
        height, width = pixels.shape[:2]
        found = self.calibration
        if found is None:
            return CameraCalibration.unknown(width, height)
        if (found.width, found.height) != (width, height):
            self.count("calibration not used", f"it is of {found.width} x {found.height} pixels, images have {width} x {height}")
            return CameraCalibration.unknown(width, height)
        return found

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
