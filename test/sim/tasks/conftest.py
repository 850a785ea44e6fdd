"""Worlds of the tasks without cameras, one for each pair of a task and an end-effector."""

from functools import cache

import pytest

from latent_policy_ros.sim.demonstrations.recording import demonstrate
from latent_policy_ros.sim.world import World


@cache
def _world(embodiment, task):
    return World(embodiment, task, cameras=())


@pytest.fixture
def world_of():
    """Function (embodiment, task, seed) -> world after a reset with this seed. Calls share the world."""

    def reset(embodiment, task, seed=0):
        world = _world(embodiment, task)
        world.reset(seed)
        return world

    return reset


@pytest.fixture(params=["shadow_hand", "panda_gripper"])
def solve(request, world_of):
    """Function (task, seed, observe=None) -> (world, success) after the expert's demonstration, for a hand and a gripper."""

    def run(task, seed, observe=None):
        world = world_of(request.param, task, seed)
        plan = world.task.expert(world)
        return world, demonstrate(world, plan, None, observe and (lambda frame: observe(world)))

    return run
