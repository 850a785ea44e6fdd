"""Node: drives a gripper; see ``end_effector_driver``."""

import sys

from latent_policy_ros.nodes.base.end_effector_driver import EndEffectorDriver
from latent_policy_ros.nodes.base.lifecycle_node import main as run


def main() -> int:
    """Entry point of ``ros2 run latent_policy_ros gripper_driver_node``."""
    return run(lambda: EndEffectorDriver("gripper"))


if __name__ == "__main__":
    sys.exit(main())
