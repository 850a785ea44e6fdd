"""Rotations, scaling, image shifts and the keypoint encoder."""

import numpy as np
import torch

from latent_policy_ros.policy.diffusion import PolicyNetwork
from latent_policy_ros.policy.encoders.keypoint_net import KeypointNet, random_shift
from latent_policy_ros.policy.rotations import quaternion_to_rotation_6d, rotation_6d_to_quaternion
from latent_policy_ros.policy.scaling import POSITION, Scaling, flatten
from latent_policy_ros.policy.settings import ModelSettings


def random_quaternions(count: int) -> np.ndarray:
    q = np.random.default_rng(0).normal(size=(count, 4))
    half_turns = np.eye(4)  # where three of the four formulas are singular
    q = np.concatenate([q, half_turns, half_turns + 1e-9])
    q /= np.linalg.norm(q, axis=1, keepdims=True)
    return np.where(q[:, 3:] < 0, -q, q)


def test_6d_rotation_round_trip():
    q = random_quaternions(500)
    back = rotation_6d_to_quaternion(quaternion_to_rotation_6d(q))
    assert np.allclose(np.abs(np.sum(back * q, axis=1)), 1, atol=1e-12)
    assert np.allclose(rotation_6d_to_quaternion(3 * quaternion_to_rotation_6d(q)), back, atol=1e-9)


def test_6d_rotation_is_the_first_two_matrix_columns():
    yaw = np.array([0, 0, np.sin(0.3), np.cos(0.3)])
    assert np.allclose(quaternion_to_rotation_6d(yaw), [np.cos(0.6), np.sin(0.6), 0, -np.sin(0.6), np.cos(0.6), 0])


def test_chunk_scaling_round_trip():
    rng = np.random.default_rng(0)
    poses = np.concatenate([rng.normal(size=(30, 16, 3)), random_quaternions(472).reshape(30, 16, 4)], axis=-1)
    latents = rng.normal(size=(30, 16, 8))
    chunks, position = flatten(poses, latents), poses[:, 0, :3].astype(np.float32)
    relative = chunks.copy()
    relative[..., POSITION] -= position[:, None]
    scaling = Scaling.fit(chunks[:, 0], relative)
    scaled = scaling.scale_chunks(chunks, position)
    assert np.abs(scaled).max() <= 1 + 1e-5
    wrist, latent = scaling.unscale_chunks(scaled, position)
    assert np.allclose(wrist[..., :3], poses[..., :3], atol=1e-5) and np.allclose(latent, latents, atol=1e-5)
    assert np.allclose(np.abs(np.sum(wrist[..., 3:] * poses[..., 3:], axis=-1)), 1, atol=1e-5)


def test_constant_components_have_a_minimum_scale():
    scaling = Scaling.fit(np.ones((5, 13), np.float32), np.ones((5, 16, 13), np.float32))
    assert np.all(scaling.chunk_scale >= 0.02)


def test_random_shift_returns_the_applied_shift():
    images = np.random.default_rng(0).integers(0, 255, (20, 16, 16, 3), dtype=np.uint8)
    moved, shift = random_shift(images, 3, np.random.default_rng(1))
    assert np.abs(shift).max() == 3
    for image, result, (right, down) in zip(images, moved, shift.astype(int), strict=True):
        assert np.array_equal(result[8 + down, 8 + right], image[8, 8])


def test_keypoints_are_corrected_for_the_shift():
    torch.manual_seed(0)
    net = KeypointNet(64, 8, keypoints=4)
    net.heads.weight.data[:4] *= 100  # peaked attention, as after training
    image = torch.full((1, 64, 64, 3), 60, dtype=torch.uint8)
    image[:, 28:36, 28:36] = 255
    moved = image.roll((8, 4), (1, 2))
    truth = net(image)
    corrected = net(moved, torch.tensor([[4.0, 8.0]]))
    assert (corrected - truth).abs().max() < 0.3 * (net(moved) - truth).abs().max()


def test_default_network_has_less_than_3_million_parameters():
    network = PolicyNetwork(ModelSettings(), 32)
    assert sum(p.numel() for p in network.parameters()) < 3_000_000
