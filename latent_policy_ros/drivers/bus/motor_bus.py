"""Bus of serial servo motors: what the drivers of Dynamixel and Feetech motors share. Their SDKs have the same functions."""

from __future__ import annotations

import time
from abc import ABC, abstractmethod
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from typing import Any

import numpy as np

from latent_policy_ros.common.errors import HardwareError, available
from latent_policy_ros.drivers.base import JointReading
from latent_policy_ros.drivers.bus import serial_port
from latent_policy_ros.drivers.bus.motor_file import Motors, MotorSection, load_motors
from latent_policy_ros.drivers.bus.threaded import CommunicationError, ThreadedDriver

POLL = 0.002  # s: longest wait of one read of the port; the SDKs would spin
SCANNED_IDS, SCAN_TIMEOUT = range(40), 20.0  # ms to wait for an answer
TRIES = 3  # of the exchanges that prepare a motor

Register = tuple[int, int]  # address and size [bytes] in the control table of a motor


class _BufferedReads:
    """Replacement of ``readPort`` of the SDKs: takes everything that has arrived from the port at once.

    The SDKs read each answer in pieces, which costs two system calls for each piece.

    Args:
        serial: The open port.
    """

    def __init__(self, serial: Any) -> None:
        self._serial, self._bytes = serial, bytearray()

    def __call__(self, length: int) -> bytes:
        if (missing := length - len(self._bytes)) > 0:
            self._bytes += self._serial.read(max(missing, self._serial.in_waiting))
        data = bytes(self._bytes[:length])
        del self._bytes[:length]
        return data

    def clear(self) -> None:
        """Drop everything that has arrived."""
        self._bytes.clear()
        self._serial.reset_input_buffer()


class MotorBus(ABC):
    """An open port and the n motors of a driver.

    Args:
        sdk: Module of the vendor.
        motors: The motors.
        label: For error messages.

    Attributes:
        range: Position limits (n, 2) that the motors enforce [rad or m], after ``check``.
    """

    models: dict[str, int]  # model numbers
    protocol: float  # argument of the SDK's PacketHandler
    present: Register  # measured position and velocity
    goal: Register
    torque_enable: Register

    def __init__(self, sdk: Any, motors: Motors, label: str) -> None:
        serial_port.check_port(label, motors.port)
        self.sdk, self.motors, self.label = sdk, motors, label
        self.port, self.handler = sdk.PortHandler(motors.port), sdk.PacketHandler(self.protocol)
        if not self.port.setBaudRate(motors.baud_rate):
            raise HardwareError(f"{label}: baud_rate {motors.baud_rate} is not supported by {sdk.__name__}")
        self.port.ser.timeout = POLL
        self.port.readPort = self._reads = _BufferedReads(self.port.ser)
        self._descriptor = self.port.ser.fileno()
        with suppress(ValueError, OSError):  # not every port has this setting
            self.port.ser.set_low_latency_mode(True)
        self._reader = self._make_reader(self.present)
        self._ready = False  # the motors are configured and have torque
        self.range = np.zeros((len(motors.ids), 2))

    @staticmethod
    @abstractmethod
    def unsupported(section: MotorSection) -> str:
        """A field of the motor file that this motor does not have, and why; empty if there is none."""

    @abstractmethod
    def limits(self) -> np.ndarray:
        """Lowest and highest position (n, 2) that the motors accept [ticks]."""

    @abstractmethod
    def fault(self, index: int, error: int) -> str:
        """Fault of a motor, e.g. ``overload``, from the error byte of its newest answer; empty if it has none."""

    @abstractmethod
    def decode(self, answers: list[bytes]) -> tuple[np.ndarray, np.ndarray]:
        """Positions (n,) [ticks] and velocities (n,) [ticks/s] from the bytes of ``present`` of each motor."""

    @abstractmethod
    def configure(self) -> None:
        """Set mode, gains and limits of the motors."""

    @abstractmethod
    def encode(self, ticks: np.ndarray) -> list[int]:
        """Values of ``goal`` for the positions (n,) [ticks]."""

    def check(self) -> None:
        """Check ids, models and faults, without a change of any motor.

        Raises:
            HardwareError: With one line for each motor that is missing, of another model, or has a fault.
        """
        motors, problems, silent = self.motors, [], []
        names = {number: name for name, number in self.models.items()}
        for index, section in enumerate(motors.sections):
            model, error = self._ping(motors.ids[index])
            if model is None:
                silent.append(index)
            elif model != self.models[section.model]:
                got = names.get(model, f"model number {model}")
                problems.append(f"{motors.describe(index)}: wrong model: expected {section.model}, got {got}")
            elif fault := self.fault(index, error):
                problems.append(self._fault_text(index, fault))
        if len(silent) == len(motors.ids):
            raise HardwareError(f"{self.label}: no motor answers at {motors.baud_rate} baud; check power, cable and baud rate")
        problems += [f"{motors.describe(index)}: no answer; check its cable and its id" for index in silent]
        if problems:
            raise HardwareError("\n".join(f"{self.label}: {problem}" for problem in problems))
        self.range = motors.to_range(self.limits())

    def measure(self) -> JointReading:
        """Read all motors with one request (``threaded.Connection``)."""
        answers, errors = self._sync_read(self._reader, self.present)
        stamp = time.time()
        for index, error in enumerate(errors):
            if error and (fault := self.fault(index, error)):
                raise HardwareError(f"{self.label}: {self._fault_text(index, fault)}")
        ticks, velocity = self.decode(answers)
        return JointReading(stamp, self.motors.to_position(ticks), self.motors.to_velocity(velocity))

    def send(self, position: np.ndarray) -> None:
        """Send set points; the first ones also switch the torque on (``threaded.Connection``)."""
        goals = self.encode(self.motors.to_ticks(position))
        if not self._ready:
            self.configure()
            self.set(self.goal, goals)
            self.set(self.torque_enable, [1] * len(goals))
            self._ready = True
        self._sync_write(self.goal, goals)  # again: a motor may set its goal to its position when its torque is switched on

    def close(self) -> None:
        """Close the port. The motors keep their torque and their last set point."""
        if self.port.is_open:
            self.port.closePort()

    def present_ids(self) -> list[int]:
        """Ids of ``SCANNED_IDS`` that answer on this bus; takes about a second."""
        self.port.setPacketTimeout = lambda length: self.port.setPacketTimeoutMillis(SCAN_TIMEOUT)
        try:
            return [number for number in SCANNED_IDS if self._ping(number, tries=1)[0] is not None]
        finally:
            del self.port.setPacketTimeout

    def get(self, register: Register) -> list[int]:
        """Read an unsigned value of every motor."""
        reader, failures = self._make_reader(register), 0
        while True:
            try:
                return [int.from_bytes(data, "little") for data in self._sync_read(reader, register)[0]]
            except CommunicationError:
                if (failures := failures + 1) == TRIES:
                    raise

    def set(self, register: Register, values: Sequence[int | None]) -> None:
        """Write an unsigned value of every motor, except where it is None, and read it back.

        Raises:
            CommunicationError: A motor did not take its value.
        """
        if any(value is not None for value in values):
            self._sync_write(register, values)
            for index, (value, got) in enumerate(zip(values, self.get(register))):
                if value not in (None, got):
                    where = f"{self.label}: {self.motors.describe(index)}: address {register[0]}"
                    raise CommunicationError(f"{where}: expected {value}, got {got}; the motor refused the value")

    def read(self, index: int, register: Register) -> int:
        """Read an unsigned value of one motor."""
        with self.exchange():
            data, result, _ = self.handler.readTxRx(self.port, self.motors.ids[index], *register)
        self.verify(result, self.motors.describe(index))
        return int.from_bytes(bytes(data), "little")

    def _make_reader(self, register: Register) -> Any:
        reader = self.sdk.GroupSyncRead(self.port, self.handler, *register)
        for number in self.motors.ids:
            reader.addParam(number)
        return reader

    def _sync_read(self, reader: Any, register: Register) -> tuple[list[bytes], list[int]]:
        """Bytes and error byte of every motor, with one request."""
        answers, errors = [], []
        with self.exchange():
            self.verify(reader.txPacket(), "request")
            for index, number in enumerate(self.motors.ids):
                data, result, error = self.handler.readRx(self.port, number, register[1])
                self.verify(result, self.motors.describe(index))
                answers.append(bytes(data))
                errors.append(error)
        return answers, errors

    def _sync_write(self, register: Register, values: Sequence[int | None]) -> None:
        """Write a value of every motor, except where it is None, with one packet, which the motors do not answer."""
        group = self.sdk.GroupSyncWrite(self.port, self.handler, *register)
        for number, value in zip(self.motors.ids, values):
            if value is not None:
                group.addParam(number, list(value.to_bytes(register[1], "little")))
        with self.exchange():
            self.verify(group.txPacket(), "command")

    @contextmanager
    def exchange(self) -> Iterator[None]:
        """One exchange: no other process uses the port meanwhile, and bytes of earlier exchanges are dropped."""
        with serial_port.exclusive(self._descriptor, self.label):
            self.port.is_using = False
            self._reads.clear()
            yield

    def verify(self, result: int, what: str) -> None:
        """Raise CommunicationError unless an exchange succeeded."""
        if result == self.sdk.COMM_SUCCESS:
            return
        reasons = {
            self.sdk.COMM_RX_TIMEOUT: "no answer",
            self.sdk.COMM_RX_CORRUPT: "damaged answer; check cable and baud rate",
        }
        raise CommunicationError(f"{self.label}: {what}: {reasons.get(result) or self.handler.getTxRxResult(result)}")

    def _ping(self, number: int, tries: int = TRIES) -> tuple[int | None, int]:
        """Model number and error byte of a motor; None and 0 without an answer."""
        for _ in range(tries):
            with self.exchange():
                model, result, error = self.handler.ping(self.port, number)
            if result == self.sdk.COMM_SUCCESS:
                return model, error
        return None, 0

    def _fault_text(self, index: int, fault: str) -> str:
        return f"{self.motors.describe(index)}: {fault}; remove the cause, then switch the motor's power off and on"


class MotorDriver(ThreadedDriver):
    """Joints of serial servo motors.

    The address is a motor file: a YAML file, or a name in ``config/motors``; ``?port=/dev/ttyUSB1`` may follow. ``connect`` only
    reads. The first ``write`` configures the motors and switches their torque on. ``close`` leaves the torque on, so that
    a hand keeps its grasp and an arm does not fall.

    Raises:
        HardwareError: The SDK is not installed, or the motor file is missing or wrong.
    """

    extra: str  # name of the driver and of its pip extra
    module: str  # of the SDK
    bus_class: type[MotorBus]

    def __init__(self, joint_names: tuple[str, ...], address: str) -> None:
        place, options = serial_port.split_address(self.extra, address, {"port": ""})
        self._sdk = serial_port.library(self.module, self.extra, self.extra)
        self.motors = load_motors(self.extra, place, joint_names, str(options["port"]))
        models = self.bus_class.models
        for name, section in zip(self.motors.names, self.motors.sections):
            where = f"driver {self.extra}: {place}: motors.{name}"
            if section.model not in models:
                raise HardwareError(f"{where}.model: got {section.model!r}; {available(models)}")
            if reason := self.bus_class.unsupported(section):
                raise HardwareError(f"{where}.{reason}")
        super().__init__(joint_names, f"{self.extra} at {self.motors.port}")

    def open(self) -> MotorBus:
        bus = self._open_bus()
        try:
            bus.check()
        except BaseException:
            bus.close()
            raise
        return bus

    def hardware_range(self) -> np.ndarray:
        """Position limits (n, 2) that the motors themselves enforce [rad or m]; connected only."""
        return self._connected().connection.range  # type: ignore[attr-defined]

    def other_hardware(self) -> str:
        """What answers on the port although ``connect`` found other hardware than expected."""
        bus = self._open_bus()
        try:
            ids = ", ".join(map(str, bus.present_ids())) or "(none)"
            return f"ids from 0 to {SCANNED_IDS[-1]} that answer: {ids}"
        finally:
            bus.close()

    def _open_bus(self) -> MotorBus:
        return self.bus_class(self._sdk, self.motors, self.label)
