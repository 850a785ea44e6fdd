"""The task's text as an input of the policy."""

from dataclasses import replace

import numpy as np
import torch
from policy_inputs import predict
from reaching import reach, save

from latent_policy_ros.embodiments import load_embodiment
from latent_policy_ros.policy import Policy
from latent_policy_ros.policy.network.encoders.task_text import WordEmbedding, hashed_words
from latent_policy_ros.policy.training.dataset import DemonstrationDataset
from latent_policy_ros.policy.training.train import train_policy


def test_words_are_hashed_without_case_and_punctuation_and_in_order():
    words = hashed_words("Stack the cubes.", 1 << 30)
    assert words == hashed_words("stack  the, CUBES", 1 << 30) and len(words) == 5  # three words, two pairs
    assert set(words) != set(hashed_words("cubes the stack", 1 << 30))
    assert hashed_words("stack the cubes", 1024) == (874, 486, 516, 999, 532)  # part of the file format
    assert len(hashed_words("拾う 箱", 1024)) == 3 and hashed_words(" ... ", 1024) == ()


def test_each_text_has_its_own_features():
    torch.manual_seed(0)
    encoder = WordEmbedding(8)
    features = encoder(["open the drawer", "", "close the drawer", "!"])
    assert features.shape == (4, 8) and torch.equal(features[1], features[3])
    assert not torch.allclose(features[0], features[2], atol=1e-3)
    torch.testing.assert_close(encoder(["close the drawer"])[0], features[2])


def test_policy_follows_the_task(quick, with_training, space, tmp_path, observation):
    episodes = []
    for k in range(8):  # from the same picture, left or right, as the text says
        task, side = (("go left", -0.1), ("go right", 0.1))[k % 2]
        episode = reach(np.zeros(2), np.zeros(2), "faive_hand", space)
        episode.wrist_command[:, 0] = side
        episodes.append(replace(episode, meta=replace(episode.meta, task=task)))
    save(tmp_path / "data", episodes, space)
    model = quick.model.model_copy(update={"text_encoder": "words", "image_encoder_options": {"keypoints": 2, "channels": 8}})
    settings = with_training(quick, steps=120, batch_size=16, warmup_steps=5, ema_decay=0.9).model_copy(update={"model": model})
    train_policy(settings, [tmp_path / "data"], space, tmp_path / "policy")
    policy = Policy.load(tmp_path / "policy", space)
    assert policy.settings.text_encoder_options == {"buckets": 1024, "width": 64}
    seen = replace(observation(), joints=load_embodiment("faive_hand").to_joints(episode.hand[0]))  # as at the start of an episode
    tasks = ("Go left!", "go right")
    left, right = (predict(policy, [[replace(seen, task=task)]])[0].wrist_poses[:, 0].mean() for task in tasks)
    assert left < -0.05 and right > 0.05, (left, right)


def test_the_text_is_masked_at_random_in_training(quick, with_training, grasp_space, demonstrations):
    model = quick.model.model_copy(update={"text_encoder": "words"})
    settings = with_training(quick, batch_size=200, task_dropout=0.25).model_copy(update={"model": model})
    data = DemonstrationDataset([demonstrations], settings, grasp_space)
    batches = [data.batch(np.random.default_rng(0), augment).observations.tasks for augment in (True, False)]
    assert 25 < batches[0].count("") < 75 and batches[1].count("") == 0
