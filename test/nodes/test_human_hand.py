"""A person's hand drives robots over real ROS 2: in one process, and as the processes that `latent-policy teleop` starts."""

import signal
import time

import numpy as np
import pytest

from latent_policy_ros import bringup
from latent_policy_ros.bringup.supervisor import Supervisor
from latent_policy_ros.common.paths import artifact
from latent_policy_ros.embodiments import load_embodiment
from latent_policy_ros.embodiments.human.keypoints import to_hand_frame
from latent_policy_ros.latent import LatentSpace
from latent_policy_ros.policy.teleoperation import encode_hand
from latent_policy_ros.retargeting import Retargeter, generate_motion

pytest.importorskip("rclpy", reason="needs ROS 2", exc_type=ImportError)
pytest.importorskip("latent_policy_ros.msg", reason="needs the generated messages", exc_type=ImportError)

from diagnostic_msgs.msg import DiagnosticArray  # noqa: E402
from geometry_msgs.msg import Point, Pose, PoseArray  # noqa: E402
from sensor_msgs.msg import JointState  # noqa: E402
from trajectory_msgs.msg import JointTrajectory  # noqa: E402

from latent_policy_ros.msg import LatentAction  # noqa: E402
from latent_policy_ros.nodes.base import message_conversion, qos  # noqa: E402
from latent_policy_ros.nodes.human_hand_node import HumanHandNode  # noqa: E402
from latent_policy_ros.observations.messages import to_seconds  # noqa: E402
from latent_policy_ros.policy import ActionChunk  # noqa: E402

HAND, JAWS = load_embodiment("mimic_hand"), load_embodiment("panda_gripper")
MOTION = generate_motion(21, 10.0).keypoints
TURN = np.linalg.qr(np.random.default_rng(4).normal(size=(3, 3)))[0]  # some tracker's axes


def message(points, stamp=None):
    poses = [Pose(position=Point(x=float(x), y=float(y), z=float(z))) for x, y, z in points]
    array = PoseArray(poses=poses)
    array.header.stamp = message_conversion.to_stamp(time.time() if stamp is None else stamp)
    return array


class Person:
    """Publishes a moving hand, that trembles as all do."""

    def __init__(self, graph, motion=MOTION):
        self.publisher = graph.probe.create_publisher(PoseArray, "keypoints", qos.IMAGES)
        self.motion, self.began, self.rng = motion, time.time(), np.random.default_rng(0)

    def __call__(self):
        points = self.motion[int((time.time() - self.began) * 30) % len(self.motion)]
        self.publisher.publish(message(points + self.rng.normal(0.0, 1e-5, points.shape)))


@pytest.fixture
def left(graph, fake_robot):
    """A robot whose joints and wrist are measured."""
    return fake_robot("left", "mimic_hand", [])


def both(*functions):
    return lambda: [function() for function in functions]


def node(graph, **parameters):
    chosen = {"robots": ["left"], "embodiments": ["mimic_hand"], **parameters}
    return graph.add(HumanHandNode, **chosen)


def test_in_mode_latent_every_frame_becomes_a_plan_that_holds_the_measured_wrist(graph, left):
    plans = graph.listen(LatentAction, "left/latent_action", qos.LATENTS)
    space = LatentSpace.load(artifact("latents", "default"))
    human = node(graph, transition_time=0.0)
    person = Person(graph, MOTION[100:101] @ TURN.T + 1.0)  # any axes, anywhere
    graph.run(1.5, both(left.publish, person), period=0.02)
    assert len(plans) > 20 and human.status()[1] == "driving"
    chunk = ActionChunk.from_message(plans[-1][1])
    expected = encode_hand(space, to_hand_frame(MOTION[100]))
    assert chunk.latent_id == space.latent_id and chunk.horizon == 1
    np.testing.assert_allclose(chunk.latents[0], expected, atol=5e-3)
    np.testing.assert_allclose(chunk.wrist_poses[0], [0.4, 0, 0.4, 1, 0, 0, 0], atol=1e-9)
    values = human.status()[2]
    assert values["layout"] == "mediapipe" and "palm" in values["size"] and values["hand"] == (
        "right" if np.linalg.det(TURN) > 0 else "left")  # fmt: skip


def test_in_mode_direct_every_frame_becomes_the_joints_that_retargeting_says(graph, left):
    commands = graph.listen(JointTrajectory, "left/hand_command", qos.COMMANDS)
    node(graph, transition_time=0.0, mode="direct", side="right")
    graph.run(1.5, both(left.publish, Person(graph, MOTION[100:101])), period=0.02)
    assert len(commands) > 20
    follower = Retargeter(HAND)
    for _ in range(20):
        expected = follower.retarget(MOTION[100])
    assert tuple(commands[-1][1].joint_names) == HAND.joint_names
    np.testing.assert_allclose(commands[-1][1].points[-1].positions, expected, atol=0.05)


@pytest.mark.parametrize("mode", ["latent", "direct"])
def test_when_the_hand_is_gone_the_robot_is_told_to_hold_and_later_goes_on(graph, left, mode):
    commands = graph.listen(JointTrajectory, "left/hand_command", qos.COMMANDS)
    plans = graph.listen(LatentAction, "left/latent_action", qos.LATENTS)
    out = plans if mode == "latent" else commands
    human, person = node(graph, mode=mode, side="right"), Person(graph)
    graph.run(1.0, both(left.publish, person), period=0.02)
    assert len(out) > 20
    graph.run(0.5, left.publish, period=0.02)
    assert human.counts["keypoints are stale: holding"] == 1 and "holding" in human.status()[1]
    if mode == "direct":
        assert commands[-1][1].points == []
    before = len(out)
    graph.run(0.3, left.publish, period=0.02)
    assert len(out) == before  # nothing is sent from memory
    graph.run(1.0, both(left.publish, person), period=0.02)
    assert len(out) > before + 20 and human.status()[1] == "driving"


BAD = {
    "nan": lambda: message(MOTION[0] * np.nan),
    "empty": lambda: message([]),
    "short": lambda: message(MOTION[0][:20]),
    "millimetres": lambda: message(MOTION[0] * 1000),
    "old": lambda: message(MOTION[0], time.time() - 3.0),
    "future": lambda: message(MOTION[0], time.time() + 3.0),
    "a point": lambda: message(MOTION[0] * 0),
}


@pytest.mark.parametrize("case", BAD)
def test_bad_keypoints_are_counted_with_their_reason_and_move_nothing(graph, left, case):
    plans = graph.listen(LatentAction, "left/latent_action", qos.LATENTS)
    human = node(graph, side="right")
    graph.run(1.0, both(left.publish, Person(graph)), period=0.02)
    good = len(plans)
    publisher = graph.probe.create_publisher(PoseArray, "keypoints", qos.IMAGES)
    graph.run(0.2)
    settled = len(plans)
    graph.run(0.7, both(left.publish, lambda: publisher.publish(BAD[case]())), period=0.05)
    assert good > 15 and len(plans) == settled
    assert human.counts["keypoints refused"] + human.counts["keypoints: refused"] >= 8
    words = {"nan": "not finite", "empty": "without points", "short": "20", "millimetres": "units: mm",
             "old": "stamped 3.0", "future": "stamped -2.9", "a point": "wrist to middle knuckle"}  # fmt: skip
    assert words[case] in human.status()[1] and human.active


def test_a_hand_without_a_stamp_and_one_of_unknown_side(graph, left):
    plans = graph.listen(LatentAction, "left/latent_action", qos.LATENTS)
    human = node(graph)
    publisher = graph.probe.create_publisher(PoseArray, "keypoints", qos.IMAGES)
    flat = MOTION[0].copy() * [0, 1, 1]  # all in one plane
    graph.run(0.5, both(left.publish, lambda: publisher.publish(message(flat, 0.0))), period=0.02)
    assert not plans and "left or right is not clear" in human.status()[1]
    graph.run(0.9, both(left.publish, lambda: publisher.publish(message(MOTION[0], 0.0))), period=0.02)
    assert len(plans) > 10


def test_a_device_that_is_stuck_is_noticed(graph, left):
    human = node(graph, side="right", frozen_after=0.3)
    publisher = graph.probe.create_publisher(PoseArray, "keypoints", qos.IMAGES)
    graph.run(1.0, both(left.publish, lambda: publisher.publish(message(MOTION[0]))), period=0.02)
    assert "frozen" in human.status()[1] and human.counts["keypoints are stale: holding"] == 1


@pytest.mark.parametrize("missing, words", [("wrist_pose", "no wrist pose"), ("joint_states", "no joint states")])
def test_a_robot_that_is_not_measured_is_left_out_and_the_others_go_on(graph, fake_robot, missing, words):
    left, right = fake_robot("left", "mimic_hand", []), fake_robot("right", "panda_gripper", [])
    left.silent.add(missing)
    heard = {n: graph.listen(LatentAction, f"{n}/latent_action", qos.LATENTS) for n in ("left", "right")}
    human = node(graph, robots=["left", "right"], embodiments=["mimic_hand", "panda_gripper"], side="right")
    graph.run(1.0, both(left.publish, right.publish, Person(graph)), period=0.02)
    assert not heard["left"] and len(heard["right"]) > 15
    assert f"left: {words}" in human.status()[1]
    left.silent.clear()
    graph.run(0.7, both(left.publish, right.publish, Person(graph)), period=0.02)
    assert heard["left"] and human.status()[1] == "driving"


@pytest.mark.parametrize(
    "parameters, words",
    [
        ({"mode": "telepathy"}, "available: direct, latent"),
        ({"side": "both"}, "available: auto, left, right"),
        ({"layout": "manos"}, "no layout 'manos'"),
        ({"units": "inch"}, "no units 'inch'"),
        ({"file": "/nowhere/hand.npz"}, "/nowhere/hand.npz"),
        ({"robots": ["left", "right"]}, "one entry for each robot"),
        ({"embodiments": ["human_hand"]}, "has no joints to command"),
    ],
)
def test_wrong_parameters_are_named_and_the_node_does_not_start(graph, capfd, parameters, words):
    with pytest.raises(AssertionError, match="did not start"):
        node(graph, **parameters)
    assert words in capfd.readouterr().err


def test_it_can_be_deactivated_and_activated_again(graph, left):
    plans = graph.listen(LatentAction, "left/latent_action", qos.LATENTS)
    human, everything = node(graph, side="right"), both(left.publish, Person(graph))
    graph.run(0.7, everything, period=0.02)
    human.trigger_deactivate()
    graph.run(0.1)
    plans.clear()
    graph.run(0.3, everything, period=0.02)
    assert not plans
    human.trigger_activate()
    graph.run(0.7, everything, period=0.02)
    assert plans
    human.trigger_deactivate()
    human.trigger_cleanup()
    human.trigger_configure()
    human.trigger_activate()
    plans.clear()
    graph.run(0.7, everything, period=0.02)
    assert plans


# --- as processes


@pytest.fixture
def fleet():
    """The demo's two robots, without simulators."""
    demo = bringup.load_fleet("demo")
    robots = {name: robot.model_copy(update={"driver": "mock"}) for name, robot in demo.robots.items()}
    return demo.model_copy(update={"robots": robots})


def track(states, names):
    """Times (T,) and positions (T, n) of the joints ``names`` in what was heard of joint_states."""
    kept = [(t, [dict(zip(m.name, m.position))[n] for n in names]) for t, m in states if set(names) <= set(m.name)]
    return np.array([t for t, _ in kept]), np.array([q for _, q in kept])


@pytest.mark.parametrize("mode", ["latent", "direct"])
def test_a_recorded_hand_drives_hand_and_gripper_at_once_and_they_hold_when_the_node_is_killed(graph, fleet, tmp_path, mode):
    """Both robots' measured joints follow what retargeting says of the recording, whatever the axes it was made in."""
    file = tmp_path / "hand.npz"
    times = np.arange(len(MOTION)) / 30
    np.savez(file, keypoints=MOTION @ TURN.T - 2.0, timestamps=times)
    states = {n: graph.listen(JointState, f"{n}/joint_states", qos.STATES) for n in fleet.robots}
    commands = {
        "left": graph.listen(JointTrajectory, "left/hand_command", qos.COMMANDS),
        "right": graph.listen(JointTrajectory, "right/gripper_command", qos.COMMANDS),
    }
    reports = graph.listen(DiagnosticArray, "/diagnostics", qos.EVENTS)
    specs = bringup.node_specs(fleet, teleoperation=bringup.Teleoperation(mode, file=str(file), loop=True))
    with Supervisor(specs, log_folder=tmp_path / "log", restart=False) as up:
        graph.until(lambda: all(len(c) > 5 for c in commands.values()), 90, "commands")
        driven = time.time() + 1.0  # after easing in
        graph.run(12.0)
        assert up.poll() == {}
        up.process("/human_hand").send_signal(signal.SIGKILL)
        killed = time.time()
        graph.run(1.5)
        still = lambda name, robot: (track(states[name], robot.joint_names)[0] > killed + 0.4).sum()
        graph.until(lambda: still("left", HAND) > 50 and still("right", JAWS) > 50, 20, "states after it")
        assert up.poll() == {"/human_hand": -signal.SIGKILL}

    followed = {}
    for name, robot in (("left", HAND), ("right", JAWS)):
        t, q = track(states[name], robot.joint_names)
        follower = Retargeter(robot)
        wanted = np.array([follower.retarget(frame, 1 / 30) for frame in np.concatenate((MOTION, MOTION))])
        moving = (t > driven) & (t < killed)
        followed[name] = follow(t[moving] - driven, q[moving], wanted, np.arange(2 * len(MOTION)) / 30)
        held = q[t > killed + 0.4]
        assert len(held) > 50 and np.ptp(held, axis=0).max() < 5e-3, f"{name} did not hold"
        slowest = np.diff(t).max() + 0.02
        assert (np.abs(np.diff(q, axis=0)).max(axis=0) <= robot.max_velocity * max(slowest, 0.05)).all()  # no jump
    assert followed["left"] > (0.8 if mode == "latent" else 0.9), followed
    assert followed["right"] > 0.85, followed
    opening = JAWS.to_action(track(states["right"], JAWS.joint_names)[1])
    assert opening.min() < 0.35 and opening.max() > 0.8  # the gripper closed and opened
    if mode == "direct":
        assert not [m for _, array in reports for m in array.status if "decoder" in m.name]
    worst = keypoints_to_command(commands["left"])
    assert np.percentile(worst, 99) < 0.15, np.percentile(worst, [50, 99])  # 30 ms and less on an idle machine


def follow(t, q, wanted, at):
    """Median correlation of measured joints q (T, n) with the wanted (F, n), at the best shift of the two clocks."""
    moves = np.flatnonzero(wanted.std(axis=0) > 0.25 * wanted.std(axis=0).max())
    best = 0.0
    for shift in np.arange(0.0, 10.0, 0.02):  # when within the loop we began to listen
        there = (t + shift) % (at[len(at) // 2])
        same = [np.corrcoef(q[:, j], np.interp(there, at, wanted[:, j]))[0, 1] for j in moves]
        best = max(best, float(np.median(same)))
    return best


def keypoints_to_command(commands):
    """Age [s] of the newest keypoints in the first command that answers each of them."""
    ages, last = [], None
    for received, command in commands:
        stamp = to_seconds(command.header.stamp)
        if command.points and stamp != last:
            ages.append(received - stamp)
            last = stamp
    assert len(ages) > 100
    return ages
