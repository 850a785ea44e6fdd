"""Controllers as those of ros2_control, in a process of their own: the same topics, actions and parameters.

The argument is JSON:

    controllers: list of {kind, name, joints}
    broadcast: whether to publish /joint_states
    start: positions of the joints by name; they are at once where they are commanded
    socket, channels: instead of start, the simulator's socket and {channel: joints}
    limits: {joint: [lower, upper]} for /robot_description
    tf: {arm, embodiment, frame}: publish the chain from the base to the flange and to the hand's frame
"""

import json
import signal
import sys
import time

import numpy as np
import rclpy
from control_msgs.action import GripperCommand, ParallelGripperCommand
from geometry_msgs.msg import TransformStamped
from rclpy.action import ActionServer
from rclpy.action.server import CancelResponse
from sensor_msgs.msg import JointState
from std_msgs.msg import Float64MultiArray, String
from tf2_msgs.msg import TFMessage
from trajectory_msgs.msg import JointTrajectory

from latent_policy_ros.common.errors import HardwareError
from latent_policy_ros.control.arm_description import load_arm
from latent_policy_ros.control.arm_kinematics import ArmKinematics, se3_to_pose
from latent_policy_ros.drivers.simulated.simulator import SimDriver
from latent_policy_ros.embodiments import load_embodiment
from latent_policy_ros.nodes.base import ros_context
from latent_policy_ros.nodes.topics import message_conversion, qos

PERIOD = 0.01  # s
REACHED = 0.02  # share of a gripper's range
STALLED = 0.3  # s without motion
START_TIMEOUT = 120.0  # s for the simulator to start
TOLERANCE = 0.3  # rad between set point and joint, beyond which a trajectory is aborted


class IdealJoints:
    """Joints that are where they are commanded."""

    def __init__(self, start):
        self.position = dict(start)

    def read(self):
        return dict(self.position), time.time()

    def write(self, positions):
        self.position.update(positions)


class SimulatedJoints:
    """Joints of the simulator, over its socket."""

    def __init__(self, socket, channels):
        self._drivers = [SimDriver(socket, channel, joints) for channel, joints in channels.items()]
        until = time.monotonic() + START_TIMEOUT
        for driver in self._drivers:
            while True:
                try:
                    driver.connect()
                    driver.read()
                    break
                except HardwareError:
                    if time.monotonic() > until:
                        raise
                    time.sleep(0.2)

    def read(self):
        readings = [(driver, driver.read()) for driver in self._drivers]
        found = {name: float(q) for driver, reading in readings for name, q in zip(driver.joint_names, reading.position)}
        return found, min(reading.stamp for _, reading in readings)

    def write(self, positions):
        for driver in self._drivers:
            if all(name in positions for name in driver.joint_names):
                driver.write(np.array([positions[name] for name in driver.joint_names]))


class Controller:
    """A controller with its own node, whose parameter names its joints."""

    def __init__(self, name, joints, backend, parameter="joints"):
        self.node, self.joints, self.backend = rclpy.create_node(name), list(joints), backend
        self.node.declare_parameter(parameter, self.joints if parameter == "joints" else self.joints[0])

    def tick(self):
        """One cycle of the controller manager."""


class Trajectories(Controller):
    """joint_trajectory_controller: follows points from its last set point on, linearly in time."""

    def __init__(self, name, joints, backend):
        super().__init__(name, joints, backend)
        self.node.create_subscription(JointTrajectory, f"{name}/joint_trajectory", self._on_trajectory, qos.COMMANDS)
        self._desired, self._path = None, None

    def _on_trajectory(self, message):
        if sorted(message.joint_names) != sorted(self.joints) or not message.points:
            return
        if self._desired is None:
            self._desired = np.array([self.backend.read()[0][name] for name in self.joints])
        order = [message.joint_names.index(name) for name in self.joints]
        times = [p.time_from_start.sec + 1e-9 * p.time_from_start.nanosec for p in message.points]
        points = np.array([np.array(p.positions)[order] for p in message.points])
        self._path = time.monotonic(), [0.0, *times], np.vstack([self._desired, points])

    def tick(self):
        if self._path is None:
            return
        measured = np.array([self.backend.read()[0][name] for name in self.joints])
        if np.abs(self._desired - measured).max() > TOLERANCE:  # e.g. a simulation that was reset
            self._desired = self._path = None
            return
        began, times, points = self._path
        elapsed = time.monotonic() - began + PERIOD
        self._desired = np.array([np.interp(elapsed, times, column) for column in points.T])
        self.backend.write(dict(zip(self.joints, self._desired)))


class Positions(Controller):
    """forward_command_controller of positions."""

    def __init__(self, name, joints, backend):
        super().__init__(name, joints, backend)
        self.node.create_subscription(Float64MultiArray, f"{name}/commands", self._on_positions, qos.COMMANDS)

    def _on_positions(self, message):
        if len(message.data) == len(self.joints):
            self.backend.write(dict(zip(self.joints, message.data)))


class Gripper(Controller):
    """GripperActionController and parallel_gripper_controller: a goal ends when it is reached, stalled or replaced."""

    def __init__(self, name, joints, backend, action=GripperCommand):
        super().__init__(name, joints, backend, "joint")
        self._action, self._goal, self._target, self._last, self._moved = action, None, 0.0, np.nan, 0.0
        self._server = ActionServer(
            self.node, action, f"{name}/gripper_cmd", self._execute, handle_accepted_callback=self._accept,
            cancel_callback=lambda goal: CancelResponse.ACCEPT,
        )  # fmt: skip

    def _accept(self, goal):
        if self._goal is not None:
            self._finish()  # replaced
        command = goal.request.command
        self._target = command.position if self._action is GripperCommand else command.position[0]
        self._goal, self._moved = goal, time.monotonic()
        self.backend.write({self.joints[0]: self._target})

    def _finish(self):
        goal, self._goal = self._goal, None
        goal.execute()

    def _execute(self, goal):
        result, position = self._action.Result(), self.backend.read()[0][self.joints[0]]
        result.reached_goal = bool(abs(position - self._target) < REACHED)
        result.stalled = not result.reached_goal
        goal.succeed()
        return result

    def tick(self):
        if self._goal is None:
            return
        position = self.backend.read()[0][self.joints[0]]
        if not abs(position - self._last) < 1e-4:
            self._last, self._moved = position, time.monotonic()
        if abs(position - self._target) < 1e-3 or time.monotonic() - self._moved > STALLED:
            self._finish()


KINDS = {
    "trajectory": Trajectories,
    "positions": Positions,
    "gripper": Gripper,
    "parallel_gripper": lambda *args: Gripper(*args, action=ParallelGripperCommand),
}


class Broadcaster:
    """joint_state_broadcaster of all joints, and robot_state_publisher of an arm."""

    def __init__(self, backend, tf, limits):
        self.node, self.backend = rclpy.create_node("joint_state_broadcaster"), backend
        self._states = self.node.create_publisher(JointState, "/joint_states", qos.STATES)
        if limits:
            joint = '<joint name="{}" type="revolute"><limit lower="{}" upper="{}"/></joint>'
            text = "".join(joint.format(name, *ends) for name, ends in limits.items())
            self._description = self.node.create_publisher(String, "/robot_description", qos.LATCHED)
            self._description.publish(String(data=f'<robot name="cell">{text}</robot>'))
        self._arm = None
        if tf:
            self._arm, self._frame = ArmKinematics(load_embodiment(tf["embodiment"]), load_arm(tf["arm"])), tf["frame"]
            self._transforms = self.node.create_publisher(TFMessage, "/tf", 10)
            self._static = self.node.create_publisher(TFMessage, "/tf_static", qos.LATCHED)
            hand = transform(0.0, "flange", self._frame, se3_to_pose(self._arm.T_flange_hand))
            self._static.publish(TFMessage(transforms=[hand]))

    def tick(self):
        positions, stamp = self.backend.read()
        message = JointState(name=list(positions), position=message_conversion.doubles(list(positions.values())))
        message.header.stamp = message_conversion.to_stamp(stamp)
        self._states.publish(message)
        if self._arm:
            pose = self._arm.flange_pose(np.array([positions[name] for name in self._arm.joint_names]))
            self._transforms.publish(TFMessage(transforms=[transform(stamp, self._arm.base, "flange", pose)]))


def transform(stamp, parent, child, values):
    """(7,) as a transform."""
    message, pose = TransformStamped(child_frame_id=child), message_conversion.to_pose(values)
    message.header.stamp, message.header.frame_id = message_conversion.to_stamp(stamp), parent
    p = message.transform.translation
    p.x, p.y, p.z = pose.position.x, pose.position.y, pose.position.z
    message.transform.rotation = pose.orientation
    return message


def main():
    options, running = json.loads(sys.argv[1]), [True]
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda *_: running.clear())
    ros_context.init(images=False)
    backend = SimulatedJoints(options["socket"], options["channels"]) if "socket" in options else IdealJoints(options["start"])
    parts = [KINDS[c["kind"]](c["name"], c["joints"], backend) for c in options.get("controllers", [])]
    if options.get("broadcast"):
        parts.append(Broadcaster(backend, options.get("tf"), options.get("limits")))
    executor = ros_context.Executor()
    for part in parts:
        executor.add_node(part.node)
    print("ready", flush=True)
    due = time.monotonic()
    while running:
        while (left := due - time.monotonic()) > 0:
            executor.spin_once(timeout_sec=left)
        try:
            for part in parts:
                part.tick()
        except HardwareError:  # the simulator has ended
            break
        due = max(due + PERIOD, time.monotonic() - PERIOD)
    ros_context.shutdown()


if __name__ == "__main__":
    main()
