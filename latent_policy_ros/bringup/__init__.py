"""Bringup of a fleet: its file, its nodes, and their processes."""

from latent_policy_ros.bringup.fleet import Fleet, Robot, Teleoperation, load_fleet, single_robot
from latent_policy_ros.bringup.node_list import NodeSpec, launch_nodes, node_specs, recorder_spec, runner_spec, write_parameters

__all__ = [
    "Fleet", "NodeSpec", "Robot", "Teleoperation", "launch_nodes", "load_fleet", "node_specs", "recorder_spec", "runner_spec",
    "single_robot", "write_parameters",
]  # fmt: skip
