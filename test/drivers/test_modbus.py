"""Robotiq and Inspire drivers against pymodbus servers: activation, faults, objects, other devices."""

import time

import numpy as np
import pytest
from driver_cases import make_case
from modbus_emulator import ModbusLine, Robotiq

from latent_policy_ros.common.errors import HardwareError
from latent_policy_ros.drivers.base import DriverSetup
from latent_policy_ros.drivers.inspire import FINGERS
from latent_policy_ros.drivers.registry import make_driver


@pytest.fixture
def gripper(tmp_path):
    case = make_case("robotiq", tmp_path)
    yield case
    case.close()


@pytest.fixture
def hand(tmp_path):
    case = make_case("inspire", tmp_path)
    yield case
    case.close()


def follow(case, goal):
    """Write a goal as a driver node does, until it is reached."""
    until = time.monotonic() + 3.0
    while np.abs(case.driver.read().position - goal).max() > case.tolerance:
        assert time.monotonic() < until, case.driver.read()
        case.driver.write(goal)
        time.sleep(0.005)


def until_raises(call, words):
    end = time.monotonic() + 2.0
    with pytest.raises(HardwareError, match=words):
        while time.monotonic() < end:
            call()


def test_gripper_is_activated_by_the_first_command_only(gripper):
    gripper.model.active = False
    gripper.driver.connect()
    gripper.settle()
    assert gripper.line.registers.writes == []
    follow(gripper, gripper.goal)
    writes = [values for address, values in gripper.line.registers.writes if address == 0x03E8]
    assert writes[0] == [0x0100, 0, 0]
    assert all(values[0] == 0x0900 and values[2] == 0xFF64 for values in writes[1:])  # full speed, force 100
    count = len(writes)
    gripper.driver.close()
    gripper.driver.connect()
    follow(gripper, 0.5 * gripper.goal)
    assert [0x0100, 0, 0] not in [values for _, values in gripper.line.registers.writes[count:]]


def test_gripper_is_activated_again_after_its_power_was_off(gripper):
    gripper.driver.connect()
    follow(gripper, gripper.goal)
    gripper.model.active, gripper.model.position = False, 3
    gripper.settle()
    follow(gripper, gripper.goal)
    assert [0x0100, 0, 0] in [values for _, values in gripper.line.registers.writes]


def test_object_stops_the_jaws_and_is_detected(gripper):
    gripper.driver.connect()
    follow(gripper, gripper.goal)
    assert gripper.driver.object == ""
    gripper.model.obstacle = 150
    gripper.driver.write(np.array([0.8]))
    gripper.settle()
    expected = 0.8 * (150 - 3) / (230 - 3)
    np.testing.assert_allclose(gripper.driver.read().position, expected, atol=gripper.tolerance)
    assert gripper.driver.object == "closing" and gripper.model.request == 230  # the grip force is kept


@pytest.mark.parametrize("code, words", [(0x0A, "supply voltage too low"), (0x0E, "overcurrent"), (0x08, "too hot")])
def test_gripper_fault_is_named(gripper, code, words):
    gripper.driver.connect()
    follow(gripper, gripper.goal)
    gripper.model.fault = code
    until_raises(gripper.driver.read, f"robotiq at .*port: fault 0x{code:02X}: {words}")
    with pytest.raises(HardwareError, match=words):
        gripper.driver.connect()
    gripper.model.fault = 0x09  # no communication for a second: passes by itself
    gripper.driver.connect()
    follow(gripper, gripper.goal)


@pytest.mark.parametrize(
    "address, words",
    [
        ("?id=8", "no valid answer of device 8; check power, cable, baud rate and id"),
        ("?force=300", "force: expected 0 to 255, got 300"),
        ("?speed=fast", "speed: expected a whole number, got 'fast'"),
        ("?grip=1", "unknown option 'grip'; available: baud_rate, force, id, speed"),
    ],
)
def test_wrong_gripper_address(gripper, address, words):
    with pytest.raises(HardwareError, match=words):
        make_driver(gripper.name + address, gripper.setup).connect()


def test_other_devices_are_refused(hand, tmp_path):
    lower, upper = np.zeros(1), np.full(1, 0.8)
    setup = DriverSetup(("finger_joint",), lower, lower=lower, upper=upper)
    with pytest.raises(HardwareError, match=r"device 1 refused registers 2000 to 2002; is it another device\?"):
        make_driver(f"robotiq@{hand.line.path}?id=1", setup).connect()
    with pytest.raises(HardwareError, match="driver robotiq: expected one joint with limits, got one, two"):
        make_driver("robotiq@x", DriverSetup(("one", "two"), np.zeros(2)))
    with pytest.raises(HardwareError, match="driver inspire: expected the joints pinky_proximal_joint.*got one"):
        make_driver("inspire@x", DriverSetup(("one",), np.zeros(1)))
    hand.line.registers.values[1000] = 3
    with pytest.raises(HardwareError, match="expected a hand of id 1, got id 3"):
        hand.driver.connect()
    line = ModbusLine(tmp_path / "other", 1, Robotiq.BLOCKS)
    limits = {"lower": np.zeros(6), "upper": np.ones(6)}
    with pytest.raises(HardwareError, match=r"expected a hand of id 1, got id 0; is it another device\?"):
        make_driver(f"inspire@{line.path}", DriverSetup(FINGERS, np.zeros(6), **limits)).connect()
    line.close()


def test_hand_maps_each_joint_to_its_register(hand):
    hand.driver.connect()
    goal = np.zeros(6)
    goal[hand.driver.joint_names.index("index_proximal_joint")] = 1.47
    goal[hand.driver.joint_names.index("pinky_proximal_joint")] = 0.25 * 1.47
    follow(hand, goal)
    assert [hand.line.registers.values[1486 + k] for k in range(6)] == [750, 1000, 1000, 0, 1000, 1000]
    assert [hand.line.registers.values[address] for address in (1522, 1498)] == [1000, 500]  # speed, force [g]


def test_hand_error_is_named_and_a_stall_is_cleared(hand):
    hand.driver.connect()
    follow(hand, hand.goal)
    hand.line.registers.values[1607] = 0x0001  # stall of the third finger
    until = time.monotonic() + 2.0
    while hand.line.registers.values[1607]:
        assert time.monotonic() < until
        hand.driver.read()
        time.sleep(0.002)
    hand.line.registers.values[1606] = 0x0200  # second finger too hot
    until_raises(hand.driver.read, "hardware error: ring_proximal_joint: overheating; remove the cause")
    hand.line.registers.values[1606] = 0
    hand.driver.connect()
    follow(hand, hand.goal)


def test_tcp_host_that_does_not_answer():
    setup = DriverSetup(FINGERS, np.zeros(6), lower=np.zeros(6), upper=np.ones(6))
    with pytest.raises(HardwareError, match="tcp://127.0.0.1:1: no connection; check power, cable and address"):
        make_driver("inspire@tcp://127.0.0.1:1", setup).connect()
    with pytest.raises(HardwareError, match="expected inspire@tcp://HOST:PORT"):
        make_driver("inspire@tcp://127.0.0.1", setup).connect()


def test_tcp_connection_that_is_lost_is_made_again(tmp_path):
    case = make_case("inspire_tcp", tmp_path)
    case.driver.connect()
    follow(case, case.goal)
    case.model.registers.close()
    until_raises(case.driver.read, "inspire at tcp://.*: (connection lost|no valid answer)")
    with pytest.raises(HardwareError, match="no connection"):
        case.driver.connect()
