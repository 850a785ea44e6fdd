"""Contract of all registered drivers, and of the one in docs/how-to/HARDWARE.md."""

import os
import re
import sys
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pytest
from driver_cases import CASES, make_case

from latent_policy_ros.common.errors import HardwareError
from latent_policy_ros.drivers.base import Driver, DriverSetup, JointReading
from latent_policy_ros.drivers.mock import MockDriver
from latent_policy_ros.drivers.registry import ALLOWED_MODULES, DRIVERS, driver_class, make_driver
from latent_policy_ros.drivers.simulated.simulator import SimDriver

NAMES = ("one", "two", "three")
SETUP = DriverSetup(NAMES, np.zeros(3))


class Joints:
    """A simulator of three joints that reach their command at once; it lists them in another order."""

    def __init__(self, path):
        bus = pytest.importorskip("latent_policy_ros.sim.driver_bus")
        order = (2, 0, 1)
        self.bus = bus.Bus(path, {"hand": bus.Channel(tuple(NAMES[k] for k in order), np.full(3, -9.0), np.full(3, 9.0))})
        self.bus.publish("hand", np.zeros(3), np.zeros(3), time.time())

    def obey(self):
        written = self.bus.take_command("hand")
        if written is not None:
            self.bus.publish("hand", written, np.ones(3), time.time())


@pytest.fixture
def joints(tmp_path):
    joints = Joints(tmp_path / "sockets" / "sim.sock")
    yield joints
    joints.bus.close()


class SerialLine:
    """Hardware on a serial line: three motors, in another order, that reach their command at once."""

    def __init__(self):
        self.end, self._line = os.openpty()  # kept open here when the driver closes its end
        self.path, self.degrees, self.silent = os.ttyname(self._line), ["0.0"] * 3, False
        threading.Thread(target=self._answer, daemon=True).start()

    def _answer(self):
        with os.fdopen(self.end, "rb", buffering=0, closefd=False) as lines:
            for line in iter(lines.readline, b"bye\n"):
                what, *degrees = line.decode().split()
                self.degrees = degrees if what == "!" else self.degrees
                if not self.silent:
                    os.write(self.end, (" ".join(self.degrees) + "\n").encode())

    def close(self):
        os.write(self._line, b"bye\n")


@pytest.fixture
def line(tmp_path, monkeypatch):
    """A serial line; the driver of the documentation can be imported."""
    text = (Path(__file__).parents[2] / "docs" / "how-to" / "HARDWARE.md").read_text(encoding="utf-8")
    (snippet,) = re.findall(r"```python\n(.*?)```", text, re.DOTALL)
    (tmp_path / "serial_hand.py").write_text(snippet)
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.delitem(sys.modules, "serial_hand", raising=False)
    import serial_hand

    monkeypatch.setattr(serial_hand, "MOTORS", ("three", "one", "two"))
    line = SerialLine()
    yield line
    line.close()


@dataclass
class Setting:
    """A driver, a position that it can reach with a tolerance, and a function that lets its hardware move."""

    driver: Driver
    goal: np.ndarray
    settle: Callable
    tolerance: float = 1e-6


@pytest.fixture(params=["mock", "sim", "serial", *CASES])
def setting(request, tmp_path):
    goal = np.array([0.1, -0.2, 0.3])
    if request.param in CASES:
        case = make_case(request.param, tmp_path)
        yield Setting(case.driver, case.goal, case.settle, case.tolerance)
        case.close()
    elif request.param == "serial":
        line = request.getfixturevalue("line")
        yield Setting(make_driver(f"serial_hand:SerialHand@{line.path}", SETUP), goal, lambda: None)
    elif request.param == "mock":
        yield Setting(MockDriver(NAMES, np.zeros(3), time_constant=0.001), goal, lambda: time.sleep(0.05))
    else:
        joints = request.getfixturevalue("joints")
        yield Setting(make_driver("sim", replace(SETUP, socket_path=joints.bus.path)), goal, joints.obey)


@pytest.fixture
def driver(setting):
    yield setting.driver
    setting.driver.close()


def test_every_registered_driver_is_tested():
    assert set(DRIVERS.names()) == {
        "mock",
        "sim",
        "franka",
        "franka_hand",
        "ros2_control",
        *(name.partition("_")[0] for name in CASES),
    }


def test_joint_names_are_available_while_disconnected(driver, setting):
    assert isinstance(driver, Driver) and len(driver.joint_names) == len(setting.goal)


def test_read_and_write_raise_while_disconnected(driver, setting):
    for call in (driver.read, lambda: driver.write(setting.goal)):
        with pytest.raises(HardwareError, match="not connected"):
            call()
    driver.close()
    driver.close()


def test_write_moves_the_joints_and_returns_the_command(driver, setting):
    driver.connect()
    np.testing.assert_allclose(driver.write(setting.goal), setting.goal)
    setting.settle()
    reading = driver.read()
    assert isinstance(reading, JointReading) and abs(reading.stamp - time.time()) < 1.0
    np.testing.assert_allclose(reading.position, setting.goal, atol=setting.tolerance)
    assert reading.velocity.shape == setting.goal.shape


def test_connect_works_again_after_close(driver, setting):
    driver.connect()
    driver.close()
    driver.connect()
    driver.write(0.5 * setting.goal)
    setting.settle()
    np.testing.assert_allclose(driver.read().position, 0.5 * setting.goal, atol=setting.tolerance)


def test_readings_are_copies(driver):
    driver.connect()
    reading = driver.read()
    before = reading.position.copy()
    reading.position[:] = 9
    np.testing.assert_array_equal(driver.read().position, before)


@pytest.mark.parametrize("bad", ["short", "nan"])
def test_malformed_commands_raise(driver, setting, bad):
    driver.connect()
    command, word = setting.goal.copy(), driver.joint_names[-1]
    command[-1] = np.nan
    if bad == "short":
        command, word = command[:-1], "shape"
    with pytest.raises(ValueError, match=word):
        driver.write(command)


def test_mock_joints_approach_their_command_exponentially():
    now = [100.0]
    driver = MockDriver(NAMES, np.zeros(3), time_constant=0.02, clock=lambda: now[0])
    driver.connect()
    driver.write(np.full(3, 0.1))
    now[0] += 0.02
    reading = driver.read()
    np.testing.assert_allclose(reading.position, 0.1 * (1 - np.exp(-1)))
    np.testing.assert_allclose(reading.velocity, reading.position / 0.02)


def test_simulator_of_another_embodiment_is_refused(joints):
    driver = SimDriver(joints.bus.path, "hand", ("one", "two", "four"))
    with pytest.raises(HardwareError, match="expected joints one, two, four.*got three, one, two"):
        driver.connect()
    with pytest.raises(HardwareError, match="no channel 'foot'"):
        SimDriver(joints.bus.path, "foot", NAMES).connect()


def test_lost_simulator_is_detected_and_connected_again(joints, tmp_path):
    driver = SimDriver(joints.bus.path, "hand", NAMES)
    driver.connect()
    joints.bus.close()
    with pytest.raises(HardwareError, match="sim.sock"):
        driver.read()
    with pytest.raises(HardwareError, match="start sim_node first"):
        driver.connect()
    again = Joints(joints.bus.path)
    driver.connect()
    assert driver.read().position.shape == (3,)
    driver.close()
    again.bus.close()


def test_last_simulator_removes_the_folder_of_the_sockets(joints):
    other = Joints(joints.bus.path.with_name("other.sock"))
    other.bus.close()
    assert joints.bus.path.is_socket() and not other.bus.path.exists()
    joints.bus.close()
    assert not joints.bus.path.parent.exists()


def test_unknown_drivers_are_refused():
    with pytest.raises(HardwareError, match="unknown driver 'reel'; available: dynamixel, feetech, .*, sim"):
        make_driver("reel", SETUP)
    with pytest.raises(HardwareError, match="socket_path"):
        make_driver("sim", SETUP)


def test_documented_driver_detects_lost_hardware(line):
    driver = make_driver(f"serial_hand:SerialHand@{line.path}", SETUP)
    driver.connect()
    line.silent = True
    with pytest.raises(HardwareError, match=f"{line.path}: no answer"):
        driver.read()
    line.silent, line.degrees = False, ["1.0", "2.0"]
    driver.connect()
    with pytest.raises(HardwareError, match="expected 3 numbers, got '1.0 2.0"):
        driver.read()
    for wrong, words in (("/dev/no_such_line", "no hand at /dev/no_such_line"), (os.devnull, "no hand at /dev/null")):
        with pytest.raises(HardwareError, match=words):
            make_driver(f"serial_hand:SerialHand@{wrong}", SETUP).connect()
    with pytest.raises(HardwareError, match="joints without a motor or motors without a joint: four, three"):
        make_driver("serial_hand:SerialHand@x", replace(SETUP, joint_names=("one", "two", "four"))).connect()


@pytest.fixture(autouse=True)
def allowed(monkeypatch):
    monkeypatch.setenv(ALLOWED_MODULES, "serial_hand,own_hand,broken_hand,no_such_module")


def test_a_module_is_imported_only_where_it_is_allowed(tmp_path, monkeypatch):
    (tmp_path / "hostile.py").write_text(f"open({str(tmp_path / 'ran')!r}, 'w')")
    monkeypatch.syspath_prepend(tmp_path)
    with pytest.raises(
        HardwareError, match="imports the module hostile only if you allow it: set LATENT_POLICY_DRIVER_MODULES=hostile"
    ):
        driver_class("hostile:MyHand@/dev/x")
    assert not (tmp_path / "ran").exists()


OWN = """
class Half:
    def connect(self): ...
    def read(self): ...

class Shuffled(Half):
    def __init__(self, joint_names, address): self.joint_names = joint_names[::-1]
    def write(self, position): ...
    def close(self): ...

MyHand = 3
"""


@pytest.mark.parametrize(
    "name, words",
    [
        (":MyHand", "unknown driver ':MyHand'; available: dynamixel, .* sim, or a class: package.module:Class"),
        ("no_such_module:MyHand", "no_such_module cannot be imported.*PYTHONPATH"),
        ("broken_hand:MyHand", "broken_hand cannot be imported.*division by zero"),
        ("own_hand:MyHand@/dev/x", "own_hand has no class 'MyHand'; available: Half, Shuffled"),
        ("own_hand:Half", "own_hand:Half: lacks write, close"),
    ],
)
def test_class_that_is_no_driver_is_refused(tmp_path, monkeypatch, name, words):
    (tmp_path / "own_hand.py").write_text(OWN)
    (tmp_path / "broken_hand.py").write_text("1 / 0")
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.delitem(sys.modules, "own_hand", raising=False)
    with pytest.raises(HardwareError, match=words):
        driver_class(name)
    with pytest.raises(HardwareError, match="expected the joints one, two, three in this order; got three, two, one"):
        make_driver("own_hand:Shuffled", SETUP)
