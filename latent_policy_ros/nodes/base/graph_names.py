"""Names of the nodes in the ROS domain: ``python -m latent_policy_ros.nodes.base.graph_names``, one full name a line."""

from __future__ import annotations

import time

import rclpy

from latent_policy_ros.nodes.base import ros_context

DISCOVERY_TIME = 1.5  # s
OWN_NAME = "graph_names"


def main() -> None:
    """Print the names that are discovered within ``DISCOVERY_TIME``, without that of this node."""
    ros_context.init(images=False)
    try:
        node, executor = rclpy.create_node(OWN_NAME), ros_context.Executor()
        executor.add_node(node)
        deadline = time.monotonic() + DISCOVERY_TIME
        while time.monotonic() < deadline:
            executor.spin_once(timeout_sec=0.05)
        names = {f"{namespace.rstrip('/')}/{name}" for name, namespace in node.get_node_names_and_namespaces() if name != OWN_NAME}
        print("\n".join(sorted(names)))
    finally:
        rclpy.try_shutdown()


if __name__ == "__main__":
    main()
