"""Launch the nodes of a fleet: ``ros2 launch latent_policy_ros bringup.launch.py robots:=demo record:=true``.

With ``teleop:=true`` a human hand drives the robots instead of the policy.
"""

from latent_policy_ros import bringup
from latent_policy_ros.nodes.launch_actions import argument, fleet_description, teleoperation

ARGUMENTS = [
    argument("robots", "demo", "Fleet: a name under config/robots, or a YAML file."),
    argument("teleop", "false", "Drive the robots by a human hand instead of the policy."),
    argument("teleop_mode", "latent", "latent (latent space and decoder nodes) or direct (retargeting).", ["latent", "direct"]),
    argument("teleop_robots", "", "Robots to drive, separated by commas; empty: all."),
    argument("teleop_file", "", "Hand recording to play; empty: topic `keypoints`."),
    argument("teleop_loop", "false", "Repeat the recording."),
    argument("teleop_side", "auto", "Side of the hand in the keypoints; auto: detect.", ["auto", "left", "right"]),
    argument("teleop_layout", "auto", "Layout of the keypoints, e.g. mediapipe; auto: detect."),
    argument("teleop_units", "m", "Unit of the keypoints.", ["m", "cm", "mm"]),
]


def _fleet(value):
    hand = teleoperation(value)
    return bringup.load_fleet(value["robots"], decoded=hand is None or hand.mode == "latent"), {"teleoperation": hand}


def generate_launch_description():
    return fleet_description(ARGUMENTS, _fleet)
