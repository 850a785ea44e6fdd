"""Driver of Franka arms (Panda, FR3), through franky (libfranka)."""

from __future__ import annotations

import time
from typing import Any

import numpy as np

from latent_policy_ros.common.errors import HardwareError
from latent_policy_ros.drivers.base import DriverSetup, JointReading
from latent_policy_ros.drivers.bus import serial_port
from latent_policy_ros.drivers.bus.threaded import ThreadedDriver
from latent_policy_ros.drivers.bus.urdf_ranges import UNLIMITED, joint_ranges

STIFFNESS = np.array([600.0, 600.0, 600.0, 600.0, 250.0, 150.0, 50.0])  # N m/rad
RANGES = {"stiffness": (10, 300), "lag": (50, 500)}  # percent, ms: with less lag the arm swings by itself
OPTIONS = {"realtime": 0, "stiffness": 100, "lag": 100, "recover": 0}  # stiffness in percent of STIFFNESS; lag in ms
STOP_TIMEOUT = 2.0  # s


class FrankaDriver(ThreadedDriver):
    """Franka arms: Panda and FR3.

    The address is the robot's host; ``?realtime=1&stiffness=100&lag=100&recover=1`` may follow. The first ``write`` starts a joint
    impedance controller, which runs at 1 kHz in a thread of franky and follows the set points ``lag`` ms later. After a reflex,
    e.g. a collision, the driver does not connect until the error is cleared in Desk; with ``recover=1`` it clears the error itself.

    Raises:
        HardwareError: franky is not installed, not seven joints, or a mistake in the address.
    """

    module, extra = "franky", "franka"

    def __init__(self, setup: DriverSetup) -> None:
        self._host, options = serial_port.split_address("franka", setup.address, OPTIONS)
        self._franky = serial_port.library("franky", "franka", "franka")
        if len(setup.joint_names) != 7:
            raise HardwareError(f"driver franka: expected the 7 joints of the arm, got {', '.join(setup.joint_names)}")
        serial_port.check_ranges("franka", options, RANGES)
        super().__init__(setup.joint_names, f"franka at {self._host}")
        self._stiffness = STIFFNESS * int(options["stiffness"]) / 100.0
        # A policy corrects what it sees of the arm's motion. An arm that overshoots its set points, as this one does by up to a
        # quarter at 1.5 to 3 Hz if it is told their velocity, closes that loop with too much gain: it swings.
        self._damping = self._stiffness * int(options["lag"]) / 1000.0
        self._realtime, self._recover = bool(options["realtime"]), bool(options["recover"])

    @classmethod
    def create(cls, setup: DriverSetup) -> FrankaDriver:
        return cls(setup)

    def open(self) -> _Arm:
        config = self._franky.RealtimeConfig.Enforce if self._realtime else self._franky.RealtimeConfig.Ignore
        try:
            robot = self._franky.Robot(self._host, realtime_config=config)
        except Exception as error:  # franky's exceptions have no common base
            raise HardwareError(f"{self.label}: no connection; check power, network and FCI: {error}") from error
        if robot.has_errors and not (self._recover and robot.recover_from_errors()):
            raise HardwareError(f"{self.label}: {robot.current_errors}; clear the error in Desk")
        return _Arm(self._franky, robot, self._stiffness, self._damping, self.label)

    def hardware_range(self) -> np.ndarray:
        """Position limits (7, 2) of the robot's own model [rad]; infinite where its software has none (Panda)."""
        return self._connected().connection.hardware_range()  # type: ignore[attr-defined]


class _Arm:
    """Connection to one arm."""

    def __init__(self, franky: Any, robot: Any, stiffness: np.ndarray, damping: np.ndarray, label: str) -> None:
        self._franky, self._robot, self._stiffness, self._damping, self._label = franky, robot, stiffness, damping, label
        self._motion: Any = None
        self._state_time, self._stamp = -1.0, 0.0

    def hardware_range(self) -> np.ndarray:
        try:
            found = joint_ranges(self._label, self._robot.model_urdf)
        except Exception:  # noqa: BLE001  franky's exceptions have no common base
            found = {}
        return np.array((list(found.values()) + [UNLIMITED] * 7)[:7])

    def measure(self) -> JointReading:
        if self._motion is not None and self._robot.join_motion(0.0):  # raises what ended the motion
            raise HardwareError(f"{self._label}: the controller has stopped")
        state = self._robot.state
        if (measured := state.time.to_msec()) != self._state_time:  # an unchanged state keeps its stamp
            self._state_time, self._stamp = measured, time.time()
        return JointReading(self._stamp, np.array(state.q), np.array(state.dq))

    def send(self, position: np.ndarray) -> None:
        reference = self._franky.JointReference(position)
        if self._motion is None:
            motion = self._franky.JointImpedanceTrackingMotion(stiffness=self._stiffness, damping=self._damping)
            motion.set_reference(reference)
            self._robot.move(motion, asynchronous=True)
            self._motion = motion
        else:
            self._motion.set_reference(reference)

    def close(self) -> None:
        motion, self._motion = self._motion, None
        if motion is not None:
            try:
                self._robot.stop()
                self._robot.join_motion(STOP_TIMEOUT)
            except Exception:  # noqa: BLE001  the motion ends with an exception if the connection is lost
                return
