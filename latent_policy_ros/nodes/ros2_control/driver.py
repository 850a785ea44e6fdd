"""Driver ``ros2_control``: joints whose controllers run under ros2_control, or another node with the same topics."""

from __future__ import annotations

import itertools
import os
import re
import threading
import time
from collections.abc import Callable
from typing import Any

import numpy as np
import rclpy
from rcl_interfaces.srv import GetParameters
from rclpy.context import Context
from rclpy.node import Node
from rclpy.signals import SignalHandlerOptions
from sensor_msgs.msg import JointState
from std_msgs.msg import String

from latent_policy_ros.common.errors import HardwareError, available
from latent_policy_ros.drivers.base import DriverSetup, JointReading, checked_command
from latent_policy_ros.drivers.bus.serial_port import split_address
from latent_policy_ros.drivers.bus.threaded import Differentiator
from latent_policy_ros.drivers.bus.urdf_ranges import UNLIMITED, joint_ranges
from latent_policy_ros.nodes.base import ros_context
from latent_policy_ros.nodes.ros2_control.outputs import (
    GripperOutput,
    Output,
    ParallelGripperOutput,
    PoseOutput,
    PositionsOutput,
    TrajectoryOutput,
)
from latent_policy_ros.nodes.topics import qos
from latent_policy_ros.observations.messages import to_seconds

KINDS = ("trajectory", "positions", "gripper", "parallel_gripper", "target_pose")
OPTIONS = {"type": KINDS[0], "joint_states": "/joint_states", "names": "", "prefix": "", "lower": "", "upper": "", "effort": "0"}
CONNECT_TIMEOUT = 1.0  # s to find the controller and the joint states
ANSWER_TIMEOUT = 0.5  # s for the controller to name its joints
DESCRIPTION = "/robot_description"  # topic of the URDF
NO_STATES = 0.5  # s without joint states after which the hardware counts as lost
MAX_STAMP_AGE = 1.0  # s: stamps further from this machine's clock are those of another clock, and are replaced
_count = itertools.count()


class Ros2ControlDriver:
    """Arms, hands and grippers under ros2_control, and Cartesian controllers such as crisp's.

    The address is the name of the controller, e.g. ``/joint_trajectory_controller``; options may follow after ``?``:

    - ``type``: ``trajectory`` (joint_trajectory_controller, default), ``positions`` (forward position controllers), ``gripper``
      (GripperCommand), ``parallel_gripper`` (ParallelGripperCommand), or ``target_pose``; the address is then that topic.
    - ``joint_states``: topic of the measured joints, which may have more joints. Default ``/joint_states``.
    - ``prefix``, or ``names`` separated by commas in the order of the joints: names of the joints in ROS.
    - ``lower``, ``upper``: values of a single joint in ROS at its lower and upper limit, where they differ from its position.
    - ``effort``: largest effort of the actions [N or N m].

    Raises:
        HardwareError: A mistake in the address.
    """

    module, extra = "rclpy", ""

    def __init__(self, setup: DriverSetup) -> None:
        self._controller, options = split_address("ros2_control", setup.address, OPTIONS)
        self._setup, self._names = setup, tuple(setup.joint_names)
        self._kind, self._topic = str(options["type"]), str(options["joint_states"])
        self.label = f"ros2_control at {self._controller}"
        if self._kind not in KINDS:
            raise self._mistake(f"type: got {self._kind!r}; {available(KINDS)}")
        names = str(options["names"]).split(",") if options["names"] else [f"{options['prefix']}{name}" for name in self._names]
        if len(names) != len(self._names):
            raise self._mistake(f"names: expected {len(self._names)} for {', '.join(self._names)}; got {', '.join(names)}")
        for topic in (self._controller, self._topic):
            if not re.fullmatch(r"/?[A-Za-z_]\w*(/[A-Za-z_]\w*)*", topic):
                raise self._mistake(f"got {topic!r}, expected a ROS name")
        self._ros_names = tuple(names)
        self._scale, self._offset = self._value_map(str(options["lower"]), str(options["upper"]))
        self._effort = self._number("effort", str(options["effort"]))
        if "gripper" in self._kind and len(self._names) != 1:
            raise self._mistake(f"type {self._kind}: expected one joint, got {', '.join(self._names)}")
        if self._kind == "target_pose" and setup.flange is None:
            raise self._mistake("type target_pose: for arms only")
        self._link: _Link | None = None

    @classmethod
    def create(cls, setup: DriverSetup) -> Ros2ControlDriver:
        return cls(setup)

    @property
    def joint_names(self) -> tuple[str, ...]:
        return self._names

    def connect(self) -> None:
        self.close()
        link = _Link(self._ros_names, self._topic, self._make_output)
        try:
            self._check(link)
        except BaseException:
            link.close()
            raise
        self._link = link

    def read(self) -> JointReading:
        reading = self._connected().reading
        if reading is None or time.time() - reading.stamp > NO_STATES:
            raise HardwareError(self._no_states(self._connected()))
        return JointReading(reading.stamp, (reading.position - self._offset) / self._scale, reading.velocity / self._scale)

    def write(self, position: np.ndarray) -> np.ndarray:
        position = checked_command(self._names, position)
        output = self._connected().output
        if not output.listeners():
            raise HardwareError(f"{self.label}: no controller receives {output.place}; start and activate it")
        output.send(self._scale * position + self._offset)
        return position.copy()

    def hardware_range(self) -> np.ndarray:
        """Position limits (n, 2) in ``/robot_description`` [rad or m]; infinite where it has none. Waits for that topic."""
        found = joint_ranges(self.label, self._connected().description(CONNECT_TIMEOUT))
        limits = np.array([found.get(name, UNLIMITED) for name in self._ros_names])
        return np.sort((limits - self._offset) / self._scale, axis=1)

    def close(self) -> None:
        link, self._link = self._link, None
        if link is not None:
            link.close()

    def _make_output(self, node: Node) -> Output:
        if self._kind == "target_pose":
            assert self._setup.flange is not None
            return PoseOutput(node, self._controller, self._ros_names, *self._setup.flange)
        if self._kind in ("gripper", "parallel_gripper"):
            span = float(np.abs(self._scale * (self._setup.upper - self._setup.lower))[0]) if self._setup.lower.size else 1.0
            make = GripperOutput if self._kind == "gripper" else ParallelGripperOutput
            return make(node, self._controller, self._ros_names, span, self._effort)
        return {"trajectory": TrajectoryOutput, "positions": PositionsOutput}[self._kind](node, self._controller, self._ros_names)

    def _check(self, link: _Link) -> None:
        """Wait for the controller and the joint states, and compare the controller's joints.

        Raises:
            HardwareError: With one line for each finding.
        """
        until = time.monotonic() + CONNECT_TIMEOUT
        while (link.reading is None or not link.output.listeners()) and time.monotonic() < until:
            time.sleep(0.01)
        problems = [] if link.reading is not None else [self._no_states(link)]
        if not link.output.listeners():
            problems.append(f"{self.label}: no controller receives {link.output.place}; start and activate it")
        elif link.output.parameter:
            joints = link.controller_joints(self._controller, link.output.parameter)
            if joints and sorted(joints) != sorted(self._ros_names):
                expected = ", ".join(self._ros_names)
                problems.append(f"{self.label}: expected a controller of the joints {expected}; got {', '.join(joints)}")
            elif joints:
                link.output.arrange(joints)
            elif self._kind == "positions":
                why = "its parameter joints gives the order of the positions"
                problems.append(f"{self.label}: the controller's node does not answer; {why}")
        if problems:
            raise HardwareError("\n".join(problems))

    def _no_states(self, link: _Link) -> str:
        missing = [name for name in self._ros_names if name not in link.heard]
        if not link.heard:
            return f"{self.label}: no message on {self._topic}; is joint_state_broadcaster active?"
        if missing:
            return f"{self.label}: {self._topic}: missing joints {', '.join(missing)}; {available(sorted(link.heard))}"
        return f"{self.label}: no joint states on {self._topic} for {NO_STATES:g} s"

    def _connected(self) -> _Link:
        if self._link is None:
            raise HardwareError(f"{self.label}: not connected; call connect() first")
        return self._link

    def _value_map(self, lower: str, upper: str) -> tuple[float, float]:
        """Scale and offset from positions of the joints to values in ROS."""
        if not lower and not upper:
            return 1.0, 0.0
        ends = self._number("lower", lower), self._number("upper", upper)
        if len(self._names) != 1 or len(self._setup.lower) != 1 or ends[0] == ends[1]:
            raise self._mistake("lower and upper: expected two different values, for a single joint with limits")
        low, high = float(self._setup.lower[0]), float(self._setup.upper[0])
        scale = (ends[1] - ends[0]) / (high - low)
        return scale, ends[0] - scale * low

    def _number(self, name: str, text: str) -> float:
        try:
            value = float(text)
        except ValueError as error:
            raise self._mistake(f"{name}: expected a number, got {text!r}") from error
        if not np.isfinite(value):
            raise self._mistake(f"{name}: expected a finite number, got {text!r}")
        return value

    def _mistake(self, message: str) -> HardwareError:
        return HardwareError(f"driver ros2_control@{self._setup.address}: {message}")


class _Link:
    """A ROS node of its own, spun by a thread: it receives joint states and has the output.

    Args:
        names: The n joints in ROS.
        topic: Topic of the joint states.
        make_output: Makes the output of a node.

    Attributes:
        reading: Newest measurement, in the values of ROS; None before the first one.
        heard: Names of all joints in messages so far.
    """

    def __init__(self, names: tuple[str, ...], topic: str, make_output: Callable[[Node], Output]) -> None:
        self.reading: JointReading | None = None
        self.heard: set[str] = set()
        self._description, self._described = "", threading.Event()
        self._names, self._differentiator = names, Differentiator()
        self._context = Context()  # the process may have another one, whose arguments would rename this node
        ros_context.init(images=False, context=self._context, signal_handler_options=SignalHandlerOptions.NO)
        self._node = rclpy.create_node(
            f"ros2_control_driver_{os.getpid()}_{next(_count)}", context=self._context, start_parameter_services=False,
            use_global_arguments=False,
        )  # fmt: skip
        self.output = make_output(self._node)
        self._node.create_subscription(JointState, topic, self._on_states, qos.STATES)
        self._node.create_subscription(String, DESCRIPTION, self._on_description, qos.LATCHED)
        self._executor = ros_context.Executor(context=self._context)
        self._executor.add_node(self._node)
        self._running = True
        self._thread = threading.Thread(target=self._spin, name="ros2_control", daemon=True)
        self._thread.start()

    def description(self, timeout: float) -> str:
        """URDF of the robot; empty if none was received within ``timeout`` [s]."""
        self._described.wait(timeout)
        return self._description

    def controller_joints(self, controller: str, parameter: str) -> list[str]:
        """Joints in the parameter ``parameter`` of the controller; empty without an answer."""
        client = self._node.create_client(GetParameters, f"{controller}/get_parameters")
        answered = threading.Event()
        try:
            if not client.wait_for_service(ANSWER_TIMEOUT):
                return []
            future = client.call_async(GetParameters.Request(names=[parameter]))
            future.add_done_callback(lambda _: answered.set())
            if not answered.wait(ANSWER_TIMEOUT) or not (values := future.result().values):
                return []
            return list(values[0].string_array_value) or ([values[0].string_value] if values[0].string_value else [])
        finally:
            self._node.destroy_client(client)

    def close(self) -> None:
        if not self._running:
            return
        self._running = False
        self._thread.join(2.0)
        self._executor.shutdown()
        self._node.destroy_node()
        self._context.try_shutdown()

    def _spin(self) -> None:
        while self._running:
            self._executor.spin_once(timeout_sec=0.05)

    def _on_description(self, message: String) -> None:
        self._description = message.data
        self._described.set()

    def _on_states(self, message: JointState) -> None:
        self.heard.update(message.name)
        index = {name: k for k, name in enumerate(message.name)}
        if not all(name in index for name in self._names) or len(message.position) != len(message.name):
            return  # a state of other joints
        order = [index[name] for name in self._names]
        position = np.array(message.position)[order]
        if not np.isfinite(position).all():
            return
        now, stamp = time.time(), to_seconds(message.header.stamp)
        stamp = stamp if abs(now - stamp) < MAX_STAMP_AGE else now
        reading = self._differentiator.reading(position)
        velocity: Any = reading.velocity
        if len(message.velocity) == len(message.name):
            velocity = np.nan_to_num(np.array(message.velocity)[order])
        self.reading = JointReading(stamp, position, velocity)
