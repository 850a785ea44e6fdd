"""Checks of a driver: each fault that they name, and the motions of joints."""

import os
import re
import sys

import numpy as np
import pytest
from driver_cases import CASES, SERIAL, make_case

from latent_policy_ros.drivers import check as checks
from latent_policy_ros.drivers.base import DriverSetup
from latent_policy_ros.drivers.check import check, check_motion

MODULES = {"dynamixel": "dynamixel_sdk", "feetech": "scservo_sdk", "orca": "orca_core"}


@pytest.fixture(autouse=True)
def fast(monkeypatch):
    for name, value in (("RAMP_TIME", 0.04), ("SETTLE_TIME", 0.06), ("RATE_TIME", 0.2), ("MIN_RATE", 10.0)):
        monkeypatch.setattr(checks, name, value)


@pytest.fixture
def make(tmp_path):
    made = []

    def make(name):
        made.append(make_case(name, tmp_path))
        return made[-1]

    yield make
    for case in made:
        case.close()


def failures(case, setup=None):
    return [result.text for result in check(case.name, setup or case.setup) if not result.passed]


def move(case, confirm=lambda *motion: True):
    announced, setup = [], case.setup
    results = list(check_motion(case.name, setup, announced.append, confirm))
    assert len(announced) == len(setup.joint_names)
    return [result.text for result in results if not result.passed]


@pytest.mark.parametrize("name", CASES)
def test_good_hardware_passes_and_is_not_moved(make, name):
    case = make(name)
    results = list(check(case.name, case.setup))
    assert all(result.passed for result in results), results
    texts = " ".join(result.text for result in results)
    assert "connected" in texts and "within the limits" in texts and "measurements a second" in texts
    if name in ("dynamixel", "feetech"):
        assert not any(motor.writes for motor in case.model.values())


@pytest.mark.parametrize("name", CASES)
def test_missing_extra(make, name, monkeypatch):
    case = make(name)
    extra = name.partition("_")[0]
    monkeypatch.setitem(sys.modules, MODULES.get(extra, "pymodbus.client"), None)
    (text,) = failures(case)
    assert f"pip install 'latent_policy_ros[{extra}]'" in text


@pytest.mark.parametrize("name, joints", [("franka", 7), ("franka_hand", 1)])
def test_missing_extra_and_missing_robot_of_franka(name, joints, monkeypatch):
    setup = DriverSetup(tuple(f"j{k}" for k in range(joints)), np.zeros(joints), lower=-np.ones(joints), upper=np.ones(joints))
    texts = lambda: [result.text for result in check(f"{name}@127.9.9.9", setup) if not result.passed]
    pytest.importorskip("franky", reason="needs franky-control")
    assert f"{name} at 127.9.9.9: no connection; check power, network and FCI" in texts()[0]
    monkeypatch.setitem(sys.modules, "franky", None)
    assert "pip install 'latent_policy_ros[franka]'" in texts()[0]


def test_missing_ros_is_named(monkeypatch):
    for module in [name for name in sys.modules if name.startswith("latent_policy_ros.nodes.ros2_control")]:
        monkeypatch.delitem(sys.modules, module)
    monkeypatch.setitem(sys.modules, "rclpy", None)
    (result,) = check("ros2_control@arm", DriverSetup(("one",), np.zeros(1), lower=-np.ones(1), upper=np.ones(1)))
    assert not result.passed and "driver ros2_control: needs ROS 2 with rclpy and control_msgs" in result.text


def test_missing_and_forbidden_port_of_orca(make, tmp_path, monkeypatch):
    case, port = make("orca"), tmp_path / "orca_port"
    config = tmp_path / "config.yaml"
    config.write_text(re.sub(r"(?m)^port:.*$", f"port: {port}", config.read_text()))
    name = case.name.removesuffix("?mock=1")
    texts = lambda: [result.text for result in check(name, case.setup) if not result.passed]
    assert f"no serial port {port}; is it plugged in?" in texts()[0]
    port.touch(mode=0)
    monkeypatch.setattr(os, "open", lambda *arguments: (_ for _ in ()).throw(PermissionError(13, "Permission denied")))
    assert f"no permission to open {port}" in texts()[0]


def test_hand_that_cannot_be_reached_over_the_network(make):
    case = make("inspire_tcp")
    case.closing()
    case.closing = lambda: None
    (text,) = failures(case)
    assert "no connection; check power, cable and address" in text


@pytest.mark.parametrize("name", SERIAL)
def test_missing_port(make, name):
    case = make(name)
    case.line.unplug()
    (text,) = failures(case)
    assert f"no serial port {case.line.path}; is it plugged in?" in text


@pytest.mark.parametrize("name", SERIAL)
def test_forbidden_port(make, name, monkeypatch):
    case, opened = make(name), os.open

    def refuse(path, *arguments):
        if path == str(case.line.path):
            raise PermissionError(13, "Permission denied")
        return opened(path, *arguments)

    monkeypatch.setattr(os, "open", refuse)
    (text,) = failures(case)
    assert f"no permission to open {case.line.path}; type: sudo usermod -aG dialout $USER" in text


@pytest.mark.parametrize("name", SERIAL)
def test_no_answer(make, name):
    case = make(name)
    case.line.silent = True
    texts = failures(case)
    assert "no motor answers at" in texts[0] or "no valid answer of device" in texts[0]


@pytest.mark.parametrize(
    "attribute, value, words",
    [
        ("connect", lambda *_, **__: (False, "no motor answers at 3000000 baud"), "config.yaml: no motor answers at 3000000 baud"),
        ("absent_joints", ["index_mcp", "ring_mcp"], "config.yaml: no answer of the motors of index_mcp"),
    ],
)
def test_orca_without_an_answer(make, monkeypatch, attribute, value, words):
    import orca_core

    case = make("orca")
    config = case.name.removeprefix("orca@").removesuffix("?mock=1")
    monkeypatch.setattr(type(orca_core.load_hand(config_path=config, mock=True)), attribute, value)
    (text,) = failures(case)
    assert text.endswith(words)


@pytest.mark.parametrize("name", ["dynamixel", "feetech"])
def test_wrong_model_or_id_of_motors(make, name):
    case = make(name)
    case.model[6].put(case.model[6].layout.model, 1060, 2)
    case.model[9] = case.model.pop(7)
    case.line.motors = case.model
    wrong, missing, present = failures(case)
    assert "motor 6 (two): wrong model: expected" in wrong
    assert "motor 7 (three): no answer; check its cable and its id" in missing
    assert present == "ids from 0 to 39 that answer: 5, 6, 9"


def test_wrong_device(make):
    gripper = make("robotiq")
    gripper.line.registers.values[0x07D0] = 0x0055
    gripper.line.registers.on_read = lambda: None
    assert "expected a 2F gripper, got the status 0x0055; is it another device?" in failures(gripper)[0]


def test_wrong_hand(make):
    hand = make("inspire")
    hand.line.registers.values[1000] = 7
    assert "expected a hand of id 1, got id 7; is it another device?" in failures(hand)[0]


@pytest.mark.parametrize("name", ["dynamixel", "feetech"])
def test_measured_pose_outside_the_limits(make, name):
    case = make(name)
    case.model[5].position = round((180 - 57.3) / 360 * 4096)
    setup = DriverSetup(case.setup.joint_names, np.zeros(3), lower=np.array([-0.2, -1, -1]), upper=np.array([1.8, 1, 1]))
    assert failures(case, setup) == ["one: measured -1, limits -0.2 to 1.8: direction reversed?"]
    case.model[5].position = round((180 - 149) / 360 * 4096)
    assert failures(case, setup) == ["one: measured -2.6, limits -0.2 to 1.8: wrong zero, ratio or unit?"]


@pytest.mark.parametrize("name", ["dynamixel", "feetech", "inspire", "orca"])
def test_limits_that_are_not_those_of_the_embodiment(make, name):
    case = make(name)
    n = len(case.setup.joint_names)
    lower, upper = np.zeros(n), np.full(n, 0.2)
    upper[0] = 4.0
    setup = DriverSetup(case.setup.joint_names, np.zeros(n), lower=lower, upper=upper)
    (text,) = [text for text in failures(case, setup) if "hardware's own" in text]
    assert text.startswith(f"{setup.joint_names[0]}: limits are 0 to 4, but the hardware's own are ")


@pytest.mark.parametrize("name", CASES)
def test_each_joint_is_moved_and_moved_back(make, name):
    case = make(name)
    asked = []
    assert move(case, lambda index, pose, step: asked.append((index, step)) or True) == []
    assert [index for index, _ in asked] == list(range(len(case.goal))) and all(0.05 < abs(step) <= 0.1 for _, step in asked)
    case.driver.connect()
    if name != "orca":  # its mock starts anew
        np.testing.assert_allclose(case.driver.read().position, 0.0, atol=2 * case.tolerance)


@pytest.mark.parametrize("name", CASES)
def test_motion_that_a_person_denies(make, name):
    case = make(name)
    last = len(case.goal) - 1
    (text,) = move(case, lambda index, pose, step: index != last)
    assert text.startswith(f"{case.setup.joint_names[last]}: direction reversed, or the motor of another joint")


def test_motor_that_is_stuck_or_measures_the_opposite(make):
    case = make("dynamixel")
    case.model[5].stuck, case.model[6].reversed = True, True
    case.model[6].position = 2048
    stuck, *reverse = move(case)
    assert re.match("one: did not move: commanded [+-]0.1, measured", stuck)
    assert re.match("two: direction reversed: commanded ([+-])0.1, measured (?!\\1)", reverse[0]) and len(reverse) == 1


def test_gripper_is_activated_before_it_is_moved(make):
    case = make("robotiq")
    case.model.active, case.model.activation_reads = False, 30
    assert move(case) == []
    assert case.line.registers.writes[0] == (0x03E8, [0x0100, 0, 0])


def test_slow_bus_is_named(make, monkeypatch):
    monkeypatch.setattr(checks, "MIN_RATE", 50.0)
    case = make("robotiq")
    case.line.delay = 0.03
    (text,) = failures(case)
    assert "expected at least 50: the bus is slow" in text
