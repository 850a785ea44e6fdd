"""Driver interface: named joints, connect, read, write, close."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol, runtime_checkable

import numpy as np


@dataclass(frozen=True)
class JointReading:
    """Measured joints at one moment.

    Attributes:
        stamp: Time of the measurement [s since the epoch, system clock].
        position: (n,) in the order of the driver's ``joint_names`` [rad or m].
        velocity: (n,) [rad/s or m/s].
    """

    stamp: float
    position: np.ndarray
    velocity: np.ndarray


@dataclass(frozen=True)
class DriverSetup:
    """Everything from which a driver may be made.

    Attributes:
        joint_names: The n joints.
        start: Pose (n,) in which joints without hardware start [rad or m].
        channel: Part of the robot: ``hand`` or ``arm``.
        socket_path: Socket of the simulator; empty without one.
        address: Text after ``@`` in the driver's name, e.g. a serial port; empty without one.
        lower, upper: Limits (n,) of the joints [rad or m].
        flange: Of an arm: the frame of its base, and a function from joints (n,) to the pose (7,) of its flange in that frame.
        clock: Clock of the stamps of a driver without hardware [s]: the system's, or simulation time.
    """

    joint_names: tuple[str, ...]
    start: np.ndarray
    channel: str = "hand"
    socket_path: str | Path = ""
    address: str = ""
    lower: np.ndarray = field(default_factory=lambda: np.empty(0))
    upper: np.ndarray = field(default_factory=lambda: np.empty(0))
    flange: tuple[str, Callable[[np.ndarray], np.ndarray]] | None = None
    clock: Callable[[], float] = time.time


@runtime_checkable
class Driver(Protocol):
    """Joint position interface to hardware or to a simulator.

    A driver is made as ``Class(joint_names, address)``, or, where that is not enough, by a class method
    ``create(setup: DriverSetup)``. A driver that moves no hardware has a class attribute ``simulated = True``: it may follow
    simulation time, and its robot is engaged at start. ``joint_names`` are available while disconnected. Every other call raises
    ``HardwareError`` when the hardware cannot be reached; ``connect`` may be called again after that. A driver checks the
    shape and finiteness of commands only: limits and rates are checked before, by ``control.command_guard.CommandGuard``.
    """

    @property
    def joint_names(self) -> tuple[str, ...]:
        """The n joints, in the order of every array of this driver."""
        ...

    def connect(self) -> None:
        """Open the connection. Does not move the joints."""
        ...

    def read(self) -> JointReading:
        """Return the newest measurement."""
        ...

    def write(self, position: np.ndarray) -> np.ndarray:
        """Send a position command (n,) [rad or m]; returns the command as sent (n,)."""
        ...

    def close(self) -> None:
        """Close the connection. May be called twice, and before ``connect``."""
        ...


def checked_command(joint_names: tuple[str, ...], position: np.ndarray) -> np.ndarray:
    """Copy ``position`` to a float64 array (n,).

    Raises:
        ValueError: The shape is not (n,), or a value is not finite; the message names the joint.
    """
    array = np.array(position, dtype=np.float64)
    if array.shape != (len(joint_names),):
        raise ValueError(f"command of {len(joint_names)} joints: expected shape ({len(joint_names)},), got {array.shape}")
    finite = np.isfinite(array)
    if not finite.all():
        bad = [name for name, good in zip(joint_names, finite) if not good]
        raise ValueError(f"command: expected finite positions, got NaN or infinity for {', '.join(bad)}")
    return array
