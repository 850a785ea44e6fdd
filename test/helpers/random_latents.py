"""A small latent space with random weights."""

import numpy as np

from latent_policy_ros.latent.space import Codec, LatentSpace


def random_codec(name: str, d: int, seed: int, h: int = 8, dim: int = 4) -> Codec:
    rng = np.random.default_rng(seed)
    shapes = {"encoder.w1": (d, h), "encoder.b1": (h,), "encoder.w2": (h, dim), "encoder.b2": (dim,)}
    shapes |= {"decoder.w1": (dim, h), "decoder.b1": (h,), "decoder.w2": (h, d), "decoder.b2": (d,), "mean": (d,)}
    tensors = {key: rng.normal(size=shape).astype(np.float32) for key, shape in shapes.items()}
    tensors |= {"std": np.ones(d, np.float32), "lower": np.zeros(d, np.float32), "upper": np.ones(d, np.float32)}
    return Codec(name, f"{seed:02d}" * 32, tuple(f"j{i}" for i in range(d)), tensors)


def random_space() -> LatentSpace:
    """Two embodiments, ``hand`` (3 numbers) and ``gripper`` (1), latents of 4."""
    return LatentSpace({"hand": random_codec("hand", 3, 1), "gripper": random_codec("gripper", 1, 2)}, {"seconds": 1.5})
