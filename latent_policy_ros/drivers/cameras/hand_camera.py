"""HandCamera: keypoints of a hand in the images of a camera, found by MediaPipe."""

from __future__ import annotations

import threading
from collections.abc import Callable
from pathlib import Path

import numpy as np

from latent_policy_ros.common.errors import HardwareError, LatentPolicyError
from latent_policy_ros.drivers.cameras.camera import Camera

MODEL = "https://storage.googleapis.com/mediapipe-models/hand_landmarker/hand_landmarker/float16/latest/hand_landmarker.task"
RECONNECT = 1.0  # s between two attempts to open the camera
STOP_TIMEOUT = 10.0  # s to wait for the last image when stopping
NO_HAND = np.empty((0, 3))

#: Finds the points of a hand in an image (H, W, 3) uint8 RGB at a time [s]: (21, 3) [m], or (0, 3) without a hand.
Detector = Callable[[np.ndarray, float], np.ndarray]


def mediapipe_detector(model: str) -> Detector:
    """The detector of MediaPipe: its world landmarks, which are in metres, with the hand's centre as origin.

    Args:
        model: Path of the file ``hand_landmarker.task``.

    Raises:
        LatentPolicyError: MediaPipe is not installed, or the file does not exist or is no model.
    """
    try:
        import mediapipe
        from mediapipe.tasks.python import BaseOptions, vision
    except ModuleNotFoundError as cause:
        raise LatentPolicyError(
            f"webcam: the package {cause.name!r} is not installed; type: pip install 'latent_policy_ros[webcam]'"
        ) from cause
    if not Path(model).is_file():
        raise LatentPolicyError(f"hand model: got {model or 'none'!r}, expected the path of MediaPipe's model: download {MODEL}")
    options = vision.HandLandmarkerOptions(
        base_options=BaseOptions(model_asset_path=model), running_mode=vision.RunningMode.VIDEO, num_hands=1
    )
    try:
        landmarker = vision.HandLandmarker.create_from_options(options)
    except (RuntimeError, ValueError) as cause:
        raise LatentPolicyError(f"hand model {model}: {cause}; download {MODEL}") from cause
    last = -1

    def detect(pixels: np.ndarray, time: float) -> np.ndarray:
        nonlocal last
        last = max(last + 1, round(time * 1e3))  # MediaPipe requires times that increase
        image = mediapipe.Image(image_format=mediapipe.ImageFormat.SRGB, data=np.ascontiguousarray(pixels))
        hands = landmarker.detect_for_video(image, last).hand_world_landmarks
        return np.array([(p.x, p.y, p.z) for p in hands[0]]) if hands else NO_HAND

    return detect


class HandCamera:
    """Reads a camera and finds the hand in its newest image, in a thread of its own.

    Args:
        camera: The camera; it is opened by :meth:`start`, and again after it was lost.
        detect: The detector.
    """

    def __init__(self, camera: Camera, detect: Detector) -> None:
        self._camera, self._detect = camera, detect
        self._lock, self._stopped = threading.Lock(), threading.Event()
        self._thread: threading.Thread | None = None
        self._newest: tuple[float, np.ndarray] | None = None
        self._error = ""

    @property
    def error(self) -> str:
        """Why there are no images; empty while there are."""
        return self._error

    def start(self) -> None:
        """Open the camera and start to read it."""
        self.stop()
        self._stopped.clear()
        self._thread = threading.Thread(target=self._run, name="hand camera", daemon=True)
        self._thread.start()

    def stop(self) -> None:
        """Stop reading and close the camera. May be called twice."""
        self._stopped.set()
        if self._thread is not None:
            self._thread.join(STOP_TIMEOUT)
            self._thread = None
        self._newest = None

    def take(self) -> tuple[float, np.ndarray] | None:
        """Time [s since the epoch] and points (21, 3) [m], or (0, 3) without a hand, of an image that was not taken before."""
        with self._lock:
            found, self._newest = self._newest, None
        return found

    def _run(self) -> None:
        while not self._stopped.is_set():
            try:
                if not self._camera.connected:
                    self._camera.connect()
                stamp, pixels = self._camera.read()
            except HardwareError as error:
                self._error = str(error)
                self._stopped.wait(RECONNECT)
                continue
            points, self._error = self._detect(pixels, stamp), ""
            with self._lock:
                self._newest = stamp, points
        self._camera.close()
