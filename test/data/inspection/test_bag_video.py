"""Videos and contact sheets of bags."""

import av
import cv2
import numpy as np
import pytest
from rosbags.rosbag2 import StoragePlugin, Writer
from rosbags.typesys import Stores, get_typestore

from latent_policy_ros.common.errors import ArtifactError
from latent_policy_ros.data.inspection.bag_video import read_images, render_bag_video

STORE = get_typestore(Stores.ROS2_JAZZY)
Image, Header, Time = (STORE.types[n] for n in ("sensor_msgs/msg/Image", "std_msgs/msg/Header", "builtin_interfaces/msg/Time"))


CHANNELS = {"rgb8": 3, "bgr8": 3, "mono8": 1, "16UC1": 2}  # bytes


def write_bag(path, encoding="rgb8", seconds=1.0, rate=10):
    """A bag with one camera whose images change from black to red."""
    with Writer(path, version=9, storage_plugin=StoragePlugin.MCAP) as writer:
        connection = writer.add_connection("/left/front/image_raw", Image.__msgtype__, typestore=STORE)
        for tick in range(int(seconds * rate)):
            image = np.zeros((48, 64, CHANNELS[encoding]), np.uint8)
            image[..., 2 if encoding == "bgr8" else 0] = 25 * tick
            stamp = int(tick / rate * 1e9)
            header = Header(stamp=Time(sec=0, nanosec=stamp), frame_id="front")
            message = Image(
                header=header, height=48, width=64, encoding=encoding, is_bigendian=0, step=image[0].size, data=image.ravel()
            )
            writer.write(connection, stamp, STORE.serialize_cdr(message, Image.__msgtype__))
    return path


@pytest.mark.parametrize(("encoding", "pixel"), [("rgb8", [225, 0, 0]), ("bgr8", [225, 0, 0]), ("mono8", [225, 225, 225])])
def test_images_of_all_encodings_are_read_as_rgb(tmp_path, encoding, pixel):
    frames = read_images(write_bag(tmp_path / "bag", encoding), ["/left/front/image_raw"])["/left/front/image_raw"]
    assert [round(t, 3) for t, _ in frames] == [round(0.1 * i, 3) for i in range(10)]
    assert (frames[-1][1] == pixel).all()


def test_render_bag_video_writes_video_and_contact_sheet(tmp_path):
    video, sheet = render_bag_video(write_bag(tmp_path / "bag"), {"/left/front/image_raw": "left"}, tmp_path / "video", fps=10)
    with av.open(str(video)) as container:
        images = [frame.to_ndarray(format="rgb24") for frame in container.decode(video=0)]
    assert len(images) == 10 and images[0].shape == (360, 480, 3)
    assert images[-1][300, 240, 0] > 200 and images[-1][300, 240, 1] < 40
    assert cv2.imread(str(sheet)).shape == (3 * 360, 3 * 480, 3)


def test_missing_topic_is_named_with_alternatives(tmp_path):
    bag = write_bag(tmp_path / "bag")
    with pytest.raises(ArtifactError, match=r"/right/front.*available: /left/front/image_raw"):
        read_images(bag, ["/right/front/image_raw"])


def test_unknown_encoding_is_named(tmp_path):
    with pytest.raises(ArtifactError, match="/left/front/image_raw: image encoding '16UC1'.*available: .*mono8"):
        read_images(write_bag(tmp_path / "bag", "16UC1"), ["/left/front/image_raw"])
