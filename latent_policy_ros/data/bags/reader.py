"""Reading bags: any rosbag2 folder or file, whoever wrote it, however it is stored."""

from __future__ import annotations

import contextlib
import errno
import hashlib
import json
import tempfile
from collections.abc import Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from mcap.records import Channel, Chunk, Message
from mcap.stream_reader import StreamReader
from rosbags.interfaces import Connection
from rosbags.typesys.store import Typestore

from latent_policy_ros.common.errors import ArtifactError
from latent_policy_ros.data.bags.message_types import types_of
from latent_policy_ros.data.bags.metadata import split_number
from latent_policy_ros.data.bags.tolerant_reader import BagReader
from latent_policy_ros.data.issues import BagUnreadable, Issue

METADATA, FILES = "metadata.yaml", (".mcap", ".db3")
BLOCK, BLOCKS = 4096, 64  # bytes, and number of them, by which a file is told from others
DISK_FULL = errno.ENOSPC, errno.EDQUOT  # of a disk: the next bag would fare no better


def find_bags(paths: Iterable[Path | str], wanted: str = "bag") -> list[Path]:
    """The bags at ``paths``: folders of rosbag2, single files, or folders that hold such at any depth, in the order of names.

    Args:
        wanted: What there may be, in words.

    Raises:
        ArtifactError: There is nothing at a path, or no bag.
    """
    found: list[Path] = []
    for path in map(Path, paths):
        if not path.exists():
            raise ArtifactError(f"{path}: no such {wanted}")
        here = [path] if path.is_file() else list(_bags_in(path))
        if not here:
            raise ArtifactError(f"{path}: holds no {wanted} (a folder with {METADATA}, or a file *{', *'.join(FILES)})")
        found += [bag for bag in here if bag not in found]
    return found


def _bags_in(folder: Path) -> Iterator[Path]:
    if (folder / METADATA).is_file():
        yield folder
        return
    files = sorted(file for file in folder.iterdir() if file.suffix in FILES)
    pieces = {(split_number(file)[0], file.suffix) for file in files}
    if len(files) == 1 or (len(pieces) == 1 and files):  # of pieces nobody knows whether they are all: opening them says so
        yield folder
    else:
        yield from files
    for below in sorted(path for path in folder.iterdir() if path.is_dir()):
        yield from _bags_in(below)


def content_fingerprint(bag: Path) -> str:
    """The same for the same messages, wherever the bag lies and whatever it says of itself: a hash of blocks of its files."""
    told = hashlib.sha256()
    files = sorted(file for file in bag.iterdir() if set(FILES) & set(file.suffixes)) if bag.is_dir() else [bag]
    for file in files:
        size = file.stat().st_size
        told.update(f"{size} ".encode())
        with file.open("rb") as opened:
            for k in range(BLOCKS + 1):  # all of a small file; of a large one enough to tell recordings apart
                opened.seek(k * max(BLOCK, (size - BLOCK) // BLOCKS))
                told.update(opened.read(BLOCK))
    return told.hexdigest()


def file_fingerprint(bag: Path) -> str:
    """Changes when the bag's files do."""
    files = sorted(bag.iterdir()) if bag.is_dir() else [bag]
    told = [(file.name, file.stat().st_size, file.stat().st_mtime_ns) for file in files if file.is_file()]
    return hashlib.sha256(json.dumps(told).encode()).hexdigest()[:16]


@dataclass(frozen=True)
class BagTopic:
    """A topic of an open bag: message type and number of messages."""

    msg_type: str
    count: int


@dataclass
class Bag:
    """An open bag.

    Attributes:
        path: Where it is.
        topics: By name.
        custom: What the recorder told of it.
        start, end: Times of receipt of its first and last message [s].
        unlisted: Names of files in its folder that its metadata does not name, and that are not read.
    """

    path: Path
    topics: dict[str, BagTopic]
    custom: dict[str, str]
    start: float
    end: float
    _reader: BagReader = field(repr=False)
    unlisted: tuple[str, ...] = ()
    _at: tuple[str, float] = ("", 0.0)

    @property
    def count(self) -> int:
        """Number of messages."""
        return sum(topic.count for topic in self.topics.values())

    def messages(self, topics: Collection[str]) -> Iterator[tuple[str, float, Any]]:
        """(topic, time of receipt [s], message) of some topics, as they were received.

        Raises:
            BagUnreadable: The rest cannot be read.
        """
        connections = [c for c in _connections(self._reader) if c.topic in topics]
        types = self._types(connections)
        source = self._reader.messages(connections) if connections else iter(())
        while True:
            try:
                connection, received, raw = next(source)
                self._at = connection.topic, received * 1e-9
                message = types.deserialize_cdr(raw, connection.msgtype)
            except StopIteration:
                return
            except Exception as error:  # whatever a damaged file makes the libraries raise
                topic, time = self._at
                at = time - self.start if topic else 0.0
                text = f"cannot be read any further: {_text(error)}"
                if "timestamp order" in text:  # a file without chunks
                    text += f"; try: latent-policy dataset repair {self.path}"
                raise BagUnreadable(Issue("damaged", text, self.path, topic, at)) from error
            yield connection.topic, received * 1e-9, message

    def _types(self, connections: list[Connection]) -> Typestore:
        try:  # of these only: what else was recorded may be defined in ways that nobody can read
            return types_of(connections)
        except Exception as error:  # whatever the library raises of a definition
            topics = ", ".join(sorted({c.topic for c in connections}))
            raise BagUnreadable(Issue("damaged", f"message types of {topics}: {_text(error)}", self.path)) from error


def _connections(reader: BagReader) -> list[Connection]:
    """What the files of a bag say of their topics. The word of metadata.yaml may differ in a publisher's QoS, and messages of
    connections that are not the same to the letter would be passed over."""
    storages = getattr(reader.storage, "storages", None)
    return [c for storage in storages for c in storage.connections] if storages else reader.connections


@contextlib.contextmanager
def open_bag(path: Path) -> Iterator[Bag]:
    """Open a bag.

    Raises:
        BagUnreadable: It is cut short or damaged; says until when it is whole, as far as that can be found out.
        OSError: It is compressed as a whole, and there is no room to unpack it.
    """
    if path.is_file() and path.suffix not in FILES:
        text = f"expected a file *{', *'.join(FILES)} (one that is compressed as a whole: unpack it, or give its folder)"
        raise BagUnreadable(Issue("no bag", text, path))
    try:
        source = path
        if path.is_dir() and not (path / METADATA).is_file():
            files = sorted(file for file in path.iterdir() if file.suffix in FILES)
            if len(files) != 1:
                raise ArtifactError(f"no {METADATA}, and {len(files) or 'no'} files *{', *'.join(FILES)}{_remedy(files)}")
            source = files[0]
        _check_journals(source)
        reader = BagReader(source)
        reader.open()
    except Exception as error:  # whatever a damaged file makes the libraries raise
        if getattr(error, "errno", None) in DISK_FULL:
            text = f"no room to unpack {path}; give a folder on another disk as TMPDIR"
            raise OSError(error.errno, text, tempfile.gettempdir()) from error
        raise BagUnreadable(_truncated(path, error)) from error
    try:
        topics = {name: BagTopic(info.msgtype or "", info.msgcount) for name, info in reader.topics.items()}
        storage = reader.storage.metadata
        start, end = (reader.start_time * 1e-9, reader.end_time * 1e-9) if reader.message_count else (0.0, 0.0)
        yield Bag(path, topics, _texts(storage.custom or {}), start, end, reader, _unlisted(path))
    finally:
        reader.close()


def _remedy(files: list[Path]) -> str:
    """What to do about several files without metadata: nobody knows whether they are one recording."""
    if not files:
        return ""
    each = files[0].parent / f"*{files[0].suffix}"
    return f"; if they are pieces of one recording, ros2 bag reindex can make it; separate recordings are given one by one: {each}"


def _unlisted(path: Path) -> tuple[str, ...]:
    file = path / METADATA
    if not file.is_file():
        return ()
    told = file.read_text(encoding="utf-8")
    return tuple(sorted(other.name for other in path.iterdir() if other.suffix in FILES and other.name not in told))


def _texts(custom: Mapping[str, Any]) -> dict[str, str]:
    """What a bag tells of itself as text: rosbag2 writes words such as `false` so that YAML reads no text."""
    return {str(key): str(value).lower() if isinstance(value, bool) else str(value) for key, value in custom.items()}


def _check_journals(source: Path) -> None:
    """Raise ArtifactError if a sqlite3 file's messages are still in the journal beside it: readers would pass them over."""
    for file in [source] if source.is_file() else sorted(source.glob("*.db3")):
        journal = file.with_name(f"{file.name}-wal")
        if file.suffix == ".db3" and journal.is_file() and journal.stat().st_size:
            remedy = f"its recorder was killed; type: sqlite3 {file} 'PRAGMA wal_checkpoint(TRUNCATE)'"
            raise ArtifactError(f"{journal.name} holds messages that are not in {file.name} yet: {remedy}")


def _truncated(path: Path, error: Exception) -> Issue:
    files = [path] if path.is_file() else sorted(file for file in path.iterdir() if file.suffix == ".mcap")
    for file in files:
        first, last, topic, ended = _whole_until(file)
        if not ended:
            until = "until here only" if last else "nowhere: it has no complete chunk"
            remedy = f"when nobody records it any more, try: latent-policy dataset repair {path}"
            text = f"{file.name} is whole {until} ({_text(error)}); {remedy}"
            return Issue("truncated", text, path, topic, (last - first) * 1e-9 if last else None)
    return Issue("damaged", _text(error), path)


def _whole_until(file: Path) -> tuple[int, int, str, bool]:
    """First and last log time [ns] and topic that can be read in an MCAP file, and whether its end is there."""
    first, last, topic, channels = 0, 0, "", {}
    with file.open("rb") as stream:
        try:
            for record in StreamReader(stream, emit_chunks=True).records:
                if isinstance(record, Channel):
                    channels[record.id] = record.topic
                elif isinstance(record, Chunk) and record.message_end_time:
                    first, last = first or record.message_start_time, max(last, record.message_end_time)
                elif isinstance(record, Message):
                    first, last, topic = first or record.log_time, record.log_time, channels.get(record.channel_id, "")
        except Exception:  # the end of what is whole
            return first, last, topic, False
    return first, last, topic, True


def _text(error: Exception) -> str:
    return " ".join(f"{error}".split()) or type(error).__name__
