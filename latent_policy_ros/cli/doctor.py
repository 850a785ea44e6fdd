"""``latent-policy doctor``: checks of this machine."""

from __future__ import annotations

import importlib
import sys
from collections.abc import Callable, Iterator

import typer

from latent_policy_ros.cli.common import print_line
from latent_policy_ros.common.errors import LatentPolicyError

MAX_ORPHANED_MEMORY = 1.0  # GB of shared memory left by killed processes; more is reported as a failure
PYTHON_VERSIONS = ((3, 10), (3, 11), (3, 12), (3, 13))


def doctor_command() -> None:
    """Check this machine: Python, ROS 2, messages, shared memory, rendering, torch, and the shipped latent space and policy.

    Prints one line for each check. Exit status 1 if a check fails.
    """
    failed = False
    for name, passed, detail in run_checks():
        failed |= not passed
        print_line(f"{name}: {detail}", "ok  " if passed else "FAIL", "green" if passed else "red")
    raise typer.Exit(int(failed))


def run_checks() -> Iterator[tuple[str, bool, str]]:
    """Yields (name, passed, detail) of every check. An exception in a check is a failed check."""
    yield "python", sys.version_info[:2] in PYTHON_VERSIONS, sys.version.split()[0]
    for name, check in CHECKS.items():
        try:
            yield name, True, check()
        except Exception as error:  # noqa: BLE001  a check may fail in any way
            yield name, False, f"{type(error).__name__}: {error}"


def _ros() -> str:
    return f"rclpy from {importlib.import_module('rclpy').__file__}"


def _messages() -> str:
    module = importlib.import_module("latent_policy_ros.msg")
    return ", ".join(name for name in dir(module) if name[0].isupper())


def _shared_memory() -> str:
    from latent_policy_ros.common.ros_environment import orphaned_shared_memory

    orphans = orphaned_shared_memory()
    size = sum(segment.stat().st_size for segment in orphans) / 1e9
    if size > MAX_ORPHANED_MEMORY:
        command = "fastdds shm clean, or, while no ROS node runs: rm /dev/shm/*fastrtps_*"
        raise LatentPolicyError(f"{len(orphans)} killed ROS processes left {size:.1f} GB of shared memory; free it with: {command}")
    return f"killed ROS processes left {size:.1f} GB"


def _rendering() -> str:
    from latent_policy_ros.sim.world import World

    world = World("panda_gripper")
    world.reset(0)
    return f"MuJoCo rendered an image of shape {world.render(world.cameras[0]).shape}"


def _torch() -> str:
    import torch

    device = torch.cuda.get_device_name(0) if torch.cuda.is_available() else "CPU"
    return f"{torch.__version__} on {device}"


def _artefacts() -> str:
    from latent_policy_ros.common.paths import artifact
    from latent_policy_ros.latent import LatentSpace
    from latent_policy_ros.policy import Policy

    latent = LatentSpace.load(artifact("latents", "default"))
    policy = Policy.load(artifact("policies", "default"), latent)
    return f"latent space {latent.latent_id[:12]} for {', '.join(latent.embodiments)}; policy {policy.policy_id[:12]}"


CHECKS: dict[str, Callable[[], str]] = {
    "ROS 2": _ros,
    "messages": _messages,
    "shared memory": _shared_memory,
    "rendering": _rendering,
    "torch": _torch,
    "latent space and policy": _artefacts,
}
