"""Repair of bags that end anywhere: all complete messages are kept, and two other libraries can read the result."""

import random
import shutil
import struct
import subprocess
import sys

import pytest
import yaml
from mcap.reader import NonSeekingReader, make_reader
from mcap.writer import CompressionType
from mcap.writer import Writer as TheirWriter
from rosbags.highlevel import AnyReader

from latent_policy_ros.common.errors import ArtifactError
from latent_policy_ros.data.bags import metadata
from latent_policy_ros.data.bags.mcap_writer import McapWriter
from latent_policy_ros.data.bags.metadata import TopicMetadata
from latent_policy_ros.data.bags.reader import open_bag
from latent_policy_ros.data.bags.repair import find_mcap_bags, repair_bag
from latent_policy_ros.data.issues import BagUnreadable
from latent_policy_ros.data.recording.episode_bag import EpisodeBag, offered_qos

TOPICS = [
    TopicMetadata("/left/joint_states", "sensor_msgs/msg/JointState", (offered_qos(False),)),
    TopicMetadata("/left/latent_action", "latent_policy_ros/msg/LatentAction", (offered_qos(True),)),
    TopicMetadata("/left/front/image_raw/compressed", "sensor_msgs/msg/CompressedImage", (offered_qos(False),)),
]
T0 = 1_700_000_000_000_000_000


def record(folder, messages=400, chunk=8 << 10):
    """A bag of several chunks; returns its folder and [(topic, log time, data)] in the order in which they were written."""
    bag, sent, rng = EpisodeBag(folder, {"task": "stack", "robots": "left", "fleet": "robots:\n  left: {}\n"}), [], random.Random(1)
    bag._file.chunk_size = chunk
    channels = {}
    for k in range(messages):
        topic = TOPICS[k % 2 if k < messages // 2 else k % 3]  # the third topic comes later
        if topic.name not in channels:
            channels[topic.name] = bag.add_topic(topic)
        data = rng.randbytes(rng.randrange(4, 600))
        bag.write(channels[topic.name], (T0 + k * 10**6, T0 + k * 10**6 - 5, k), data)
        sent.append((topic.name, T0 + k * 10**6, data))
    return bag, sent


def message_ends(file):
    """Offset in the file at which each message ends, determined by another library."""
    ends, data = [], file.read_bytes()
    at = 8
    while at < len(data) - 8:
        opcode, length = struct.unpack_from("<BQ", data, at)
        if opcode == 6:  # chunk, stored as it is
            inner = at + 9 + 28 + 4 + 8
            while inner < at + 9 + length:
                op, size = struct.unpack_from("<BQ", data, inner)
                inner += 9 + size
                if op == 5:
                    ends.append(inner)
        at += 9 + length
    return ends


def outcome_end(file):
    """Offset in the file at which the metadata record with the outcome ends."""
    end, at, data = 0, 8, file.read_bytes()
    while at < len(data) - 8:
        opcode, length = struct.unpack_from("<BQ", data, at)
        at += 9 + length
        end = at if opcode == 12 else end  # metadata
    return end


def read_all(bag):
    """Messages of the bag; checks that rosbags, mcap's indexed reader and mcap's streaming reader agree."""
    with AnyReader([bag]) as reader:
        theirs = [(c.topic, stamp, bytes(data)) for c, stamp, data in reader.messages()]
    (file,) = bag.glob("*.mcap")
    with file.open("rb") as stream:
        reader = make_reader(stream, validate_crcs=True)
        indexed = [(c.topic, m.log_time, m.data) for _, c, m in reader.iter_messages()]
        assert reader.get_summary().statistics.message_count == len(indexed)
    with file.open("rb") as stream:
        streamed = [(c.topic, m.log_time, m.data) for _, c, m in NonSeekingReader(stream, validate_crcs=True).iter_messages()]
    assert theirs == indexed == streamed
    return theirs


@pytest.fixture(scope="module")
def recorded(tmp_path_factory):
    """A finished bag, what was written, and where each message ends in its file."""
    bag, sent = record(tmp_path_factory.mktemp("bags") / "2026-11-24" / "episode")
    path = bag.close({"outcome": "success", "success": "true"})
    ends = message_ends(path / "episode_0.mcap")
    assert len(ends) == len(sent) == 400
    return path, sent, ends


def cut(recorded, tmp_path, size, metadata=False):
    bag = tmp_path / "episode"
    shutil.copytree(recorded[0], bag)
    file = bag / "episode_0.mcap"
    with file.open("r+b") as stream:
        stream.truncate(size)
    if not metadata:
        (bag / "metadata.yaml").unlink()
    return bag


@pytest.mark.parametrize("seed", range(50))
def test_truncated_file_keeps_all_complete_messages(recorded, tmp_path, seed):
    whole, sent, ends = recorded
    size = random.Random(seed).randrange(0, (whole / "episode_0.mcap").stat().st_size)
    bag = cut(recorded, tmp_path, size)
    expected = sent[: sum(end <= size for end in ends)]
    done = repair_bag(bag)
    assert done.repaired == ("episode_0.mcap", "metadata.yaml") and done.messages == len(expected)
    assert read_all(bag) == expected
    content = metadata.read(bag)
    assert content["message_count"] == len(expected) and content["custom_data"]["repaired"] == "true"
    if expected:
        assert content["starting_time"]["nanoseconds_since_epoch"] == expected[0][1]
        assert content["duration"]["nanoseconds"] == expected[-1][1] - expected[0][1]
        outcome = "success" if size >= outcome_end(whole / "episode_0.mcap") else "unknown"
        assert content["custom_data"]["task"] == "stack" and content["custom_data"]["outcome"] == outcome
        counts = {t["topic_metadata"]["name"]: t["message_count"] for t in content["topics_with_message_count"]}
        assert {k: n for k, n in counts.items() if n} == {n: sum(m[0] == n for m in expected) for n in {m[0] for m in expected}}
    assert sorted(p.name for p in bag.iterdir()) == ["episode_0.mcap", "metadata.yaml"]
    before = {p.name: p.stat().st_mtime_ns for p in bag.iterdir()}
    assert repair_bag(bag).repaired == () and {p.name: p.stat().st_mtime_ns for p in bag.iterdir()} == before


def test_complete_bag_is_not_changed(recorded):
    before = {p.name: (p.stat().st_mtime_ns, p.read_bytes()) for p in recorded[0].iterdir()}
    done = repair_bag(recorded[0])
    assert done.repaired == () and done.messages == 400 and done.lost == ()
    assert {p.name: (p.stat().st_mtime_ns, p.read_bytes()) for p in recorded[0].iterdir()} == before


def test_missing_metadata_is_rebuilt(recorded, tmp_path):
    whole, sent, _ = recorded
    file = whole / "episode_0.mcap"
    bag = cut(recorded, tmp_path, file.stat().st_size)
    done = repair_bag(bag)
    assert done.repaired == ("metadata.yaml",) and (bag / file.name).read_bytes() == file.read_bytes()
    theirs, ours = (metadata.read(b) for b in (whole, bag))
    assert ours == theirs  # the outcome too: it stands in the file


def test_custom_metadata_survives_the_repair(recorded, tmp_path):
    bag = cut(recorded, tmp_path, 50_000, metadata=True)
    repair_bag(bag)
    content = metadata.read(bag)["custom_data"]
    assert content["outcome"] == "success" and content["repaired"] == "true" and "episode_0.mcap" in content["repair"]


def test_damage_is_reported_and_the_rest_is_kept(recorded, tmp_path):
    whole, sent, ends = recorded
    bag = cut(recorded, tmp_path, 60_000)
    file = bag / "episode_0.mcap"
    content = bytearray(file.read_bytes())
    content[ends[40]] ^= 0xFF  # in a chunk in the middle
    content[ends[40] + 100] ^= 0xFF
    file.write_bytes(content)
    done = repair_bag(bag)
    kept = read_all(bag)
    expected = sent[: sum(end <= 60_000 for end in ends)]
    assert len(done.lost) == 1 and "damaged" in done.lost[0] and "episode_0.mcap" in done.lost[0]
    assert 0 < len(expected) - len(kept) < 60 and [m for m in expected if m in kept] == kept
    assert "damaged" in metadata.read(bag)["custom_data"]["repair"]


@pytest.mark.parametrize("compression", [CompressionType.ZSTD, CompressionType.LZ4, CompressionType.NONE])
def test_bags_of_other_writers_are_repaired(tmp_path, compression):
    rng = random.Random(3)
    bag = tmp_path / "theirs"
    bag.mkdir()
    file = bag / "theirs_0.mcap"
    sent = []
    with file.open("wb") as stream:
        writer = TheirWriter(stream, chunk_size=300_000, compression=compression)
        writer.start("ros2", "another")
        schema = writer.register_schema("std_msgs/msg/String", "ros2msg", b"string data")
        channel = writer.register_channel("/chatter", "cdr", schema)
        for k in range(2000):
            sent.append((T0 + k, bytes(rng.choices(range(30), k=400))))
            writer.add_message(channel, T0 + k, sent[-1][1], T0 + k)
        writer.finish()
    with file.open("r+b") as stream:
        stream.truncate(int(file.stat().st_size * 0.97))
    done = repair_bag(bag)
    messages = [(stamp, data) for _, stamp, data in read_all(bag)]
    assert messages == sent[: len(messages)] and done.messages == len(messages)
    assert len(messages) > 1600  # two whole chunks have 1,400; of the third what its whole compressed blocks hold


def test_bag_that_is_being_recorded_is_refused(tmp_path):
    bag, _ = record(tmp_path / "episode", 50)
    with pytest.raises(ArtifactError, match="is being recorded"):
        repair_bag(bag.path)
    bag.close()
    assert repair_bag(bag.path).repaired == ()


def test_bag_that_another_process_writes_is_refused(recorded, tmp_path):
    """Other recorders do not lock their files."""
    bag = cut(recorded, tmp_path, 50_000)
    file = bag / "episode_0.mcap"
    before = file.read_bytes()
    hold = "import sys; file = open(sys.argv[1], 'ab'); print('open', flush=True); sys.stdin.read()"
    with subprocess.Popen([sys.executable, "-c", hold, file], stdin=subprocess.PIPE, stdout=subprocess.PIPE) as recorder:
        assert recorder.stdout.readline() == b"open\n"
        with pytest.raises(ArtifactError, match=rf"episode_0\.mcap: is still being written by process {recorder.pid} \(python"):
            repair_bag(bag)
        recorder.stdin.close()
    assert [p.name for p in bag.iterdir()] == [file.name] and file.read_bytes() == before
    with file.open("rb"):  # whoever reads it does no harm
        assert "episode_0.mcap" in repair_bag(bag).repaired


def test_bag_that_changes_during_its_repair_is_refused(recorded, tmp_path, monkeypatch):
    bag = cut(recorded, tmp_path, 50_000)
    file = bag / "episode_0.mcap"
    before, finish = file.read_bytes(), McapWriter.finish

    def grow(self):
        with file.open("ab") as stream:  # somebody whom this process cannot see
            stream.write(b"more")
        finish(self)

    monkeypatch.setattr(McapWriter, "finish", grow)
    with pytest.raises(ArtifactError, match=r"episode_0\.mcap: is still being written: it changed during the repair"):
        repair_bag(bag)
    assert [p.name for p in bag.iterdir()] == [file.name] and file.read_bytes() == before + b"more"


def test_failed_repair_changes_nothing(recorded, tmp_path, monkeypatch):
    bag = cut(recorded, tmp_path, 50_000)
    before = (bag / "episode_0.mcap").read_bytes()

    def full(self):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(McapWriter, "finish", full)
    with pytest.raises(OSError, match="No space"):
        repair_bag(bag)
    assert [p.name for p in bag.iterdir()] == ["episode_0.mcap"] and (bag / "episode_0.mcap").read_bytes() == before


def test_repair_command_on_a_folder(recorded, tmp_path):
    from typer.testing import CliRunner

    from latent_policy_ros.cli.dataset import app

    cut(recorded, tmp_path / "a", 50_000)
    shutil.copytree(recorded[0], tmp_path / "b" / "episode")
    assert len(find_mcap_bags([tmp_path])) == 2
    done = CliRunner().invoke(app, ["repair", str(tmp_path)])
    words = " ".join(done.output.split())
    assert done.exit_code == 0 and "repaired" in words and "intact" in words
    assert yaml.safe_load((tmp_path / "a" / "episode" / "metadata.yaml").read_text())
    (tmp_path / "c").mkdir()
    with pytest.raises(ArtifactError, match="no MCAP file"):
        find_mcap_bags([tmp_path / "c"])


def foreign(file, stamps=range(20), topic="/chatter", cut=1.0, attach=b"", chunked=True, serialized=""):
    """Write a file with another library: one message for each of ``stamps``, in this order."""
    file.parent.mkdir(parents=True, exist_ok=True)
    with file.open("wb") as stream:
        writer = TheirWriter(stream, use_chunking=chunked, compression=CompressionType.NONE, chunk_size=200)
        writer.start("ros2", "another")
        if serialized:
            writer.add_metadata("rosbag2", {"serialized_metadata": serialized})
        if attach:
            writer.add_attachment(T0 + 1, T0, "calibration.yaml", "text/yaml", attach)
        channel = writer.register_channel(topic, "cdr", writer.register_schema("std_msgs/msg/String", "ros2msg", b"string data"))
        for k in stamps:
            writer.add_message(channel, T0 + k, struct.pack("<BBBBIII", 0, 1, 0, 0, 8, k, 0), T0 + k)
        writer.finish()
    with file.open("r+b") as stream:
        stream.truncate(int(file.stat().st_size * cut))
    return file


def test_single_files_and_split_bags(tmp_path):
    loose = [foreign(tmp_path / "bags" / name, cut=0.6) for name in ("bags_morning.mcap", "bags_noon.mcap")]
    takes = [foreign(tmp_path / "takes" / f"takes_{k}.mcap") for k in (1, 2)]
    pieces = [foreign(tmp_path / "split" / f"split_{k}.mcap", range(20 * k, 20 * k + 20), cut=1 - 0.4 * k) for k in (0, 1)]
    assert find_mcap_bags([tmp_path]) == [*loose, tmp_path / "split", *takes]
    assert find_mcap_bags([loose[0], pieces[1]]) == [loose[0], tmp_path / "split"]
    for bag in find_mcap_bags([tmp_path]):
        repair_bag(bag)
    assert not (tmp_path / "bags" / "metadata.yaml").exists() and not (tmp_path / "takes" / "metadata.yaml").exists()
    assert metadata.read(tmp_path / "split")["relative_file_paths"] == ["split_0.mcap", "split_1.mcap"]


def test_bag_in_a_renamed_folder(tmp_path):
    foreign(tmp_path / "good" / "rosbag2_2026_11_24_0.mcap", cut=0.6)
    (bag,) = find_mcap_bags([tmp_path])
    assert repair_bag(bag).repaired == ("rosbag2_2026_11_24_0.mcap", "metadata.yaml")
    assert bag == tmp_path / "good" and read_all(bag)


def test_unrelated_files_are_ignored_and_missing_parts_added(tmp_path):
    bag = tmp_path / "good"
    foreign(bag / "take_0.mcap")
    repair_bag(bag)
    other, piece = foreign(bag / "other.mcap", cut=0.6), foreign(bag / "take_1.mcap", range(20, 40), cut=0.9)
    before = other.read_bytes()
    assert repair_bag(bag).repaired == ("take_1.mcap", "metadata.yaml") and other.read_bytes() == before
    assert metadata.read(bag)["relative_file_paths"] == ["take_0.mcap", piece.name]
    assert find_mcap_bags([tmp_path]) == [other, bag]


def test_compressed_part_of_a_split_bag(tmp_path):
    bag = tmp_path / "split"
    for k in (0, 1):
        foreign(bag / f"split_{k}.mcap", range(20 * k, 20 * k + 20), cut=1 - 0.4 * k)
    (bag / "split_0.mcap").rename(bag / "split_0.mcap.zstd")  # whatever is in it
    before = {p.name: p.read_bytes() for p in bag.iterdir()}
    (found,) = find_mcap_bags([tmp_path])
    with pytest.raises(ArtifactError, match=r"unpack it first: zstd -d --rm .*split_0\.mcap\.zstd"):
        repair_bag(found)
    assert {p.name: p.read_bytes() for p in bag.iterdir()} == before
    (bag / "split_1.mcap").rename(bag / "split_0.mcap")  # as a player unpacks it
    with pytest.raises(ArtifactError, match="no MCAP file"):
        find_mcap_bags([tmp_path])


def test_attachments_are_kept(tmp_path):
    file = foreign(tmp_path / "take.mcap", attach=b"fx: 600", cut=0.7)
    repair_bag(file)
    with file.open("rb") as stream:
        reader = make_reader(stream, validate_crcs=True)
        (attachment,) = reader.iter_attachments()
        assert reader.get_summary().statistics.attachment_count == 1
    assert (attachment.name, attachment.media_type, attachment.data) == ("calibration.yaml", "text/yaml", b"fx: 600")
    assert (attachment.log_time, attachment.create_time) == (T0, T0 + 1)


def test_unchunked_messages_out_of_order(tmp_path):
    file = foreign(tmp_path / "odd_0.mcap", (0, 2, 1, 3), chunked=False)
    with open_bag(file) as bag, pytest.raises(BagUnreadable, match="try: latent-policy dataset repair"):
        list(bag.messages(["/chatter"]))
    assert "odd_0.mcap" in repair_bag(tmp_path).repaired
    assert [stamp - T0 for _, stamp, _ in read_all(tmp_path)] == [0, 1, 2, 3]
    ordered = foreign(tmp_path / "b" / "even_0.mcap", (0, 1, 2, 3), chunked=False)
    before = ordered.read_bytes()
    assert repair_bag(ordered).repaired == () and ordered.read_bytes() == before


SERIALIZED_METADATA = """
version: 9
message_count: 0
custom_data: {task: pick, operator: eve, began: 12:30:05, success: true}
ros_distro: jazzy
"""


def test_custom_data_of_ros2_bag_record_is_kept(tmp_path):
    """rosbag2 also writes it at the beginning of the file (--custom-data)."""
    file = foreign(tmp_path / "bag" / "bag_0.mcap", serialized=SERIALIZED_METADATA, cut=0.7)
    repair_bag(file.parent)
    custom = metadata.read(file.parent)["custom_data"]
    assert {"task": "pick", "operator": "eve", "began": "12:30:05", "success": "true"}.items() <= custom.items()
    (file.parent / "metadata.yaml").unlink()  # it still stands in the file, with what rosbag2 needs to read the rest
    repair_bag(file.parent)
    assert metadata.read(file.parent)["custom_data"]["operator"] == "eve"
    with file.open("rb") as stream:
        (kept,) = make_reader(stream, validate_crcs=True).iter_metadata()
    assert (kept.name, kept.metadata) == ("rosbag2", {"serialized_metadata": SERIALIZED_METADATA})
