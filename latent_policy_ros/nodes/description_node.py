"""Node: publishes the URDF of a robot, and the transforms of its links, from measured joints."""

from __future__ import annotations

import sys
from typing import Any

import numpy as np
from sensor_msgs.msg import JointState
from std_msgs.msg import String

from latent_policy_ros.common.errors import LatentPolicyError
from latent_policy_ros.common.transformations import quaternion_from_euler, quaternion_from_matrix
from latent_policy_ros.control.arm_description import PANDA, Arm, load_arm
from latent_policy_ros.control.robot_description import LinkTransforms, robot_urdf
from latent_policy_ros.embodiments import load_embodiment
from latent_policy_ros.nodes.base.lifecycle_node import OK, WARN, ManagedNode
from latent_policy_ros.nodes.base.main_loop import run_node
from latent_policy_ros.nodes.topics import message_conversion, qos
from latent_policy_ros.observations.messages import to_seconds
from latent_policy_ros.observations.transforms import compose

TF_MESSAGE = "tf2_msgs/msg/TFMessage"


class DescriptionNode(ManagedNode):
    """Publishes ``robot_description`` (latched) and the transforms of all links, as ``robot_state_publisher`` does.

    Frames are the links of the URDF in the namespace of the node, e.g. ``left/panda_link0``. In RViz, the TF prefix of the display
    RobotModel is that namespace. With ``world_frame`` the robot has a place in a frame that it shares with others.
    """

    def __init__(self, **node_options: Any) -> None:
        super().__init__("description", rate=30.0, **node_options)
        self.declare("embodiment", "", "End-effector of the robot: a name under config/embodiments, or a YAML file.")
        self.declare("arm", PANDA, "Arm: a name under config/arms, or a YAML file.")
        self.declare("world_frame", "", "Frame in which the robot stands; ~/ stands for the node's namespace; empty: none.")
        self.declare("world_pose", [0.0] * 6, "Pose of the arm's base in world_frame: x, y, z [m], roll, pitch, yaw [rad].")
        self.declare("rate", 30.0, "Rate of the transforms of moving links [Hz].", 1.0, 200.0)

    def configure(self) -> None:
        self.rate = self.value("rate")
        arm = load_arm(self.value("arm"))
        self._urdf = robot_urdf(load_embodiment(self.value("embodiment")), arm)
        self._links, self._positions, self._stamp = LinkTransforms(self._urdf), dict[str, float](), 0.0
        self._world_pose = self._pose_in_world(arm) if self.value("world_frame") else None
        self._tf_message = message_conversion.message_class(TF_MESSAGE)
        self._description = self.publisher(String, "robot_description", qos.STATE_CHANGES)
        self._static = self.publisher(self._tf_message, "/tf_static", qos.STATE_CHANGES)
        self._moving = self.publisher(self._tf_message, "/tf", qos.EVENTS)  # reliable, as listeners of tf2 request
        self.subscribe(JointState, "joint_states", self._on_joints, qos.STATES)

    def activate(self) -> None:
        self._description.publish(String(data=self._urdf))
        fixed = self._message(self.now(), self._links.static)
        if self._world_pose is not None:
            world, root = self.frame(self.value("world_frame")), self.frame(f"~/{self._links.root}")
            fixed.transforms.append(message_conversion.transform_stamped(self.now(), world, root, self._world_pose))
        self._static.publish(fixed)

    def tick(self, now: float) -> None:
        """Publish the transforms once all joints were measured."""
        if self.missing:
            return
        stamp, self._stamp = self._stamp, 0.0
        if stamp:
            self._moving.publish(self._message(stamp, self._links.moving(self._positions)))

    def _pose_in_world(self, arm: Arm) -> np.ndarray:
        """Pose (7,) of the root of the URDF, which need not be the arm's base, in ``world_frame``."""
        world, values = self.frame(self.value("world_frame")), list(self.value("world_pose"))
        if world == self.frame(f"~/{self._links.root}"):
            raise LatentPolicyError(f"parameter world_frame: {world} is the root of the robot's own frames; choose another name")
        if len(values) != 6 or not np.isfinite(values).all():
            raise LatentPolicyError(f"parameter world_pose: expected x, y, z, roll, pitch and yaw; got {values}")
        T_base_root = arm.T_base_root
        root = np.concatenate([T_base_root.translation, quaternion_from_matrix(T_base_root.homogeneous)])
        return compose(np.concatenate([values[:3], quaternion_from_euler(*values[3:])]), root)

    @property
    def missing(self) -> list[str]:
        """Joints that were never measured."""
        return [name for name in self._links.joints if name not in self._positions]

    def _on_joints(self, message: JointState) -> None:
        self._positions.update(zip(message.name, message.position))
        self._stamp = max(self._stamp, to_seconds(message.header.stamp))

    def _message(self, stamp: float, transforms: list[tuple[str, str, np.ndarray]]) -> Any:
        name, convert = lambda link: self.frame(f"~/{link}"), message_conversion.transform_stamped
        found = [convert(stamp, name(parent), name(child), pose) for parent, child, pose in transforms]
        return self._tf_message(transforms=found)

    def status(self) -> tuple[bytes, str, dict[str, str]]:
        if not self.active:
            return OK, "inactive", {}
        missing = self.missing
        return (WARN, f"no measurement of {', '.join(missing)}", {}) if missing else (OK, "publishing", {})


make_node = DescriptionNode


def main() -> int:
    """Entry point of ``ros2 run latent_policy_ros description_node``."""
    return run_node(make_node)


if __name__ == "__main__":
    sys.exit(main())
