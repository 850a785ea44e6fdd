"""What hand, gripper and arm driver nodes share: read, guard, write, publish what was measured - at every turn."""

from __future__ import annotations

import time
from abc import ABC, abstractmethod
from typing import Any

import numpy as np
from sensor_msgs.msg import JointState
from trajectory_msgs.msg import JointTrajectory

from latent_policy_ros.common.errors import ActionRefused, HardwareError, LatentPolicyError, in_words
from latent_policy_ros.control.command_guard import CommandGuard, GuardedCommand
from latent_policy_ros.drivers.base import Driver, JointReading
from latent_policy_ros.drivers.registry import DRIVERS, make_driver
from latent_policy_ros.embodiments import load_embodiment
from latent_policy_ros.nodes.base import message_conversion, qos
from latent_policy_ros.nodes.base.lifecycle_node import ERROR, OK, WARN, ManagedNode
from latent_policy_ros.nodes.base.statistics import Percentiles, RateMeter

RECONNECT_PERIOD = 0.5  # s
REPEAT_PERIOD = 0.1  # s: a command that does not change is sent again this often
SLOW = 0.5  # of its rate: less turns than that are told
FROZEN = 0.3  # s: a measurement whose time does not move on for this long is of hardware that does not answer any more


class DriverNode(ManagedNode, ABC):
    """Measured joints out, commanded joints in, through the guard. Subclasses say which joints, and take the commands.

    Publishes ``joint_states`` (measured only). Without hardware it stays up, says so in its diagnostics and tries again.
    """

    commands: tuple[str, ...] = ()
    max_lead: np.ndarray | float = np.inf  # see CommandGuard
    channel = ""  # which joints of a simulator: hand or arm

    def __init__(self, name: str, **node_options: Any) -> None:
        super().__init__(name, rate=100.0, **node_options)
        self.declare("embodiment", "", "End-effector of the robot: a name under config/embodiments, or a YAML file.")
        self.declare("driver", "mock", f"What moves the joints: {', '.join(DRIVERS)}, or package.module:Class@address.")
        self.declare("socket_path", "", "Socket of the simulator, for the driver sim.")
        self.declare("rate", 100.0, "Turns of the control loop per second [Hz].", 10.0, 1000.0)
        self.declare("hold_after", 0.2, "Hold the measured pose when no command came for this long [s].", 0.02, 2.0)
        self.declare("max_command_age", 2.0, "Refuse commands stamped further from now [s]; stamp 0: now.", 0.1, 10.0)
        self.driver: Driver | None = None
        self.guard: CommandGuard | None = None
        self.connected = False

    @abstractmethod
    def joints(self) -> tuple[tuple[str, ...], np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
        """Names, lower, upper, max_velocity and a start pose of the driven joints."""

    @abstractmethod
    def subscribe_commands(self) -> None:
        """Subscribe to what ends in ``take``; ``commands`` are these topics."""

    def workspace_violation(self, position: np.ndarray) -> str:
        """Why these joints may not be sent although each of them may; empty: they may."""
        return ""

    def measured(self, reading: JointReading) -> None:
        """Called with every reading, for what else there is to publish."""

    def configure(self) -> None:
        if self.value("use_sim_time"):
            raise LatentPolicyError("parameter use_sim_time: a driver keeps the time of its hardware; expected false, got true")
        self.embodiment = load_embodiment(self.value("embodiment"))
        self.rate = self.value("rate")
        self.names, lower, upper, max_velocity, start = self.joints()
        self.guard = CommandGuard(self.names, lower, upper, max_velocity, self.value("hold_after"), max_lead=self.max_lead)
        self.driver = make_driver(self.value("driver"), self.channel, self.names, start, self.value("socket_path"))
        self.reading: JointReading | None = None
        self._command: np.ndarray | None = None
        self._moved_on = 0.0  # when the measurement's stamp last was another one, monotonic
        self._observed = 0.0  # stamp of the observation behind the newest command
        self._sent, self._sent_time = None, 0.0
        self._retry = 0.0
        self._reason = ""
        self.meter, self.latency = RateMeter(), Percentiles()
        self._states = self.publisher(JointState, "joint_states", qos.STATES)
        self.subscribe_commands()

    def activate(self) -> None:
        self.guard.reset()
        self._connect()

    def deactivate(self) -> None:
        """Hold where the robot is, then let go of the hardware."""
        try:
            if self.connected:
                self._read()
                self.guard.hold("inactive")
                self._write(self._guarded(None).position)
        except Exception as error:
            self._lose(error)
        finally:
            self.cleanup()

    def cleanup(self) -> None:
        if self.driver is not None:
            self.driver.close()
        self.connected = False

    def listens(self, observed: float) -> bool:
        """Whether commands count now. ``observed`` is the stamp of the observation that this one answers [s], or 0.

        Raises:
            ActionRefused: It is of another time, as those of a bag that is played: whatever it says, nothing follows from it.
        """
        if not self.active or not self.connected or self.reading is None:
            return False
        if observed and abs(age := self.now() - observed) > (most := self.value("max_command_age")):
            raise ActionRefused(f"the command is of another time: stamped {age:.3f} s ago, expected {most:g} s at most")
        return True

    def set_command(self, position: np.ndarray | None, observed: float) -> None:
        """Follow a command that :meth:`listens` lets through; None means hold."""
        if position is None:
            self._command = None
            self.guard.hold("told to hold")
            return
        self._command = position
        if observed != self._observed:  # the first command that answers this observation
            self._observed = observed
            if (age := self.now() - observed) > 0.0:
                self.latency.add(age)

    def tick(self, now: float) -> None:
        if not self.connected and not self._connect():
            return
        try:
            self._read()
            command, self._command = self._command, None
            guarded = self._guarded(command)
            if not guarded.holding and (workspace_violation := self.workspace_violation(guarded.position)):
                self.count("held", workspace_violation)
                self.guard.hold(workspace_violation)
                guarded = self._guarded(None)
            self._write(guarded.position)
        except Exception as error:
            self._lose(error)
            return
        self._note(guarded, command is not None)
        self.meter.tick(time.monotonic())
        self._states.publish(
            message_conversion.joint_state(self.reading.stamp, self.names, self.reading.position, self.reading.velocity)
        )
        self.measured(self.reading)

    def _read(self) -> None:
        """Measure, and note when that last was something new."""
        before, reading = self.reading, self.driver.read()
        if not isinstance(reading, JointReading):
            raise HardwareError(f"the driver's read returned {type(reading).__name__}, expected JointReading (drivers/base.py)")
        self.reading = reading
        if abs(age := self.now() - self.reading.stamp) > (most := self.value("max_command_age")):
            self.count("measured at another time", f"stamped {age:.3f} s ago, expected {most:g} s at most, by this machine's clock")
        if before is None or self.reading.stamp != before.stamp:
            self._moved_on = time.monotonic()

    def _guarded(self, command: np.ndarray | None) -> GuardedCommand:
        """What may be sent now."""
        now = time.monotonic()
        if (still := now - self._moved_on) > FROZEN:
            self.count("measurement stands still", f"for {still:.1f} s")
            return self.guard.hold_last(f"nothing new was measured for {FROZEN:g} s")
        return self.guard.filter(command, self.reading.position, now)

    @property
    def holding(self) -> bool:
        """Whether the measured pose is held rather than a command followed."""
        return bool(self._reason)

    def on_trajectory(self, message: JointTrajectory) -> None:
        """A command for joints by name: the last point counts; without points: hold the measured pose."""
        observed = message_conversion.to_seconds(message.header.stamp)
        if not self.listens(observed):
            return
        try:
            position = message_conversion.command_position(message, self.names)
        except LatentPolicyError:
            self.guard.hold("command unusable")
            raise
        self.set_command(position, observed)

    def _write(self, position: np.ndarray | None) -> None:
        """Send a command, unless it is the one that was sent just now."""
        if position is None:
            return
        now = time.monotonic()
        if self._sent is None or now - self._sent_time >= REPEAT_PERIOD or not np.array_equal(position, self._sent):
            self.driver.write(position)
            self._sent, self._sent_time = position, now

    def _note(self, guarded: GuardedCommand, new: bool) -> None:
        if guarded.clamped and new:
            self.count("clamped to limits", ", ".join(guarded.clamped))
        if guarded.reason != self._reason:
            self._reason = guarded.reason
            if any(word in guarded.reason for word in ("not finite", "jumped", "unusable", "far beyond")):
                self.count("held", guarded.reason)

    def _connect(self) -> bool:
        if time.monotonic() < self._retry:
            return False
        self._retry = time.monotonic() + RECONNECT_PERIOD
        try:
            self.driver.connect()
        except Exception as error:
            self._lose(error)
            return False
        self.connected, self._sent, self._command = True, None, None
        self._moved_on = time.monotonic()
        self.get_logger().info(f"{self.value('driver')} driver of {len(self.names)} joints connected")
        return True

    def _lose(self, error: Exception) -> None:
        """Whatever a driver raises, its hardware is not to be relied on: it is connected anew, and begins where it is then."""
        self.connected, self._command = False, None
        self.guard.reset()
        self.count("hardware", in_words(error))

    def status(self) -> tuple[bytes, str, dict[str, str]]:
        if not self.active:
            return OK, "inactive", {}
        if not self.connected:
            return ERROR, "no hardware", {}
        values = {
            "rate_hz": f"{self.meter.rate(time.monotonic()):.1f}",
            "camera_to_command": self.latency.text_ms(),
            "holding": self._reason,
        }
        if self._reason:
            return (OK if self._reason == "no command yet" else WARN), f"holding: {self._reason}", values
        if 0.0 < (rate := self.meter.rate(time.monotonic())) < SLOW * self.rate:
            return WARN, f"{rate:.0f} turns a second, expected {self.rate:g}: reading or writing takes too long", values
        if crowd := [topic for topic in self.commands if self.count_publishers(topic) > 1]:
            return WARN, f"more than one node publishes {', '.join(crowd)}", values
        return OK, "following commands", values
