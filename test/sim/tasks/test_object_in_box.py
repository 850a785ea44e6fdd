"""Task object_in_box: drawn objects, their grasps, success criterion and expert."""

import numpy as np
import pytest

from latent_policy_ros.sim.tasks.box import BOX
from latent_policy_ros.sim.tasks.cube import START_X, START_Y
from latent_policy_ros.sim.tasks.grasp import retargeted_grasp
from latent_policy_ros.sim.tasks.object_in_box import SHAPES, SHELF_HEIGHT
from latent_policy_ros.sim.tasks.objects import place

SEED_OF = {"tile": 11, "block": 12, "ball": 10}  # one seed for each object


def on_table(world):
    return [shape.name for shape in SHAPES if world.body_pose(shape.name)[2] > 0]


def test_each_object_is_drawn_equally_often_and_alone(world_of):
    count = dict.fromkeys(SEED_OF, 0)
    for seed in range(300):
        world = world_of("panda_gripper", "object_in_box", seed)
        (name,) = on_table(world)
        x, y, _ = world.body_pose(name)[:3]
        assert START_X[0] <= x <= START_X[1] and START_Y[0] <= y <= START_Y[1]
        count[name] += 1
    assert min(count.values()) > 75


def test_other_objects_stay_on_the_shelf(world_of):
    world = world_of("panda_gripper", "object_in_box", SEED_OF["tile"])
    world.step(1.0)
    for shape in SHAPES[1:]:
        assert world.body_pose(shape.name)[2] == pytest.approx(SHELF_HEIGHT + shape.height / 2, abs=1e-3)
        assert world.body_speed(shape.name) < 1e-3


def test_grasp_follows_width_and_height(world_of):
    world = world_of("leap_hand", "object_in_box")
    down = world.arm.T_flange_hand.rotation[2]
    tile, block, ball = (retargeted_grasp(world.embodiment, s.width, down, height=s.height) for s in SHAPES)
    assert block.contact < ball.contact < tile.contact  # the narrower the object, the later the fingers touch it
    assert tile.height > block.height  # the fingers stay above the table


@pytest.mark.parametrize("name", SEED_OF)
def test_success_requires_the_object_of_the_episode_in_the_box(world_of, name):
    world = world_of("panda_gripper", "object_in_box", SEED_OF[name])
    assert on_table(world) == [name] and not world.success()
    place(world, name, world.body_pose(BOX)[:3] + [0.0, 0.0, 0.035])
    world.step(1.0)
    assert world.success()
    place(world, name, world.body_pose(BOX)[:3] + [0.0, 0.2, 0.035])
    world.step(1.0)
    assert not world.success()


@pytest.mark.parametrize("name", SEED_OF)
def test_expert_succeeds_and_not_before_the_release(solve, name):
    held = []

    def observe(world):
        if world.robot_touches(name):
            held.append(world.success())

    _, success = solve("object_in_box", SEED_OF[name], observe)
    assert success and len(held) > 20 and not any(held)


def test_tile_is_lower_than_the_fingers_of_a_hand_are_thick(world_of):
    """Otherwise its height would not matter to the grasp."""
    world = world_of("leap_hand", "object_in_box")
    assert np.min([s.height for s in SHAPES]) < 2.5 * world.embodiment.shape.tip_radius
