"""Requirements on every registered task."""

import numpy as np
import pytest

from latent_policy_ros.sim.tasks.registry import TASKS, load_task


@pytest.mark.parametrize("task", TASKS.names())
def test_goal_is_not_met_at_the_start(world_of, task):
    for seed in range(20):
        world = world_of("panda_gripper", task, seed)
        assert not world.task.success(world)
        world.step(world.task.hold_time + 0.1)
        assert not world.success()


@pytest.mark.parametrize("task", TASKS.names())
def test_robot_touches_nothing_at_the_start(world_of, task):
    for embodiment in ("leap_hand", "panda_gripper"):
        for seed in range(20):
            world = world_of(embodiment, task, seed)
            touching = world._is_robot[world.data.contact.geom[: world.data.ncon]]
            assert (touching[:, 0] == touching[:, 1]).all()  # fingers may touch each other


@pytest.mark.parametrize("task", TASKS.names())
def test_seed_determines_the_scene_and_seeds_differ(world_of, task):
    def scene(seed):
        data = world_of("panda_gripper", task, seed).data
        return np.concatenate([data.qpos, data.mocap_pos.ravel(), data.mocap_quat.ravel()])

    np.testing.assert_array_equal(scene(3), scene(3))
    bodies = scene(3) != scene(4)
    assert bodies.sum() >= 4


def test_texts_differ():
    texts = [load_task(name).text for name in TASKS.names()]
    assert len(set(texts)) == len(texts)
