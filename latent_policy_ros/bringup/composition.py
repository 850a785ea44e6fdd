"""Nodes that share a process: those of a robot, or of all robots."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

from latent_policy_ros.bringup.node_spec import NodeSpec, node_arguments
from latent_policy_ros.common.errors import LatentPolicyError

NONE, ROBOT, FLEET = "none", "robot", "fleet"
MODES = NONE, ROBOT, FLEET
COMPOSABLE = "decoder_node", "description_node", "arm_driver_node", "hand_driver_node", "gripper_driver_node"
EXECUTABLE, NAME = "composed_node", "composed"  # the name is that of the process; it has no node of that name


def compose(specs: Sequence[NodeSpec], mode: str) -> list[NodeSpec]:
    """Group nodes into processes.

    Decoders and drivers can share a process. All others have one of their own: they take long for one message (policy,
    simulator, recorder) or exchange images.

    Args:
        specs: Nodes, each in a process of its own.
        mode: ``none``, ``robot`` (one process for each robot) or ``fleet`` (one for all robots).

    Raises:
        LatentPolicyError: Unknown mode.
    """
    if mode not in MODES:
        raise LatentPolicyError(f"compose: expected {', '.join(MODES)}, got {mode!r}")
    if mode == NONE:
        return list(specs)
    groups: dict[str, list[NodeSpec]] = {}
    for spec in specs:
        if spec.executable in COMPOSABLE:
            groups.setdefault(spec.namespace if mode == ROBOT else "", []).append(spec)
    processes = [
        NodeSpec(EXECUTABLE, NAME, namespace, members=tuple(members), stop_timeout=max(spec.stop_timeout for spec in members))
        for namespace, members in groups.items()
    ]
    return [*(spec for spec in specs if spec.executable not in COMPOSABLE), *processes]


def write_members(spec: NodeSpec, folder: Path, namespace: str = "", ros_arguments: Sequence[str] = ()) -> Path:
    """Write the file from which ``composed_node`` reads its nodes, and their parameter files.

    Args:
        spec: A process of several nodes.
        folder: Folder of the files.
        namespace: Namespace in which launch places the nodes.
        ros_arguments: Arguments of each node, after those of its own.
    """
    members = [
        {"executable": member.executable, "arguments": node_arguments(member, folder, namespace, ros_arguments)}
        for member in spec.members
    ]
    file = folder / f"{spec.file_name}.json"
    file.write_text(json.dumps({"nodes": members}, indent=1), encoding="utf-8")
    return file
