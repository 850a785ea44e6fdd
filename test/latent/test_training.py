"""Training brings paired actions together and decodes them; torch and numpy agree."""

from dataclasses import dataclass, replace
from types import SimpleNamespace

import numpy as np
import pytest
import torch

from latent_policy_ros.errors import ConfigError
from latent_policy_ros.latent.metrics import cross_reconstruction, split_by_recording
from latent_policy_ros.latent.networks import TorchCodec, info_nce
from latent_policy_ros.latent.settings import make_settings, read_settings
from latent_policy_ros.latent.space import LatentSpace
from latent_policy_ros.latent.train import LatentSettings, train_latent

QUICK = LatentSettings(hidden=64, batch=256, contrastive_steps=250, decoding_steps=400, learning_rate=3e-3, dim=8)
WIDTHS = {"person": 20, "hand": 11, "gripper": 1}


@dataclass
class Pairs:
    actions: dict
    recording: np.ndarray


def synthetic_pairs(frames=3000, recordings=15) -> Pairs:
    """Smooth motions of a 2-dimensional hidden pose, seen by each embodiment through a map of its own."""
    rng = np.random.default_rng(0)
    hidden = rng.uniform(-1, 1, (frames, 2))
    actions = {}
    for name, width in WIDTHS.items():
        lift = rng.normal(size=(2, width))
        actions[name] = np.sin(hidden @ lift) if width > 1 else 0.5 + 0.5 * hidden[:, :1]
    return Pairs(actions, np.arange(frames) * recordings // frames)


def embodiments():
    return {
        name: SimpleNamespace(
            name=name, content_hash=name, action_names=tuple(f"{name}{i}" for i in range(d)),
            action_lower=np.full(d, 0.0 if d == 1 else -1.0), action_upper=np.ones(d),
        )
        for name, d in WIDTHS.items()
    }  # fmt: skip


@pytest.fixture(scope="module")
def trained(tmp_path_factory) -> LatentSpace:
    torch.set_num_threads(1)
    folder = tmp_path_factory.mktemp("latent")
    space = train_latent(QUICK, synthetic_pairs(), embodiments(), folder)
    assert LatentSpace.load(folder).latent_id == space.latent_id
    return space


def test_what_one_encodes_another_decodes(trained):
    errors = trained.report["cross_reconstruction"]
    for name in WIDTHS:
        assert errors[name][name]["r2"] > 0.9, errors
    assert errors["person"]["hand"]["r2"] > 0.9 and errors["hand"]["person"]["r2"] > 0.85
    assert errors["person"]["gripper"]["r2"] > 0.9 and errors["hand"]["gripper"]["r2"] > 0.9
    assert errors["gripper"]["hand"]["r2"] < 0.9  # one number cannot tell the whole pose


def test_paired_actions_are_nearer_than_others(trained):
    pairs = synthetic_pairs()
    first = trained.encode("person", pairs.actions["person"][:200])
    second = trained.encode("hand", pairs.actions["hand"][:200])
    rank = (first @ second.T > np.sum(first * second, axis=1, keepdims=True)).sum(axis=1)
    assert np.median(rank) <= 5


def test_the_same_seed_gives_the_same_space():
    short = replace(QUICK, contrastive_steps=5, decoding_steps=5)
    ids = [train_latent(short, synthetic_pairs(), embodiments()).latent_id for _ in range(2)]
    assert ids[0] == ids[1]
    assert train_latent(replace(short, seed=1), synthetic_pairs(), embodiments()).latent_id != ids[0]


def test_torch_and_numpy_agree():
    torch.manual_seed(0)
    x = np.random.default_rng(0).normal(0.3, 0.4, (50, 11)).astype(np.float32)
    codec = TorchCodec(x, 32, 8)
    space = LatentSpace({"hand": codec.to_numpy(embodiments()["hand"])})
    z = codec.encode(codec.normalise(torch.from_numpy(x)))
    assert np.allclose(space.encode("hand", x), z.detach().numpy(), atol=1e-6)
    decoded = codec.decode(2 * z).detach().numpy() * codec.std.numpy() + codec.mean.numpy()
    assert np.allclose(space.decode("hand", 2 * z.detach().numpy()), np.clip(decoded, -1, 1), atol=1e-5)


def test_info_nce_is_lowest_for_matching_rows_and_chance_for_equal_ones():
    z = torch.nn.functional.normalize(torch.randn(64, 8), dim=1)
    assert info_nce([z, z], 0.05) < info_nce([z, z.roll(1, 0)], 0.05)
    same = z[:1].expand(64, 8)
    assert info_nce([same, same, same], 0.05).item() == pytest.approx(np.log(64), rel=1e-5)


def test_recordings_are_never_split():
    recording = np.repeat(np.arange(10), 7)
    train, held_out = split_by_recording(recording, 0.2, np.random.default_rng(0))
    assert len(train) == 56 and len(held_out) == 14
    assert not set(recording[train]) & set(recording[held_out])
    with pytest.raises(ValueError, match="at least 2 recordings"):
        split_by_recording(np.zeros(5), 0.2, np.random.default_rng(0))


def test_a_constant_answer_has_no_r2(space):
    constant = replace(
        space.codecs["hand"], tensors={**space.codecs["hand"].tensors, "decoder.w2": np.zeros((8, 3), np.float32)}
    )
    flat = LatentSpace({"hand": constant})
    x = np.random.default_rng(0).uniform(size=(100, 3))
    assert cross_reconstruction(flat, {"hand": x})["hand"]["hand"]["r2"] < 0.01


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"batches": 3}, "s.yaml: batches: unknown field; available: batch,"),
        ({"batch": 2.5}, "s.yaml: batch: expected int, got 2.5"),
        ({"batch": True}, "expected int, got True"),
        ({"embodiments": "faive_hand"}, "embodiments: expected a list of str"),
        ({"embodiments": ["faive_hand"]}, "at least 2 to share"),
        ({"held_out": 1.5}, "held_out: expected a fraction"),
    ],
)
def test_wrong_settings_are_named(values, message):
    with pytest.raises(ConfigError, match=message):
        make_settings(LatentSettings, values, "s.yaml")


def test_shipped_settings_are_the_defaults():
    assert read_settings(LatentSettings, "latent") == LatentSettings()
    with pytest.raises(ConfigError, match="available: .*latent"):
        read_settings(LatentSettings, "latnt")
