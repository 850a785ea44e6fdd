"""A fleet: ``ros2 launch latent_policy_ros bringup.launch.py robots:=demo record:=true``; ``teleop:=true``: by hand."""

from launch import LaunchDescription
from launch.actions import DeclareLaunchArgument, OpaqueFunction
from launch.substitutions import LaunchConfiguration
from launch_ros.actions import Node

from latent_policy_ros import bringup

ARGUMENTS = [
    DeclareLaunchArgument("robots", default_value="demo", description="Fleet: a YAML file, or a name in config/robots."),
    DeclareLaunchArgument("record", default_value="false", choices=["true", "false"], description="Also record bags."),
    DeclareLaunchArgument("teleop", default_value="false", choices=["true", "false"],
                          description="A person's hand drives the robots, instead of the policy."),
    DeclareLaunchArgument("mode", default_value="latent", choices=["latent", "direct"],
                          description="Teleoperation: through the latent space, or by retargeting."),
    DeclareLaunchArgument("drive", default_value="", description="Teleoperation: which robots, by commas; empty: all."),
    DeclareLaunchArgument("file", default_value="", description="Teleoperation: a recorded hand, not the topic keypoints."),
    DeclareLaunchArgument("loop", default_value="false", choices=["true", "false"], description="Play the file in a loop."),
    DeclareLaunchArgument("side", default_value="auto", choices=["auto", "left", "right"],
                          description="Teleoperation: which hand the keypoints show."),
    DeclareLaunchArgument("layout", default_value="auto", description="Teleoperation: order of the keypoints."),
    DeclareLaunchArgument("units", default_value="m", choices=["m", "cm", "mm"], description="Teleoperation: of the keypoints."),
]  # fmt: skip


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
