"""Bags as real recorders leave them: what matters is read, whatever else is in them."""

import pytest
import yaml
from mcap.writer import Writer as McapWriter
from rosbags.rosbag2 import StoragePlugin, Writer

from latent_policy_ros.data.bags import open_bag
from latent_policy_ros.data.faults import BagUnreadable
from latent_policy_ros.data.message_types import definition, message_types

STRING = "std_msgs/msg/String"


def said(text):
    store = message_types()
    return bytes(store.serialize_cdr(store.types[STRING](data=text), STRING))


@pytest.mark.parametrize("storage", [StoragePlugin.MCAP, StoragePlugin.SQLITE3])
def test_no_message_is_lost_where_metadata_tells_another_qos(tmp_path, storage):
    with Writer(tmp_path / "bag", version=9, storage_plugin=storage) as writer:
        connection = writer.add_connection("/words", STRING, typestore=message_types())
        for i in range(5):
            writer.write(connection, i, said(str(i)))
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


def test_a_type_that_nobody_can_read_spoils_its_own_topic_only(tmp_path):
    file = tmp_path / "bag.mcap"
    with file.open("wb") as stream:
        writer = McapWriter(stream)
        writer.start(profile="ros2")
        for topic, kind, text in (("/words", STRING, definition(STRING)[0]), ("/service", "a/srv/B_Event", "bool x\n---\nbool x")):
            schema = writer.register_schema(kind, "ros2msg", text.encode())
            channel = writer.register_channel(topic, "cdr", schema)
            writer.add_message(channel, log_time=1, data=said("here"), publish_time=1)
        writer.finish()
    with open_bag(file) as bag:
        assert [message.data for _, _, message in bag.messages(["/words"])] == ["here"]
        with pytest.raises(BagUnreadable, match="message types of /service"):
            list(bag.messages(["/service"]))
