"""Node ``hand_driver``: drives a hand from joint commands."""

import sys

from latent_policy_ros.nodes.base.driver_node import EndEffectorDriver
from latent_policy_ros.nodes.base.lifecycle_node import main as run


def main() -> int:
    """Entry point of ``ros2 run latent_policy_ros hand_driver_node``."""
    return run(lambda: EndEffectorDriver("hand"))


if __name__ == "__main__":
    sys.exit(main())
