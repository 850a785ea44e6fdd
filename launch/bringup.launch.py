"""A fleet: ``ros2 launch latent_policy_ros bringup.launch.py robots:=demo record:=true``."""

from launch import LaunchDescription
from launch.actions import DeclareLaunchArgument, OpaqueFunction
from launch.substitutions import LaunchConfiguration
from launch_ros.actions import Node

from latent_policy_ros import bringup

ARGUMENTS = [
    DeclareLaunchArgument("robots", default_value="demo", description="Fleet: a YAML file, or a name in config/robots."),
    DeclareLaunchArgument("record", default_value="false", choices=["true", "false"], description="Also record bags."),
]


def _nodes(context):
    fleet = bringup.load_fleet(LaunchConfiguration("robots").perform(context))
    record = LaunchConfiguration("record").perform(context) == "true"
    return bringup.launch_nodes(bringup.node_specs(fleet, record=record), Node)


def generate_launch_description():
    return LaunchDescription([*ARGUMENTS, OpaqueFunction(function=_nodes)])
