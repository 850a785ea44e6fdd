"""A small latent space with random weights, and demonstrations of reaching for a red square."""

import numpy as np
import pytest
from reaching import SIZE, reach

from latent_policy_ros.latent.space import Codec, LatentSpace
from latent_policy_ros.policy.settings import PolicySettings


def random_codec(name: str, d: int, seed: int, h: int = 8, dim: int = 4) -> Codec:
    rng = np.random.default_rng(seed)
    shapes = {"encoder.w1": (d, h), "encoder.b1": (h,), "encoder.w2": (h, dim), "encoder.b2": (dim,)}
    shapes |= {"decoder.w1": (dim, h), "decoder.b1": (h,), "decoder.w2": (h, d), "decoder.b2": (d,), "mean": (d,)}
    tensors = {key: rng.normal(size=shape).astype(np.float32) for key, shape in shapes.items()}
    tensors |= {"std": np.ones(d, np.float32), "lower": np.zeros(d, np.float32), "upper": np.ones(d, np.float32)}
    return Codec(name, f"{seed:02d}" * 32, tuple(f"j{i}" for i in range(d)), tensors)


@pytest.fixture(scope="session")
def space() -> LatentSpace:
    """Two embodiments, ``hand`` (3 numbers) and ``gripper`` (1), latents of 4."""
    return LatentSpace({"hand": random_codec("hand", 3, 1), "gripper": random_codec("gripper", 1, 2)}, {"seconds": 1.5})


@pytest.fixture(scope="session")
def demonstrations(tmp_path_factory, space):
    """Folder with 40 episodes of each embodiment, and one failure."""
    folder, rng = tmp_path_factory.mktemp("demonstrations"), np.random.default_rng(0)
    for i in range(40):
        for embodiment in ("hand", "gripper"):
            goal, start = rng.uniform(-1, 1, 2), rng.uniform(-0.1, 0.1, 2)
            reach(goal, start, embodiment, space).save(folder / f"{embodiment}_{i:03d}.safetensors")
    return folder


QUICK = PolicySettings(
    image_size=SIZE, keypoints=8, width=64, denoiser_width=96, denoiser_blocks=2, horizon=4, steps=500, batch=48,
    warmup=50, learning_rate=2e-3, shift=2, checkpoint_every=10_000, ema_decay=0.99, wrist_noise=0.002,
)  # fmt: skip


@pytest.fixture(scope="session")
def quick() -> PolicySettings:
    """Settings of a policy that learns in seconds."""
    return QUICK
