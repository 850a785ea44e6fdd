"""Storage of bags: topics and serialised messages of MCAP and sqlite3 files, and of bags of several, possibly compressed, files.

A topic whose message definition cannot be used does not affect the other topics: rosbag2 writes definitions in an unknown or
empty language for types that it cannot find, such as those of actions and services.
"""

from __future__ import annotations

import contextlib
import re
import shutil
import sqlite3
import tempfile
from collections.abc import Callable, Collection, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol
from urllib.parse import quote

from latent_policy_ros.common.bounded_reader import LimitExceeded
from latent_policy_ros.common.errors import ArtifactError
from latent_policy_ros.data.bags import metadata
from latent_policy_ros.data.bags.compression import decompress, unpack_file
from latent_policy_ros.data.bags.mcap_file import McapFile
from latent_policy_ros.data.bags.mcap_writer import MAGIC
from latent_policy_ros.data.bags.metadata import StoredTopic

STORAGE_IDS = {"mcap": ".mcap", "sqlite3": ".db3"}  # storage_identifier of metadata.yaml: suffix of its files
SQLITE_MAGIC = b"SQLite format 3\0"  # first bytes of a sqlite3 file
RESERVE = 256 << 20  # bytes that remain free on the disk when a file is unpacked


TABLES = "topics", "messages", "message_definitions"  # that are read from a sqlite3 file


class StorageFile(Protocol):
    """One open file of a bag.

    Attributes:
        topics: Its topics.
        start, end: Log time of the first message, and one nanosecond after that of the last [ns]; 0 without messages.
    """

    topics: list[StoredTopic]
    start: int
    end: int

    def messages(self, topics: Collection[str]) -> Iterator[tuple[StoredTopic, int, bytes | memoryview]]:
        """Topic, log time [ns] and serialised message, in order of log time."""
        ...

    def close(self) -> None:
        """Close the file."""
        ...


class DatabaseFile:
    """A sqlite3 file.

    Raises:
        ArtifactError: Its tables are views or virtual tables, which can compute without end.
        sqlite3.Error: Damaged file.
    """

    def __init__(self, path: Path) -> None:
        self._database = sqlite3.connect(f"file:{quote(str(path))}?immutable=1", uri=True)
        try:
            self._database.execute("PRAGMA trusted_schema = OFF")
            self._check_tables(path.name)
            self._read_topics()
        except BaseException:
            self._database.close()
            raise

    def _check_tables(self, file: str) -> None:
        schema = self._database.execute("SELECT name, type, sql FROM sqlite_master WHERE type IN ('table', 'view')")
        for name, kind, sql in schema:
            plain = kind == "table" and not re.match(r"CREATE\s+VIRTUAL\b", sql or "", re.IGNORECASE)
            if name.lower() in TABLES and (not plain or re.search(r"\bAS\s*\(", sql or "", re.IGNORECASE)):
                raise ArtifactError(f"{file}: {name} is computed; expected a table as rosbag2 writes it")

    def _read_topics(self) -> None:
        ask = self._database.execute
        columns = {row[1] for row in ask("PRAGMA table_info(topics)")}
        hashes = "type_description_hash" if "type_description_hash" in columns else "''"
        definitions: dict[str, tuple[str, str]] = {}
        if ask("PRAGMA table_info(message_definitions)").fetchone():
            rows = ask("SELECT topic_type, encoding, encoded_message_definition FROM message_definitions ORDER BY id DESC")
            definitions = {msg_type: (text, language) for msg_type, language, text in rows}
        counts = dict(ask("SELECT topic_id, count(*) FROM messages GROUP BY topic_id"))
        self._by_id = {
            number: StoredTopic(name, msg_type, counts.get(number, 0), *definitions.get(msg_type, ("", "")), type_hash)
            for number, name, msg_type, type_hash in ask(f"SELECT id, name, type, {hashes} FROM topics ORDER BY id")
        }
        self.topics = list(self._by_id.values())
        first, last = ask("SELECT min(timestamp), max(timestamp) FROM messages").fetchone()
        self.start: int = 0 if first is None else first
        self.end: int = 0 if last is None else last + 1

    def messages(self, topics: Collection[str]) -> Iterator[tuple[StoredTopic, int, bytes | memoryview]]:
        """As of :class:`StorageFile`."""
        numbers = [number for number, topic in self._by_id.items() if topic.name in topics]
        wanted = ",".join("?" * len(numbers))
        query = f"SELECT topic_id, timestamp, data FROM messages WHERE topic_id IN ({wanted}) ORDER BY timestamp"
        for number, time, data in self._database.execute(query, numbers):
            yield self._by_id[number], time, data

    def close(self) -> None:
        """Close the file."""
        self._database.close()


OPENERS: dict[str, Callable[[Path], StorageFile]] = {".mcap": McapFile, ".db3": DatabaseFile}


@dataclass
class BagStorage:
    """The open files of a bag.

    Attributes:
        files: Files in order of time.
        custom: Custom metadata of the recording.
        compressed_messages: Whether each message is compressed.
    """

    files: list[StorageFile]
    custom: Mapping[str, Any] = field(default_factory=dict)
    compressed_messages: bool = False

    @property
    def topics(self) -> list[StoredTopic]:
        """Topics of all files."""
        return [topic for file in self.files for topic in file.topics]

    @property
    def start(self) -> int:
        """Log time of the first message [ns]; 0 without messages."""
        return min((file.start for file in self.files if file.end), default=0)

    @property
    def end(self) -> int:
        """One nanosecond after the log time of the last message [ns]; 0 without messages."""
        return max((file.end for file in self.files), default=0)

    def messages(self, topics: Collection[str]) -> Iterator[tuple[StoredTopic, int, bytes | memoryview]]:
        """Topic, log time [ns] and message of some topics, file by file. The message is as stored; see ``serialized``."""
        for file in self.files:
            yield from file.messages(topics)

    def serialized(self, stored: bytes | memoryview) -> bytes | memoryview:
        """A stored message as it was serialised.

        Raises:
            ValueError: The message cannot be decompressed.
        """
        return decompress("zstd", bytes(stored)) if self.compressed_messages else stored


@contextlib.contextmanager
def open_storage(source: Path) -> Iterator[BagStorage]:
    """Open a file, or a folder with ``metadata.yaml``.

    A bag whose files are compressed as a whole is unpacked to a temporary folder.

    Raises:
        ArtifactError: Invalid metadata, missing files, unsupported storage or compression.
        OSError: No space to unpack.
    """
    with contextlib.ExitStack() as stack:
        if source.is_file():
            yield BagStorage([_open_file(source, source.suffix, stack)])
            return
        content = metadata.read(source)
        try:
            files = [source / Path(name).name for name in content["relative_file_paths"]]
            storage_id = content["storage_identifier"]
        except (KeyError, TypeError) as error:
            raise ArtifactError(f"{source / metadata.FILE}: missing or invalid {error}") from error
        if missing := [file.name for file in files if not file.is_file()]:
            raise ArtifactError(f"{source}: files of the bag are missing: {', '.join(missing)}")
        mode = (content.get("compression_mode") or "none").lower()
        if mode != "none" and content.get("compression_format") != "zstd":
            raise ArtifactError(f"{source}: compression {content.get('compression_format')!r} is not supported; available: zstd")
        if mode == "file":
            folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
            files = [_unpack(file, folder) for file in files]
        storage_id = storage_id or _storage_of(files)
        if storage_id not in STORAGE_IDS:
            raise ArtifactError(f"{source}: storage {storage_id!r} is not supported; available: {', '.join(STORAGE_IDS)}")
        opened = [_open_file(file, STORAGE_IDS[storage_id], stack) for file in files]
        yield BagStorage(opened, content.get("custom_data") or {}, mode == "message")


def _storage_of(files: list[Path]) -> str:
    """Storage of files by their first bytes: ``ros2 bag reindex`` of Humble does not name it. Empty if it is unknown."""
    head = b""
    for path in files[:1]:
        with path.open("rb") as file:
            head = file.read(len(SQLITE_MAGIC))
    return "mcap" if head.startswith(MAGIC) else "sqlite3" if head == SQLITE_MAGIC else ""


def _open_file(path: Path, suffix: str, stack: contextlib.ExitStack) -> StorageFile:
    opened = OPENERS[suffix](path)
    stack.callback(opened.close)
    return opened


def _unpack(file: Path, folder: Path) -> Path:
    target = folder / file.stem
    limit = max(0, shutil.disk_usage(folder).free - RESERVE)
    try:
        unpack_file(file, target, limit)
    except LimitExceeded as error:
        text = f"{file.name}: needs more than the {limit >> 20} MiB that are free to unpack it in {tempfile.gettempdir()}"
        raise ArtifactError(f"{text}; set TMPDIR to a folder on another disk") from error
    return target
