"""Storage of bags: topics and serialised messages of MCAP and sqlite3 files, and of bags of several, possibly compressed, files.

A topic whose message definition cannot be used does not affect the other topics: rosbag2 writes definitions in an unknown or
empty language for types that it cannot find, such as those of actions and services.
"""

from __future__ import annotations

import contextlib
import shutil
import sqlite3
import tempfile
from collections.abc import Callable, Collection, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol
from urllib.parse import quote

import zstandard
from mcap.reader import NonSeekingReader, SeekingReader
from mcap.records import Channel, Message, Schema

from latent_policy_ros.common.errors import ArtifactError
from latent_policy_ros.data.bags import metadata
from latent_policy_ros.data.bags.mcap_writer import FOOTER, MAGIC, RECORD

STORAGE_IDS = {"mcap": ".mcap", "sqlite3": ".db3"}  # storage_identifier of metadata.yaml: suffix of its files
FOOTER_LENGTH = 20  # bytes


@dataclass(frozen=True)
class StoredTopic:
    """A topic of one file.

    Attributes:
        name: Fully qualified name.
        msg_type: E.g. ``sensor_msgs/msg/Image``.
        count: Number of messages.
        definition: Text that defines the message type; empty if the file has none.
        language: Language of the definition, e.g. ``ros2msg``.
        type_hash: RIHS01 hash of the type; empty if the file has none.
    """

    name: str
    msg_type: str
    count: int
    definition: str = ""
    language: str = ""
    type_hash: str = ""


class StorageFile(Protocol):
    """One open file of a bag.

    Attributes:
        topics: Its topics.
        start, end: Log time of the first message, and one nanosecond after that of the last [ns]; 0 without messages.
    """

    topics: list[StoredTopic]
    start: int
    end: int

    def messages(self, topics: Collection[str]) -> Iterator[tuple[StoredTopic, int, bytes]]:
        """Topic, log time [ns] and serialised message, in order of log time."""
        ...

    def close(self) -> None:
        """Close the file."""
        ...


class McapFile:
    """An MCAP file.

    Raises:
        ArtifactError: Not a finished MCAP file of ROS 2.
    """

    def __init__(self, path: Path) -> None:
        self._stream = path.open("rb")
        try:
            self._reader = SeekingReader(self._stream, validate_crcs=True)
            profile = self._reader.get_header().profile
            if profile != "ros2":
                raise ArtifactError(f"{path.name}: expected the MCAP profile 'ros2', got {profile!r}")
            _check_footer(self._stream, path.name)
            self._read_topics()
        except BaseException:
            self._stream.close()
            raise

    def _read_topics(self) -> None:
        summary = self._reader.get_summary()
        if summary is None or summary.statistics is None or (summary.channels and not summary.schemas):
            channels, schemas, counts, self.start, self.end = self._scan()
        else:
            statistics = summary.statistics
            channels, schemas, counts = summary.channels, summary.schemas, statistics.channel_message_counts
            some = statistics.message_count > 0
            self.start = statistics.message_start_time if some else 0
            self.end = statistics.message_end_time + 1 if some else 0
        self._indexed = summary is not None and bool(summary.chunk_indexes)
        self._by_channel = {
            number: _mcap_topic(channel, schemas.get(channel.schema_id), counts.get(number, 0))
            for number, channel in channels.items()
        }
        self.topics = list(self._by_channel.values())

    def _scan(self) -> tuple[dict[int, Channel], dict[int, Schema], dict[int, int], int, int]:
        """Topics and times of a file without a summary, read from all of its messages."""
        channels: dict[int, Channel] = {}
        schemas: dict[int, Schema] = {}
        counts: dict[int, int] = {}
        times: list[int] = []
        for schema, channel, message in self._linear(None):
            channels[channel.id] = channel
            if schema is not None:
                schemas[schema.id] = schema
            counts[channel.id] = counts.get(channel.id, 0) + 1
            times = [min(times[0], message.log_time), max(times[1], message.log_time)] if times else [message.log_time] * 2
        return channels, schemas, counts, times[0] if times else 0, times[1] + 1 if times else 0

    def _linear(self, topics: Collection[str] | None) -> Iterator[tuple[Schema | None, Channel, Message]]:
        self._stream.seek(0)
        return NonSeekingReader(self._stream, validate_crcs=True).iter_messages(topics, log_time_order=False)

    def messages(self, topics: Collection[str]) -> Iterator[tuple[StoredTopic, int, bytes]]:
        """As of :class:`StorageFile`.

        Raises:
            ArtifactError: Messages outside of chunks, which have no index, are not in order of log time.
        """
        if self._indexed:
            for _, channel, message in self._reader.iter_messages(topics):
                yield self._by_channel[channel.id], message.log_time, message.data
            return
        newest = 0
        for _, channel, message in self._linear(topics):
            if message.log_time < newest:
                raise ArtifactError("messages without an index are not in timestamp order")
            newest = message.log_time
            yield self._by_channel[channel.id], newest, message.data

    def close(self) -> None:
        """Close the file."""
        self._stream.close()


def _check_footer(stream: Any, name: str) -> None:
    size = stream.seek(0, 2)
    stream.seek(max(0, size - RECORD.size - FOOTER_LENGTH - len(MAGIC)))
    tail = stream.read()
    if not tail.endswith(MAGIC) or RECORD.unpack_from(tail) != (FOOTER, FOOTER_LENGTH):
        raise ArtifactError(f"{name}: the end of the file is missing")


def _mcap_topic(channel: Channel, schema: Schema | None, count: int) -> StoredTopic:
    if schema is None:
        return StoredTopic(channel.topic, "", count)
    return StoredTopic(channel.topic, schema.name, count, schema.data.decode(errors="replace"), schema.encoding)


class DatabaseFile:
    """A sqlite3 file."""

    def __init__(self, path: Path) -> None:
        self._database = sqlite3.connect(f"file:{quote(str(path))}?immutable=1", uri=True)
        try:
            self._read_topics()
        except BaseException:
            self._database.close()
            raise

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

    def messages(self, topics: Collection[str]) -> Iterator[tuple[StoredTopic, int, bytes]]:
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

    def messages(self, topics: Collection[str]) -> Iterator[tuple[StoredTopic, int, bytes]]:
        """Topic, log time [ns] and serialised message of some topics, file by file."""
        decompress = zstandard.ZstdDecompressor()
        for file in self.files:
            for topic, time, data in file.messages(topics):
                yield topic, time, decompress.decompressobj().decompress(data) if self.compressed_messages else data


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
        if storage_id not in STORAGE_IDS:
            raise ArtifactError(f"{source}: storage {storage_id!r} is not supported; available: {', '.join(STORAGE_IDS)}")
        mode = (content.get("compression_mode") or "none").lower()
        if mode != "none" and content.get("compression_format") != "zstd":
            raise ArtifactError(f"{source}: compression {content.get('compression_format')!r} is not supported; available: zstd")
        if mode == "file":
            folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
            files = [_unpack(file, folder) for file in files]
        opened = [_open_file(file, STORAGE_IDS[storage_id], stack) for file in files]
        yield BagStorage(opened, content.get("custom_data") or {}, mode == "message")


def _open_file(path: Path, suffix: str, stack: contextlib.ExitStack) -> StorageFile:
    opened = OPENERS[suffix](path)
    stack.callback(opened.close)
    return opened


def _unpack(file: Path, folder: Path) -> Path:
    target = folder / file.stem
    with file.open("rb") as packed, target.open("wb") as unpacked:
        shutil.copyfileobj(zstandard.ZstdDecompressor().stream_reader(packed), unpacked)
    return target
