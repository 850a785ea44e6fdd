"""Training engine: workers, several processes, validation episodes, best policy and logs."""

import json
import multiprocessing
import os
import socket
import sys
from types import SimpleNamespace

import numpy as np
import pytest
import torch

from latent_policy_ros.common.errors import LatentPolicyError
from latent_policy_ros.policy.checkpoint import Checkpoint
from latent_policy_ros.policy.training import step, trainer
from latent_policy_ros.policy.training.dataset import DemonstrationDataset
from latent_policy_ros.policy.training.processes import Share
from latent_policy_ros.policy.training.sampling import held_out
from latent_policy_ros.policy.training.train import train_policy
from latent_policy_ros.policy.training.trainer import RunOptions


@pytest.fixture(scope="module")
def short(quick, with_training):
    """Settings of a training of six steps."""
    return with_training(quick, steps=6, batch_size=16, checkpoint_every=3)


def test_result_does_not_depend_on_the_number_of_workers(short, demonstrations, space, tmp_path):
    trained = [
        train_policy(short, [demonstrations], space, tmp_path / str(workers), options=RunOptions(workers=workers))
        for workers in (0, 2)
    ]
    assert trained[0].policy_id == trained[1].policy_id


def train_in_process(rank, port, settings, data, space, folder):
    os.environ.update(MASTER_ADDR="127.0.0.1", MASTER_PORT=str(port), RANK=str(rank), WORLD_SIZE="2", LOCAL_RANK=str(rank))
    train_policy(settings, data, space, folder, options=RunOptions(workers=0, share=Share.from_environment()))


def test_two_processes_equal_one_with_twice_the_batch(short, with_training, demonstrations, space, tmp_path, monkeypatch):
    monkeypatch.setattr(step, "has_bfloat16", lambda device: False)  # also in the forked processes
    whole = with_training(short, validation=0.2)
    half = with_training(whole, batch_size=8)
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        port = unused.getsockname()[1]
    context = multiprocessing.get_context("fork")
    given = (port, half, [demonstrations], space, tmp_path / "two")
    started = [context.Process(target=train_in_process, args=(rank, *given)) for rank in range(2)]
    for process in started:
        process.start()
    one = train_policy(whole, [demonstrations], space, tmp_path / "one")
    for process in started:
        process.join(120)
        assert process.exitcode == 0
    two = Checkpoint.load(tmp_path / "two")
    for name, weights in one.weights.items():
        equal = np.isclose(two.weights[name], weights, rtol=1e-3, atol=2e-5)
        assert equal.mean() > 0.999, name  # Adam enlarges the rounding of gradients near zero
    assert two.training["loss"] == pytest.approx(one.training["loss"], rel=1e-3)
    assert two.training["validation_loss"] == pytest.approx(one.training["validation_loss"], rel=1e-3)


def test_processes_share_the_images_of_a_batch(short, with_training, demonstrations, grasp_space):
    whole = DemonstrationDataset([demonstrations], short, grasp_space).batch(np.random.default_rng(4))
    half = with_training(short, batch_size=8)
    for rank in range(2):
        data = DemonstrationDataset([demonstrations], half, grasp_space, Share(rank, 2))
        part, own = data.batch(np.random.default_rng(4)), slice(8 * rank, 8 * rank + 8)
        assert torch.equal(part.chunks, whole.chunks[own])
        assert torch.equal(part.observations.states, whole.observations.states[own])
        assert part.observations.embodiments == whole.observations.embodiments[own]
        for camera, seen in part.observations.images.items():
            all_seen = whole.observations.images[camera]
            mine = (all_seen.rows >= own.start) & (all_seen.rows < own.stop)
            assert torch.equal(seen.rows + own.start, all_seen.rows[mine])
            assert torch.equal(seen.images, all_seen.images[mine]) and torch.equal(seen.shifts, all_seen.shifts[mine])


def test_best_policy_is_kept_over_an_interruption(short, with_training, demonstrations, space, tmp_path, monkeypatch):
    settings = with_training(short, validation=0.1, checkpoint_every=1, ema_decay=0.0)
    losses = iter([0.5, 0.4, 0.3, 0.6, 0.7, 0.8])
    monkeypatch.setattr(trainer, "validation_loss", lambda *_: next(losses))
    last = train_policy(settings, [demonstrations], space, tmp_path)
    best = Checkpoint.load(tmp_path / "best")
    assert best.training["validation_loss"] == 0.3 and last.training["validation_loss"] == 0.8
    assert best.training["steps"] == 3 and last.training["steps"] == 6
    train_policy(settings, [demonstrations], space, tmp_path)  # resumes at the end
    assert Checkpoint.load(tmp_path / "best").policy_id == best.policy_id


def test_validation_episodes_are_not_trained_on(short, with_training, demonstrations, grasp_space):
    data = DemonstrationDataset([demonstrations], with_training(short, validation=0.1, batch_size=300), grasp_space)
    assert data.validation_frames == 2 * 4 * 10  # of two embodiments, 4 of 40 episodes of 10 frames
    rng = np.random.default_rng(0)
    training, validation = (
        {tuple(chunk) for chunk in batch.chunks[:, :, :2].flatten(1).numpy().round(5).tolist()}
        for batch in (data.batch(rng, augment=False), data.validation_batch(rng))
    )
    assert len(validation) > 40 and not training & validation
    assert DemonstrationDataset([demonstrations], short, grasp_space).validation_batch(rng) is None


def test_at_least_one_episode_is_held_out_and_one_remains():
    assert [int(held_out(count, 0.1, (0,)).sum()) for count in (1, 2, 10, 40)] == [0, 1, 1, 4]
    assert held_out(3, 0.99, (0,)).sum() == 2 and not held_out(9, 0.0, (0,)).any()
    assert not np.array_equal(held_out(40, 0.5, (0,)), held_out(40, 0.5, (1,)))


def test_losses_are_logged_for_tensorboard(short, with_training, demonstrations, space, tmp_path):
    pytest.importorskip("tensorboard")
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    settings = with_training(short, validation=0.1)
    train_policy(settings, [demonstrations], space, tmp_path, options=RunOptions(log="tensorboard"))
    events = EventAccumulator(str(tmp_path / "tensorboard")).Reload()
    assert [event.step for event in events.Scalars("loss/validation")] == [3, 6]
    assert events.Scalars("loss/training")[0].value > 0 and events.Scalars("learning_rate")[0].step == 1


@pytest.mark.parametrize("package", ["wandb", "trackio"])
def test_losses_are_logged_to_a_run(package, short, demonstrations, space, tmp_path, monkeypatch):
    calls = []
    run = SimpleNamespace(log=lambda values, step: calls.append((step, sorted(values))), finish=lambda: calls.append("finished"))
    module = SimpleNamespace(init=lambda **given: calls.append((given["name"], given["config"]["training"]["steps"])) or run)
    monkeypatch.setitem(sys.modules, package, module)
    train_policy(short, [demonstrations], space, tmp_path / "out", options=RunOptions(log=package))
    assert calls == [("out", 6), (1, ["learning_rate", "loss/training"]), "finished"]


def test_missing_log_package_and_unknown_log_are_named(short, demonstrations, space, tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "wandb", None)
    for log, message in (("wandb", "needs the package wandb; type: pip install wandb"), ("paper", "unknown training log 'paper'")):
        with pytest.raises(LatentPolicyError, match=message):
            train_policy(short, [demonstrations], space, tmp_path / log, options=RunOptions(log=log))


def test_device_can_be_chosen(short, with_training, demonstrations, space, tmp_path):
    with pytest.raises(LatentPolicyError, match="device: got 'cuda:77'"):
        train_policy(short, [demonstrations], space, tmp_path, options=RunOptions(device="cuda:77"))
    one = with_training(short, steps=1)
    train_policy(one, [demonstrations], space, tmp_path, options=RunOptions(device="cpu"))
    assert json.loads((tmp_path / "policy.json").read_text())["training"]["device"] == "cpu"
