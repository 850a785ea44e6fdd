"""Driver nodes on mock hardware: following, refusing and holding."""

import time
from dataclasses import replace

import numpy as np
import pytest

from latent_policy_ros.common.errors import HardwareError
from latent_policy_ros.embodiments import load_embodiment

pytest.importorskip("rclpy", reason="needs ROS 2", exc_type=ImportError)
pytest.importorskip("latent_policy_ros.msg", reason="needs the generated messages", exc_type=ImportError)

import rclpy  # noqa: E402
from geometry_msgs.msg import PoseStamped  # noqa: E402
from rclpy import Parameter  # noqa: E402
from rclpy.lifecycle import TransitionCallbackReturn  # noqa: E402
from rosgraph_msgs.msg import Clock  # noqa: E402
from sensor_msgs.msg import JointState  # noqa: E402
from trajectory_msgs.msg import JointTrajectory, JointTrajectoryPoint  # noqa: E402

from latent_policy_ros.common.processes import READY  # noqa: E402
from latent_policy_ros.control.arm_description import load_arm  # noqa: E402
from latent_policy_ros.control.arm_kinematics import ArmKinematics  # noqa: E402
from latent_policy_ros.nodes.arm_driver_node import ArmDriver  # noqa: E402
from latent_policy_ros.nodes.base.driver_node import EndEffectorDriver  # noqa: E402
from latent_policy_ros.nodes.topics import message_conversion, qos, source_monitor  # noqa: E402
from latent_policy_ros.observations.messages import pose_array, to_seconds  # noqa: E402

HAND = load_embodiment("mimic_hand")


def hand(graph, kind="hand", embodiment="mimic_hand", **parameters):
    make = lambda **options: EndEffectorDriver(kind, **options)
    return graph.add(make, "left", embodiment=embodiment, driver="mock", **parameters)


@pytest.fixture
def states(graph):
    return graph.listen(JointState, "left/joint_states", qos.STATES)


def send(graph, names, positions, stamp=None):
    message = message_conversion.command(stamp or time.time(), 0.02, names, np.asarray(positions, float))
    graph.publish(JointTrajectory, "left/hand_command", qos.COMMANDS, message)


def send_wrist(graph, pose, frame=""):
    message = message_conversion.pose_stamped(time.time(), frame, pose)
    graph.publish(PoseStamped, "left/wrist_command", qos.COMMANDS, message)


def test_hand_follows_commands_by_name(graph, states):
    hand(graph)
    goal = HAND.rest + 0.1 * (HAND.upper - HAND.rest)
    order = np.random.default_rng(0).permutation(len(goal))
    shuffled = [HAND.joint_names[k] for k in order]
    graph.run(1.0, lambda: send(graph, shuffled, goal[order]))
    last = states[-1][1]
    assert tuple(last.name) == HAND.joint_names
    np.testing.assert_allclose(last.position, goal, atol=0.01)


@pytest.mark.parametrize(("state_rate", "rate"), [(50.0, 50), (200.0, 100), (30.0, 30)])
def test_joint_states_are_published_at_their_rate_up_to_that_of_the_control_loop(graph, states, state_rate, rate):
    hand(graph, state_rate=state_rate)
    graph.run(0.3)
    states.clear()
    graph.run(1.0)
    assert 0.8 * rate <= len(states) <= 1.05 * rate + 1
    stamps = [to_seconds(m.header.stamp) for _, m in states]
    assert np.all(np.diff(stamps) > 0) and abs(stamps[-1] - time.time()) < 0.2


@pytest.mark.parametrize("bad", ["missing", "extra", "renamed", "nan", "short", "twice", "yesterday", "tomorrow"])
def test_bad_command_moves_nothing_and_stops_a_motion(graph, states, bad):
    node = hand(graph, hold_after=2.0)
    node.controller.guard.max_velocity = 0.1 * node.controller.guard.max_velocity  # slow, so that it is still moving later
    names, goal = list(HAND.joint_names), HAND.upper.copy()
    message = message_conversion.command(time.time(), 0.02, names, goal)
    if bad == "missing":
        message = message_conversion.command(time.time(), 0.02, names[:-1], goal[:-1])
    elif bad == "extra":
        message = message_conversion.command(time.time(), 0.02, [*names, "sixth_finger"], [*goal, 0.0])
    elif bad == "renamed":
        message.joint_names = [*names[:-1], "thumb_typo"]
    elif bad == "twice":
        message.joint_names = [*names[:-1], names[0]]
    elif bad == "nan":
        message.points[0].positions[3] = float("nan")
    elif bad == "short":
        message.points = [JointTrajectoryPoint(positions=goal[:-1].tolist())]
    elif bad in ("yesterday", "tomorrow"):  # a bag that is played; a wrong clock
        message.header.stamp.sec += {"yesterday": -86400, "tomorrow": 86400}[bad]
        message.joint_names = [f"other_{name}" for name in names]
    publish = lambda: graph.publish(JointTrajectory, "left/hand_command", qos.COMMANDS, message)
    graph.run(0.6, publish)
    np.testing.assert_allclose(states[-1][1].position, HAND.rest, atol=1e-6)
    what = "held" if bad == "nan" else "hand_command: refused"
    assert node.counts[what] >= 1
    if bad in ("yesterday", "tomorrow"):
        assert "command stamp" in node.details[what]
        send(graph, HAND.joint_names, HAND.upper)
        graph.run(0.1)
        publish()
        graph.run(0.1)
        assert not node.controller.holding  # a played bag does not stop present commands
        return
    send(graph, HAND.joint_names, HAND.upper)
    graph.run(0.3)
    assert not node.controller.holding
    publish()
    graph.until(lambda: node.controller.holding, 2)
    graph.run(0.2)
    resting = np.array(states[-1][1].position)
    graph.run(0.3)
    np.testing.assert_allclose(states[-1][1].position, resting, atol=1e-3)
    assert node.controller.holding and np.abs(HAND.upper - resting).max() > 0.2


def test_missing_commands_hold_the_measured_pose(graph, states):
    hand(graph, hold_after=0.05)
    graph.run(0.1, lambda: send(graph, HAND.joint_names, HAND.upper))  # still moving when commands stop
    began = time.time()
    graph.run(1.0)
    after = [(t - began, np.array(m.position)) for t, m in states if t > began]
    resting = next(p for t, p in after if t > 0.6)
    np.testing.assert_allclose(after[-1][1], resting, atol=0.005)
    assert np.abs(resting - HAND.upper).max() > 0.2  # it did not continue to the goal


def test_trajectory_without_points_holds_at_once(graph, states):
    hand(graph, hold_after=2.0)
    graph.run(0.2, lambda: send(graph, HAND.joint_names, HAND.upper))
    graph.publish(
        JointTrajectory, "left/hand_command", qos.COMMANDS, message_conversion.command(time.time(), 0, HAND.joint_names, None)
    )
    graph.run(0.5)  # it brakes
    resting = np.array(states[-1][1].position)
    graph.run(0.3)
    np.testing.assert_allclose(states[-1][1].position, resting, atol=0.005)
    assert np.abs(resting - HAND.upper).max() > 0.2  # it did not continue to the goal


@pytest.mark.parametrize(
    "msg_type, topic, sources",
    [
        (JointTrajectory, "hand_command", "2 nodes publish hand_command: /probe, /rival; stop all but 1"),
        (JointState, "joint_states", "3 nodes publish joint_states: /left/hand_driver, /probe, /rival; stop all but 2"),
    ],
)
def test_a_second_source_of_commands_or_measurements_holds_and_is_named(graph, msg_type, topic, sources):
    node = hand(graph)
    command = lambda: send(graph, HAND.joint_names, HAND.rest)
    if topic == "joint_states":
        graph.probe.create_publisher(msg_type, f"left/{topic}", qos.STATES)  # in place of the driver of the arm
    graph.until(lambda: node.status()[1] == "following commands", 15, each=command)
    rival = rclpy.create_node("rival")
    publisher = rival.create_publisher(msg_type, f"left/{topic}", qos.COMMANDS)
    graph.until(lambda: node.status()[1] == f"holding: {sources}", 15, each=command)
    graph.run(0.1, command)
    assert node.controller.holding and node.counts["held"] == 1
    rival.destroy_publisher(publisher)
    graph.until(lambda: node.status()[1] == "following commands", 15, each=command)
    rival.destroy_node()


def test_a_restarted_source_of_the_same_name_is_no_second_one(graph, monkeypatch):
    """A killed node stays in the graph for some time."""
    node = hand(graph)
    command = lambda: send(graph, HAND.joint_names, HAND.rest)
    graph.until(lambda: node.status()[1] == "following commands", 15, each=command)
    graph.probe.create_publisher(JointTrajectory, "left/hand_command", qos.COMMANDS)
    graph.until(lambda: node.count_publishers("hand_command") == 2, 15)
    graph.run(0.3, command)
    assert node.status()[1] == "following commands"
    monkeypatch.setattr(source_monitor, "LEASE", 0.1)
    both = "holding: 2 nodes publish hand_command: /probe, /probe; stop all but 1"
    graph.until(lambda: node.status()[1] == both, 15, each=command)


def test_speed_and_limits_are_kept(graph, states):
    hand(graph)
    graph.run(1.5, lambda: send(graph, HAND.joint_names, HAND.upper + 1.0), period=0.02)
    positions = np.array([m.position for _, m in states])
    stamps = np.array([to_seconds(m.header.stamp) for _, m in states])
    speed = (positions[5:] - positions[:-5]) / (stamps[5:] - stamps[:-5])[:, None]  # over 50 ms: loops are not exact
    assert np.all(positions <= HAND.upper + 1e-6)
    assert np.all(speed <= HAND.max_velocity * 1.3 + 0.05)


def test_gripper_driver_follows_gripper_commands(graph, states):
    hand(graph, "gripper", "panda_gripper")
    message = lambda: message_conversion.command(time.time(), 0.02, ["panda_finger_joint1"], np.array([0.01]))
    graph.run(1.2, lambda: graph.publish(JointTrajectory, "left/gripper_command", qos.COMMANDS, message()))
    assert states[-1][1].position[0] == pytest.approx(0.01, abs=1e-3)


def test_wrong_kind_of_end_effector_is_refused(graph):
    with pytest.raises(AssertionError, match="did not start"):
        hand(graph, "gripper", "mimic_hand")


@pytest.fixture
def ready(tmp_path, monkeypatch):
    """The file that a node creates when it is ready."""
    monkeypatch.setenv(READY, str(tmp_path / "ready"))
    return tmp_path / "ready"


def test_missing_hardware_is_reported_and_retried(graph, tmp_path, ready, monkeypatch):
    """A simulator that is still starting is counted, but not logged: it takes seconds, and is no error."""
    logged = []
    node = graph.add(lambda **o: EndEffectorDriver("hand", **o), "left", embodiment="mimic_hand", driver="sim",
                     socket_path=str(tmp_path / "none.sock"))  # fmt: skip
    monkeypatch.setattr(node.get_logger(), "warning", logged.append)
    graph.run(1.2)
    level, text, _ = node.status()
    assert text == "no hardware" and node.counts["hardware"] >= 2 and "sim_node" in node.details["hardware"]
    assert not ready.exists() and not logged
    node._grace_until = 0.0
    graph.until(lambda: logged, what="a warning of the missing simulator")
    assert "no simulator at" in logged[0]


def test_connected_driver_reports_ready(graph, ready):
    hand(graph)
    graph.until(ready.exists, what="file of readiness")


class Lost:
    """Hardware that was disconnected."""

    joint_names = HAND.joint_names

    def __init__(self, error):
        self.error = error

    def connect(self):
        raise type(self.error)(*self.error.args)  # a new one: its traceback must not keep the nodes of this test in the graph

    read = connect

    def write(self, position):
        self.connect()

    def close(self):
        pass


def test_reading_of_a_wrong_type_counts_as_lost_hardware(graph):
    node = hand(graph)
    node.driver.read = lambda: np.zeros(16)
    graph.until(lambda: node.counts["hardware"], 2)
    assert node.details["hardware"].startswith("driver: read() returned ndarray, expected JointReading")


def test_measurement_stamp_of_another_clock_is_reported(graph):
    node = hand(graph)
    read = node.driver.read
    node.driver.read = lambda: replace(read(), stamp=time.monotonic())
    graph.until(lambda: node.counts["measurement stamp implausible"], 2)
    assert "this machine's clock" in node.details["measurement stamp implausible"]


@pytest.mark.parametrize("error", [HardwareError("gone"), OSError("no such port"), RuntimeError("of its SDK")])
def test_commands_during_lost_hardware_are_forgotten(graph, error):
    node = hand(graph)
    graph.run(0.2)
    start, real = node.reading.position.copy(), node.driver
    node.driver = Lost(error)
    graph.until(lambda: not node.connected, 2)
    send(graph, HAND.joint_names, HAND.upper)
    graph.run(0.3)
    assert node.status()[1] == "no hardware"
    node.driver = real
    graph.until(lambda: node.connected, 3)
    graph.run(0.3)
    np.testing.assert_allclose(node.reading.position, start, atol=1e-6)
    graph.run(0.5, lambda: send(graph, HAND.joint_names, HAND.upper))
    assert np.abs(node.reading.position - start).max() > 0.2  # it follows again


def test_activation_forgets_earlier_commands(graph):
    node = hand(graph)
    graph.run(0.2)
    start = node.reading.position.copy()
    node.controller.set_command(HAND.joint_names, HAND.upper.copy())
    node.trigger_deactivate()
    node.trigger_activate()
    graph.run(0.5)
    np.testing.assert_allclose(node.reading.position, start, atol=1e-6)


def test_frozen_measurements_stop_the_hand(graph):
    node = hand(graph)
    graph.run(0.2)
    stuck, written = node.driver.read(), []
    node.driver.read = lambda: stuck
    node.driver.write = written.append
    graph.run(1.0, lambda: send(graph, HAND.joint_names, HAND.upper))
    assert node.controller.holding and "no new measurement" in node.status()[1] and node.counts["measurement frozen"] > 1
    halfway = written[-1]  # the last set point stays: the hand does not return to the frozen measurement
    assert np.abs(halfway - stuck.position).max() > 0.05 and np.abs(np.diff(written, axis=0)).max() < 0.5
    graph.run(0.3, lambda: send(graph, HAND.joint_names, HAND.upper))
    np.testing.assert_array_equal(written[-1], halfway)


def test_deactivation_closes_hardware_that_measures_nan(graph):
    node = hand(graph)
    graph.run(0.2)
    reading = node.driver.read()
    node.driver.read = lambda: replace(reading, position=np.full(len(HAND.joint_names), np.nan))
    assert node.trigger_deactivate() == TransitionCallbackReturn.SUCCESS
    assert not node.connected and node.counts["hardware"] == 0  # no NaN was written, which would raise
    with pytest.raises(HardwareError, match="not connected"):
        node.driver.write(HAND.rest)


def test_deactivation_brings_a_moving_hand_to_rest(graph):
    node = hand(graph, hold_after=2.0)
    measured, written = [], []
    read, write = node.driver.read, node.driver.write
    node.driver.read = lambda: measured.append(read()) or measured[-1]
    node.driver.write = lambda position: written.append(position) or write(position)
    graph.run(0.2, lambda: send(graph, HAND.joint_names, HAND.upper))
    assert np.abs(written[-1] - written[-2]).max() > 0.02
    assert node.trigger_deactivate() == TransitionCallbackReturn.SUCCESS and not node.connected
    assert np.abs(written[-1] - written[-2]).max() < 1e-3 and np.abs(written[-1] - HAND.upper).max() > 0.2
    np.testing.assert_allclose(written[-1], measured[-1].position, atol=0.01)


def test_deactivation_does_not_send_an_implausible_pose(graph):
    """A driver that reads degrees instead of radians."""
    node = hand(graph)
    written, read = [], node.driver.read
    node.driver.write = written.append
    node.driver.read = lambda: replace(read(), position=np.full(len(HAND.joint_names), 40.0))
    node.controller.guard.reset()
    graph.until(lambda: "far beyond" in node.status()[1], 2)
    written.clear()
    assert node.trigger_deactivate() == TransitionCallbackReturn.SUCCESS and not written


def test_stale_wrist_command_does_not_change_inverse_kinematics(graph):
    """Poses of a bag that is played on the topic do not change the start of inverse kinematics."""
    node = graph.add(ArmDriver, "left", embodiment="mimic_hand", driver="mock", hold_after=2.0)
    graph.until(lambda: node.reading is not None)
    goal = node.controller.kinematics.fk(node.reading.position)
    graph.run(0.3, lambda: send_wrist(graph, goal))
    solution = node.controller._solution.copy()
    old = message_conversion.pose_stamped(time.time() - 86400, "", goal + [-0.2, 0.3, 0.1, 0, 0, 0, 0])
    foreign = message_conversion.pose_stamped(time.time() - 86400, "map", goal)
    for message in (old, foreign):
        graph.publish(PoseStamped, "left/wrist_command", qos.COMMANDS, message)
        graph.run(0.1)
        assert not node.controller.holding and "command stamp" in node.details["wrist_command: refused"]
    np.testing.assert_array_equal(node.controller._solution, solution)


def test_a_played_clock_does_not_make_old_commands_new(graph):
    """use_sim_time is refused at run time, as is a change of limits, with the reason."""
    node = hand(graph)
    graph.until(lambda: node.reading is not None)
    result = node.set_parameters([Parameter("use_sim_time", value=True)])[0]
    assert not result.successful and "the clock is chosen at start" in result.reason
    assert not node.set_parameters([Parameter("max_command_age", value=9.0)])[0].successful
    start, old = node.reading.position.copy(), 1_600_000_000.0
    clock = graph.probe.create_publisher(Clock, "/clock", qos.EVENTS)
    for k in range(10):
        clock.publish(Clock(clock=message_conversion.to_stamp(old + 0.02 * k)))
        send(graph, HAND.joint_names, HAND.upper, old + 0.02 * k)
        graph.run(0.02)
    np.testing.assert_allclose(node.reading.position, start, atol=1e-6)


@pytest.mark.parametrize("bad", ["frame", "far", "huge", "nan"])
def test_bad_wrist_command_holds_the_arm(graph, bad):
    node = graph.add(ArmDriver, "left", embodiment="mimic_hand", driver="mock", hold_after=2.0)
    node.controller.guard.max_velocity = 0.1 * node.controller.guard.max_velocity
    graph.until(lambda: node.reading is not None)
    goal = node.controller.kinematics.fk(node.reading.position) + [0.1, 0.05, -0.1, 0, 0, 0, 0]

    send_wrist(graph, goal, "panda_link0")
    graph.run(0.2)
    assert not node.controller.holding
    wrong = goal.copy()
    wrong[0] = {"frame": wrong[0], "far": 7.0, "huge": 1e200, "nan": np.nan}[bad]
    send_wrist(graph, wrong, "map" if bad == "frame" else "panda_link0")
    graph.until(lambda: node.controller.holding, 2)
    graph.run(0.2)
    resting = node.reading.position.copy()
    graph.run(0.3)
    assert node.controller.holding and node.counts["wrist_command: refused"] == 1
    np.testing.assert_allclose(node.reading.position, resting, atol=1e-3)
    assert np.abs(node.controller.kinematics.fk(resting)[:3] - goal[:3]).max() > 0.02  # it was still moving


def test_wrist_commands_are_clipped_to_the_workspace(graph):
    arm = ArmKinematics(HAND)
    wrist = arm.fk(arm.home)
    floor = float(wrist[2]) - 0.03
    node = graph.add(ArmDriver, "left", embodiment="mimic_hand", driver="mock", workspace=[-2.0, 2.0, -2.0, 2.0, floor, 2.0])
    poses = graph.listen(PoseStamped, "left/wrist_pose", qos.STATES)
    goal = wrist - [0.0, 0.0, 0.1, 0, 0, 0, 0]

    graph.run(1.5, lambda: send_wrist(graph, goal), period=0.02)
    heights = np.array([pose.pose.position.z for _, pose in poses])
    assert heights.min() > floor - 2e-3 and heights[-1] < floor + 2e-3
    assert node.counts["wrist command outside the workspace"] > 10
    assert node.details["wrist command outside the workspace"] == "by 70 mm"


def test_far_wrist_command_does_not_stop_at_the_workspace_border(graph):
    """From home to just above the border at once: without an approach, the joints would move the wrist through it."""
    arm = ArmKinematics(HAND, load_arm("xarm7"))
    goal = arm.fk(arm.home) - [0.1, 0.25, 0.3, 0, 0, 0, 0]
    box = [-2.0, 2.0, -2.0, 2.0, float(goal[2]) - 0.01, 2.0]
    node = graph.add(ArmDriver, "left", embodiment="mimic_hand", driver="mock", arm="xarm7", workspace=box)
    poses = graph.listen(PoseStamped, "left/wrist_pose", qos.STATES)

    distance = lambda: np.abs(pose_array(poses[-1][1].pose)[:3] - goal[:3]).max() if poses else np.inf
    graph.until(lambda: distance() < 2e-3, 15, "the goal", lambda: send_wrist(graph, goal))
    assert min(pose.pose.position.z for _, pose in poses) > box[4] - 0.012
    assert node.counts["held"] == 0


@pytest.mark.parametrize("how", ["turned", "joints"])
def test_wrist_stays_in_the_workspace_on_its_way(graph, how):
    """A rotation that the arm cannot reach moves the wrist down; a joint command has no wrist pose to clip."""
    arm = ArmKinematics(HAND, load_arm("ur5"))
    wrist = arm.fk(arm.home)
    floor = float(wrist[2]) - 0.05
    box = [-2.0, 2.0, -2.0, 2.0, floor, 2.0]
    node = graph.add(ArmDriver, "left", embodiment="mimic_hand", driver="mock", arm="ur5", workspace=box)
    poses = graph.listen(PoseStamped, "left/wrist_pose", qos.STATES)
    lower = arm.home + [0.0, 0.6, 0.0, -0.6, 0.0, 0.0]
    turned = np.array([*wrist[:2], floor + 0.01, -0.85, -0.08, -0.45, -0.27])
    assert arm.fk(lower)[2] < floor - 0.1 and arm.fk(arm.ik(turned, arm.home))[2] < floor - 0.05

    def command():
        if how == "joints":
            message = message_conversion.command(time.time(), 0.02, arm.joint_names, lower)
            graph.publish(JointTrajectory, "left/arm_command", qos.COMMANDS, message)
        else:
            send_wrist(graph, turned)

    graph.run(2.5, command, period=0.02)
    heights = np.array([pose.pose.position.z for _, pose in poses])
    assert floor - 0.015 < heights.min() < floor + 0.03
    assert "leave the workspace" in node.details["held"]


def test_unreachable_wrist_orientation_is_reported(graph):
    node = graph.add(ArmDriver, "left", embodiment="mimic_hand", driver="mock", arm="ur5")
    wrist = node.controller.kinematics.fk(node.controller.kinematics.home)
    turned = np.array([*wrist[:2], wrist[2] - 0.04, -0.85, -0.08, -0.45, -0.27])

    graph.run(3.0, lambda: send_wrist(graph, turned), period=0.02)
    assert "degrees" in node.details["wrist command out of reach"]


@pytest.mark.parametrize("arm, base", [("panda", "panda_link0"), ("ur5", "base_link")])
def test_arm_reaches_its_wrist_command(graph, states, arm, base):
    node = graph.add(ArmDriver, "left", embodiment="mimic_hand", driver="mock", arm=arm)
    poses = graph.listen(PoseStamped, "left/wrist_pose", qos.STATES)
    graph.until(lambda: len(poses) > 10)
    start = pose_array(poses[-1][1].pose)
    goal = start + [0.05, 0.02, -0.04, 0, 0, 0, 0]

    graph.run(2.0, lambda: send_wrist(graph, goal, base), period=0.02)
    np.testing.assert_allclose(pose_array(poses[-1][1].pose)[:3], goal[:3], atol=2e-3)
    assert tuple(states[-1][1].name) == node.controller.kinematics.joint_names and poses[-1][1].header.frame_id == base
    graph.publish(JointTrajectory, "left/arm_command", qos.COMMANDS, message_conversion.command(time.time(), 0.0, (), None))
    graph.run(0.05)
    assert node.controller.guard.filter(None, node.reading.position, time.monotonic()).reason == "commanded to hold"
