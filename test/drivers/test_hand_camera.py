"""Hand camera: newest hand of a film, with a stub in place of MediaPipe's detector; a camera that is lost; errors of the model."""

import sys
import time
from types import ModuleType

import cv2
import numpy as np
import pytest

from latent_policy_ros.common.errors import HardwareError, LatentPolicyError
from latent_policy_ros.drivers.cameras.camera import Camera
from latent_policy_ros.drivers.cameras.hand_camera import NO_HAND, HandCamera, mediapipe_detector


def wait_for(condition, seconds=5.0):
    until = time.monotonic() + seconds
    while not (found := condition()) and time.monotonic() < until:
        time.sleep(0.01)
    return found


def test_newest_hand_of_a_film(tmp_path):
    """Points are those of the detector for the images of the film; each image is given once, and the film repeats."""
    path = str(tmp_path / "film.avi")
    film = cv2.VideoWriter(path, cv2.VideoWriter_fourcc(*"MJPG"), 60.0, (64, 48))
    for grey in (40, 200):
        film.write(np.full((48, 64, 3), grey, np.uint8))
    film.release()
    times = []

    def detect(pixels, at):
        times.append(at)
        return np.full((21, 3), float(pixels.mean())) if pixels.mean() > 100 else NO_HAND

    hands = HandCamera(Camera(path), detect)
    hands.start()
    taken = [wait_for(hands.take) for _ in range(6)]
    hands.stop()
    assert {len(points) for _, points in taken} == {0, 21} and hands.error == ""
    assert all(points.size == 0 or abs(points.mean() - 200) < 4 for _, points in taken)
    assert all(later > earlier for earlier, later in zip(times, times[1:])) and abs(taken[-1][0] - time.time()) < 5
    count = len(times)
    time.sleep(0.1)
    assert hands.take() is None and len(times) == count  # stopped


def test_a_lost_camera_is_reported_and_opened_again(monkeypatch):
    class Loose:
        connected, opened = False, 0

        def connect(self):
            self.connected, self.opened = True, self.opened + 1

        def read(self):
            if self.opened == 1:
                self.connected = False
                raise HardwareError("camera 0: no image received")
            time.sleep(0.005)
            return time.time(), np.zeros((2, 2, 3), np.uint8)

        def close(self):
            self.connected = False

    monkeypatch.setattr("latent_policy_ros.drivers.cameras.hand_camera.RECONNECT", 0.2)
    hands = HandCamera(Loose(), lambda pixels, at: NO_HAND)
    hands.start()
    assert wait_for(lambda: hands.error) == "camera 0: no image received"
    assert wait_for(hands.take) and hands.error == ""
    hands.stop()


def test_what_is_missing_is_named(monkeypatch, tmp_path):
    monkeypatch.setitem(sys.modules, "mediapipe", None)
    with pytest.raises(LatentPolicyError, match=r"not installed; type: pip install 'latent_policy_ros\[webcam\]'"):
        mediapipe_detector("hand_landmarker.task")
    for name in ("mediapipe", "mediapipe.tasks", "mediapipe.tasks.python"):
        monkeypatch.setitem(sys.modules, name, ModuleType(name))
    sys.modules["mediapipe.tasks.python"].BaseOptions = sys.modules["mediapipe.tasks.python"].vision = object
    with pytest.raises(LatentPolicyError, match="hand model: got 'none', expected the path .*: download https://"):
        mediapipe_detector("")
