"""Data sets of another package: same features, other joint order and names, large row groups, images instead of videos."""

import json

import cv2
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from small_episodes import make_episode

from latent_policy_ros.common.errors import ArtifactError
from latent_policy_ros.data.lerobot.episodes import load_episode, stage
from latent_policy_ros.data.lerobot.foreign import episode_metadata
from latent_policy_ros.data.lerobot.image_cache import ImageCache
from latent_policy_ros.data.lerobot.layout import INFO, LAYOUTS, MANIFEST
from latent_policy_ros.data.lerobot.reader import LeRobotReader
from latent_policy_ros.data.lerobot.staging import DatasetIdentity, staged_episodes
from latent_policy_ros.data.lerobot.writer import append_episodes
from latent_policy_ros.embodiments import load_embodiment
from latent_policy_ros.observations.resize import Resize


@pytest.fixture(params=LAYOUTS)
def own(tmp_path, request):
    """A data set of this package, of either layout, with episodes of 5 and 8 frames."""
    identity = DatasetIdentity.for_embodiment(load_embodiment("faive_hand"), 10)
    for k, frames in enumerate((5, 8)):
        stage(make_episode(frames), tmp_path / "staging", str(k), identity, layout=request.param)
    append_episodes(tmp_path / "set", staged_episodes(tmp_path / "staging"))
    return LeRobotReader(tmp_path / "set")


@pytest.fixture
def foreign(own):
    """Function that rewrites the data set as another package would have written it."""

    def rewrite(images=False, **info):
        expected = [load_episode(own, number, ("front",), Resize(32, 32)) for number in range(2)]
        content, file = json.loads((own.root / INFO).read_text()), next(own.root.glob("data/*/*.parquet"))
        table = pq.read_table(file)
        for name in ("observation.state", "action"):
            feature = content["features"][name]
            names = [element if element.startswith("wrist.") else f"{element}.pos" for element in reversed(feature["names"])]
            feature["names"] = {"motors": [*names, "extra"]}
            reversed_joints = [row[::-1] + [0.5] for row in table.column(name).to_pylist()]
            column = pa.array(reversed_joints, pa.list_(pa.float32()))
            table = table.set_column(table.schema.get_field_index(name), name, column)
        if images:
            key = "observation.images.front"
            content["features"][key]["dtype"] = "image"
            content["features"]["observation.images.dark"] = content["features"][key]
            for camera, brightness in (("front", 1), ("dark", 0)):
                pictures = [
                    cv2.imencode(".png", brightness * i[..., ::-1])[1].tobytes() for e in expected for i in e.images["front"]
                ]
                stored = pa.array([{"bytes": picture, "path": None} for picture in pictures])
                table = table.append_column(f"observation.images.{camera}", stored)
        pq.write_table(table, file)  # one row group
        (own.root / INFO).write_text(json.dumps({**content, **info}))
        (own.root / MANIFEST).unlink()
        return LeRobotReader(own.root), expected

    return rewrite


@pytest.mark.parametrize("images", [False, True])
def test_episodes_are_loaded_by_joint_names(foreign, images, tmp_path):
    reader, expected = foreign(images)
    cache = ImageCache(tmp_path / "cache", Resize(32, 32))
    decoded, _ = cache.images(reader, "front", [0, 1], 1)
    assert not images or not cache.images(reader, "dark", [0, 1], 1)[0][0].any()
    for number, episode in enumerate(expected):
        loaded = load_episode(reader, number, ("front",), Resize(32, 32))
        for name in ("wrist_pose", "hand", "wrist_command", "hand_command"):
            np.testing.assert_allclose(getattr(loaded, name), getattr(episode, name), atol=1e-6, err_msg=name)
        assert np.array_equal(loaded.images["front"], episode.images["front"])
        assert np.array_equal(decoded[number], episode.images["front"])
        assert loaded.meta.embodiment == "faive_hand" and loaded.meta.success and loaded.meta.task == episode.meta.task


def test_failures_are_known_from_a_feature(foreign):
    reader, _ = foreign()
    file = next(reader.root.glob("data/*/*.parquet"))
    table = pq.read_table(file)
    place = table.schema.get_field_index("next.success")
    success = pa.array([False] * 5 + [True] * 8)
    pq.write_table(table.set_column(place, "next.success", success), file)
    assert [episode_metadata(reader, number)["success"] for number in range(2)] == [False, True]


def test_other_robots_and_missing_joints_are_named(foreign):
    reader, _ = foreign(robot_type="so100_follower")
    with pytest.raises(ArtifactError, match="set: robot_type: expected the name of an embodiment, got 'so100_follower'"):
        load_episode(reader, 0, (), Resize(32, 32))
    reader.info["robot_type"] = "panda_gripper"
    with pytest.raises(ArtifactError, match="set: observation.state: no element for the joints .*; got"):
        load_episode(reader, 0, (), Resize(32, 32))
