"""The simulated robot is the robot of the tables, and what it reports is what it did."""

import dataclasses
import os
import subprocess
import sys

import numpy as np
import pytest

from latent_policy_ros.common.errors import LatentPolicyError
from latent_policy_ros.embodiments import HandKinematics, load_embodiment
from latent_policy_ros.sim import scene
from latent_policy_ros.sim.render import choose_gl, mujoco
from latent_policy_ros.sim.world import World

needs_gl = pytest.mark.skipif(choose_gl() == "disable", reason="no EGL or OSMesa here (apt install libegl1)")


def _spread_hand(world: World, seconds: float = 1.0) -> None:
    e = world.embodiment
    world.set_hand_target(e.lower + 0.4 * (e.upper - e.lower))
    world.step(seconds)


def test_arm_kinematics_agree_with_the_simulated_bodies(world):
    """Pinocchio's wrist and MuJoCo's, at a pose of the arm that is not home."""
    world.set_arm_target(world.arm_q + 0.2)
    world.step(1.0)
    mujoco.mj_kinematics(world.model, world.data)  # bodies lag the joints by one step of physics
    flange = world.data.body("robot/panda_link8")
    T = world.arm.T_flange_hand
    wrist = flange.xpos + flange.xmat.reshape(3, 3) @ T.translation
    np.testing.assert_allclose(world.wrist_pose[:3], wrist, atol=1e-6)


@pytest.mark.parametrize("name", ["mimic_hand", "faive_hand"])
def test_fingertips_agree_with_the_hinge_table(name):
    """The simulated fingertips against the product of exponentials, couplings included."""
    world = World(name)
    _spread_hand(world)
    kinematics = HandKinematics(world.embodiment)
    expected = kinematics.fingertips(world.hand_q[None])[0]
    palm, T_base_hand = world.data.body("robot/palm"), world.embodiment.T_base_hand
    for finger, tip in zip(kinematics.fingers, expected):
        in_palm = palm.xmat.reshape(3, 3).T @ (world.data.geom(f"robot/{finger}_tip").xpos - palm.xpos)
        in_hand = T_base_hand[:3, :3].T @ (in_palm - T_base_hand[:3, 3])
        np.testing.assert_allclose(in_hand, tip, atol=5e-4)


def test_servos_reach_their_targets_and_couplings_hold(world):
    _spread_hand(world, 1.5)
    e = world.embodiment
    np.testing.assert_allclose(world.hand_q, e.lower + 0.4 * (e.upper - e.lower), atol=5e-3)
    hinges = world.data.qpos[world._hinges.position]
    np.testing.assert_allclose(hinges, e.coupling @ world.hand_q, atol=2e-3)


def test_a_far_target_is_approached_at_the_velocity_limit(world):
    start = world.arm_q
    world.set_arm_target(start + np.r_[1.0, np.zeros(6)])
    world.step(0.2)
    assert 0.1 < world.arm_q[0] - start[0] <= 0.2 * world.arm.max_velocity[0] * 1.02


def test_targets_are_clipped_to_limits_and_reported(world):
    e = world.embodiment
    np.testing.assert_allclose(world.set_hand_target(e.upper + 1.0), e.upper)


@pytest.mark.parametrize("bad", [np.nan, None])
def test_bad_targets_are_refused_and_change_nothing(world, bad):
    before = world.arm_target
    target = np.zeros(6) if bad is None else np.full(7, bad)
    with pytest.raises(LatentPolicyError, match="panda_joint1"):
        world.set_arm_target(target)
    np.testing.assert_array_equal(world.arm_target, before)


def test_same_seed_same_motion(world):
    def run():
        world.reset(3)
        world.set_arm_target(world.arm_q + 0.3)
        world.step(0.5)
        return np.concatenate([world.arm_q, world.hand_q, world.cube_pose, world.box_pose])

    np.testing.assert_array_equal(run(), run())


def test_time_does_not_depend_on_how_it_is_cut(world):
    for duration in [0.0333] * 30:
        world.step(duration)
    assert world.time == pytest.approx(0.999)
    assert world.data.time == pytest.approx(0.999, abs=scene.TIMESTEP)


def test_layouts_cover_their_regions_and_never_overlap():
    world = World("panda_gripper")
    layouts = [world.reset(seed) for seed in range(200)]
    cubes, boxes = np.array([x.cube for x in layouts]), np.array([x.box for x in layouts])
    assert np.ptp(cubes[:, :2], axis=0) == pytest.approx([0.18, 0.18], abs=0.01)
    assert np.ptp(boxes, axis=0) == pytest.approx([0.12, 0.12], abs=0.01)
    apart = np.abs(cubes[:, 1] - boxes[:, 1]).min()
    assert apart > scene.BOX_INNER / 2 + scene.BOX_WALL + scene.CUBE / np.sqrt(2)


@pytest.mark.parametrize(
    "offset, succeeds", [((0, 0, 0.03), True), ((0.06, -0.06, 0.03), True), ((0.15, 0, 0.03), False), ((0, 0, 0.3), False)]
)
def test_success_means_at_rest_inside_the_box(offset, succeeds):
    world = World("panda_gripper")
    assert not world.success()
    joint = world.model.jnt_qposadr[world.model.joint("cube").id]
    world.data.qpos[joint : joint + 3] = world.box_pose[:3] + offset
    world.step(0.02)
    assert world.success() is False  # still falling
    world.step(0.15 if offset[2] > 0.1 else 1.0)
    assert world.success() is succeeds


def test_no_success_while_the_robot_holds_the_cube(monkeypatch):
    world = World("panda_gripper")
    joint = world.model.jnt_qposadr[world.model.joint("cube").id]
    world.data.qpos[joint : joint + 3] = world.box_pose[:3] + [0, 0, 0.03]
    world.step(1.0)
    assert world.success()
    monkeypatch.setattr(World, "touching", lambda self: True)
    assert not world.success()


def test_the_robot_touches_the_cube_when_its_fingers_close_on_it():
    world = World("panda_gripper")
    world.set_hand_target(world.embodiment.upper)
    world.step(1.0)
    assert not world.touching()  # it stands on the table
    joint = world.model.joint("cube")
    at, moves = world.model.jnt_qposadr[joint.id], world.model.jnt_dofadr[joint.id]
    kinematics, rotation = HandKinematics(world.embodiment), np.zeros(9)
    for closing in (False, True):
        world.set_hand_target(world.embodiment.lower if closing else world.embodiment.upper)
        for _ in range(25):  # held between the fingers
            position, (x, y, z, w) = np.split(world.wrist_pose, [3])
            mujoco.mju_quat2Mat(rotation, [w, x, y, z])
            between = position + rotation.reshape(3, 3) @ kinematics.fingertips(world.hand_q[None])[0].mean(axis=0)
            world.data.qpos[at : at + 7], world.data.qvel[moves : moves + 6] = [*between, w, x, y, z], 0.0
            world.step(0.02)
        assert world.touching() is closing


def test_the_wrist_camera_of_a_left_hand_is_the_mirror_image_of_the_right_ones():
    right, left = (World(name).model.camera("robot/wrist") for name in ("mimic_hand", "mimic_hand_left"))
    np.testing.assert_allclose(left.pos, right.pos * [1, -1, 1], atol=1e-9)
    axes = [np.zeros(9), np.zeros(9)]
    for matrix, camera in zip(axes, (right, left)):
        mujoco.mju_quat2Mat(matrix, camera.quat)
    np.testing.assert_allclose(axes[1].reshape(3, 3)[:, 2], axes[0].reshape(3, 3)[:, 2] * [1, -1, 1], atol=1e-9)


@needs_gl
def test_images_larger_than_are_drawn_are_refused():
    world = World("panda_gripper")
    assert (world.render("front", scene.LARGEST_PICTURE)[:20] > 0).any()  # up to its upper edge
    with pytest.raises(ValueError, match="at most 640 x 640 pixels, got 1024 x 1024"):
        world.render("front", 1024)


def test_what_is_simulated_is_the_embodiment_given_and_not_what_its_file_says():
    e, hand = load_embodiment("panda_gripper"), load_embodiment("leap_hand")
    stiff = dataclasses.replace(e, servo=dataclasses.replace(e.servo, kp=2 * e.servo.kp))
    kp = [World(given, cameras=()).model.actuator("robot/panda_finger_joint1").gainprm[0] for given in (e, stiff)]
    assert kp == [e.servo.kp, 2 * e.servo.kp]
    thick = dataclasses.replace(hand, shape=dataclasses.replace(hand.shape, tip_radius=0.02))
    radii = [World(given, cameras=()).model.geom("robot/index_tip").size[0] for given in (hand, thick)]
    assert radii == [hand.shape.tip_radius, 0.02]
    assert World("leap_hand_left", cameras=()).model is World("leap_hand_left", cameras=()).model  # compiled once


def test_people_cannot_be_simulated():
    with pytest.raises(LatentPolicyError, match="human_hand"):
        World("human_hand")


def test_gripper_has_no_wrist_camera():
    with pytest.raises(LatentPolicyError, match="wrist.*available: front"):
        World("panda_gripper", cameras=("front", "wrist"))


@needs_gl
def test_images_show_the_cube_where_it_is(world):
    """The red pixels of the front camera move with the cube, and every camera of the robot draws."""
    centres = []
    for seed in range(6):
        world.reset(seed)
        images = {camera: world.render(camera) for camera in world.cameras}
        assert all(p.shape == (96, 96, 3) and p.dtype == np.uint8 and p.std() > 5 for p in images.values())
        r, g, b = images["front"].astype(int).transpose(2, 0, 1)
        rows, columns = np.nonzero((r > 100) & (r > 2 * g) & (r > 2 * b))
        assert len(rows) >= 10
        centres.append([columns.mean(), world.cube_pose[1]])
    columns, y = np.array(centres).T
    assert np.corrcoef(columns, y)[0, 1] > 0.95


@needs_gl
def test_worlds_of_a_process_draw_beside_each_other():
    one, other = World("panda_gripper"), World("mimic_hand", image_size=64)
    before = one.render("front")
    assert other.render("wrist").shape == (64, 64, 3)
    np.testing.assert_array_equal(one.render("front"), before)


@needs_gl
def test_images_are_drawn_even_when_mujoco_was_imported_earlier():
    code = "import mujoco; from latent_policy_ros.sim.world import World; print(World('panda_gripper').render('front').shape)"
    unset = {name: value for name, value in os.environ.items() if name not in ("MUJOCO_GL", "PYOPENGL_PLATFORM")}
    result = subprocess.run([sys.executable, "-c", code], env=unset, capture_output=True, text=True, timeout=60)
    assert result.stdout.startswith("("), result.stderr


def test_without_opengl_physics_works_and_rendering_says_what_to_install():
    code = (
        "from latent_policy_ros.sim.world import World\n"
        "w = World('panda_gripper'); w.step(0.1)\n"
        "try: w.render('front')\n"
        "except Exception as e: print(type(e).__name__, e)"
    )
    result = subprocess.run(
        [sys.executable, "-c", code], env={**os.environ, "MUJOCO_GL": "disable"}, capture_output=True, text=True, timeout=60
    )
    assert "HardwareError" in result.stdout and "apt install libegl1" in result.stdout, result.stderr
