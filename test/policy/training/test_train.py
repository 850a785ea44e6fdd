"""Training of a policy: resuming, divergence, initial weights, and single steps."""

import contextlib
import copy
import json
import math
import threading

import numpy as np
import pytest
import torch
from reaching import reach, save

from latent_policy_ros.common import artifacts
from latent_policy_ros.common.artifacts import load_tensors
from latent_policy_ros.common.errors import ArtifactError, LatentPolicyError
from latent_policy_ros.policy.network.diffusion import PolicyNetwork
from latent_policy_ros.policy.training import trainer
from latent_policy_ros.policy.training.dataset import DemonstrationDataset
from latent_policy_ros.policy.training.step import train_step
from latent_policy_ros.policy.training.train import train_policy


def saved_step(folder) -> int:
    """Number of completed steps in the saved training state."""
    return json.loads(load_tensors(folder / "training.safetensors", ArtifactError, "")[1]["progress"])["step"]


def batch(data, settings):
    return data.batch(np.random.default_rng(0)), settings.training


def test_train_step_runs_on_the_network_device(demonstrations, quick, space, grasp_space, monkeypatch):
    monkeypatch.setattr(torch, "autocast", lambda *_, **__: contextlib.nullcontext())  # does not support meta
    device = torch.device("meta")
    network = PolicyNetwork(quick.model, space.dim).to(device)
    average = copy.deepcopy(network).requires_grad_(False)
    optimizer = torch.optim.AdamW(network.parameters(), foreach=False)
    data = DemonstrationDataset([demonstrations], quick, grasp_space)
    loss, _ = train_step(network, average, optimizer, *batch(data, quick), 0, device, 1)
    assert loss.device == device and all(p.grad.device == device for p in network.parameters() if p.grad is not None)


def test_averaged_weights_need_no_gradient(demonstrations, quick, space, grasp_space):
    """Otherwise each step would extend the autograd graph of the step before."""
    network = PolicyNetwork(quick.model, space.dim)
    average, data = copy.deepcopy(network).requires_grad_(False), DemonstrationDataset([demonstrations], quick, grasp_space)
    optimizer = torch.optim.AdamW(network.parameters(), lr=1e-3, fused=True)
    for step in range(2):
        train_step(network, average, optimizer, *batch(data, quick), step, torch.device("cpu"), 1)
    assert not any(weights.requires_grad for weights in average.parameters())


def test_resumed_training_equals_uninterrupted_training(demonstrations, quick, space, tmp_path, monkeypatch, with_training):
    settings = with_training(quick, steps=6, checkpoint_every=2)
    whole = train_policy(settings, [demonstrations], space, tmp_path / "whole")
    stop, step = threading.Event(), trainer.train_step

    def stop_after_four(*args):
        if args[5] == 3:
            stop.set()
        return step(*args)

    with monkeypatch.context() as patched:
        patched.setattr(trainer.threading, "Event", lambda: stop)
        patched.setattr(trainer, "train_step", stop_after_four)
        with pytest.raises(KeyboardInterrupt):
            train_policy(settings, [demonstrations], space, tmp_path / "parts")
    assert saved_step(tmp_path / "parts") == 4
    assert not (tmp_path / "parts/policy.json").exists()
    resumed = train_policy(settings, [demonstrations], space, tmp_path / "parts")
    assert resumed.policy_id == whole.policy_id
    again = train_policy(settings, [demonstrations], space, tmp_path / "parts")  # nothing is left to do
    assert again.policy_id == whole.policy_id and again.training["loss"] == resumed.training["loss"] is not None


def test_failed_write_keeps_the_previous_state(demonstrations, quick, space, tmp_path, monkeypatch, with_training):
    settings = with_training(quick, steps=4, checkpoint_every=2)
    replacing, count = artifacts.os.replace, []

    def full_disk(source, target):
        count.append(target)
        if len(count) == 2:
            raise OSError(28, "No space left on device")
        return replacing(source, target)

    with monkeypatch.context() as patched:
        patched.setattr(artifacts.os, "replace", full_disk)
        with pytest.raises(OSError, match="No space left"):
            train_policy(settings, [demonstrations], space, tmp_path / "parts")
    resumed = train_policy(settings, [demonstrations], space, tmp_path / "parts")
    assert resumed.policy_id == train_policy(settings, [demonstrations], space, tmp_path / "whole").policy_id


def test_diverged_training_stops_and_keeps_the_previous_state(demonstrations, quick, space, tmp_path, monkeypatch, with_training):
    settings = with_training(quick, steps=12, checkpoint_every=3)

    def diverge(*given):
        loss, stop = train_step(*given)
        return loss * (math.nan if given[5] > 3 else 1.0), stop

    monkeypatch.setattr(trainer, "train_step", diverge)
    with pytest.raises(LatentPolicyError, match="diverged: loss nan at step 5; reduce learning_rate"):
        train_policy(settings, [demonstrations], space, tmp_path)
    assert not (tmp_path / "policy.json").exists()
    assert saved_step(tmp_path) == 3


def test_resume_with_other_demonstrations_is_refused(quick, space, tmp_path, with_training):
    settings = with_training(quick, steps=1)
    for name, goal in (("a", 0.1), ("b", 0.2)):  # equal numbers of episodes and frames
        save(tmp_path / name, [reach(np.full(2, goal), np.zeros(2), "faive_hand", space)], space)
    train_policy(settings, [tmp_path / "a"], space, tmp_path / "out")
    with pytest.raises(ArtifactError, match="demonstrations: this training has .* the saved state .*--fresh"):
        train_policy(settings, [tmp_path / "b"], space, tmp_path / "out")


def test_resume_with_other_settings_is_refused(demonstrations, quick, space, tmp_path, with_training):
    train_policy(with_training(quick, steps=2), [demonstrations], space, tmp_path)
    other = with_training(quick, steps=2, batch_size=8)
    with pytest.raises(ArtifactError, match="training: this training has .* the saved state .*--fresh"):
        train_policy(other, [demonstrations], space, tmp_path)
    train_policy(other, [demonstrations], space, tmp_path, resume=False)


def test_training_can_start_from_another_policy(trained, demonstrations, quick, space, tmp_path, with_training):
    """One step that changes nothing, with few demonstrations, whose range is smaller."""
    start = trained.checkpoint
    save(tmp_path / "few", [reach(np.full(2, 0.05), np.zeros(2), "faive_hand", space)], space)
    still = with_training(quick, steps=1, learning_rate=1e-12)
    again = train_policy(still, [tmp_path / "few"], space, tmp_path, start=start)
    for name, weights in start.weights.items():
        np.testing.assert_allclose(again.weights[name], weights, atol=1e-6, err_msg=name)
    for name in ("state_offset", "state_scale", "chunk_offset", "chunk_scale"):  # the weights are for these
        np.testing.assert_array_equal(getattr(again.scaling, name), getattr(start.scaling, name), err_msg=name)
    assert again.training["start"] == start.policy_id
    wider = quick.model_copy(update={"model": quick.model.model_copy(update={"feature_dim": 2 * quick.model.feature_dim})})
    with pytest.raises(ArtifactError, match=r"expected initial weights of shape .*, got .*; use the same cameras, components"):
        train_policy(wider, [demonstrations], space, tmp_path / "other", start=start)
