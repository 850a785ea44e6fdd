"""Round trip of episodes through a data set, and refusal of damaged data."""

from dataclasses import replace

import numpy as np
import pytest
from small_episodes import IDENTITY, make_episode

from latent_policy_ros.common.errors import ArtifactError
from latent_policy_ros.data.lerobot.episodes import load_episode, stage
from latent_policy_ros.data.lerobot.reader import LeRobotReader
from latent_policy_ros.data.lerobot.staging import DatasetIdentity, EpisodeWriter, staged_episodes
from latent_policy_ros.data.lerobot.writer import append_episodes
from latent_policy_ros.embodiments import load_embodiment
from latent_policy_ros.observations.resize import Resize


def test_camera_without_an_image_is_refused(tmp_path):
    writer = EpisodeWriter(tmp_path / "staging", "0", IDENTITY, ("front",))
    with pytest.raises(ArtifactError, match="camera 'front' has no image"):
        writer.finish({"action": (IDENTITY.joints, np.zeros((2, 11)))}, "", True, {})


def test_loaded_episode_equals_the_staged_one(tmp_path):
    episodes = [make_episode(), make_episode(7)]
    for k, episode in enumerate(episodes):
        stage(episode, tmp_path / "staging", str(k), IDENTITY)
    append_episodes(tmp_path / "set", staged_episodes(tmp_path / "staging"))
    reader = LeRobotReader(tmp_path / "set")
    for k, episode in enumerate(episodes):
        loaded = load_episode(reader, k, ("front", "none"), Resize(32, 32))
        assert loaded.meta == episode.meta and loaded.images.keys() == {"front"}
        for name in ("wrist_pose", "hand", "wrist_command", "hand_command"):
            np.testing.assert_allclose(getattr(loaded, name), getattr(episode, name), atol=1e-6)
        assert np.abs(loaded.images["front"].astype(int) - episode.images["front"]).mean() < 2


def test_gripper_is_stored_in_metres_and_loaded_as_opening(tmp_path):
    e = load_embodiment("panda_gripper")
    opening = np.linspace(0, 1, 5)[:, None]
    episode = replace(make_episode(), hand=opening, hand_command=opening)
    stage(episode, tmp_path / "staging", "0", DatasetIdentity.for_embodiment(e, 10))
    append_episodes(tmp_path / "set", staged_episodes(tmp_path / "staging"))
    reader = LeRobotReader(tmp_path / "set")
    np.testing.assert_allclose(reader.columns(0)["action"], e.to_joints(opening), atol=1e-7)
    np.testing.assert_allclose(load_episode(reader, 0, (), Resize(32, 32)).hand, opening, atol=1e-5)


@pytest.mark.parametrize("file", ["data/chunk-000/file-000.parquet", "videos/observation.images.front/chunk-000/file-000.mp4"])
@pytest.mark.parametrize("keep", [0, 200, -30])
def test_truncated_file_is_named(tmp_path, file, keep):
    stage(make_episode(), tmp_path / "staging", "0", IDENTITY)
    append_episodes(tmp_path / "set", staged_episodes(tmp_path / "staging"))
    path = tmp_path / "set" / file
    path.write_bytes(path.read_bytes()[:keep])
    with pytest.raises(ArtifactError, match=path.name):
        load_episode(LeRobotReader(tmp_path / "set"), 0, ("front",), Resize(32, 32))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"hand_command": np.zeros((5, 3))}, r"hand_command: expected shape \(5, 11\), got \(5, 3\)"),
        ({"wrist_command": np.zeros((4, 7))}, r"wrist_command: expected shape \(5, 7\)"),
        ({"hand": np.full((5, 11), np.nan)}, "hand: NaN or infinite at frame 0"),
        ({"images": {"front": np.zeros((5, 32, 32, 3), dtype=np.float32)}}, "images.front: expected .* uint8"),
        ({"images": {"front": np.zeros((4, 32, 32, 3), dtype=np.uint8)}}, "images.front: expected"),
    ],
)
def test_inconsistent_arrays_are_refused(change, message):
    with pytest.raises(ArtifactError, match=message):
        replace(make_episode(), **change)
