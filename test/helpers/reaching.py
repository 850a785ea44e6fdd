"""Demonstrations of reaching for a red square: a task that a policy learns in seconds."""

import numpy as np

from latent_policy_ros.data.lerobot.collection import DatasetCollection
from latent_policy_ros.data.lerobot.episodes import Episode, EpisodeMeta, stage
from latent_policy_ros.data.lerobot.staging import DatasetIdentity
from latent_policy_ros.latent.space import LatentSpace
from latent_policy_ros.policy.training.train import human_grasp

SIZE = 32


def image(goal: np.ndarray, wrist: np.ndarray) -> np.ndarray:
    """(SIZE, SIZE, 3) uint8: a red square at ``goal`` (2,) in [-1, 1] on noise; ``wrist`` is not seen."""
    image = np.full((SIZE, SIZE, 3), 90, np.uint8)
    column, row = ((goal + 1) / 2 * (SIZE - 5)).round().astype(int)
    image[row : row + 5, column : column + 5] = (255, 0, 0)
    return image


def reach(goal: np.ndarray, start: np.ndarray, embodiment: str, space: LatentSpace, frames: int = 10) -> Episode:
    """The wrist goes to the goal, 0.1 m for 1 in the image, by 40% of the way in each frame; the hand then closes."""
    rng = np.random.default_rng(abs(int(goal[0] * 1e6)))
    wrist, commands, xy = [], [], start.copy()
    for _ in range(frames):
        wrist.append(xy.copy())
        xy = xy + 0.4 * (0.1 * goal - xy)
        commands.append(xy.copy())
    grasp = human_grasp(space)
    closing = space.decode(embodiment, grasp[np.linspace(0, len(grasp) - 1, frames + 1).round().astype(int)])
    pose = lambda points: np.concatenate([points, np.tile([0.2, 0, 0, 0, 1.0], (frames, 1))], axis=1)
    cameras = ("front", "wrist") if embodiment == "faive_hand" else ("front",)
    images = {camera: np.stack([image(goal, w) for w in wrist]) for camera in cameras}
    noise = rng.integers(0, 20, (frames, SIZE, SIZE, 3), dtype=np.uint8)
    return Episode(
        images={camera: np.maximum(clean, noise) for camera, clean in images.items()},
        wrist_pose=pose(np.array(wrist)),
        hand=closing[:-1],
        wrist_command=pose(np.array(commands)),
        hand_command=closing[1:],
        meta=EpisodeMeta("robot", embodiment, space.codec(embodiment).content_hash, 0.1, success=True, task="reach"),
    )


def save(folder, episodes, space: LatentSpace, dt: float = 0.1) -> None:
    """Write episodes as data sets, one for each embodiment."""
    collection = DatasetCollection(folder)
    for number, episode in enumerate(episodes):
        name = episode.meta.embodiment
        joints = space.codec(name).action_names
        identity = DatasetIdentity(name, episode.meta.embodiment_hash, joints, 0.0, 1.0, round(1 / dt))
        stage(episode, collection.staging_folder(name), f"{number:04d}", identity, source=f"{number:04d}")
    assert collection.commit() == []
