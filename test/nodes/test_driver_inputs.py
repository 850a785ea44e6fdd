"""Driver nodes: trajectories of several points, and the wrist pose from tf."""

import time

import numpy as np
import pytest

pytest.importorskip("rclpy", reason="needs ROS 2", exc_type=ImportError)
pytest.importorskip("tf2_msgs", reason="needs tf2_msgs", exc_type=ImportError)

from geometry_msgs.msg import PoseStamped, TransformStamped  # noqa: E402
from sensor_msgs.msg import JointState  # noqa: E402
from tf2_msgs.msg import TFMessage  # noqa: E402
from trajectory_msgs.msg import JointTrajectory  # noqa: E402

from latent_policy_ros.embodiments import load_embodiment  # noqa: E402
from latent_policy_ros.nodes.arm_driver_node import ArmDriver  # noqa: E402
from latent_policy_ros.nodes.base.driver_node import EndEffectorDriver  # noqa: E402
from latent_policy_ros.nodes.topics import message_conversion, qos  # noqa: E402
from latent_policy_ros.observations.messages import pose_array, to_seconds  # noqa: E402

HAND = load_embodiment("mimic_hand")


def test_trajectory_is_followed_along_its_times(graph):
    states = graph.listen(JointState, "left/joint_states", qos.STATES)
    node = graph.add(lambda **options: EndEffectorDriver("hand", **options), "left", embodiment="mimic_hand")
    graph.until(lambda: states, 5, "joint states")
    way = 0.2 * (HAND.upper - HAND.rest)
    message = message_conversion.command(time.time(), 0.4, HAND.joint_names, HAND.rest + way)
    back = message_conversion.command(0.0, 1.0, HAND.joint_names, HAND.rest).points[0]
    message.points = [*message.points, back]
    graph.publish(JointTrajectory, "left/hand_command", qos.COMMANDS, message)
    graph.until(lambda: node.controller.output.holding is False, 2.0, "a motion")
    states.clear()
    graph.until(lambda: node.controller.output.reason.startswith("no command for"), 10.0, "the end of the trajectory")
    graph.run(0.3)
    moved = np.array([(np.array(m.position) - HAND.rest) @ way / (way @ way) for _, m in states])
    # Up to the first point, and back to the last.
    assert 0.9 < moved.max() < 1.01 and moved[-1] < 0.02 and moved.argmax() < len(moved) - 3


@pytest.mark.parametrize("order", [slice(None), slice(None, None, -1)], ids=["usual", "reversed"])
def test_commands_in_any_order_of_the_joints_are_followed(graph, order):
    """The usual order is read without a Python message."""
    node = graph.add(lambda **options: EndEffectorDriver("hand", **options), "left", embodiment="mimic_hand")
    graph.until(lambda: node.controller.measured is not None, 5, "a measurement")
    target = HAND.rest + np.linspace(0.1, 0.2, len(HAND.rest)) * (HAND.upper - HAND.rest)
    make = lambda: message_conversion.command(time.time(), 0.02, HAND.joint_names[order], target[order])
    send = lambda: graph.publish(JointTrajectory, "left/hand_command", qos.COMMANDS, make())
    graph.until(lambda: np.abs(node.controller.measured - target).max() < 0.01, 5, "the target", each=send)


def transforms(stamp, parent, child, z):
    made = TransformStamped(child_frame_id=child)
    made.header.stamp, made.header.frame_id = message_conversion.to_stamp(stamp), parent
    made.transform.translation.z = float(z)
    return TFMessage(transforms=[made])


def test_wrist_pose_is_that_of_a_frame_in_tf(graph):
    node = graph.add(ArmDriver, "left", embodiment="mimic_hand", wrist_frame="left_hand")
    poses = graph.listen(PoseStamped, "left/wrist_pose", qos.STATES)
    graph.run(0.3)
    assert not poses and "no transform from panda_link0 to left_hand; frames: none" in node.details["no wrist pose"]
    graph.publish(TFMessage, "/tf_static", qos.LATCHED, transforms(0.0, "flange", "left_hand", 0.1))
    stamps = []

    def move():
        stamps.append(time.time())
        graph.publish(TFMessage, "/tf", qos.EVENTS, transforms(stamps[-1], "panda_link0", "flange", 0.5))

    graph.until(lambda: len(poses) > 5, 5, "wrist poses", move)
    _, last = poses[-1]
    np.testing.assert_allclose(pose_array(last.pose), [0.0, 0.0, 0.6, 0.0, 0.0, 0.0, 1.0])
    assert last.header.frame_id == "panda_link0" and min(abs(to_seconds(last.header.stamp) - np.array(stamps))) < 1e-6
    assert len(poses) <= len(stamps)  # each transform once
    graph.publish(TFMessage, "/tf", qos.EVENTS, transforms(time.time(), "tracker", "flange", 0.5))
    graph.until(lambda: "flange has the parents panda_link0 and tracker" in node.details["no wrist pose"], 5, "the conflict", move)
