"""Recorder node: events and services that begin, end and discard a recording, and its refusals."""

import os
import re
import subprocess
import sys
import time
from pathlib import Path
from types import SimpleNamespace

import pytest

pytest.importorskip("rclpy", reason="needs ROS 2", exc_type=ImportError)
pytest.importorskip("latent_policy_ros.msg", reason="needs the generated messages", exc_type=ImportError)

from diagnostic_msgs.msg import DiagnosticArray  # noqa: E402
from recordings import begin, counts, end, event, information, record  # noqa: E402

from latent_policy_ros.cli.record import recorder as recorder_of  # noqa: E402
from latent_policy_ros.data.recording.jpeg import IMAGE_FORMATS  # noqa: E402
from latent_policy_ros.msg import EpisodeEvent  # noqa: E402
from latent_policy_ros.nodes.recorder_node import Recorder  # noqa: E402
from latent_policy_ros.nodes.topics import qos  # noqa: E402


def test_each_episode_has_a_bag_and_a_discarded_bag_is_in_the_trash(graph, recorder, robot):
    day = time.strftime("%Y-%m-%d")
    for number, name in enumerate(("end", "end", "discard")):
        begin(graph, recorder, robot)
        path = recorder.recording.path
        graph.run(0.1, robot.publish, 0.02)
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


@pytest.mark.parametrize("wrong", ["a file", "no such images"])
def test_record_command_exits_if_nothing_can_be_recorded(tmp_path, wrong):
    (tmp_path / "file").touch()
    out, images = (tmp_path / "file", "jpeg") if wrong == "a file" else (tmp_path, "png")
    command = [sys.executable, "-m", "latent_policy_ros.cli", "record", "/a", "-o", str(out), "--images", images]
    ran = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    words = f"error: {out}: File exists\n" if wrong == "a file" else "expected one of jpeg, raw; got 'png'\n"
    assert ran.returncode == 2 and ran.stdout == "" and ran.stderr.endswith(words) and ran.stderr.count("\n") == 1
    assert all(recorder_of(["/a"], [], tmp_path, "", images, 1.0, False) for images in IMAGE_FORMATS)
