"""Recording on disks that fail: full for a moment, nearly full, read-only, with errors of sync; killed recorders, clock jumps."""

import errno
import json
import os
import resource
import signal
import subprocess
import sys
import time
from types import SimpleNamespace

import pytest
from mcap.reader import make_reader
from rosbags.highlevel import AnyReader

from latent_policy_ros.data.bags import mcap_writer, metadata
from latent_policy_ros.data.bags.mcap_writer import McapWriter
from latent_policy_ros.data.bags.metadata import TopicMetadata
from latent_policy_ros.data.bags.repair import repair_bag
from latent_policy_ros.data.recording.bag_writer import BagWriter
from latent_policy_ros.data.recording.episode_bag import EpisodeBag

STRING = TopicMetadata("/chatter", "std_msgs/msg/String")
MESSAGE = b"\0\1\0\0" + (993).to_bytes(4, "little") + bytes(993)


def numbers(path):
    """Sequence numbers of the messages of a file."""
    with path.open("rb") as file:
        return [message.sequence for _, _, message in make_reader(file, validate_crcs=True).iter_messages()]


def fill(bag, count, start=0):
    """Write messages that are numbered from ``start``."""
    channel = bag.add_topic(STRING)
    for k in range(start, start + count):
        bag.write(channel, (k + 1, k + 1, k), MESSAGE)


@pytest.mark.parametrize("limit", [400_000, 1_000_000, 1_000_003])
def test_disk_that_is_full_for_a_moment_leaves_a_readable_file(tmp_path, limit):
    """The limit of the file size makes writes fall short, as on a full disk; it is raised before the file is finished."""
    writer = McapWriter(tmp_path / "x_0.mcap", "test", chunk_size=1 << 17)
    channel = writer.add_channel("/x", writer.add_schema("std_msgs/msg/String", "ros2msg", "string data"), "cdr", {})
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    try:
        resource.setrlimit(resource.RLIMIT_FSIZE, (limit, hard))
        with pytest.raises(OSError, match="File too large"):
            for k in range(10_000):
                writer.message(channel, k, k, k, bytes(1000))
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    dropped = writer.drop_chunk().total()
    writer.finish()
    kept = numbers(writer.path)
    assert kept == list(range(writer.counts.total())) and kept and dropped == k + 1 - len(kept)


def test_chunks_leave_the_reserve_free_at_any_rate(tmp_path, monkeypatch):
    capacity, reserve = 8_000_000, 2_000_000
    size = lambda fd: capacity - os.fstat(fd).st_size  # noqa: E731
    monkeypatch.setattr(mcap_writer.os, "fstatvfs", lambda fd: SimpleNamespace(f_bavail=size(fd), f_frsize=1))
    bag = EpisodeBag(tmp_path / "bag", {}, reserve)
    writer = BagWriter(bag)
    for k in range(20_000):
        writer.write(STRING, (k + 1, k + 1, k), MESSAGE)
    while writer.error is None:
        time.sleep(0.005)
    assert writer.error.errno == errno.ENOSPC and "0.00 GB left" in str(writer.error)
    path = writer.close({})
    (file,) = path.glob("*.mcap")
    kept = numbers(file)
    assert kept == list(range(len(kept))) and len(kept) + writer.dropped.total() == 20_000
    assert 4_000_000 < file.stat().st_size < capacity - reserve // 4


@pytest.mark.parametrize("error", [errno.EROFS, errno.EIO])
def test_disk_that_fails_while_recording_leaves_an_unfinished_bag_that_can_be_repaired(tmp_path, monkeypatch, error):
    bag = EpisodeBag(tmp_path / "bag", {"task": "stack"})
    fill(bag, 500)
    bag.flush(0.0)
    bag.sync()

    def fail(*_):
        raise OSError(error, os.strerror(error))

    for call in ("pwrite", "ftruncate", "fdatasync"):
        monkeypatch.setattr(mcap_writer.os, call, fail)
    bag.write(1, (501, 501, 500), MESSAGE)
    with pytest.raises(OSError, match=os.strerror(error)):
        bag.flush(0.0)
    assert bag.end_chunk() == {STRING.name: 1}
    with pytest.raises(OSError, match=os.strerror(error)):
        bag.close()
    monkeypatch.undo()
    bag._file.close()
    assert repair_bag(bag.path).messages == 500
    with AnyReader([bag.path]) as reader:
        assert reader.message_count == 500


@pytest.mark.parametrize("call", ["pwrite", "fdatasync"])
def test_bag_that_cannot_be_begun_leaves_nothing(tmp_path, monkeypatch, call):
    monkeypatch.setattr(mcap_writer.os, call, lambda *_: (_ for _ in ()).throw(OSError(errno.ENOSPC, "No space left")))
    before = len(os.listdir("/proc/self/fd"))
    with pytest.raises(OSError, match="No space left"):
        EpisodeBag(tmp_path / "day" / "bag", {})
    assert not list((tmp_path / "day").iterdir()) and len(os.listdir("/proc/self/fd")) == before


def test_file_whose_sync_failed_gets_no_end(tmp_path, monkeypatch):
    """After a failed sync, Linux may have dropped written pages: only repair, which checks every chunk, may finish the file."""
    bag = EpisodeBag(tmp_path / "bag", {})
    fill(bag, 100)
    sync = os.fdatasync
    monkeypatch.setattr(mcap_writer.os, "fdatasync", lambda fd: (_ for _ in ()).throw(OSError(errno.EIO, "Input/output error")))
    bag.flush(0.0)
    with pytest.raises(OSError, match="Input/output"):
        bag.sync()
    monkeypatch.setattr(mcap_writer.os, "fdatasync", sync)
    with pytest.raises(OSError, match="the file has no end"):
        bag.close()
    assert not (bag.path / metadata.FILE).exists()
    bag._file.close()
    assert repair_bag(bag.path).messages == 100


def test_slow_disk_loses_nothing_that_its_queue_can_hold_and_counts_the_rest(tmp_path, monkeypatch):
    """Each write takes 0.3 s, as long as many messages take to arrive; the second bag has a queue for two messages."""
    write = os.pwrite
    monkeypatch.setattr(mcap_writer.os, "pwrite", lambda *arguments: (time.sleep(0.3), write(*arguments))[1])
    for name, limit in (("roomy", 1 << 20), ("tight", 2500)):
        writer = BagWriter(EpisodeBag(tmp_path / name, {}), limit)
        for k in range(300):
            writer.write(STRING, (k + 1, k + 1, k), MESSAGE)
            time.sleep(0.005)
        path = writer.close({})
        kept, dropped = numbers(next(path.glob("*.mcap"))), writer.dropped.total()
        assert len(kept) + dropped == 300 and kept == sorted(kept)
        assert (dropped > 0) == (name == "tight")
        assert json.loads(metadata.read(path)["custom_data"].get("dropped", "{}")) == ({STRING.name: dropped} if dropped else {})


def test_file_that_something_else_changed_gets_no_end(tmp_path):
    bag = EpisodeBag(tmp_path / "bag", {})
    fill(bag, 100)
    bag.flush(0.0)
    (file,) = bag.path.glob("*.mcap")
    os.truncate(file, file.stat().st_size - 10)
    with pytest.raises(OSError, match="the file has no end"):
        bag._file.finish()


def test_messages_that_cannot_be_recorded_do_not_end_the_recording(tmp_path):
    writer = BagWriter(EpisodeBag(tmp_path / "bag", {}))
    writer.write(STRING, (1, 1, 1), MESSAGE)
    writer.write(STRING, (-1, 1, 2), MESSAGE)  # a time that MCAP cannot hold
    writer.write(TopicMetadata("/odd", "no_such_msgs/msg/Type"), (2, 2, 1), MESSAGE)
    writer.write(TopicMetadata("/odder", "not a type"), (2, 2, 1), MESSAGE)
    writer.write(STRING, (3, 3, 3), MESSAGE)
    path = writer.close({})
    assert numbers(next(path.glob("*.mcap"))) == [1, 3]
    assert writer.error is None and writer.dropped == {STRING.name: 1, "/odd": 1, "/odder": 1}
    assert set(writer.failed) == {STRING.name, "/odd", "/odder"}


def test_clock_jumps_lose_no_message(tmp_path):
    bag = EpisodeBag(tmp_path / "bag", {})
    channel = bag.add_topic(STRING)
    times = [10_000_000_000 + k * 10**7 for k in range(50)] + [5_000_000_000 + k * 10**7 for k in range(50)]
    for k, stamp in enumerate(times):
        bag.write(channel, (stamp, stamp, k), MESSAGE)
        if k % 20 == 0:
            bag.flush(0.0)
    path = bag.close()
    told = metadata.read(path)
    assert told["message_count"] == 100 and told["duration"]["nanoseconds"] == max(times) - min(times)
    assert sorted(numbers(next(path.glob("*.mcap")))) == list(range(100))


WRITE = f"""
import itertools, os, sys, time
from pathlib import Path
from latent_policy_ros.data.bags import mcap_writer
from latent_policy_ros.data.bags.message_types import message_types
from latent_policy_ros.data.bags.metadata import TopicMetadata
from latent_policy_ros.data.recording.bag_writer import BagWriter
from latent_policy_ros.data.recording.episode_bag import EpisodeBag
if "slow" in sys.argv:
    mcap_writer.os.fdatasync = lambda fd: time.sleep(5.0)
message_types()  # loaded before a recording begins, as in the recorder
writer, topic = BagWriter(EpisodeBag(Path(sys.argv[1]), {{}})), TopicMetadata("/chatter", "std_msgs/msg/String")
for k in itertools.count():
    now = time.time_ns()
    writer.write(topic, (now, now, k), {MESSAGE!r})
    if k == 400:
        print("recording", flush=True)
    time.sleep(0.005)
"""


@pytest.mark.parametrize("disk", ["fast", "slow"])
def test_killed_recorder_loses_at_most_one_second(tmp_path, disk):
    """Also while a sync of the slow disk takes seconds."""
    process = subprocess.Popen([sys.executable, "-c", WRITE, str(tmp_path / "bag"), disk], stdout=subprocess.PIPE, text=True)
    try:
        assert process.stdout.readline() == "recording\n"
        killed = time.time_ns()
        process.send_signal(signal.SIGKILL)
    finally:
        process.kill()
        process.wait()
    done = repair_bag(tmp_path / "bag")
    with AnyReader([tmp_path / "bag"]) as reader:
        assert reader.message_count == done.messages > 100
        assert (killed - reader.end_time) * 1e-9 < 1.0
    assert numbers(next((tmp_path / "bag").glob("*.mcap"))) == list(range(done.messages))
