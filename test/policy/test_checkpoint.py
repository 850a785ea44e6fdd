"""Policy files: identity of the artefact, damaged and changed files."""

import json
import shutil
from dataclasses import replace

import numpy as np
import pytest

from latent_policy_ros.common.artifacts import load_tensors, save_tensors
from latent_policy_ros.common.errors import ArtifactError
from latent_policy_ros.common.paths import artifact
from latent_policy_ros.latent import LatentSpace
from latent_policy_ros.policy import Policy, checkpoint
from latent_policy_ros.policy.checkpoint import Checkpoint
from latent_policy_ros.policy.settings import ModelSettings
from latent_policy_ros.policy.training.train import train_policy


@pytest.fixture
def saved(demonstrations, quick, space, tmp_path, with_training):
    """Folder of a policy after one training step."""
    train_policy(with_training(quick, steps=1), [demonstrations], space, tmp_path)
    return tmp_path


@pytest.fixture
def shipped(tmp_path):
    """A copy of the shipped policy."""
    return shutil.copytree(artifact("policies", "default"), tmp_path / "shipped")


def edit(folder, **changes):
    """Change top-level fields of policy.json."""
    file = folder / "policy.json"
    file.write_text(json.dumps(json.loads(file.read_text()) | changes))


def test_damaged_files_are_refused(saved, space):
    weights, description = saved / "policy.safetensors", saved / "policy.json"
    good, text = weights.read_bytes(), description.read_text()
    for damaged, message in (
        (good[:1000], "policy.safetensors: damaged"),
        (good[:-1] + bytes([good[-1] ^ 1]), "contents were changed: policy.json states policy_id"),
    ):
        weights.write_bytes(damaged)
        with pytest.raises(ArtifactError, match=message):
            Policy.load(saved, space)
    weights.write_bytes(good)
    for change, message in (
        ({"format": "latent-policy/4"}, "format: expected 'latent-policy/3', got 'latent-policy/4'; update"),
        ({"model": {"depth": 4}}, "model.depth: unknown field"),
        ({"latent_id": "00" * 32}, "contents were changed"),
    ):
        description.write_text(text)
        edit(saved, **change)
        with pytest.raises(ArtifactError, match=message):
            Policy.load(saved, space)
    weights.unlink()
    description.write_text(text)
    with pytest.raises(ArtifactError, match="policy.safetensors: no such file"):
        Policy.load(saved, space)


def test_old_format_is_refused_with_the_command_to_train(shipped):
    edit(shipped, format="latent-policy/2")
    with pytest.raises(ArtifactError, match="got 'latent-policy/2'; .*train a new policy with: latent-policy train policy"):
        Checkpoint.load(shipped)


def test_shipped_policy_loads():
    policy = Policy.load(artifact("policies", "default"), LatentSpace.load(artifact("latents", "default")))
    assert policy.policy_id == "24cd99e1c943671f273942e8344f38a66aadac48bfb1ab8790777221eb6fe6d2"


def test_policy_of_a_refitted_space_has_the_same_weights(saved, space):
    before = Checkpoint.load(saved)
    codecs = dict(space.codecs)
    name, codec = next((name, codec) for name, codec in codecs.items() if codec.action_dim > 1)
    codecs[name] = replace(codec, tensors={**codec.tensors, "mean": codec.tensors["mean"] + 0.01})
    refitted = LatentSpace(codecs, {"refitted": {name: {"from": space.latent_id}}}, space.ood_detector)
    with pytest.raises(ArtifactError, match=f"trained for latent space '{space.latent_id}', got"):
        Policy.load(saved, refitted)
    before.for_refitted_space(refitted).save(saved)
    policy, after = Policy.load(saved, refitted), Checkpoint.load(saved)
    assert policy.policy_id == after.policy_id != before.policy_id
    assert all(np.array_equal(array, before.weights[key]) for key, array in after.weights.items())
    assert after.training["latent_ids"] == [space.latent_id]
    with pytest.raises(ArtifactError, match=f"expected a space refitted from it, got {space.latent_id[:12]}, refitted from "):
        before.for_refitted_space(space)


def test_new_model_setting_keeps_the_id_of_a_stored_policy(shipped, tmp_path, monkeypatch):
    class NewerSettings(ModelSettings):
        attention_heads: int = 8

    before = Checkpoint.load(shipped)
    monkeypatch.setattr(checkpoint, "ModelSettings", NewerSettings)
    after = Checkpoint.load(shipped)
    assert after.settings.attention_heads == 8 and after.policy_id == before.policy_id
    after.save(tmp_path / "again")
    assert (tmp_path / "again" / "policy.json").read_text() == (shipped / "policy.json").read_text()
    newer = Checkpoint(after.settings, after.latent_id, after.scaling, after.grasp, after.weights)
    assert newer.policy_id != before.policy_id


@pytest.mark.parametrize(
    "change", [{"dt": 0.05}, {"sampling_steps": 9}, {"denoiser_options": {"width": 384, "blocks": 4}}, {"horizon": None}], ids=str
)
def test_changed_model_setting_is_refused(shipped, change):
    model = json.loads((shipped / "policy.json").read_text())["model"] | change
    edit(shipped, model={name: value for name, value in model.items() if value is not None})
    with pytest.raises(ArtifactError, match="contents were changed"):
        Checkpoint.load(shipped)


@pytest.mark.parametrize("tensor", ["network.fuse.1.bias", "scaling.chunk_scale", "grasp.latents"])
def test_changed_tensor_is_refused(shipped, tensor):
    tensors, _ = load_tensors(shipped / "policy.safetensors", ArtifactError, "")
    tensors[tensor] = np.nextafter(tensors[tensor], np.float32(9))
    save_tensors(shipped / "policy.safetensors", tensors)
    with pytest.raises(ArtifactError, match="contents were changed"):
        Checkpoint.load(shipped)


def test_training_record_is_no_identity(shipped):
    before = Checkpoint.load(shipped)
    training = json.loads((shipped / "policy.json").read_text())["training"]
    training["settings"]["learning_rate"] *= 2
    training["settings"]["new_setting"] = 1
    training["embodiments"] = {}
    edit(shipped, training=training)
    after = Checkpoint.load(shipped)
    assert after.policy_id == before.policy_id and after.training["embodiments"] == {}


def test_every_model_setting_counts_in_the_id(shipped):
    stored = Checkpoint.load(shipped)
    other = {
        "cameras": ("front", "left"), "image_size": 128, "dt": 0.05, "observation_steps": 3, "horizon": 8, "feature_dim": 64,
        "image_encoder": "x", "image_encoder_options": {}, "denoiser": "x", "denoiser_options": {}, "diffusion_steps": 50,
        "sampling_steps": 4, "embodiments": ("faive_hand",), "text_encoder": "words", "text_encoder_options": {"words": 8},
        "objective": "consistency", "image_fit": "pad", "action_axes": "grasp",
    }  # fmt: skip
    assert set(other) == set(ModelSettings.model_fields)
    ids = {stored.policy_id}
    for name, value in other.items():
        settings = stored.settings.model_copy(update={name: value})
        ids.add(Checkpoint(settings, stored.latent_id, stored.scaling, stored.grasp, stored.weights).policy_id)
    assert len(ids) == 1 + len(other)


def test_defaults_of_model_settings_are_fixed():
    """A stored policy without a field has its default: changing one would change policies that exist."""
    assert ModelSettings().model_dump(mode="json") == {
        "cameras": ["front", "wrist"], "image_size": 96, "dt": 0.1, "observation_steps": 2, "horizon": 16, "feature_dim": 256,
        "image_encoder": "keypoints", "image_encoder_options": {}, "denoiser": "mlp", "denoiser_options": {},
        "text_encoder": "none", "text_encoder_options": {}, "objective": "diffusion", "diffusion_steps": 100, "sampling_steps": 8,
        "embodiments": [], "image_fit": "crop", "action_axes": "base",
    }  # fmt: skip
