"""The recorder: one readable MCAP bag per episode, nothing lost that was sent reliably, and it tells of itself."""

import time

import numpy as np
import pytest
import yaml

pytest.importorskip("rclpy", reason="needs ROS 2", exc_type=ImportError)
pytest.importorskip("latent_policy_ros.msg", reason="needs the generated messages", exc_type=ImportError)

from mcap.reader import make_reader  # noqa: E402
from mcap_ros2.decoder import DecoderFactory  # noqa: E402
from rosbags.highlevel import AnyReader  # noqa: E402
from std_srvs.srv import Trigger  # noqa: E402
from trajectory_msgs.msg import JointTrajectory  # noqa: E402

from latent_policy_ros.msg import EpisodeEvent, LatentAction  # noqa: E402
from latent_policy_ros.nodes import convert, qos  # noqa: E402
from latent_policy_ros.nodes.recorder_node import Recorder  # noqa: E402
from latent_policy_ros.policy import ActionChunk  # noqa: E402


def event(name, **changes):
    return EpisodeEvent(**{"event": name, "task": "stack", "episode": 3, "seed": 42, **changes})


@pytest.fixture
def recorder(graph, artifacts, tmp_path):
    fleet = tmp_path / "fleet.yaml"
    fleet.write_text("robots: {left: {}}\n")
    return graph.add(Recorder, robots=["left"], cameras=["front"], folder=str(tmp_path / "bags"), fleet=fleet.read_text(),
                     policy=artifacts.policy, latent=artifacts.latent, refuse_silent=False)  # fmt: skip


def record(graph, fake_robot, seconds=0.6):
    """An episode; returns how many plans and commands were sent."""
    robot = fake_robot("left", "mimic_hand", ("front",))
    sent = [0]
    wrist = np.tile([0.4, 0, 0.4, 1.0, 0, 0, 0], (16, 1))

    def each():
        sent[0] += 1
        robot.publish()
        chunk = ActionChunk(time.time(), 0.1, np.full((16, 8), 0.5), wrist, "latent", "policy", sent[0])
        graph.publish(LatentAction, "left/latent_action", qos.LATENTS, convert.latent_action(chunk, "left"))
        command = convert.command(time.time(), 0.0, ["a"], np.array([1.0]))
        graph.publish(JointTrajectory, "left/hand_command", qos.COMMANDS, command)

    graph.run(seconds, each, 0.03)
    graph.run(0.2)
    return sent[0]


def test_an_episode_becomes_one_bag_that_others_can_read(graph, recorder, fake_robot, space):
    graph.publish(EpisodeEvent, "episode_event", qos.EVENTS, event("begin"))
    graph.until(lambda: recorder.bag is not None)
    sent = record(graph, fake_robot)
    graph.publish(EpisodeEvent, "left/episode_event", qos.EVENTS, event("success"))
    graph.run(0.1)
    graph.publish(EpisodeEvent, "episode_event", qos.EVENTS, event("end", success=True))
    graph.until(lambda: recorder.last is not None)
    bag = recorder.last
    files = sorted(p.name for p in bag.iterdir())
    assert files == [f"{bag.name}_0.mcap", "metadata.yaml"]

    information = yaml.safe_load((bag / "metadata.yaml").read_text())["rosbag2_bagfile_information"]
    assert information["storage_identifier"] == "mcap" and information["relative_file_paths"] == [f"{bag.name}_0.mcap"]
    told = information["custom_data"]
    assert told["task"] == "stack" and told["seed"] == "42" and told["success"] == "true"
    assert told["latent_id"] == space.latent_id and len(told["policy_id"]) == 64 and "left" in told["fleet"]
    assert told["outcomes"] == '{"left": "success"}'

    with (bag / f"{bag.name}_0.mcap").open("rb") as file:  # as Foxglove reads it: by the definitions inside
        reader = make_reader(file, decoder_factories=[DecoderFactory()])
        plans = [m for _, c, _, m in reader.iter_decoded_messages() if c.topic == "/left/latent_action"]
    assert len(plans) == sent and [p.sequence for p in plans] == list(range(1, sent + 1))
    assert plans[0].latents[0] == 0.5 and plans[0].wrist_poses[0].position.x == 0.4

    with AnyReader([bag]) as reader:
        counts = {c.topic: c.msgcount for c in reader.connections}
    assert counts["/left/hand_command"] == sent
    for topic in ("/left/front/image_raw/compressed", "/left/joint_states", "/left/wrist_pose"):
        assert counts[topic] >= 0.8 * sent
    assert counts["/left/episode_event"] == 1


def test_each_episode_gets_a_bag_and_a_discarded_one_goes(graph, recorder):
    for _ in range(2):
        graph.publish(EpisodeEvent, "episode_event", qos.EVENTS, event("begin"))
        graph.until(lambda: recorder.bag is not None)
        graph.publish(EpisodeEvent, "episode_event", qos.EVENTS, event("end"))
        graph.until(lambda: recorder.bag is None)
    assert len(list(recorder.folder.glob('*/*'))) == 2
    graph.publish(EpisodeEvent, "episode_event", qos.EVENTS, event("begin"))
    graph.until(lambda: recorder.bag is not None)
    graph.publish(EpisodeEvent, "episode_event", qos.EVENTS, event("discard"))
    graph.until(lambda: recorder.bag is None)
    assert len(list(recorder.folder.glob('*/*'))) == 2


def test_services_start_and_stop(graph, recorder):
    def call(name):
        client = graph.probe.create_client(Trigger, name)
        graph.until(client.service_is_ready, what=name)
        future = client.call_async(Trigger.Request())
        graph.until(future.done, what=name)
        return future.result()

    assert not call("/recorder/stop").success
    started = call("/recorder/start")
    assert started.success and recorder.bag is not None
    stopped = call("/recorder/stop")
    assert stopped.success and stopped.message == started.message


def test_a_recorder_that_ends_finishes_its_bag(graph, recorder, fake_robot):
    graph.publish(EpisodeEvent, "episode_event", qos.EVENTS, event("begin"))
    graph.until(lambda: recorder.bag is not None)
    record(graph, fake_robot, 0.3)
    path = recorder.bag.path
    graph.remove(recorder)
    with AnyReader([path]) as reader:
        assert reader.message_count > 10
