"""Driver of the Inspire RH56 hands (Modbus RTU or TCP)."""

from __future__ import annotations

import numpy as np

from latent_policy_ros.common.errors import HardwareError
from latent_policy_ros.drivers.base import DriverSetup, JointReading
from latent_policy_ros.drivers.bus import serial_port
from latent_policy_ros.drivers.bus.modbus import ModbusClient
from latent_policy_ros.drivers.bus.threaded import Differentiator, ThreadedDriver

#: Ranges [rad], from zero on, of the joints in the order of the hand's registers; from the public URDF that dex-urdf publishes.
RANGES = {
    "pinky_proximal_joint": 1.47,
    "ring_proximal_joint": 1.47,
    "middle_proximal_joint": 1.47,
    "index_proximal_joint": 1.47,
    "thumb_proximal_pitch_joint": 0.5997,
    "thumb_proximal_yaw_joint": 1.308,
}
FINGERS = tuple(RANGES)
HAND_ID, CLEAR_ERROR, ANGLE_SET, FORCE_SET, SPEED_SET, ANGLE, ERROR = 1000, 1004, 1486, 1498, 1522, 1546, 1606
STRAIGHT = 1000  # register value of a joint at zero; 0 at the end of its range
OPTIONS = {"id": 1, "baud_rate": 115200, "speed": 1000, "force": 500}  # speed: 0 to 1000; force: 0 to 1000 g
STALL = 0x01  # bit of an error that the hand keeps until it is cleared; a firm grasp may cause it
ERRORS = {1: "overheating", 2: "overcurrent", 3: "motor fault", 4: "internal communication"}
ERROR_INTERVAL = 10  # measurements between two readings of the errors


class InspireDriver(ThreadedDriver):
    """Inspire RH56 hands.

    The address is a serial port or ``tcp://HOST:PORT``; ``?id=1&baud_rate=115200&speed=1000&force=500`` may follow.

    Raises:
        HardwareError: Other joints than those of the hand, or a mistake in the address.
    """

    extra, module = "inspire", "pymodbus"

    def __init__(self, setup: DriverSetup) -> None:
        self._place, self._options = serial_port.split_address("inspire", setup.address, OPTIONS)
        serial_port.library("pymodbus.client", "inspire", "inspire")
        if sorted(setup.joint_names) != sorted(FINGERS):
            raise HardwareError(f"driver inspire: expected the joints {', '.join(FINGERS)}; got {', '.join(setup.joint_names)}")
        serial_port.check_ranges("inspire", self._options, dict.fromkeys(("speed", "force"), (0, 1000)))
        super().__init__(setup.joint_names, f"inspire at {self._place}")

    @classmethod
    def create(cls, setup: DriverSetup) -> InspireDriver:
        return cls(setup)

    def open(self) -> _Hand:
        number = int(self._options["id"])
        client = ModbusClient("inspire", self._place, number, int(self._options["baud_rate"]))
        order = np.array([FINGERS.index(name) for name in self.joint_names])
        hand = _Hand(client, order, int(self._options["speed"]), int(self._options["force"]))
        try:
            hand.check(number)
        except BaseException:
            client.close()
            raise
        return hand

    def hardware_range(self) -> np.ndarray:
        """Ranges (6, 2) of the joints [rad]."""
        return np.array([(0.0, RANGES[name]) for name in self.joint_names])


class _Hand:
    """Connection to one hand.

    Args:
        order: (6,) index of each joint in the registers.
    """

    def __init__(self, client: ModbusClient, order: np.ndarray, speed: int, force: int) -> None:
        self._client, self._order, self._range = client, order, np.array(list(RANGES.values()))[order]
        self._settings = {SPEED_SET: speed, FORCE_SET: force}
        self._velocity, self._ready, self._count = Differentiator(), False, 0
        self._sent: list[int] = []

    def check(self, number: int) -> None:
        """Check that an RH56 answers; raises HardwareError if not."""
        (got,) = self._client.read(HAND_ID, 1)
        if got & 0xFF != number:
            raise HardwareError(f"{self._client.label}: expected a hand of id {number}, got id {got & 0xFF}; is it another device?")

    def measure(self) -> JointReading:
        angles = np.array(self._client.read(ANGLE, len(FINGERS)))[self._order]
        if (angles > 1100).any():
            raise HardwareError(
                f"{self._client.label}: expected angles from 0 to 1000, got {angles.tolist()}; is it another device?"
            )
        if self._count % ERROR_INTERVAL == 0:
            self._check_errors()
        self._count += 1
        return self._velocity.reading((1.0 - angles / STRAIGHT) * self._range)

    def send(self, position: np.ndarray) -> None:
        if not self._ready:
            for register, value in self._settings.items():
                self._client.write(register, [value] * len(FINGERS))
            self._ready = True
        values = np.empty(len(FINGERS), int)
        values[self._order] = np.rint(np.clip(1.0 - position / self._range, 0.0, 1.0) * STRAIGHT)
        if values.tolist() != self._sent:
            self._client.write(ANGLE_SET, values.tolist())
            self._sent = values.tolist()

    def close(self) -> None:
        self._client.close()

    def _check_errors(self) -> None:
        words = self._client.read(ERROR, len(FINGERS) // 2)
        errors = [value for word in words for value in (word & 0xFF, word >> 8)]  # two fingers a register
        faults = [
            f"{name}: {', '.join(text for bit, text in ERRORS.items() if error >> bit & 1)}"
            for name, error in zip(FINGERS, errors)
            if error & ~STALL
        ]
        if faults:
            text = "; ".join(faults)
            raise HardwareError(f"{self._client.label}: hardware error: {text}; remove the cause, then switch its power off and on")
        if any(error & STALL for error in errors):
            self._client.write(CLEAR_ERROR, [1])
