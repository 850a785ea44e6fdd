"""Driver of the Robotiq 2F-85 and 2F-140 grippers (Modbus RTU)."""

from __future__ import annotations

import time

import numpy as np

from latent_policy_ros.common.errors import HardwareError
from latent_policy_ros.drivers.base import DriverSetup, JointReading
from latent_policy_ros.drivers.bus import serial_port
from latent_policy_ros.drivers.bus.modbus import ModbusClient
from latent_policy_ros.drivers.bus.threaded import Differentiator, ThreadedDriver

COMMAND, STATUS = 0x03E8, 0x07D0  # first of three registers each
ACTIVATE, GO = 0x01, 0x08  # bits of the action request
READY = 3  # value of gSTA
OPEN, CLOSED = 3, 230  # measured positions of open and closed jaws, of 0 to 255
ACTIVATION_TIMEOUT = 10.0  # s
OPTIONS = {"id": 9, "baud_rate": 115200, "speed": 255, "force": 100}  # speed and force: 0 to 255
OBJECTS = {1: "opening", 2: "closing"}  # values of gOBJ
FAULTS = {
    0x08: "too hot; let it cool down",
    0x0A: "supply voltage too low",
    0x0B: "automatic release in progress",
    0x0C: "internal fault",
    0x0D: "activation failed; remove what blocks the jaws",
    0x0E: "overcurrent",
    0x0F: "automatic release completed",
}


class RobotiqDriver(ThreadedDriver):
    """Robotiq 2F-85 and 2F-140 grippers.

    Their joint is open at its lower limit and closed at its upper limit. The address is a serial port;
    ``?id=9&baud_rate=115200&speed=255&force=100`` may follow. The first ``write`` activates a gripper that is not active,
    which closes and opens it fully; the newest command is followed after that.

    Raises:
        HardwareError: Not one joint, or a mistake in the address.
    """

    extra, module = "robotiq", "pymodbus"

    def __init__(self, setup: DriverSetup) -> None:
        self._place, self._options = serial_port.split_address("robotiq", setup.address, OPTIONS)
        serial_port.library("pymodbus.client", "robotiq", "robotiq")
        if len(setup.joint_names) != 1 or len(setup.lower) != 1:
            raise HardwareError(f"driver robotiq: expected one joint with limits, got {', '.join(setup.joint_names)}")
        serial_port.check_ranges("robotiq", self._options, dict.fromkeys(("speed", "force"), (0, 255)))
        super().__init__(setup.joint_names, f"robotiq at {self._place}")
        self._limits = float(setup.lower[0]), float(setup.upper[0])

    @classmethod
    def create(cls, setup: DriverSetup) -> RobotiqDriver:
        return cls(setup)

    def open(self) -> _Gripper:
        client = ModbusClient("robotiq", self._place, int(self._options["id"]), int(self._options["baud_rate"]))
        return _Gripper(client, self._limits, int(self._options["speed"]), int(self._options["force"]))

    @property
    def ready(self) -> bool:
        """Whether the gripper is active."""
        return self._connected().connection.active  # type: ignore[attr-defined]

    @property
    def object(self) -> str:
        """Whether the jaws were stopped by an object while ``opening`` or ``closing``; empty if not."""
        return self._connected().connection.object  # type: ignore[attr-defined]


class _Gripper:
    """Connection to one gripper."""

    def __init__(self, client: ModbusClient, limits: tuple[float, float], speed: int, force: int) -> None:
        self._client, self._limits, self._speed, self._force = client, limits, speed, force
        self._velocity = Differentiator()
        self.active, self._requested = False, -1
        self._activation_end = 0.0
        self.object = ""

    def measure(self) -> JointReading:
        status, fault, position = self._status()
        self.active = bool(status & ACTIVATE) and status >> 4 & 3 == READY
        self.object = OBJECTS.get(status >> 6, "") if self.active else ""
        if reason := FAULTS.get(fault):
            raise HardwareError(f"{self._client.label}: fault 0x{fault:02X}: {reason}; then switch its power off and on")
        lower, upper = self._limits
        share = np.clip((position - OPEN) / (CLOSED - OPEN), 0.0, 1.0)
        return self._velocity.reading(np.array([lower + share * (upper - lower)]))

    def send(self, position: np.ndarray) -> None:
        lower, upper = self._limits
        share = (float(position[0]) - lower) / (upper - lower)
        request = round(float(np.clip(OPEN + share * (CLOSED - OPEN), 0, 255)))
        if not self.active and not self._activate():
            self._requested = -1
            return
        if request != self._requested:
            self._client.write(COMMAND, [(ACTIVATE | GO) << 8, request, self._speed << 8 | self._force])
            self._requested = request

    def close(self) -> None:
        self._client.close()

    def _status(self) -> tuple[int, int, int]:
        """Status byte, fault and position of the jaws."""
        first, second, third = self._client.read(STATUS, 3)
        if first & 0xFF:
            raise HardwareError(f"{self._client.label}: expected a 2F gripper, got the status 0x{first:04X}; is it another device?")
        return first >> 8, second >> 8 & 0x0F, third >> 8

    def _activate(self) -> bool:
        """Whether the gripper is active; if not, its activation is begun or goes on."""
        status, _, _ = self._status()
        if status & ACTIVATE and status >> 4 & 3 == READY:
            self.active = True
            return True
        if not status & ACTIVATE:
            self._client.write(COMMAND, [ACTIVATE << 8, 0, 0])
            self._activation_end = time.monotonic() + ACTIVATION_TIMEOUT
        elif self._activation_end and time.monotonic() > self._activation_end:
            raise HardwareError(f"{self._client.label}: activation not completed within {ACTIVATION_TIMEOUT:g} s")
        return False
