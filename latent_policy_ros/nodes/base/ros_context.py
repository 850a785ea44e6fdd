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

__all__ = ["SECURITY_HELP", "Executor", "init", "security_enabled", "shutdown"]

SECURITY_HELP = (
    "ROS_SECURITY_ENABLE is true, but this node cannot join the secured graph; it needs a middleware with security plugins (a ROS "
    "2 installation; the packages from PyPI have none), and its enclave in ROS_SECURITY_KEYSTORE (docs/explanation/SAFETY.md)"
)


def security_enabled() -> bool:
    """Whether the environment asks for a secured graph (SROS2)."""
    return os.environ.get("ROS_SECURITY_ENABLE", "").lower() == "true"


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
