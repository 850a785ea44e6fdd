"""Left hands share the codec of the right hand: equal joints give mirrored poses."""

from dataclasses import replace

import numpy as np
import pytest

from latent_policy_ros.common.errors import ArtifactError
from latent_policy_ros.embodiments import HandKinematics, load_embodiment
from latent_policy_ros.latent.space import LatentSpace


def test_left_and_right_share_a_codec(trained):
    left = load_embodiment("faive_hand_left")
    assert trained.codec("faive_hand_left") is trained.codec("faive_hand_right") is trained.codec("faive_hand")
    trained.check(left)
    trained.check(load_embodiment("faive_hand_right"))


def test_same_latent_gives_the_mirrored_pose(trained, pairs):
    z = trained.encode("human_hand", pairs.actions["human_hand"][::100])
    right, left = (
        HandKinematics(load_embodiment(name)).fingertips(trained.decode(name, z)) for name in ("faive_hand", "faive_hand_left")
    )
    assert np.abs(right - left * [1, -1, 1]).max() < 1e-6 and np.ptp(right[..., 1]) > 0.05


def test_changed_left_hand_is_refused(trained):
    left = load_embodiment("faive_hand_left")
    with pytest.raises(ArtifactError, match="trained for faive_hand_left .* but the embodiment is now"):
        trained.check(replace(left, lower=left.lower - 0.1, content_hash="ff" * 32))


def test_space_of_left_hands_serves_right_hands(trained):
    left = load_embodiment("faive_hand_left")
    codec = replace(trained.codec("faive_hand"), name=left.name, content_hash=left.content_hash)
    space = LatentSpace({left.name: codec})
    space.check(load_embodiment("faive_hand"))
    space.check(left)
