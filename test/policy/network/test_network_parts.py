"""Rotations, scaling, image shifts and the keypoint encoder."""

import numpy as np
import torch

from latent_policy_ros.policy.network.diffusion import PolicyNetwork
from latent_policy_ros.policy.network.encoders.keypoint_net import KeypointNet, shifted_images
from latent_policy_ros.policy.rotations import (
    matrix_to_quaternion,
    matrix_to_rotation_6d,
    quaternion_to_matrix,
    rotation_6d_to_matrix,
)
from latent_policy_ros.policy.scaling import Scaling
from latent_policy_ros.policy.settings import ModelSettings


def random_quaternions(count: int) -> np.ndarray:
    q = np.random.default_rng(0).normal(size=(count, 4))
    half_turns = np.eye(4)  # where three of the four formulas are singular
    q = np.concatenate([q, half_turns, half_turns + 1e-9])
    q /= np.linalg.norm(q, axis=1, keepdims=True)
    return np.where(q[:, 3:] < 0, -q, q)


def test_rotation_conversions_round_trip():
    q = random_quaternions(500)
    matrix = quaternion_to_matrix(3 * q)
    assert np.allclose(matrix.swapaxes(1, 2) @ matrix, np.eye(3), atol=1e-9) and np.allclose(np.linalg.det(matrix), 1)
    assert np.allclose(np.abs(np.sum(matrix_to_quaternion(matrix) * q, axis=1)), 1, atol=1e-9)
    assert np.allclose(rotation_6d_to_matrix(3 * matrix_to_rotation_6d(matrix)), matrix, atol=1e-9)


def test_6d_rotation_is_the_first_two_matrix_columns():
    yaw = np.array([0, 0, np.sin(0.3), np.cos(0.3)])
    expected = [np.cos(0.6), np.sin(0.6), 0, -np.sin(0.6), np.cos(0.6), 0]
    assert np.allclose(matrix_to_rotation_6d(quaternion_to_matrix(yaw)), expected)


def test_chunk_scaling_round_trip():
    rng = np.random.default_rng(0)
    rotations = matrix_to_rotation_6d(quaternion_to_matrix(random_quaternions(472))).reshape(30, 16, 6)
    chunks = np.concatenate([rng.normal(size=(30, 16, 3)), rotations, rng.normal(size=(30, 16, 8))], axis=-1)
    states = np.concatenate([chunks[:, 0], rng.normal(size=(30, 1))], axis=-1)
    scaling = Scaling.fit(states, chunks)
    scaled = scaling.scale_chunks(chunks)
    assert np.abs(scaled).max() <= 1 + 1e-5 and np.abs(scaling.scale_states(states)).max() <= 1 + 1e-5
    assert np.allclose(scaling.unscale_chunks(scaled), chunks, atol=1e-5)


def test_constant_components_have_a_minimum_scale():
    scaling = Scaling.fit(np.ones((5, 14), np.float32), np.ones((5, 16, 13), np.float32))
    assert np.all(scaling.chunk_scale >= 0.02)


def test_shifted_images_move_right_and_down():
    images = np.random.default_rng(0).integers(0, 255, (20, 16, 16, 3), dtype=np.uint8)
    shifts = np.random.default_rng(1).integers(-3, 4, (20, 2))
    for image, result, (right, down) in zip(images, shifted_images(images, shifts), shifts, strict=True):
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


def test_keypoints_without_values_tell_positions_alone_and_are_noisy_in_training():
    net = KeypointNet(64, 8, keypoints=4, values=False, noise=0.05)
    image = torch.randint(0, 255, (1, 64, 64, 3), dtype=torch.uint8)
    assert not torch.equal(net(image), net(image))
    net.eval()
    assert torch.equal(net(image), net(image))
    net.heads.weight.data.zero_()  # attention is uniform: all keypoints are in the middle, whatever the colours
    assert torch.allclose(net(image), net(255 - image), atol=1e-6)


def test_default_network_has_less_than_3_million_parameters():
    network = PolicyNetwork(ModelSettings(), 32)
    assert sum(p.numel() for p in network.parameters()) < 3_000_000
