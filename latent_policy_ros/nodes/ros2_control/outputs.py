"""Command interfaces of ros2_control controllers: how a set point reaches each kind of controller."""

from __future__ import annotations

import time
from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from control_msgs.action import GripperCommand, ParallelGripperCommand
from geometry_msgs.msg import PoseStamped
from rclpy.action import ActionClient
from rclpy.node import Node
from std_msgs.msg import Float64MultiArray
from trajectory_msgs.msg import JointTrajectory

from latent_policy_ros.common.errors import HardwareError
from latent_policy_ros.nodes.topics import message_conversion, qos

REACH_IN = 0.03  # s in which a joint_trajectory_controller is to reach a set point: three periods of the driver
GOAL_PERIOD = 0.1  # s, the shortest between two goals of an action
GOAL_CHANGE = 0.01  # share of a gripper's range, below which no new goal is sent


class Output(ABC):
    """Sends set points to one controller.

    Args:
        node: Node that publishes.
        controller: Name of the controller, or of the topic.
        names: The n joints, as the hardware names them.
    """

    parameter = "joints"  # of the controller: the joints that it commands; empty if it has none

    def __init__(self, node: Node, controller: str, names: Sequence[str]) -> None:
        self.node, self.controller, self.names = node, controller, list(names)
        self.order = np.arange(len(self.names))

    @abstractmethod
    def listeners(self) -> int:
        """Number of controllers that receive the commands."""

    @abstractmethod
    def send(self, position: np.ndarray) -> None:
        """Send a set point (n,) [rad or m]."""

    @property
    @abstractmethod
    def place(self) -> str:
        """Topic or action, for error messages."""

    def arrange(self, joints: Sequence[str]) -> None:
        """Note the order of the controller's own joints; they are the same joints."""
        self.order = np.array([self.names.index(name) for name in joints])


class TopicOutput(Output):
    """An output that publishes messages."""

    msg_type: type
    topic = ""  # below the name of the controller

    def __init__(self, node: Node, controller: str, names: Sequence[str]) -> None:
        super().__init__(node, controller, names)
        self._publisher = node.create_publisher(self.msg_type, self.place, qos.COMMANDS)

    @property
    def place(self) -> str:
        return f"{self.controller}/{self.topic}" if self.topic else self.controller

    def listeners(self) -> int:
        return self._publisher.get_subscription_count()


class TrajectoryOutput(TopicOutput):
    """``joint_trajectory_controller``: a trajectory of one point, which begins at once."""

    msg_type, topic = JointTrajectory, "joint_trajectory"

    def send(self, position: np.ndarray) -> None:
        self._publisher.publish(message_conversion.command(0.0, REACH_IN, self.names, position))


class PositionsOutput(TopicOutput):
    """Forward position controllers: positions in the order of the controller's joints."""

    msg_type, topic = Float64MultiArray, "commands"

    def send(self, position: np.ndarray) -> None:
        self._publisher.publish(Float64MultiArray(data=message_conversion.doubles(position[self.order])))


class PoseOutput(TopicOutput):
    """Cartesian controllers, e.g. crisp's ``target_pose``: the pose of the flange at the set point.

    Args:
        frame: The arm's base, frame of the poses.
        flange: Pose (7,) of the flange for joints (n,).
    """

    msg_type, parameter = PoseStamped, ""

    def __init__(
        self, node: Node, controller: str, names: Sequence[str], frame: str, flange: Callable[[np.ndarray], np.ndarray]
    ) -> None:
        super().__init__(node, controller, names)
        self._frame, self._flange = frame, flange

    def send(self, position: np.ndarray) -> None:
        self._publisher.publish(message_conversion.pose_stamped(time.time(), self._frame, self._flange(position)))


class ActionOutput(Output):
    """Actions of grippers: a new goal replaces the one before; goals are sent when the set point has changed enough.

    Args:
        span: Range of the joint [rad or m].
        effort: Largest effort [N or N m]; 0: that of the controller.
    """

    action_type: Any
    parameter = "joint"

    def __init__(self, node: Node, controller: str, names: Sequence[str], span: float, effort: float) -> None:
        super().__init__(node, controller, names)
        self._client = ActionClient(node, self.action_type, self.place)
        self._effort, self._change = effort, GOAL_CHANGE * span
        self._sent, self._sent_time, self._answer = np.nan, 0.0, None  # type: float, float, Any

    @property
    def place(self) -> str:
        return f"{self.controller}/gripper_cmd"

    def listeners(self) -> int:
        return int(self._client.server_is_ready())

    def send(self, position: np.ndarray) -> None:
        now, value = time.monotonic(), float(position[0])
        if self._answer is not None and self._answer.done() and not self._answer.result().accepted:
            self._answer = None
            raise HardwareError(f"{self.place}: the controller refused a goal; is it active?")
        if now - self._sent_time < GOAL_PERIOD or abs(value - self._sent) < self._change:
            return
        if self._answer is None or self._answer.done():
            self._answer = self._client.send_goal_async(self._goal(value))
            self._sent, self._sent_time = value, now

    @abstractmethod
    def _goal(self, value: float) -> Any:
        """Goal for a position of the joint."""


class GripperOutput(ActionOutput):
    """``GripperCommand`` of ``gripper_controllers``."""

    action_type = GripperCommand

    def _goal(self, value: float) -> GripperCommand.Goal:
        goal = GripperCommand.Goal()
        goal.command.position, goal.command.max_effort = value, self._effort
        return goal


class ParallelGripperOutput(ActionOutput):
    """``ParallelGripperCommand`` of ``parallel_gripper_controller``."""

    action_type = ParallelGripperCommand

    def _goal(self, value: float) -> ParallelGripperCommand.Goal:
        goal = ParallelGripperCommand.Goal()
        goal.command.name, goal.command.position = self.names, message_conversion.doubles([value])
        if self._effort:
            goal.command.effort = message_conversion.doubles([self._effort])
        return goal
