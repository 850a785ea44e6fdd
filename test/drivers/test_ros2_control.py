"""Driver ros2_control against controllers in another process, with the topics, actions and parameters of the real ones."""

import json
import re
import subprocess
import sys
import threading
import time
from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("rclpy", reason="needs ROS 2", exc_type=ImportError)
pytest.importorskip("control_msgs", reason="needs control_msgs", exc_type=ImportError)

import rclpy  # noqa: E402
from geometry_msgs.msg import PoseStamped  # noqa: E402
from sensor_msgs.msg import JointState  # noqa: E402

from latent_policy_ros.common.errors import HardwareError  # noqa: E402
from latent_policy_ros.drivers import check as checks  # noqa: E402
from latent_policy_ros.drivers.base import Driver, DriverSetup  # noqa: E402
from latent_policy_ros.drivers.registry import make_driver  # noqa: E402
from latent_policy_ros.nodes.base import ros_context  # noqa: E402
from latent_policy_ros.nodes.ros2_control import driver as ros2_control  # noqa: E402
from latent_policy_ros.nodes.topics import qos  # noqa: E402

FAKES = Path(__file__).parents[1] / "helpers" / "fake_controllers.py"
ARM, GRIPPER = ("one", "two", "three"), ("jaw",)
CONTROLLERS = [
    {"kind": "trajectory", "name": "arm_controller", "joints": ARM},
    {"kind": "positions", "name": "forward_controller", "joints": ("f_three", "f_one", "f_two")},
    {"kind": "gripper", "name": "gripper_controller", "joints": GRIPPER},
    {"kind": "gripper", "name": "knuckle_controller", "joints": ("knuckle",)},
    {"kind": "parallel_gripper", "name": "parallel_controller", "joints": GRIPPER},
]
ADDRESSES = {
    "trajectory": "arm_controller",
    "positions": "/forward_controller?type=positions&prefix=f_",
    "gripper": "gripper_controller?type=gripper&effort=20",
    "parallel_gripper": "parallel_controller?type=parallel_gripper",
    "scaled": "knuckle_controller?type=gripper&names=knuckle&lower=0.8&upper=0.0",
}
ROS_STATES = dict.fromkeys(("other", "three", "one", "two", "jaw", "knuckle", "f_one", "f_two", "f_three"), 0.0)
LIMITS = {"one": (-2.0, 2.0), "two": (-1.5, 1.5), "three": (-1.5, 1.5), "jaw": (0.0, 0.04)}


class Fakes:
    """The controllers and the broadcaster, which can be stopped and started."""

    def __init__(self):
        self.start()

    def start(self):
        options = json.dumps({"controllers": CONTROLLERS, "broadcast": True, "start": ROS_STATES, "limits": LIMITS})
        self.process = subprocess.Popen([sys.executable, FAKES, options], stdout=subprocess.PIPE, text=True)
        assert self.process.stdout.readline() == "ready\n"

    def stop(self):
        self.process.terminate()
        try:
            self.process.wait(10.0)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
        self.process.stdout.close()


@pytest.fixture(scope="module")
def fakes():
    fakes = Fakes()
    yield fakes
    fakes.stop()


def setup_of(kind):
    names = ARM if kind in ("trajectory", "positions") else GRIPPER
    n = len(names)
    lower, upper = (np.full(n, -1.5), np.full(n, 1.5)) if n > 1 else (np.zeros(1), np.full(1, 0.04))
    flange = ("base", lambda q: np.array([*q, 0.0, 0.0, 0.0, 1.0]))
    return DriverSetup(names, np.zeros(n), lower=lower, upper=upper, flange=flange if n > 1 else None)


@pytest.fixture
def make():
    made = []

    def make(kind, address=None):
        made.append(make_driver(f"ros2_control@{address or ADDRESSES[kind]}", setup_of(kind)))
        return made[-1]

    yield make
    for driver in made:
        driver.close()


def connect(driver, seconds=10.0):
    """Connect as the node does: again and again."""
    until = time.monotonic() + seconds
    while True:
        try:
            return driver.connect()
        except HardwareError:
            if time.monotonic() > until:
                raise


def reach(driver, goal, seconds=5.0, tolerance=1e-3):
    until = time.monotonic() + seconds
    while np.abs(driver.read().position - goal).max() > tolerance:
        assert time.monotonic() < until, (driver.read().position, goal)
        driver.write(goal)
        time.sleep(0.01)


def patient(monkeypatch):
    """On a busy machine discovery takes seconds, and processes stand still for parts of a second."""
    for name, value in (("CONNECT_TIMEOUT", 10.0), ("ANSWER_TIMEOUT", 10.0), ("NO_STATES", 3.0)):
        monkeypatch.setattr(ros2_control, name, value)
    monkeypatch.setattr(checks, "MIN_RATE", 5.0)


@pytest.mark.parametrize("kind", ADDRESSES)
def test_contract(fakes, make, kind, monkeypatch):
    patient(monkeypatch)
    driver, n = make(kind), len(setup_of(kind).joint_names)
    assert isinstance(driver, Driver) and len(driver.joint_names) == n
    for call in (driver.read, lambda: driver.write(np.zeros(n))):
        with pytest.raises(HardwareError, match="not connected"):
            call()
    connect(driver)
    start = driver.read()
    assert start.position.shape == start.velocity.shape == (n,) and abs(start.stamp - time.time()) < 0.5
    with pytest.raises(ValueError, match="shape"):
        driver.write(np.zeros(n + 1))
    with pytest.raises(ValueError, match=driver.joint_names[0]):
        driver.write(np.full(n, np.nan))
    goal = np.array([0.3, -0.2, 0.1]) if n > 1 else np.array([0.03])
    for target in (goal, 0.5 * goal):
        np.testing.assert_array_equal(driver.write(target), target)
        reach(driver, target)
    driver.close()
    connect(driver)
    np.testing.assert_allclose(driver.read().position, 0.5 * goal, atol=1e-3)


@pytest.fixture
def probe():
    """A node of this test, in a context of its own, and its executor."""
    context = rclpy.context.Context()
    ros_context.init(images=False, context=context)
    node = rclpy.create_node("probe", context=context)
    executor = ros_context.Executor(context=context)
    executor.add_node(node)
    yield node, executor
    node.destroy_node()
    context.try_shutdown()


def test_a_pose_of_the_flange_is_sent_to_a_cartesian_controller(fakes, make, probe):
    """crisp's topic target_pose, received by a node of this test."""
    node, executor = probe
    received = []
    node.create_subscription(PoseStamped, "/target_pose", received.append, qos.COMMANDS)
    driver = make("trajectory", "target_pose?type=target_pose")
    connect(driver)
    until = time.monotonic() + 5.0
    while not received:
        assert time.monotonic() < until
        driver.write(np.array([0.1, 0.2, 0.3]))
        executor.spin_once(timeout_sec=0.05)
    driver.close()
    pose = received[-1]
    assert pose.header.frame_id == "base"
    np.testing.assert_allclose([pose.pose.position.x, pose.pose.position.y, pose.pose.position.z], [0.1, 0.2, 0.3])


def test_states_that_are_slow_or_garbage_are_never_a_measurement_of_others(fakes, make, probe):
    """Five good messages a second; between them wrong lengths, other joints and numbers that are not finite."""
    node, _ = probe
    publisher = node.create_publisher(JointState, "/doubtful_states", qos.STATES)
    driver, over = make("trajectory", "arm_controller?joint_states=/doubtful_states"), threading.Event()
    wrong = [
        JointState(name=list(ARM), position=[1.0, 1.0]),
        JointState(name=list(ARM), position=[float("nan"), 1.0, 1.0]),
        JointState(name=list(ARM), position=[1.0, float("inf"), 1.0]),
        JointState(name=["tail"], position=[1.0]),
        JointState(),
    ]

    def publish():
        while not over.is_set():
            publisher.publish(JointState(name=["tail", *ARM], position=[9.0, 0.1, 0.2, 0.3]))
            for message in wrong:
                over.wait(0.04)
                publisher.publish(message)

    thread = threading.Thread(target=publish, daemon=True)
    thread.start()
    try:
        connect(driver)
        stamps, durations, until = set(), [], time.monotonic() + 1.0
        while time.monotonic() < until:
            began = time.perf_counter()
            reading = driver.read()
            durations.append(time.perf_counter() - began)
            np.testing.assert_array_equal(reading.position, [0.1, 0.2, 0.3])
            stamps.add(reading.stamp)
            time.sleep(0.01)
    finally:
        over.set()
        thread.join()
    assert 2 <= len(stamps) <= 8 and np.median(durations) < 0.008


def failures(address, kind="trajectory", setup=None):
    results = checks.check(f"ros2_control@{address}", setup or setup_of(kind))
    return [result.text for result in results if not result.passed]


def test_checks_pass_with_good_controllers(fakes, monkeypatch):
    patient(monkeypatch)
    monkeypatch.setattr(checks, "RAMP_TIME", 0.05)
    for kind in ("trajectory", "gripper"):
        assert failures(ADDRESSES[kind], kind) == []
        results = checks.check_motion(f"ros2_control@{ADDRESSES[kind]}", setup_of(kind), lambda text: None, lambda *motion: True)
        assert all(result.passed for result in results)


@pytest.mark.parametrize(
    "address, words",
    [
        ("nobody", "no controller receives nobody/joint_trajectory; start and activate it"),
        ("arm_controller?joint_states=/elsewhere", "no message on /elsewhere; is joint_state_broadcaster active?"),
        ("arm_controller?prefix=left_", "missing joints left_one, left_two, left_three; available: f_one, .*other"),
        ("gripper_controller?type=trajectory", "no controller receives gripper_controller/joint_trajectory"),
    ],
)
def test_checks_name_what_is_missing(fakes, address, words):
    until = time.monotonic() + 10.0
    while not re.search(words, texts := "\n".join(failures(address))):
        assert time.monotonic() < until, texts  # discovery takes seconds on a busy machine


def test_a_controller_of_other_joints_is_named(fakes, monkeypatch):
    patient(monkeypatch)
    setup = DriverSetup(("one", "two"), np.zeros(2), lower=np.full(2, -1.5), upper=np.full(2, 1.5))
    (text,) = failures("arm_controller", setup=setup)
    assert "expected a controller of the joints one, two; got one, two, three" in text


def test_a_reversed_joint_is_named(fakes, make, monkeypatch):
    patient(monkeypatch)
    driver = make("trajectory")
    connect(driver)
    reach(driver, np.array([-0.5, 0.0, 0.0]))
    setup = DriverSetup(ARM, np.zeros(3), lower=np.array([0.0, -1.0, -1.0]), upper=np.ones(3))
    assert failures("arm_controller", setup=setup) == ["one: measured -0.5, limits 0 to 1: direction reversed?"]


def test_limits_beyond_those_of_the_robot_description_are_named(fakes, monkeypatch):
    patient(monkeypatch)
    wide = DriverSetup(ARM, np.zeros(3), lower=np.full(3, -1.8), upper=np.full(3, 1.8))
    texts = failures("arm_controller", setup=wide)
    assert [text.partition(":")[0] for text in texts] == ["two", "three"]
    assert "limits are -1.8 to 1.8, but the hardware's own are -1.5 to 1.5" in texts[0]


@pytest.mark.parametrize(
    "address, words",
    [
        ("", "got no address"),
        ("arm?type=effort", "type: got 'effort'; available: gripper, .*"),
        ("arm controller", "got 'arm controller', expected a ROS name"),
        ("arm?names=a,b", "names: expected 3 for one, two, three; got a, b"),
        ("arm?type=gripper", "type gripper: expected one joint"),
        ("arm?lower=0&upper=1", "lower and upper: expected two different values, for a single joint with limits"),
        ("arm?effort=much", "effort: expected a number, got 'much'"),
    ],
)
def test_mistakes_in_an_address(address, words):
    with pytest.raises(HardwareError, match=words):
        make_driver(f"ros2_control@{address}", setup_of("trajectory"))


def test_controllers_that_end_in_motion_are_named_and_come_back(fakes, make):
    arm, gripper = make("trajectory"), make("gripper")
    connect(arm)
    connect(gripper)
    arm.write(np.array([0.2, 0.2, 0.2]))
    fakes.stop()
    for driver in (arm, gripper):
        until = time.monotonic() + 3.0
        with pytest.raises(HardwareError, match="no joint states on /joint_states for 0.5 s|no controller receives"):
            while time.monotonic() < until:
                driver.read()
                driver.write(np.full(len(driver.joint_names), 0.01))
                time.sleep(0.01)
        with pytest.raises(HardwareError, match="no message on /joint_states; is joint_state_broadcaster active"):
            driver.connect()
    fakes.start()
    for driver in (arm, gripper):
        connect(driver)
        reach(driver, np.full(len(driver.joint_names), 0.02))
