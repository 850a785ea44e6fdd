"""Reading of bags as recorders write them: unusable topics do not affect others."""

import errno
import sqlite3

import pytest
import yaml
from mcap.writer import Writer as McapWriter
from rosbags.rosbag2 import CompressionFormat, CompressionMode, StoragePlugin, Writer

from latent_policy_ros.data.bags import storage
from latent_policy_ros.data.bags.message_types import definition, message_types
from latent_policy_ros.data.bags.reader import open_bag
from latent_policy_ros.data.bags.repair import repair_bag
from latent_policy_ros.data.issues import BagUnreadable

STRING = "std_msgs/msg/String"


def serialized(text):
    store = message_types()
    return bytes(store.serialize_cdr(store.types[STRING](data=text), STRING))


@pytest.mark.parametrize("storage", [StoragePlugin.MCAP, StoragePlugin.SQLITE3])
def test_qos_in_metadata_may_differ_from_the_file(tmp_path, storage):
    with Writer(tmp_path / "bag", version=9, storage_plugin=storage) as writer:
        connection = writer.add_connection("/words", STRING, typestore=message_types())
        for i in range(5):
            writer.write(connection, i, serialized(str(i)))
    file = tmp_path / "bag" / "metadata.yaml"
    metadata = yaml.safe_load(file.read_text())
    qos = {"history": 1, "depth": 5, "reliability": 2, "durability": 2, "deadline": {"sec": 0, "nsec": 0}, "liveliness": 1,
           "lifespan": {"sec": 0, "nsec": 0}, "liveliness_lease_duration": {"sec": 0, "nsec": 0},
           "avoid_ros_namespace_conventions": False}  # fmt: skip
    (topic,) = metadata["rosbag2_bagfile_information"]["topics_with_message_count"]
    topic["topic_metadata"]["offered_qos_profiles"] = yaml.safe_dump([qos])
    file.write_text(yaml.safe_dump(metadata))
    with open_bag(tmp_path / "bag") as bag:
        assert [message.data for _, _, message in bag.messages(["/words"])] == ["0", "1", "2", "3", "4"]


def test_invalid_definition_affects_only_its_topic(tmp_path):
    file = tmp_path / "bag.mcap"
    with file.open("wb") as stream:
        writer = McapWriter(stream)
        writer.start(profile="ros2")
        for topic, kind, text in (("/words", STRING, definition(STRING)[0]), ("/service", "a/srv/B_Event", "bool x\n---\nbool x")):
            schema = writer.register_schema(kind, "ros2msg", text.encode())
            channel = writer.register_channel(topic, "cdr", schema)
            writer.add_message(channel, log_time=1, data=serialized("here"), publish_time=1)
        writer.finish()
    with open_bag(file) as bag:
        assert [message.data for _, _, message in bag.messages(["/words"])] == ["here"]
        with pytest.raises(BagUnreadable, match="message types of /service"):
            list(bag.messages(["/service"]))


@pytest.mark.parametrize("language", ["unknown", "", "jsonschema"])
def test_unknown_definition_language_affects_only_its_topic_in_mcap(tmp_path, language):
    """rosbag2 writes such definitions for types it cannot find; other writers, for messages that are not ROS messages."""
    bag = tmp_path / "bag"
    bag.mkdir()
    with (bag / "bag_0.mcap").open("wb") as stream:
        writer = McapWriter(stream)
        writer.start(profile="ros2")
        form = "json" if language == "jsonschema" else "cdr"
        types = ("/words", STRING, "ros2msg", definition(STRING)[0], "cdr"), ("/goal", "a/action/B_Feedback", language, "{}", form)
        for topic, msg_type, language, text, encoding in types:
            channel = writer.register_channel(topic, encoding, writer.register_schema(msg_type, language, text.encode()))
            writer.add_message(channel, log_time=1, data=serialized("here"), publish_time=1)
        writer.finish()
    check_readable(bag / "bag_0.mcap")
    repair_bag(bag)  # writes metadata.yaml
    assert form in (bag / "metadata.yaml").read_text()
    check_readable(bag)


@pytest.mark.parametrize("language", ["unknown", ""])
def test_unknown_definition_language_affects_only_its_topic_in_sqlite3(tmp_path, language):
    with Writer(tmp_path / "bag", version=9, storage_plugin=StoragePlugin.SQLITE3) as writer:
        for topic in ("/words", "/goal"):
            connection = writer.add_connection(topic, STRING, typestore=message_types())
            writer.write(connection, 1, serialized("here"))
    file, metadata = tmp_path / "bag" / "bag.db3", tmp_path / "bag" / "metadata.yaml"
    with sqlite3.connect(file) as database:
        database.execute("UPDATE topics SET type = 'a/action/B_Feedback' WHERE name = '/goal'")
        database.execute("INSERT INTO message_definitions VALUES (0, 'a/action/B_Feedback', ?, '', '')", [language])
    database.close()
    content = yaml.safe_load(metadata.read_text())
    content["rosbag2_bagfile_information"]["topics_with_message_count"][1]["topic_metadata"]["type"] = "a/action/B_Feedback"
    metadata.write_text(yaml.safe_dump(content))
    check_readable(tmp_path / "bag")
    check_readable(file)


def check_readable(path):
    """Check that both topics are listed and that the one with a known type can be read."""
    with open_bag(path) as bag:
        assert {name: topic.count for name, topic in bag.topics.items()} == {"/words": 1, "/goal": 1}
        assert (bag.start, bag.end) == pytest.approx((1e-9, 2e-9))
        assert [message.data for _, _, message in bag.messages(["/words"])] == ["here"]
        with pytest.raises(BagUnreadable, match="message types of /goal: no definition of a/action/B_Feedback"):
            list(bag.messages(["/goal"]))


def test_full_disk_is_not_reported_as_damage(tmp_path, monkeypatch):
    writer = Writer(tmp_path / "bag", version=9, storage_plugin=StoragePlugin.MCAP)
    writer.set_compression(CompressionMode.FILE, CompressionFormat.ZSTD)
    with writer:
        writer.write(writer.add_connection("/words", STRING, typestore=message_types()), 1, serialized("here"))

    def full(*_):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(storage, "unpack_file", full)
    with (
        pytest.raises(OSError, match="no disk space to unpack .*bag; set TMPDIR to a folder on another disk") as raised,
        open_bag(tmp_path / "bag"),
    ):
        pass
    assert raised.value.errno == errno.ENOSPC and raised.value.filename
