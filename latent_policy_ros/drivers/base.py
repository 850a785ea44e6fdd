"""What every driver offers: named joints, connect, read, write, close."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol, runtime_checkable

import numpy as np


@dataclass(frozen=True)
class JointReading:
    """Measured joints at one moment.

    Attributes:
        stamp: When it was measured [s], system clock.
        position: (n,) in the driver's ``joint_names`` order [rad], or [m] for prismatic joints.
        velocity: (n,) [rad/s] or [m/s].
    """

    stamp: float
    position: np.ndarray
    velocity: np.ndarray


@runtime_checkable
class Driver(Protocol):
    """A joint-position interface to hardware or to a simulator.

    ``joint_names`` is readable while disconnected. Every other call raises ``HardwareError`` when the hardware cannot
    be reached; after that ``connect`` may be called again. A driver checks shapes and finiteness, and nothing else:
    limits and rates are ``safety.CommandGuard``'s.
    """

    @property
    def joint_names(self) -> tuple[str, ...]:
        """The n joints, in the order of every array of this driver."""
        ...

    def connect(self) -> None:
        """Open the connection. Moves nothing."""
        ...

    def read(self) -> JointReading:
        """The newest measurement."""
        ...

    def write(self, position: np.ndarray) -> np.ndarray:
        """Send a position command (n,); returns what was actually sent."""
        ...

    def close(self) -> None:
        """Close the connection; may be called twice, and before ``connect``."""
        ...


def checked_command(joint_names: tuple[str, ...], position: np.ndarray) -> np.ndarray:
    """``position`` as a fresh float64 (n,) array.

    Raises:
        ValueError: It has another shape, or a joint's value is not finite (the message names the joint).
    """
    array = np.array(position, dtype=np.float64)
    if array.shape != (len(joint_names),):
        raise ValueError(f"a command of {len(joint_names)} joints must have shape ({len(joint_names)},), got {array.shape}")
    bad = [name for name, value in zip(joint_names, array) if not np.isfinite(value)]
    if bad:
        raise ValueError(f"a command must be finite, but is not at {', '.join(bad)}")
    return array
