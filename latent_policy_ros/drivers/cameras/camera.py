"""Camera driver on OpenCV: devices, network streams and video files."""

from __future__ import annotations

import os
import time

import cv2
import numpy as np

from latent_policy_ros.common.errors import HardwareError

STREAM_TIMEOUT = 5000  # ms to open a network stream, and to wait for an image of it; OpenCV's default is 30 s
DEFAULT_VIDEO_RATE = 30.0  # Hz, of a video file that states none


class Camera:
    """A video source that is read at its own rate.

    Args:
        source: A device (``/dev/video0``, or its number), a URL (``rtsp://...``), or a video file, which is repeated.
        width, height: Image size requested from a device [pixels]; 0 keeps the device's default. A device may ignore it.
        rate: Frame rate requested from a device [Hz]; 0 keeps the device's default.
    """

    def __init__(self, source: str, width: int = 0, height: int = 0, rate: float = 0.0) -> None:
        self.source = source
        self._requested = {
            cv2.CAP_PROP_FRAME_WIDTH: width, cv2.CAP_PROP_FRAME_HEIGHT: height, cv2.CAP_PROP_FPS: rate, cv2.CAP_PROP_BUFFERSIZE: 1,
        }  # fmt: skip
        self._is_file = False
        self._capture: cv2.VideoCapture | None = None
        self._next_frame = 0.0  # monotonic time of the next frame of a video file [s]

    @property
    def connected(self) -> bool:
        """Whether the source is open; False after a read that failed."""
        return self._capture is not None

    def connect(self) -> None:
        """Open the source.

        Raises:
            HardwareError: The source does not exist or cannot be opened.
        """
        self.close()
        self._is_file = os.path.isfile(self.source)
        if "://" in self.source:
            timeouts = [cv2.CAP_PROP_OPEN_TIMEOUT_MSEC, STREAM_TIMEOUT, cv2.CAP_PROP_READ_TIMEOUT_MSEC, STREAM_TIMEOUT]
            capture = cv2.VideoCapture(self.source, cv2.CAP_FFMPEG, timeouts)
        else:
            capture = cv2.VideoCapture(int(self.source) if self.source.isdigit() else self.source)
        if not capture.isOpened():
            capture.release()
            missing = self.source.startswith("/") and not os.path.exists(self.source)
            why = "no such device" if missing else "cannot be opened; is it a camera, and not in use?"
            raise HardwareError(f"camera {self.source}: {why}")
        for key, value in self._requested.items():
            if value and not self._is_file:
                capture.set(key, value)
        self._capture = capture

    def read(self) -> tuple[float, np.ndarray]:
        """Wait for the next image.

        Returns:
            Time of receipt [s since the epoch], and pixels (H, W, 3) uint8, RGB.

        Raises:
            HardwareError: Not connected, or no image came; the source is closed then.
        """
        if self._capture is None:
            raise HardwareError(f"camera {self.source}: not connected")
        received, pixels = self._capture.read()
        if not received and self._is_file:
            self._capture.set(cv2.CAP_PROP_POS_FRAMES, 0)
            received, pixels = self._capture.read()
        if not received or pixels is None:
            self.close()
            raise HardwareError(f"camera {self.source}: no image received")
        if self._is_file:
            self._pace(self._capture.get(cv2.CAP_PROP_FPS) or DEFAULT_VIDEO_RATE)
        return time.time(), cv2.cvtColor(pixels, cv2.COLOR_BGR2RGB)

    def close(self) -> None:
        """Close the source. May be called twice."""
        if self._capture is not None:
            self._capture.release()
            self._capture = None

    def _pace(self, rate: float) -> None:
        """Wait until the next frame of a video file is due, at ``rate`` [Hz]."""
        now = time.monotonic()
        self._next_frame = max(self._next_frame + 1.0 / rate, now - 1.0 / rate)
        time.sleep(max(0.0, self._next_frame - now))
