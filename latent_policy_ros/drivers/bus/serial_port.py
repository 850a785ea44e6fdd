"""Serial ports: errors that say what to do, and buses that several processes share."""

from __future__ import annotations

import errno
import fcntl
import glob
import importlib
import os
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from types import ModuleType
from urllib.parse import parse_qsl

from latent_policy_ros.common.errors import HardwareError, available
from latent_policy_ros.drivers.bus.threaded import CommunicationError

LOCK_TIMEOUT = 0.1  # s to wait for another process to end its exchange
PORTS = ("/dev/serial/by-id/*", "/dev/ttyUSB*", "/dev/ttyACM*")


def library(module: str, extra: str, driver: str) -> ModuleType:
    """Import the library of a driver.

    Raises:
        HardwareError: It is not installed; the message names the pip extra.
    """
    try:
        return importlib.import_module(module)
    except ImportError as error:
        install = f"pip install 'latent_policy_ros[{extra}]'"
        raise HardwareError(f"driver {driver}: the Python package {module} is not installed; type: {install}") from error


def check_port(label: str, port: str) -> None:
    """Check that a serial port exists and that this user may open it.

    Raises:
        HardwareError: It does not exist, cannot be opened, or is no serial port.
    """
    try:
        line = os.open(port, os.O_RDWR | os.O_NOCTTY | os.O_NONBLOCK)
    except OSError as error:
        raise HardwareError(f"{label}: {_reason(port, error)}") from error
    try:
        if not os.isatty(line):
            raise HardwareError(f"{label}: {port} is not a serial port; {available(_ports())}")
    finally:
        os.close(line)


def _reason(port: str, error: OSError) -> str:
    if error.errno in (errno.ENOENT, errno.ENODEV, errno.ENXIO, errno.EIO):
        return f"no serial port {port}; is it plugged in? {available(_ports())}"
    if error.errno in (errno.EACCES, errno.EPERM):
        group = "sudo usermod -aG dialout $USER, then log in again"
        return f"no permission to open {port}; type: {group}"
    if error.errno == errno.EBUSY:
        return f"{port} is in use by another program; close it"
    return f"{port} cannot be opened: {error.strerror or error}"


def _ports() -> list[str]:
    return [path for pattern in PORTS for path in glob.glob(pattern)]


@contextmanager
def exclusive(descriptor: int, label: str) -> Iterator[None]:
    """Hold the lock of an open port during one exchange, so that drivers of several processes can share a bus.

    Raises:
        CommunicationError: Another process holds the lock for longer than ``LOCK_TIMEOUT``.
    """
    until = time.monotonic() + LOCK_TIMEOUT
    while True:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            break
        except BlockingIOError as error:
            if time.monotonic() > until:
                raise CommunicationError(f"{label}: another program blocks the port for {LOCK_TIMEOUT:g} s") from error
            time.sleep(0.0003)
    try:
        yield
    finally:
        fcntl.flock(descriptor, fcntl.LOCK_UN)


def split_address(driver: str, address: str, defaults: Mapping[str, int | str]) -> tuple[str, dict[str, int | str]]:
    """Split an address ``PLACE?option=value&option=value``.

    Args:
        driver: Name of the driver, for error messages.
        address: The address.
        defaults: Every option with its default, whose type a value must have.

    Returns:
        The place, and all options.

    Raises:
        HardwareError: No place, an unknown option, or a value that is no whole number where one is expected.
    """
    place, _, query = address.partition("?")
    if not place:
        raise HardwareError(f"driver {driver}: expected {driver}@ADDRESS, got no address")
    options = dict(defaults)
    for name, value in parse_qsl(query, keep_blank_values=True):
        if name not in defaults:
            raise HardwareError(f"driver {driver}@{address}: unknown option {name!r}; {available(defaults)}")
        if isinstance(defaults[name], int) and not value.isdigit():
            raise HardwareError(f"driver {driver}@{address}: {name}: expected a whole number, got {value!r}")
        options[name] = int(value) if isinstance(defaults[name], int) else value
    return place, options


def check_ranges(driver: str, options: Mapping[str, int | str], ranges: Mapping[str, tuple[int, int]]) -> None:
    """Check that the options named in ``ranges`` are within their lowest and highest values.

    Raises:
        HardwareError: An option is outside its range.
    """
    for name, (low, high) in ranges.items():
        if not low <= int(options[name]) <= high:
            raise HardwareError(f"driver {driver}: {name}: expected {low} to {high}, got {options[name]}")
