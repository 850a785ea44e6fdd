"""Driver nodes on mock hardware: follow, refuse, hold."""

import time

import numpy as np
import pytest

from latent_policy_ros.embodiments import load_embodiment

pytest.importorskip("rclpy", reason="needs ROS 2", exc_type=ImportError)
pytest.importorskip("latent_policy_ros.msg", reason="needs the generated messages", exc_type=ImportError)

from geometry_msgs.msg import PoseStamped  # noqa: E402
from sensor_msgs.msg import JointState  # noqa: E402
from trajectory_msgs.msg import JointTrajectory, JointTrajectoryPoint  # noqa: E402

from latent_policy_ros.nodes import convert, qos  # noqa: E402
from latent_policy_ros.nodes.arm_driver_node import ArmDriver  # noqa: E402
from latent_policy_ros.nodes.end_effector_driver import EndEffectorDriver  # noqa: E402

HAND = load_embodiment("mimic_hand")


def hand(graph, kind="hand", embodiment="mimic_hand", **parameters):
    make = lambda **options: EndEffectorDriver(kind, **options)
    return graph.add(make, "left", embodiment=embodiment, driver="mock", **parameters)


@pytest.fixture
def states(graph):
    return graph.listen(JointState, "left/joint_states", qos.STATES)


def send(graph, names, positions, stamp=None):
    message = convert.command(stamp or time.time(), 0.02, names, np.asarray(positions, float))
    graph.publish(JointTrajectory, "left/hand_command", qos.COMMANDS, message)


def test_a_hand_follows_its_commands_by_name(graph, states):
    hand(graph)
    goal = HAND.rest + 0.1 * (HAND.upper - HAND.rest)
    order = np.random.default_rng(0).permutation(len(goal))
    shuffled = [HAND.joint_names[k] for k in order]
    graph.run(1.0, lambda: send(graph, shuffled, goal[order]))
    last = states[-1][1]
    assert tuple(last.name) == HAND.joint_names
    np.testing.assert_allclose(last.position, goal, atol=0.01)


def test_states_come_at_their_rate(graph, states):
    hand(graph)
    graph.run(0.3)
    states.clear()
    graph.run(1.0)
    assert 80 <= len(states) <= 105
    stamps = [convert.to_seconds(m.header.stamp) for _, m in states]
    assert np.all(np.diff(stamps) > 0) and abs(stamps[-1] - time.time()) < 0.2


@pytest.mark.parametrize("bad", ["missing", "extra", "renamed", "nan", "short", "twice"])
def test_a_malformed_command_moves_nothing(graph, states, bad):
    node = hand(graph)
    names, goal = list(HAND.joint_names), HAND.upper.copy()
    message = convert.command(time.time(), 0.02, names, goal)
    if bad == "missing":
        message = convert.command(time.time(), 0.02, names[:-1], goal[:-1])
    elif bad == "extra":
        message = convert.command(time.time(), 0.02, [*names, "sixth_finger"], [*goal, 0.0])
    elif bad == "renamed":
        message.joint_names = [*names[:-1], "thumb_typo"]
    elif bad == "twice":
        message.joint_names = [*names[:-1], names[0]]
    elif bad == "nan":
        message.points[0].positions[3] = float("nan")
    elif bad == "short":
        message.points = [JointTrajectoryPoint(positions=goal[:-1].tolist())]
    graph.run(0.6, lambda: graph.publish(JointTrajectory, "left/hand_command", qos.COMMANDS, message))
    np.testing.assert_allclose(states[-1][1].position, HAND.rest, atol=1e-6)
    assert sum(node.counts.values()) >= 1


def test_without_commands_the_measured_pose_is_held(graph, states):
    hand(graph, hold_after=0.05)
    graph.run(0.1, lambda: send(graph, HAND.joint_names, HAND.upper))  # on its way, when commands cease
    began = time.time()
    graph.run(1.0)
    after = [(t - began, np.array(m.position)) for t, m in states if t > began]
    resting = next(p for t, p in after if t > 0.2)
    np.testing.assert_allclose(after[-1][1], resting, atol=0.005)
    assert np.abs(resting - HAND.upper).max() > 0.2  # it did not go on to the goal


def test_a_trajectory_without_points_holds_at_once(graph, states):
    hand(graph, hold_after=2.0)
    graph.run(0.2, lambda: send(graph, HAND.joint_names, HAND.upper))
    graph.publish(JointTrajectory, "left/hand_command", qos.COMMANDS, convert.command(time.time(), 0, HAND.joint_names, None))
    graph.run(0.1)
    resting = np.array(states[-1][1].position)
    graph.run(0.5)
    np.testing.assert_allclose(states[-1][1].position, resting, atol=0.005)


def test_speed_and_limits_are_kept(graph, states):
    hand(graph)
    graph.run(1.5, lambda: send(graph, HAND.joint_names, HAND.upper + 1.0), period=0.02)
    positions = np.array([m.position for _, m in states])
    stamps = np.array([convert.to_seconds(m.header.stamp) for _, m in states])
    speed = (positions[5:] - positions[:-5]) / (stamps[5:] - stamps[:-5])[:, None]  # over 50 ms: loops are not exact
    assert np.all(positions <= HAND.upper + 1e-6)
    assert np.all(speed <= HAND.max_velocity * 1.3 + 0.05)


def test_the_gripper_driver_takes_gripper_commands(graph, states):
    hand(graph, "gripper", "panda_gripper")
    message = lambda: convert.command(time.time(), 0.02, ["panda_finger_joint1"], np.array([0.01]))
    graph.run(0.8, lambda: graph.publish(JointTrajectory, "left/gripper_command", qos.COMMANDS, message()))
    assert states[-1][1].position[0] == pytest.approx(0.01, abs=1e-3)


def test_the_wrong_kind_of_end_effector_does_not_start(graph):
    with pytest.raises(AssertionError, match="did not start"):
        hand(graph, "gripper", "mimic_hand")


def test_missing_hardware_is_reported_and_waited_for(graph, tmp_path):
    node = graph.add(lambda **o: EndEffectorDriver("hand", **o), "left", embodiment="mimic_hand", driver="sim",
                     socket_path=str(tmp_path / "none.sock"))  # fmt: skip
    graph.run(1.2)
    level, text, _ = node.status()
    assert text == "no hardware" and node.counts["hardware"] >= 2 and "sim_node" in node.details["hardware"]


def test_the_arm_goes_to_its_wrist_command_and_publishes_where_it_is(graph, states):
    node = graph.add(ArmDriver, "left", embodiment="mimic_hand", driver="mock")
    poses = graph.listen(PoseStamped, "left/wrist_pose", qos.STATES)
    graph.until(lambda: len(poses) > 10)
    start = convert.pose_array(poses[-1][1].pose)
    goal = start + [0.05, 0.02, -0.04, 0, 0, 0, 0]

    def command():
        graph.publish(PoseStamped, "left/wrist_command", qos.COMMANDS, convert.pose_stamped(time.time(), "base", goal))

    graph.run(2.0, command, period=0.02)
    np.testing.assert_allclose(convert.pose_array(poses[-1][1].pose)[:3], goal[:3], atol=2e-3)
    assert tuple(states[-1][1].name) == node.arm.joint_names
    graph.publish(JointTrajectory, "left/arm_command", qos.COMMANDS, convert.command(time.time(), 0.0, (), None))
    graph.run(0.05)
    assert node.guard.filter(None, node.reading.position, time.monotonic()).reason == "told to hold"
    bad = convert.pose_stamped(time.time(), "base", goal)
    bad.pose.position.x = float("nan")
    graph.publish(PoseStamped, "left/wrist_command", qos.COMMANDS, bad)
    graph.run(0.5)
    np.testing.assert_allclose(convert.pose_array(poses[-1][1].pose)[:3], goal[:3], atol=5e-3)
    assert node.counts["wrist_command: refused"] == 1
