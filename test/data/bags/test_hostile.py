"""Damaged and hostile bags: odd messages, bombs, lying lengths, names that leave a folder. None stops the reading of others."""

import contextlib
import json
import os
import random
import sqlite3
import struct

import pytest
import yaml
from mcap.writer import CompressionType
from mcap.writer import Writer as McapWriter

from latent_policy_ros.common.errors import ArtifactError, ConfigError
from latent_policy_ros.data.bags import compression, metadata
from latent_policy_ros.data.bags.mcap_writer import CHUNK, CHUNK_HEAD, MAGIC, RECORD, record, text
from latent_policy_ros.data.bags.message_types import definition
from latent_policy_ros.data.bags.metadata import TopicMetadata
from latent_policy_ros.data.bags.reader import find_bags, open_bag
from latent_policy_ros.data.bags.repair import find_mcap_bags, repair_bag
from latent_policy_ros.data.conversion.bag_metadata import check_metadata
from latent_policy_ros.data.conversion.mapping import conventional, robots_of_bag
from latent_policy_ros.data.inspection.summary import summary_tables
from latent_policy_ros.data.issues import BagUnreadable
from latent_policy_ros.data.recording.episode_bag import EpisodeBag
from latent_policy_ros.embodiments import load_embodiment

STRING = "std_msgs/msg/String"


def cdr(word):
    encoded = word.encode() + b"\0"
    return b"\0\1\0\0" + struct.pack("<I", len(encoded)) + encoded


def recorded(folder, messages=None):
    messages = messages or [cdr(str(k)) for k in range(20)]
    bag = EpisodeBag(folder, {})
    for topic in ("/words", "/others"):
        channel = bag.add_topic(TopicMetadata(topic, STRING))
        for k, data in enumerate(messages):
            bag.write(channel, (k + 1, k + 1, k), data)
    return bag.close()


def foreign(file, messages, kind):
    """An MCAP file of another writer, with compressed chunks."""
    with file.open("wb") as stream:
        writer = McapWriter(stream, compression=kind)
        writer.start(profile="ros2")
        schema = writer.register_schema(STRING, "ros2msg", definition(STRING)[0].encode())
        channel = writer.register_channel("/words", "cdr", schema)
        for k, data in enumerate(messages):
            writer.add_message(channel, log_time=k + 1, data=data, publish_time=k + 1)
        writer.finish()
    return file


def words(path, topic="/words"):
    with open_bag(path) as bag:
        return [message.data for _, _, message in bag.messages([topic])]


@pytest.mark.parametrize("odd", [b"", b"\0\1\0\0", cdr("x")[:-1] + b"\xff\xff\xff", b"\0\1\0\0" + b"\xff" * 8, b"\7" * 40])
def test_odd_messages_are_skipped_counted_and_named(tmp_path, odd):
    messages = [cdr("a"), odd, cdr("b"), odd, cdr("c")]
    with open_bag(recorded(tmp_path / "bag", messages)) as bag:
        for _ in range(2):  # counted anew
            found = [(topic, message.data) for topic, _, message in bag.messages(["/words", "/others"])]
            assert sorted(found) == [(topic, word) for topic in ("/others", "/words") for word in "abc"]
            assert {name: skipped.count for name, skipped in bag.skipped.items()} == {"/words": 2, "/others": 2}
            assert bag.skipped["/words"].time == pytest.approx(2e-9) and bag.skipped["/words"].error


@pytest.mark.parametrize("kind", [CompressionType.ZSTD, CompressionType.LZ4])
def test_chunks_that_expand_beyond_the_limit_are_refused(tmp_path, monkeypatch, kind):
    file = foreign(tmp_path / "bag_0.mcap", [cdr("a"), cdr("x" * 3_000_000), cdr("b")], kind)
    assert len(words(file)) == 3
    monkeypatch.setattr(compression, "MAX_CHUNK", 1 << 20)
    with pytest.raises(BagUnreadable, match="a chunk expands to more than 1 MiB, the limit"):
        words(file)
    file.write_bytes(file.read_bytes()[:-8])  # repair reads the chunks of a file without an end
    done = repair_bag(file)
    assert "expands to more than" in " ".join(done.lost) and done.messages < 3


def test_record_lengths_that_lie_are_damage(tmp_path):
    bag = recorded(tmp_path / "bag")
    (file,) = bag.glob("*.mcap")
    good = file.read_bytes()
    for opcode in (2, 3, 4, 6, 12, 200):
        for length in (3, 2**31, 2**63):
            lie = RECORD.pack(opcode, length) + b"\xff" * 20
            file.write_bytes(MAGIC + record(1, text("ros2"), text("x")) + lie + good[len(MAGIC) :])
            with pytest.raises(BagUnreadable):
                words(bag)
            assert repair_bag(file).messages in (0, 40)


def test_mutated_bags_raise_only_errors_of_this_package(tmp_path, monkeypatch):
    monkeypatch.setattr(compression, "MAX_CHUNK", 1 << 22)
    (tmp_path / "bag").mkdir()
    rng = random.Random(0)
    for kind in (CompressionType.NONE, CompressionType.ZSTD, CompressionType.LZ4):
        file = foreign(tmp_path / "bag" / "bag_0.mcap", [cdr(str(k)) for k in range(30)], kind)
        good = file.read_bytes()
        for _ in range(20):
            data = bytearray(good)
            for _ in range(rng.randint(1, 6)):
                at = rng.randrange(len(data))
                data[at : at + rng.choice((1, 4, 8))] = rng.choice((b"\xff" * 8, bytes(8), rng.randbytes(8)))
            file.write_bytes(data[: rng.choice((len(data), rng.randrange(len(data))))])
            (file.parent / metadata.FILE).unlink(missing_ok=True)
            for read in (words, repair_bag, words):
                with contextlib.suppress(BagUnreadable, ArtifactError):
                    read(file.parent)


@pytest.mark.parametrize("kind", ["x'); import os; ('/msg/Y", "a/msg/B\n", "../msg/B", "a b/msg/C"])
def test_names_of_message_types_that_could_be_code_are_refused(tmp_path, kind):
    file = tmp_path / "bag_0.mcap"
    with file.open("wb") as stream:
        writer = McapWriter(stream)
        writer.start(profile="ros2")
        channel = writer.register_channel("/words", "cdr", writer.register_schema(kind, "ros2msg", b"string data"))
        writer.add_message(channel, log_time=1, data=cdr("a"), publish_time=1)
        writer.finish()
    with pytest.raises(BagUnreadable, match="message types of /words"):
        words(file)


@pytest.mark.parametrize("custom", [[1], "text", {"cameras": 5}])
def test_custom_data_of_another_form_is_damage_or_text(tmp_path, custom):
    bag = recorded(tmp_path / "bag")
    metadata.write(bag, {**metadata.read(bag), "custom_data": custom})
    if isinstance(custom, dict):
        with open_bag(bag) as opened:
            assert opened.custom == {"cameras": "5"}
        return
    with pytest.raises(BagUnreadable), open_bag(bag):
        pass


@pytest.mark.parametrize(("noted", "found"), [("[[1.5, -3600.0]]", ["by -3600.00 s"]), ("[5]", []), ("{}", []), ("[", [])])
def test_clock_jumps_that_the_recorder_noted_are_issues(tmp_path, noted, found):
    bag, issues = recorded(tmp_path / "bag"), []
    metadata.update_custom(bag, {"clock_jumps": noted})
    with open_bag(bag) as opened:
        check_metadata(opened, conventional("left", load_embodiment("panda_gripper"), ("front",)), issues.append)
    assert [issue.text.rpartition("jumped ")[2] for issue in issues if issue.kind == "clock jump"] == found


def test_sqlite_tables_that_compute_are_refused(tmp_path):
    """A view can compute without end."""
    file = tmp_path / "bag_0.db3"
    with sqlite3.connect(file) as database:
        database.execute("CREATE TABLE topics(id INTEGER, name TEXT, type TEXT)")
        endless = "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n) SELECT i AS topic_id, i AS timestamp FROM n"
        database.execute(f"CREATE VIEW messages AS {endless}")
    database.close()
    with pytest.raises(BagUnreadable, match="messages is computed; expected a table"), open_bag(file):
        pass


def test_pipes_and_loops_of_links_are_not_followed(tmp_path):
    good = recorded(tmp_path / "good")
    os.mkfifo(tmp_path / "pipe_0.mcap")
    for name in ("one", "two", "three"):
        (tmp_path / name).symlink_to(tmp_path)
    assert find_bags([tmp_path]) == [good] and find_mcap_bags([tmp_path]) == [good]


def test_discarded_bags_are_not_found(tmp_path):
    good = recorded(tmp_path / "2026-01-01" / "good")
    recorded(tmp_path / metadata.TRASH / "discarded")
    assert find_bags([tmp_path]) == [good] and find_mcap_bags([tmp_path]) == [good]


def test_a_bad_bag_does_not_hide_others(tmp_path):
    recorded(tmp_path / "b_good")
    bad = recorded(tmp_path / "a_bad")
    (bad / metadata.FILE).write_text("!!python/object/apply:os.system ['true']")
    found = summary_tables(tmp_path)
    assert "b_good" in str(next(found).title)
    with pytest.raises(ArtifactError, match="a_bad.*metadata.yaml: cannot be read"):
        next(found)


@pytest.mark.parametrize("name", ["../../outside", "/outside", "..", "a\nb", "", 5])
@pytest.mark.parametrize("place", ["camera", "robot", "fleet"])
def test_names_in_metadata_that_leave_a_folder_are_refused(name, place):
    robot, camera = ("left", name) if place != "robot" else (name, "front")
    custom = {"cameras": json.dumps({robot: [camera]}), "embodiments": json.dumps({robot: {"name": "panda_gripper"}})}
    if place == "fleet":
        custom = {"fleet": yaml.safe_dump({"robots": {"left": {"embodiment": "panda_gripper", "cameras": [name]}}})}
    if (name, place) == (5, "robot"):
        pytest.skip("keys of JSON are strings")
    with pytest.raises(ConfigError, match="metadata of the bag: robots: name of a (robot|camera): got the name"):
        robots_of_bag(custom)


def test_files_that_metadata_names_outside_the_bag_are_not_read(tmp_path):
    other, bag = recorded(tmp_path / "other"), recorded(tmp_path / "bag")
    content = metadata.read(bag)
    for path in (f"../other/{next(other.glob('*.mcap')).name}", "/etc/passwd", "..", ".", "a\0b"):
        metadata.write(bag, {**content, "relative_file_paths": [path]})
        with pytest.raises(BagUnreadable), open_bag(bag):
            pass


def test_metadata_is_not_written_through_a_link(tmp_path):
    bag = recorded(tmp_path / "bag")
    (tmp_path / "victim").write_text("precious")
    (bag / f"{metadata.FILE}.tmp").symlink_to(tmp_path / "victim")
    metadata.update_custom(bag, {"outcome": "success"})
    assert (tmp_path / "victim").read_text() == "precious" and metadata.read(bag)["custom_data"]["outcome"] == "success"


def test_chunk_with_a_lying_size_is_left_out_by_repair(tmp_path):
    bag = recorded(tmp_path / "bag")
    (file,) = bag.glob("*.mcap")
    data = bytearray(file.read_bytes())
    at = data.index(RECORD.pack(CHUNK, 0)[:1], len(MAGIC) + 30)
    while data[at : at + 1] != bytes([CHUNK]) or RECORD.unpack_from(data, at)[1] > len(data):
        at = data.index(bytes([CHUNK]), at + 1)
    first, last, _, crc = CHUNK_HEAD.unpack_from(data, at + RECORD.size)
    data[at + RECORD.size : at + RECORD.size + CHUNK_HEAD.size] = CHUNK_HEAD.pack(first, last, 10 << 30, crc)
    file.write_bytes(data[:-8])
    done = repair_bag(bag)
    assert "damaged" in " ".join(done.lost) or done.messages == 40
