"""Appending of episodes: memory that does not depend on their number, and the manifest of earlier versions."""

import json
import shutil
import tracemalloc

import numpy as np
import pytest

from latent_policy_ros.common.errors import ArtifactError
from latent_policy_ros.data.lerobot import writer
from latent_policy_ros.data.lerobot.collection import DatasetCollection
from latent_policy_ros.data.lerobot.layout import STATE
from latent_policy_ros.data.lerobot.reader import LeRobotReader
from latent_policy_ros.data.lerobot.staging import EPISODE_FILE, DatasetIdentity, EpisodeWriter
from latent_policy_ros.embodiments import load_embodiment


def stage(root, count):
    """Stage equal episodes of 5 frames, with settings as large as those of a conversion."""
    identity = DatasetIdentity.for_embodiment(load_embodiment("faive_hand"), 10)
    folder = DatasetCollection(root).staging_folder("faive_hand")
    episode = EpisodeWriter(folder, "0000", identity, ("front",))
    for k in range(5):
        episode.add(k / 10, {"front": np.full((32, 32, 3), k, np.uint8)})
    values = np.random.default_rng(0).random((5, len(identity.joints)))
    settings = {f"setting_{k}": "x" * 50 for k in range(30)}
    first = episode.finish({STATE: (identity.joints, values)}, "push", True, {"source": "bag", "settings": settings}).folder
    content = json.loads((first / EPISODE_FILE).read_text())
    for k in range(1, count):
        shutil.copytree(first, folder / f"{k:04d}")
        content["key"] = f"{k:04d}"
        (folder / content["key"] / EPISODE_FILE).write_text(json.dumps(content))


def test_memory_does_not_grow_with_the_number_of_episodes(tmp_path, monkeypatch):
    monkeypatch.setattr(writer, "ROWS_AT_ONCE", 50)
    stage(tmp_path / "warm", 2)
    DatasetCollection(tmp_path / "warm").commit()
    peaks = []
    for count in (150, 300):  # both fill several batches of rows
        stage(tmp_path / str(count), count)
        tracemalloc.start()
        try:
            collection = DatasetCollection(tmp_path / str(count))
            collection.commit()
            collection.write_mixture()
            peaks.append(tracemalloc.get_traced_memory()[1])
        finally:
            tracemalloc.stop()
        assert len(LeRobotReader(tmp_path / str(count) / "faive_hand").episodes) == count
    assert (peaks[1] - peaks[0]) / 150 < 2e3, peaks  # bytes an episode: its path and its place in the order


def test_manifest_of_earlier_versions_is_read_and_extended(tmp_path):
    stage(tmp_path, 2)
    DatasetCollection(tmp_path).commit()
    root = tmp_path / "faive_hand"
    file = root / "meta/latent_policy.json"
    content = json.loads(file.read_text())
    assert [episode["key"] for episode in content["episodes"]] == ["0000", "0001"]
    file.write_text(json.dumps(content, indent=4))
    reader = LeRobotReader(root)
    assert reader.episode_metadata == content["episodes"] and reader.identity.embodiment == "faive_hand"
    stage(tmp_path, 3)
    DatasetCollection(tmp_path).commit()
    assert [episode["key"] for episode in LeRobotReader(root).episode_metadata] == ["0000", "0001", "0002"]


@pytest.mark.parametrize("cut", [-1, -20])
def test_truncated_manifest_is_named(tmp_path, cut):
    stage(tmp_path, 2)
    DatasetCollection(tmp_path).commit()
    file = tmp_path / "faive_hand/meta/latent_policy.json"
    file.write_bytes(file.read_bytes().rstrip()[:cut])
    with pytest.raises(ArtifactError, match="latent_policy.json: damaged"):
        _ = LeRobotReader(tmp_path / "faive_hand").episode_metadata
