"""Driver without hardware: first-order joints that follow their command."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Sequence

import numpy as np

from latent_policy_ros.common.errors import HardwareError
from latent_policy_ros.drivers.base import DriverSetup, JointReading, checked_command


class MockDriver:
    """Joints that approach their command with a time constant, as servos do.

    Args:
        joint_names: The n joints.
        start: (n,) initial position [rad or m].
        time_constant: Time to cover 63% of the distance [s]; 0 reaches the command at once.
        clock: Steady clock [s].
        stamps: Clock of the measurements' stamps [s].
    """

    simulated = True

    def __init__(
        self,
        joint_names: Sequence[str],
        start: np.ndarray,
        time_constant: float = 0.02,
        clock: Callable[[], float] = time.monotonic,
        stamps: Callable[[], float] = time.time,
    ) -> None:
        self._names = tuple(joint_names)
        self._start = checked_command(self._names, start)
        self._time_constant, self._clock, self._stamps = time_constant, clock, stamps
        self._connected = False
        self._position, self._velocity, self._target = self._start.copy(), np.zeros_like(self._start), self._start.copy()
        self._time = clock()

    @classmethod
    def create(cls, setup: DriverSetup) -> MockDriver:
        return cls(setup.joint_names, setup.start, stamps=setup.clock)

    @property
    def joint_names(self) -> tuple[str, ...]:
        return self._names

    def connect(self) -> None:
        self._connected = True
        self._time = self._clock()

    def read(self) -> JointReading:
        self._advance()
        stamp = self._stamps() - (self._clock() - self._time)  # the position is of self._time
        return JointReading(stamp, self._position.copy(), self._velocity.copy())

    def write(self, position: np.ndarray) -> np.ndarray:
        self._advance()
        self._target = checked_command(self._names, position)
        return self._target.copy()

    def close(self) -> None:
        self._connected = False

    def _advance(self) -> None:
        if not self._connected:
            raise HardwareError("driver mock: not connected; call connect() first")
        now = self._clock()
        elapsed = max(0.0, now - self._time)
        if elapsed == 0.0:
            return
        share = 1.0 - math.exp(-elapsed / self._time_constant) if self._time_constant > 0 else 1.0
        step = (self._target - self._position) * share
        self._position, self._velocity, self._time = self._position + step, step / elapsed, now
