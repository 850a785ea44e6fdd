"""The parts of a policy: rotations, scaling, moved images, keypoints."""

import numpy as np
import torch

from latent_policy_ros.policy.diffusion import PolicyNetwork
from latent_policy_ros.policy.encoders.keypoint_net import KeypointNet, random_shift
from latent_policy_ros.policy.rotations import quaternion, rotation_6d
from latent_policy_ros.policy.scaling import POSITION, Scaling, flatten
from latent_policy_ros.policy.settings import PolicySettings


def random_quaternions(count: int) -> np.ndarray:
    q = np.random.default_rng(0).normal(size=(count, 4))
    half_turns = np.eye(4)  # where three of the four ways to divide fail
    q = np.concatenate([q, half_turns, half_turns + 1e-9])
    q /= np.linalg.norm(q, axis=1, keepdims=True)
    return np.where(q[:, 3:] < 0, -q, q)


def test_rotations_survive_six_numbers():
    q = random_quaternions(500)
    back = quaternion(rotation_6d(q))
    assert np.allclose(np.abs(np.sum(back * q, axis=1)), 1, atol=1e-12)
    assert np.allclose(quaternion(3 * rotation_6d(q)), back, atol=1e-9)


def test_six_numbers_are_the_first_columns_of_the_matrix():
    yaw = np.array([0, 0, np.sin(0.3), np.cos(0.3)])
    assert np.allclose(rotation_6d(yaw), [np.cos(0.6), np.sin(0.6), 0, -np.sin(0.6), np.cos(0.6), 0])


def test_plans_survive_scaling():
    rng = np.random.default_rng(0)
    poses = np.concatenate([rng.normal(size=(30, 16, 3)), random_quaternions(472).reshape(30, 16, 4)], axis=-1)
    latents = rng.normal(size=(30, 16, 8))
    plans, position = flatten(poses, latents), poses[:, 0, :3].astype(np.float32)
    relative = plans.copy()
    relative[..., POSITION] -= position[:, None]
    scaling = Scaling.of(plans[:, 0], relative)
    scaled = scaling.scale_plans(plans, position)
    assert np.abs(scaled).max() <= 1 + 1e-5
    wrist, latent = scaling.unscale_plans(scaled, position)
    assert np.allclose(wrist[..., :3], poses[..., :3], atol=1e-5) and np.allclose(latent, latents, atol=1e-5)
    assert np.allclose(np.abs(np.sum(wrist[..., 3:] * poses[..., 3:], axis=-1)), 1, atol=1e-5)


def test_a_component_that_never_moves_does_not_blow_up():
    scaling = Scaling.of(np.ones((5, 13), np.float32), np.ones((5, 16, 13), np.float32))
    assert np.all(scaling.plan_scale >= 0.02)


def test_shifts_move_contents_as_they_say():
    images = np.random.default_rng(0).integers(0, 255, (20, 16, 16, 3), dtype=np.uint8)
    moved, shift = random_shift(images, 3, np.random.default_rng(1))
    assert np.abs(shift).max() == 3
    for image, result, (right, down) in zip(images, moved, shift.astype(int), strict=True):
        assert np.array_equal(result[8 + down, 8 + right], image[8, 8])


def test_keypoints_of_a_shifted_image_stay_where_they_were_in_the_world():
    torch.manual_seed(0)
    net = KeypointNet(4, 8)
    net.heads.weight.data[:4] *= 100  # look at one place, as after training
    image = torch.full((1, 64, 64, 3), 60, dtype=torch.uint8)
    image[:, 28:36, 28:36] = 255
    moved = image.roll((8, 4), (1, 2))
    truth = net(image)
    told = net(moved, torch.tensor([[4.0, 8.0]]))
    assert (told - truth).abs().max() < 0.3 * (net(moved) - truth).abs().max()


def test_the_shipped_sizes_fit_in_12_megabytes():
    network = PolicyNetwork(PolicySettings(), 32)
    assert sum(p.numel() for p in network.parameters()) < 3_000_000
