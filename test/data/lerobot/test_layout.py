"""Layout of LeRobotDataset v3.0, field by field, read with parquet, JSON and a video decoder only.

Expected names and types are those written by lerobot 0.4.4.
"""

import json

import av
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from latent_policy_ros.data.lerobot import writer

INFO = [
    "codebase_version", "robot_type", "total_episodes", "total_frames", "total_tasks", "chunks_size", "data_files_size_in_mb",
    "video_files_size_in_mb", "fps", "splits", "data_path", "video_path", "features",
]  # fmt: skip
STATS = {"min", "max", "mean", "std", "count", "q01", "q10", "q50", "q90", "q99"}
DEFAULT = {"timestamp": "float32", "frame_index": "int64", "episode_index": "int64", "index": "int64", "task_index": "int64"}
CAMERAS = ("observation.images.front", "observation.images.wrist")
LENGTHS = (11, 16, 21)


@pytest.fixture
def root(tmp_path, recording, converted):
    """A data set of three episodes and two tasks; the third episode was appended by a second run."""
    bags = []
    for k, (seconds, task) in enumerate(((1, "push"), (1.5, "pull"), (2, "push"))):
        made = recording(seconds=seconds)
        bags.append(made.write(tmp_path / f"bag{k}", custom=made.custom(task=task)))
    converted(*bags[:2])
    _, out = converted(*bags)
    return out / "faive_hand"


def read(path):
    return json.loads(path.read_text())


def test_files_of_a_data_set(root):
    files = {str(path.relative_to(root)) for path in root.rglob("*") if path.is_file()}
    expected = {"meta/info.json", "meta/stats.json", "meta/tasks.parquet", "meta/latent_policy.json"}
    for file in ("file-000", "file-001"):
        expected |= {f"data/chunk-000/{file}.parquet", f"meta/episodes/chunk-000/{file}.parquet"}
        expected |= {f"videos/{camera}/chunk-000/{file}.mp4" for camera in CAMERAS}
    assert files == expected
    assert not list(root.parent.glob(".*"))  # nothing is left of the staging


def test_info_json(root):
    info = read(root / "meta/info.json")
    assert list(info) == INFO
    assert (info["codebase_version"], info["robot_type"], info["fps"]) == ("v3.0", "faive_hand", 10)
    assert (info["total_episodes"], info["total_frames"], info["total_tasks"]) == (3, sum(LENGTHS), 2)
    assert (info["chunks_size"], info["data_files_size_in_mb"], info["video_files_size_in_mb"]) == (1000, 100, 200)
    assert info["splits"] == {"train": "0:3"}
    assert info["data_path"] == "data/chunk-{chunk_index:03d}/file-{file_index:03d}.parquet"
    assert info["video_path"] == "videos/{video_key}/chunk-{chunk_index:03d}/file-{file_index:03d}.mp4"
    features = info["features"]
    assert list(features)[-5:] == list(DEFAULT)
    for name, kind in DEFAULT.items():
        assert features[name] == {"dtype": kind, "shape": [1], "names": None}
    for name in ("next.done", "next.success"):
        assert features[name] == {"dtype": "bool", "shape": [1], "names": None}
    widths = {"observation.state": 18, "action": 18}  # joints and wrist pose
    for name, width in widths.items():
        assert (features[name]["dtype"], features[name]["shape"], len(features[name]["names"])) == ("float32", [width], width)
    for camera in CAMERAS:
        assert features[camera] == {
            "dtype": "video", "shape": [48, 64, 3], "names": ["height", "width", "channels"],
            "info": {"video.height": 48, "video.width": 64, "video.codec": "h264", "video.pix_fmt": "yuv444p",
                     "video.is_depth_map": False, "video.fps": 10, "video.channels": 3, "has_audio": False},
        }  # fmt: skip
    assert set(features) == {*DEFAULT, *widths, *CAMERAS, "next.done", "next.success"}


def test_tasks_are_a_pandas_frame_indexed_by_description(root):
    table = pq.read_table(root / "meta/tasks.parquet")
    assert table.to_pydict() == {"task_index": [0, 1], "__index_level_0__": ["push", "pull"]}
    told = json.loads(table.schema.metadata[b"pandas"])
    assert told["index_columns"] == ["__index_level_0__"]
    assert [(c["name"], c["field_name"]) for c in told["columns"]] == [("task_index",) * 2, (None, "__index_level_0__")]


def test_data_has_one_row_group_per_episode_and_regular_timestamps(root):
    info, index, episode = read(root / "meta/info.json"), 0, 0
    features = {name: f for name, f in info["features"].items() if f["dtype"] != "video"}
    kinds = {"float32": pa.float32(), "int64": pa.int64(), "bool": pa.bool_()}
    for path in sorted((root / "data").rglob("*.parquet")):
        file = pq.ParquetFile(path)
        assert file.schema_arrow.names == list(features)
        for name, feature in features.items():
            kind, size = kinds[feature["dtype"]], feature["shape"][0]
            assert file.schema_arrow.field(name).type == (kind if size == 1 else pa.list_(kind, size))
        for group in range(file.num_row_groups):
            rows, length = file.read_row_group(group), LENGTHS[episode]
            column = {name: rows.column(name).to_numpy() for name in (*DEFAULT, "next.done", "next.success")}
            np.testing.assert_array_equal(column["timestamp"], (np.arange(length) / 10).astype(np.float32))
            np.testing.assert_array_equal(column["frame_index"], np.arange(length))
            np.testing.assert_array_equal(column["index"], np.arange(index, index + length))
            assert set(column["episode_index"]) == {episode} and set(column["task_index"]) == {(0, 1, 0)[episode]}
            np.testing.assert_array_equal(column["next.done"], np.arange(length) == length - 1)
            np.testing.assert_array_equal(column["next.success"], np.arange(length) == length - 1)
            index, episode = index + length, episode + 1
    assert episode == 3


def test_episode_rows_locate_data_and_videos(root):
    features, rows = read(root / "meta/info.json")["features"], []
    for path in sorted((root / "meta/episodes").rglob("*.parquet")):
        table = pq.read_table(path)
        for name in features:
            for stat in STATS:
                assert pa.types.is_list(table.schema.field(f"stats/{name}/{stat}").type)
        wanted = {"episode_index", "tasks", "length", "dataset_from_index", "dataset_to_index", "data/chunk_index",
                  "data/file_index", "meta/episodes/chunk_index", "meta/episodes/file_index"}  # fmt: skip
        parts = ("chunk_index", "file_index", "from_timestamp", "to_timestamp")
        wanted |= {f"videos/{camera}/{part}" for camera in CAMERAS for part in parts}
        assert {name for name in table.schema.names if not name.startswith("stats/")} == wanted
        rows += table.to_pylist()
    assert [row["episode_index"] for row in rows] == [0, 1, 2]
    assert [row["tasks"] for row in rows] == [["push"], ["pull"], ["push"]]
    assert [row["length"] for row in rows] == list(LENGTHS)
    assert [(row["dataset_from_index"], row["dataset_to_index"]) for row in rows] == [(0, 11), (11, 27), (27, 48)]
    assert [(row["data/chunk_index"], row["data/file_index"]) for row in rows] == [(0, 0), (0, 0), (0, 1)]
    assert [(row["meta/episodes/chunk_index"], row["meta/episodes/file_index"]) for row in rows] == [(0, 0), (0, 0), (0, 1)]
    for camera in CAMERAS:
        spans = [tuple(row[f"videos/{camera}/{part}"] for part in parts) for row in rows]
        assert spans == [(0, 0, 0.0, 1.1), (0, 0, 1.1, 2.7), (0, 1, 0.0, 2.1)]


def test_videos_have_one_image_per_timestamp_and_a_short_keyframe_interval(root):
    for camera in CAMERAS:
        for file, count in (("file-000", 27), ("file-001", 21)):
            with av.open(str(root / "videos" / camera / "chunk-000" / f"{file}.mp4")) as video:
                stream = video.streams.video[0]
                assert (stream.codec.name, stream.pix_fmt, float(stream.average_rate)) == ("h264", "yuv444p", 10.0)
                frames = list(video.decode(stream))
            assert [round(float(f.pts * f.time_base), 9) for f in frames] == [round(k / 10, 9) for k in range(count)]
            keys = [k for k, frame in enumerate(frames) if frame.key_frame]
            assert max(np.diff([*keys, count])) <= 2


def test_statistics_equal_those_computed_from_the_data(root):
    info, stats = read(root / "meta/info.json"), read(root / "meta/stats.json")
    assert set(stats) == set(info["features"])
    rows = [row for path in sorted((root / "meta/episodes").rglob("*.parquet")) for row in pq.read_table(path).to_pylist()]
    table = pa.concat_tables([pq.read_table(path) for path in sorted((root / "data").rglob("*.parquet"))])
    for name, feature in info["features"].items():
        assert set(stats[name]) == STATS
        if feature["dtype"] == "video":
            assert all(np.shape(stats[name][stat]) == (3, 1, 1) for stat in STATS - {"count"})
            assert np.min(stats[name]["min"]) >= 0 and np.max(stats[name]["max"]) <= 1
            assert stats[name]["count"] == [sum(LENGTHS)]
            continue
        values = np.array(table.column(name).to_pylist(), float).reshape(sum(LENGTHS), -1)
        assert stats[name]["count"] == [sum(LENGTHS)]
        for stat in ("min", "max", "mean", "std"):
            np.testing.assert_allclose(stats[name][stat], getattr(values, stat)(axis=0), atol=1e-6, err_msg=f"{name} {stat}")
        for stat, q in (("q01", 0.01), ("q10", 0.1), ("q50", 0.5), ("q90", 0.9), ("q99", 0.99)):
            parts = np.split(values, np.cumsum(LENGTHS)[:-1])
            mine = [np.quantile(part, q, axis=0) for part in parts]
            for row, of in zip(rows, mine):
                np.testing.assert_allclose(row[f"stats/{name}/{stat}"], of, atol=1e-6, err_msg=f"{name} {stat}")
            np.testing.assert_allclose(stats[name][stat], np.average(mine, axis=0, weights=LENGTHS), atol=1e-6)
    red = np.array([200 / 255 * 0.5 + 0.5 * k / 255 for length in LENGTHS for k in range(length)])  # upper half 200, lower half k
    np.testing.assert_allclose(np.ravel(stats[CAMERAS[0]]["mean"])[0], red.mean(), atol=1e-3)


def test_large_images_use_the_common_pixel_format(tmp_path, recording, converted):
    _, out = converted(recording(seconds=1, size=(120, 320)).write(tmp_path / "bag"))
    feature = read(out / "faive_hand/meta/info.json")["features"][CAMERAS[0]]
    assert (feature["shape"], feature["info"]["video.pix_fmt"]) == ([120, 320, 3], "yuv420p")
    with av.open(str(out / "faive_hand/videos" / CAMERAS[0] / "chunk-000/file-000.mp4")) as video:
        assert video.streams.video[0].pix_fmt == "yuv420p"


def test_file_size_is_bounded(tmp_path, recording, converted, monkeypatch):
    monkeypatch.setattr(writer, "VIDEO_MB", 0.002)
    monkeypatch.setattr(writer, "DATA_MB", 0.002)
    bags = [recording(seconds=1).write(tmp_path / f"bag{k}") for k in range(3)]
    _, out = converted(*bags)
    rows = pq.read_table(out / "faive_hand/meta/episodes/chunk-000/file-000.parquet").to_pylist()
    assert [row["data/file_index"] for row in rows] == [0, 1, 2]
    assert [row[f"videos/{CAMERAS[0]}/file_index"] for row in rows] == [0, 1, 2]
    assert all(row[f"videos/{CAMERAS[0]}/from_timestamp"] == 0.0 for row in rows)


def test_crash_while_appending_leaves_a_complete_data_set(tmp_path, recording, converted, monkeypatch):
    bag = recording(seconds=1).write(tmp_path / "bag0")
    _, out = converted(bag)
    before = {path: path.read_bytes() for path in (out / "faive_hand").rglob("*") if path.is_file()}
    more = recording(seconds=2).write(tmp_path / "bag1")
    with monkeypatch.context() as patch:
        patch.setattr(writer, "_write_tasks", lambda *_: 1 / 0)
        with pytest.raises(ZeroDivisionError):
            converted(bag, more, out=out)
    assert {path: path.read_bytes() for path in (out / "faive_hand").rglob("*") if path.is_file()} == before
    (out / "faive_hand").rename(out / ".faive_hand.old")  # a crash between the two renames
    report, _ = converted(bag, more, out=out)
    assert report.kept == 2 and read(out / "faive_hand/meta/info.json")["total_episodes"] == 2
