"""Small random episodes, and the identity of their data set."""

import numpy as np

from latent_policy_ros.data.lerobot.episodes import Episode, EpisodeMeta
from latent_policy_ros.data.lerobot.staging import DatasetIdentity


def make_episode(frames: int = 5) -> Episode:
    rng = np.random.default_rng(3)
    pose = np.concatenate([rng.normal(size=(frames, 3)), np.tile([0.0, 0.0, 0.0, 1.0], (frames, 1))], axis=1)
    return Episode(
        images={"front": np.full((frames, 32, 32, 3), (90, 160, 40), np.uint8) + rng.integers(0, 6, (frames, 32, 32, 1), np.uint8)},
        wrist_pose=pose,
        hand=rng.normal(size=(frames, 11)),
        wrist_command=pose + 0.01,
        hand_command=rng.normal(size=(frames, 11)),
        meta=EpisodeMeta("left", "faive_hand", "ab" * 32, 0.1, seed=7, success=True, task="put the cube in the box"),
    )


IDENTITY = DatasetIdentity("faive_hand", "ab" * 32, tuple(f"j{i}" for i in range(11)), 0.0, 1.0, 10)
