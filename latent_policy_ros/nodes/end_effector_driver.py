"""Drives an end-effector, hand or gripper: the same work on a command topic of its kind."""

from __future__ import annotations

from typing import Any

import numpy as np
from trajectory_msgs.msg import JointTrajectory

from latent_policy_ros.errors import LatentPolicyError
from latent_policy_ros.nodes import convert, qos
from latent_policy_ros.nodes.joint_driver import DriverNode


class EndEffectorDriver(DriverNode):
    """Subscribes to ``<kind>_command`` (joints by name; the last point counts; no points: hold the measured pose).

    Args:
        kind: ``hand`` or ``gripper``; the embodiment must be of that kind.
    """

    channel = "hand"

    def __init__(self, kind: str, **node_options: Any) -> None:
        super().__init__(f"{kind}_driver", **node_options)
        self.kind = kind

    def joints(self) -> tuple[tuple[str, ...], np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
        e = self.embodiment
        if e.command != self.kind:
            raise LatentPolicyError(f"{self.get_name()} drives a {self.kind}, but {e.name} is a {e.kind}")
        return e.joint_names, e.lower, e.upper, e.max_velocity, e.rest

    def subscribe_commands(self) -> None:
        self.subscribe(JointTrajectory, f"{self.kind}_command", self._on_command, qos.COMMANDS)

    def _on_command(self, message: JointTrajectory) -> None:
        self.take(convert.command_position(message, self.names), convert.to_seconds(message.header.stamp))
