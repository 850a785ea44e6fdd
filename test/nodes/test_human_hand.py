"""Human hand node: in one process, and with the processes that `latent-policy teleop` starts."""

import signal
import time

import cv2
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
from latent_policy_ros.nodes.human_hand_node import HumanHandNode  # noqa: E402
from latent_policy_ros.nodes.topics import message_conversion, qos  # noqa: E402
from latent_policy_ros.observations.messages import to_seconds  # noqa: E402
from latent_policy_ros.policy import ActionChunk  # noqa: E402

HAND, GRIPPER = load_embodiment("mimic_hand"), load_embodiment("panda_gripper")
MOTION = generate_motion(21, 10.0).keypoints
AXES = np.linalg.qr(np.random.default_rng(4).normal(size=(3, 3)))[0]  # axes of an arbitrary tracker


def message(points, stamp=None):
    poses = [Pose(position=Point(x=float(x), y=float(y), z=float(z))) for x, y, z in points]
    array = PoseArray(poses=poses)
    array.header.stamp = message_conversion.to_stamp(time.time() if stamp is None else stamp)
    return array


class HandPublisher:
    """Publishes keypoints of a moving hand, with noise of 10 um."""

    def __init__(self, graph, motion=MOTION):
        self.publisher = graph.probe.create_publisher(PoseArray, "keypoints", qos.IMAGES)
        self.motion, self.began, self.rng = motion, time.time(), np.random.default_rng(0)

    def __call__(self):
        points = self.motion[int((time.time() - self.began) * 30) % len(self.motion)]
        self.publisher.publish(message(points + self.rng.normal(0.0, 1e-5, points.shape)))


@pytest.fixture
def left(graph, fake_robot):
    """A robot that publishes its joint states and wrist pose."""
    return fake_robot("left", "mimic_hand", [])


def both(*functions):
    return lambda: [function() for function in functions]


def node(graph, **parameters):
    chosen = {"robots": ["left"], "embodiments": ["mimic_hand"], **parameters}
    return graph.add(HumanHandNode, **chosen)


def test_latent_mode_publishes_chunk_with_measured_wrist(graph, left):
    chunks = graph.listen(LatentAction, "left/latent_action", qos.LATENTS)
    space = LatentSpace.load(artifact("latents", "default"))
    human = node(graph, transition_time=0.0)
    publish_hand = HandPublisher(graph, MOTION[100:101] @ AXES.T + 1.0)  # arbitrary axes and origin
    graph.run(1.5, both(left.publish, publish_hand), period=0.02)
    assert len(chunks) > 20 and human.status()[1] == "driving"
    chunk = ActionChunk.from_message(chunks[-1][1])
    expected = encode_hand(space, to_hand_frame(MOTION[100]))
    assert chunk.latent_id == space.latent_id and chunk.horizon == 1
    np.testing.assert_allclose(chunk.latents[0], expected, atol=5e-3)
    np.testing.assert_allclose(chunk.wrist_poses[0], [0.4, 0, 0.4, 1, 0, 0, 0], atol=1e-9)
    values = human.status()[2]
    assert values["layout"] == "mediapipe" and "palm" in values["size"] and values["hand"] == (
        "right" if np.linalg.det(AXES) > 0 else "left")  # fmt: skip


def test_direct_mode_publishes_retargeted_joints(graph, left):
    commands = graph.listen(JointTrajectory, "left/hand_command", qos.COMMANDS)
    node(graph, transition_time=0.0, mode="direct", side="right")
    graph.run(1.5, both(left.publish, HandPublisher(graph, MOTION[100:101])), period=0.02)
    assert len(commands) > 20
    follower = Retargeter(HAND)
    for _ in range(20):
        expected = follower.retarget(MOTION[100])
    assert tuple(commands[-1][1].joint_names) == HAND.joint_names
    np.testing.assert_allclose(commands[-1][1].points[-1].positions, expected, atol=0.05)


def test_webcam_drives_and_a_picture_without_a_hand_holds(graph, left, monkeypatch, tmp_path):
    """A film in place of a camera, and a stub in place of MediaPipe's detector."""
    path, rng, shown = str(tmp_path / "film.avi"), np.random.default_rng(0), [MOTION[100]]
    film = cv2.VideoWriter(path, cv2.VideoWriter_fourcc(*"MJPG"), 30.0, (64, 48))
    for _ in range(10):
        film.write(np.zeros((48, 64, 3), np.uint8))
    film.release()

    def detector(model):
        assert model == "hand.task"
        return lambda pixels, at: shown[0] + rng.normal(0.0, 1e-5, shown[0].shape)

    monkeypatch.setattr("latent_policy_ros.nodes.human_hand_node.mediapipe_detector", detector)
    commands = graph.listen(JointTrajectory, "left/hand_command", qos.COMMANDS)
    human = node(graph, transition_time=0.0, mode="direct", side="right", webcam=path, hand_model="hand.task")
    graph.run(1.5, left.publish, period=0.02)
    assert len(commands) > 10 and human.status()[1] == "driving"
    follower = Retargeter(HAND)
    for _ in range(20):
        expected = follower.retarget(MOTION[100])
    np.testing.assert_allclose(commands[-1][1].points[-1].positions, expected, atol=0.05)
    shown[0] = np.empty((0, 3))
    graph.run(0.6, left.publish, period=0.02)
    assert human.status()[1] == "holding: no hand in the image"


@pytest.mark.parametrize("mode", ["latent", "direct"])
def test_robot_holds_without_keypoints_and_resumes(graph, left, mode):
    commands = graph.listen(JointTrajectory, "left/hand_command", qos.COMMANDS)
    chunks = graph.listen(LatentAction, "left/latent_action", qos.LATENTS)
    out = chunks if mode == "latent" else commands
    human, publish_hand = node(graph, mode=mode, side="right"), HandPublisher(graph)
    graph.run(1.0, both(left.publish, publish_hand), period=0.02)
    assert len(out) > 20
    graph.run(0.5, left.publish, period=0.02)
    assert human.counts["keypoints are stale: holding"] == 1 and "holding" in human.status()[1]
    if mode == "direct":
        assert commands[-1][1].points == []
    before = len(out)
    graph.run(0.3, left.publish, period=0.02)
    assert len(out) == before  # nothing is published without new keypoints
    graph.run(1.0, both(left.publish, publish_hand), period=0.02)
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
def test_invalid_keypoints_are_refused_with_reason(graph, left, case):
    chunks = graph.listen(LatentAction, "left/latent_action", qos.LATENTS)
    human = node(graph, side="right")
    graph.run(1.0, both(left.publish, HandPublisher(graph)), period=0.02)
    good = len(chunks)
    publisher = graph.probe.create_publisher(PoseArray, "keypoints", qos.IMAGES)
    graph.run(0.2)
    settled = len(chunks)
    graph.run(0.7, both(left.publish, lambda: publisher.publish(BAD[case]())), period=0.05)
    assert good > 15 and len(chunks) == settled
    assert human.counts["keypoints refused"] + human.counts["keypoints: refused"] >= 8
    words = {"nan": "not finite", "empty": "no points", "short": "20", "millimetres": "units: mm",
             "old": "stamped 3.0", "future": "stamped -2.9", "a point": "wrist to middle knuckle"}  # fmt: skip
    assert words[case] in human.status()[1] and human.active


def test_unstamped_keypoints_and_unknown_side(graph, left):
    chunks = graph.listen(LatentAction, "left/latent_action", qos.LATENTS)
    human = node(graph)
    publisher = graph.probe.create_publisher(PoseArray, "keypoints", qos.IMAGES)
    flat = MOTION[0].copy() * [0, 1, 1]  # all keypoints in one plane
    graph.run(0.5, both(left.publish, lambda: publisher.publish(message(flat, 0.0))), period=0.02)
    assert not chunks and "left or right is not detected" in human.status()[1]
    graph.run(0.9, both(left.publish, lambda: publisher.publish(message(MOTION[0], 0.0))), period=0.02)
    assert len(chunks) > 10


def test_frozen_keypoints_are_refused(graph, left):
    human = node(graph, side="right", frozen_after=0.3)
    publisher = graph.probe.create_publisher(PoseArray, "keypoints", qos.IMAGES)
    graph.run(1.0, both(left.publish, lambda: publisher.publish(message(MOTION[0]))), period=0.02)
    assert "frozen" in human.status()[1] and human.counts["keypoints are stale: holding"] == 1


@pytest.mark.parametrize("missing, words", [("wrist_pose", "no wrist pose"), ("joint_states", "no joint states")])
def test_robot_without_state_is_skipped(graph, fake_robot, missing, words):
    left, right = fake_robot("left", "mimic_hand", []), fake_robot("right", "panda_gripper", [])
    left.silent.add(missing)
    heard = {n: graph.listen(LatentAction, f"{n}/latent_action", qos.LATENTS) for n in ("left", "right")}
    human = node(graph, robots=["left", "right"], embodiments=["mimic_hand", "panda_gripper"], side="right")
    graph.run(1.0, both(left.publish, right.publish, HandPublisher(graph)), period=0.02)
    assert not heard["left"] and len(heard["right"]) > 15
    assert f"left: {words}" in human.status()[1]
    left.silent.clear()
    graph.run(0.7, both(left.publish, right.publish, HandPublisher(graph)), period=0.02)
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
def test_invalid_parameter_is_named(graph, capfd, parameters, words):
    with pytest.raises(AssertionError, match="did not start"):
        node(graph, **parameters)
    assert words in capfd.readouterr().err


def test_node_can_be_deactivated_and_activated_again(graph, left):
    chunks = graph.listen(LatentAction, "left/latent_action", qos.LATENTS)
    human, everything = node(graph, side="right"), both(left.publish, HandPublisher(graph))
    graph.run(0.7, everything, period=0.02)
    human.trigger_deactivate()
    graph.run(0.1)
    chunks.clear()
    graph.run(0.3, everything, period=0.02)
    assert not chunks
    human.trigger_activate()
    graph.run(0.7, everything, period=0.02)
    assert chunks
    human.trigger_deactivate()
    human.trigger_cleanup()
    human.trigger_configure()
    human.trigger_activate()
    chunks.clear()
    graph.run(0.7, everything, period=0.02)
    assert chunks


# --- as processes


@pytest.fixture
def fleet():
    """The demo's two robots with mock drivers."""
    demo = bringup.load_fleet("demo")
    robots = {name: robot.model_copy(update={"driver": "mock"}) for name, robot in demo.robots.items()}
    return demo.model_copy(update={"robots": robots})


def track(states, names):
    """Times (T,) and positions (T, n) of the joints ``names`` in received joint states."""
    kept = [(t, [dict(zip(m.name, m.position))[n] for n in names]) for t, m in states if set(names) <= set(m.name)]
    return np.array([t for t, _ in kept]), np.array([q for _, q in kept])


@pytest.mark.parametrize("mode", ["latent", "direct"])
def test_recording_drives_hand_and_gripper_which_hold_after_kill(graph, fleet, tmp_path, mode):
    """Measured joints of both robots correlate with the retargeted recording, for arbitrary axes of the recording."""
    file = tmp_path / "hand.npz"
    times = np.arange(len(MOTION)) / 30
    np.savez(file, keypoints=MOTION @ AXES.T - 2.0, timestamps=times)
    states = {n: graph.listen(JointState, f"{n}/joint_states", qos.STATES) for n in fleet.robots}
    commands = {
        "left": graph.listen(JointTrajectory, "left/hand_command", qos.COMMANDS),
        "right": graph.listen(JointTrajectory, "right/gripper_command", qos.COMMANDS),
    }
    reports = graph.listen(DiagnosticArray, "/diagnostics", qos.EVENTS)
    specs = bringup.node_specs(fleet, teleoperation=bringup.Teleoperation(mode, file=str(file), loop=True))
    with Supervisor(specs, log_folder=tmp_path / "log", restart=False) as up:
        graph.until(lambda: all(len(c) > 5 for c in commands.values()), 90, "commands")
        driven = time.time() + 1.0  # after the transition
        graph.run(12.0)
        assert up.poll() == {}
        up.process("/human_hand").send_signal(signal.SIGKILL)
        killed = time.time()
        graph.run(1.5)
        still = lambda name, robot: (track(states[name], robot.joint_names)[0] > killed + 0.4).sum()
        graph.until(lambda: still("left", HAND) > 50 and still("right", GRIPPER) > 50, 20, "states after it")
        assert up.poll() == {"/human_hand": -signal.SIGKILL}

    followed = {}
    for name, robot in (("left", HAND), ("right", GRIPPER)):
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
    opening = GRIPPER.to_action(track(states["right"], GRIPPER.joint_names)[1])
    assert opening.min() < 0.35 and opening.max() > 0.8  # the gripper closed and opened
    if mode == "direct":
        assert not [m for _, array in reports for m in array.status if "decoder" in m.name]
    worst = keypoints_to_command(commands["left"])
    assert np.percentile(worst, 99) < 0.15, np.percentile(worst, [50, 99])  # 30 ms on an idle machine


def follow(t, q, wanted, at):
    """Median correlation of measured joints q (T, n) with wanted joints (F, n), at the best time shift."""
    moves = np.flatnonzero(wanted.std(axis=0) > 0.25 * wanted.std(axis=0).max())
    best = 0.0
    for shift in np.arange(0.0, 10.0, 0.02):  # unknown phase in the repeated recording
        there = (t + shift) % (at[len(at) // 2])
        same = [np.corrcoef(q[:, j], np.interp(there, at, wanted[:, j]))[0, 1] for j in moves]
        best = max(best, float(np.median(same)))
    return best


def keypoints_to_command(commands):
    """Latency [s] from each set of keypoints to the first command computed from it."""
    ages, last = [], None
    for received, command in commands:
        stamp = to_seconds(command.header.stamp)
        if command.points and stamp != last:
            ages.append(received - stamp)
            last = stamp
    assert len(ages) > 100
    return ages
