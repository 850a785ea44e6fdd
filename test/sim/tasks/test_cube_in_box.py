"""Task cube_in_box: layout, success criterion and expert."""

import numpy as np
import pytest

from latent_policy_ros.sim.demonstrations.recording import Disturbance, demonstrate
from latent_policy_ros.sim.tasks.box import BOX, BOX_INNER, BOX_WALL
from latent_policy_ros.sim.tasks.cube import CUBE, EDGE, cube_grasp, cube_yaw
from latent_policy_ros.sim.tasks.motion import DT
from latent_policy_ros.sim.world import World


def place_cube_in_box(world, offset=(0.0, 0.0, 0.03)):
    pose = world.body_pose(CUBE)
    pose[:3] = world.body_pose(BOX)[:3] + offset
    world.place_body(CUBE, pose)


def test_layouts_cover_their_ranges_and_never_overlap():
    world, cubes, boxes = World("panda_gripper"), [], []
    for seed in range(200):
        world.reset(seed)
        cubes.append([*world.body_pose(CUBE)[:2], cube_yaw(world)])
        boxes.append(world.body_pose(BOX)[:2])
    cubes, boxes = np.array(cubes), np.array(boxes)
    assert np.ptp(cubes, axis=0) == pytest.approx([0.18, 0.18, 0.6], abs=0.02)
    assert np.ptp(boxes, axis=0) == pytest.approx([0.12, 0.12], abs=0.01)
    assert np.abs(cubes[:, 1] - boxes[:, 1]).min() > BOX_INNER / 2 + BOX_WALL + EDGE / np.sqrt(2)


@pytest.mark.parametrize(
    "seed, cube, box",
    [
        (0, (0.4846531037178618, 0.04856160847749665, -0.2754158856382832), (0.40198331626342354, -0.17240757129596732)),
        (77, (0.5114678155376488, 0.09921095204405674, -0.15366708182793706), (0.4401343847773514, -0.23175717626786613)),
    ],
)
def test_layout_of_a_seed_is_fixed(seed, cube, box):
    """Shipped policies and published results refer to these seeds."""
    world = World("panda_gripper")
    world.reset(seed)
    np.testing.assert_allclose([*world.body_pose(CUBE)[:2], cube_yaw(world)], cube, atol=1e-12)
    np.testing.assert_allclose(world.body_pose(BOX)[:2], box, atol=1e-12)


@pytest.mark.parametrize(
    "offset, succeeds", [((0, 0, 0.03), True), ((0.06, -0.06, 0.03), True), ((0.15, 0, 0.03), False), ((0, 0, 0.3), False)]
)
def test_success_requires_rest_inside_the_box(offset, succeeds):
    world = World("panda_gripper")
    assert not world.success()
    place_cube_in_box(world, offset)
    world.step(0.02)
    assert world.success() is False  # still falling
    world.step(0.15 if offset[2] > 0.1 else 1.0)
    assert world.success() is succeeds


def test_no_success_while_the_robot_touches_the_cube(monkeypatch):
    world = World("panda_gripper")
    place_cube_in_box(world)
    world.step(1.0)
    assert world.success()
    monkeypatch.setattr(World, "robot_touches", lambda self, name: name == CUBE)
    assert not world.success()


@pytest.mark.parametrize("seed", [11, 12])
def test_expert_succeeds(world, seed):
    world.reset(seed)
    assert demonstrate(world, world.task.expert(world))


def test_expert_succeeds_with_a_gripper_of_one_moving_jaw():
    world = World("so101_gripper", cameras=())
    for seed in (11, 12):
        world.reset(seed)
        assert demonstrate(world, world.task.expert(world))


@pytest.mark.parametrize("arm", ["ur5", "xarm7"])
@pytest.mark.parametrize("embodiment", ["mimic_hand", "panda_gripper"])
def test_expert_succeeds_on_other_arms(arm, embodiment):
    world = World(embodiment, arm=arm, cameras=())
    for seed in (11, 12):
        world.reset(seed)
        assert demonstrate(world, world.task.expert(world))


def test_expert_succeeds_despite_disturbances(world):
    world.reset(13)
    plan = world.task.expert(world)
    assert demonstrate(world, plan, Disturbance(np.random.default_rng(1), len(plan) * DT))


def test_expert_fails_without_closing():
    world = World("panda_gripper")
    world.reset(11)
    plan = world.task.expert(world)
    plan.hand[:] = plan.hand[0]
    assert not demonstrate(world, plan)


def test_expert_tolerates_an_offset_of_one_centimetre(world):
    """A policy is never exact: the grasp must not depend on it."""
    world.reset(16)
    plan = world.task.expert(world)
    plan.wrist[:, :3] += [0.01, 0.01, 0.0]
    assert demonstrate(world, plan)
    assert abs(world.body_pose(CUBE)[0] - world.body_pose(BOX)[0]) < BOX_INNER / 2


def test_plan_is_smooth_within_limits_and_without_pauses(world):
    world.reset(14)
    plan = world.task.expert(world)
    assert 6.5 < len(plan) * DT < 9.5
    speed = np.linalg.norm(np.diff(plan.wrist[:, :3], axis=0), axis=1) / DT
    assert speed.max() < 0.5
    assert np.abs(np.diff(plan.hand, axis=0) / DT / world.embodiment.max_velocity).max() < 1.0
    still = (speed < 0.002) & (np.abs(np.diff(plan.hand, axis=0)) < 1e-3 * np.ptp(plan.hand, axis=0)).all(axis=1)
    longest = max(len(run) for run in "".join("x" if s else " " for s in still[:-3]).split(" "))
    assert longest <= 2
    np.testing.assert_allclose(np.linalg.norm(plan.wrist[:, 3:], axis=1), 1.0, atol=1e-9)
    np.testing.assert_allclose(plan.wrist[0], world.wrist_pose, atol=1e-6)


def test_grasp_poses_of_all_embodiments_are_similar():
    """Similar wrist poses let demonstrations of one embodiment help the others."""
    lowest = []
    for name in ("mimic_hand", "faive_hand", "panda_gripper"):
        world = World(name)
        world.reset(15)
        wrist = world.task.expert(world).wrist
        lowest.append(wrist[np.argmin(wrist[:40, 2])])
    spread = np.ptp(lowest, axis=0)
    assert spread[:3].max() < 0.03 and spread[3:].max() < 0.12


def test_grasp_of_the_cube_is_used_unless_another_is_given():
    world = World("panda_gripper", cameras=())
    world.reset(11)
    default, given = world.task.expert(world), world.task.expert(world, cube_grasp(world))
    np.testing.assert_array_equal(default.wrist, given.wrist)
