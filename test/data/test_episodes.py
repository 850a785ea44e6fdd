"""Episodes come back as they were saved, or not at all."""

from dataclasses import replace

import numpy as np
import pytest

from latent_policy_ros.data.episodes import Episode, EpisodeMeta, find_episodes
from latent_policy_ros.errors import ArtifactError


def make_episode(frames: int = 5) -> Episode:
    rng = np.random.default_rng(3)
    pose = np.concatenate([rng.normal(size=(frames, 3)), np.tile([0.0, 0.0, 0.0, 1.0], (frames, 1))], axis=1)
    return Episode(
        images={"front": rng.integers(0, 255, (frames, 8, 8, 3), dtype=np.uint8)},
        wrist_pose=pose,
        hand=rng.normal(size=(frames, 11)),
        wrist_command=pose + 0.01,
        hand_command=rng.normal(size=(frames, 11)),
        meta=EpisodeMeta("left", "faive_hand", "ab" * 32, 0.1, seed=7, success=True, task="put the cube in the box"),
    )


def test_an_episode_survives_its_file(tmp_path):
    episode = make_episode()
    episode.save(tmp_path / "e.safetensors")
    loaded = Episode.load(tmp_path / "e.safetensors")
    assert loaded.meta == episode.meta
    assert loaded.images.keys() == {"front"}
    for name in ("wrist_pose", "hand", "wrist_command", "hand_command"):
        assert np.array_equal(getattr(loaded, name), getattr(episode, name))
    assert np.array_equal(loaded.images["front"], episode.images["front"])
    assert find_episodes([tmp_path]) == [tmp_path / "e.safetensors"]


@pytest.mark.parametrize("keep", [0, 4, 200, -1])
def test_a_file_cut_short_is_refused_by_name(tmp_path, keep):
    file = tmp_path / "e.safetensors"
    make_episode().save(file)
    file.write_bytes(file.read_bytes()[:keep])
    with pytest.raises(ArtifactError, match="e.safetensors: damaged"):
        Episode.load(file)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"hand_command": np.zeros((5, 3))}, r"hand_command: expected shape \(5, 11\), got \(5, 3\)"),
        ({"wrist_command": np.zeros((4, 7))}, r"wrist_command: expected shape \(5, 7\)"),
        ({"hand": np.full((5, 11), np.nan)}, "hand: NaN or infinite at frame 0"),
        ({"images": {"front": np.zeros((5, 8, 8, 3), dtype=np.float32)}}, "images.front: expected .* uint8"),
        ({"images": {"front": np.zeros((4, 8, 8, 3), dtype=np.uint8)}}, "images.front: expected"),
    ],
)
def test_arrays_that_do_not_fit_are_refused(change, message):
    with pytest.raises(ArtifactError, match=message):
        replace(make_episode(), **change)


def test_an_empty_folder_is_an_error_and_not_an_empty_dataset(tmp_path):
    with pytest.raises(ArtifactError, match="holds no episode"):
        find_episodes([tmp_path])
    with pytest.raises(ArtifactError, match="no such folder"):
        find_episodes([tmp_path / "none"])
