"""Conversion by several processes and in shards: the data sets are those of one process."""

import os

import numpy as np
import pytest
from small_episodes import IDENTITY

from latent_policy_ros.common.parallel import ALL, BACKENDS, Shard, Workers
from latent_policy_ros.data.conversion import conversion
from latent_policy_ros.data.lerobot.layout import STATE
from latent_policy_ros.data.lerobot.staging import EpisodeWriter

os.environ.setdefault("RAY_AUTH_MODE", "disabled")  # of the cluster that the tests start


def files(root):
    return {str(path.relative_to(root)): path.read_bytes() for path in root.rglob("*") if path.is_file()}


@pytest.fixture
def bags(tmp_path, recording):
    """Six recordings of different lengths, and a file that is no bag."""
    made = [recording(seconds=1 + k / 10).write(tmp_path / f"bag{k}") for k in range(6)]
    broken = tmp_path / "broken.mcap"
    broken.write_bytes(b"no bag")
    return [*made, broken]


def convert(bags, out, workers=conversion.IN_PROCESS, shard=ALL):
    told = []
    report = conversion.convert(bags, out, conversion.Options(), lambda bag, *_: told.append(bag), workers, shard)
    return report, set(told)


@pytest.mark.timeout(280)
@pytest.mark.parametrize("backend", BACKENDS)
def test_every_engine_writes_the_same_data_set(tmp_path, bags, backend):
    if backend != "loky":
        pytest.importorskip({"dask": "distributed"}.get(backend, backend))
    expected, _ = convert(bags, tmp_path / "one")
    report, told = convert(bags, tmp_path / "many", Workers(2, backend))
    assert (report.written, report.kept, report.frames) == (6, 0, expected.frames) and expected.written == 6
    assert report.left_out == expected.left_out and len(report.left_out) == 1
    assert told == set(bags)
    assert files(tmp_path / "many/faive_hand") == files(tmp_path / "one/faive_hand")


def test_call_without_a_shard_completes_shards(tmp_path, bags):
    _, out = convert(bags, tmp_path / "one"), tmp_path / "many"
    reports = [convert(bags, out, shard=Shard(number, 3))[0] for number in (1, 3)]
    assert not (out / "faive_hand").exists() and not (out / "report.json").exists()
    assert [report.written for report in reports] == [2, 2]
    report, _ = convert(bags, out)
    assert (report.written, report.kept) == (2, 4) and len(report.left_out) == 1
    assert files(out / "faive_hand") == files(tmp_path / "one/faive_hand")


def test_two_workers_may_write_the_same_episode(tmp_path):
    """As when copies of a bag are converted at the same time."""
    writers = [EpisodeWriter(tmp_path, "0", IDENTITY, ("front",)) for _ in range(2)]
    for writer in writers:
        for k in range(3):
            writer.add(k / 10, {"front": np.zeros((32, 32, 3), np.uint8)})
    for writer in writers:
        assert writer.finish({STATE: (IDENTITY.joints, np.zeros((3, len(IDENTITY.joints))))}, "", True, {}).length == 3
    assert [path.name for path in tmp_path.iterdir()] == ["0"]
