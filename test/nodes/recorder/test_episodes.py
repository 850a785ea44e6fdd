"""Recorder node: one MCAP bag per episode, its contents and its metadata."""

import json
import time
from array import array

import pytest
import yaml

pytest.importorskip("rclpy", reason="needs ROS 2", exc_type=ImportError)
pytest.importorskip("latent_policy_ros.msg", reason="needs the generated messages", exc_type=ImportError)

from diagnostic_msgs.msg import DiagnosticArray  # noqa: E402
from mcap.reader import make_reader  # noqa: E402
from mcap_ros2.decoder import DecoderFactory  # noqa: E402
from recordings import FLEET, begin, counts, end, event, information, record  # noqa: E402
from rosbags.highlevel import AnyReader  # noqa: E402
from sensor_msgs.msg import CompressedImage, JointState  # noqa: E402
from trajectory_msgs.msg import JointTrajectory  # noqa: E402

from latent_policy_ros.common.ros_environment import ros_distribution  # noqa: E402
from latent_policy_ros.embodiments import load_embodiment  # noqa: E402
from latent_policy_ros.msg import EpisodeEvent  # noqa: E402
from latent_policy_ros.nodes.recorder_node import Recorder  # noqa: E402
from latent_policy_ros.nodes.topics import message_conversion, qos  # noqa: E402


def test_episode_is_recorded_as_one_bag_readable_by_other_tools(graph, recorder, robot, space):
    begin(graph, recorder, robot)
    sent = record(graph, robot)
    graph.publish(EpisodeEvent, "left/robot_event", qos.EVENTS, event("success"))
    graph.run(0.1)
    end(graph, recorder, success=True)
    bag = recorder.episodes.last_bag
    files = sorted(p.name for p in bag.iterdir())
    assert files == [f"{bag.name}_0.mcap", "metadata.yaml"] and bag.parent.name == bag.name[:10] == time.strftime("%Y-%m-%d")

    told = yaml.safe_load((bag / "metadata.yaml").read_text())["rosbag2_bagfile_information"]
    assert told["ros_distro"] == ros_distribution() != "unknown"
    assert told["storage_identifier"] == "mcap" and told["relative_file_paths"] == [f"{bag.name}_0.mcap"]
    told = told["custom_data"]
    assert told["task"] == "stack" and told["seed"] == "42" and told["success"] == "true" and told["outcome"] == "success"
    assert told["latent_id"] == space.latent_id and len(told["policy_id"]) == 64 and told["fleet"] == FLEET
    assert json.loads(told["outcomes"]) == {"left": "success"} and json.loads(told["cameras"]) == {"left": ["front"]}
    hand = load_embodiment("mimic_hand")
    assert json.loads(told["embodiments"]) == {"left": {"name": hand.name, "content_hash": hand.content_hash}}
    assert "dropped" not in told and "lost" not in told

    with (bag / f"{bag.name}_0.mcap").open("rb") as file:  # like Foxglove, with the message definitions in the file
        reader = make_reader(file, decoder_factories=[DecoderFactory()])
        plans = [m for _, c, _, m in reader.iter_decoded_messages() if c.topic == "/left/latent_action"]
    assert len(plans) == sent and [p.sequence for p in plans] == list(range(1, sent + 1))
    assert plans[0].latents[0] == 0.5 and plans[0].wrist_poses[0].position.x == 0.4
    found = counts(bag)
    assert found["/left/hand_command"] == sent and found["/left/robot_event"] == 1
    for topic in ("/left/front/image_raw/compressed", "/left/joint_states", "/left/wrist_pose"):
        assert found[topic] >= 0.95 * sent
    assert "/left/front/image_raw" not in found


def test_first_message_of_a_new_publisher_is_recorded(graph, recorder, robot):
    begin(graph, recorder, robot)
    publisher = graph.probe.create_publisher(EpisodeEvent, "left/robot_event", qos.EVENTS)
    time.sleep(0.5)  # discovery, while the recorder does nothing: its next step finds the message and the publisher at once
    publisher.publish(event("success"))
    time.sleep(0.1)
    graph.run(0.1, robot.publish)
    end(graph, recorder)
    assert counts(recorder.episodes.last_bag)["/left/robot_event"] == 1


def test_stamps_are_kept_and_log_time_is_the_time_of_receipt(graph, recorder, robot):
    before = time.time_ns()
    begin(graph, recorder, robot)
    record(graph, robot, 0.3)
    end(graph, recorder)
    with AnyReader([recorder.episodes.last_bag]) as reader:
        for connection, log_time, data in reader.messages():
            if connection.topic in ("/left/front/image_raw/compressed", "/left/joint_states"):
                stamp = reader.deserialize(data, connection.msgtype).header.stamp
                assert before - 1e9 < stamp.sec * 1e9 + stamp.nanosec <= log_time + 1e3 < time.time_ns()
                assert log_time - (stamp.sec * 1e9 + stamp.nanosec) < 0.1e9


def test_episode_without_motion_command_cannot_be_a_success(graph, recorder, robot, call):
    hold = lambda: message_conversion.command(time.time(), 0.0, ["a"], None)

    def each():
        robot.publish()
        graph.publish(JointTrajectory, "left/hand_command", qos.COMMANDS, hold())

    graph.run(0.7, each)  # discovery
    assert call("start", each).success
    graph.run(0.3, each)
    for step in ("while it is recorded", "after it"):
        answer = call("mark_success")
        assert not answer.success and "no motion command was recorded on /left/arm_command, " in answer.message, step
        assert recorder.recording is None or call("stop").success
    assert (
        counts(recorder.episodes.last_bag)["/left/hand_command"] > 0
        and information(recorder.episodes.last_bag)["outcome"] == "unknown"
    )
    assert call("mark_failure").success
    graph.run(0.3, robot.publish)
    begin(graph, recorder, robot)
    end(graph, recorder, success=True)
    assert information(recorder.episodes.last_bag)["outcome"] == "unknown" and recorder.counts["no success"] == 1


def test_compressed_images_are_recorded_unchanged(graph, recorder, robot, call):
    payload = array("B", bytes(range(200)) * 5)

    def each():
        robot.publish()
        graph.publish(CompressedImage, "left/front/image_raw/compressed", qos.IMAGES, CompressedImage(format="x", data=payload))

    robot.publish()
    publisher = graph.probe.create_publisher(CompressedImage, "left/front/image_raw/compressed", qos.IMAGES)
    graph._publishers["left/front/image_raw/compressed"] = publisher
    graph.run(1.0, each)
    assert call("start", each).success
    graph.run(0.5, each)
    assert call("stop").success
    with AnyReader([recorder.episodes.last_bag]) as reader:
        images = [reader.deserialize(d, c.msgtype) for c, _, d in reader.messages() if "image_raw" in c.topic]
        assert {c.topic for c in reader.connections if "image_raw" in c.topic} == {"/left/front/image_raw/compressed"}
    assert len(images) > 5 and all(bytes(m.data) == bytes(payload) and m.format == "x" for m in images)


def test_raw_images_are_recorded_unchanged_with_images_raw(graph, artifacts, tmp_path, robot, call):
    graph.add(Recorder, robots=["left"], cameras=["front"], folder=str(tmp_path), images="raw", min_free=0.001)
    graph.run(0.7, robot.publish)
    assert call("start", robot.publish).success
    graph.run(0.3, robot.publish)
    found = counts(tmp_path / call("stop").message)
    assert found["/left/front/image_raw"] > 3 and "/left/front/image_raw/compressed" not in found


def test_status_reports_rates_and_bag(graph, recorder, robot, call):
    status, sent, seconds = graph.listen(DiagnosticArray, "/recorder/status", qos.EVENTS), [0], 2.5
    assert call("start", robot.publish).success

    def publish():
        sent[0] += 1
        robot.publish()

    graph.run(seconds, publish, 0.05)
    told = {s.name: {pair.key: pair.value for pair in s.values} | {"text": s.message} for s in status[-1][1].status}
    assert told["/recorder"]["bag"] == str(recorder.recording.path) and told["/recorder"]["text"] == "recording"
    assert float(told["/recorder"]["disk_left_gb"]) > 0 and int(told["/recorder"]["messages"]) > 50
    assert float(told["/left/joint_states"]["rate_hz"]) == pytest.approx(sent[0] / seconds, rel=0.3)
    assert told["/left/joint_states"]["dropped"] == "0" and told["/left/joint_states"]["type"] == "sensor_msgs/msg/JointState"


def test_messages_received_while_a_bag_is_finished_are_in_the_next_bag(graph, tmp_path):
    publisher, sent = graph.probe.create_publisher(JointState, "x", qos.EVENTS), [0]

    def each():
        sent[0] += 1
        publisher.publish(JointState(name=[str(sent[0])]))

    node = graph.add(Recorder, topics=["/x"], folder=str(tmp_path), min_free=0.001)
    graph.run(1.0, each, 0.02)
    first = node.start({"task": "a"})
    graph.run(0.3, each, 0.02)
    close = node.episodes.episode.writer.close

    def slow(told):  # simulates a slow disk
        for _ in range(8):
            each()
            time.sleep(0.02)
        close(told)

    node.episodes.episode.writer.close = slow
    before = sent[0]
    second = node.start({"task": "b"})
    graph.run(0.3, each, 0.02)
    assert node.stop("done") == second and information(first)["stopped"] == "next start"

    def numbers(bag):
        with AnyReader([bag]) as reader:
            return [int(reader.deserialize(data, c.msgtype).name[0]) for c, _, data in reader.messages() if c.topic == "/x"]

    assert numbers(first)[-1] == before and numbers(second)[0] == before + 1
    assert numbers(second) == list(range(before + 1, sent[0] + 1))
