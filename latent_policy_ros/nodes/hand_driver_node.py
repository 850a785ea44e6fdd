"""Node ``hand_driver``: drives a hand from joint commands."""

import sys

from latent_policy_ros.nodes.base.driver_node import EndEffectorDriver
from latent_policy_ros.nodes.base.main_loop import run_node


def main() -> int:
    """Entry point of ``ros2 run latent_policy_ros hand_driver_node``."""
    return run_node(lambda: EndEffectorDriver("hand"))


if __name__ == "__main__":
    sys.exit(main())
