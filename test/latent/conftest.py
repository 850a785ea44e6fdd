"""A small latent space with random weights."""

import pytest
from random_latents import random_space

space = pytest.fixture(random_space)
