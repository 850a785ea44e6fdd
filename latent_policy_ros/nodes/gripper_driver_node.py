"""Node ``gripper_driver``: drives a gripper from joint commands."""

import sys
from functools import partial

from latent_policy_ros.nodes.base.driver_node import EndEffectorDriver
from latent_policy_ros.nodes.base.main_loop import run_node

make_node = partial(EndEffectorDriver, "gripper")


def main() -> int:
    """Entry point of ``ros2 run latent_policy_ros gripper_driver_node``."""
    return run_node(make_node)


if __name__ == "__main__":
    sys.exit(main())
