"""Task stack_blocks: layout, success criterion and expert."""

import numpy as np
import pytest

from latent_policy_ros.sim.tasks.cube import CUBE, EDGE
from latent_policy_ros.sim.tasks.objects import place
from latent_policy_ros.sim.tasks.stack_blocks import BASE, BASE_HEIGHT, BASE_WIDTH
from latent_policy_ros.sim.world import World


def test_blocks_never_overlap(world_of):
    distances = []
    for seed in range(200):
        world = world_of("panda_gripper", "stack_blocks", seed)
        distances.append(np.linalg.norm(world.body_pose(CUBE)[:2] - world.body_pose(BASE)[:2]))
    assert min(distances) > (BASE_WIDTH + EDGE) / np.sqrt(2)


@pytest.mark.parametrize("shift, stacked", [((0.01, 0.02), True), ((0.03, 0.0), False), ((0.07, 0.0), False)])
def test_success_requires_the_cube_on_the_block(world_of, shift, stacked):
    world = world_of("panda_gripper", "stack_blocks")
    place(world, CUBE, world.body_pose(BASE)[:3] + [*shift, (BASE_HEIGHT + EDGE) / 2 + 0.001])
    world.step(0.6)
    assert world.success() is stacked


def test_block_on_the_cube_is_no_success(world_of):
    world = world_of("panda_gripper", "stack_blocks")
    place(world, BASE, world.body_pose(CUBE)[:3] + [0.0, 0.0, (BASE_HEIGHT + EDGE) / 2 + 0.001])
    world.step(0.6)
    assert not world.success()


@pytest.mark.parametrize("touched", [CUBE, BASE])
def test_no_success_while_the_robot_touches_a_block(world_of, monkeypatch, touched):
    world = world_of("panda_gripper", "stack_blocks")
    place(world, CUBE, world.body_pose(BASE)[:3] + [0.0, 0.0, (BASE_HEIGHT + EDGE) / 2 + 0.001])
    world.step(0.6)
    assert world.success()
    monkeypatch.setattr(World, "robot_touches", lambda self, name: name == touched)
    world.step(0.02)
    assert not world.success()


@pytest.mark.parametrize("seed", [11, 12])
def test_expert_succeeds_and_not_before_the_release(solve, seed):
    held = []

    def observe(world):
        if world.robot_touches(CUBE):
            held.append(world.success())

    _, success = solve("stack_blocks", seed, observe)
    assert success and len(held) > 20 and not any(held)
