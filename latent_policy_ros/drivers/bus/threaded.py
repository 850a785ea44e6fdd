"""Base of drivers with a slow or blocking bus: a thread communicates, so that the control loop never waits for the bus."""

from __future__ import annotations

import threading
import time
from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import Protocol

import numpy as np

from latent_policy_ros.common.errors import HardwareError, describe_error
from latent_policy_ros.drivers.base import JointReading, checked_command

READ_WAIT = 0.004  # s: longest wait of ``read`` for a new measurement; less than half a period of the control loop
MAX_FAILURES = 5  # consecutive failed exchanges after which the connection counts as lost
NO_ANSWER = 0.5  # s without a measurement after which the connection counts as lost
STOP_TIMEOUT = 0.3  # s for the exchange in progress to end when the driver is closed


class CommunicationError(HardwareError):
    """One exchange on the bus failed: no answer, or a damaged one. It is repeated a few times."""


class Connection(Protocol):
    """Open connection to hardware. ``measure`` and ``send`` run in the driver's thread and may block.

    They raise ``CommunicationError`` where a repetition may help, and any other exception where the connection is lost.
    """

    def measure(self) -> JointReading:
        """Read the joints."""
        ...

    def send(self, position: np.ndarray) -> None:
        """Send a position command (n,) [rad or m]."""
        ...

    def close(self) -> None:
        """Close the connection; may be called twice, and while another thread communicates, which then raises."""
        ...


class Differentiator:
    """Joint readings with velocities from successive positions, for hardware that measures none."""

    def __init__(self) -> None:
        self._last: JointReading | None = None

    def reading(self, position: np.ndarray) -> JointReading:
        """Reading of the position (n,) measured now."""
        stamp, last = time.time(), self._last
        velocity = np.zeros_like(position) if last is None else (position - last.position) / max(stamp - last.stamp, 1e-3)
        self._last = JointReading(stamp, position, velocity)
        return self._last


class ThreadedDriver(ABC):
    """Driver whose bus is read and written by a thread.

    ``read`` requests a measurement, waits at most ``READ_WAIT`` for it, and returns the newest one with the time at which it
    was taken. ``write`` hands the command over; the thread sends the newest one. An error of the thread closes the connection
    and is raised by the next ``read`` or ``write``.

    Args:
        joint_names: The n joints.
        label: Driver and its address, for error messages.
    """

    def __init__(self, joint_names: Sequence[str], label: str) -> None:
        self._names, self.label = tuple(joint_names), label
        self._worker: _Worker | None = None

    @abstractmethod
    def open(self) -> Connection:
        """Open the connection and check the hardware, without moving it.

        Raises:
            HardwareError: No hardware, other hardware than expected, or hardware with a fault.
        """

    @property
    def joint_names(self) -> tuple[str, ...]:
        return self._names

    def connect(self) -> None:
        self.close()
        connection = self.open()
        try:
            reading = _measure(connection)
        except BaseException:
            connection.close()
            raise
        self._worker = _Worker(connection, reading, self.label)

    def read(self) -> JointReading:
        return self._connected().read()

    def write(self, position: np.ndarray) -> np.ndarray:
        position = checked_command(self._names, position)
        self._connected().write(position)
        return position.copy()

    def close(self) -> None:
        worker, self._worker = self._worker, None
        if worker is not None:
            worker.stop()

    def _connected(self) -> _Worker:
        if self._worker is None:
            raise HardwareError(f"{self.label}: not connected; call connect() first")
        return self._worker


def _measure(connection: Connection) -> JointReading:
    """First measurement of a connection, repeated after a failed exchange."""
    for _ in range(MAX_FAILURES - 1):
        try:
            return connection.measure()
        except CommunicationError:
            continue
    return connection.measure()


class _Worker:
    """Thread of one connection."""

    def __init__(self, connection: Connection, reading: JointReading, label: str) -> None:
        self.connection, self._label = connection, label
        self._changed = threading.Condition()
        self._reading, self._command = reading, None  # type: JointReading, np.ndarray | None
        self._requested, self._served = 0, 0  # number of the newest request, and of the newest one answered
        self._asked = 0.0  # time of the oldest request without an answer [s, monotonic]
        self._stopped, self._error, self._failure = False, "", ""
        self._thread = threading.Thread(target=self._run, name=label, daemon=True)
        self._thread.start()

    def read(self) -> JointReading:
        with self._changed:
            if self._requested == self._served:
                self._asked = time.monotonic()
            self._requested += 1
            number = self._requested
            self._changed.notify_all()
            self._changed.wait_for(lambda: self._served >= number or self._error, READ_WAIT)
            if self._served < number and not self._error and time.monotonic() - self._asked > NO_ANSWER:
                self._error = f"{self._label}: no measurement for {NO_ANSWER:g} s; {self._failure or 'the bus is slow or blocked'}"
            self._raise_error()
            reading = self._reading
        return JointReading(reading.stamp, reading.position.copy(), reading.velocity.copy())

    def write(self, position: np.ndarray) -> None:
        with self._changed:
            self._raise_error()
            self._command = position.copy()
            self._changed.notify_all()

    def stop(self) -> None:
        """Send the command that waits, and close the connection."""
        with self._changed:
            self._stopped = True
            self._changed.notify_all()
        self._thread.join(STOP_TIMEOUT)
        self.connection.close()  # an exchange that is still blocked ends with an exception

    def _raise_error(self) -> None:
        if self._error:
            raise HardwareError(self._error)

    def _run(self) -> None:
        failures = 0
        while not self._error:
            with self._changed:
                self._changed.wait_for(lambda: self._stopped or self._command is not None or self._requested > self._served)
                command, self._command, number = self._command, None, self._requested
                if self._stopped and command is None:
                    return
                measure = number > self._served and not self._stopped
            try:
                reading = self._exchange(command, measure)
                failures = 0
            except Exception as error:  # a library of a vendor may raise anything
                failures += 1
                if not isinstance(error, CommunicationError) or failures >= MAX_FAILURES or self._stopped:
                    self._fail(error)
                    return
                with self._changed:
                    self._failure = str(error)
                    self._command = command if self._command is None else self._command
                continue
            with self._changed:
                if reading is not None:
                    self._reading, self._served, self._asked, self._failure = reading, number, time.monotonic(), ""
                self._changed.notify_all()

    def _exchange(self, command: np.ndarray | None, measure: bool) -> JointReading | None:
        if command is not None:
            self.connection.send(command)
        return self.connection.measure() if measure else None

    def _fail(self, error: Exception) -> None:
        text = str(error) if isinstance(error, HardwareError) else f"{self._label}: connection lost: {describe_error(error)}"
        with self._changed:
            self._error = self._error or text
            self._changed.notify_all()
        self.connection.close()
