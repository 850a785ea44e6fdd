"""Node ``arm_driver``: drives an arm from wrist pose or joint commands."""

from __future__ import annotations

import sys
from typing import Any

import numpy as np
from geometry_msgs.msg import PoseStamped
from trajectory_msgs.msg import JointTrajectory

from latent_policy_ros.control.arm_controller import ANYWHERE, ArmController, Workspace
from latent_policy_ros.control.arm_description import PANDA, load_arm
from latent_policy_ros.control.arm_kinematics import ArmKinematics
from latent_policy_ros.drivers.base import JointReading
from latent_policy_ros.nodes.base import message_conversion, qos
from latent_policy_ros.nodes.base.driver_node import DriverNode
from latent_policy_ros.nodes.base.main_loop import run_node
from latent_policy_ros.observations.messages import pose_array


class ArmDriver(DriverNode):
    """Driver node of an arm.

    Subscribes to ``wrist_command``, a pose of the hand frame in the arm's base frame, and to ``arm_command``, joints by
    name. Publishes the measured ``wrist_pose``.
    """

    command_topics = "wrist_command", "arm_command"
    channel = "arm"
    controller: ArmController | None

    def __init__(self, **node_options: Any) -> None:
        super().__init__("arm_driver", **node_options)
        self.declare("arm", PANDA, "Arm: a name under config/arms, or a YAML file.")
        self.declare("base_frame", "", "Frame of wrist poses; empty: name of the arm's base link in the URDF.")
        self.declare("workspace", list(ANYWHERE), "Bounds of the wrist in the base frame: lowest and highest x, y, z [m].")

    def make_controller(self) -> tuple[ArmController, np.ndarray]:
        kinematics = ArmKinematics(self.embodiment, load_arm(self.value("arm")))
        controller = ArmController(
            kinematics, self.value("base_frame"), Workspace(tuple(self.value("workspace"))),
            self.value("hold_after"), self.value("max_command_age"), self.count,
        )  # fmt: skip
        return controller, kinematics.home

    def subscribe_commands(self) -> None:
        self._poses = self.publisher(PoseStamped, "wrist_pose", qos.STATES)
        self.subscribe(PoseStamped, "wrist_command", self.on_wrist_command, qos.COMMANDS)
        self.subscribe(JointTrajectory, "arm_command", self.on_trajectory, qos.COMMANDS)

    def on_wrist_command(self, message: PoseStamped) -> None:
        """Follow a wrist command."""
        if not self.accepts_commands:
            return
        pose, frame = pose_array(message.pose), message.header.frame_id
        if self.controller.set_wrist_command(pose, frame, self.age(message.header)):
            self.note_latency(message.header)

    def publish_measurement(self, reading: JointReading) -> None:
        wrist = self.controller.kinematics.fk(reading.position)
        self._poses.publish(message_conversion.pose_stamped(reading.stamp, self.controller.base_frame, wrist))


def main() -> int:
    """Entry point of ``ros2 run latent_policy_ros arm_driver_node``."""
    return run_node(ArmDriver)


if __name__ == "__main__":
    sys.exit(main())
