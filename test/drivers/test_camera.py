"""Cameras that OpenCV opens, with a film in the place of a device."""

import time

import cv2
import numpy as np
import pytest

from latent_policy_ros.drivers.camera import Camera
from latent_policy_ros.errors import HardwareError

RATE, SHADES = 20.0, (40, 120, 200)


@pytest.fixture
def film(tmp_path):
    """Three pictures, each of one shade of red."""
    file = tmp_path / "film.avi"
    writer = cv2.VideoWriter(str(file), cv2.VideoWriter_fourcc(*"MJPG"), RATE, (64, 48))
    for shade in SHADES:
        writer.write(np.full((48, 64, 3), (0, 0, shade), np.uint8))
    writer.release()
    return file


def test_a_film_is_shown_again_and_again_at_its_pace(film):
    camera = Camera(str(film))
    camera.connect()
    seen = [camera.read() for _ in range(9)]
    camera.close()
    stamps, pictures = np.array([stamp for stamp, _ in seen]), [picture for _, picture in seen]
    assert pictures[0].shape == (48, 64, 3) and pictures[0].dtype == np.uint8
    np.testing.assert_allclose([p[..., 0].mean() for p in pictures], SHADES * 3, atol=4)  # red is first
    assert max(p[..., 1:].max() for p in pictures) < 12
    assert abs(stamps[-1] - stamps[0] - 8 / RATE) < 0.1 and abs(stamps[-1] - time.time()) < 0.2


def test_what_is_no_camera_is_named(tmp_path):
    (tmp_path / "notes.txt").write_text("no film")
    for source, words in (("/dev/video77", "no such device"), (str(tmp_path / "notes.txt"), "cannot be opened")):
        with pytest.raises(HardwareError, match=f"camera {source}: .*{words}"):
            Camera(source).connect()
    with pytest.raises(HardwareError, match="not connected"):
        Camera("/dev/video77").read()
