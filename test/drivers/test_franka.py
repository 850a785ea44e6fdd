"""Franka arm and hand against franky-sim, which speaks libfranka's protocol."""

import signal
import subprocess
import sys
import time
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

from latent_policy_ros.common.errors import HardwareError
from latent_policy_ros.control.arm_description import load_arm
from latent_policy_ros.drivers import check
from latent_policy_ros.drivers.base import Driver, DriverSetup
from latent_policy_ros.drivers.franka_hand import CLOSE, OPEN, GraspDecision
from latent_policy_ros.drivers.registry import make_driver
from latent_policy_ros.embodiments import load_embodiment

pytest.importorskip("franky_sim", reason="needs franky-sim")
SERVER = Path(__file__).parents[1] / "helpers" / "franka_server.py"
PANDA, HAND = load_arm("panda"), load_embodiment("panda_gripper")


class Server:
    """The simulated robot, which can be switched off and on."""

    def __init__(self):
        self.start()

    def start(self):
        self.process = subprocess.Popen(
            [sys.executable, SERVER, "600"], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True
        )
        self.host = self.process.stdout.readline().strip()
        assert self.host

    def stop(self):
        self.process.kill()
        self.process.wait()
        self.process.stdout.close()


def simulation_speed(host):
    """Simulated time per real time."""
    franky = pytest.importorskip("franky", reason="needs franky-control")
    robot = franky.Robot(host, realtime_config=franky.RealtimeConfig.Ignore)
    began, first = time.monotonic(), robot.state.time.to_sec()
    time.sleep(1.0)
    return (robot.state.time.to_sec() - first) / (time.monotonic() - began)


@pytest.fixture(scope="module")
def server():
    server = Server()
    if (speed := simulation_speed(server.host)) < 0.7:
        server.stop()
        pytest.skip(f"the simulated robot runs at {speed:.0%} of real time: this machine is busy")
    yield server
    server.stop()


@pytest.fixture
def arm(server):
    setup = DriverSetup(PANDA.joint_names, PANDA.home, "arm", lower=PANDA.lower, upper=PANDA.upper)
    driver = make_driver(f"franka@{server.host}", setup)
    yield driver
    driver.close()


@pytest.fixture
def hand(server):
    setup = DriverSetup(HAND.joint_names, HAND.rest, lower=HAND.lower, upper=HAND.upper)
    driver = make_driver(f"franka_hand@{server.host}", setup)
    yield driver
    driver.close()


def follow(driver, goal, tolerance, seconds=15.0):
    """Write a goal at the control rate until it is reached. Returns the durations of the calls [s]."""
    durations, until = [], time.monotonic() + seconds
    while np.abs(driver.read().position - goal).max() > tolerance:
        assert time.monotonic() < until, driver.read()
        began = time.perf_counter()
        driver.write(goal)
        driver.read()
        durations.append(time.perf_counter() - began)
        time.sleep(0.008)
    return durations


def ramp(driver, start, goal, seconds=1.0):
    """Move a set point from one pose to another one."""
    began = time.monotonic()
    while (share := (time.monotonic() - began) / seconds) < 1.0:
        driver.write(start + share * (goal - start))
        driver.read()
        time.sleep(0.008)


def fails(driver, goal, words, seconds=6.0):
    until = time.monotonic() + seconds
    with pytest.raises(HardwareError, match=words):
        while time.monotonic() < until:
            driver.read()
            driver.write(goal)
            time.sleep(0.005)


@pytest.mark.parametrize("name", ["arm", "hand"])
def test_contract(name, request, server):
    driver = request.getfixturevalue(name)
    n = len(driver.joint_names)
    assert isinstance(driver, Driver)
    for call in (driver.read, lambda: driver.write(np.zeros(n))):
        with pytest.raises(HardwareError, match="not connected"):
            call()
    driver.connect()
    reading = driver.read()
    assert reading.position.shape == reading.velocity.shape == (n,) and abs(reading.stamp - time.time()) < 1.0
    with pytest.raises(ValueError, match="shape"):
        driver.write(np.zeros(n + 1))
    with pytest.raises(ValueError, match=driver.joint_names[0]):
        driver.write(np.full(n, np.nan))
    driver.close()
    driver.connect()
    np.testing.assert_allclose(driver.read().position, reading.position, atol=0.01)


def test_arm_follows_set_points(arm):
    arm.connect()
    start = arm.read().position
    goal = start + np.array([0.1, 0.05, -0.05, 0.1, 0.0, 0.1, -0.1])
    arm.write(start)
    ramp(arm, start, goal)
    durations = follow(arm, goal, 0.03)
    assert not durations or np.median(durations) < 0.008
    ramp(arm, goal, start)


@pytest.mark.parametrize("option, words", [("lag=0", "lag: expected 50 to 500, got 0"), ("stiffness=-5", "stiffness: expected")])
def test_options_that_would_make_the_arm_swing_are_refused(option, words):
    pytest.importorskip("franky", reason="needs franky-control")
    with pytest.raises(HardwareError, match=words):
        make_driver(f"franka@x?{option}", DriverSetup(PANDA.joint_names, PANDA.home, "arm", lower=PANDA.lower, upper=PANDA.upper))


def test_arm_does_not_overshoot_set_points_that_swing(arm):
    """At 1.5 Hz, with which the arm once swung by itself when a policy lifted an object."""
    arm.connect()
    start, amplitude, moved = arm.read().position, 0.04, []
    began = time.monotonic()
    while (seconds := time.monotonic() - began) < 3.0:
        swing = amplitude * min(1.0, 2.0 * seconds) * np.sin(2.0 * np.pi * 1.5 * seconds)
        arm.write(start + swing * np.eye(7)[1])
        if seconds > 1.0:
            moved.append(abs(arm.read().position - start)[1])
        time.sleep(0.008)
    assert 0.3 * amplitude < max(moved) < 0.9 * amplitude


def test_hand_grasps_and_opens(hand):
    hand.connect()
    closed, opened = HAND.lower, HAND.upper
    follow(hand, closed, 0.004)
    follow(hand, opened, 0.004)
    hand.write(closed + 0.5 * (opened - closed))  # within the hysteresis: nothing happens
    time.sleep(0.3)
    np.testing.assert_allclose(hand.read().position, opened, atol=0.004)
    durations = []
    for share in (0.9, 0.7, 0.5, 0.3, 0.1):  # a stream that closes
        began = time.perf_counter()
        hand.write(closed + share * (opened - closed))
        hand.read()
        durations.append(time.perf_counter() - began)
    assert np.median(durations) < 0.008  # a grasp takes a second, but not in the control loop
    follow(hand, closed, 0.004)


def test_hand_is_checked_with_a_whole_motion(hand, server, monkeypatch):
    monkeypatch.setattr(check, "RAMP_TIME", 0.2)
    setup = DriverSetup(HAND.joint_names, HAND.rest, lower=HAND.lower, upper=HAND.upper)
    (result,) = check.check_motion(f"franka_hand@{server.host}", setup, lambda motion: None, lambda *motion: True)
    assert result.passed, result.text


def test_arm_is_checked_and_its_limits_are_compared_with_those_of_its_model(server):
    """The simulated robot is an FR3, whose range is smaller than that of a Panda."""
    setup = DriverSetup(PANDA.joint_names, PANDA.home, "arm", lower=PANDA.lower, upper=PANDA.upper)
    results = list(check.check(f"franka@{server.host}", setup))
    named = [result.text for result in results if not result.passed and "the hardware's own are" in result.text]
    assert {text.partition(":")[0] for text in named} == {"panda_joint4", "panda_joint6"}
    assert any(result.passed and "measured pose within the limits" in result.text for result in results)
    lower, upper = -PANDA.upper, -PANDA.lower  # all directions reversed: joint 4 is outside
    setup = DriverSetup(PANDA.joint_names, PANDA.home, "arm", lower=lower, upper=upper)
    texts = [result.text for result in check.check(f"franka@{server.host}", setup) if not result.passed]
    assert any(text.startswith("panda_joint4: measured") and "direction reversed?" in text for text in texts)


def test_joints_of_the_arm_are_moved_one_by_one(server, monkeypatch):
    for name, value in (("RAMP_TIME", 0.4), ("SETTLE_TIME", 0.4)):
        monkeypatch.setattr(check, name, value)
    setup = DriverSetup(PANDA.joint_names, PANDA.home, "arm", lower=PANDA.lower, upper=PANDA.upper)
    announced = []
    results = check.check_motion(f"franka@{server.host}", setup, announced.append, lambda index, pose, step: index != 6)
    failed = [result.text for result in results if not result.passed]
    assert len(announced) == 7 and len(failed) == 1, failed
    assert failed[0].startswith("panda_joint7: direction reversed, or the motor of another joint")


@pytest.mark.parametrize("upper, expected", [(0.04, 0.04), (0.08, 0.08), (0.05, 0.04)])
def test_range_of_the_hand_is_that_of_a_finger_or_its_opening(upper, expected):
    driver = make_driver("franka_hand@x", DriverSetup(("jaw",), np.zeros(1), lower=np.zeros(1), upper=np.array([upper])))
    driver._worker = SimpleNamespace(connection=SimpleNamespace(max_width=0.08), stop=lambda: None)
    np.testing.assert_allclose(driver.hardware_range(), [[0.0, expected]])


def test_decisions_have_hysteresis():
    decision = GraspDecision(0.9)
    shares = (0.9, 0.5, 0.41, 0.39, 0.5, 0.59, 0.61, 0.5)
    assert [decision.update(share) for share in shares] == [OPEN, OPEN, OPEN, CLOSE, CLOSE, CLOSE, OPEN, OPEN]
    assert GraspDecision(0.2).state == CLOSE


def test_robot_that_is_switched_off_in_motion_is_named_and_comes_back(arm, hand, server):
    arm.connect()
    hand.connect()
    start = arm.read().position
    arm.write(start)
    hand.write(HAND.upper)
    time.sleep(0.2)
    server.stop()
    fails(arm, start, f"franka at {server.host}: ")
    fails(hand, HAND.upper, f"franka_hand at {server.host}: ")
    for driver in (arm, hand):
        with pytest.raises(HardwareError, match="no connection; check power, network and FCI"):
            driver.connect()
    server.start()
    arm.connect()
    hand.connect()
    follow(arm, arm.read().position, 0.03)


def test_robot_that_stands_still_is_named_and_comes_back(arm, server):
    """A network without packets for more than a second, in motion."""
    arm.connect()
    start = arm.read().position
    arm.write(start)
    time.sleep(0.2)
    server.process.send_signal(signal.SIGSTOP)
    try:
        fails(arm, start, f"franka at {server.host}: ")
    finally:
        server.process.send_signal(signal.SIGCONT)
    time.sleep(0.5)
    until = time.monotonic() + 10.0
    while True:
        try:
            arm.connect()
            break
        except HardwareError:
            assert time.monotonic() < until
            time.sleep(0.2)
    follow(arm, arm.read().position, 0.03)


def test_mistakes_in_an_address():
    with pytest.raises(HardwareError, match="expected the 7 joints of the arm, got one"):
        make_driver("franka@x", DriverSetup(("one",), np.zeros(1)))
    with pytest.raises(HardwareError, match="expected one joint with limits, got one, two"):
        make_driver("franka_hand@x", DriverSetup(("one", "two"), np.zeros(2)))
