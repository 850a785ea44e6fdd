"""Launch the nodes of one robot: ``ros2 launch latent_policy_ros single.launch.py namespace:=left embodiment:=faive_hand``.

All nodes are in the same namespace, such that any number of robots runs side by side.
"""

from latent_policy_ros import bringup
from latent_policy_ros.nodes.launch_actions import argument, fleet_description

ARGUMENTS = [
    argument("embodiment", None, "End-effector: a name from `latent-policy embodiments list`, or a YAML file."),
    argument("name", "robot", "Name of the robot, in bags and diagnostics."),
    argument("cameras", "front", "Names of the cameras, separated by commas."),
    argument("driver", "sim", "Driver of the end-effector: sim, mock, none, or package.module:Class@address."),
    argument("arm_driver", "", "Driver of the arm; empty: the same as `driver`."),
    argument("arm", "panda", "Arm: a name under config/arms, or a YAML file."),
    argument("policy", "default", "Policy: a name under config/policies, or a folder."),
    argument("latent", "default", "Latent space: a name under config/latents, or a folder."),
]


def _fleet(value):
    fleet = bringup.single_robot(
        value["name"], value["embodiment"], value.names("cameras"), value["driver"], value["policy"],
        value["latent"], value["arm_driver"], value["arm"], robot_namespaces=False,
    )  # fmt: skip
    return fleet, {}


def generate_launch_description():
    return fleet_description(ARGUMENTS, _fleet)
