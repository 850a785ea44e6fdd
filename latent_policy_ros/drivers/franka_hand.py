"""Driver of the Franka Hand, through franky (libfranka): grasps and openings, because the hand cannot follow a stream."""

from __future__ import annotations

from typing import Any

import numpy as np

from latent_policy_ros.common.errors import HardwareError
from latent_policy_ros.drivers.base import DriverSetup, JointReading
from latent_policy_ros.drivers.bus import serial_port
from latent_policy_ros.drivers.bus.threaded import Differentiator, ThreadedDriver

OPTIONS = {"speed": 100, "force": 20}  # mm/s, N
OPEN, CLOSE = "open", "close"
CLOSE_BELOW, OPEN_ABOVE = 0.4, 0.6  # shares of the opening: hysteresis of the decisions
HOMED_WIDTH = 0.02  # m: the largest width of a hand that is homed is larger
CLOSE_TIMEOUT = 4.0  # s
_UNFINISHED: list[tuple[Any, Any]] = []  # hands and motions that did not end in time: franky would crash without them


class GraspDecision:
    """Decision between grasp and opening, with hysteresis, from a stream of commanded openings.

    Args:
        share: Opening at the beginning, from 0 (closed) to 1 (open).
    """

    def __init__(self, share: float) -> None:
        self.state = OPEN if share > 0.5 * (CLOSE_BELOW + OPEN_ABOVE) else CLOSE

    def update(self, share: float) -> str:
        """State for a commanded opening: changes below ``CLOSE_BELOW`` and above ``OPEN_ABOVE`` only."""
        if share < CLOSE_BELOW:
            self.state = CLOSE
        elif share > OPEN_ABOVE:
            self.state = OPEN
        return self.state


class FrankaHandDriver(ThreadedDriver):
    """Franka Hand.

    The address is the robot's host; ``?speed=100&force=20`` (mm/s, N) may follow. The hand takes about one second for a
    command. Set points are therefore reduced to decisions: it grasps below 40% of its opening, and opens above 60%. A decision
    that comes during a motion is carried out after it.

    Raises:
        HardwareError: franky is not installed, not one joint, or a mistake in the address.
    """

    module, extra = "franky", "franka"
    coarse = True  # only closed and open can be commanded

    def __init__(self, setup: DriverSetup) -> None:
        self._host, self._options = serial_port.split_address("franka_hand", setup.address, OPTIONS)
        self._franky = serial_port.library("franky", "franka", "franka_hand")
        if len(setup.joint_names) != 1 or len(setup.lower) != 1:
            raise HardwareError(f"driver franka_hand: expected one joint with limits, got {', '.join(setup.joint_names)}")
        super().__init__(setup.joint_names, f"franka_hand at {self._host}")
        self._limits = float(setup.lower[0]), float(setup.upper[0])

    @classmethod
    def create(cls, setup: DriverSetup) -> FrankaHandDriver:
        return cls(setup)

    def open(self) -> _Hand:
        try:
            gripper = self._franky.Gripper(self._host)
            state = gripper.state
        except Exception as error:  # franky's exceptions have no common base
            raise HardwareError(f"{self.label}: no connection; check power, network and FCI: {error}") from error
        if state.max_width < HOMED_WIDTH:
            raise HardwareError(f"{self.label}: the hand is not homed; home it in Desk")
        return _Hand(gripper, state, self._limits, int(self._options["speed"]) / 1000.0, float(self._options["force"]), self.label)

    def hardware_range(self) -> np.ndarray:
        """Range (1, 2) of the joint [m]: that of one finger, or the opening if the joint's limits are nearer to it."""
        opening: float = self._connected().connection.max_width  # type: ignore[attr-defined]
        return np.array([[0.0, opening if self._limits[1] > 0.75 * opening else 0.5 * opening]])

    @property
    def grasped(self) -> bool:
        """Whether the hand holds an object."""
        return self._connected().connection.grasped  # type: ignore[attr-defined]


class _Hand:
    """Connection to one hand."""

    def __init__(self, gripper: Any, state: Any, limits: tuple[float, float], speed: float, force: float, label: str) -> None:
        self._gripper, self._limits, self._speed, self._force, self._label = gripper, limits, speed, force, label
        self.max_width, self._velocity = state.max_width, Differentiator()
        self._decision = GraspDecision(state.width / state.max_width)
        self._done = self._decision.state  # what was last commanded
        self._running: Any = None  # future of the motion
        self.grasped = bool(state.is_grasped)

    def measure(self) -> JointReading:
        state = self._gripper.state
        self.grasped = bool(state.is_grasped)
        self._advance()
        lower, upper = self._limits
        share = min(1.0, max(0.0, state.width / self.max_width))
        return self._velocity.reading(np.array([lower + share * (upper - lower)]))

    def send(self, position: np.ndarray) -> None:
        lower, upper = self._limits
        self._decision.update((float(position[0]) - lower) / (upper - lower))
        self._advance()

    def close(self) -> None:
        """Wait for the end of a motion: franky must not be released before. A grasp is kept."""
        if self._running is not None and not self._running.wait(CLOSE_TIMEOUT):
            _UNFINISHED.append((self._gripper, self._running))
        self._running = None

    def _advance(self) -> None:
        """Note the end of a motion, then begin the one that was decided."""
        if self._running is not None:
            if not self._running.wait(0.0):
                return
            motion, self._running = self._running, None
            motion.get()  # raises if the connection was lost; the result of a grasp without an object is False
        if self._decision.state != self._done:
            self._done = self._decision.state
            if self._done == OPEN:
                self._running = self._gripper.move_async(self.max_width, self._speed)
            else:
                self._running = self._gripper.grasp_async(0.0, self._speed, self._force, 0.005, self.max_width)
