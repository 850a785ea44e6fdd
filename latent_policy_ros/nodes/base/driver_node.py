"""Driver nodes: the control loop that hand, gripper and arm drivers share, and the driver node of an end-effector."""

from __future__ import annotations

import time
from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from rclpy.subscription import Subscription
from sensor_msgs.msg import JointState
from trajectory_msgs.msg import JointTrajectory

from latent_policy_ros.common.errors import HardwareError, LatentPolicyError, ModeError, describe_error
from latent_policy_ros.control.command_guard import HOLD_AFTER, NO_COMMAND, CommandGuard
from latent_policy_ros.control.joint_controller import CONTROL_RATE, MAX_COMMAND_AGE, STATE_RATE, JointController
from latent_policy_ros.drivers.base import Driver, DriverSetup, JointReading
from latent_policy_ros.drivers.registry import DRIVERS, is_simulated, make_driver
from latent_policy_ros.embodiments import load_embodiment
from latent_policy_ros.nodes.base.lifecycle_node import ERROR, OK, WARN, ManagedNode
from latent_policy_ros.nodes.base.statistics import Percentiles, RateMeter
from latent_policy_ros.nodes.topics import qos
from latent_policy_ros.nodes.topics.message_template import command_template, joint_state_template
from latent_policy_ros.nodes.topics.source_monitor import SourceMonitor
from latent_policy_ros.observations.messages import to_seconds

RECONNECT_PERIOD = 0.5  # s between attempts to connect
REPEAT_PERIOD = 0.1  # s: an unchanged set point is written again after this time
STOP_TIME = 0.6  # s in which a robot is brought to rest before its driver is closed
SIMULATOR_START = 30.0  # s: a simulator that is started with its drivers takes seconds, which is no error
STATE_SOURCES = 2  # nodes that publish joint_states of a robot: the drivers of its arm and of its end-effector
MIN_RATE = 0.5  # share of the nominal rate: a slower control loop is reported


class DriverNode(ManagedNode, ABC):
    """Driver node: runs a joint controller between command topics and a hardware driver.

    Publishes ``joint_states`` (measured only). Without hardware the node stays up, reports it in its diagnostics and
    connects again. While more nodes than one publish its commands, or a third one publishes ``joint_states``, it holds the measured
    pose. Subclasses make the controller and subscribe to the commands.
    """

    command_topics: tuple[str, ...] = ()
    channel = ""  # joints of the robot in a simulator: hand or arm

    def __init__(self, name: str, **node_options: Any) -> None:
        super().__init__(name, rate=CONTROL_RATE, **node_options)
        self.declare("embodiment", "", "End-effector of the robot: a name under config/embodiments, or a YAML file.")
        names = ", ".join(DRIVERS.names())
        self.declare("driver", "mock", f"Hardware driver: {names}, or package.module:Class; an @address may follow.")
        self.declare("socket_path", "", "Socket of the simulator, for the driver sim.")
        self.declare("rate", CONTROL_RATE, "Rate of the control loop [Hz].", 10.0, 1000.0)
        self.declare("state_rate", STATE_RATE, "Rate of published measurements [Hz], at most ``rate``.", 5.0, 1000.0)
        self.declare("hold_after", HOLD_AFTER, "Time without a command after which the measured pose is held [s].", 0.02, 2.0)
        self.declare("max_command_age", MAX_COMMAND_AGE, "Commands with a stamp further from now are refused [s].", 0.1, 10.0)
        self.driver: Driver | None = None
        self.controller: JointController | None = None
        self.connected = False

    @abstractmethod
    def make_controller(self) -> tuple[JointController, np.ndarray]:
        """Controller of the driven joints, and the pose (n,) in which a driver without hardware starts [rad or m]."""

    def flange(self) -> tuple[str, Callable[[np.ndarray], np.ndarray]] | None:
        """``flange`` of the driver's setup."""
        return None

    @abstractmethod
    def subscribe_commands(self) -> list[Subscription]:
        """Subscribe to ``command_topics``, in their order."""

    def subscribe_trajectories(self, topic: str) -> Subscription:
        """Follow joint commands of a topic."""
        usual = command_template(self.names).read, self.on_position
        return self.subscribe(JointTrajectory, topic, self.on_trajectory, qos.COMMANDS, usual=usual)

    def publish_measurement(self, reading: JointReading) -> None:
        """Publish what follows from a measurement besides ``joint_states``."""

    def configure(self) -> None:
        if self.simulated_time and not is_simulated(self.value("driver")):
            raise ModeError(
                f"parameter use_sim_time: driver {self.value('driver')} moves hardware, which has no simulation time; "
                "expected false, got true. Set use_sim_time of this node to false, or use driver sim or mock"
            )
        self.embodiment = load_embodiment(self.value("embodiment"))
        self.rate = self.value("rate")
        self.poll_period = 1.0 / self.rate  # a command moves the robot in the next cycle, which reads the newest one first
        self.controller, start = self.make_controller()
        self.names = self.controller.names
        limits = {"lower": self.controller.guard.lower, "upper": self.controller.guard.upper}
        more = {"flange": self.flange(), "clock": self.now}
        setup = DriverSetup(self.names, start, self.channel, self.value("socket_path"), **limits, **more)
        self._simulator, self._grace_until = self.value("driver").partition("@")[0] == "sim", 0.0
        self.driver = make_driver(self.value("driver"), setup)
        self.reading: JointReading | None = None
        self._observed = 0.0  # stamp of the observation behind the newest command [s]
        self._sent, self._sent_time = None, 0.0
        self._cycle_time, self._retry = 0.0, 0.0
        self._states_per_cycle, self._states_due = min(1.0, self.value("state_rate") / self.rate), 1.0
        self._max_age = self.value("max_command_age")
        self.meter, self.latency = RateMeter(), Percentiles()
        self._states = self.publisher(JointState, "joint_states", qos.STATES)
        self._state = joint_state_template(self.names)
        commands = SourceMonitor(self, self.command_topics, 1, self.subscribe_commands())
        self._monitors = commands, SourceMonitor(self, ("joint_states",), STATE_SOURCES)
        self.conflict = ""

    def activate(self) -> None:
        self.controller.reset(self._control_time())
        self._grace_until = time.monotonic() + SIMULATOR_START
        self._connect()

    def deactivate(self) -> None:
        """Bring the robot to rest where it is, then close the connection."""
        try:
            if self.connected:
                self.controller.hold("inactive")
                end = time.monotonic() + (0.0 if self.simulated_time else STOP_TIME)  # simulated time stands still meanwhile
                while True:
                    self._read()
                    self._cycle()
                    if self.controller.guard.at_rest or time.monotonic() >= end:
                        break
                    time.sleep(1.0 / self.rate)
        except Exception as error:
            self._disconnect(error)
        finally:
            self.cleanup()

    def cleanup(self) -> None:
        if self.driver is not None:
            self.driver.close()
        self.connected = False

    @property
    def accepts_commands(self) -> bool:
        """Whether commands count now; others are ignored."""
        return self.active and self.connected and not self.conflict

    def age(self, stamp: float) -> float:
        """Time since the stamp of a command, that of the observation that it answers [s]; 0 without a stamp."""
        return self.now() - stamp if stamp else 0.0

    def note_latency(self, stamp: float) -> None:
        """Note the latency of an accepted command, if it is the first that answers its observation."""
        if stamp != self._observed:
            self._observed = stamp
            if (age := self.now() - stamp) > 0.0:
                self.latency.add(age)

    def on_trajectory(self, message: JointTrajectory) -> None:
        """Follow a joint command along the times of its points; without points, hold the measured pose."""
        points = [point.positions for point in message.points] or None
        reach_in = [to_seconds(point.time_from_start) for point in message.points]
        self._follow(to_seconds(message.header.stamp), message.joint_names, points, reach_in)

    def on_position(self, stamp: float, reach_in: float, position: np.ndarray) -> None:
        """As :meth:`on_trajectory`, with the values of a message of one point that has the joints ``names``."""
        self._follow(stamp, self.names, [position], [reach_in])

    def _follow(self, stamp: float, names: Sequence[str], points: Sequence[Any] | None, reach_in: Sequence[float]) -> None:
        if not self.accepts_commands:
            return
        age = self.age(stamp)
        if self.controller.set_command(names, points, age, [seconds - age for seconds in reach_in]) and points is not None:
            self.note_latency(stamp)

    def tick(self, now: float) -> None:
        if not self.connected and not self._connect():
            return
        self._check_sources()
        try:
            self._read()
            self._cycle()
        except Exception as error:
            self._disconnect(error)
            return
        self.meter.tick(time.monotonic())
        self._states_due += self._states_per_cycle
        if self._states_due >= 1.0:
            self._states_due %= 1.0
            reading = self.reading
            self._states.publish(self._state.serialise(reading.stamp, reading.position, reading.velocity))
            self.publish_measurement(reading)

    def _check_sources(self) -> None:
        """Hold the measured pose while more than one node commands the joints or publishes their measurements."""
        found = "; ".join(filter(None, [monitor.update(time.monotonic()) for monitor in self._monitors]))
        if found and found != self.conflict:
            self.controller.hold(found, fault=True)
        self.conflict = found

    def _read(self) -> None:
        reading = self.driver.read()
        if not isinstance(reading, JointReading):
            raise HardwareError(f"driver: read() returned {type(reading).__name__}, expected JointReading (drivers/base.py)")
        self.reading = reading
        if abs(age := self.now() - reading.stamp) > self._max_age:
            detail = f"{age:.3f} s before this machine's clock, expected at most {self._max_age:g} s apart"
            self.count("measurement stamp implausible", detail)

    def _cycle(self) -> None:
        """Run the controller once, and write its set point unless the same one was written shortly before."""
        now = self._control_time()
        if now < self._cycle_time:  # the simulation was started again
            self.controller.reset(now)
        self._cycle_time = now
        position = self.controller.cycle(self.reading.position, self.reading.stamp, now).position
        if position is None:
            return
        if self._sent is None or now - self._sent_time >= REPEAT_PERIOD or not np.array_equal(position, self._sent):
            self.driver.write(position)
            self._sent, self._sent_time = position, now

    def _control_time(self) -> float:
        """Time of the control loop [s]: a steady clock, or simulation time, such that limits hold per simulated second."""
        return self.now() if self.simulated_time else time.monotonic()

    def _connect(self) -> bool:
        if time.monotonic() < self._retry:
            return False
        self._retry = time.monotonic() + RECONNECT_PERIOD
        try:
            self.driver.connect()
        except Exception as error:
            self._disconnect(error)
            return False
        self.connected, self._sent, self._grace_until = True, None, 0.0
        self.controller.reset(self._control_time())
        self.get_logger().info(f"driver {self.value('driver')}: connected, {len(self.names)} joints")
        return True

    def _disconnect(self, error: Exception) -> None:
        """Treat any error of a driver as lost hardware: forget all commands, and connect again later."""
        self.connected = False
        self.controller.reset(self._control_time())
        starting = self._simulator and time.monotonic() < self._grace_until
        self.count("hardware", describe_error(error), log=not starting)

    def status(self) -> tuple[bytes, str, dict[str, str]]:
        if not self.active:
            return OK, "inactive", {}
        if not self.connected:
            return ERROR, "no hardware", {}
        rate, reason = self.meter.rate(time.monotonic()), self.controller.output.reason
        values = {"rate_hz": f"{rate:.1f}", "camera_to_command": self.latency.text_ms(), "holding": reason}
        if reason:
            return (OK if reason == NO_COMMAND else WARN), f"holding: {reason}", values
        if 0.0 < rate < MIN_RATE * self.rate:
            return WARN, f"control loop at {rate:.0f} Hz, expected {self.rate:g} Hz: the driver's read or write is slow", values
        return OK, "following commands", values


class EndEffectorDriver(DriverNode):
    """Driver node of a hand or gripper: follows ``hand_command`` or ``gripper_command`` (joints by name).

    Args:
        command: ``hand`` or ``gripper``; the embodiment must take that kind of command.
    """

    channel = "hand"

    def __init__(self, command: str, **node_options: Any) -> None:
        super().__init__(f"{command}_driver", **node_options)
        self.command = command
        self.command_topics = (f"{command}_command",)

    def make_controller(self) -> tuple[JointController, np.ndarray]:
        e = self.embodiment
        if e.command != self.command:
            raise LatentPolicyError(f"{self.get_name()}: parameter embodiment: expected a {self.command}, got {e.name}, a {e.kind}")
        guard = CommandGuard.of(e, self.value("hold_after"))
        return JointController(guard, self.value("max_command_age"), self.count), e.rest

    def subscribe_commands(self) -> list[Subscription]:
        return [self.subscribe_trajectories(self.command_topics[0])]
