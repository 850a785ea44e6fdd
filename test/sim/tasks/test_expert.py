"""The one human grasp, on every end-effector, puts the cube into the box."""

import dataclasses

import numpy as np
import pytest

from latent_policy_ros.common.errors import LatentPolicyError
from latent_policy_ros.sim import scene
from latent_policy_ros.sim.demonstrations.recording import Disturbance, demonstrate
from latent_policy_ros.sim.tasks.expert import DT, plan, world_grasp
from latent_policy_ros.sim.tasks.grasp import CLEARANCE, retargeted_grasp
from latent_policy_ros.sim.world import World


@pytest.mark.parametrize("seed", [11, 12])
def test_succeeds(world, seed):
    world.reset(seed)
    assert demonstrate(world, plan(world))


def test_a_gripper_with_one_moving_jaw_succeeds():
    world = World("so101_gripper", cameras=())
    for seed in (11, 12):
        world.reset(seed)
        assert demonstrate(world, plan(world))


def test_succeeds_although_disturbed(world):
    world.reset(13)
    steps = plan(world)
    assert demonstrate(world, steps, Disturbance(np.random.default_rng(1), len(steps) * DT))


def test_fails_when_it_does_not_close():
    """The cube is carried by the grasp, not by luck."""
    world = World("panda_gripper")
    world.reset(11)
    steps = plan(world)
    steps.hand[:] = steps.hand[0]
    assert not demonstrate(world, steps)


def test_plan_is_smooth_moderate_and_never_waits(world):
    world.reset(14)
    steps = plan(world)
    assert 6.5 < len(steps) * DT < 9.5
    speed = np.linalg.norm(np.diff(steps.wrist[:, :3], axis=0), axis=1) / DT
    assert speed.max() < 0.5
    assert np.abs(np.diff(steps.hand, axis=0) / DT / world.embodiment.max_velocity).max() < 1.0
    still = (speed < 0.002) & (np.abs(np.diff(steps.hand, axis=0)) < 1e-3 * np.ptp(steps.hand, axis=0)).all(axis=1)
    longest = max(len(run) for run in "".join("x" if s else " " for s in still[:-3]).split(" "))
    assert longest <= 2
    np.testing.assert_allclose(np.linalg.norm(steps.wrist[:, 3:], axis=1), 1.0, atol=1e-9)
    np.testing.assert_allclose(steps.wrist[0], world.wrist_pose, atol=1e-6)


def test_every_embodiment_grasps_from_nearly_the_same_wrist_pose():
    """That is what lets demonstrations of one help another."""
    lowest = []
    for name in ("mimic_hand", "faive_hand", "panda_gripper"):
        world = World(name)
        world.reset(15)
        wrist = plan(world).wrist
        lowest.append(wrist[np.argmin(wrist[:40, 2])])
    spread = np.ptp(lowest, axis=0)
    assert spread[:3].max() < 0.03 and spread[3:].max() < 0.12


def test_the_grasp_clears_the_table_and_squeezes(world):
    grasp = world_grasp(world)
    assert grasp.clearance >= CLEARANCE
    assert 0 < grasp.contact < grasp.end - 5
    np.testing.assert_allclose(grasp.rotation.T @ grasp.rotation, np.eye(3), atol=1e-9)
    assert np.linalg.det(grasp.rotation) == pytest.approx(1.0)


def test_an_object_wider_than_the_hand_opens_is_refused():
    world = World("panda_gripper")
    with pytest.raises(LatentPolicyError, match="panda_gripper.*mm"):
        retargeted_grasp(world.embodiment, 0.085, world.arm.T_flange_hand.rotation[2])


def test_thicker_fingers_meet_the_object_earlier():
    world = World("leap_hand", cameras=())
    down, e = world.arm.T_flange_hand.rotation[2], world.embodiment
    thick = dataclasses.replace(e, shape=dataclasses.replace(e.shape, tip_radius=e.shape.tip_radius + 0.002))
    assert retargeted_grasp(thick, scene.CUBE, down).contact < retargeted_grasp(e, scene.CUBE, down).contact


def test_forgives_a_centimetre(world):
    """A policy is never exact: the grasp must not depend on it."""
    world.reset(16)
    steps = plan(world)
    steps.wrist[:, :3] += [0.01, 0.01, 0.0]
    assert demonstrate(world, steps)
    assert abs(world.cube_pose[0] - world.box_pose[0]) < scene.BOX_INNER / 2
