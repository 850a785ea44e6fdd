"""Modbus client of grippers and hands: RTU on a serial port, or TCP."""

from __future__ import annotations

import logging
from collections.abc import Sequence

from latent_policy_ros.common.errors import HardwareError
from latent_policy_ros.drivers.bus import serial_port
from latent_policy_ros.drivers.bus.threaded import CommunicationError

TCP = "tcp://"
TIMEOUT = 0.06  # s for an answer
CONNECT_TIMEOUT = 0.5  # s for a TCP connection


class ModbusClient:
    """Holding registers of one device.

    Args:
        driver: Name of the driver, which is also its pip extra.
        place: A serial port, or ``tcp://HOST:PORT``.
        unit: Address of the device on the bus.
        baud_rate: Baud rate of a serial port.

    Raises:
        HardwareError: pymodbus is not installed, or the port or host cannot be opened.
    """

    def __init__(self, driver: str, place: str, unit: int, baud_rate: int) -> None:
        self.label, self._unit = f"{driver} at {place}", unit
        pymodbus = serial_port.library("pymodbus", driver, driver)
        client = serial_port.library("pymodbus.client", driver, driver)
        logging.getLogger("pymodbus.logging").setLevel(logging.CRITICAL)  # what it logs is raised as well
        self._exceptions = pymodbus.exceptions
        if place.startswith(TCP):
            host, _, port = place.removeprefix(TCP).rpartition(":")
            if not host or not port.isdigit():
                raise HardwareError(f"driver {driver}: expected {driver}@tcp://HOST:PORT, got {place}")
            self._client = client.ModbusTcpClient(host, port=int(port), timeout=CONNECT_TIMEOUT, retries=0)
        else:
            serial_port.check_port(self.label, place)
            self._client = client.ModbusSerialClient(place, baudrate=baud_rate, timeout=TIMEOUT, retries=0)
        if not self._client.connect():
            reason = "no connection; check power, cable and address" if place.startswith(TCP) else "in use by another program"
            raise HardwareError(f"{self.label}: {reason}")
        self._client.comm_params.timeout_connect = TIMEOUT  # also the time to wait for an answer

    def read(self, address: int, count: int) -> list[int]:
        """Read registers.

        Raises:
            CommunicationError: No answer, or a damaged one.
            HardwareError: The device does not have these registers, or the connection is lost.
        """
        return self._call(f"registers {address} to {address + count - 1}", "read_holding_registers", address, count=count).registers

    def write(self, address: int, values: Sequence[int]) -> None:
        """Write registers; raises as ``read`` does."""
        self._call(f"registers {address} to {address + len(values) - 1}", "write_registers", address, list(values))

    def close(self) -> None:
        """Close the connection. May be called twice."""
        self._client.close()

    def _call(self, what: str, method: str, *arguments, **options):
        try:
            answer = getattr(self._client, method)(*arguments, device_id=self._unit, **options)
        except self._exceptions.ModbusIOException as error:
            message = f"{self.label}: no valid answer of device {self._unit}; check power, cable, baud rate and id"
            raise CommunicationError(message) from error
        except self._exceptions.ModbusException as error:
            raise HardwareError(f"{self.label}: connection lost") from error
        if answer.isError():
            raise HardwareError(f"{self.label}: device {self._unit} refused {what}; is it another device?")
        return answer
