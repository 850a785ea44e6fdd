"""Writing of bags: readability by other tools, JPEG compression, full queues and disks, crashes."""

import threading
import time
from pathlib import Path

import cv2
import numpy as np
import pytest
from rosbags.highlevel import AnyReader

from latent_policy_ros.common.errors import ArtifactError, ObservationRefused
from latent_policy_ros.data.bags import metadata
from latent_policy_ros.data.bags.mcap_writer import CHUNK, McapWriter
from latent_policy_ros.data.bags.message_types import definition, message_types
from latent_policy_ros.data.bags.metadata import TopicMetadata
from latent_policy_ros.data.bags.repair import repair_bag
from latent_policy_ros.data.recording import bag_writer
from latent_policy_ros.data.recording.bag_writer import BagWriter
from latent_policy_ros.data.recording.episode_bag import EpisodeBag, bag_folder, offered_qos
from latent_policy_ros.data.recording.jpeg import to_jpeg

IMAGE = TopicMetadata("/left/front/image_raw", "sensor_msgs/msg/Image", (offered_qos(False),))
STRING = TopicMetadata("/chatter", "std_msgs/msg/String", (offered_qos(True, transient_local=True),))


def image(encoding="rgb8", frame_id="front", height=48, width=64, padding=0, fill=None):
    """A serialised image with random content or one color, and its pixels."""
    store = message_types()
    types, channels = store.types, {"mono8": 1, "rgba8": 4, "16UC1": 2}.get(encoding, 3)
    if fill is None:
        smooth = np.random.default_rng(0).integers(0, 255, (6, 8, channels), np.uint8)
        pixels = cv2.resize(smooth, (width, height), interpolation=cv2.INTER_LINEAR).reshape(height, width, channels)
    else:
        pixels = np.tile(np.array(fill, np.uint8), (height, width, 1))
    rows = np.pad(pixels.reshape(height, -1), ((0, 0), (0, padding)))
    header = types["std_msgs/msg/Header"](types["builtin_interfaces/msg/Time"](sec=12, nanosec=34), frame_id)
    message = types[IMAGE.msg_type](header=header, height=height, width=width, encoding=encoding, is_bigendian=0,
                                step=rows.shape[1], data=rows.reshape(-1))  # fmt: skip
    return bytes(store.serialize_cdr(message, IMAGE.msg_type)), pixels


@pytest.mark.parametrize("frame_id", ["", "a", "ab", "abc", "abcd", "left/front_optical_frame"])
@pytest.mark.parametrize("encoding", ["rgb8", "bgr8", "rgba8", "mono8"])
def test_jpeg_has_the_content_and_header_of_the_raw_image(encoding, frame_id):
    data, pixels = image(encoding, frame_id, padding=8)
    kind = "sensor_msgs/msg/CompressedImage"
    compressed = message_types().deserialize_cdr(to_jpeg(data, 95), kind)
    assert (compressed.header.stamp.sec, compressed.header.stamp.nanosec, compressed.header.frame_id) == (12, 34, frame_id)
    assert compressed.format.startswith(f"{encoding}; jpeg")
    seen = cv2.imdecode(compressed.data, cv2.IMREAD_COLOR)[..., ::-1].astype(int)  # RGB
    rgb = {"rgb8": pixels, "bgr8": pixels[..., ::-1], "rgba8": pixels[..., :3], "mono8": pixels}[encoding].astype(int)
    assert np.abs(seen - rgb).mean() < 4


def test_jpeg_keeps_the_channel_order():
    compressed = message_types().deserialize_cdr(to_jpeg(image(fill=(250, 5, 5))[0], 90), "sensor_msgs/msg/CompressedImage")
    blue, green, red = cv2.imdecode(compressed.data, cv2.IMREAD_COLOR).mean((0, 1))
    assert red > 240 and blue < 15 and green < 15


@pytest.mark.parametrize("size", [0, 3, 20, 60, -1])
def test_invalid_image_is_refused(size):
    data, _ = image()
    with pytest.raises(ObservationRefused):
        to_jpeg(data[:size], 90)
    with pytest.raises(ObservationRefused, match="16UC1.*available.*rgb8"):
        to_jpeg(image("16UC1")[0], 90)


def test_writer_compresses_images_and_keeps_depth_images(tmp_path):
    writer = BagWriter(EpisodeBag(tmp_path / "bag", {}))
    for k in range(5):
        writer.write(IMAGE, (k + 1, k + 1, k), image()[0], encode=True)
    depth, _ = image("16UC1")
    writer.write(TopicMetadata("/left/depth/image_raw", IMAGE.msg_type), (9, 9, 0), depth, encode=True)
    path = writer.close({"outcome": "unknown"})
    with AnyReader([path]) as reader:
        found = {c.topic: (c.msgtype, c.msgcount) for c in reader.connections}
        (kept,) = [bytes(data) for c, _, data in reader.messages() if c.topic == "/left/depth/image_raw"]
    assert found == {
        "/left/front/image_raw/compressed": ("sensor_msgs/msg/CompressedImage", 5), "/left/depth/image_raw": (IMAGE.msg_type, 1)
    }  # fmt: skip
    assert kept == depth and not writer.dropped


def test_messages_dropped_by_a_full_queue_are_counted(tmp_path, monkeypatch):
    gate, write = threading.Event(), EpisodeBag.write

    def slow(self, *arguments):
        gate.wait(10)
        write(self, *arguments)

    monkeypatch.setattr(EpisodeBag, "write", slow)
    writer = BagWriter(EpisodeBag(tmp_path / "bag", {}), limit=10_000)
    for k in range(100):
        writer.write(STRING, (k, k, k), bytes(1000))
    gate.set()
    path = writer.close({})
    told = metadata.read(path)
    assert writer.dropped[STRING.name] == 90 and writer.accepted[STRING.name] == 10 and told["message_count"] == 10
    assert told["custom_data"]["dropped"] == '{"/chatter": 90}'


def test_full_disk_keeps_written_messages_and_counts_the_others(tmp_path, monkeypatch):
    written, os_write = [0], McapWriter._write

    def limited(self, data):
        if written[0] > 30_000 and data[0] == CHUNK:  # a summary is still written
            raise OSError(28, "No space left on device")
        os_write(self, data)
        written[0] += len(data)

    monkeypatch.setattr(McapWriter, "_write", limited)
    monkeypatch.setattr(bag_writer, "CHUNK_MAX_AGE", 0.01)
    writer = BagWriter(EpisodeBag(tmp_path / "bag", {"task": "stack"}))
    sent = 0
    while writer.error is None:
        writer.write(STRING, (sent + 1, sent + 1, sent), sent.to_bytes(4, "little") * 250)
        sent += 1
        time.sleep(0.005)
        assert sent < 2000
    writer.write(STRING, (sent + 1, 0, 0), bytes(1000))
    path = writer.close({"stopped": "disk"})
    with AnyReader([path]) as reader:
        kept = [int.from_bytes(data[:4], "little") for _, _, data in reader.messages()]
    assert kept == list(range(len(kept))) and len(kept) > 20
    assert len(kept) + writer.dropped[STRING.name] == sent + 1  # no message is unaccounted for


def test_unfinished_bag_contains_messages_after_the_flush_period(tmp_path):
    writer = BagWriter(EpisodeBag(tmp_path / "bag", {"task": "stack", "policy_id": "abc"}))
    for k in range(10):
        writer.write(STRING, (k + 1, k + 1, k), bytes(100))
    time.sleep(bag_writer.CHUNK_MAX_AGE + 4 * bag_writer.QUEUE_PERIOD)
    (file,) = (tmp_path / "bag").glob("*.mcap")
    copy = tmp_path / "killed" / "bag" / file.name
    copy.parent.mkdir(parents=True)
    copy.write_bytes(file.read_bytes())  # the state that a process killed now would leave
    done = repair_bag(copy.parent)
    assert done.messages == 10
    assert metadata.read(copy.parent)["custom_data"]["policy_id"] == "abc"
    writer.close({})


def test_bags_are_placed_by_date_and_never_overwrite_each_other(tmp_path):
    moment = time.mktime((2026, 11, 24, 12, 30, 5, 0, 0, -1))
    folder = bag_folder(tmp_path, moment)
    assert folder == tmp_path / "2026-11-24" / "2026-11-24_12-30-05"
    bags = [EpisodeBag(folder, {}) for _ in range(3)]
    assert [bag.path.name for bag in bags] == [folder.name, f"{folder.name}-1", f"{folder.name}-2"]
    for bag in bags:
        with AnyReader([bag.close()]) as reader:
            assert reader.message_count == 0


def test_outcome_can_be_set_in_a_finished_bag(tmp_path):
    bag = EpisodeBag(tmp_path / "bag", {"task": "stack"})
    bag.write(bag.add_topic(STRING), (5, 4, 1), bytes(20))
    path = bag.close({"outcome": "unknown"})
    before = (path / "bag_0.mcap").read_bytes()
    metadata.update_custom(path, {"outcome": "success"})
    told = metadata.read(path)
    assert told["custom_data"]["outcome"] == "success" and told["custom_data"]["task"] == "stack" and told["message_count"] == 1
    assert (path / "bag_0.mcap").read_bytes() == before
    assert sorted(p.name for p in path.iterdir()) == ["bag_0.mcap", "metadata.yaml"]
    with AnyReader([path]) as reader:
        (connection,) = reader.connections
        assert reader.message_count == 1 and connection.ext.offered_qos_profiles[0].durability.name == "TRANSIENT_LOCAL"
    with pytest.raises(ArtifactError, match="no metadata.yaml"):
        metadata.update_custom(tmp_path, {})


def test_definitions_of_installed_types_include_their_field_types(tmp_path, monkeypatch):
    for package, name, text in (("lab_msgs", "Grip", "lab_msgs/Finger[] fingers\nother_msgs/Force force\nfloat64 width\n"),
                                ("lab_msgs", "Finger", "string name\n"), ("other_msgs", "Force", "float64 newton\n")):  # fmt: skip
        folder = tmp_path / "share" / package / "msg"
        folder.mkdir(parents=True, exist_ok=True)
        (folder / f"{name}.msg").write_text(text)
    monkeypatch.setenv("AMENT_PREFIX_PATH", str(tmp_path))
    text, type_hash = definition("lab_msgs/msg/Grip")
    assert "MSG: lab_msgs/Finger" in text and "MSG: other_msgs/Force" in text and type_hash.startswith("RIHS01_")
    with pytest.raises(ArtifactError, match=f"lab_msgs/msg/Hook.*{tmp_path}"):
        definition("lab_msgs/msg/Hook")


def test_type_hashes_equal_those_of_ros():
    prefix = Path(__import__("sys").prefix) / "share" / "std_msgs" / "msg" / "String.json"
    if not prefix.is_file():
        pytest.skip("needs a ROS 2 installation")
    assert definition("std_msgs/msg/String")[1] in prefix.read_text()
