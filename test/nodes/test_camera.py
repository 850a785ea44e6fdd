"""Camera node, with a video file in place of a device."""

import cv2
import numpy as np
import pytest
import yaml

pytest.importorskip("rclpy", reason="needs ROS 2", exc_type=ImportError)
pytest.importorskip("latent_policy_ros.msg", reason="needs the generated messages", exc_type=ImportError)

from diagnostic_msgs.msg import DiagnosticArray  # noqa: E402
from sensor_msgs.msg import CameraInfo, CompressedImage, Image  # noqa: E402

from latent_policy_ros.nodes.camera_node import CameraNode  # noqa: E402
from latent_policy_ros.nodes.topics import qos  # noqa: E402
from latent_policy_ros.observations.images import raw_to_rgb, rgb_image  # noqa: E402
from latent_policy_ros.observations.messages import to_seconds  # noqa: E402


def write_video(file):
    writer = cv2.VideoWriter(str(file), cv2.VideoWriter_fourcc(*"MJPG"), 20.0, (64, 48))
    for _ in range(5):
        writer.write(np.full((48, 64, 3), (0, 0, 200), np.uint8))
    writer.release()


@pytest.fixture
def calibration(tmp_path):
    """A calibration file for images of 64 x 48 pixels."""
    matrix = lambda rows, cols, *data: {"rows": rows, "cols": cols, "data": list(data)}
    content = {
        "image_width": 64, "image_height": 48, "camera_name": "front",
        "camera_matrix": matrix(3, 3, 50, 0, 32, 0, 51, 24, 0, 0, 1), "distortion_model": "plumb_bob",
        "distortion_coefficients": matrix(1, 5, 0.1, 0, 0, 0, 0),
        "projection_matrix": matrix(3, 4, 49, 0, 32, 0, 0, 49, 24, 0, 0, 0, 1, 0),
    }  # fmt: skip
    file = tmp_path / "front.yaml"
    file.write_text(yaml.safe_dump(content))
    return f"file://{file}"


def test_images_have_the_camera_rate_after_late_connection(graph, tmp_path, calibration):
    video = tmp_path / "video.avi"
    images = graph.listen(Image, "left/front/image_raw", qos.IMAGES)
    reports = graph.listen(DiagnosticArray, "/diagnostics", qos.EVENTS)
    infos = graph.listen(CameraInfo, "left/front/camera_info", qos.IMAGES)
    jpegs = graph.listen(CompressedImage, "left/front/image_raw/compressed", qos.IMAGES)
    node = graph.add(CameraNode, "left", camera="front", source=str(video), camera_info_url=calibration, compressed=True)
    graph.until(lambda: node.counts["hardware"] >= 2, 5)
    assert not images and any(s.message == "no camera" and s.level == b"\x02" for _, r in reports for s in r.status)
    write_video(video)
    graph.until(lambda: len(images) > 30, 10)
    stamps = np.array([to_seconds(image.header.stamp) for _, image in images])
    assert np.median(np.diff(stamps)) == pytest.approx(0.05, abs=0.01)
    first = images[0][1]
    pixels = raw_to_rgb(first.encoding, first.height, first.width, first.step, first.data)
    assert pixels.shape == (48, 64, 3) and abs(pixels[..., 0].mean() - 200) < 5 and pixels[..., 2].max() < 20
    assert first.header.frame_id == "left/front_optical_frame"
    jpeg = next(message for _, message in jpegs if message.header == first.header)
    assert np.abs(rgb_image(jpeg).astype(int) - pixels).max() < 5 and jpeg.format == "rgb8; jpeg compressed bgr8"
    same = {to_seconds(info.header.stamp): info for _, info in infos}
    assert len(set(stamps) & set(same)) > 25 and not node.counts["calibration not used"]
    info = infos[0][1]
    assert (info.width, info.height, info.header.frame_id) == (64, 48, "left/front_optical_frame")
    assert list(info.k) == [50, 0, 32, 0, 51, 24, 0, 0, 1] and list(info.d) == [0.1, 0, 0, 0, 0] and info.p[0] == 49
    assert list(info.r) == [1, 0, 0, 0, 1, 0, 0, 0, 1] and info.distortion_model == "plumb_bob"


def test_a_calibration_of_another_size_is_not_used(graph, tmp_path, calibration):
    node = graph.add(CameraNode, "left", source=str(tmp_path / "video.avi"), camera_info_url=calibration)
    found = node._calibration_for(np.zeros((480, 640, 3), np.uint8))
    assert (found.width, found.height) == (640, 480) and not found.K.any()
    assert node.details["calibration not used"] == "it is of 64 x 48 pixels, images have 640 x 480"


def test_a_missing_calibration_is_refused(graph, tmp_path, capfd):
    with pytest.raises(AssertionError, match="did not start"):
        graph.add(CameraNode, "left", source=str(tmp_path / "video.avi"), camera_info_url=str(tmp_path / "none.yaml"))
    assert "none.yaml" in capfd.readouterr().err


def test_missing_source_is_refused(graph, capfd):
    with pytest.raises(AssertionError, match="did not start"):
        graph.add(CameraNode, "left")
    assert "parameter source: expected a device, a URL or a video file" in capfd.readouterr().err
