"""Fault runs of a driver node: the hardware is unplugged in motion; the node holds, names the fault, and resumes."""

import sys
import time

import numpy as np
import pytest

pytest.importorskip("rclpy", reason="needs ROS 2", exc_type=ImportError)
pytest.importorskip("latent_policy_ros.msg", reason="needs the generated messages", exc_type=ImportError)

from motor_emulator import DynamixelLine, dynamixel_motors  # noqa: E402
from sensor_msgs.msg import JointState  # noqa: E402
from trajectory_msgs.msg import JointTrajectory  # noqa: E402

from latent_policy_ros.embodiments import load_embodiment  # noqa: E402
from latent_policy_ros.nodes.base.driver_node import EndEffectorDriver  # noqa: E402
from latent_policy_ros.nodes.topics import message_conversion, qos  # noqa: E402

HAND = load_embodiment("leap_hand")


@pytest.fixture
def line(tmp_path):
    motors = dynamixel_motors(range(16))
    for name, position in zip(HAND.joint_names, HAND.rest):
        motors[int(name)].position = round(2048 + position / 2 / np.pi * 4096)
    line = DynamixelLine(tmp_path / "port", motors)
    yield line
    line.close()


@pytest.fixture
def hand(graph, line):
    make = lambda **options: EndEffectorDriver("hand", **options)
    return graph.add(make, "left", embodiment="leap_hand", driver=f"dynamixel@leap_hand?port={line.path}")


def send(graph, goal):
    message = message_conversion.command(time.time(), 0.02, HAND.joint_names, goal)
    graph.publish(JointTrajectory, "left/hand_command", qos.COMMANDS, message)


def test_unplugged_in_motion(graph, line, hand):
    states = graph.listen(JointState, "left/joint_states", qos.STATES)
    graph.until(lambda: hand.connected, 3)
    near, far = HAND.rest + 0.1, HAND.rest + 0.3
    follow = lambda: send(graph, np.clip(near, HAND.lower, HAND.upper))
    graph.until(lambda: hand.status()[1] == "following commands" and len(states) > 20, 5, each=follow)
    line.unplug()
    graph.until(lambda: not hand.connected, 3, each=lambda: send(graph, far))
    assert str(line.path) in hand.details["hardware"]
    graph.until(lambda: "is it plugged in?" in hand.details["hardware"], 3, each=lambda: send(graph, far))
    assert hand.status()[1] == "no hardware"
    count = len(states)
    graph.run(0.2, lambda: send(graph, far))
    assert len(states) == count  # nothing is measured, so nothing is published
    line.plug_in()
    graph.until(lambda: hand.connected, 3)
    resting = hand.reading.position.copy()
    graph.run(0.3)
    assert hand.controller.holding  # the command of before is forgotten
    np.testing.assert_allclose(hand.reading.position, resting, atol=0.003)
    at_rest = lambda: not hand.controller.holding and np.abs(hand.reading.position - HAND.rest).max() < 0.003
    graph.until(at_rest, 5, each=lambda: send(graph, HAND.rest))


def test_missing_library_is_named_at_start(graph, line, monkeypatch):
    monkeypatch.setitem(sys.modules, "dynamixel_sdk", None)
    make = lambda **options: EndEffectorDriver("hand", **options)
    with pytest.raises(AssertionError, match="did not start"):
        graph.add(make, "left", embodiment="leap_hand", driver=f"dynamixel@leap_hand?port={line.path}")
