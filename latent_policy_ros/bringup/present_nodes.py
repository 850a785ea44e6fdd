"""Nodes that are in the ROS domain before a fleet is started: those of another fleet, or of a robot that was started alone."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Collection, Sequence

from latent_policy_ros.bringup.node_spec import NodeSpec
from latent_policy_ros.common.paths import PACKAGE
from latent_policy_ros.common.ros_environment import node_environment

TIMEOUT = 20.0  # s


def present_nodes() -> set[str]:
    """Full names of the nodes in the ROS domain, which a process of its own discovers in 2 s; none if that fails."""
    command = [sys.executable, "-m", f"{PACKAGE}.nodes.base.graph_names"]
    try:
        done = subprocess.run(command, env=node_environment(), capture_output=True, text=True, check=False, timeout=TIMEOUT)
    except (OSError, subprocess.TimeoutExpired):
        return set()
    return set(done.stdout.split())


def name_conflict(specs: Sequence[NodeSpec], present: Collection[str]) -> str:
    """Describe which nodes have the name of a node that is present, and what to do; empty if none has.

    Args:
        specs: The nodes to start, in their final namespaces.
        present: Full names of nodes.
    """
    found = sorted({node.full_name for spec in specs for node in spec.nodes} & set(present))
    if not found:
        return ""
    domain, verb = os.environ.get("ROS_DOMAIN_ID", "0"), "is" if len(found) == 1 else "are"
    return (
        f"{', '.join(found)} {verb} in the ROS domain {domain} already, and nodes of one name disturb each other: "
        "set another ROS_DOMAIN_ID, choose another namespace, or put all robots into one fleet"
    )
