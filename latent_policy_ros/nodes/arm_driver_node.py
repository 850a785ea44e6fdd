"""Node ``arm_driver``: drives an arm from wrist pose or joint commands."""

from __future__ import annotations

import sys
from collections.abc import Callable
from typing import Any

import numpy as np
from geometry_msgs.msg import PoseStamped
from rclpy.subscription import Subscription

from latent_policy_ros.common.errors import ObservationRefused
from latent_policy_ros.control.arm_controller import ANYWHERE, ArmController, Workspace
from latent_policy_ros.control.arm_description import PANDA, load_arm
from latent_policy_ros.control.arm_kinematics import ArmKinematics
from latent_policy_ros.drivers.base import JointReading
from latent_policy_ros.nodes.base.driver_node import DriverNode
from latent_policy_ros.nodes.base.main_loop import run_node
from latent_policy_ros.nodes.topics import message_conversion, qos
from latent_policy_ros.nodes.topics.message_template import pose_stamped_template
from latent_policy_ros.observations.messages import pose_array, to_seconds
from latent_policy_ros.observations.transforms import TransformChain


class ArmDriver(DriverNode):
    """Driver node of an arm.

    Subscribes to ``wrist_command``, a pose of the hand frame in the arm's base frame, and to ``arm_command``, joints by
    name. Publishes the measured ``wrist_pose``: by forward kinematics, or that of ``wrist_frame`` in tf.
    """

    command_topics = "wrist_command", "arm_command"
    channel = "arm"
    controller: ArmController | None

    def __init__(self, **node_options: Any) -> None:
        super().__init__("arm_driver", **node_options)
        self.declare("arm", PANDA, "Arm: a name under config/arms, or a YAML file.")
        self.declare("base_frame", "", "Frame of wrist poses; ~/ stands for the node's namespace; empty: the arm's base link.")
        self.declare("wrist_frame", "", "Frame in tf whose pose is the measured wrist pose; empty: computed from the joints.")
        self.declare("workspace", list(ANYWHERE), "Bounds of the wrist in the base frame: lowest and highest x, y, z [m].")

    def make_controller(self) -> tuple[ArmController, np.ndarray]:
        kinematics = ArmKinematics(self.embodiment, load_arm(self.value("arm")))
        controller = ArmController(
            kinematics, self.frame(self.value("base_frame")), Workspace(tuple(self.value("workspace"))),
            self.value("hold_after"), self.value("max_command_age"), self.count,
        )  # fmt: skip
        return controller, kinematics.home

    def flange(self) -> tuple[str, Callable[[np.ndarray], np.ndarray]]:
        return self.controller.base_frame, self.controller.kinematics.flange_pose

    def subscribe_commands(self) -> list[Subscription]:
        frame = self.controller.base_frame
        self._poses = self.publisher(PoseStamped, "wrist_pose", qos.STATES)
        self._pose = pose_stamped_template(frame)
        self._chain = TransformChain(frame, wrist) if (wrist := self.value("wrist_frame")) else None
        self._transformed: tuple[float, np.ndarray] | None = None  # newest stamp and pose from tf, not yet published
        if self._chain:
            tf_message = message_conversion.message_class("tf2_msgs/msg/TFMessage")
            self.subscribe(tf_message, "/tf", self._on_transforms, qos.TRANSFORMS)
            self.subscribe(tf_message, "/tf_static", lambda message: self._on_transforms(message, True), qos.LATCHED)
        usual = self._pose.read, self.on_pose
        wrist_commands = self.subscribe(PoseStamped, "wrist_command", self.on_wrist_command, qos.COMMANDS, usual=usual)
        return [wrist_commands, self.subscribe_trajectories("arm_command")]

    def _on_transforms(self, message: Any, static: bool = False) -> None:
        try:
            poses = self._chain.push(message, static)
        except ObservationRefused as error:
            self.count("transform refused", str(error))
            return
        if poses:
            self._transformed = poses[-1]

    def on_wrist_command(self, message: PoseStamped) -> None:
        """Follow a wrist command."""
        self.on_pose(to_seconds(message.header.stamp), pose_array(message.pose), message.header.frame_id)

    def on_pose(self, stamp: float, pose: np.ndarray, frame: str = "") -> None:
        """As :meth:`on_wrist_command`, with the values of a message; an empty ``frame`` is the base frame."""
        if self.accepts_commands and self.controller.set_wrist_command(pose, frame, self.age(stamp)):
            self.note_latency(stamp)

    def publish_measurement(self, reading: JointReading) -> None:
        if self._chain is None:
            measured = reading.stamp, self.controller.wrist_pose
        else:
            measured, self._transformed = self._transformed, None
        if measured is not None:
            self._poses.publish(self._pose.serialise(*measured))
        elif conflict := self._chain.conflict:
            self.count("no wrist pose", conflict)
        elif not self._chain.connected:
            known = ", ".join(self._chain.known) or "none"
            self.count("no wrist pose", f"no transform from {self._chain.parent} to {self._chain.child}; frames: {known}")


make_node = ArmDriver


def main() -> int:
    """Entry point of ``ros2 run latent_policy_ros arm_driver_node``."""
    return run_node(make_node)


if __name__ == "__main__":
    sys.exit(main())
