"""Recorder node: full disks, clock jumps, damaged messages, restarts and kills."""

import json
import os
import signal
import subprocess
import sys
import time
from types import SimpleNamespace

import numpy as np
import pytest

pytest.importorskip("rclpy", reason="needs ROS 2", exc_type=ImportError)
pytest.importorskip("latent_policy_ros.msg", reason="needs the generated messages", exc_type=ImportError)

from rclpy.serialization import serialize_message  # noqa: E402
from recordings import begin, counts, end, information, record  # noqa: E402
from rosbags.highlevel import AnyReader  # noqa: E402
from trajectory_msgs.msg import JointTrajectory  # noqa: E402

from latent_policy_ros.common.ros_environment import node_environment  # noqa: E402
from latent_policy_ros.data.bags import metadata  # noqa: E402
from latent_policy_ros.data.bags.repair import repair_bag  # noqa: E402
from latent_policy_ros.msg import EpisodeEvent  # noqa: E402
from latent_policy_ros.nodes.recorder_node import Recorder  # noqa: E402
from latent_policy_ros.nodes.topics import message_conversion, qos  # noqa: E402


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


def test_node_exits_if_start_now_cannot_write_the_bag(graph, tmp_path, robot):
    (tmp_path / "file").touch()
    node = graph.add(Recorder, topics=["/left/joint_states"], folder=str(tmp_path / "file" / "bags"), min_free=0.0, start_now=True)
    with pytest.raises(SystemExit):
        graph.until(lambda: False, 10, "the end", robot.publish)
    assert "Not a directory" in node.trouble and node.counts == {"refused to start": 1}


def test_clock_jumps_are_noted_in_the_bag(graph, recorder, robot, monkeypatch):
    begin(graph, recorder, robot)
    recorder._clock_offset -= 3600.0  # as if the system clock was set forward by an hour
    graph.until(lambda: recorder.counts["clock jump"], what="clock jump", each=robot.publish)
    end(graph, recorder)
    ((_, jump),) = json.loads(information(recorder.episodes.last_bag)["clock_jumps"])
    assert abs(jump - 3600) < 0.1


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
