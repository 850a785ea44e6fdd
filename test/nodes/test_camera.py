"""Camera node, with a video file in place of a device."""

import cv2
import numpy as np
import pytest

pytest.importorskip("rclpy", reason="needs ROS 2", exc_type=ImportError)
pytest.importorskip("latent_policy_ros.msg", reason="needs the generated messages", exc_type=ImportError)

from diagnostic_msgs.msg import DiagnosticArray  # noqa: E402
from sensor_msgs.msg import Image  # noqa: E402

from latent_policy_ros.nodes.base import qos  # noqa: E402
from latent_policy_ros.nodes.camera_node import CameraNode  # noqa: E402
from latent_policy_ros.observations.images import raw_to_rgb  # noqa: E402
from latent_policy_ros.observations.messages import to_seconds  # noqa: E402


def write_video(file):
    writer = cv2.VideoWriter(str(file), cv2.VideoWriter_fourcc(*"MJPG"), 20.0, (64, 48))
    for _ in range(5):
        writer.write(np.full((48, 64, 3), (0, 0, 200), np.uint8))
    writer.release()


def test_images_have_the_camera_rate_after_late_connection(graph, tmp_path):
    video = tmp_path / "video.avi"
    images = graph.listen(Image, "left/front/image_raw", qos.IMAGES)
    reports = graph.listen(DiagnosticArray, "/diagnostics", qos.EVENTS)
    node = graph.add(CameraNode, "left", camera="front", source=str(video))
    graph.until(lambda: node.counts["hardware"] >= 2, 5)
    assert not images and any(s.message == "no camera" and s.level == b"\x02" for _, r in reports for s in r.status)
    write_video(video)
    graph.until(lambda: len(images) > 30, 10)
    stamps = np.array([to_seconds(image.header.stamp) for _, image in images])
    assert np.median(np.diff(stamps)) == pytest.approx(0.05, abs=0.01)
    first = images[0][1]
    pixels = raw_to_rgb(first.encoding, first.height, first.width, first.step, first.data)
    assert pixels.shape == (48, 64, 3) and abs(pixels[..., 0].mean() - 200) < 5 and pixels[..., 2].max() < 20
    assert first.header.frame_id == "front"


def test_missing_source_is_refused(graph, capfd):
    with pytest.raises(AssertionError, match="did not start"):
        graph.add(CameraNode, "left")
    assert "parameter source: expected a device, a URL or a video file" in capfd.readouterr().err
