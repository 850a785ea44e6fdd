"""Displaced hands in training: wrist images as from the displaced camera, and actions that lead back."""

import io

import cv2
import numpy as np
import pinocchio as pin
import pytest
from reaching import reach, save
from rich.console import Console

from latent_policy_ros.common.config import config_file, load, validate
from latent_policy_ros.common.errors import ConfigError
from latent_policy_ros.control.arm_kinematics import ArmKinematics, pose_to_se3, quaternion_from_rotation
from latent_policy_ros.policy.relative_chunk import absolute_chunks, relative_chunks
from latent_policy_ros.policy.rotations import matrix_to_rotation_6d, rotation_6d_to_matrix
from latent_policy_ros.policy.settings import PolicySettings
from latent_policy_ros.policy.training.dataset import DemonstrationDataset
from latent_policy_ros.policy.training.displacement import DisplacedHands, warped_image
from latent_policy_ros.policy.training.train import train_policy
from latent_policy_ros.sim.world import World


def few() -> PolicySettings:
    return load(PolicySettings, config_file("training", "policy_few", "settings"))


def red_centre(image):
    """Mean pixel (right, down) of the red cube."""
    red, green, blue = np.moveaxis(image.astype(int), -1, 0)
    rows, columns = np.nonzero((red > 120) & (green < 80) & (blue < 80))
    assert len(rows) > 15
    return np.array([columns.mean(), rows.mean()])


@pytest.mark.parametrize(("name", "seed"), [("mimic_hand", 3), ("allegro_hand_left", 2), ("panda_gripper", 2)])
def test_warped_image_is_that_of_the_displaced_camera(name, seed, grasp_space):
    """The cube is where the simulator's camera sees it after the arm has moved the hand by the displacement."""
    world, hands = World(name, "cube_in_box"), DisplacedHands(few().training.displacement, 96)
    world.reset(3)
    e, kinematics = world.embodiment, ArmKinematics(world.embodiment)
    recorded, wrist = world.render("wrist").copy(), pose_to_se3(world.wrist_pose)
    state = grasp_space.states(e, world.wrist_pose[None], e.to_action(world.hand_q)[None])[None]
    displaced, maps = hands.displace(state, np.array([True]), np.random.default_rng(seed))
    turned = rotation_6d_to_matrix(displaced[0, -1, 3:9]) @ rotation_6d_to_matrix(state[0, -1, 3:9]).T
    goal = displaced[0, -1, :3] + turned @ (wrist.translation - state[0, -1, :3])
    pose = np.r_[goal, quaternion_from_rotation(turned @ wrist.rotation)]
    for _ in range(60):
        world.set_arm_target(kinematics.solve(pose, world.arm_q).q)
        world.step(0.05)
    seen = red_centre(world.render("wrist"))
    assert np.linalg.norm(red_centre(recorded) - seen) > 20  # px
    assert np.linalg.norm(red_centre(warped_image(recorded, maps[0])) - seen) < 3


def test_displacement_is_rigid_and_grows_with_the_height():
    hands, rng = DisplacedHands(few().training.displacement, 96), np.random.default_rng(0)
    heights = np.repeat([0.02, 0.07, 0.22], 200)
    states = np.zeros((600, 2, 14), np.float32)
    states[..., 2], states[:, 0, 0] = heights[:, None], -0.01
    states[..., 3:9] = matrix_to_rotation_6d(np.diag([1.0, -1.0, -1.0]))
    chosen = np.arange(600) % 2 == 0
    displaced, maps = hands.displace(states, chosen, rng)
    moved = displaced[..., :3] - states[..., :3]
    np.testing.assert_allclose(moved[:, 0], moved[:, 1], atol=1e-6)
    np.testing.assert_array_equal(displaced[..., 9:], states[..., 9:])
    np.testing.assert_allclose(displaced[~chosen], states[~chosen], atol=1e-6)
    np.testing.assert_allclose(maps[~chosen] / maps[~chosen, 2:, 2:], np.broadcast_to(np.eye(3), (300, 3, 3)), atol=1e-6)
    sizes = [moved[chosen & (heights == height), 0, 0].std() for height in (0.02, 0.07, 0.22)]
    np.testing.assert_allclose(sizes, [0.0, 0.015, 0.06], rtol=0.2, atol=1e-9)


def test_actions_in_grasp_axes_do_not_depend_on_where_the_robot_is():
    rng = np.random.default_rng(0)
    rotations = np.stack([pin.exp3(v) for v in rng.normal(size=(5, 3))])
    pose = np.concatenate([rng.normal(size=(5, 3)), matrix_to_rotation_6d(rotations)], axis=-1)
    chunks = rng.normal(size=(5, 16, 13))
    moved_pose, moved = pose.copy(), chunks.copy()
    turn, shift = pin.exp3(np.array([0.0, 0.0, 0.7])), np.array([0.1, -0.2, 0.3])
    for values in (moved_pose, moved):
        for first in (0, 3, 6):
            values[..., first : first + 3] = values[..., first : first + 3] @ turn.T
        values[..., :3] += shift
    relative = relative_chunks(chunks, pose, "grasp")
    np.testing.assert_allclose(relative_chunks(moved, moved_pose, "grasp"), relative, atol=1e-12)
    assert np.abs(relative_chunks(moved, moved_pose, "base") - relative_chunks(chunks, pose, "base")).max() > 0.1
    for axes in ("base", "grasp"):
        np.testing.assert_allclose(absolute_chunks(relative_chunks(chunks, pose, axes), pose, axes), chunks, atol=1e-12)


def test_displaced_observations_lead_back_to_the_demonstrated_commands(demonstrations, grasp_space, quick, with_training):
    """Only the gripper lacks a wrist camera: it is not displaced, and the hand is seen by its wrist camera alone."""
    displacement = few().training.displacement.model_copy(update={"share": 0.99, "plane": -0.2})
    settings = with_training(quick, displacement=displacement, position_noise=0.0, rotation_noise=0.0, embodiment_dropout=0.0)
    data = DemonstrationDataset([demonstrations], settings, grasp_space)
    batch = data.batch(np.random.default_rng(0))
    names, images = np.array(batch.observations.embodiments), batch.observations.images
    front = images["front"].rows.numpy()
    displaced = np.setdiff1d(images["wrist"].rows.numpy(), front)
    assert len(displaced) > 20 and (names[front] == "panda_gripper").sum() == len(names) / 2
    states = batch.observations.states.numpy() * data.scaling.state_scale + data.scaling.state_offset
    chunks = absolute_chunks(data.scaling.unscale_chunks(batch.chunks.numpy()), states[:, -1, :9], "base")
    assert np.abs(batch.chunks.numpy()).max() < 1.5
    height = states[:, -1, 2]
    assert height[displaced].std() > 0.02 > height[front].std()
    assert np.ptp(chunks[..., 2]) < 0.05  # commands are at the height of the demonstrations, wherever the hand is


def test_training_tells_that_no_hand_can_be_displaced(space, quick, with_training, tmp_path):
    save(tmp_path / "data", [reach(np.zeros(2), np.ones(2) * 0.1, "panda_gripper", space)], space)
    settings = with_training(quick, displacement=few().training.displacement, steps=1)
    console = Console(record=True, file=io.StringIO(), width=200)
    train_policy(settings, [tmp_path / "data"], space, tmp_path / "policy", console=console)
    assert "training.displacement: no image of the camera wrist; no hand is displaced" in console.export_text()
    picture = cv2.imread(str(tmp_path / "policy" / "observations.png"))  # of each camera: as recorded, and as trained
    front, trained, *wrist = np.split(picture, 4)
    assert front.mean() > 50 and trained.mean() > 50 and not np.any(wrist)


@pytest.mark.parametrize(
    ("field", "value", "message"),
    [
        ("camera", "hand", "training.displacement.camera: expected one of model.cameras, .*got 'hand'"),
        ("camera_target", [0.012, -0.112, 0.3], "training.displacement.camera_target: expected another x or y than in camera_pos"),
        ("field_of_view", 180, "training.displacement.field_of_view"),
    ],
)
def test_calibration_that_cannot_be_is_refused(field, value, message):
    values = few().model_dump(mode="json")
    values["training"]["displacement"][field] = value
    with pytest.raises(ConfigError, match=message):
        validate(PolicySettings, values, "few.yaml")


def test_image_of_a_camera_in_the_plane_stays_finite():
    hands = DisplacedHands(few().training.displacement.model_copy(update={"plane": 0.5}), 96)
    states = np.zeros((1, 2, 14), np.float32)
    states[..., 2], states[..., 3:9] = 0.5 - 0.097, matrix_to_rotation_6d(np.diag([1.0, -1.0, -1.0]))
    displaced, maps = hands.displace(states, np.array([True]), np.random.default_rng(0))
    assert np.isfinite(maps).all() and np.allclose(displaced, states)
