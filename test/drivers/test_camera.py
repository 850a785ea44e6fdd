"""Camera driver: a video file or a server stands for the device."""

import socket
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import cv2
import numpy as np
import pytest

from latent_policy_ros.common.errors import HardwareError
from latent_policy_ros.drivers.cameras.camera import Camera

RATE, SHADES = 20.0, (40, 120, 200)


@pytest.fixture
def video(tmp_path):
    """Three images, each of one shade of red."""
    file = tmp_path / "video.avi"
    writer = cv2.VideoWriter(str(file), cv2.VideoWriter_fourcc(*"MJPG"), RATE, (64, 48))
    for shade in SHADES:
        writer.write(np.full((48, 64, 3), (0, 0, shade), np.uint8))
    writer.release()
    return file


def test_video_file_is_repeated_at_its_frame_rate(video):
    camera = Camera(str(video))
    camera.connect()
    seen = [camera.read() for _ in range(9)]
    camera.close()
    stamps, images = np.array([stamp for stamp, _ in seen]), [image for _, image in seen]
    assert images[0].shape == (48, 64, 3) and images[0].dtype == np.uint8
    np.testing.assert_allclose([p[..., 0].mean() for p in images], SHADES * 3, atol=4)  # red is first
    assert max(p[..., 1:].max() for p in images) < 12
    assert abs(stamps[-1] - stamps[0] - 8 / RATE) < 0.1 and abs(stamps[-1] - time.time()) < 0.2


def test_source_that_is_no_camera_is_refused(tmp_path):
    (tmp_path / "notes.txt").write_text("no video")
    for source, words in (("/dev/video77", "no such device"), (str(tmp_path / "notes.txt"), "cannot be opened")):
        with pytest.raises(HardwareError, match=f"camera {source}: .*{words}"):
            Camera(source).connect()
    with pytest.raises(HardwareError, match="not connected"):
        Camera("/dev/video77").read()


@pytest.mark.parametrize("scheme", ["rtsp", "http"])
def test_stream_without_an_answer_times_out(scheme):
    with socket.create_server(("127.0.0.1", 0)) as silent:
        began = time.monotonic()
        with pytest.raises(HardwareError, match="cannot be opened"):
            Camera(f"{scheme}://127.0.0.1:{silent.getsockname()[1]}/stream").connect()
    assert time.monotonic() - began < 10.0


class Stream(BaseHTTPRequestHandler):
    """HTTP stream of a network camera that stops after some images."""

    def do_GET(self):  # noqa: N802 - name in the base class
        self.send_response(200)
        self.send_header("Content-Type", "multipart/x-mixed-replace; boundary=image")
        self.end_headers()
        for shade in SHADES * 10:
            image = cv2.imencode(".jpg", np.full((48, 64, 3), (0, 0, shade), np.uint8))[1].tobytes()
            self.wfile.write(b"--image\r\nContent-Type: image/jpeg\r\nContent-Length: %d\r\n\r\n%b\r\n" % (len(image), image))
            time.sleep(1 / RATE)
        self.server.over.wait()

    def log_message(self, *_):
        pass


def test_stream_is_read_until_no_image_comes():
    with ThreadingHTTPServer(("127.0.0.1", 0), Stream) as server:
        server.over = threading.Event()
        threading.Thread(target=server.serve_forever, daemon=True).start()
        camera, seen = Camera(f"http://127.0.0.1:{server.server_address[1]}/stream"), []
        camera.connect()
        with pytest.raises(HardwareError, match="no image received"):
            while True:
                seen.append(camera.read())
        server.over.set()
        server.shutdown()
    assert len(seen) >= 20 and not camera.connected
    assert {round(image[..., 0].mean(), -1) for _, image in seen} == {40, 120, 200}
    assert time.time() - seen[-1][0] < 10.0
