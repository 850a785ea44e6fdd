"""How a process joins the graph, however it was started: by ``ros2 run``, a launch file, a shell."""

from __future__ import annotations

import os
from typing import Any

import rclpy

from latent_policy_ros.ros_env import choose_transport, node_environment


def join(pictures: bool, **options: Any) -> None:
    """``rclpy.init`` in an environment that is complete.

    Args:
        pictures: Whether this process publishes or receives pictures.
        options: Of ``rclpy.init``.
    """
    os.environ.update(node_environment())
    os.environ.update(choose_transport(pictures, os.environ))
    rclpy.init(**options)
