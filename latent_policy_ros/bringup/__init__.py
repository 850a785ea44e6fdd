"""Bringup of a fleet: its file, its nodes, and their processes."""

from latent_policy_ros.bringup.composition import MODES as COMPOSE_MODES
from latent_policy_ros.bringup.composition import compose
from latent_policy_ros.bringup.displays import write_foxglove_layout, write_rviz_config
from latent_policy_ros.bringup.fleet import Fleet, Robot, Teleoperation, load_fleet, single_robot
from latent_policy_ros.bringup.node_list import (
    default_socket_folder,
    in_namespace,
    launch_nodes,
    node_specs,
    recorder_spec,
    runner_spec,
)
from latent_policy_ros.bringup.node_spec import NodeSpec, write_parameters
from latent_policy_ros.bringup.present_nodes import name_conflict, present_nodes

__all__ = [
    "COMPOSE_MODES", "Fleet", "NodeSpec", "Robot", "Teleoperation", "compose", "default_socket_folder", "in_namespace",
    "launch_nodes", "load_fleet", "name_conflict", "node_specs", "present_nodes", "recorder_spec", "runner_spec",
    "single_robot", "write_foxglove_layout", "write_parameters", "write_rviz_config",
]  # fmt: skip
