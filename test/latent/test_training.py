"""Training of a latent space: decoding errors, reproducibility, torch against numpy, settings."""

import numpy as np
import pytest
import torch

from latent_policy_ros.common.config import config_file, load, validate
from latent_policy_ros.common.errors import ConfigError, LatentPolicyError
from latent_policy_ros.latent.networks import TorchCodec
from latent_policy_ros.latent.objective import Objective
from latent_policy_ros.latent.settings import LatentSettings
from latent_policy_ros.latent.space import LatentSpace
from latent_policy_ros.latent.training import measure_held_out, reconstruct, train_latent

SMALL = LatentSettings(hidden=32, dim=8)


@pytest.fixture(scope="module")
def measures(trained, quick, pairs, embodiments):
    return measure_held_out(trained, quick, pairs, embodiments)


def test_decoding_across_embodiments(measures):
    at = {name: i for i, name in enumerate(measures.names)}
    tips, r2 = measures.pairs["tips"], measures.pairs["r2"]
    human, hand, gripper = at["human_hand"], at["faive_hand"], at["panda_gripper"]
    assert tips[human, hand] < 9 and tips[hand, hand] < 6  # mm, on held-out recordings
    assert r2[human, hand] > 0.8 and r2[hand, gripper] > 0.8 and r2[human, gripper] > 0.8
    assert tips[gripper, hand] > 2 * tips[human, hand]  # one action does not determine a pose
    assert measures.pairs["pinch"][human, hand] < 7


def test_paired_actions_have_similar_latents(measures):
    i, j = measures.names.index("human_hand"), measures.names.index("faive_hand")
    assert measures.pairs["misalignment"][i, j] < 0.5
    assert measures.pairs["retrieval"][i, j] > 0.1  # chance is 1 in 200


def test_random_latents_are_out_of_distribution(trained, quick, pairs):
    z = trained.encode("human_hand", pairs.actions["human_hand"])
    anywhere = np.random.default_rng(0).normal(size=(500, trained.dim))
    assert (trained.distance(z) > 1).mean() < 0.02
    assert np.median(trained.distance(anywhere)) > 2 * np.median(trained.distance(z))


def test_training_is_reproducible(quick, pairs, embodiments):
    short = quick.model_copy(update={"contrastive_steps": 3, "decoding_steps": 3})
    ids = [train_latent(short, pairs, embodiments).latent_id for _ in range(2)]
    assert ids[0] == ids[1]
    assert train_latent(short.model_copy(update={"seed": 1}), pairs, embodiments).latent_id != ids[0]


@pytest.mark.parametrize("bounded", [True, False])
def test_torch_and_numpy_agree(embodiments, pairs, bounded):
    torch.manual_seed(0)
    hand, x = embodiments["faive_hand"], pairs.actions["faive_hand"][:50].astype(np.float32)
    codec = TorchCodec.fresh(hand, x, SMALL.model_copy(update={"bounded": bounded, "decoder_gain": 16.0}))
    space = LatentSpace({"faive_hand": codec.to_numpy(hand)})
    z = codec.encode(codec.normalise(torch.from_numpy(x)))
    assert np.allclose(space.encode("faive_hand", x), z.detach().numpy(), atol=1e-6)
    decoded = codec.act(codec.decode(2 * z)).detach().numpy()
    assert np.allclose(space.decode("faive_hand", 2 * z.detach().numpy()), decoded, atol=1e-5)
    again = TorchCodec.from_numpy(space.codecs["faive_hand"])
    assert torch.equal(again.encode(codec.normalise(torch.from_numpy(x))), z)
    assert torch.allclose(again.act(again.decode(z)), codec.act(codec.decode(z)), atol=1e-5)
    assert not any(p.requires_grad for p in again.parameters())
    lengths = np.linalg.norm(z.detach().numpy(), axis=1)
    assert np.allclose(lengths, 1, atol=1e-6) == bounded


def test_frozen_encoders_do_not_change_in_stage_3(quick, pairs, embodiments):
    def encoder_after(finetune: bool) -> tuple[torch.Tensor, torch.Tensor]:
        torch.manual_seed(0)
        settings = quick.model_copy(update={"decoding_steps": 3, "finetune_encoders": finetune})
        codecs = {n: TorchCodec.fresh(e, pairs.actions[n], SMALL) for n, e in embodiments.items()}
        before = codecs["faive_hand"].encoder[0].weight.clone()
        objective = Objective(settings, codecs, embodiments, pairs.actions, pairs.keyvectors)
        reconstruct(objective, np.random.default_rng(0), lambda note: None)
        return before, codecs["faive_hand"].encoder[0].weight

    assert torch.equal(*encoder_after(False)) and not torch.equal(*encoder_after(True))


def test_only_trained_codecs_change(quick, pairs, embodiments):
    codecs = {n: TorchCodec.fresh(e, pairs.actions[n], SMALL) for n, e in embodiments.items()}
    before = {n: c.decoder[0].weight.clone() for n, c in codecs.items()}
    objective = Objective(quick, codecs, embodiments, pairs.actions, pairs.keyvectors, {"faive_hand"})
    z = objective.encode(torch.arange(64))
    sum(objective.reconstruction(z, torch.arange(64))).backward()
    assert codecs["faive_hand"].encoder[0].weight.grad.abs().max() > 0
    reconstruct(replace_steps(objective, 2), np.random.default_rng(0), lambda note: None)
    changed = {n for n, c in codecs.items() if not torch.equal(before[n], c.decoder[0].weight)}
    assert changed == {"faive_hand"}


def replace_steps(objective, steps):
    objective.settings = objective.settings.model_copy(update={"decoding_steps": steps})
    return objective


def test_temperature_annealing():
    settings = LatentSettings(temperature_start=0.3, temperature_end=0.05)
    assert [settings.temperature(d) for d in (0, 0.5, 1)] == pytest.approx([0.3, np.sqrt(0.3 * 0.05), 0.05])
    assert {settings.model_copy(update={"annealing": False}).temperature(d) for d in (0, 0.5, 1)} == {0.05}


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"batches": 3}, "s.yaml: batches: unknown field; available: alignment_weight, annealing, batch,"),
        ({"batch": 2.5}, "s.yaml: batch: expected a whole number of at least 2, got 2.5"),
        ({"batch": True}, "expected a whole number of at least 2, got True"),
        ({"embodiments": "faive_hand"}, "embodiments: expected a list of strings, got 'faive_hand'"),
        ({"embodiments": ["faive_hand"]}, "embodiments: expected at least 2, got 1"),
        ({"held_out": 1.5}, "held_out: expected a number greater than 0 and less than 1, got 1.5"),
        ({"batch": 0}, "batch: expected a whole number of at least 2, got 0"),
        ({"frames": 200}, "frames: expected a whole number greater than 200, got 200"),
        ({"temperature_start": 0}, "temperature_start: expected a number greater than 0, got 0"),
        ({"learning_rate": "fast"}, "learning_rate: expected a number greater than 0, got 'fast'"),
    ],
)
def test_wrong_settings_are_named(values, message):
    with pytest.raises(ConfigError, match=message):
        validate(LatentSettings, values, "s.yaml")


def test_number_without_a_point_is_a_number(tmp_path):
    file = tmp_path / "s.yaml"
    for text in ("8e-3", "8.e-3", "8.0e-3"):
        file.write_text(f"learning_rate: {text}")
        assert load(LatentSettings, file).learning_rate == 8e-3  # 8e-3 is a string in YAML 1.1
    file.write_text("# all defaults")
    assert load(LatentSettings, file) == LatentSettings()


def test_diverged_training_is_an_error(pairs, embodiments):
    with pytest.raises(LatentPolicyError, match="diverged: .* reduce learning_rate"):
        train_latent(SMALL.model_copy(update={"learning_rate": 1e30, "encoder_learning_rate": 1e30}), pairs, embodiments)


def test_shipped_presets():
    assert load(LatentSettings, config_file("training", "latent", "settings")) == LatentSettings()
    paper = load(LatentSettings, config_file("training", "latent_paper", "settings"))
    assert not paper.bounded and paper.soft_targets == paper.cross_weight == paper.fingertip_weight == paper.pinch_weight == 0
    with pytest.raises(ConfigError, match="available: .*latent_paper"):
        config_file("training", "latnt", "settings")
