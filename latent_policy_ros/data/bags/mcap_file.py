"""Reading of MCAP files: topics, messages in order of time, and metadata, with limits on the size of records and chunks."""

from __future__ import annotations

import heapq
import zlib
from collections.abc import Collection, Iterator
from dataclasses import replace
from itertools import count
from pathlib import Path
from typing import IO

from mcap.data_stream import ReadDataStream
from mcap.records import (
    Channel,
    Chunk,
    ChunkIndex,
    Footer,
    Header,
    McapRecord,
    Message,
    Metadata,
    MetadataIndex,
    Schema,
    Statistics,
)
from mcap.stream_reader import StreamReader, breakup_chunk
from mcap.summary import Summary

from latent_policy_ros.common.errors import ArtifactError
from latent_policy_ros.data.bags.compression import MAX_RECORD, decompress
from latent_policy_ros.data.bags.mcap_writer import CHUNK, FOOTER, MAGIC, MESSAGE, MESSAGE_HEAD, RECORD
from latent_policy_ros.data.bags.metadata import StoredTopic

FOOTER_LENGTH = 20  # bytes


class McapFile:
    """An MCAP file; a ``StorageFile``.

    Raises:
        ArtifactError: Not a finished MCAP file, or one of messages in another serialisation than CDR.
        Exception: Damaged records raise errors of any type.
    """

    def __init__(self, path: Path) -> None:
        self._stream = path.open("rb")
        try:
            header = next(_records(self._stream, 0, skip_magic=False))
            if not isinstance(header, Header):
                raise ArtifactError(f"{path.name}: expected a header, got {type(header).__name__}")
            _check_footer(self._stream, path.name)
            self._read_topics()
            if header.profile != "ros2" and not self._cdr:  # files that were cut, merged or exported often lack the profile
                raise ArtifactError(f"{path.name}: expected messages of ROS 2 (CDR), got the MCAP profile {header.profile!r}")
        except BaseException:
            self._stream.close()
            raise

    def _read_topics(self) -> None:
        summary = read_summary(self._stream)
        if summary is None or summary.statistics is None or (summary.channels and not summary.schemas):
            channels, schemas, counts, self.start, self.end = self._scan()
        else:
            statistics = summary.statistics
            channels, schemas, counts = summary.channels, summary.schemas, statistics.channel_message_counts
            some = statistics.message_count > 0
            self.start = statistics.message_start_time if some else 0
            self.end = statistics.message_end_time + 1 if some else 0
        self._chunks = {index.chunk_start_offset: index for index in summary.chunk_indexes} if summary else {}
        self._cdr = any(channel.message_encoding == "cdr" for channel in channels.values())
        self._by_channel = {
            number: _topic(channel, schemas.get(channel.schema_id), counts.get(number, 0)) for number, channel in channels.items()
        }
        self.topics = list(self._by_channel.values())

    def _scan(self) -> tuple[dict[int, Channel], dict[int, Schema], dict[int, int], int, int]:
        """Topics and times of a file without a summary, read from all of its messages."""
        channels: dict[int, Channel] = {}
        schemas: dict[int, Schema] = {}
        counts: dict[int, int] = {}
        times: list[int] = []
        for record in _all_records(self._stream):
            if isinstance(record, Schema):
                schemas[record.id] = record
            elif isinstance(record, Channel):
                channels[record.id] = record
            elif isinstance(record, Message):
                counts[record.channel_id] = counts.get(record.channel_id, 0) + 1
                times = [min(times[0], record.log_time), max(times[1], record.log_time)] if times else [record.log_time] * 2
        return channels, schemas, counts, times[0] if times else 0, times[1] + 1 if times else 0

    def messages(self, topics: Collection[str]) -> Iterator[tuple[StoredTopic, int, bytes | memoryview]]:
        """As of :class:`~latent_policy_ros.data.bags.storage.StorageFile`.

        Raises:
            ArtifactError: Messages outside of chunks, which have no index, are not in order of log time.
        """
        wanted = {number: topic for number, topic in self._by_channel.items() if topic.name in topics}
        if self._chunks:
            for channel, log_time, data in self._chunked(wanted):
                yield wanted[channel], log_time, data
            return
        newest = 0
        for record in _all_records(self._stream):
            if isinstance(record, Message) and record.channel_id in wanted:
                if record.log_time < newest:
                    raise ArtifactError("messages without an index are not in timestamp order")
                newest = record.log_time
                yield wanted[record.channel_id], newest, record.data

    def _chunked(self, wanted: Collection[int]) -> Iterator[tuple[int, int, memoryview]]:
        """Channel, log time [ns] and data of the messages of some channels in order of log time. Chunks may overlap in time."""
        queue: list[tuple[int, int, int, memoryview]] = []
        number = count()  # keeps the order of messages of the same time
        for index in sorted(self._chunks.values(), key=lambda index: index.message_start_time):
            if index.message_index_offsets and not any(channel in wanted for channel in index.message_index_offsets):
                continue
            while queue and queue[0][0] < index.message_start_time:
                log_time, _, channel, data = heapq.heappop(queue)
                yield channel, log_time, data
            for channel, log_time, data in _messages(_content(self._read_chunk(index))):
                if channel in wanted:
                    heapq.heappush(queue, (log_time, next(number), channel, data))
        while queue:
            log_time, _, channel, data = heapq.heappop(queue)
            yield channel, log_time, data

    def _read_chunk(self, index: ChunkIndex) -> Chunk:
        if index.chunk_length > MAX_RECORD:
            raise ArtifactError(f"a chunk of {index.chunk_length} bytes; the limit is {MAX_RECORD}")
        self._stream.seek(index.chunk_start_offset + RECORD.size)
        return Chunk.read(ReadDataStream(self._stream))

    def close(self) -> None:
        """Close the file."""
        self._stream.close()


def read_summary(stream: IO[bytes]) -> Summary | None:
    """The summary at the end of an MCAP file; None if there is none."""
    size = stream.seek(0, 2)
    footer = next(_records(stream, size - len(MAGIC) - FOOTER_LENGTH - RECORD.size))
    if not isinstance(footer, Footer):
        raise ArtifactError(f"expected a footer at the end, got {type(footer).__name__}")
    if footer.summary_start == 0:
        return None
    summary = Summary()
    for record in _records(stream, footer.summary_start):
        if isinstance(record, Statistics):
            summary.statistics = record
        elif isinstance(record, Schema):
            summary.schemas[record.id] = record
        elif isinstance(record, Channel):
            summary.channels[record.id] = record
        elif isinstance(record, ChunkIndex):
            summary.chunk_indexes.append(record)
        elif isinstance(record, MetadataIndex):
            summary.metadata_indexes.append(record)
    return summary


def chunks_exist(stream: IO[bytes], summary: Summary) -> bool:
    """Whether every chunk that a summary lists is in its place."""
    for index in summary.chunk_indexes:
        stream.seek(index.chunk_start_offset)
        if RECORD.unpack(stream.read(RECORD.size)) != (CHUNK, index.chunk_length - RECORD.size):
            return False
    return True


def read_metadata(stream: IO[bytes], summary: Summary) -> Iterator[Metadata]:
    """The metadata records that a summary lists."""
    for offset in sorted({index.offset for index in summary.metadata_indexes}):
        record = next(_records(stream, offset))
        if isinstance(record, Metadata):
            yield record


def _records(stream: IO[bytes], offset: int, skip_magic: bool = True) -> Iterator[McapRecord]:
    """Records from an offset; chunks are not expanded."""
    stream.seek(offset)
    yield from StreamReader(stream, skip_magic, emit_chunks=True, record_size_limit=MAX_RECORD).records


def _all_records(stream: IO[bytes]) -> Iterator[McapRecord]:
    """All records of a file, and those in its chunks."""
    for record in _records(stream, 0, skip_magic=False):
        yield from _expanded(record) if isinstance(record, Chunk) else (record,)


def _expanded(chunk: Chunk) -> list[McapRecord]:
    """Records in a chunk."""
    return breakup_chunk(replace(chunk, compression="", data=_content(chunk)))


def _content(chunk: Chunk) -> bytes:
    """Content of a chunk, decompressed and compared with its checksum."""
    content = decompress(chunk.compression, chunk.data)
    if chunk.uncompressed_crc and (crc := zlib.crc32(content)) != chunk.uncompressed_crc:
        raise ArtifactError(f"a chunk is damaged: its checksum is {crc}, expected {chunk.uncompressed_crc}")
    return content


def _messages(content: bytes) -> Iterator[tuple[int, int, memoryview]]:
    """Channel, log time [ns] and data of the messages in the content of a chunk. The data are views: images are large."""
    view, at = memoryview(content), 0
    while at < len(content):
        opcode, length = RECORD.unpack_from(content, at)
        start, at = at + RECORD.size, at + RECORD.size + length
        if at > len(content):
            raise ArtifactError(f"a chunk is damaged: a record of {length} bytes exceeds it")
        if opcode == MESSAGE:
            channel, _, log_time, _ = MESSAGE_HEAD.unpack_from(content, start)
            yield channel, log_time, view[start + MESSAGE_HEAD.size : at]


def _check_footer(stream: IO[bytes], name: str) -> None:
    size = stream.seek(0, 2)
    stream.seek(max(0, size - RECORD.size - FOOTER_LENGTH - len(MAGIC)))
    tail = stream.read()
    if not tail.endswith(MAGIC) or RECORD.unpack_from(tail) != (FOOTER, FOOTER_LENGTH):
        raise ArtifactError(f"{name}: the end of the file is missing")


def _topic(channel: Channel, schema: Schema | None, count: int) -> StoredTopic:
    if schema is None:
        return StoredTopic(channel.topic, "", count)
    return StoredTopic(channel.topic, schema.name, count, schema.data.decode(errors="replace"), schema.encoding)
