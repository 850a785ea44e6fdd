"""Exchange of measurements and commands between the simulator and its driver."""

import gc
import os
import socket
import time

import numpy as np
import pytest

from latent_policy_ros.common.errors import HardwareError
from latent_policy_ros.drivers.simulated import simulator_protocol
from latent_policy_ros.drivers.simulated.simulator import SimDriver
from latent_policy_ros.sim.driver_bus import SimulatedRobot
from latent_policy_ros.sim.world import World


class Clock:
    time = 100.0

    def __call__(self) -> float:
        return self.time


@pytest.fixture
def clock():
    return Clock()


@pytest.fixture
def robot(tmp_path, clock):
    robot = SimulatedRobot(World("panda_gripper"), tmp_path / "run" / "robot.sock", clock)
    yield robot
    robot.close()


def test_existing_files_at_the_socket_path_are_kept(tmp_path, clock):
    file, stream = tmp_path / "notes.txt", tmp_path / "other.sock"
    file.write_text("mine")
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as other:
        other.bind(str(stream))
        other.listen()
        found = {file: "a file is", stream: "a socket of another program is", tmp_path: "a folder is", file / "below": "notes.txt"}
        for path, what in found.items():
            with pytest.raises(HardwareError, match=f"cannot serve at {path}: .*{what}"):
                SimulatedRobot(World("panda_gripper"), path, clock)
        assert file.read_text() == "mine" and stream.is_socket()


def _driver(robot: SimulatedRobot, channel: str) -> SimDriver:
    names = robot.bus.channels[channel].joint_names
    driver = SimDriver(robot.bus.path, channel, tuple(reversed(names)))
    driver.connect()
    return driver


def _run(robot: SimulatedRobot, clock: Clock, seconds: float) -> None:
    for _ in range(round(seconds / 0.05)):
        clock.time += 0.05
        robot.advance()


def test_commands_are_executed_and_measured(robot, clock):
    """Both channels, with the joints in another order than the simulator's."""
    arm, hand = _driver(robot, "arm"), _driver(robot, "hand")
    start = arm.read().position
    np.testing.assert_allclose(start, robot.world.arm_q[::-1])
    arm.write(start + np.linspace(0.01, 0.07, 7))
    hand.write(np.array([0.01]))
    _run(robot, clock, 1.5)
    reading = arm.read()
    np.testing.assert_allclose(reading.position, start + np.linspace(0.01, 0.07, 7), atol=2e-3)
    np.testing.assert_allclose(reading.velocity, 0.0, atol=0.01)
    assert reading.stamp == pytest.approx(clock.time, abs=0.011)
    np.testing.assert_allclose(hand.read().position, [0.01], atol=1e-3)


def test_commands_are_clipped_to_the_limits(robot):
    np.testing.assert_allclose(_driver(robot, "hand").write(np.array([0.3])), [0.04])
    np.testing.assert_allclose(robot.bus.take_command("hand"), [0.04])
    assert robot.bus.take_command("hand") is None  # it is new once


def test_one_driver_commands_a_channel_until_it_disconnects(robot):
    first, second, arm = _driver(robot, "hand"), _driver(robot, "hand"), _driver(robot, "arm")
    here = first.read().position
    first.write(here)
    arm.write(arm.read().position)
    with pytest.raises(HardwareError, match="'hand': another driver commands it"):
        second.write(here)
    np.testing.assert_array_equal(second.read().position, here)  # reading stays possible
    first.connect()  # reconnect, as after an error
    first.write(here)
    first.close()
    second.write(here)


def test_robot_without_commands_stands_still(robot, clock):
    before = robot.world.arm_q
    _run(robot, clock, 1.0)
    np.testing.assert_allclose(robot.world.arm_q, before, atol=1e-3)


def test_long_delay_is_skipped(robot, clock):
    clock.time += 60.0
    robot.advance()
    assert 0 < robot.world.time < 0.2
    clock.time -= 3600.0
    robot.advance()
    _run(robot, clock, 0.5)
    assert robot.world.time == pytest.approx(0.6, abs=0.1)


@pytest.mark.parametrize(
    "request_bytes, text",
    [
        (b"hello?", "at least"),
        (simulator_protocol.pack(simulator_protocol.Message(simulator_protocol.HELLO, "tail")), "no channel 'tail'; available"),
        (simulator_protocol.pack(simulator_protocol.Message(simulator_protocol.CLAIM, "tail")), "no channel 'tail'; available"),
        (simulator_protocol.pack(simulator_protocol.Message(simulator_protocol.ERROR, "arm")), "not a request"),
    ],
)
def test_invalid_request_is_answered_with_an_error(robot, request_bytes, text):
    with socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET) as client:
        client.settimeout(2.0)
        client.connect(str(robot.bus.path))
        client.send(request_bytes)
        reply = simulator_protocol.unpack(client.recv(simulator_protocol.MAX_MESSAGE))
        assert reply.op == simulator_protocol.ERROR and text in reply.text()
        client.send(simulator_protocol.pack(simulator_protocol.Message(simulator_protocol.HELLO, "arm")))
        assert simulator_protocol.unpack(client.recv(simulator_protocol.MAX_MESSAGE)).op == simulator_protocol.HELLO
    assert robot.bus.take_command("arm") is None


def test_socket_in_use_is_refused_and_a_stale_one_replaced(robot, tmp_path):
    with pytest.raises(HardwareError, match="another simulator"):
        SimulatedRobot(robot.world, robot.bus.path)
    dead = tmp_path / "dead.sock"
    with socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET) as left_behind:
        left_behind.bind(str(dead))
    SimulatedRobot(robot.world, dead).close()
    assert not dead.exists()


def test_path_too_long_for_a_socket_is_refused(robot, tmp_path):
    with pytest.raises(HardwareError, match="at most 107"):
        SimulatedRobot(robot.world, tmp_path / ("x" * 120))


def test_driver_raises_when_the_simulator_has_closed(robot):
    driver = _driver(robot, "arm")
    robot.close()
    with pytest.raises(HardwareError, match="simulator at"):
        driver.read()


def test_memory_of_another_size_is_refused():
    memory = simulator_protocol.ChannelMemory(3)
    with pytest.raises(HardwareError, match="expected 128 bytes of memory for 4 joints, got 104"):
        simulator_protocol.ChannelMemory(4, os.dup(memory.file))
    os.close(memory.file)


def test_commands_that_are_not_finite_are_ignored(robot):
    robot.bus._memory["hand"]._commanded.write(np.array([7.0, np.nan]))
    assert robot.bus.take_command("hand") is None


def test_no_file_stays_open(tmp_path, clock):
    opened = lambda: len(os.listdir("/proc/self/fd"))
    robot = SimulatedRobot(World("panda_gripper", cameras=()), tmp_path / "robot.sock", clock)
    before = opened()
    for _ in range(3):
        driver = _driver(robot, "hand")
        driver.write(driver.read().position)
        driver.close()
    del driver
    gc.collect()
    deadline = time.monotonic() + 2.0
    while opened() > before and time.monotonic() < deadline:
        time.sleep(0.01)  # until the simulator has closed its ends
    assert opened() == before
    robot.close()
