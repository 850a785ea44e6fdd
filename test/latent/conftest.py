"""Latent spaces for tests: one with random weights, and one trained for seconds on generated motion."""

import pytest
import torch
from random_latents import random_space

from latent_policy_ros.embodiments import load_embodiment
from latent_policy_ros.latent.settings import LatentSettings
from latent_policy_ros.latent.training import train_latent
from latent_policy_ros.retargeting import make_pairs

NAMES = ("human_hand", "faive_hand", "panda_gripper")
QUICK = LatentSettings(
    embodiments=NAMES, hidden=64, batch=256, contrastive_steps=20, decoding_steps=1200, contrastive_weight=0.01, dim=16,
    held_out=0.2,
)  # fmt: skip

space = pytest.fixture(random_space)


@pytest.fixture(scope="session")
def embodiments():
    return {name: load_embodiment(name) for name in NAMES}


@pytest.fixture(scope="session")
def pairs():
    return make_pairs(NAMES, seed=0, frames=4000)


@pytest.fixture(scope="session")
def quick():
    return QUICK


@pytest.fixture(scope="session")
def trained(embodiments, pairs):
    torch.set_num_threads(1)
    return train_latent(QUICK, pairs, embodiments)
