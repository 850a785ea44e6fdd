"""Asks a recorder that is up for one of its services: ``python -m latent_policy_ros.nodes.recorder.service_call start``."""

from __future__ import annotations

import sys
import time

import rclpy
from std_srvs.srv import Trigger

from latent_policy_ros.nodes.base.ros_context import Executor, join

ACTIONS = ("start", "stop", "mark_success", "mark_failure", "discard")
PATIENCE = 5.0  # s to find the recorder
ANSWER = 60.0  # s to finish a bag


def call(action: str, recorder: str) -> tuple[bool, str]:
    """Whether it was done, and what the recorder says.

    Args:
        action: One of ``ACTIONS``.
        recorder: Name of the recorder's node.
    """
    node, executor = rclpy.create_node("recorder_call"), Executor()
    executor.add_node(node)
    client = node.create_client(Trigger, f"{recorder}/{action}")
    deadline = time.monotonic() + PATIENCE
    while not client.service_is_ready():
        if time.monotonic() > deadline:
            return False, f"no recorder: {client.srv_name} is not there; start one with latent-policy record --services FLEET"
        executor.spin_once(timeout_sec=0.05)
    future, deadline = client.call_async(Trigger.Request()), time.monotonic() + ANSWER
    while not future.done():
        if time.monotonic() > deadline:
            return False, f"{client.srv_name} did not answer within {ANSWER:g} s"
        executor.spin_once(timeout_sec=0.05)
    return future.result().success, future.result().message


def main() -> int:
    """Exit status 0 if it was done."""
    join(images=False)
    try:
        done, text = call(sys.argv[1], *(sys.argv[2:] or ["/recorder"]))
        print(text, file=sys.stdout if done else sys.stderr)
        return int(not done)
    finally:
        rclpy.try_shutdown()


if __name__ == "__main__":
    sys.exit(main())
