"""One robot: ``ros2 launch latent_policy_ros single.launch.py namespace:=left embodiment:=faive_hand``."""

from launch import LaunchDescription
from launch.actions import DeclareLaunchArgument, OpaqueFunction
from launch.substitutions import LaunchConfiguration
from launch_ros.actions import Node

from latent_policy_ros import bringup

ARGUMENTS = [
    DeclareLaunchArgument("namespace", default_value="robot", description="The robot's name in the graph."),
    DeclareLaunchArgument("embodiment", description="Its end-effector: a name in config/embodiments, or a YAML file."),
    DeclareLaunchArgument("cameras", default_value="front", description="Its cameras, separated by commas."),
    DeclareLaunchArgument("driver", default_value="sim", description="sim, mock, none, or package.module:Class@address."),
    DeclareLaunchArgument("arm_driver", default_value="", description="Driver of the arm, likewise; empty: the same."),
    DeclareLaunchArgument("arm", default_value="panda", description="The arm: a name in config/arms, or a YAML file."),
    DeclareLaunchArgument("policy", default_value="default", description="A folder, or a name in config/policies."),
    DeclareLaunchArgument("latent", default_value="default", description="A folder, or a name in config/latents."),
    DeclareLaunchArgument("record", default_value="false", choices=["true", "false"], description="Also record bags."),
]


def _nodes(context):
    value = {a.name: LaunchConfiguration(a.name).perform(context) for a in ARGUMENTS}
    fleet = bringup.single_robot(
        value["namespace"], value["embodiment"], value["cameras"].split(","), value["driver"], value["policy"],
        value["latent"], value["arm_driver"], value["arm"],
    )  # fmt: skip
    return bringup.launch_nodes(bringup.node_specs(fleet, record=value["record"] == "true"), Node)


def generate_launch_description():
    return LaunchDescription([*ARGUMENTS, OpaqueFunction(function=_nodes)])
