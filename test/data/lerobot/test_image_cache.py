"""ImageCache: images are decoded once, found by content, and read as memory maps."""

import shutil
from types import SimpleNamespace

import numpy as np
import pytest
from small_episodes import IDENTITY, make_episode

from latent_policy_ros.common.errors import ArtifactError
from latent_policy_ros.data.lerobot import image_cache
from latent_policy_ros.data.lerobot.episodes import load_episode, stage
from latent_policy_ros.data.lerobot.image_cache import ImageCache
from latent_policy_ros.data.lerobot.reader import LeRobotReader
from latent_policy_ros.data.lerobot.staging import staged_episodes
from latent_policy_ros.data.lerobot.writer import append_episodes
from latent_policy_ros.observations.resize import Resize


@pytest.fixture
def reader(tmp_path):
    """A data set with episodes of 5, 8 and 6 frames."""
    for k, frames in enumerate((5, 8, 6)):
        stage(make_episode(frames), tmp_path / "staging", str(k), IDENTITY)
    append_episodes(tmp_path / "set", staged_episodes(tmp_path / "staging"))
    return LeRobotReader(tmp_path / "set")


def test_images_equal_those_of_the_data_set(reader, tmp_path):
    images, _ = ImageCache(tmp_path / "cache", Resize(16, 16)).images(reader, "front", [2, 0], stride=2)
    assert [len(of_episode) for of_episode in images] == [3, 3]
    for number, of_episode in zip((2, 0), images):
        assert np.array_equal(of_episode, load_episode(reader, number, ("front",), Resize(16, 16), stride=2).images["front"])
        assert isinstance(of_episode, np.memmap) and not of_episode.flags.writeable


def test_images_are_decoded_once_and_again_when_anything_changes(reader, tmp_path, monkeypatch):
    decoded, decode = [], reader.images
    monkeypatch.setattr(reader, "images", lambda number, *given: decoded.append(number) or decode(number, *given))

    def content(size=(16, 16, "crop"), episodes=(0, 1), stride=1):
        decoded.clear()
        return ImageCache(tmp_path / "cache", Resize(*size)).images(reader, "front", list(episodes), stride)[1], list(decoded)

    first, numbers = content()
    assert numbers == [0, 1] and content() == (first, [])
    for changed in ({"size": (8, 8)}, {"size": (16, 16, "pad")}, {"episodes": (0, 2)}, {"stride": 2}):
        other, numbers = content(**changed)
        assert numbers and other != first
    assert content() == (first, [])
    video = reader.image_file(0, "front")[0]
    video.write_bytes(video.read_bytes() + b"\0")
    other, numbers = content()
    assert numbers == [0, 1] and other != first


def test_damaged_file_is_replaced_and_an_unfinished_one_is_not_used(reader, tmp_path, monkeypatch):
    cache = ImageCache(tmp_path / "cache", Resize(16, 16))
    (images,), _ = cache.images(reader, "front", [0], 1)
    expected = np.array(images)
    (file,) = (tmp_path / "cache").iterdir()
    file.write_bytes(file.read_bytes()[:500])
    assert np.array_equal(cache.images(reader, "front", [0], 1)[0][0], expected)

    def broken(number, camera, size):
        yield expected[0]
        raise ArtifactError("video: damaged")

    shutil.rmtree(tmp_path / "cache")
    with monkeypatch.context() as patched, pytest.raises(ArtifactError, match="video: damaged"):
        patched.setattr(reader, "images", broken)
        cache.images(reader, "front", [0], 1)
    assert not list((tmp_path / "cache").iterdir())
    assert np.array_equal(cache.images(reader, "front", [0], 1)[0][0], expected)


def test_full_disk_and_missing_video_are_named(reader, tmp_path, monkeypatch):
    monkeypatch.setattr(image_cache.shutil, "disk_usage", lambda folder: SimpleNamespace(free=10))
    with pytest.raises(ArtifactError, match="cache: images of .*set: expected 0.0 GB of free space, got 0.0; .*LATENT_POLICY_HOME"):
        ImageCache(tmp_path / "cache", Resize(16, 16)).images(reader, "front", [0], 1)
    reader.image_file(0, "front")[0].unlink()
    with pytest.raises(ArtifactError, match="file-000.mp4: cannot be read"):
        ImageCache(tmp_path / "cache", Resize(16, 16)).images(reader, "front", [0], 1)
