"""Fit of a correspondence: a known transform is recovered, of the thumb alone or of the whole hand."""

import numpy as np
import pytest

from latent_policy_ros.retargeting.correspondence_fit import WHOLE_HAND_SCALE, fit_correspondence
from latent_policy_ros.retargeting.retarget_kernel import Correspondence

LENGTH = 0.12  # of the robot's fingers [m]


def initial(whole_hand):
    return Correspondence(
        whole_hand=whole_hand, bases=np.array([1, 5, 9]), tips=np.array([4, 8, 12]), anchors=np.array([1, 5, 9]),
        origins=np.zeros((3, 3)), rotations=np.tile(np.eye(3), (3, 1, 1)), lengths=np.full(3, LENGTH), last_bones=np.full(3, 0.02),
    )  # fmt: skip


@pytest.mark.parametrize(("whole_hand", "fitted", "scale"), [(False, 1, 0.7), (True, 3, WHOLE_HAND_SCALE)])
def test_transform_of_the_reached_fingertips_is_recovered(whole_hand, fitted, scale):
    """With a robot that reaches the same tips with every correspondence. Only a thumb is rotated."""
    rng, origin = np.random.default_rng(0), np.array([0.01, 0.02, 0.1])
    rotation = np.linalg.qr(rng.normal(size=(3, 3)))[0]
    rotation = np.eye(3) if whole_hand else rotation * np.linalg.det(rotation)
    person = rng.normal(size=(50, 3, 3))
    robot = origin + scale * LENGTH * person @ rotation.T
    before, found = initial(whole_hand), fit_correspondence(initial(whole_hand), lambda trial: (person, robot))
    np.testing.assert_allclose(found.lengths[:fitted], scale * LENGTH)
    np.testing.assert_allclose(found.rotations[:fitted], np.tile(rotation, (fitted, 1, 1)), atol=1e-9)
    np.testing.assert_allclose(found.origins[:fitted], np.tile(origin, (fitted, 1)), atol=1e-9)
    for field in ("lengths", "rotations", "origins"):
        np.testing.assert_array_equal(getattr(found, field)[fitted:], getattr(before, field)[fitted:])
