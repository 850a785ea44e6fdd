"""Is this machine ready? One line for every thing that users meet as a puzzling failure otherwise."""

from __future__ import annotations

import importlib
import sys
from collections.abc import Callable, Iterator

from latent_policy_ros.common.errors import LatentPolicyError

MUCH = 1.0  # GB


def _ros() -> str:
    return f"rclpy from {importlib.import_module('rclpy').__file__}"


def _messages() -> str:
    module = importlib.import_module("latent_policy_ros.msg")
    return ", ".join(name for name in dir(module) if name[0].isupper())


def _shared_memory() -> str:
    from latent_policy_ros.common.ros_environment import orphaned_segments

    orphans = orphaned_segments()
    size = sum(segment.stat().st_size for segment in orphans) / 1e9
    if size > MUCH:
        command = "fastdds shm clean, or, while no ROS node runs: rm /dev/shm/*fastrtps_*"
        raise LatentPolicyError(f"{len(orphans)} ROS processes that were killed hold {size:.1f} GB of memory; type: {command}")
    return f"{size:.1f} GB are held by killed ROS processes"


def _rendering() -> str:
    from latent_policy_ros.sim.world import World

    world = World("panda_gripper")
    world.reset(0)
    return f"MuJoCo rendered {world.render(world.cameras[0]).shape}"


def _torch() -> str:
    import torch

    where = torch.cuda.get_device_name(0) if torch.cuda.is_available() else "CPU"
    return f"{torch.__version__} on {where}"


def _artefacts() -> str:
    from latent_policy_ros.common.paths import artifact
    from latent_policy_ros.latent import LatentSpace
    from latent_policy_ros.policy import Policy

    latent = LatentSpace.load(artifact("latents", "default"))
    policy = Policy.load(artifact("policies", "default"), latent)
    return f"latent {latent.latent_id[:12]} for {', '.join(latent.embodiments)}; policy {policy.policy_id[:12]}"


CHECKS: dict[str, Callable[[], str]] = {
    "ROS 2": _ros,
    "messages": _messages,
    "shared memory": _shared_memory,
    "rendering": _rendering,
    "torch": _torch,
    "latent space and policy": _artefacts,
}


def checks() -> Iterator[tuple[str, bool, str]]:
    """Yields (what, is it well, detail); never raises."""
    yield "python", sys.version_info[:2] in {(3, 10), (3, 11), (3, 12), (3, 13)}, sys.version.split()[0]
    for name, check in CHECKS.items():
        try:
            yield name, True, check()
        except Exception as error:  # noqa: BLE001  any failure is the answer
            yield name, False, f"{type(error).__name__}: {error}"
