"""Launch the nodes of a fleet: ``ros2 launch latent_policy_ros bringup.launch.py robots:=demo record:=true``.

With ``teleop:=true`` a human hand drives the robots instead of the policy.
"""

from launch import LaunchDescription
from launch.actions import DeclareLaunchArgument, OpaqueFunction
from launch.substitutions import LaunchConfiguration
from launch_ros.actions import Node

from latent_policy_ros import bringup

ARGUMENTS = [
    DeclareLaunchArgument("robots", default_value="demo", description="Fleet: a name under config/robots, or a YAML file."),
    DeclareLaunchArgument(
        "record", default_value="false", choices=["true", "false"], description="Run the recorder node, which writes MCAP bags."
    ),
    DeclareLaunchArgument(
        "teleop",
        default_value="false",
        choices=["true", "false"],
        description="Drive the robots by a human hand instead of the policy.",
    ),
    DeclareLaunchArgument(
        "mode",
        default_value="latent",
        choices=["latent", "direct"],
        description="Teleoperation: latent (latent space and decoder nodes) or direct (retargeting).",
    ),
    DeclareLaunchArgument(
        "drive", default_value="", description="Teleoperation: robots to drive, separated by commas; empty: all."
    ),
    DeclareLaunchArgument("file", default_value="", description="Teleoperation: hand recording; empty: topic `keypoints`."),
    DeclareLaunchArgument(
        "loop", default_value="false", choices=["true", "false"], description="Teleoperation: repeat the recording."
    ),
    DeclareLaunchArgument(
        "side",
        default_value="auto",
        choices=["auto", "left", "right"],
        description="Teleoperation: hand in the keypoints; auto: detect.",
    ),
    DeclareLaunchArgument(
        "layout", default_value="auto", description="Teleoperation: keypoint layout, e.g. mediapipe; auto: detect."
    ),
    DeclareLaunchArgument("units", default_value="m", choices=["m", "cm", "mm"], description="Teleoperation: unit of length."),
]


def _teleoperation(value):
    if value["teleop"] != "true":
        return None
    drive = tuple(name.strip() for name in value["drive"].split(",") if name.strip())
    return bringup.Teleoperation(
        value["mode"], drive, value["file"], value["loop"] == "true", value["side"], value["layout"], value["units"]
    )


def _nodes(context):
    value = {a.name: LaunchConfiguration(a.name).perform(context) for a in ARGUMENTS}
    teleoperation = _teleoperation(value)
    fleet = bringup.load_fleet(value["robots"], decoded=teleoperation is None or teleoperation.mode == "latent")
    specs = bringup.node_specs(fleet, record=value["record"] == "true", teleoperation=teleoperation)
    return bringup.launch_nodes(specs, Node)


def generate_launch_description():
    return LaunchDescription([*ARGUMENTS, OpaqueFunction(function=_nodes)])
