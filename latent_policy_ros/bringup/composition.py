"""Nodes that share a process: those of a robot, or of all robots."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from latent_policy_ros.bringup.node_spec import NodeSpec, node_arguments
from latent_policy_ros.common.errors import LatentPolicyError

NONE, ROBOT, FLEET = "none", "robot", "fleet"
MODES = NONE, ROBOT, FLEET
#: In the order in which they work: what a decoder commands moves its robot in the same round, and nodes that run the same code
#: one after the other find it in the caches of the processor.
COMPOSABLE = "decoder_node", "arm_driver_node", "hand_driver_node", "gripper_driver_node", "description_node"
ROBOTS_PER_PROCESS = 8  # with ``fleet``; their nodes need 0.6 of a good core, and a process of Python uses one at most
EXECUTABLE, NAME = "composed_node", "composed"  # the name is that of the process; it has no node of that name


def compose(specs: Sequence[NodeSpec], mode: str) -> list[NodeSpec]:
    """Group nodes into processes.

    Decoders and drivers can share a process. All others have one of their own: they take long for one message (policy,
    simulator, recorder) or exchange images. With ``fleet``, the publishers of commands offer no deadline, which is a fourth of
    what a robot costs on a busy machine.

    Args:
        specs: Nodes, each in a process of its own.
        mode: ``none``, ``robot`` (one process for each robot) or ``fleet`` (one for ``ROBOTS_PER_PROCESS`` robots).

    Raises:
        LatentPolicyError: Unknown mode.
    """
    if mode not in MODES:
        raise LatentPolicyError(f"compose: expected {', '.join(MODES)}, got {mode!r}")
    if mode == NONE:
        return list(specs)
    robots: dict[str, list[NodeSpec]] = {}
    for spec in specs:
        if spec.executable in COMPOSABLE:
            robots.setdefault(spec.namespace, []).append(spec)
    if mode == ROBOT:
        processes = [_process(NAME, namespace, members) for namespace, members in robots.items()]
    else:
        every = [[_without_deadline(spec) for spec in members] for members in robots.values()]
        groups = [every[k : k + ROBOTS_PER_PROCESS] for k in range(0, len(every), ROBOTS_PER_PROCESS)]
        names = [NAME, *(f"{NAME}_{number}" for number in range(2, len(groups) + 1))]
        processes = [_process(name, "", [spec for specs in group for spec in specs]) for name, group in zip(names, groups)]
    return [*(spec for spec in specs if spec.executable not in COMPOSABLE), *processes]


def _without_deadline(spec: NodeSpec) -> NodeSpec:
    return replace(spec, parameters={**spec.parameters, "deadline": 0.0}) if spec.executable == "decoder_node" else spec


def _process(name: str, namespace: str, members: Sequence[NodeSpec]) -> NodeSpec:
    ordered = tuple(sorted(members, key=lambda spec: COMPOSABLE.index(spec.executable)))
    return NodeSpec(EXECUTABLE, name, namespace, members=ordered, stop_timeout=max(spec.stop_timeout for spec in members))


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
