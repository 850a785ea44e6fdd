"""Drives an end-effector, hand or gripper: the same work on a command topic of its kind."""

from __future__ import annotations

from typing import Any

import numpy as np
from trajectory_msgs.msg import JointTrajectory

from latent_policy_ros.common.errors import LatentPolicyError
from latent_policy_ros.nodes.base import qos
from latent_policy_ros.nodes.base.driver_node import DriverNode


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
        self.commands = (f"{self.kind}_command",)
        self.subscribe(JointTrajectory, self.commands[0], self.on_trajectory, qos.COMMANDS)
