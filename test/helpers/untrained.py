"""Latent spaces of real embodiments with random weights."""

import numpy as np

from latent_policy_ros.embodiments import load_embodiment
from latent_policy_ros.latent.space import Codec, LatentSpace


def untrained_codec(embodiment, seed, dim, h=16):
    """A codec with random weights, whose decoder gives actions near the middle of their range."""
    rng = np.random.default_rng(seed)
    d = embodiment.action_dim
    shapes = {"encoder.w1": (d, h), "encoder.b1": (h,), "encoder.w2": (h, dim), "encoder.b2": (dim,),
              "decoder.w1": (dim, h), "decoder.b1": (h,), "decoder.w2": (h, d), "decoder.b2": (d,)}  # fmt: skip
    tensors = {key: rng.normal(size=shape).astype(np.float32) for key, shape in shapes.items()}
    tensors["decoder.w2"] *= 0.2  # actions in the middle of their range
    low, high = (np.asarray(v, np.float32) for v in (embodiment.action_lower, embodiment.action_upper))
    tensors |= {"lower": low, "upper": high, "mean": (low + high) / 2, "std": (high - low) / 4}
    return Codec(embodiment.name, embodiment.content_hash, embodiment.action_names, tensors)


def untrained_space(*names, dim=8) -> LatentSpace:
    """A latent space of these embodiments and the human hand."""
    return LatentSpace({n: untrained_codec(load_embodiment(n), k, dim) for k, n in enumerate((*names, "human_hand"))})
