"""The drivers by name: those that come with the package, and classes of your own (docs/how-to/HARDWARE.md)."""

from __future__ import annotations

import importlib
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from latent_policy_ros.common.errors import HardwareError, available
from latent_policy_ros.drivers.base import Driver
from latent_policy_ros.drivers.mock import MockDriver
from latent_policy_ros.drivers.simulator import SimDriver

DRIVERS = ("mock", "sim")
METHODS = ("connect", "read", "write", "close")


def make_driver(kind: str, channel: str, joint_names: Sequence[str], start: np.ndarray, socket_path: str | Path = "") -> Driver:
    """A driver, not yet connected.

    Args:
        kind: ``mock``, ``sim``, or a class of your own: ``package.module:Class``, or ``package.module:Class@address``.
            It is called with the joint names and the text after ``@``.
        channel: ``hand`` or ``arm``.
        joint_names: The n joints.
        start: (n,) where a mock starts [rad or m].
        socket_path: The simulator's socket, for ``sim``.

    Raises:
        HardwareError: There is no such driver, or its class has other joints, or what it needs is missing.
    """
    if kind == "mock":
        return MockDriver(joint_names, start)
    if kind == "sim":
        if not str(socket_path):
            raise HardwareError("driver sim: needs the simulator's socket (parameter socket_path)")
        return SimDriver(socket_path, channel, joint_names)
    driver = driver_class(kind)(tuple(joint_names), kind.partition("@")[2])
    if tuple(driver.joint_names) != tuple(joint_names):  # arrays go by their order
        got = ", ".join(driver.joint_names)
        raise HardwareError(f"driver {kind}: expected the joints {', '.join(joint_names)} in this order; got {got}")
    return driver


def driver_class(kind: str) -> type:
    """The class that ``package.module:Class`` names, with or without ``@address``.

    Raises:
        HardwareError: The text names none, it cannot be imported, or is no driver; says what is missing.
    """
    module_name, _, class_name = kind.partition("@")[0].partition(":")
    if not module_name or not class_name:
        raise HardwareError(f"unknown driver {kind!r}; {available(DRIVERS)}, or a class of yours: package.module:Class")
    try:
        module = importlib.import_module(module_name)
    except Exception as error:  # whatever its first lines raise
        message = f"{module_name} cannot be imported ({error}); is it in PYTHONPATH?"
        raise HardwareError(f"driver {kind}: {message}") from error
    found = getattr(module, class_name, None)
    if not isinstance(found, type):
        classes = {name: value for name, value in vars(module).items() if isinstance(value, type)}
        own = [name for name, value in classes.items() if value.__module__ == module_name]
        raise HardwareError(f"driver {kind}: {module_name} has no class {class_name!r}; {available(own)}")
    lacking = [name for name in METHODS if not callable(getattr(found, name, None))]
    if lacking:
        expected = "expected what latent_policy_ros.drivers.base.Driver has"
        raise HardwareError(f"driver {kind}: lacks {', '.join(lacking)}; {expected}")
    return found
