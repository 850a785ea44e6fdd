"""A small latent space with random weights, and demonstrations of reaching for a red square."""

import numpy as np
import pytest
from random_latents import random_space
from reaching import SIZE, reach, save

from latent_policy_ros.policy.settings import PolicySettings

space = pytest.fixture(random_space, scope="session")


@pytest.fixture(scope="session")
def demonstrations(tmp_path_factory, space):
    """Folder with 40 episodes of each embodiment."""
    folder, rng = tmp_path_factory.mktemp("demonstrations"), np.random.default_rng(0)
    episodes = []
    for _ in range(40):
        for embodiment in ("hand", "gripper"):
            goal, start = rng.uniform(-1, 1, 2), rng.uniform(-0.1, 0.1, 2)
            episodes.append(reach(goal, start, embodiment, space))
    save(folder, episodes, space)
    return folder


QUICK = PolicySettings(
    image_size=SIZE, keypoints=8, width=64, denoiser_width=96, denoiser_blocks=2, horizon=4, steps=500, batch=48,
    warmup=50, learning_rate=2e-3, shift=2, checkpoint_every=10_000, ema_decay=0.99, wrist_noise=0.002,
)  # fmt: skip


@pytest.fixture(scope="session")
def quick() -> PolicySettings:
    """Settings of a policy that learns in seconds."""
    return QUICK
