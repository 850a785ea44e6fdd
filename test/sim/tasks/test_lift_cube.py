"""Task lift_cube: success criterion and expert."""

import numpy as np
import pytest

from latent_policy_ros.sim.demonstrations.recording import demonstrate
from latent_policy_ros.sim.tasks.cube import CUBE, EDGE
from latent_policy_ros.sim.tasks.lift_cube import LIFT
from latent_policy_ros.sim.world import World


@pytest.mark.parametrize("embodiment", ["mimic_hand", "panda_gripper"])
def test_expert_succeeds_on_nine_of_ten_seeds(embodiment):
    world, successes = World(embodiment, "lift_cube", cameras=()), 0
    for seed in range(10):
        world.reset(seed)
        successes += demonstrate(world, world.task.expert(world))
    assert successes >= 9


def test_success_requires_holding_the_cube_for_half_a_second(monkeypatch):
    world = World("panda_gripper", "lift_cube", cameras=())
    monkeypatch.setattr(World, "robot_touches", lambda self, name: True)

    def hold(duration, height):
        for _ in range(round(duration / 0.01)):
            world.place_body(CUBE, np.array([0.5, 0.1, EDGE / 2 + height, 0.0, 0.0, 0.0, 1.0]))
            world.data.qvel[:] = 0.0
            world.step(0.01)

    hold(0.4, LIFT + 0.01)
    assert not world.success()
    hold(0.1, LIFT - 0.02)  # starts the time anew
    hold(0.4, LIFT + 0.01)
    assert not world.success()
    hold(0.2, LIFT + 0.01)
    assert world.success()
    world.reset(1)
    assert not world.success()


def test_thrown_cube_is_no_success():
    world = World("panda_gripper", "lift_cube", cameras=())
    world.place_body(CUBE, np.array([0.5, 0.3, 1.8, 0.0, 0.0, 0.0, 1.0]))
    world.step(0.55)
    assert world.body_pose(CUBE)[2] > EDGE / 2 + LIFT
    assert not world.success()
