"""The drivers by name. One more hardware family is one more file and one more line here."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from ..errors import HardwareError, available
from .base import Driver
from .mock import MockDriver
from .sim import SimDriver

DRIVERS = ("mock", "sim")


def make_driver(kind: str, channel: str, joint_names: Sequence[str], start: np.ndarray, socket_path: str | Path = "") -> Driver:
    """A driver, not yet connected.

    Args:
        kind: ``mock`` or ``sim``.
        channel: ``hand`` or ``arm``.
        joint_names: The n joints.
        start: (n,) where a mock starts [rad or m].
        socket_path: The simulator's socket, for ``sim``.
    """
    if kind == "mock":
        return MockDriver(joint_names, start)
    if kind == "sim":
        if not str(socket_path):
            raise HardwareError("driver sim: needs the simulator's socket (parameter socket_path)")
        return SimDriver(socket_path, channel, joint_names)
    raise HardwareError(f"unknown driver {kind!r}; {available(DRIVERS)}")
