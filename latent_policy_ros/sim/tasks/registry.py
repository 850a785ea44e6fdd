"""Registry of simulated tasks."""

from __future__ import annotations

from functools import lru_cache

from latent_policy_ros.common.errors import LatentPolicyError
from latent_policy_ros.common.registry import Registry
from latent_policy_ros.sim.tasks.base import Task

DEFAULT_TASK = "cube_in_box"

TASKS = Registry(
    "task",
    "latent_policy_ros.tasks",
    {
        "cube_in_box": "latent_policy_ros.sim.tasks.cube_in_box:CubeInBox",
        "lift_cube": "latent_policy_ros.sim.tasks.lift_cube:LiftCube",
        "object_in_box": "latent_policy_ros.sim.tasks.object_in_box:ObjectInBox",
        "open_drawer": "latent_policy_ros.sim.tasks.open_drawer:OpenDrawer",
        "stack_blocks": "latent_policy_ros.sim.tasks.stack_blocks:StackBlocks",
    },
)


@lru_cache
def load_task(name: str) -> Task:
    """Return the task registered under ``name``.

    Raises:
        LatentPolicyError: Unknown name, or the entry is not a :class:`Task` of that name.
    """
    task = TASKS.load(name)()
    if not isinstance(task, Task) or task.name != name:
        raise LatentPolicyError(f"task {name!r}: expected a subclass of {Task.__module__}.Task with name = {name!r}, got {task!r}")
    return task
