"""How a process joins the graph and leaves it, however it was started: by ``ros2 run``, a launch file, a shell."""

from __future__ import annotations

import os
import signal
from typing import Any

import rclpy

from latent_policy_ros.common.ros_environment import choose_transport, node_environment

try:  # much less work for each message
    from rclpy.experimental import EventsExecutor as Executor
except ImportError:  # ROS 2 before Jazzy
    from rclpy.executors import SingleThreadedExecutor as Executor

__all__ = ["Executor", "join", "leave"]


def join(images: bool, **options: Any) -> None:
    """``rclpy.init`` in an environment that is complete.

    Args:
        images: Whether this process publishes or receives images.
        options: Of ``rclpy.init``.
    """
    os.environ.update(node_environment())
    os.environ.update(choose_transport(images, os.environ))
    rclpy.init(**options)


def leave() -> None:
    """``rclpy.shutdown``, and no more signals: Ctrl-C in a launch comes twice, from the terminal and from launch, and the
    second one would kill an interpreter that is on its way out."""
    rclpy.try_shutdown()
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, signal.SIG_IGN)
