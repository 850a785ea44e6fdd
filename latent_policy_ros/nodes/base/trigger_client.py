"""Command-line client of std_srvs/Trigger services: ``python -m latent_policy_ros.nodes.base.trigger_client SERVICE``."""

from __future__ import annotations

import sys
import time

import rclpy
from std_srvs.srv import Trigger

from latent_policy_ros.nodes.base import ros_context

DISCOVERY_TIMEOUT = 5.0  # s
RESPONSE_TIMEOUT = 60.0  # s; a recorder finishes a bag within a call


def call_trigger(service: str) -> tuple[bool, str]:
    """Call a service; returns the fields ``success`` and ``message`` of the response."""
    node, executor = rclpy.create_node("trigger_client"), ros_context.Executor()
    executor.add_node(node)
    client = node.create_client(Trigger, service)
    deadline = time.monotonic() + DISCOVERY_TIMEOUT
    while not client.service_is_ready():
        if time.monotonic() > deadline:
            return False, f"service {client.srv_name} is not available within {DISCOVERY_TIMEOUT:g} s; is its node running?"
        executor.spin_once(timeout_sec=0.05)
    future, deadline = client.call_async(Trigger.Request()), time.monotonic() + RESPONSE_TIMEOUT
    while not future.done():
        if time.monotonic() > deadline:
            return False, f"service {client.srv_name} did not respond within {RESPONSE_TIMEOUT:g} s"
        executor.spin_once(timeout_sec=0.05)
    return future.result().success, future.result().message


def main() -> int:
    """Print the response; returns exit status 0 if ``success`` is true."""
    ros_context.init(images=False)
    try:
        success, message = call_trigger(sys.argv[1])
        print(message, file=sys.stdout if success else sys.stderr)
        return int(not success)
    finally:
        rclpy.try_shutdown()


if __name__ == "__main__":
    sys.exit(main())
