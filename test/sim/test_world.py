"""Simulated robots: kinematics, servos, determinism, contacts and cameras."""

import dataclasses
import os
import subprocess
import sys

import mujoco
import numpy as np
import pytest

from latent_policy_ros.common.errors import LatentPolicyError
from latent_policy_ros.control.arm_description import list_arms, load_arm
from latent_policy_ros.control.arm_kinematics import pose_to_se3
from latent_policy_ros.embodiments import HandKinematics, load_embodiment
from latent_policy_ros.sim import scene, start
from latent_policy_ros.sim.render import choose_gl
from latent_policy_ros.sim.start import grasp_frame
from latent_policy_ros.sim.tasks.cube import CUBE, EDGE
from latent_policy_ros.sim.world import World

TINY_ARM = """<robot name="tiny">
  <link name="floor"/><link name="base"/><link name="flag"/><link name="flange"/>
  <link name="upper"><inertial>
    <mass value="1"/><inertia ixx="0.01" iyy="0.01" izz="0.01" ixy="0" ixz="0" iyz="0"/></inertial></link>
  <link name="lower"><inertial>
    <mass value="1"/><inertia ixx="0.01" iyy="0.01" izz="0.01" ixy="0" ixz="0" iyz="0"/></inertial>
    <collision><geometry><box size="0.05 0.05 0.05"/></geometry></collision></link>
  <joint name="stand" type="fixed"><parent link="floor"/><child link="base"/><origin xyz="0.2 0 1"/></joint>
  <joint name="turn" type="revolute"><parent link="base"/><child link="upper"/><axis xyz="0 0 1"/>
    <limit lower="-2" upper="2" velocity="3" effort="10"/></joint>
  <joint name="lift" type="prismatic"><parent link="upper"/><child link="lower"/><axis xyz="0 0 1"/>
    <limit lower="0" upper="0.5" velocity="1" effort="10"/></joint>
  <joint name="tip" type="fixed"><parent link="lower"/><child link="flange"/><origin xyz="0.5 0 0.2" rpy="3.14159 0 0"/></joint>
  <joint name="wave" type="continuous"><parent link="upper"/><child link="flag"/><axis xyz="1 0 0"/></joint>
</robot>"""
TINY_ARM_FILE = """
description: tiny.urdf
base: base
flange: flange
home: {turn: 0.0, lift: 0.1}
simulation: {kp: [500, 500], kv_ratio: 0.1, max_effort: [10, 10], armature: 0.1, damping: 1.0, colliding_links: [lower]}
"""

needs_gl = pytest.mark.skipif(choose_gl() == "disable", reason="no EGL or OSMesa here (apt install libegl1)")


def _spread_hand(world: World, seconds: float = 1.0) -> None:
    e = world.embodiment
    world.set_hand_target(e.lower + 0.4 * (e.upper - e.lower))
    world.step(seconds)


@needs_gl
@pytest.mark.parametrize("camera", ["front", "wrist"])
def test_intrinsics_and_pose_of_a_camera_are_those_of_its_images(camera):
    """A cube that appears changes the pixels at which its corners are projected, and none farther away."""
    world, size = World("panda_gripper", image_size=320), 320
    world.reset(3)
    link, pose = world.camera_pose(camera)
    T_base_link = np.eye(4) if link == world.arm.base else pose_to_se3(world.arm.flange_pose(world.arm_q)).homogeneous
    T_base_camera = T_base_link @ pose_to_se3(pose).homogeneous
    ahead = T_base_camera @ [0.02, 0.01, 0.3, 1.0]  # right of the centre of the image, and below it
    images = []
    for position in (ahead[:3], [0.0, 0.0, -1.0]):
        world.place_body(CUBE, np.array([*position, 0.0, 0.0, 0.0, 1.0]))
        mujoco.mj_kinematics(world.model, world.data)
        images.append(world.render(camera).astype(int))
    rows, columns = np.nonzero(np.abs(images[0] - images[1]).sum(axis=2) > 30)
    corners = ahead + np.array([[x, y, z, 0.0] for x in (-1, 1) for y in (-1, 1) for z in (-1, 1)]) * EDGE / 2
    seen = np.linalg.inv(T_base_camera) @ corners.T
    K = world.calibration(camera).K
    assert K[0, 2] == K[1, 2] == (size - 1) / 2
    u, v, w = K @ seen[:3]
    np.testing.assert_allclose([columns.min(), columns.max()], [(u / w).min(), (u / w).max()], atol=1.5)
    np.testing.assert_allclose([rows.min(), rows.max()], [(v / w).min(), (v / w).max()], atol=1.5)


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
    hinges = world.data.qpos[world._hinges]
    np.testing.assert_allclose(hinges, e.coupling @ world.hand_q, atol=2e-3)


def test_distant_target_is_approached_at_the_velocity_limit(world):
    start = world.arm_q
    world.set_arm_target(start + np.r_[1.0, np.zeros(6)])
    world.step(0.2)
    assert 0.1 < world.arm_q[0] - start[0] <= 0.2 * world.arm.max_velocity[0] * 1.02


def test_target_is_clipped_to_limits_and_returned(world):
    e = world.embodiment
    np.testing.assert_allclose(world.set_hand_target(e.upper + 1.0), e.upper)


@pytest.mark.parametrize("bad", [np.nan, None])
def test_invalid_target_is_refused_without_effect(world, bad):
    before = world.arm_target
    target = np.zeros(6) if bad is None else np.full(7, bad)
    with pytest.raises(LatentPolicyError, match="panda_joint1"):
        world.set_arm_target(target)
    np.testing.assert_array_equal(world.arm_target, before)


def test_equal_seeds_give_equal_motions(world):
    def run():
        world.reset(3)
        world.set_arm_target(world.arm_q + 0.3)
        world.step(0.5)
        return np.concatenate([world.arm_q, world.hand_q, world.body_pose("cube"), world.body_pose("box")])

    np.testing.assert_array_equal(run(), run())


def test_time_is_independent_of_the_step_size(world):
    for duration in [0.0333] * 30:
        world.step(duration)
    assert world.time == pytest.approx(0.999)
    assert world.data.time == pytest.approx(0.999, abs=scene.TIMESTEP)


def test_closed_fingers_touch_the_cube():
    world = World("panda_gripper")
    world.set_hand_target(world.embodiment.upper)
    world.step(1.0)
    assert not world.robot_touches(CUBE)  # it lies on the table
    moves, kinematics, rotation = world.model.body(CUBE).dofadr[0], HandKinematics(world.embodiment), np.zeros(9)
    for closing in (False, True):
        world.set_hand_target(world.embodiment.lower if closing else world.embodiment.upper)
        for _ in range(25):  # hold it between the fingers
            wrist = world.wrist_pose
            mujoco.mju_quat2Mat(rotation, np.roll(wrist[3:], 1))
            pinch = wrist[:3] + rotation.reshape(3, 3) @ kinematics.fingertips(world.hand_q[None])[0].mean(axis=0)
            world.place_body(CUBE, np.concatenate([pinch, wrist[3:]]))
            world.data.qvel[moves : moves + 6] = 0.0
            world.step(0.02)
        assert world.robot_touches(CUBE) is closing


def test_fixed_body_cannot_be_placed():
    world = World("panda_gripper")
    with pytest.raises(LatentPolicyError, match="body 'robot/panda_link1' cannot be placed: expected a free joint"):
        world.place_body("robot/panda_link1", np.array([0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 1.0]))


@pytest.mark.parametrize("embodiment", ["mimic_hand", "panda_gripper"])
@pytest.mark.parametrize("arm", list_arms())
def test_every_shipped_arm_reaches_wrist_targets_within_5_mm(arm, embodiment):
    world = World(embodiment, arm=arm, cameras=())
    start, rng = world.wrist_pose, np.random.default_rng(3)
    for _ in range(4):
        goal = start.copy()
        goal[:3] += rng.uniform([-0.08, -0.2, -0.05], [0.08, 0.2, 0.15])
        q = world.arm.ik(goal, world.arm_q)
        np.testing.assert_allclose(world.arm.fk(q)[:3], goal[:3], atol=1e-4)
        world.set_arm_target(q)
        world.step(2.0)
        flange = world.data.body(f"robot/{load_arm(arm).flange}")
        wrist = flange.xpos + flange.xmat.reshape(3, 3) @ world.arm.T_flange_hand.translation
        np.testing.assert_allclose(wrist, goal[:3], atol=5e-3)
        np.testing.assert_allclose(world.wrist_pose[:3], wrist, atol=1e-4)


@needs_gl
@pytest.mark.parametrize("arm", list_arms())
def test_every_shipped_arm_is_rendered(arm):
    with_arm, others = World("panda_gripper", arm=arm), [World("panda_gripper", arm=name) for name in list_arms() if name != arm]
    image = with_arm.render("front")
    assert image.std() > 5 and all((image != other.render("front")).any() for other in others)


def test_arm_with_a_base_above_its_root_link_stands_at_the_origin(tmp_path):
    """Joints outside the arm stay at zero, as in its kinematics."""
    (tmp_path / "tiny.urdf").write_text(TINY_ARM)
    (tmp_path / "tiny.yaml").write_text(TINY_ARM_FILE)
    world = World("panda_gripper", arm=str(tmp_path / "tiny.yaml"), cameras=())
    names = {world.model.joint(i).name for i in range(world.model.njnt)}
    assert {"robot/turn", "robot/lift", "robot/panda_finger_joint1"} <= names and "robot/wave" not in names
    np.testing.assert_allclose(world.data.body("robot/base").xpos, 0.0, atol=1e-9)
    flange = world.data.body("robot/flange")
    wrist = flange.xpos + flange.xmat.reshape(3, 3) @ world.arm.T_flange_hand.translation
    np.testing.assert_allclose(world.wrist_pose[:3], wrist, atol=1e-6)


def test_arm_without_simulation_section_is_refused(tmp_path):
    (tmp_path / "tiny.urdf").write_text(TINY_ARM)
    (tmp_path / "tiny.yaml").write_text(TINY_ARM_FILE.partition("simulation:")[0])
    with pytest.raises(LatentPolicyError, match="tiny.yaml: this arm cannot be simulated: expected a section simulation"):
        World("panda_gripper", arm=str(tmp_path / "tiny.yaml"))


def test_wrist_cameras_have_one_pose_in_the_grasp_frame():
    """A policy that knows right hands can then drive left ones."""
    poses = [World(name).nominal.camera("robot/wrist") for name in ("mimic_hand", "mimic_hand_left", "panda_gripper")]
    for pose in poses[1:]:
        np.testing.assert_allclose([*pose.pos, *pose.quat], [*poses[0].pos, *poses[0].quat], atol=1e-9)


@pytest.mark.parametrize("name", ["orca_hand", "shadow_hand_left", "panda_gripper"])
def test_episodes_start_with_the_grasp_frame_above_the_table(name):
    world, frame = World(name, cameras=()), grasp_frame(load_embodiment(name))
    for seed in range(5):
        world.reset(seed)
        wrist = pose_to_se3(world.wrist_pose)
        pinch_point, aperture = frame.measure(world.hand_q)
        assert np.abs(wrist.act(pinch_point) - start.PINCH).max() <= start.OFFSET + 2e-3
        assert (wrist.rotation @ frame.rotation)[2, 2] < -np.cos(5 * start.TILT)
        assert aperture > 0.0


def test_appearance_changes_with_the_seed_and_physics_does_not():
    world = World("mimic_hand", cameras=())
    fields = ("geom_rgba", "light_diffuse", "cam_pos", "cam_quat")
    seen = []
    for seed in (1, 2, 1):
        world.reset(seed)
        seen.append({name: getattr(world.model, name).copy() for name in fields})
    for name in fields:
        assert np.array_equal(seen[0][name], seen[2][name]) and not np.array_equal(seen[0][name], seen[1][name])
    for name in ("geom_size", "geom_friction", "body_mass", "actuator_gainprm"):
        assert np.array_equal(getattr(world.model, name), getattr(world.nominal, name))


@needs_gl
def test_image_above_the_maximum_size_is_refused():
    world = World("panda_gripper")
    assert (world.render("front", scene.MAX_IMAGE_SIZE)[:20] > 0).any()  # up to its upper edge
    with pytest.raises(ValueError, match="at most 640 x 640 pixels, got 1024 x 1024"):
        world.render("front", 1024)


def test_changed_embodiment_is_simulated_with_its_changes():
    e, hand = load_embodiment("panda_gripper"), load_embodiment("leap_hand")
    stiff = dataclasses.replace(e, servo=dataclasses.replace(e.servo, kp=2 * e.servo.kp))
    kp = [World(given, cameras=()).model.actuator("robot/panda_finger_joint1").gainprm[0] for given in (e, stiff)]
    assert kp == [e.servo.kp, 2 * e.servo.kp]
    thick = dataclasses.replace(hand, shape=dataclasses.replace(hand.shape, tip_radius=0.02))
    radii = [World(given, cameras=()).model.geom("robot/index_tip").size[0] for given in (hand, thick)]
    assert radii == [hand.shape.tip_radius, 0.02]
    assert World("leap_hand_left", cameras=()).nominal is World("leap_hand_left", cameras=()).nominal  # compiled once


def test_human_hand_cannot_be_simulated():
    with pytest.raises(LatentPolicyError, match="human_hand"):
        World("human_hand")


def test_unknown_camera_is_refused():
    with pytest.raises(LatentPolicyError, match="panda_gripper has no camera 'top'; available: front, wrist"):
        World("panda_gripper", cameras=("front", "top"))


@needs_gl
def test_images_show_the_cube_at_its_position(world):
    """The red pixels of the front camera move with the cube, and every camera of the robot draws."""
    centres = []
    for seed in range(6):
        world.reset(seed)
        images = {camera: world.render(camera) for camera in world.cameras}
        assert all(p.shape == (96, 96, 3) and p.dtype == np.uint8 and p.std() > 5 for p in images.values())
        r, g, b = images["front"].astype(int).transpose(2, 0, 1)
        rows, columns = np.nonzero((r > 100) & (r > 2 * g) & (r > 2 * b))
        assert len(rows) >= 10
        centres.append([columns.mean(), world.body_pose(CUBE)[1]])
    columns, y = np.array(centres).T
    assert np.corrcoef(columns, y)[0, 1] > 0.95


@needs_gl
def test_two_worlds_render_in_one_process():
    one, other = World("panda_gripper"), World("mimic_hand", image_size=64)
    before = one.render("front")
    assert other.render("wrist").shape == (64, 64, 3)
    np.testing.assert_array_equal(one.render("front"), before)


@needs_gl
def test_rendering_works_when_mujoco_was_imported_earlier():
    code = "import mujoco; from latent_policy_ros.sim.world import World; print(World('panda_gripper').render('front').shape)"
    unset = {name: value for name, value in os.environ.items() if name not in ("MUJOCO_GL", "PYOPENGL_PLATFORM")}
    result = subprocess.run([sys.executable, "-c", code], env=unset, capture_output=True, text=True, timeout=60)
    assert result.stdout.startswith("("), result.stderr


def test_without_opengl_physics_works_and_rendering_names_the_remedy():
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
