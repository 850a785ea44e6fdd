"""A camera that OpenCV can open: a webcam, a network stream, or a film that stands for one."""

from __future__ import annotations

import os
import time

import cv2
import numpy as np

from latent_policy_ros.common.errors import HardwareError

STREAM_TIMEOUT = 5000  # ms that a network may take to open, or for an image; OpenCV would stand still for 30 s


class Camera:
    """Images of a video source, at its own pace.

    Args:
        source: A device (``/dev/video0``, or its number), a URL (``rtsp://...``), or a film, which is shown again and again.
        width, height, rate: What a device is asked for [pixels], [Hz]; 0: as it is set. It may give something else.
    """

    def __init__(self, source: str, width: int = 0, height: int = 0, rate: float = 0.0) -> None:
        self.source, self.wanted = source, {
            cv2.CAP_PROP_FRAME_WIDTH: width, cv2.CAP_PROP_FRAME_HEIGHT: height, cv2.CAP_PROP_FPS: rate, cv2.CAP_PROP_BUFFERSIZE: 1,
        }  # fmt: skip
        self._film = False
        self._capture: cv2.VideoCapture | None = None
        self._due = 0.0

    @property
    def connected(self) -> bool:
        """Whether it is open, and gave an image when it was asked last."""
        return self._capture is not None

    def connect(self) -> None:
        """Open it.

        Raises:
            HardwareError: It cannot be opened.
        """
        self.close()
        self._film = os.path.isfile(self.source)
        if "://" in self.source:
            patience = [cv2.CAP_PROP_OPEN_TIMEOUT_MSEC, STREAM_TIMEOUT, cv2.CAP_PROP_READ_TIMEOUT_MSEC, STREAM_TIMEOUT]
            capture = cv2.VideoCapture(self.source, cv2.CAP_FFMPEG, patience)
        else:
            capture = cv2.VideoCapture(int(self.source) if self.source.isdigit() else self.source)
        if not capture.isOpened():
            capture.release()
            missing = self.source.startswith("/") and not os.path.exists(self.source)
            why = "no such device" if missing else "it cannot be opened; is it a camera, and free?"
            raise HardwareError(f"camera {self.source}: {why}")
        for key, value in self.wanted.items():
            if value and not self._film:
                capture.set(key, value)
        self._capture = capture

    def read(self) -> tuple[float, np.ndarray]:
        """Wait for the next image: when it came [s since the epoch], and its pixels (H, W, 3) uint8, RGB.

        Raises:
            HardwareError: There is none; it was unplugged, or never connected.
        """
        if self._capture is None:
            raise HardwareError(f"camera {self.source}: not connected")
        there, pixels = self._capture.read()
        if not there and self._film:
            self._capture.set(cv2.CAP_PROP_POS_FRAMES, 0)
            there, pixels = self._capture.read()
        if not there or pixels is None:
            self.close()
            raise HardwareError(f"camera {self.source}: no image came")
        if self._film:
            self._wait(self._capture.get(cv2.CAP_PROP_FPS) or 30.0)
        return time.time(), cv2.cvtColor(pixels, cv2.COLOR_BGR2RGB)

    def close(self) -> None:
        """Let go of it. A second call does nothing."""
        if self._capture is not None:
            self._capture.release()
            self._capture = None

    def _wait(self, rate: float) -> None:
        """A film has no pace of its own."""
        now = time.monotonic()
        self._due = max(self._due + 1.0 / rate, now - 1.0 / rate)
        time.sleep(max(0.0, self._due - now))
