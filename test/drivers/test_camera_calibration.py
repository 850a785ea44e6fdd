"""Intrinsics of cameras: calibration files as camera_calibration of ROS writes them, and ideal cameras."""

import numpy as np
import pytest
import yaml

from latent_policy_ros.common.errors import ConfigError
from latent_policy_ros.drivers.cameras.camera_calibration import CameraCalibration

CONTENT = {
    "image_width": 640, "image_height": 480, "camera_name": "narrow",
    "camera_matrix": {"rows": 3, "cols": 3, "data": [500.5, 0, 320, 0, 501.5, 240, 0, 0, 1]},
    "distortion_model": "plumb_bob", "distortion_coefficients": {"rows": 1, "cols": 5, "data": [0.1, -0.2, 0.001, 0, 0]},
    "rectification_matrix": {"rows": 3, "cols": 3, "data": [1, 0, 0, 0, 1, 0, 0, 0, 1]},
    "projection_matrix": {"rows": 3, "cols": 4, "data": [490, 0, 321, 0, 0, 491, 241, 0, 0, 0, 1, 0]},
}  # fmt: skip


@pytest.fixture
def file(tmp_path):
    def write(**changes):
        path = tmp_path / "camera.yaml"
        path.write_text(yaml.safe_dump(CONTENT | changes))
        return path

    return write


@pytest.mark.parametrize("scheme", ["", "file://"])
def test_a_calibration_file_is_read(file, scheme):
    found = CameraCalibration.read(f"{scheme}{file()}")
    assert (found.width, found.height, found.model) == (640, 480, "plumb_bob")
    np.testing.assert_allclose(found.K, [[500.5, 0, 320], [0, 501.5, 240], [0, 0, 1]])
    np.testing.assert_allclose(found.D, [0.1, -0.2, 0.001, 0, 0])
    np.testing.assert_allclose(found.P[:, 2], [321, 241, 1])


@pytest.mark.parametrize("name, value, message", [
    ("camera_matrix", {"rows": 3, "cols": 3, "data": [1, 0, 0]}, "expected 3 x 3 numbers in data, got 3"),
    ("camera_matrix", {"rows": 1, "cols": 9, "data": [1.0] * 9}, "camera_matrix: expected 3 x 3 numbers, got 1 x 9"),
    ("camera_matrix", {"rows": 3, "cols": 3, "data": [0] * 9}, "expected positive focal lengths, got 0 and 0"),
    ("projection_matrix", {"rows": 3, "cols": 3, "data": [1.0] * 9}, "projection_matrix: expected 3 x 4 numbers, got 3 x 3"),
    ("image_width", 0, "image_width"), ("distortion_coefficients", None, "distortion_coefficients"),
])  # fmt: skip
def test_a_wrong_file_is_refused_with_the_place(file, name, value, message):
    with pytest.raises(ConfigError, match=message):
        CameraCalibration.read(str(file(**{name: value})))


@pytest.mark.parametrize("url, message", [
    ("/nowhere/camera.yaml", "camera.yaml"), ("package://no_such_package/camera.yaml", "no package 'no_such_package'"),
    ("http://example.com/camera.yaml", "expected a path or package://NAME/PATH"),
])  # fmt: skip
def test_a_missing_file_is_refused(url, message):
    with pytest.raises(ConfigError, match=message):
        CameraCalibration.read(url)


def test_an_ideal_camera_sees_its_field_of_view():
    found = CameraCalibration.pinhole(320, 240, np.radians(60.0))
    edge = found.K @ [0.0, np.tan(np.radians(30.0)), 1.0]  # of the image: half a pixel below the centre of the last row
    assert edge[1] == pytest.approx(239.5) and found.K[0, 0] == found.K[1, 1]
    centre = found.P @ [0.0, 0.0, 2.0, 1.0]
    np.testing.assert_allclose(centre[:2] / centre[2], [159.5, 119.5])
    assert not CameraCalibration.unknown(320, 240).K.any()
