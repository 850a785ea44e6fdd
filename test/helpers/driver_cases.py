"""Every hardware driver with something that speaks its protocol: for the contract, for fault runs and for benchmarks."""

import shutil
import socket
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import yaml
from modbus_emulator import Inspire, ModbusLine, Robotiq, tcp_registers
from motor_emulator import DynamixelLine, FeetechLine, dynamixel_motors, feetech_motors

from latent_policy_ros.drivers.base import DriverSetup
from latent_policy_ros.drivers.inspire import FINGERS, RANGES
from latent_policy_ros.drivers.registry import make_driver

CASES = ("dynamixel", "feetech", "robotiq", "inspire", "inspire_tcp", "orca")
SERIAL = CASES[:4]  # drivers on a pseudo-terminal
NAMES = ("one", "two", "three")


@dataclass
class Case:
    """A driver and its emulated hardware.

    Attributes:
        driver: Not connected.
        setup: What it is made from.
        goal: (n,) position within the limits.
        tolerance: Resolution of the hardware [rad].
        name: Name of the driver, with its address.
        line: The serial line, if there is one.
        model: Motors by id, registers of a gripper or hand.
    """

    driver: object
    setup: DriverSetup
    goal: np.ndarray
    tolerance: float
    name: str
    line: object = None
    model: object = None
    closing: Callable = field(default=lambda: None)

    def settle(self):
        """Wait for a measurement that began after everything that was written."""
        newest = time.time()
        for _ in range(2):
            until = time.monotonic() + 3.0
            while (stamp := self.driver.read().stamp) <= newest:
                assert time.monotonic() < until, "no new measurement"
                time.sleep(0.001)
            newest = stamp

    def close(self):
        self.driver.close()
        self.closing()


def write_motor_file(folder, port, model, names=NAMES, first_id=5, **defaults):
    """Motor file: the second motor is reversed, the third has a gear, and each has another zero."""
    motors = {name: {"id": first_id + k, "zero": 180.0 + 10.0 * k} for k, name in enumerate(names)}
    motors[names[1]]["direction"] = -1
    motors[names[-1]]["ratio"] = 1.5
    file = Path(folder) / "motors.yaml"
    baud_rate = 4000000 if model.startswith("x") else 1000000
    content = {"port": str(port), "baud_rate": baud_rate, "defaults": {"model": model, **defaults}, "motors": motors}
    file.write_text(yaml.safe_dump(content))
    return file


def _case(name, setup, goal, tolerance, **more):
    return Case(make_driver(name, setup), setup, goal, tolerance, name, **more)


def _limits(n, low, high):
    return {"lower": np.full(n, low), "upper": np.full(n, high)}


def make_case(name, folder):
    """A driver and its hardware; pseudo-terminals and files are made in ``folder``."""
    port = Path(folder) / "port"
    if name in ("dynamixel", "feetech"):
        setup = DriverSetup(NAMES, np.zeros(3), **_limits(3, -1.5, 1.5))
        make_line, motors, model = {
            "dynamixel": (DynamixelLine, dynamixel_motors(range(5, 8)), "xc330-m288"),
            "feetech": (FeetechLine, feetech_motors(range(5, 8)), "sts3215"),
        }[name]
        limit = {"current_limit": 500} if name == "dynamixel" else {"torque_limit": 40}
        for k, motor in enumerate(motors.values()):
            motor.position = round((180 + 10 * k) / 360 * 4096)
        line = make_line(port, motors)
        file = write_motor_file(folder, port, model, p_gain=100, **limit)
        return _case(f"{name}@{file}", setup, np.array([0.1, -0.2, 0.3]), 0.001, line=line, model=motors, closing=line.close)
    if name == "robotiq":
        setup = DriverSetup(("finger_joint",), np.zeros(1), **_limits(1, 0.0, 0.8))
        line = ModbusLine(port, 9, Robotiq.BLOCKS)
        return _case(f"robotiq@{port}", setup, np.array([0.3]), 0.002, line=line, model=Robotiq(line.registers), closing=line.close)
    if name.startswith("inspire"):
        ranges = np.array(list(RANGES.values()))[::-1]
        setup = DriverSetup(FINGERS[::-1], np.zeros(6), lower=np.zeros(6), upper=ranges)
        goal = np.linspace(0.1, 0.9, 6) * ranges
        if name == "inspire":
            line = ModbusLine(port, 1, Inspire.BLOCKS)
            return _case(f"inspire@{port}", setup, goal, 0.001, line=line, model=Inspire(line.registers), closing=line.close)
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            number = probe.getsockname()[1]
        registers = tcp_registers(1, Inspire.BLOCKS, number)
        place = f"inspire@tcp://127.0.0.1:{number}"
        return _case(place, setup, goal, 0.001, model=Inspire(registers), closing=registers.close)
    if name == "orca":
        import orca_core

        model = Path(orca_core.__file__).parent / "models" / "v2" / "orcahand-right" / "config.yaml"
        shutil.copy(model, folder)
        names = ("thumb_mcp", "index_mcp", "pinky_pip")
        lower, upper = np.radians([-25.0, -25.0, -15.0]), np.radians([100.0, 100.0, 107.0])
        setup = DriverSetup(names, np.zeros(3), lower=lower, upper=upper)
        return _case(f"orca@{folder}/config.yaml?mock=1", setup, np.array([0.1, -0.1, 0.3]), 1e-6)
    raise KeyError(name)
