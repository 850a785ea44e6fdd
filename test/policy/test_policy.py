"""Policy: predicted chunks, validation of observations, devices."""

import contextlib
from dataclasses import replace

import numpy as np
import pytest
import torch
from policy_inputs import predict
from reaching import reach

from latent_policy_ros.common.errors import ArtifactError, LatentPolicyError, ObservationRefused
from latent_policy_ros.embodiments import load_embodiment
from latent_policy_ros.observations.observation import Observation
from latent_policy_ros.policy import Policy
from latent_policy_ros.policy.network.device import choose_device


@pytest.mark.parametrize("sampling_steps", [0, 1])
def test_policy_reaches_unseen_goals(trained, space, sampling_steps):
    rng = np.random.default_rng(5)
    histories, expected, still = [], [], []
    for i in range(60):
        embodiment = ("faive_hand", "panda_gripper")[i % 2]
        episode = reach(rng.uniform(-1, 1, 2), rng.uniform(-0.1, 0.1, 2), embodiment, space)
        images = {camera: images[0] for camera, images in episode.images.items()}
        robot = load_embodiment(embodiment)
        joints = robot.to_joints(episode.hand[0])
        histories.append([Observation(0.0, images, episode.wrist_pose[0], joints, robot)])
        expected.append(episode.wrist_command[:4, :3])
        still.append(np.repeat(episode.wrist_pose[:1, :3], 4, axis=0))
    policy = Policy(trained.checkpoint, space, sampling_steps=sampling_steps)
    positions = np.stack([chunk.wrist_poses[:, :3] for chunk in predict(policy, histories)])
    error = np.linalg.norm(positions - expected, axis=-1).mean()
    assert error < 0.25 * np.linalg.norm(np.array(still) - expected, axis=-1).mean()
    assert error < 0.02


@pytest.mark.parametrize("asked, run", [(0, 8), (1, 1), (3, 3)])
def test_a_chunk_takes_as_many_steps_as_asked(trained, space, observation, monkeypatch, asked, run):
    policy, levels = Policy(trained.checkpoint, space, sampling_steps=asked), []
    step = policy._network.schedule.step
    monkeypatch.setattr(policy._network.schedule, "step", lambda clean, t, noisy: levels.append(t) or step(clean, t, noisy))
    predict(policy, [[observation()]])
    assert len(levels) == run and policy.policy_id == trained.policy_id


def test_chunks_have_shapes_ids_and_stamps(trained, space, observation):
    chunks = predict(
        trained, [[observation("faive_hand", stamp=4.9), observation("faive_hand")], [observation("panda_gripper", stamp=6.0)]]
    )
    assert [chunk.stamp for chunk in chunks] == [5.0, 6.0]
    assert chunks[0].sequence < chunks[1].sequence
    for chunk in chunks:
        assert chunk.latents.shape == (4, 32) and chunk.wrist_poses.shape == (4, 7) and chunk.dt == 0.1
        assert chunk.latent_id == space.latent_id and chunk.policy_id == trained.policy_id
        assert np.allclose(np.linalg.norm(chunk.wrist_poses[:, 3:], axis=1), 1)
    assert trained.predict([]) == []


def test_robots_of_one_batch_are_independent(trained, observation):
    def wrist_poses(histories):
        policy = Policy(trained.checkpoint, trained.latent_space, seed=3)
        return predict(policy, histories)[0].wrist_poses

    first, other = [observation()], [observation("panda_gripper", joints=np.ones(1))]
    different = [observation("panda_gripper", wrist_pose=np.array([0.1, 0, 0.2, 0, 0, 0, 1.0]))]
    assert np.allclose(wrist_poses([first, other]), wrist_poses([first, different]), atol=1e-5)


@pytest.fixture
def other_device(monkeypatch):
    """Torch's ``meta`` device: it rejects tensors of other devices as a GPU does, but holds no values."""
    monkeypatch.setattr(torch, "autocast", lambda *_, **__: contextlib.nullcontext())  # does not support meta
    return "meta"


def test_all_inputs_are_moved_to_the_network_device(trained, other_device, observation):
    assert trained.device.type == "cpu"
    policy = Policy(trained.checkpoint, trained.latent_space, device=other_device)
    with pytest.raises(NotImplementedError, match="copy out of meta"):
        predict(policy, [[observation()], [observation("panda_gripper")]])


def test_unusable_gpu_is_not_chosen(monkeypatch):
    if not torch.cuda.is_available():
        monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
        assert choose_device() == torch.device("cpu")


def test_unknown_device_is_an_error():
    assert choose_device() == torch.device("cuda" if torch.cuda.is_available() else "cpu")
    with pytest.raises(LatentPolicyError, match=r"device: got 'cuda:77'; expected auto, cpu or cuda:N"):
        choose_device("cuda:77")


def test_missing_camera_differs_from_black_image(trained, observation):
    black = {"front": observation().images["front"], "wrist": np.zeros((32, 32, 3), np.uint8)}
    poses = []
    for images in (observation().images, black):
        policy = Policy(trained.checkpoint, trained.latent_space, seed=3)
        poses.append(predict(policy, [[observation(images=images)]])[0].wrist_poses)
    assert not np.allclose(poses[0], poses[1], atol=1e-4)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"images": {}}, r"hand: images: expected at least one of \['front', 'wrist'\], got \[\]"),
        (
            {"images": {"front": np.zeros((8, 8, 3), np.uint8)}},
            r"images.front: expected \(32, 32, 3\) uint8, got \(8, 8, 3\)",
        ),
        ({"images": {"front": np.zeros((32, 32, 3))}}, "images.front: expected .* got .* float64"),
        ({"images": {"front": lambda: np.zeros((32, 32, 3), np.uint8)}}, "images.front: expected a decoded image, got a function"),
        ({"joints": np.zeros(2)}, r"hand: joints: expected \(11,\) finite numbers"),
        ({"joints": np.full(11, 101.0)}, r"hand: joints: expected \(11,\) finite numbers below 100"),
        ({"wrist_pose": np.full(7, np.nan)}, r"wrist_pose: expected \(7,\) finite"),
        ({"wrist_pose": None}, r"wrist_pose: expected \(7,\) finite .* got None"),
        ({"embodiment": replace(load_embodiment("faive_hand"), name="foot")}, "has no embodiment 'foot'; available: ability_hand"),
    ],
)
def test_invalid_observations_are_refused(trained, changes, message, observation):
    with pytest.raises(ObservationRefused, match=message):
        trained.prepare([replace(observation(), **changes)])


def test_foreign_latent_space_is_refused_with_both_ids(trained, space):
    codec = replace(space.codecs["faive_hand"], content_hash="ff" * 32)
    foreign = type(space)({**space.codecs, "faive_hand": codec})
    with pytest.raises(ArtifactError, match=f"{space.latent_id}.*{foreign.latent_id}"):
        Policy(trained.checkpoint, foreign)
