"""Dynamixel and Feetech drivers: motor files, configuration of the motors, faults of single motors, shared buses."""

import os
import re
import threading
import time
from pathlib import Path

import numpy as np
import pytest
import yaml
from driver_cases import NAMES, make_case, write_motor_file
from motor_emulator import DynamixelLine, FeetechLine, dynamixel_motors, feetech_motors

from latent_policy_ros.common.errors import HardwareError
from latent_policy_ros.control.arm_description import load_arm
from latent_policy_ros.drivers.base import DriverSetup
from latent_policy_ros.drivers.registry import driver_class, make_driver
from latent_policy_ros.embodiments import load_embodiment


@pytest.fixture(params=["dynamixel", "feetech"])
def case(request, tmp_path):
    case = make_case(request.param, tmp_path)
    yield case
    case.close()


def until_raises(call, words):
    """Repeat a call until it raises HardwareError with these words."""
    end = time.monotonic() + 2.0
    with pytest.raises(HardwareError, match=words):
        while time.monotonic() < end:
            call()


def test_zero_direction_and_ratio(case):
    case.driver.connect()
    position = np.array([0.2, 0.2, 0.2])
    case.driver.write(position)
    case.settle()
    degrees = [motor.position / 4096 * 360 for motor in case.model.values()]
    moved = np.degrees(0.2)
    np.testing.assert_allclose(degrees, [180 + moved, 190 - moved, 200 + 1.5 * moved], atol=0.1)
    for motor, raw in zip(case.model.values(), ((100, -100, 100))):  # velocity: address 128 or 58
        sign = raw if case.name.startswith("dynamixel") else 0x8000 | 100 if raw < 0 else raw
        address, size = (128, 4) if case.name.startswith("dynamixel") else (58, 2)
        motor.put(address, sign, size)
    case.settle()
    unit = 0.229 / 60 * 2 * np.pi if case.name.startswith("dynamixel") else 2 * np.pi / 4096
    np.testing.assert_allclose(case.driver.read().velocity, 100 * unit * np.array([1, 1, 1 / 1.5]), rtol=1e-6)


def test_connect_writes_nothing_and_the_first_command_switches_the_torque_on(case):
    case.driver.connect()
    case.settle()
    assert not any(motor.writes or motor.torque for motor in case.model.values())
    case.driver.write(case.driver.read().position)
    case.settle()
    assert all(motor.torque for motor in case.model.values())
    first = next(iter(case.model.values()))
    goal = first.layout.goal
    order = [address for address, _ in first.writes]
    assert order.index(goal) < order.index(first.layout.torque, order.index(goal))  # a set point before torque
    registers = {11: 1, 84: 2, 102: 2} if goal == 116 else {21: 1, 33: 1, 48: 2}
    values = {11: 5, 84: 100, 102: 500, 21: 100, 33: 0, 48: 400}
    assert {address: first.get(address, size) for address, size in registers.items()} == {a: values[a] for a in registers}
    case.driver.close()
    assert first.torque  # a hand keeps its grasp


def test_current_is_at_most_the_motors_own_limit(tmp_path):
    case = make_case("dynamixel", tmp_path)
    case.model[5].put(38, 300, 2)
    case.driver.connect()
    case.driver.write(case.goal)
    case.settle()
    assert [motor.get(102, 2) for motor in case.model.values()] == [300, 500, 500]
    case.close()


def test_motor_that_vanishes_in_motion_is_named_and_comes_back(case):
    case.driver.connect()
    case.driver.write(case.goal)
    case.settle()
    case.model[6].gone = True
    until_raises(case.driver.read, r"motor 6 \(two\): no answer")
    with pytest.raises(HardwareError, match=r"motor 6 \(two\): no answer; check its cable and its id"):
        case.driver.connect()
    assert case.driver.other_hardware() == "ids from 0 to 39 that answer: 5, 7"
    case.model[6].gone = False
    case.driver.connect()
    case.driver.write(0.5 * case.goal)
    case.settle()
    np.testing.assert_allclose(case.driver.read().position, 0.5 * case.goal, atol=case.tolerance)


def test_hardware_error_is_named(case):
    case.driver.connect()
    case.driver.write(case.goal)
    case.settle()
    status = 70 if case.name.startswith("dynamixel") else 65
    case.model[7].memory[status] = 0x20 | 0x04
    words = r"motor 7 \(three\): hardware error: overheating, overload; .* power off and on"
    until_raises(case.driver.read, words)
    with pytest.raises(HardwareError, match=words):
        case.driver.connect()
    case.model[7].memory[status] = 0x01  # the input voltage was low: the motor keeps its torque
    case.driver.connect()
    case.settle()


def test_wrong_model_is_named(case):
    case.model[6].put(case.model[6].layout.model, 1060, 2)
    got = "xl430-w250" if case.name.startswith("dynamixel") else "model number 1060"
    with pytest.raises(HardwareError, match=rf"motor 6 \(two\): wrong model: expected [a-z0-9-]+, got {got}"):
        case.driver.connect()


def test_motor_that_refuses_a_value_is_named(tmp_path):
    case = make_case("dynamixel", tmp_path)
    motor = case.model[6]
    write = motor.write
    motor.write = lambda address, data: None if address == 102 else write(address, data)
    case.driver.connect()
    case.driver.write(case.goal)
    until_raises(case.driver.read, r"motor 6 \(two\): address 102: expected 500, got 0; the motor refused the value")
    case.close()


def test_limits_of_the_motors(case):
    first = case.model[5]
    for address, degrees in ((48, 225), (52, 135)) if first.layout.goal == 116 else ((11, 225), (9, 135)):
        first.put(address, round(degrees / 360 * 4096), first.layout.size)
    case.driver.connect()
    limits = case.driver.hardware_range()
    np.testing.assert_allclose(limits[0], np.radians([-45, 45]), atol=0.002)
    np.testing.assert_allclose(limits[1], np.radians([-170, 190]), atol=0.002)  # reversed, zero at 190 degrees


@pytest.mark.parametrize(
    "change, words",
    [
        ({"model": "ax12"}, "motors.one.model: got 'ax12'; available: .*xc330-m288"),
        ({"torque_limit": 20}, "motors.one.torque_limit: for Feetech motors only; use current_limit"),
        ({"model": "xl430-w250", "current_limit": 100}, "motors.one.current_limit: xl430-w250 does not measure its current"),
        ({"direction": 2}, "motors.one.direction: expected 1 or -1, got 2"),
        ({"id": 6}, "motors one and two have the same id 6"),
        ({"offset": 3}, "motors.one.offset: unknown field; available: .*zero"),
    ],
)
def test_mistakes_in_a_motor_file(tmp_path, change, words):
    file = write_motor_file(tmp_path, "/dev/x", "xc330-m288")
    content = yaml.safe_load(file.read_text())
    content["motors"]["one"] |= change
    file.write_text(yaml.safe_dump(content))
    with pytest.raises(HardwareError, match=words):
        make_driver(f"dynamixel@{file}", DriverSetup(NAMES, np.zeros(3)))


@pytest.mark.parametrize(
    "name, words",
    [
        ("dynamixel", "expected dynamixel@ADDRESS, got no address"),
        ("dynamixel@no_such_hand", "no motor file 'no_such_hand'; available: leap_hand, so101, or a YAML file"),
        ("dynamixel@leap_hand?baud=3", "unknown option 'baud'; available: port"),
        ("dynamixel@leap_hand", "motors: missing for the joints one, two, three; got 0, 1"),
    ],
)
def test_mistakes_in_an_address(name, words):
    with pytest.raises(HardwareError, match=words):
        make_driver(name, DriverSetup(NAMES, np.zeros(3)))


def test_port_without_permission(tmp_path):
    case = make_case("dynamixel", tmp_path)
    case.line.path.unlink()
    case.line.path.write_text("")
    with pytest.raises(HardwareError, match="is not a serial port"):
        case.driver.connect()
    case.line.path.chmod(0)
    user = os.geteuid()
    try:
        if user == 0:
            tmp_path.chmod(0o755)
            for folder in tmp_path.parents[:2]:
                folder.chmod(0o755)
            os.seteuid(65534)  # root may open every file
        with pytest.raises(HardwareError, match=r"no permission to open .*; type: sudo usermod -aG dialout \$USER"):
            case.driver.connect()
    finally:
        os.seteuid(user)
    case.close()


def test_two_drivers_share_a_bus(tmp_path):
    line = FeetechLine(tmp_path / "port", feetech_motors(range(1, 7)))
    arm = ("shoulder_pan", "shoulder_lift", "elbow_flex", "wrist_flex", "wrist_roll")
    drivers = [
        make_driver(f"feetech@so101?port={line.path}", DriverSetup(names, np.zeros(len(names)))) for names in (arm, ("gripper",))
    ]
    errors, counts = [], [0, 0]

    def control(index):
        driver, stamps = drivers[index], set()
        try:
            driver.connect()
            until = time.monotonic() + 0.5
            while time.monotonic() < until:
                stamps.add(driver.read().stamp)
                driver.write(np.full(len(driver.joint_names), 0.1 * (index + 1)))
                time.sleep(0.005)
        except HardwareError as error:
            errors.append(error)
        counts[index] = len(stamps)

    threads = [threading.Thread(target=control, args=(index,)) for index in (0, 1)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not errors and min(counts) > 15
    np.testing.assert_allclose(drivers[0].read().position, 0.1, atol=0.002)
    np.testing.assert_allclose(drivers[1].read().position, 0.2, atol=0.002)
    for driver in drivers:
        driver.close()
    line.close()


def test_shipped_motor_files_have_the_joints_of_their_embodiments(tmp_path):
    hand = load_embodiment("leap_hand")
    line = DynamixelLine(tmp_path / "leap", dynamixel_motors(range(16)))
    setup = DriverSetup(hand.joint_names, hand.rest, lower=hand.lower, upper=hand.upper)
    driver = make_driver(f"dynamixel@leap_hand?port={line.path}", setup)
    driver.connect()
    limits = driver.hardware_range()
    assert np.all(limits[:, 0] < hand.lower) and np.all(limits[:, 1] > hand.upper)
    driver.write(hand.rest)
    until = time.monotonic() + 3.0
    while np.abs(driver.read().position - hand.rest).max() > 0.001 and time.monotonic() < until:
        time.sleep(0.01)
    np.testing.assert_allclose([line.motors[int(name)].position for name in hand.joint_names],
                               2048 + hand.rest / 2 / np.pi * 4096, atol=1)  # fmt: skip
    driver.close()
    line.close()
    assert make_driver("feetech@so101", DriverSetup(load_embodiment("so101_gripper").joint_names, np.zeros(1)))


def test_files_of_the_documentation_are_valid(tmp_path):
    text = (Path(__file__).parents[2] / "docs" / "how-to" / "DRIVERS.md").read_text(encoding="utf-8")
    blocks = re.findall(r"```yaml\n(.*?)```", text, re.DOTALL)
    files = {block.split()[1].strip(":"): block for block in blocks if block.startswith("# ")}
    assert set(files) == {"my_hand.yaml", "so101_arm.yaml"}
    for name, content in files.items():
        (tmp_path / name).write_text(content)
    arm = load_arm(str(tmp_path / "so101_arm.yaml"))
    assert arm.mount(load_embodiment("so101_gripper"))
    setup = DriverSetup(arm.joint_names, arm.home, lower=arm.lower, upper=arm.upper)
    assert make_driver("feetech@so101", setup).motors.ids == [1, 2, 3, 4, 5]
    motors = make_driver(f"dynamixel@{tmp_path}/my_hand.yaml", DriverSetup(("index_mcp",), np.zeros(1))).motors
    assert motors.to_ticks(np.zeros(1)) == [1024] and motors.to_ticks(np.radians([90])) == [0]
    fleets = [yaml.safe_load(block)["robots"] for block in blocks if block.startswith("robots:")]
    for robot in [robot for fleet in fleets for robot in fleet.values()]:
        assert load_embodiment(robot["embodiment"]) and driver_class(robot["driver"])
