"""Recorder node: one MCAP bag per episode, its metadata, losses, services, events and QoS."""

import json
import os
import re
import signal
import subprocess
import sys
import time
from array import array
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import yaml

pytest.importorskip("rclpy", reason="needs ROS 2", exc_type=ImportError)
pytest.importorskip("latent_policy_ros.msg", reason="needs the generated messages", exc_type=ImportError)

from diagnostic_msgs.msg import DiagnosticArray  # noqa: E402
from geometry_msgs.msg import PointStamped  # noqa: E402
from mcap.reader import make_reader  # noqa: E402
from mcap_ros2.decoder import DecoderFactory  # noqa: E402
from rclpy.qos import DurabilityPolicy, QoSProfile, ReliabilityPolicy  # noqa: E402
from rclpy.serialization import serialize_message  # noqa: E402
from rosbags.highlevel import AnyReader  # noqa: E402
from sensor_msgs.msg import CompressedImage, JointState  # noqa: E402
from std_msgs.msg import String  # noqa: E402
from std_srvs.srv import Trigger  # noqa: E402
from trajectory_msgs.msg import JointTrajectory  # noqa: E402

from latent_policy_ros.cli.record import recorder as recorder_of  # noqa: E402
from latent_policy_ros.common.ros_environment import node_environment  # noqa: E402
from latent_policy_ros.data.bags import metadata  # noqa: E402
from latent_policy_ros.data.bags.repair import repair_bag  # noqa: E402
from latent_policy_ros.data.recording.jpeg import IMAGE_FORMATS  # noqa: E402
from latent_policy_ros.embodiments import load_embodiment  # noqa: E402
from latent_policy_ros.msg import EpisodeEvent, LatentAction  # noqa: E402
from latent_policy_ros.nodes.base import message_conversion, qos  # noqa: E402
from latent_policy_ros.nodes.recorder_node import Recorder  # noqa: E402
from latent_policy_ros.policy import ActionChunk  # noqa: E402

FLEET = "robots:\n  left: {embodiment: mimic_hand, cameras: [front], driver: mock}\n"
RELIABLE = QoSProfile(depth=100, reliability=ReliabilityPolicy.RELIABLE)
LATCHED = QoSProfile(depth=5, reliability=ReliabilityPolicy.RELIABLE, durability=DurabilityPolicy.TRANSIENT_LOCAL)


def event(name, age=0.0, run="", **changes):
    message = EpisodeEvent(**{"event": name, "task": "stack", "episode": 3, "seed": 42, **changes})
    message.header.stamp, message.header.frame_id = message_conversion.to_stamp(time.time() - age), run
    return message


@pytest.fixture
def robot(fake_robot):
    return fake_robot("left", "mimic_hand", ("front",))


@pytest.fixture
def recorder(graph, artifacts, tmp_path, robot):
    node = graph.add(Recorder, robots=["left"], cameras=["front"], embodiments=["mimic_hand"], folder=str(tmp_path / "bags"),
                     fleet=FLEET, policy=artifacts.policy, latent=artifacts.latent, min_free=0.001, silent_after=0.4,
                     start_wait=0.6)  # fmt: skip
    graph.run(0.7, robot.publish)  # discovery
    return node


@pytest.fixture
def call(graph):
    """Call one of the recorder's services while ``each`` publishes."""

    def call(name, each=lambda: None):
        client = graph.probe.create_client(Trigger, f"/recorder/{name}")
        graph.until(client.service_is_ready, what=name)
        graph.run(0.1, each, 0.03)
        future = client.call_async(Trigger.Request())
        graph.until(future.done, what=name, each=each)
        return future.result()

    return call


def information(bag):
    return metadata.read(bag)["custom_data"]


def counts(bag):
    with AnyReader([bag]) as reader:
        return {c.topic: c.msgcount for c in reader.connections}


def begin(graph, recorder, robot, **changes):
    graph.publish(EpisodeEvent, "episode_event", qos.EVENTS, event("begin", **changes))
    graph.until(lambda: recorder.recording, what="recording", each=robot.publish)


def end(graph, recorder, name="end", **changes):
    graph.publish(EpisodeEvent, "episode_event", qos.EVENTS, event(name, **changes))
    graph.until(lambda: not recorder.recording, what="the end")


def record(graph, robot, seconds=0.6):
    """Publish an episode; returns the number of action chunks and of commands."""
    sent = [0]
    wrist = np.tile([0.4, 0, 0.4, 1.0, 0, 0, 0], (16, 1))

    def each():
        sent[0] += 1
        robot.publish()
        chunk = ActionChunk(time.time(), 0.1, np.full((16, 8), 0.5), wrist, "latent", "policy", sent[0])
        graph.publish(LatentAction, "left/latent_action", qos.LATENTS, message_conversion.latent_action(chunk, "left"))
        command = message_conversion.command(time.time(), 0.0, ["a"], np.array([1.0]))
        graph.publish(JointTrajectory, "left/hand_command", qos.COMMANDS, command)

    graph.run(seconds, each, 0.03)
    graph.run(0.2)
    return sent[0]


def test_episode_is_recorded_as_one_bag_readable_by_other_tools(graph, recorder, robot, space):
    begin(graph, recorder, robot)
    sent = record(graph, robot)
    graph.publish(EpisodeEvent, "left/episode_event", qos.EVENTS, event("success"))
    graph.run(0.1)
    end(graph, recorder, success=True)
    bag = recorder.episodes.last_bag
    files = sorted(p.name for p in bag.iterdir())
    assert files == [f"{bag.name}_0.mcap", "metadata.yaml"] and bag.parent.name == bag.name[:10] == time.strftime("%Y-%m-%d")

    told = yaml.safe_load((bag / "metadata.yaml").read_text())["rosbag2_bagfile_information"]
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
    assert found["/left/hand_command"] == sent and found["/left/episode_event"] == 1
    for topic in ("/left/front/image_raw/compressed", "/left/joint_states", "/left/wrist_pose"):
        assert found[topic] >= 0.95 * sent
    assert "/left/front/image_raw" not in found


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


def test_each_episode_has_a_bag_and_a_discarded_bag_is_in_the_trash(graph, recorder, robot):
    day = time.strftime("%Y-%m-%d")
    for number, name in enumerate(("end", "end", "discard")):
        begin(graph, recorder, robot)
        path = recorder.recording.path
        end(graph, recorder, name)
        assert len(list(recorder.episodes.folder.glob(f"{day}/*"))) == min(number + 1, 2)
    (bag,) = recorder.episodes.trash.iterdir()
    told = information(bag)
    assert bag.name == path.name and told["stopped"] == "discarded" and counts(bag)["/left/joint_states"] > 0
    assert told["stopped_by"] == "event discard of run '', episode 3, by /probe" and "event begin" in told["started_by"]


def test_events_that_are_old_or_concern_another_recording_are_refused(graph, recorder, robot, call):
    """A refused event changes nothing, is counted, and names its fault and its publisher."""
    begin(graph, recorder, robot, run="ours")
    path = recorder.recording.path
    foreign = (
        (event("discard", age=2.0, run="ours"), "event discard by /probe: stamped 2..* before its receipt, expected at most 1 s"),
        (event("discard", age=-2.0, run="ours"), "stamped -"),
        (event("end", age=time.time(), run="ours"), "stamped"),
        (event("begin", age=1e6, run="ours"), "stamped"),
        (event("discard", run="ours", episode=4), "records episode 3 of run 'ours', the event concerns episode 4 of run 'ours'"),
        (event("end", run="theirs"), "records episode 3 of run 'ours', the event concerns episode 3 of run 'theirs'"),
    )
    for number, (message, words) in enumerate(foreign, 1):
        graph.publish(EpisodeEvent, "episode_event", qos.EVENTS, message)
        graph.until(lambda: recorder.counts["episode_event: refused"] == number, what=words)  # noqa: B023
        assert re.search(words, recorder.details["episode_event: refused"]), recorder.details
        assert recorder.recording.path == path
    end(graph, recorder, run="ours")
    for name in ("discard", "end"):  # nothing is open: the finished bag stays
        number += 1
        graph.publish(EpisodeEvent, "episode_event", qos.EVENTS, event(name, run="ours"))
        graph.until(lambda: recorder.counts["episode_event: refused"] == number, what=name)  # noqa: B023
        assert path.is_dir() and information(path)["stopped"] == "end of the episode"
    assert call("start", robot.publish).success
    graph.publish(EpisodeEvent, "episode_event", qos.EVENTS, event("discard"))
    graph.until(lambda: recorder.counts["episode_event: refused"] == number + 1, what="recording of a service")
    assert recorder.recording and "was begun by a service" in recorder.details["episode_event: refused"]


def test_trash_is_emptied_by_age(graph, recorder, robot, call):
    bags = []
    for _ in range(2):
        graph.run(0.2, robot.publish)
        assert call("start", robot.publish).success
        path = recorder.recording.path
        answer = call("discard", robot.publish)
        told = re.fullmatch(rf"discarded {re.escape(str(path))}; it is in (\S+) for 7 days", answer.message)
        bags.append(Path(told[1]))  # a number follows the name if there is a bag of that name
        assert answer.success and bags[-1].parent == recorder.episodes.trash and bags[-1].name.startswith(path.name)
    os.utime(bags[0], (time.time() - 8 * 86400,) * 2)
    assert recorder.episodes.empty_trash() == bags[:1] and bags[1].is_dir() and not bags[0].exists()


def test_damaged_messages_are_recorded_and_counted(graph, recorder, robot, call):
    """Half a serialised message on an input and on a recorded topic."""
    raw = bytes(serialize_message(message_conversion.command(time.time(), 0.0, ["a"], np.array([1.0]))))
    damaged = graph.probe.create_publisher(JointTrajectory, "left/hand_command", qos.COMMANDS)
    events = graph.probe.create_publisher(EpisodeEvent, "episode_event", qos.EVENTS)
    graph.run(0.7, robot.publish)
    assert call("start", robot.publish).success
    for _ in range(20):
        damaged.publish(raw[: len(raw) // 2])
        events.publish(b"\0\1\0\0" + b"\xff" * 10)
        graph.run(0.03, robot.publish)
    for topic in ("/left/hand_command", "episode_event"):
        graph.until(lambda: recorder.counts[f"{topic}: damaged message"] > 5, what=topic, each=robot.publish)  # noqa: B023
    assert recorder.recording and not recorder.counts["failed"]
    assert call("stop").success and counts(recorder.episodes.last_bag)["/left/hand_command"] > 5


def test_clock_jumps_are_noted_in_the_bag(graph, recorder, robot, monkeypatch):
    begin(graph, recorder, robot)
    recorder._clock_offset -= 3600.0  # as if the system clock was set forward by an hour
    graph.until(lambda: recorder.counts["clock jump"], what="clock jump", each=robot.publish)
    end(graph, recorder)
    ((_, jump),) = json.loads(information(recorder.episodes.last_bag)["clock_jumps"])
    assert abs(jump - 3600) < 0.1


def test_services_start_stop_mark_and_discard(graph, recorder, robot, call):
    assert not call("stop").success and not call("mark_success").success and not call("discard").success
    started = call("start", robot.publish)
    assert started.success, started.message
    assert str(recorder.recording.path) == started.message
    record(graph, robot, 0.3)
    stopped = call("stop", robot.publish)
    assert stopped.success and stopped.message == started.message
    bag = recorder.episodes.last_bag
    assert information(bag)["outcome"] == "unknown" and "success" not in information(bag)
    assert call("mark_success").success and information(bag)["outcome"] == "success"  # after stop
    assert call("mark_failure").success and information(bag)["outcome"] == "failure" and information(bag)["success"] == "false"
    assert counts(bag)["/left/joint_states"] > 0

    graph.run(0.2, robot.publish)
    assert call("start", robot.publish).success
    record(graph, robot, 0.3)
    assert call("mark_success").success  # before stop; the first bag is unchanged
    assert call("stop").success
    assert information(recorder.episodes.last_bag)["outcome"] == "success" and information(bag)["outcome"] == "failure"
    second = recorder.episodes.last_bag
    assert "stopped_by" in information(second) and re.search("service stop by .*/probe", information(second)["stopped_by"])
    answer = call("discard")
    assert not answer.success and f"{second} is finished and stays" in answer.message and second.exists() and bag.exists()


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


def test_start_is_refused_while_a_required_topic_is_silent(graph, recorder, robot, call):
    robot.silent.add("wrist_pose")
    graph.run(0.6, robot.publish)
    answer = call("start", robot.publish)
    assert not answer.success and not recorder.recording
    # Publishers of tests before may still be counted.
    assert re.search(r"/left/wrist_pose: \d+ publishers?, nothing for 0\.", answer.message) and "joint_states" not in answer.message
    graph.publish(EpisodeEvent, "episode_event", qos.EVENTS, event("begin"))
    graph.until(lambda: "refused to start" in recorder.counts, what="refusal", each=robot.publish)
    assert not recorder.recording and "wrist_pose" in recorder.trouble and not list(recorder.episodes.folder.glob("*/*"))
    status = graph.listen(DiagnosticArray, "/recorder/status", qos.EVENTS)
    graph.until(lambda: status, each=robot.publish)
    told = {s.name: s for s in status[-1][1].status}
    assert told["/recorder"].level == b"\x02" and "wrist_pose" in told["/recorder"].message
    assert told["/left/wrist_pose"].level == b"\x02" and told["/left/joint_states"].level == b"\x00"
    robot.silent.clear()
    graph.run(0.2, robot.publish)
    assert call("start", robot.publish).success and recorder.trouble == ""


def test_begin_event_waits_for_a_silent_topic(graph, recorder, robot):
    robot.silent.add("front")
    graph.run(0.6, robot.publish)
    graph.publish(EpisodeEvent, "episode_event", qos.EVENTS, event("begin"))
    graph.run(0.3, robot.publish)
    assert not recorder.recording and "front/image_raw" in recorder.trouble
    robot.silent.clear()
    graph.until(lambda: recorder.recording, what="recording", each=robot.publish)
    assert recorder.recording.bag.custom_data["task"] == "stack"


def test_status_reports_rates_and_bag(graph, recorder, robot, call):
    status = graph.listen(DiagnosticArray, "/recorder/status", qos.EVENTS)
    assert call("start", robot.publish).success
    graph.run(2.5, robot.publish, 0.05)
    told = {s.name: {pair.key: pair.value for pair in s.values} | {"text": s.message} for s in status[-1][1].status}
    assert told["/recorder"]["bag"] == str(recorder.recording.path) and told["/recorder"]["text"] == "recording"
    assert float(told["/recorder"]["disk_left_gb"]) > 0 and int(told["/recorder"]["messages"]) > 50
    assert 12 < float(told["/left/joint_states"]["rate_hz"]) < 25  # 20 Hz
    assert told["/left/joint_states"]["dropped"] == "0" and told["/left/joint_states"]["type"] == "sensor_msgs/msg/JointState"


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


def test_subscriptions_match_publishers_and_latched_messages_are_in_every_bag(graph, tmp_path, call):
    """Topics of any type; a subscription is reliable or transient local only if all publishers are."""
    make = graph.probe.create_publisher
    strong, latched = make(String, "/strong", RELIABLE), make(String, "/description", LATCHED)
    mixed = make(PointStamped, "/mixed", RELIABLE), make(PointStamped, "/mixed", qos.STATES)
    latched.publish(String(data="robot"))
    recorder = graph.add(Recorder, topics=["/strong", "/mixed", "/description"], folder=str(tmp_path), min_free=0.001)

    def each():
        strong.publish(String(data="hello"))
        for publisher in mixed:
            publisher.publish(PointStamped())

    graph.run(1.5, each)
    sources = {s.topic: s for s in recorder.topics.topics}
    assert sources["/strong"].reliable and not sources["/strong"].transient_local
    assert sources["/description"].reliable and sources["/description"].transient_local
    assert not sources["/mixed"].reliable
    for _ in range(2):  # in every bag, although it was published once, before the first
        assert call("start", each).success
        began = time.time_ns()
        sent = []
        graph.run(0.4, lambda sent=sent: (sent.append(1), each()), 0.02)
        graph.run(0.1)
        bag = tmp_path / call("stop").message
        with AnyReader([bag]) as reader:
            found = {c.topic: c for c in reader.connections}
            (description,) = [(t, reader.deserialize(d, c.msgtype).data) for c, t, d in reader.messages([found["/description"]])]
        assert description[1] == "robot" and abs(description[0] - began) < 2e9
        assert found["/strong"].msgcount >= len(sent) and found["/mixed"].msgcount >= 2 * len(sent)
        offered = {topic: c.ext.offered_qos_profiles[0] for topic, c in found.items()}
        assert offered["/description"].durability.name == "TRANSIENT_LOCAL" and offered["/mixed"].reliability.name == "BEST_EFFORT"


def test_newest_latched_message_of_each_publisher_is_in_every_bag(graph, tmp_path, call):
    make = graph.probe.create_publisher
    alone, often, once = (make(String, topic, LATCHED) for topic in ("/alone", "/shared", "/shared"))
    recorder = graph.add(Recorder, topics=["/alone", "/shared"], folder=str(tmp_path), min_free=0.001)
    graph.run(1.0)
    for k in range(20):
        alone.publish(String(data=f"alone {k}"))
        often.publish(String(data=f"often {k}"))
        graph.run(0.05)
        if k == 9:
            once.publish(String(data="once"))
    publishers = {source.topic: source.publishers for source in recorder.topics.topics}
    assert (publishers["/alone"], publishers["/shared"]) == (1, 2)
    for _ in range(2):
        assert call("start").success
        graph.run(0.2)
        alone.publish(String(data="now"))
        graph.run(0.2)
        bag = tmp_path / call("stop").message
        with AnyReader([bag]) as reader:
            found = [(c.topic, reader.deserialize(d, c.msgtype).data) for c, _, d in reader.messages()]
        before = "alone 19" if ("/alone", "alone 19") in found else "now"
        assert [text for topic, text in found if topic == "/alone"] == [before, "now"]
        assert sorted(text for topic, text in found if topic == "/shared") == ["often 19", "once"]


def test_lost_messages_are_counted(graph, tmp_path, call):
    """More messages than the middleware's queue holds: the oldest are lost, and the bag contains their number."""
    publisher = graph.probe.create_publisher(String, "/fast", qos.STATES)
    recorder = graph.add(Recorder, topics=["/fast"], folder=str(tmp_path), min_free=0.001)
    (source,) = [s for s in recorder.topics.topics if s.topic == "/fast"]
    source.depth = 10
    graph.run(1.0, lambda: publisher.publish(String(data="x")))
    assert call("start", lambda: publisher.publish(String(data="x"))).success
    received = source.received
    for _ in range(100):
        publisher.publish(String(data="y"))
    graph.run(0.3)
    bag = tmp_path / call("stop").message
    lost = json.loads(information(bag).get("lost", "{}")).get("/fast", 0)
    assert source.received - received + lost >= 100
    with AnyReader([bag]) as reader:
        fast = [c for c in reader.connections if c.topic == "/fast"]
        gone = 100 - sum(reader.deserialize(d, c.msgtype).data == "y" for c, _, d in reader.messages(fast))
    assert gone > 50 and gone <= lost <= gone + 2  # an x in flight at the start may be lost too


def test_recording_stops_before_the_disk_is_full(graph, recorder, robot, call, monkeypatch):
    assert call("start", robot.publish).success
    graph.run(0.3, robot.publish)
    usage = SimpleNamespace(total=1, used=1, free=100_000)
    monkeypatch.setattr("latent_policy_ros.data.recording.episode_recording.shutil.disk_usage", lambda _: usage)
    graph.until(lambda: not recorder.recording, what="the end", each=robot.publish)
    assert information(recorder.episodes.last_bag)["stopped"].startswith("disk: 0.00 GB left")
    assert counts(recorder.episodes.last_bag)["/left/joint_states"] > 3
    answer = call("start", robot.publish)
    assert not answer.success and "disk" in answer.message and "min_free" in answer.message


@pytest.mark.parametrize(
    "parameters, words",
    [({}, "robots and topics"), ({"robots": ["left", "right"], "cameras": ["front"]}, "one entry for each"),
     ({"topics": ["/a"], "images": "png"}, "jpeg, raw; got 'png'"),
     ({"robots": ["left"], "cameras": [""], "embodiments": ["mimic_hand", "panda_gripper"]}, "one for each of left")],
)  # fmt: skip
def test_invalid_parameter_is_named(graph, parameters, words):
    from rclpy import Parameter
    from rclpy.lifecycle import TransitionCallbackReturn

    node = Recorder(parameter_overrides=[Parameter(name, value=value) for name, value in parameters.items()])
    told = []
    node.get_logger = lambda: SimpleNamespace(error=told.append, warning=told.append, info=told.append)
    assert node.trigger_configure() == TransitionCallbackReturn.FAILURE and words in told[-1]
    node.destroy_node()


def test_recorder_can_be_configured_again(graph, recorder, robot):
    begin(graph, recorder, robot)
    for transition in ("deactivate", "cleanup", "configure", "activate"):
        getattr(recorder, f"trigger_{transition}")()
    assert information(recorder.episodes.last_bag)["stopped"] == "shut down"
    graph.run(0.7, robot.publish)
    begin(graph, recorder, robot)


def test_shutdown_finishes_the_bag(graph, recorder, robot):
    begin(graph, recorder, robot)
    record(graph, robot, 0.3)
    path = recorder.recording.path
    graph.remove(recorder)
    with AnyReader([path]) as reader:
        assert reader.message_count > 10
    assert information(path)["stopped"] == "shut down"


@pytest.mark.parametrize("wrong", ["a file", "no such images"])
def test_record_command_exits_if_nothing_can_be_recorded(tmp_path, wrong):
    (tmp_path / "file").touch()
    out, images = (tmp_path / "file", "jpeg") if wrong == "a file" else (tmp_path, "png")
    command = [sys.executable, "-m", "latent_policy_ros.cli", "record", "/a", "-o", str(out), "--images", images]
    ran = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    words = f"error: {out}: File exists\n" if wrong == "a file" else "expected one of jpeg, raw; got 'png'\n"
    assert ran.returncode == 2 and ran.stdout == "" and ran.stderr.endswith(words) and ran.stderr.count("\n") == 1
    assert all(recorder_of(["/a"], [], tmp_path, "", images, 1.0, False) for images in IMAGE_FORMATS)


def test_node_exits_if_start_now_cannot_write_the_bag(graph, tmp_path, robot):
    (tmp_path / "file").touch()
    node = graph.add(Recorder, topics=["/left/joint_states"], folder=str(tmp_path / "file" / "bags"), min_free=0.0, start_now=True)
    with pytest.raises(SystemExit):
        graph.until(lambda: False, 10, "the end", robot.publish)
    assert "Not a directory" in node.trouble and node.counts == {"refused to start": 1}


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


def test_killed_recorder_loses_less_than_one_second(graph, tmp_path, robot):
    """A process receives SIGKILL during an episode; the repaired bag contains all but the last messages."""
    command = [sys.executable, "-m", "latent_policy_ros.nodes.recorder_node", "--ros-args", "-p", "robots:=['left']",
               "-p", "cameras:=['front']", "-p", f"folder:={tmp_path}", "-p", "min_free:=0.001", "-p", "task:=stack",
               "-p", "start_now:=true", "-p", "start_wait:=60.0"]  # fmt: skip
    process = subprocess.Popen(command, env=node_environment(os.environ))
    try:
        graph.until(lambda: list(tmp_path.glob("*/*/*.mcap")), 40, "a bag", robot.publish)
        graph.run(2.5, robot.publish, 0.02)
        killed = time.time()
        process.send_signal(signal.SIGKILL)
        process.wait(5)
    finally:
        process.kill()
    (bag,) = tmp_path.glob("*/*")
    assert not (bag / "metadata.yaml").exists()
    done = repair_bag(bag)
    assert "metadata.yaml" in done.repaired
    told = metadata.read(bag)
    end = (told["starting_time"]["nanoseconds_since_epoch"] + told["duration"]["nanoseconds"]) * 1e-9
    assert killed - 1.0 < end <= killed + 0.05 and told["duration"]["nanoseconds"] > 1.2e9
    assert told["custom_data"]["task"] == "stack" and told["custom_data"]["outcome"] == "unknown"
    assert counts(bag)["/left/front/image_raw/compressed"] > 20
