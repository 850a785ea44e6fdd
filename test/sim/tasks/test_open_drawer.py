"""Task open_drawer: the drawer's mechanics, success criterion and expert."""

import numpy as np
import pytest

from latent_policy_ros.sim.tasks.objects import yaw_of
from latent_policy_ros.sim.tasks.open_drawer import CABINET, DRAWER, DRAWER_FRICTION, OPEN, TRAVEL


def opening(world):
    return float(world.data.joint(DRAWER).qpos[0])


def pull(world, force, duration=1.0):
    """Pull the drawer with ``force`` [N] in its direction; returns the opening [m]."""
    dof = world.model.joint(DRAWER).dofadr[0]
    world.data.qfrc_applied[dof] = force
    world.step(duration)
    world.data.qfrc_applied[dof] = 0.0
    return opening(world)


def test_drawer_slides_when_pulled_harder_than_its_friction(world_of):
    world = world_of("panda_gripper", "open_drawer")
    assert pull(world, 0.7 * DRAWER_FRICTION) < 5e-3  # friction in MuJoCo yields slightly
    assert pull(world, 3.0 * DRAWER_FRICTION) == pytest.approx(TRAVEL, abs=2e-3)  # up to its stop
    assert pull(world, -3.0 * DRAWER_FRICTION) == pytest.approx(0.0, abs=2e-3)


def test_drawer_moves_along_the_cabinet(world_of):
    world = world_of("panda_gripper", "open_drawer", 5)
    before = world.body_pose(DRAWER)[:3]
    pull(world, 3.0 * DRAWER_FRICTION)
    yaw = yaw_of(world, CABINET)
    assert abs(yaw) > 0.005
    moved = world.body_pose(DRAWER)[:3] - before
    np.testing.assert_allclose(moved, TRAVEL * np.array([np.sin(yaw), -np.cos(yaw), 0.0]), atol=2e-3)


@pytest.mark.parametrize("position, succeeds", [(0.0, False), (OPEN - 0.005, False), (OPEN + 0.005, True)])
def test_success_requires_an_open_drawer(world_of, position, succeeds):
    world = world_of("panda_gripper", "open_drawer")
    world.data.joint(DRAWER).qpos[0] = position
    world.step(0.1)
    assert world.success() is False  # the hold time is not over
    world.step(0.4)
    assert world.success() is succeeds


@pytest.mark.parametrize("seed", [11, 12])
def test_expert_succeeds_and_not_by_grasping_alone(solve, seed):
    closed = []  # success while the handle is touched and the drawer still closed

    def observe(world):
        if world.robot_touches(DRAWER) and opening(world) < 0.02:
            closed.append(world.success())

    world, success = solve("open_drawer", seed, observe)
    assert success and len(closed) > 3 and not any(closed)
    assert world.robot_touches(DRAWER)  # the fingers stayed on the handle
