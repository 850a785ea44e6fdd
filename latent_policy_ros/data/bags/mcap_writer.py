"""MCAP records, and a writer after whose crash only the open chunk is lost.

Layout: https://mcap.dev/spec. A file is magic, records, magic; a record is an opcode, a length and that many bytes.
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import os
import struct
import time
import zlib
from collections import Counter
from collections.abc import Mapping
from pathlib import Path

MAGIC = b"\x89MCAP0\r\n"
HEADER, FOOTER, SCHEMA, CHANNEL, MESSAGE, CHUNK, MESSAGE_INDEX, CHUNK_INDEX = 1, 2, 3, 4, 5, 6, 7, 8
ATTACHMENT, ATTACHMENT_INDEX = 9, 0x0A
STATISTICS, METADATA, METADATA_INDEX, SUMMARY_OFFSET, DATA_END = 0x0B, 0x0C, 0x0D, 0x0E, 0x0F
RECORD = struct.Struct("<BQ")  # opcode, length of what follows
MESSAGE_HEAD = struct.Struct("<HIQQ")  # channel, sequence, log time [ns], publish time [ns]
CHUNK_HEAD = struct.Struct("<QQQI")  # first and last log time [ns], size uncompressed, CRC of that
_MESSAGE_RECORD = struct.Struct("<BQHIQQ")

Index = dict[int, list[tuple[int, int]]]  # channel -> (log time, offset in the uncompressed chunk) of its messages


def record(opcode: int, *parts: bytes) -> bytes:
    """One record."""
    return b"".join((RECORD.pack(opcode, sum(map(len, parts))), *parts))


def text(value: str) -> bytes:
    """A string in the form of records."""
    encoded = value.encode()
    return struct.pack("<I", len(encoded)) + encoded


def mapping(values: Mapping[str, str]) -> bytes:
    """A map of strings in the form of records."""
    pairs = b"".join(text(key) + text(value) for key, value in values.items())
    return struct.pack("<I", len(pairs)) + pairs


def read_text(body: bytes, at: int) -> tuple[str, int]:
    """The string at an offset, and the offset of its end. ValueError, struct.error: the body is damaged."""
    (length,) = struct.unpack_from("<I", body, at)
    end = at + 4 + length
    if end > len(body):
        raise ValueError(f"a string of {length} bytes at byte {at}, but the record has {len(body)} bytes")
    return body[at + 4 : end].decode(), end


def read_mapping(body: bytes, at: int) -> dict[str, str]:
    """The map of strings at an offset. ValueError, struct.error: the body is damaged."""
    (length,) = struct.unpack_from("<I", body, at)
    found, at, end = {}, at + 4, at + 4 + length
    while at < end:
        key, at = read_text(body, at)
        found[key], at = read_text(body, at)
    return found


class McapWriter:
    """Writer of one MCAP file, in chunks without compression. Locks the file, so that it cannot be repaired meanwhile.

    A chunk is written when it is large enough or when :meth:`flush` is called. Written chunks survive a crash of the process.

    Args:
        path: The file; must not exist.
        library: Name of the writing library.
        chunk_size: Size at which a chunk is written [bytes].
        min_free: Space on the disk that chunks leave free [bytes]. The end of the file may use it.

    Raises:
        FileExistsError: The file exists.
        OSError: The file cannot be written, here or in any method. The file then ends with its last complete record.
    """

    def __init__(self, path: Path, library: str, chunk_size: int = 1 << 20, min_free: int = 0) -> None:
        self.path, self.chunk_size, self.min_free = path, chunk_size, min_free
        #: Bodies of the schema and channel records by number.
        self.schemas: dict[int, bytes] = {}
        self.channels: dict[int, bytes] = {}
        #: Number of messages in written chunks by channel.
        self.counts: Counter[int] = Counter()
        self.start, self.end = 0, 0  # log times [ns] of the first and last message
        self.chunk_opened = 0.0  # monotonic clock [s] at the first message of the open chunk
        self._parts: list[bytes] = []
        self._part_bytes = 0
        self._index: Index = {}
        self._chunk_indexes: list[bytes] = []
        self._metadata_indexes: list[bytes] = []
        self._attachment_indexes: list[bytes] = []
        self._sync_failed = False  # the operating system may have discarded written data
        self._fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o644)
        fcntl.flock(self._fd, fcntl.LOCK_EX)
        self.size = 0
        try:
            self._write(MAGIC + record(HEADER, text("ros2"), text(library)))
        except OSError:
            self.close()
            raise

    def add_schema(self, name: str, encoding: str, definition: str) -> int:
        """Add the definition of a message type; returns its number."""
        number = len(self.schemas) + 1
        body = self.schemas[number] = struct.pack("<H", number) + text(name) + text(encoding) + text(definition)
        self._add(record(SCHEMA, body))
        return number

    def add_channel(self, topic: str, schema: int, encoding: str, values: Mapping[str, str]) -> int:
        """Add a topic; returns its number."""
        number = len(self.channels) + 1
        body = self.channels[number] = struct.pack("<HH", number, schema) + text(topic) + text(encoding) + mapping(values)
        self._add(record(CHANNEL, body))
        return number

    def message(self, channel: int, log_time: int, publish_time: int, sequence: int, data: bytes) -> None:
        """Add a message; times in nanoseconds."""
        if not self._index:
            self.chunk_opened = time.monotonic()
        length = MESSAGE_HEAD.size + len(data)
        head = _MESSAGE_RECORD.pack(MESSAGE, length, channel, sequence & 0xFFFFFFFF, log_time, publish_time)
        self._index.setdefault(channel, []).append((log_time, self._part_bytes))
        self._add(head)
        self._add(data)
        if self._part_bytes >= self.chunk_size:
            self.flush()

    def flush(self, older_than: float = 0.0, use_reserve: bool = False) -> None:
        """Write the open chunk if it was opened at least ``older_than`` seconds ago; into ``min_free`` only if requested."""
        if not self._parts or (older_than and time.monotonic() - self.chunk_opened < older_than):
            return
        content, index = b"".join(self._parts), self._index
        if not use_reserve:
            self._check_space(len(content))
        times = [stamp for entries in index.values() for stamp, _ in entries]
        head = CHUNK_HEAD.pack(min(times, default=0), max(times, default=0), len(content), zlib.crc32(content))
        self._chunk(head, "", content, index)
        self._parts, self._part_bytes, self._index = [], 0, {}  # only after it was written

    def drop_chunk(self) -> Counter[int]:
        """Discard the open chunk after a failed write; returns its number of messages by channel."""
        dropped = Counter({channel: len(entries) for channel, entries in self._index.items()})
        self._parts, self._part_bytes, self._index = [], 0, {}
        return dropped

    def copy_chunk(self, head: bytes, compression: str, content: bytes, index: Index) -> None:
        """Copy a chunk of another file: head (CHUNK_HEAD), compression, stored bytes and index."""
        self._chunk(head, compression, content, index)

    def copy_definition(self, opcode: int, body: bytes) -> None:
        """Copy a schema or channel of another file, unless its number is registered already."""
        if self.register_definition(opcode, body):
            self._add(record(opcode, body))

    def register_definition(self, opcode: int, body: bytes) -> bool:
        """Register a schema or channel of a copied chunk; returns whether it is new."""
        known, (number,) = self.schemas if opcode == SCHEMA else self.channels, struct.unpack_from("<H", body)
        return known.setdefault(number, body) is body

    def metadata(self, name: str, values: Mapping[str, str]) -> None:
        """Write a metadata record, not buffered in a chunk."""
        self.flush(use_reserve=True)
        body = text(name) + mapping(values)
        self._metadata_indexes.append(struct.pack("<QQ", self.size, RECORD.size + len(body)) + text(name))
        self._write(record(METADATA, body))

    def attachment(self, body: bytes) -> None:
        """Copy an attachment record of another file, given its body. ValueError, struct.error: the body is damaged."""
        self.flush()
        times = body[:16]  # log time and creation
        name, at = read_text(body, 16)
        media_type, at = read_text(body, at)
        index = struct.pack("<QQ", self.size, RECORD.size + len(body)) + times + body[at : at + 8] + text(name) + text(media_type)
        self._write(record(ATTACHMENT, body))
        self._attachment_indexes.append(index)

    def sync(self) -> None:
        """Write the file to the disk, so that it survives a power failure."""
        try:
            os.fdatasync(self._fd)
        except OSError:
            self._sync_failed = True
            raise

    def finish(self) -> None:
        """Write the last chunk and the summary, and close the file.

        Raises:
            OSError: As any method, and if the file is not as it was written. It then has no summary, and repair keeps what is
                whole.
        """
        self.flush(use_reserve=True)
        self._check_written()
        tail = [record(DATA_END, struct.pack("<I", 0))]
        summary_start = offset = self.size + len(tail[0])
        count = struct.pack("<QHIIII", self.counts.total(), len(self.schemas), len(self.channels),
                            len(self._attachment_indexes), len(self._metadata_indexes), len(self._chunk_indexes))  # fmt: skip
        by_channel = b"".join(struct.pack("<HQ", *entry) for entry in sorted(self.counts.items()))
        statistics = count + struct.pack("<QQI", self.start, self.end, len(by_channel)) + by_channel
        offsets = []
        for opcode, bodies in (
            (SCHEMA, self.schemas.values()), (CHANNEL, self.channels.values()), (STATISTICS, [statistics]),
            (CHUNK_INDEX, self._chunk_indexes), (ATTACHMENT_INDEX, self._attachment_indexes),
            (METADATA_INDEX, self._metadata_indexes),
        ):  # fmt: skip
            group = b"".join(record(opcode, body) for body in bodies)
            if group:
                offsets.append(record(SUMMARY_OFFSET, struct.pack("<BQQ", opcode, offset, len(group))))
                tail.append(group)
                offset += len(group)
        ending = struct.pack("<QQ", summary_start, offset)
        covered = b"".join((*tail[1:], *offsets, RECORD.pack(FOOTER, 20), ending))
        self._write(tail[0] + covered + struct.pack("<I", zlib.crc32(covered)) + MAGIC)
        self.sync()
        self.close()

    def close(self) -> None:
        """Close the file without a summary."""
        if self._fd >= 0:
            os.close(self._fd)
            self._fd = -1

    def _add(self, part: bytes) -> None:
        self._parts.append(part)
        self._part_bytes += len(part)

    def _chunk(self, head: bytes, compression: str, content: bytes, index: Index) -> None:
        stored = head + text(compression) + struct.pack("<Q", len(content))
        parts, start = [RECORD.pack(CHUNK, len(stored) + len(content)), stored, content], self.size
        length = sum(map(len, parts))
        offsets, at = b"", start + length
        for channel, entries in index.items():
            packed = b"".join(struct.pack("<QQ", *entry) for entry in entries)
            parts.append(record(MESSAGE_INDEX, struct.pack("<HI", channel, len(packed)), packed))
            offsets += struct.pack("<HQ", channel, at)
            at += len(parts[-1])
        self._write(b"".join(parts))
        for channel, entries in index.items():
            times = [stamp for stamp, _ in entries]
            self.start = min(self.start, *times) if self.counts else min(times)
            self.end = max(self.end, *times)
            self.counts[channel] += len(entries)
        first, last, size, _ = CHUNK_HEAD.unpack(head)
        self._chunk_indexes.append(b"".join((
            struct.pack("<QQQQI", first, last, start, length, len(offsets)), offsets,
            struct.pack("<Q", at - start - length), text(compression), struct.pack("<QQ", len(content), size),
        )))  # fmt: skip

    def _check_space(self, size: int) -> None:
        """Raise OSError if ``size`` more bytes would leave less than ``min_free`` on the disk."""
        if not self.min_free:
            return
        disk = os.fstatvfs(self._fd)
        free = disk.f_bavail * disk.f_frsize
        if free - size < self.min_free:
            raise OSError(errno.ENOSPC, f"{free / 1e9:.2f} GB left, expected at least {self.min_free / 1e9:g}", str(self.path))

    def _check_written(self) -> None:
        """Raise OSError if the file differs from what was written, in size or after an error of the disk."""
        if self._sync_failed:
            raise OSError(errno.EIO, "writing to the disk failed before; the file has no end", str(self.path))
        if (size := os.fstat(self._fd).st_size) != self.size:
            raise OSError(errno.EIO, f"{size} bytes, expected {self.size}; the file has no end", str(self.path))

    def _write(self, data: bytes) -> None:
        view, at = memoryview(data), self.size
        try:
            while view:
                written = os.pwrite(self._fd, view, at)  # at a known offset: a failed write leaves no gap
                view, at = view[written:], at + written
        except OSError:
            with contextlib.suppress(OSError):  # the error of the write is the cause
                os.ftruncate(self._fd, self.size)  # also frees space for the summary
            raise
        self.size += len(data)
