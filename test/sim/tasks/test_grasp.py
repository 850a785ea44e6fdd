"""Retargeted precision grasps."""

import dataclasses

import numpy as np
import pytest

from latent_policy_ros.common.errors import LatentPolicyError
from latent_policy_ros.sim.tasks.cube import EDGE, cube_grasp
from latent_policy_ros.sim.tasks.grasp import CLEARANCE, retargeted_grasp
from latent_policy_ros.sim.world import World


def test_grasp_clears_the_table_and_squeezes(world):
    grasp = cube_grasp(world)
    assert grasp.clearance >= CLEARANCE
    assert 0 < grasp.contact < grasp.end - 5
    np.testing.assert_allclose(grasp.rotation.T @ grasp.rotation, np.eye(3), atol=1e-9)
    assert np.linalg.det(grasp.rotation) == pytest.approx(1.0)


def test_object_wider_than_the_opening_is_refused():
    world = World("panda_gripper")
    with pytest.raises(LatentPolicyError, match="panda_gripper: cannot grasp an object of 85 mm: .* opens to 64 mm"):
        retargeted_grasp(world.embodiment, 0.085, world.arm.T_flange_hand.rotation[2])


def test_thicker_fingers_touch_the_object_earlier():
    world = World("leap_hand", cameras=())
    down, e = world.arm.T_flange_hand.rotation[2], world.embodiment
    thick = dataclasses.replace(e, shape=dataclasses.replace(e.shape, tip_radius=e.shape.tip_radius + 0.002))
    assert retargeted_grasp(thick, EDGE, down).contact < retargeted_grasp(e, EDGE, down).contact
