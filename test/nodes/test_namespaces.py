"""Two identical cells in namespaces of one graph, one of them with remapped joint states, and a bag of one beside the other."""

import time
from pathlib import Path

import numpy as np
import pytest

from latent_policy_ros import bringup
from latent_policy_ros.bringup.node_list import robot_remaps
from latent_policy_ros.bringup.supervisor import Supervisor, node_command

pytest.importorskip("rclpy", reason="needs ROS 2", exc_type=ImportError)
pytest.importorskip("latent_policy_ros.msg", reason="needs the generated messages", exc_type=ImportError)
pytest.importorskip("torch")

from rclpy.serialization import deserialize_message  # noqa: E402
from rosbags.highlevel import AnyReader  # noqa: E402
from sensor_msgs.msg import Image, JointState  # noqa: E402
from std_srvs.srv import Trigger  # noqa: E402

from latent_policy_ros.data.bags.metadata import read  # noqa: E402
from latent_policy_ros.data.conversion.mapping import robots_of_bag  # noqa: E402
from latent_policy_ros.msg import LatentAction  # noqa: E402
from latent_policy_ros.nodes.topics import message_conversion, qos  # noqa: E402

REMAPS = {"cell_a": [], "cell_b": [("joint_states", "measured")]}  # as PushRosNamespace and SetRemap give them


def command(spec, folder):
    """The command line that launch_nodes describes for launch."""
    rules = REMAPS[spec.namespace.split("/")[0]]
    rules = [*rules, *robot_remaps(spec.robots, rules)]
    return node_command(spec, folder, [word for old, new in rules for word in ("-r", f"{old}:={new}")])


def call(graph, name):
    client = graph.probe.create_client(Trigger, name)
    graph.until(client.service_is_ready, 30, name)
    future = client.call_async(Trigger.Request())
    graph.until(future.done, 30, name)
    return future.result()


def test_two_cells_run_side_by_side_and_a_bag_of_one_moves_nothing(graph, artifacts, tmp_path):
    fleet = bringup.single_robot("left", "mimic_hand", ["front"], "mock", artifacts.policy, artifacts.latent)
    specs = bringup.node_specs(fleet, record=True, bag_folder=tmp_path / "bags")
    cells = {cell: bringup.in_namespace(specs, cell) for cell in REMAPS}
    chunks = {cell: graph.listen(LatentAction, f"/{cell}/left/latent_action", qos.LATENTS) for cell in cells}
    measured = graph.listen(JointState, "/cell_b/left/measured", qos.STATES)
    images = {cell: graph.probe.create_publisher(Image, f"/{cell}/left/front/image_raw", qos.IMAGES) for cell in cells}
    pixels = np.random.default_rng(0).integers(0, 255, (32, 32, 3), dtype=np.uint8)

    def publish():
        for publisher in images.values():
            publisher.publish(message_conversion.image(time.time(), "front", pixels))

    with Supervisor(cells["cell_b"], log_folder=tmp_path / "b", command=command) as second:
        with Supervisor(cells["cell_a"], log_folder=tmp_path / "a", command=command) as first:
            graph.until(lambda: all(len(found) > 5 for found in chunks.values()), 90, "chunks of both cells", publish)
            assert call(graph, "/cell_a/recorder/start").success
            graph.run(1.5, publish)
            assert call(graph, "/cell_a/recorder/stop").success
            assert first.poll() == {} and second.poll() == {}
        assert not graph.probe.get_publishers_info_by_topic("/cell_b/left/joint_states")
        (bag,) = (tmp_path / "bags").glob("*/*")
        check_bag(bag)
        for _ in range(4):  # on a busy machine a node may be discovered later
            present = bringup.present_nodes()
            if "/cell_b/left/decoder" in present:
                break
        assert "/cell_b/left/decoder, " in bringup.name_conflict(cells["cell_b"], present)
        assert bringup.name_conflict(cells["cell_a"], present) == ""
        graph.run(2.0)  # without images the second cell holds
        measured.clear()
        play(graph, bag)
        arm = np.array([m.position for _, m in measured if m.name[0] == "panda_joint1"])
        assert len(arm) > 50 and np.ptp(arm, axis=0).max() < 1e-3
        assert second.poll() == {} and list((tmp_path / "bags").glob("*/*")) == [bag]


def check_bag(bag):
    (robot,) = robots_of_bag(read(bag)["custom_data"])
    with AnyReader([bag]) as reader:
        topics = {connection.topic for connection in reader.connections}
    expected = {topic for source in robot.state for topic in source.topics}
    assert expected == {"/cell_a/left/joint_states"} and robot.wrist.topic == "/cell_a/left/wrist_pose"
    assert expected <= topics and "/cell_a/left/latent_action" in topics
    assert all(topic.startswith("/cell_a/") or topic == "/diagnostics" for topic in topics)


def play(graph, bag: Path):
    """Publish every message of a bag as it was recorded, for 1.5 s."""
    with AnyReader([bag]) as reader:
        messages = [(c.topic, c.msgtype, data) for c, _, data in reader.messages()]
    publishers = {}
    for topic, msg_type, data in messages:
        kind = message_conversion.message_class(msg_type)
        if topic not in publishers:
            publishers[topic] = graph.probe.create_publisher(kind, topic, qos.EVENTS)
        publishers[topic].publish(deserialize_message(data, kind))
    graph.run(1.5)
