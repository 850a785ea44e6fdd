"""Launch the nodes of one robot: ``ros2 launch latent_policy_ros single.launch.py namespace:=left embodiment:=faive_hand``."""

from launch import LaunchDescription
from launch.actions import DeclareLaunchArgument, OpaqueFunction
from launch.substitutions import LaunchConfiguration
from launch_ros.actions import Node

from latent_policy_ros import bringup

ARGUMENTS = [
    DeclareLaunchArgument("namespace", default_value="robot", description="Namespace of the robot."),
    DeclareLaunchArgument("embodiment", description="End-effector: a name from `latent-policy embodiments list`, or a YAML file."),
    DeclareLaunchArgument("cameras", default_value="front", description="Names of the cameras, separated by commas."),
    DeclareLaunchArgument(
        "driver", default_value="sim", description="Driver of the end-effector: sim, mock, none, or package.module:Class@address."
    ),
    DeclareLaunchArgument("arm_driver", default_value="", description="Driver of the arm; empty: the same as `driver`."),
    DeclareLaunchArgument("arm", default_value="panda", description="Arm: a name under config/arms, or a YAML file."),
    DeclareLaunchArgument("policy", default_value="default", description="Policy: a name under config/policies, or a folder."),
    DeclareLaunchArgument("latent", default_value="default", description="Latent space: a name under config/latents, or a folder."),
    DeclareLaunchArgument(
        "record", default_value="false", choices=["true", "false"], description="Run the recorder node, which writes MCAP bags."
    ),
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
