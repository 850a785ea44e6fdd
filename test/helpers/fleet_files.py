"""A fleet file with artifacts that exist."""

import numpy as np
import pytest

from latent_policy_ros.embodiments import load_embodiment
from latent_policy_ros.embodiments.human.human_hand import HumanHand
from latent_policy_ros.latent.space import Codec, LatentSpace
from latent_policy_ros.policy.checkpoint import Checkpoint
from latent_policy_ros.policy.scaling import Scaling
from latent_policy_ros.policy.settings import ModelSettings


def codec(name, h=2, dim=4):
    e = load_embodiment(name)
    d = e.action_dim
    shapes = {"encoder.w1": (d, h), "encoder.b1": (h,), "encoder.w2": (h, dim), "encoder.b2": (dim,),
              "decoder.w1": (dim, h), "decoder.b1": (h,), "decoder.w2": (h, d), "decoder.b2": (d,),
              "mean": (d,), "std": (d,), "lower": (d,), "upper": (d,)}  # fmt: skip
    return Codec(name, e.content_hash, e.action_names, {k: np.ones(s, np.float32) for k, s in shapes.items()})


@pytest.fixture(scope="session")
def artifact_folders(tmp_path_factory):
    """{policy, latent}: artifact_folders that a fleet can name."""
    folder = tmp_path_factory.mktemp("artifacts")
    LatentSpace({name: codec(name) for name in ("mimic_hand", "panda_gripper")}).save(folder / "latent")
    scaling = Scaling(*[np.ones(2, np.float32)] * 4)
    Checkpoint(ModelSettings(), "latent", scaling, np.ones((1, 4), np.float32), {"w": np.ones(2, np.float32)}).save(
        folder / "policy"
    )
    return {"policy": str(folder / "policy"), "latent": str(folder / "latent")}


@pytest.fixture(scope="session")
def recorded_hand(tmp_path_factory):
    """A file that shows a left hand closing, in mm."""
    file = tmp_path_factory.mktemp("recordings") / "hand.npz"
    keypoints = HumanHand().keypoints(np.linspace(0.0, 0.8, 30)[:, None] * np.ones(21))
    np.savez(file, keypoints=keypoints * [1000.0, -1000.0, 1000.0])
    return str(file)


@pytest.fixture
def fleet_content(artifact_folders):
    """What a good fleet file says."""
    return {
        "task": "stack: all", **artifact_folders, "rate": 10,
        "robots": {
            "left": {"embodiment": "mimic_hand", "cameras": ["front", "wrist"], "driver": "sim", "seed": 7},
            "right": {"embodiment": "panda_gripper", "cameras": ["front"], "driver": "mock"},
        },
    }  # fmt: skip
