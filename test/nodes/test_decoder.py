"""decoder_node: commands, refused chunks, staleness, lifecycle, out-of-distribution latents."""

import itertools
import time
from dataclasses import replace

import numpy as np
import pytest

from latent_policy_ros.embodiments import load_embodiment
from latent_policy_ros.latent.ood_detector import OODDetector
from latent_policy_ros.observations.messages import pose_array, to_seconds  # noqa: E402
from latent_policy_ros.policy import ActionChunk

pytest.importorskip("rclpy", reason="needs ROS 2", exc_type=ImportError)
pytest.importorskip("latent_policy_ros.msg", reason="needs the generated messages", exc_type=ImportError)

import rclpy  # noqa: E402
from geometry_msgs.msg import PoseStamped  # noqa: E402
from sensor_msgs.msg import JointState  # noqa: E402
from trajectory_msgs.msg import JointTrajectory  # noqa: E402

from latent_policy_ros.msg import LatentAction  # noqa: E402
from latent_policy_ros.nodes.base.driver_node import EndEffectorDriver  # noqa: E402
from latent_policy_ros.nodes.decoder_node import OUT_OF_DISTRIBUTION, Decoder  # noqa: E402
from latent_policy_ros.nodes.topics import message_conversion, qos  # noqa: E402

HAND = load_embodiment("mimic_hand")
WRIST = np.array([0.4, 0.1, 0.3, 1.0, 0.0, 0.0, 0.0])


NUMBERS = itertools.count(1)


def chunk(space, q=HAND.rest, age=0.05, **changes):
    """A chunk that holds ``q``."""
    latents = np.tile(space.encode("mimic_hand", q), (16, 1))
    values = {"stamp": time.time() - age, "dt": 0.1, "latents": latents, "wrist_poses": np.tile(WRIST, (16, 1)),
              "latent_id": space.latent_id, "policy_id": "p", "sequence": next(NUMBERS)}  # fmt: skip
    return message_conversion.latent_action(ActionChunk(**{**values, **changes}), "panda_link0")


@pytest.fixture
def decoder(graph, artifacts):
    return graph.add(Decoder, "left", embodiment="mimic_hand", latent=artifacts.latent)


@pytest.fixture
def commands(graph, decoder):
    return graph.listen(JointTrajectory, "left/hand_command", qos.COMMANDS)


def send(graph, message):
    graph.publish(LatentAction, "left/latent_action", qos.LATENTS, message)


def test_commands_at_50_hz_have_the_stamp_of_the_observation(graph, decoder, commands, space):
    wrist = graph.listen(PoseStamped, "left/wrist_command", qos.COMMANDS)
    sent = []

    def each():
        sent.append(chunk(space))
        send(graph, sent[-1])

    graph.run(0.5, each, period=0.1)
    commands.clear()
    graph.run(1.0, each, period=0.1)
    assert len(commands) >= 45
    _, last = commands[-1]
    assert tuple(last.joint_names) == HAND.joint_names
    expected = space.decode("mimic_hand", space.encode("mimic_hand", HAND.rest))
    np.testing.assert_allclose(last.points[0].positions, expected, atol=1e-4)
    np.testing.assert_allclose(pose_array(wrist[-1][1].pose), WRIST, atol=1e-6)
    stamps = {m.header.stamp.nanosec for m in sent}
    assert last.header.stamp.nanosec in stamps and wrist[-1][1].header.stamp.nanosec in stamps
    ahead = [to_seconds(m.header.stamp) + to_seconds(m.points[0].time_from_start) - t for t, m in commands]
    assert 0.01 < np.median(ahead) < 0.031
    assert not decoder.counts["latent_action: refused"] and 0.04 < decoder.latency.summary()["p50"] < 0.12


@pytest.mark.parametrize("silent", ["joint_states", "wrist_pose"])
def test_both_drivers_hold_when_the_measurements_of_one_end(graph, decoder, commands, space, silent):
    """A robot does not move its arm without its hand, nor its hand without its arm. Chunks go on; measurements come back."""
    arm, silences = graph.listen(JointTrajectory, "left/arm_command", qos.COMMANDS), set()
    due = [0.0]

    def each():
        if time.monotonic() >= due[0]:
            due[0] = time.monotonic() + 0.1
            send(graph, chunk(space))
        joints, wrist = JointState(name=list(HAND.joint_names)), message_conversion.pose_stamped(time.time(), "base", WRIST)
        for topic, message in (("joint_states", joints), ("wrist_pose", wrist)):
            if topic not in silences:
                graph.publish(type(message), f"left/{topic}", qos.STATES, message)

    graph.run(0.6, each, period=0.02)
    assert decoder.following
    silences.add(silent)
    ended = time.time()
    graph.until(lambda: not decoder.following, 1.0, "the hold", each)
    graph.run(0.1, each, period=0.02)
    held = [(t, m) for t, m in commands if t > ended and not m.points]
    assert len(held) == 1 and held[0][0] - ended < 0.3 and len([m for t, m in arm if t > ended and not m.points]) == 1
    words = "no joint states of the end-effector for" if silent == "joint_states" else "no wrist pose for"
    assert words in decoder.status()[1] and words in decoder.details["held"]
    silences.clear()
    graph.until(lambda: decoder.following, 1.0, "following", each)


def test_added_embodiment_decodes_the_same_chunks(graph, space, tmp_path):
    mine = tmp_path / "my_hand.yaml"
    mine.write_text(HAND.file.read_text().replace("name: mimic_hand", "name: my_hand"))
    space.save(tmp_path / "latent")
    codec = replace(space.codec("mimic_hand"), name="my_hand", content_hash=load_embodiment(mine).content_hash)
    space.save_added(tmp_path / "latent", codec)
    decoder = graph.add(Decoder, "left", embodiment=str(mine), latent=str(tmp_path / "latent"))
    commands = graph.listen(JointTrajectory, "left/hand_command", qos.COMMANDS)
    graph.run(0.5, lambda: send(graph, chunk(space)), period=0.1)
    assert not decoder.counts["latent_action: refused"]
    expected = space.decode("mimic_hand", space.encode("mimic_hand", HAND.rest))
    np.testing.assert_allclose(commands[-1][1].points[0].positions, expected, atol=1e-4)


@pytest.mark.parametrize("bad", ["foreign", "dim", "count", "nan", "poses", "quaternion", "dt", "old", "future"])
def test_malformed_chunk_is_refused_and_counted(graph, decoder, commands, space, bad):
    q = HAND.rest + 0.2 * (HAND.upper - HAND.rest)
    message = chunk(space, HAND.upper)
    if bad == "foreign":
        message.latent_id = "0123456789abcdef"
    elif bad == "dim":
        message = chunk(space, latents=np.zeros((16, 5)))
    elif bad == "count":
        message.latents = message.latents[:-3]
    elif bad == "nan":
        message.latents[17] = float("nan")
    elif bad == "poses":
        message.wrist_poses = message.wrist_poses[:-1]
    elif bad == "quaternion":
        message.wrist_poses[2].orientation.x = 0.0
    elif bad == "dt":
        message.time_step = 0.0
    elif bad == "old":
        message = chunk(space, HAND.upper, age=5.0)
    elif bad == "future":
        message = chunk(space, HAND.upper, age=-5.0)
    for _ in range(5):
        send(graph, chunk(space, q))
        graph.run(0.05)
        send(graph, message)
        graph.run(0.05)
    assert decoder.counts["latent_action: refused"] == 5
    expected = space.decode("mimic_hand", space.encode("mimic_hand", q))
    assert len(commands) > 15
    for _, command in commands:
        np.testing.assert_allclose(command.points[0].positions, expected, atol=1e-4)
    if bad == "foreign":
        detail = decoder.details["latent_action: refused"]
        assert "0123456789abcdef" in detail and space.latent_id in detail


def test_refused_chunk_alone_gives_no_command(graph, decoder, commands, space):
    graph.run(0.4, lambda: send(graph, chunk(space, latent_id="foreign")))
    assert not commands and decoder.status()[1] == "no fresh chunk: holding"


def test_stale_chunks_hold_the_measured_pose_until_the_next_chunk(graph, decoder, commands, space):
    """The hand is moving when chunks stop arriving."""
    driver = graph.add(lambda **o: EndEffectorDriver("hand", **o), "left", embodiment="mimic_hand", driver="mock")
    driver.controller.guard.max_velocity = driver.controller.guard.max_velocity * 0.05  # a slow hand: still moving when chunks stop
    states = graph.listen(JointState, "left/joint_states", qos.STATES)
    graph.run(0.5, lambda: send(graph, chunk(space, HAND.upper)), period=0.1)
    stopped, before = time.time(), decoder.counts["stale chunks: holding"]  # a slow machine may have held earlier
    graph.run(1.0)
    times = np.array([t - stopped for t, _ in states])
    q = np.array([m.position for _, m in states])
    assert np.abs(q[times > -0.1][0] - q[0]).max() > 0.01  # it moved before
    assert commands[-1][1].points == [] and commands[-2][1].points  # one command to hold, the last one
    hold_sent = commands[-1][0] - stopped
    assert hold_sent < 0.3  # silence of 0.2 s, counted from a chunk up to 0.1 s before, and scheduling delays
    held = q[times > hold_sent + 0.1]
    assert len(held) > 30 and np.ptp(held, axis=0).max() < 5e-3
    assert decoder.counts["stale chunks: holding"] > before
    graph.run(0.5, lambda: send(graph, chunk(space, HAND.upper)), period=0.1)
    moved_on = np.array(states[-1][1].position)
    assert np.abs(moved_on - held[-1]).max() > 0.01
    steps = np.abs(np.diff(np.array([m.position for _, m in states]), axis=0)).max()
    assert steps < 0.05  # without a jump


def test_a_second_publisher_of_latent_action_holds_and_is_named(graph, decoder, commands, space):
    graph.run(0.3, lambda: send(graph, chunk(space)), period=0.1)
    assert decoder.status()[1] == "decoding"
    rival = rclpy.create_node("rival")
    rival.create_publisher(LatentAction, "left/latent_action", qos.LATENTS)
    both = "2 nodes publish latent_action: /probe, /rival; stop all but 1: holding"
    graph.until(lambda: decoder.status()[1] == both, 5, "status", lambda: send(graph, chunk(space)))
    assert decoder.counts["held"] == 1
    graph.until(lambda: commands[-1][1].points == [])
    rival.destroy_node()
    graph.until(lambda: decoder.status()[1] == "decoding", 5, "status", lambda: send(graph, chunk(space)))


def test_latent_space_without_the_embodiment_does_not_start(graph, artifacts):
    with pytest.raises(AssertionError, match="did not start"):
        graph.add(Decoder, "left", embodiment="faive_hand", latent=artifacts.latent)


def test_deactivate_and_activate(graph, decoder, commands, space):
    graph.run(0.3, lambda: send(graph, chunk(space)))
    decoder.trigger_deactivate()
    graph.run(0.1)
    commands.clear()
    graph.run(0.3, lambda: send(graph, chunk(space)))
    assert not commands
    decoder.trigger_activate()
    graph.run(0.3, lambda: send(graph, chunk(space)))
    assert len(commands) > 5
    decoder.trigger_deactivate()
    decoder.trigger_cleanup()
    decoder.trigger_configure()
    decoder.trigger_activate()
    commands.clear()
    graph.run(0.5, lambda: send(graph, chunk(space)))
    assert len(commands) > 5


def test_out_of_distribution_latents_are_reported_and_executed(graph, decoder, commands, space):
    rng = np.random.default_rng(0)
    seen = space.encode("mimic_hand", HAND.rest + rng.normal(0, 0.05, (2000, len(HAND.rest))))
    decoder.decoder.latent_space = space = replace(space, ood_detector=OODDetector.fit(seen, seen))
    send(graph, chunk(space))
    graph.until(lambda: decoder.following)
    assert decoder.distance < 1.5 and not decoder.counts[OUT_OF_DISTRIBUTION]
    send(graph, chunk(space, latents=rng.normal(size=(16, space.dim)).astype(np.float32)))
    graph.until(lambda: decoder.counts[OUT_OF_DISTRIBUTION])
    assert decoder.status()[1] == OUT_OF_DISTRIBUTION and float(decoder.status()[2]["latent_distance"]) > 1.5
    commands.clear()
    graph.run(0.1)
    positions = np.array([m.points[0].positions for _, m in commands])
    assert len(positions) and (positions >= HAND.lower - 1e-6).all() and (positions <= HAND.upper + 1e-6).all()


def test_chunk_in_another_frame_is_refused(graph, decoder, commands, space):
    message = chunk(space)
    message.header.frame_id = "map"
    send(graph, message)
    graph.until(lambda: decoder.counts["latent_action: refused"] == 1, what="refusal")
    assert "expected panda_link0 (parameter base_frame), got map" in decoder.details["latent_action: refused"]
    assert not commands
    send(graph, chunk(space))
    graph.until(lambda: len(commands) > 2, what="commands")


def test_quality_of_service_is_overridden_by_parameters(graph, artifacts):
    overrides = {"qos_overrides./left/hand_command.publisher.depth": 7, "qos_overrides./left/latent_action.subscription.depth": 3}
    node = graph.add(Decoder, "left", embodiment="mimic_hand", latent=artifacts.latent, **overrides)
    depth = lambda: node._joint_commands.qos_profile.depth
    assert depth() == 7 and node.value("qos_overrides./left/latent_action.subscription.depth") == 3
    assert qos.COMMANDS.depth == 1  # the profiles of the other nodes
    node.trigger_deactivate()
    node.trigger_cleanup()
    node.trigger_configure()
    assert depth() == 7  # also after it was configured again
    graph.until(lambda: graph.probe.get_publishers_info_by_topic("left/hand_command"), what="publisher")
    offered = graph.probe.get_publishers_info_by_topic("left/hand_command")[0].qos_profile
    assert offered.deadline.nanoseconds == 200_000_000 and offered.liveliness_lease_duration.nanoseconds == 2_000_000_000


def test_without_a_deadline_the_publisher_still_offers_a_lease(graph, artifacts):
    graph.add(Decoder, "left", embodiment="mimic_hand", latent=artifacts.latent, deadline=0.0)
    graph.until(lambda: graph.probe.get_publishers_info_by_topic("left/hand_command"), what="publisher")
    offered = graph.probe.get_publishers_info_by_topic("left/hand_command")[0].qos_profile
    assert offered.deadline.nanoseconds >= 2**62 and offered.liveliness_lease_duration.nanoseconds == 2_000_000_000
