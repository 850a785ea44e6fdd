"""Random colours of training images."""

import numpy as np
import pytest

from latent_policy_ros.policy.training.colour_jitter import LUMINANCE, colour_matrices, coloured_images
from latent_policy_ros.policy.training.dataset import DemonstrationDataset


def test_grey_changes_by_brightness_and_balance_only():
    matrices = colour_matrices(np.random.default_rng(0), 2000, 0.4)
    factors = matrices @ np.ones(3)
    assert factors.min() >= 0.6 * 0.8 and factors.max() <= 1.4 * 1.2 and np.ptp(factors) > 0.7
    assert np.abs(factors.mean() - 1) < 0.02
    red = matrices[:, 0, 0] / factors[:, 0]  # share of the red channel that stays: saturation
    assert red.min() == pytest.approx(0.6 + 0.4 * LUMINANCE[0], abs=0.01)


def test_colours_saturate_and_geometry_is_kept():
    images = np.random.default_rng(1).integers(0, 256, (3, 8, 9, 3), np.uint8)
    matrices = np.stack([np.eye(3), 2 * np.eye(3), np.eye(3)[::-1]])
    same, bright, swapped = coloured_images(images, matrices)
    assert np.array_equal(same, images[0])
    assert np.array_equal(bright, np.minimum(2 * images[1].astype(int), 255))
    assert np.array_equal(swapped, images[2][..., ::-1])


def test_only_training_batches_are_coloured(demonstrations, quick, grasp_space, with_training):
    plain, jittered = (
        DemonstrationDataset([demonstrations], with_training(quick, colour_jitter=strength, image_shift=0), grasp_space)
        for strength in (0.0, 0.5)
    )
    draw = lambda data, augment: data.batch(np.random.default_rng(2), augment).observations.images["front"].images.numpy()
    assert np.array_equal(draw(plain, False), draw(jittered, False))
    assert not np.array_equal(draw(jittered, True), draw(jittered, False))
