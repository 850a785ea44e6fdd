"""Reading of bags: rosbag2 folders and single files, in MCAP or sqlite3, compressed or not."""

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
from rosbags.typesys.store import Typestore

from latent_policy_ros.common.bounded_reader import read_text
from latent_policy_ros.common.errors import ArtifactError
from latent_policy_ros.data.bags import metadata
from latent_policy_ros.data.bags.compression import MAX_RECORD
from latent_policy_ros.data.bags.message_types import typestore_of
from latent_policy_ros.data.bags.metadata import TRASH, StoredTopic, split_number
from latent_policy_ros.data.bags.storage import OPENERS, BagStorage, open_storage
from latent_policy_ros.data.issues import BagUnreadable, Issue

SUFFIXES = tuple(OPENERS)  # of files of bags
SAMPLE_SIZE, SAMPLES = 4096, 64  # bytes and number of the samples that identify a file
DISK_FULL = errno.ENOSPC, errno.EDQUOT  # errors that every further bag would cause too


def find_bags(paths: Iterable[Path | str], wanted: str = "bag") -> list[Path]:
    """Find bags: rosbag2 folders and single files, at the given paths or below them, sorted by name.

    Args:
        paths: Files or folders.
        wanted: What is searched for, in error messages.

    Raises:
        ArtifactError: A path does not exist or holds no bag.
    """
    found: list[Path] = []
    for path in map(Path, paths):
        if not path.exists():
            raise ArtifactError(f"{path}: no such {wanted}")
        here = [path] if path.is_file() else list(_bags_in(path, set()))
        if not here:
            raise ArtifactError(f"{path}: holds no {wanted} (a folder with {metadata.FILE}, or a file *{', *'.join(SUFFIXES)})")
        found += [bag for bag in here if bag not in found]
    return found


def _bags_in(folder: Path, visited: set[Path]) -> Iterator[Path]:
    if folder.resolve() in visited:  # a link to a folder above
        return
    visited.add(folder.resolve())
    if (folder / metadata.FILE).is_file():
        yield folder
        return
    files = sorted(file for file in folder.iterdir() if file.suffix in SUFFIXES and file.is_file())
    names = {(split_number(file)[0], file.suffix) for file in files}
    if len(files) == 1 or (len(names) == 1 and files):  # opening a split bag without metadata fails with a remedy
        yield folder
    else:
        yield from files
    for below in sorted(path for path in folder.iterdir() if path.is_dir() and path.name != TRASH):
        yield from _bags_in(below, visited)


def content_fingerprint(bag: Path) -> str:
    """Hash of samples of a bag's files. It does not depend on the path or on ``metadata.yaml``."""
    digest = hashlib.sha256()
    files = sorted(file for file in bag.iterdir() if set(SUFFIXES) & set(file.suffixes)) if bag.is_dir() else [bag]
    for file in files:
        size = file.stat().st_size
        digest.update(f"{size} ".encode())
        with file.open("rb") as opened:
            for k in range(SAMPLES + 1):  # covers small files completely
                opened.seek(k * max(SAMPLE_SIZE, (size - SAMPLE_SIZE) // SAMPLES))
                digest.update(opened.read(SAMPLE_SIZE))
    return digest.hexdigest()


def file_fingerprint(bag: Path) -> str:
    """Hash of names, sizes and modification times of a bag's files."""
    files = sorted(bag.iterdir()) if bag.is_dir() else [bag]
    stats = [(file.name, file.stat().st_size, file.stat().st_mtime_ns) for file in files if file.is_file()]
    return hashlib.sha256(json.dumps(stats).encode()).hexdigest()[:16]


@dataclass(frozen=True)
class BagTopic:
    """A topic of an open bag: message type, number of messages, and further types of its messages, which should have one."""

    msg_type: str
    count: int
    other_types: tuple[str, ...] = ()


@dataclass
class SkippedMessages:
    """Messages of one topic that could not be read: their number, and time [s] and error of the first."""

    count: int
    time: float
    error: str


@dataclass
class Bag:
    """An open bag.

    Attributes:
        path: Folder or file.
        topics: Topics by name.
        custom: Custom metadata of the recording.
        start, end: Times of receipt of the first and the last message [s].
        unlisted: Names of files in the folder that ``metadata.yaml`` does not list; they are not read.
        skipped: Messages that the newest call of ``messages`` could not read, by topic.
    """

    path: Path
    topics: dict[str, BagTopic]
    custom: dict[str, str]
    start: float
    end: float
    _storage: BagStorage = field(repr=False)
    unlisted: tuple[str, ...] = ()
    skipped: dict[str, SkippedMessages] = field(default_factory=dict)
    _position: tuple[str, float] = ("", 0.0)  # topic and time of the newest message

    @property
    def count(self) -> int:
        """Number of messages."""
        return sum(topic.count for topic in self.topics.values())

    def messages(self, topics: Collection[str]) -> Iterator[tuple[str, float, Any]]:
        """Yield (topic, time of receipt [s], message) of some topics in order of receipt.

        A message that cannot be read is skipped and counted in ``skipped``.

        Raises:
            BagUnreadable: The rest cannot be read.
        """
        stored = [topic for topic in self._storage.topics if topic.name in topics]
        types = self._types(stored)
        source = self._storage.messages(set(topics)) if stored else iter(())
        self.skipped = {}
        while True:
            try:
                topic, nanoseconds, data = next(source)
                received = nanoseconds * 1e-9
                self._position = topic.name, received
            except StopIteration:
                return
            except Exception as error:  # damaged files raise errors of any type
                name, time = self._position
                at = time - self.start if name else 0.0
                text = f"cannot be read any further: {_text(error)}"
                if "timestamp order" in text:  # a file without chunks
                    text += f"; try: latent-policy dataset repair {self.path}"
                raise BagUnreadable(Issue("damaged", text, self.path, name, at)) from error
            try:
                message = types.deserialize_cdr(self._storage.serialized(data), topic.msg_type)
            except Exception as error:  # damaged messages raise errors of any type
                self.skipped.setdefault(topic.name, SkippedMessages(0, received, _text(error))).count += 1
                continue
            yield topic.name, received, message

    def _types(self, topics: list[StoredTopic]) -> Typestore:
        try:  # only of requested topics: definitions of others may be invalid
            return typestore_of(topics)
        except Exception as error:  # invalid definitions raise errors of any type
            names = ", ".join(sorted({topic.name for topic in topics}))
            raise BagUnreadable(Issue("damaged", f"message types of {names}: {_text(error)}", self.path)) from error


@contextlib.contextmanager
def open_bag(path: Path) -> Iterator[Bag]:
    """Open a bag.

    Raises:
        BagUnreadable: The bag is damaged or incomplete; says up to which time it is readable, if that can be determined.
        OSError: The bag is compressed as a whole, and there is no space to unpack it.
    """
    if path.is_file() and path.suffix not in SUFFIXES:
        text = f"expected a file *{', *'.join(SUFFIXES)} (one that is compressed as a whole: unpack it, or give its folder)"
        raise BagUnreadable(Issue("no bag", text, path))
    with contextlib.ExitStack() as stack:
        try:
            source = path
            if path.is_dir() and not (path / metadata.FILE).is_file():
                files = sorted(file for file in path.iterdir() if file.suffix in SUFFIXES and file.is_file())
                if len(files) != 1:
                    count = len(files) or "no"
                    raise ArtifactError(f"no {metadata.FILE}, and {count} files *{', *'.join(SUFFIXES)}{_remedy(files)}")
                source = files[0]
            _check_journals(source)
            bag = _bag(path, stack.enter_context(open_storage(source)))
        except Exception as error:  # damaged files raise errors of any type
            if isinstance(error, OSError) and error.errno in DISK_FULL:
                text = f"no disk space to unpack {path}; set TMPDIR to a folder on another disk"
                raise OSError(error.errno, text, tempfile.gettempdir()) from error
            raise BagUnreadable(_truncated(path, error)) from error
        yield bag


def _bag(path: Path, storage: BagStorage) -> Bag:
    topics: dict[str, BagTopic] = {}
    for topic in storage.topics:
        before = topics.get(topic.name)
        if before is None or not before.count:
            topics[topic.name] = BagTopic(topic.msg_type, topic.count)
            continue
        types = dict.fromkeys((before.msg_type, *before.other_types, *((topic.msg_type,) if topic.count else ())))
        topics[topic.name] = BagTopic(before.msg_type, before.count + topic.count, tuple(types)[1:])
    return Bag(path, topics, _texts(storage.custom), storage.start * 1e-9, storage.end * 1e-9, storage, _unlisted(path))


def _remedy(files: list[Path]) -> str:
    """What to do about several files without metadata, which may be one recording or several."""
    if not files:
        return ""
    each = files[0].parent / f"*{files[0].suffix}"
    return f"; if they are pieces of one recording, create it with ros2 bag reindex; pass separate recordings one by one: {each}"


def _unlisted(path: Path) -> tuple[str, ...]:
    file = path / metadata.FILE
    if not file.is_file():
        return ()
    listed = read_text(file)
    return tuple(sorted(other.name for other in path.iterdir() if other.suffix in SUFFIXES and other.name not in listed))


def _texts(custom: Mapping[str, Any]) -> dict[str, str]:
    """Custom metadata as text. rosbag2 writes words such as ``false`` without quotes, which YAML reads as other types."""
    return {str(key): str(value).lower() if isinstance(value, bool) else str(value) for key, value in custom.items()}


def _check_journals(source: Path) -> None:
    """Raise ArtifactError if messages of a sqlite3 file are still in its journal, where readers do not find them."""
    for file in [source] if source.is_file() else sorted(source.glob("*.db3")):
        journal = file.with_name(f"{file.name}-wal")
        if file.suffix == ".db3" and journal.is_file() and journal.stat().st_size:
            remedy = f"its recorder was killed; run: sqlite3 {file} 'PRAGMA wal_checkpoint(TRUNCATE)'"
            raise ArtifactError(f"{journal.name} holds messages that are not in {file.name} yet: {remedy}")


def _truncated(path: Path, error: Exception) -> Issue:
    files = [path] if path.is_file() else sorted(file for file in path.iterdir() if file.suffix == ".mcap" and file.is_file())
    for file in files:
        first, last, topic, complete = _readable_part(file)
        if not complete:
            until = "up to this time" if last else "nowhere: it has no complete chunk"
            remedy = f"if it is not being recorded, try: latent-policy dataset repair {path}"
            text = f"{file.name} is readable {until} ({_text(error)}); {remedy}"
            return Issue("truncated", text, path, topic, (last - first) * 1e-9 if last else None)
    return Issue("damaged", _text(error), path)


def _readable_part(file: Path) -> tuple[int, int, str, bool]:
    """First and last readable log time [ns] of an MCAP file, topic of the last message, and whether the file is complete."""
    first, last, topic, channels = 0, 0, "", {}
    with file.open("rb") as stream:
        try:
            for record in StreamReader(stream, emit_chunks=True, record_size_limit=MAX_RECORD).records:
                if isinstance(record, Channel):
                    channels[record.id] = record.topic
                elif isinstance(record, Chunk) and record.message_end_time:
                    first, last = first or record.message_start_time, max(last, record.message_end_time)
                elif isinstance(record, Message):
                    first, last, topic = first or record.log_time, record.log_time, channels.get(record.channel_id, "")
        except Exception:  # the end of the readable part
            return first, last, topic, False
    return first, last, topic, True


def _text(error: Exception) -> str:
    return " ".join(f"{error}".split()) or type(error).__name__
