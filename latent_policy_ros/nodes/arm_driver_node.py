"""Node: drives the arm. Wrist pose commands become joint commands by inverse kinematics."""

from __future__ import annotations

import sys
from typing import Any

import numpy as np
from geometry_msgs.msg import PoseStamped
from trajectory_msgs.msg import JointTrajectory

from latent_policy_ros.bringup.fleet import ANYWHERE
from latent_policy_ros.common.errors import ActionRefused, LatentPolicyError
from latent_policy_ros.control.arm_description import PANDA, load_arm
from latent_policy_ros.control.arm_kinematics import ArmKinematics, IkSolution, towards
from latent_policy_ros.drivers.base import JointReading
from latent_policy_ros.nodes.base import message_conversion, qos
from latent_policy_ros.nodes.base.driver_node import DriverNode
from latent_policy_ros.nodes.base.lifecycle_node import main as run

OUT_OF_REACH = 0.02, 0.1  # m, rad between the commanded wrist and the nearest that the arm can do
ROUNDING = 1e-4  # m: a command that leaves the workspace by less does not count
OVERSHOOT = 0.01  # m: the wrist may leave it by so much on its way between two commands inside
AHEAD = 0.15, 0.5  # m, rad: a wrist that is commanded further away is approached straight, not as its joints happen to turn
LEADS = 0.05, 0.3  # m, rad; in the demo, at full speed on a busy machine, 0.2 rad was the most
ITERATIONS = 5  # of inverse kinematics for a command: it begins at the last solution, and the elbow goes home with the next


class ArmDriver(DriverNode):
    """Subscribes to ``wrist_command``; publishes ``wrist_pose``, both of the hand frame in the arm's base frame.

    ``arm_command`` takes joints instead, as hands do: by name, the last point counts, without points: hold.
    """

    commands = "wrist_command", "arm_command"
    channel = "arm"

    def __init__(self, **node_options: Any) -> None:
        super().__init__("arm_driver", **node_options)
        self.declare("arm", PANDA, "The arm: a name under config/arms, or a YAML file.")
        self.declare("base_frame", "", "Frame of wrist poses; empty: the arm's base, by its name in the URDF.")
        self.declare("workspace", list(ANYWHERE), "Wrists are kept in it: lowest and highest x, y, z [m], base frame.")

    def joints(self) -> tuple[tuple[str, ...], np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
        arm = load_arm(self.value("arm"))
        self.arm, self.max_lead = ArmKinematics(self.embodiment, arm), np.where(arm.slides, *LEADS)
        return arm.joint_names, arm.lower, arm.upper, arm.max_velocity, arm.home

    def workspace_violation(self, position: np.ndarray) -> str:
        """Whatever was commanded, also as joints, and however the arm gets there: the wrist stays in the workspace, or nears it."""
        out = self._outside(position)
        if out <= OVERSHOOT or out <= self._outside(self.reading.position):
            return ""
        return f"the wrist would leave the workspace by {1e3 * out:.0f} mm"

    def _outside(self, q: np.ndarray) -> float:
        wrist = self.arm.fk(q)[:3]
        return float(np.linalg.norm(wrist - np.clip(wrist, self._lowest, self._highest)))

    def subscribe_commands(self) -> None:
        self.frame = self.value("base_frame") or self.arm.base
        workspace = np.array(self.value("workspace"))
        if workspace.shape != (6,) or not (workspace[::2] < workspace[1::2]).all():
            raise LatentPolicyError(f"parameter workspace: expected lowest and highest x, y, z, got {workspace.tolist()}")
        self._lowest, self._highest = workspace[::2], workspace[1::2]
        self._solution: np.ndarray | None = None
        self._poses = self.publisher(PoseStamped, "wrist_pose", qos.STATES)
        self.subscribe(PoseStamped, "wrist_command", self._on_command, qos.COMMANDS)
        self.subscribe(JointTrajectory, "arm_command", self.on_trajectory, qos.COMMANDS)

    def measured(self, reading: JointReading) -> None:
        self._poses.publish(message_conversion.pose_stamped(reading.stamp, self.frame, self.arm.fk(reading.position)))

    def _on_command(self, message: PoseStamped) -> None:
        observed = message_conversion.to_seconds(message.header.stamp)
        if not self.listens(observed):
            return
        try:
            solution = self._solve(message)
        except Exception:
            self.guard.hold("wrist command unusable")
            raise
        if solution.position_error > OUT_OF_REACH[0] or solution.rotation_error > OUT_OF_REACH[1]:
            away = f"by {1e3 * solution.position_error:.0f} mm, {np.degrees(solution.rotation_error):.0f} degrees"
            self.count("wrist command out of reach", away)
        self._solution = solution.q
        self.set_command(solution.q, observed)

    def _solve(self, message: PoseStamped) -> IkSolution:
        if message.header.frame_id not in ("", self.frame):
            raise ActionRefused(f"wrist command: frame_id: expected {self.frame}, got {message.header.frame_id}")
        pose = message_conversion.pose_array(message.pose)
        if (far := np.abs(pose[:3]).max()) > (most := ANYWHERE[1]):  # no pose that somebody missed, but a mistake
            raise ActionRefused(f"wrist command: {far:.3g} m from the arm's base, expected {most:g} m at most")
        inside = np.clip(pose[:3], self._lowest, self._highest)
        if (out := np.abs(inside - pose[:3]).max()) > ROUNDING:
            self.count("wrist command outside the workspace", f"by {1e3 * out:.0f} mm")
        goal = towards(self.arm.fk(self.reading.position), np.concatenate([inside, pose[3:]]), *AHEAD)
        return self.arm.solve(goal, self._start(), ITERATIONS)

    def _start(self) -> np.ndarray:
        """Where inverse kinematics begins: at the last solution, or at the measured joints after the arm was held."""
        return self.reading.position if self.holding or self._solution is None else self._solution


def main() -> int:
    """Entry point of ``ros2 run latent_policy_ros arm_driver_node``."""
    return run(ArmDriver)


if __name__ == "__main__":
    sys.exit(main())
