"""A policy learns to go where a red square is; its files are loaded whole or refused; training resumes exactly."""

import contextlib
import copy
import json
import math
import threading
from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from reaching import image, reach, save

from latent_policy_ros.common.artifacts import load_tensors
from latent_policy_ros.common.errors import ArtifactError, LatentPolicyError, ObservationRefused
from latent_policy_ros.data.lerobot.reader import LeRobotReader
from latent_policy_ros.observations.observation import Observation
from latent_policy_ros.policy import Policy
from latent_policy_ros.policy.checkpoint import Checkpoint
from latent_policy_ros.policy.device import choose_device
from latent_policy_ros.policy.diffusion import PolicyNetwork
from latent_policy_ros.policy.training.demonstrations import Demonstrations
from latent_policy_ros.policy.training.training import train_policy, train_step


@pytest.fixture(scope="module", autouse=True)
def one_thread():
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


@pytest.fixture(scope="module")
def trained(demonstrations, quick, space, tmp_path_factory) -> Policy:
    folder = tmp_path_factory.mktemp("policy")
    checkpoint = train_policy(quick, [demonstrations], space, folder)
    assert Checkpoint.load(folder).policy_id == checkpoint.policy_id
    return Policy.load(folder, space)


@pytest.fixture
def untrained(demonstrations, quick, space, tmp_path) -> tuple[Checkpoint, object]:
    return train_policy(quick.model_copy(update={"steps": 1}), [demonstrations], space, tmp_path), tmp_path


def end_effector(name):
    joints = {"gripper": 1}.get(name, 3)
    return SimpleNamespace(name=name, joint_names=tuple(f"joint_{k}" for k in range(joints)), to_action=lambda q: q)


def observation(embodiment="hand", **changes) -> Observation:
    hand, images = end_effector(embodiment), {"front": image(np.zeros(2), None)}
    pose = np.array([0, 0, 0.2, 0, 0, 0, 1.0])
    return replace(Observation(5.0, images, pose, np.zeros(len(hand.joint_names)), hand), **changes)


def predict(policy, histories):
    return policy.predict([policy.prepare(history) for history in histories])


def test_it_reaches_for_squares_it_never_saw(trained, space):
    rng = np.random.default_rng(5)
    histories, wanted, still = [], [], []
    for i in range(60):
        embodiment = ("hand", "gripper")[i % 2]
        episode = reach(rng.uniform(-1, 1, 2), rng.uniform(-0.1, 0.1, 2), embodiment, space)
        images = {camera: images[0] for camera, images in episode.images.items()}
        histories.append([Observation(0.0, images, episode.wrist_pose[0], episode.hand[0], end_effector(embodiment))])
        wanted.append(episode.wrist_command[:4, :3])
        still.append(np.repeat(episode.wrist_pose[:1, :3], 4, axis=0))
    plans = np.stack([chunk.wrist_poses[:, :3] for chunk in predict(trained, histories)])
    error = np.linalg.norm(plans - wanted, axis=-1).mean()
    assert error < 0.25 * np.linalg.norm(np.array(still) - wanted, axis=-1).mean()
    assert error < 0.02


def test_plans_are_what_decoders_expect(trained, space):
    chunks = predict(trained, [[observation("hand", stamp=4.9), observation("hand")], [observation("gripper", stamp=6.0)]])
    assert [chunk.stamp for chunk in chunks] == [5.0, 6.0]
    assert chunks[0].sequence < chunks[1].sequence
    for chunk in chunks:
        assert chunk.latents.shape == (4, 4) and chunk.wrist_poses.shape == (4, 7) and chunk.dt == 0.1
        assert chunk.latent_id == space.latent_id and chunk.policy_id == trained.policy_id
        assert np.allclose(np.linalg.norm(chunk.wrist_poses[:, 3:], axis=1), 1)
    assert trained.predict([]) == []


def test_robots_in_one_batch_do_not_disturb_each_other(trained):
    def plans(histories):
        policy = Policy(trained.checkpoint, trained.latent_space, seed=3)
        return predict(policy, histories)[0].wrist_poses

    first, other = [observation()], [observation("gripper", joints=np.ones(1))]
    different = [observation("gripper", wrist_pose=np.array([0.1, 0, 0.2, 0, 0, 0, 1.0]))]
    assert np.allclose(plans([first, other]), plans([first, different]), atol=1e-5)


@pytest.fixture
def other_device(monkeypatch):
    """torch's device without memory: it refuses what lies elsewhere as a GPU does, but numbers cannot come back from it."""
    monkeypatch.setattr(torch, "autocast", lambda *_, **__: contextlib.nullcontext())  # which does not know it
    return "meta"


def test_all_that_a_plan_needs_goes_to_the_device_of_the_network(trained, other_device):
    assert trained.device.type == "cpu"
    policy = Policy(trained.checkpoint, trained.latent_space, device=other_device)
    with pytest.raises(NotImplementedError, match="copy out of meta"):
        predict(policy, [[observation()], [observation("gripper")]])


def test_a_step_of_training_runs_where_the_network_is(demonstrations, quick, space, other_device):
    device = torch.device(other_device)
    network = PolicyNetwork(quick, space.dim).to(device)
    average = copy.deepcopy(network).requires_grad_(False)
    optimizer = torch.optim.AdamW(network.parameters(), foreach=False)
    data = Demonstrations([demonstrations], quick, space)
    loss = train_step(network, average, optimizer, data, quick, 0, device)
    assert loss.device == device and all(p.grad.device == device for p in network.parameters() if p.grad is not None)


def test_a_step_leaves_nothing_behind(demonstrations, quick, space):
    """The average of the weights is no part of what is learned: steps must not be chained by it."""
    network = PolicyNetwork(quick, space.dim)
    average, data = copy.deepcopy(network).requires_grad_(False), Demonstrations([demonstrations], quick, space)
    optimizer = torch.optim.AdamW(network.parameters(), lr=1e-3, fused=True)
    for step in range(2):
        train_step(network, average, optimizer, data, quick, step, torch.device("cpu"))
    assert not any(weights.requires_grad for weights in average.parameters())


def test_a_gpu_that_torch_sees_but_cannot_use_is_left_alone(monkeypatch):
    if not torch.cuda.is_available():
        monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
        assert choose_device() == torch.device("cpu")


def test_a_device_that_there_is_not():
    assert choose_device() == torch.device("cuda" if torch.cuda.is_available() else "cpu")
    with pytest.raises(LatentPolicyError, match=r"device: got 'cuda:77'; expected auto, cpu or cuda:N"):
        choose_device("cuda:77")


def test_a_left_hand_is_planned_for_as_its_right_one(trained):
    plans = []
    for name in ("hand", "hand_left"):
        policy = Policy(trained.checkpoint, trained.latent_space, seed=3)
        plans.append(predict(policy, [[replace(observation(), embodiment=end_effector(name))]])[0].latents)
    assert np.array_equal(*plans)


def test_a_missing_camera_is_not_a_black_one(trained):
    black = {"front": observation().images["front"], "wrist": np.zeros((32, 32, 3), np.uint8)}
    plans = []
    for images in (observation().images, black):
        policy = Policy(trained.checkpoint, trained.latent_space, seed=3)
        plans.append(predict(policy, [[observation(images=images)]])[0].wrist_poses)
    assert not np.allclose(plans[0], plans[1], atol=1e-4)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"images": {}}, r"hand: images: expected at least one of \['front', 'wrist'\], got \[\]"),
        (
            {"images": {"front": np.zeros((8, 8, 3), np.uint8)}},
            r"images.front: expected \(32, 32, 3\) uint8, got \(8, 8, 3\)",
        ),
        ({"images": {"front": np.zeros((32, 32, 3))}}, "images.front: expected .* got .* float64"),
        ({"joints": np.zeros(2)}, r"hand: joints: expected \(3,\) finite numbers"),
        ({"wrist_pose": np.full(7, np.nan)}, r"wrist_pose: expected \(7,\) finite"),
        ({"embodiment": end_effector("foot")}, "has no embodiment 'foot'; available: gripper, hand"),
    ],
)
def test_observations_that_make_no_sense_are_refused(trained, changes, message):
    with pytest.raises(ObservationRefused, match=message):
        trained.prepare([replace(observation(), **changes)])


def test_a_foreign_latent_space_is_refused_with_both_ids(trained, space):
    codec = replace(space.codecs["hand"], content_hash="ff" * 32)
    foreign = type(space)({**space.codecs, "hand": codec})
    with pytest.raises(ArtifactError, match=f"{space.latent_id}.*{foreign.latent_id}"):
        Policy(trained.checkpoint, foreign)


def test_damaged_files_are_refused(untrained, space):
    _, folder = untrained
    weights, description = folder / "policy.safetensors", folder / "policy.json"
    good, text = weights.read_bytes(), description.read_text()
    for damaged, message in (
        (good[:1000], "policy.safetensors: damaged"),
        (good[:-1] + bytes([good[-1] ^ 1]), "contents were changed: policy.json states policy_id"),
    ):
        weights.write_bytes(damaged)
        with pytest.raises(ArtifactError, match=message):
            Policy.load(folder, space)
    weights.write_bytes(good)
    for change, message in (
        ({"format": "latent-policy/2"}, "format: expected 'latent-policy/1', got 'latent-policy/2'; update"),
        ({"settings": {"depth": 4}}, "settings|depth: unknown field"),
        ({"latent_id": "00" * 32}, "contents were changed"),
    ):
        description.write_text(json.dumps(json.loads(text) | change))
        with pytest.raises(ArtifactError, match=message):
            Policy.load(folder, space)
    weights.unlink()
    description.write_text(text)
    with pytest.raises(ArtifactError, match="policy.safetensors: no such file"):
        Policy.load(folder, space)


def test_training_stopped_and_resumed_is_the_same_as_uninterrupted(demonstrations, quick, space, tmp_path, monkeypatch):
    from latent_policy_ros.policy.training import training

    settings = quick.model_copy(update={"steps": 6, "checkpoint_every": 2})
    whole = train_policy(settings, [demonstrations], space, tmp_path / "whole")
    stop, step = threading.Event(), training.train_step

    def stop_after_four(*args):
        if args[5] == 3:
            stop.set()
        return step(*args)

    with monkeypatch.context() as patched:
        patched.setattr(training.threading, "Event", lambda: stop)
        patched.setattr(training, "train_step", stop_after_four)
        with pytest.raises(KeyboardInterrupt):
            train_policy(settings, [demonstrations], space, tmp_path / "parts")
    assert json.loads(load_tensors(tmp_path / "parts/training.safetensors", ArtifactError, "")[1]["told"])["step"] == 4
    assert not (tmp_path / "parts/policy.json").exists()
    resumed = train_policy(settings, [demonstrations], space, tmp_path / "parts")
    assert resumed.policy_id == whole.policy_id
    again = train_policy(settings, [demonstrations], space, tmp_path / "parts")  # nothing is left to do
    assert again.policy_id == whole.policy_id and again.report["loss"] == resumed.report["loss"] is not None


def test_a_state_that_could_not_be_written_leaves_the_one_before(demonstrations, quick, space, tmp_path, monkeypatch):
    from latent_policy_ros.common import artifacts

    settings = quick.model_copy(update={"steps": 4, "checkpoint_every": 2})
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


def test_a_training_that_diverges_ends_and_leaves_what_was_saved_before(demonstrations, quick, space, tmp_path, monkeypatch):
    from latent_policy_ros.policy.training import training

    settings = quick.model_copy(update={"steps": 12, "checkpoint_every": 3})
    monkeypatch.setattr(training, "train_step", lambda *given: train_step(*given) * (math.nan if given[5] > 3 else 1.0))
    with pytest.raises(LatentPolicyError, match="diverged: its loss is nan at step 5; lower learning_rate"):
        train_policy(settings, [demonstrations], space, tmp_path)
    assert not (tmp_path / "policy.json").exists()
    assert json.loads(load_tensors(tmp_path / "training.safetensors", ArtifactError, "")[1]["told"])["step"] == 3


def test_a_training_is_not_resumed_with_other_demonstrations(quick, space, tmp_path):
    for name, goal in (("a", 0.1), ("b", 0.2)):  # as many episodes and frames
        save(tmp_path / name, [reach(np.full(2, goal), np.zeros(2), "hand", space)], space)
    train_policy(quick.model_copy(update={"steps": 1}), [tmp_path / "a"], space, tmp_path / "out")
    with pytest.raises(ArtifactError, match="demonstrations: this training is with .* the saved one .*--fresh"):
        train_policy(quick.model_copy(update={"steps": 1}), [tmp_path / "b"], space, tmp_path / "out")


def test_a_training_is_not_resumed_with_other_settings(demonstrations, quick, space, tmp_path):
    train_policy(quick.model_copy(update={"steps": 2}), [demonstrations], space, tmp_path)
    with pytest.raises(ArtifactError, match="settings: this training is with .* the saved one .*--fresh"):
        train_policy(quick.model_copy(update={"steps": 2, "batch": 8}), [demonstrations], space, tmp_path)
    train_policy(quick.model_copy(update={"steps": 2, "batch": 8}), [demonstrations], space, tmp_path, resume=False)


def test_failures_are_not_learned_from_and_misfits_are_named(space, quick, tmp_path):
    good = reach(np.zeros(2), np.ones(2) * 0.1, "hand", space)
    failure = replace(good, meta=replace(good.meta, success=False))
    save(tmp_path / "failure", [failure], space)
    with pytest.raises(ArtifactError, match="none of the episodes .* was a success"):
        Demonstrations([tmp_path / "failure"], quick, space)
    save(tmp_path / "good", [good, failure], space)
    assert Demonstrations([tmp_path / "good"], quick, space).episodes == {"hand": 1}
    foreign = replace(good, meta=replace(good.meta, embodiment_hash="ff" * 32))
    for name, episode, dt, message in (
        ("rate", good, 0.04, "rate/hand: fps: expected a multiple of 10, as dt is 0.1 s .* got 25"),
        ("foreign", foreign, 0.1, "foreign/hand: recorded with hand ffffffffffff"),
        ("camera", replace(good, images={"side": good.images["front"]}), 0.1, r"camera/hand: cameras: expected .*\['side'\]"),
    ):
        save(tmp_path / name, [episode], space, dt)
        with pytest.raises(ArtifactError, match=message):
            Demonstrations([tmp_path / name], quick, space)
    with pytest.raises(ArtifactError, match="no such folder of data sets"):
        Demonstrations([tmp_path / "none"], quick, space)
    (tmp_path / "empty").mkdir()
    with pytest.raises(ArtifactError, match="holds no data set"):
        Demonstrations([tmp_path / "empty"], quick, space)


def test_faster_data_sets_are_thinned_and_larger_images_fitted(space, quick, tmp_path):
    episode = reach(np.zeros(2), np.ones(2) * 0.1, "hand", space, frames=31)
    larger = {camera: images.repeat(3, axis=1).repeat(3, axis=2) for camera, images in episode.images.items()}
    save(tmp_path, [replace(episode, images=larger)], space, dt=1 / 30)
    data = Demonstrations([tmp_path], quick.model_copy(update={"batch": 11, "camera_dropout": 0.0}), space)
    assert len(data) == 11
    x = data.batch(np.random.default_rng(0), augment=False).states[:, -1, 0]
    assert set(np.round(x * data.scaling.state_scale[0] + data.scaling.state_offset[0], 5)) <= set(
        np.round(episode.wrist_pose[::3, 0].astype(np.float32), 5)
    )
    _, images, _ = data.batch(np.random.default_rng(0), augment=False).images["front"]
    truth = episode.images["front"][::3].astype(int)
    assert all(np.abs(truth - image).mean(axis=(1, 2, 3)).min() < 6 for image in images.astype(int))


def test_windows_hold_the_ends_of_their_own_episode(demonstrations, quick, space):
    data = Demonstrations([demonstrations], quick.model_copy(update={"batch": 400}), space)
    readers = [LeRobotReader(demonstrations / name) for name in ("hand", "gripper")]
    starts = {reader.columns(k)["observation.wrist"][0, 0] for reader in readers for k in range(len(reader))}
    batch = data.batch(np.random.default_rng(0), augment=False)
    x = batch.states[..., 0] * data.scaling.state_scale[0] + data.scaling.state_offset[0]
    first = np.isclose(x[:, 0], x[:, 1])
    assert first.any() and all(min(abs(v - s) for s in starts) < 1e-6 for v in x[first & (np.abs(x[:, 0]) > 0.02), 0][:20])


def test_embodiments_are_balanced(demonstrations, quick, space, tmp_path):
    save(tmp_path, [reach(np.full(2, 0.1 * i), np.zeros(2), "gripper", space) for i in range(3)], space)
    data = Demonstrations([tmp_path, demonstrations], quick.model_copy(update={"batch": 100, "camera_dropout": 0.0}), space)
    rows, images, _ = data.batch(np.random.default_rng(0)).images["wrist"]
    assert len(rows) == len(images) == 50  # only hands have a wrist camera


@pytest.mark.parametrize(("weight", "hands"), [(1.0, 50), (3.0, 75), (0.25, 20)])
def test_the_mixture_decides_how_often_each_embodiment_is_drawn(space, quick, tmp_path, weight, hands):
    save(tmp_path, [reach(np.zeros(2), np.ones(2) * 0.1, name, space) for name in ("hand", "gripper")], space)
    mixture = tmp_path / "mixture.yaml"
    mixture.write_text(f"datasets: [{{path: hand, weight: {weight}}}, {{path: gripper, weight: 1}}]")
    data = Demonstrations([tmp_path], quick.model_copy(update={"batch": 100, "camera_dropout": 0.0}), space)
    rows, _, _ = data.batch(np.random.default_rng(0)).images["wrist"]
    assert abs(len(rows) - hands) <= 1
    mixture.write_text("datasets: [{path: hand, weight: 0}]")
    with pytest.raises(ArtifactError, match="weight of hand: expected a number greater than 0, got 0"):
        Demonstrations([tmp_path], quick, space)


def test_two_data_sets_of_one_embodiment_are_drawn_by_their_weights(space, quick, tmp_path):
    for name, height, weight in (("sim", 0.2, 1), ("real", 0.9, 9)):
        episode = reach(np.zeros(2), np.ones(2) * 0.1, "hand", space)
        episode.wrist_pose[:, 2] = height
        save(tmp_path / name, [episode], space)
        (tmp_path / name / "mixture.yaml").write_text(f"datasets: [{{path: hand, weight: {weight}}}]")
    shares = []
    for order in (("sim", "real"), ("real", "sim")):
        data = Demonstrations([tmp_path / name for name in order], quick.model_copy(update={"batch": 2000}), space)
        z = data.batch(np.random.default_rng(0), augment=False).states[:, -1, 2]
        shares.append(np.mean(z * data.scaling.state_scale[2] + data.scaling.state_offset[2] > 0.5))
    assert np.abs(np.array(shares) - 0.9).max() < 0.03


def test_a_policy_may_begin_with_the_weights_of_another(trained, demonstrations, quick, space, tmp_path):
    start = trained.checkpoint
    still = quick.model_copy(update={"steps": 1, "learning_rate": 1e-12})  # one step that moves nothing
    again = train_policy(still, [demonstrations], space, tmp_path, start=start)
    for name, weights in start.weights.items():
        np.testing.assert_allclose(again.weights[name], weights, atol=1e-6, err_msg=name)
    assert again.report["start"] == start.policy_id
    with pytest.raises(ArtifactError, match=r"expected shape .* to begin with, got .*; give both the same cameras and sizes"):
        train_policy(quick.model_copy(update={"width": 2 * quick.width}), [demonstrations], space, tmp_path / "other", start=start)
