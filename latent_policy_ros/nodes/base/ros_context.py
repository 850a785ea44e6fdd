"""The rclpy context of a process: environment, transport, executor and shutdown."""

from __future__ import annotations

import os
import signal
from typing import Any

import rclpy

from latent_policy_ros.common.ros_environment import choose_transport, node_environment

try:  # costs a fraction of the other executors for each message
    from rclpy.experimental import EventsExecutor as Executor
except ImportError:  # ROS 2 before Jazzy
    from rclpy.executors import SingleThreadedExecutor as Executor

__all__ = ["Executor", "init", "shutdown"]


def init(images: bool, **options: Any) -> None:
    """Complete the environment, choose the transport, and call ``rclpy.init``.

    Args:
        images: Whether this process publishes or receives images; they use shared memory, other processes use UDP only.
        options: Options of ``rclpy.init``.
    """
    os.environ.update(node_environment())
    os.environ.update(choose_transport(images, os.environ))
    rclpy.init(**options)


def shutdown() -> None:
    """Call ``rclpy.shutdown`` and ignore further signals.

    Ctrl-C in a launch arrives twice, from the terminal and from the launch system. The second signal must not interrupt
    the exit of the interpreter.
    """
    rclpy.try_shutdown()
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, signal.SIG_IGN)
