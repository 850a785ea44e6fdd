"""Scan of incomplete or damaged MCAP files: all complete records, and all complete messages in chunks."""

from __future__ import annotations

import struct
import zlib
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

from latent_policy_ros.common.errors import ArtifactError
from latent_policy_ros.data.bags.compression import MAX_RECORD, decompress_available
from latent_policy_ros.data.bags.mcap_writer import CHUNK, CHUNK_HEAD, DATA_END, FOOTER, MAGIC, MESSAGE, MESSAGE_HEAD, RECORD, Index


@dataclass(frozen=True)
class Record:
    """A complete record outside of chunks: opcode, body and offset in the file."""

    opcode: int
    body: bytes
    offset: int


@dataclass(frozen=True)
class ChunkContent:
    """Content of a chunk.

    Attributes:
        whole: Whether the chunk is complete and undamaged.
        damaged: Whether the chunk is complete, but differs from what was written, or is too large.
        records: (opcode, body, offset in the uncompressed chunk) of the complete records.
        index: Index of the messages among them.
        head, compression, stored: The chunk as stored in the file.
    """

    whole: bool
    damaged: bool
    records: tuple[tuple[int, bytes, int], ...]
    index: Index = field(default_factory=dict)
    head: bytes = b""
    compression: str = ""
    stored: bytes = b""


def is_finished(path: Path) -> bool:
    """Whether an MCAP file ends with a footer that refers to a summary."""
    with path.open("rb") as file:
        size = file.seek(0, 2)
        if size < len(MAGIC) * 2 + RECORD.size + 20:
            return False
        file.seek(-len(MAGIC) - 20 - RECORD.size, 2)
        opcode, length = RECORD.unpack(file.read(RECORD.size))
        (summary,) = struct.unpack_from("<Q", file.read(20))
        return (opcode, length) == (FOOTER, 20) and 0 < summary < size and file.read() == MAGIC


def scan(path: Path) -> Iterator[Record]:
    """Yield the records of a file's data section. The last one may be an incomplete chunk with a short body.

    Bodies are cut at ``MAX_RECORD``.

    Raises:
        ArtifactError: Not an MCAP file.
    """
    size = path.stat().st_size
    with path.open("rb") as file:
        begins = file.read(len(MAGIC))
        if not MAGIC.startswith(begins):
            raise ArtifactError(f"{path}: not an MCAP file: begins with {begins!r}")
        while len(head := file.read(RECORD.size)) == RECORD.size:
            opcode, length = RECORD.unpack(head)
            offset, left = file.tell() - RECORD.size, size - file.tell()
            if opcode in (DATA_END, FOOTER) or not 0 < opcode < 0x10 or (length > left and opcode != CHUNK):
                return
            yield Record(opcode, file.read(min(length, left, MAX_RECORD)), offset)
            if length > left:
                return
            file.seek(offset + RECORD.size + length)


def read_chunk(body: bytes) -> ChunkContent | None:
    """Read a chunk that may be incomplete or damaged; None if its header is incomplete."""
    try:
        first, last, size, crc = CHUNK_HEAD.unpack_from(body)
        (length,) = struct.unpack_from("<I", body, CHUNK_HEAD.size)
        at = CHUNK_HEAD.size + 4
        compression = body[at : at + length].decode()
        (stored_size,) = struct.unpack_from("<Q", body, at + length)
    except (struct.error, UnicodeDecodeError):
        return None
    stored = body[at + length + 8 :]
    content = decompress_available(compression, stored)
    if content is None:
        return ChunkContent(False, True, ())
    complete = len(stored) == stored_size
    good = len(content) == size and crc in (0, zlib.crc32(content))
    records: list[tuple[int, bytes, int]] = []
    index: Index = {}
    for opcode, inner, offset in _inner(content):
        records.append((opcode, inner, offset))
        if opcode == MESSAGE:
            channel, _, log_time, _ = MESSAGE_HEAD.unpack_from(inner)
            index.setdefault(channel, []).append((log_time, offset))
    whole, damaged = complete and good, complete and not good
    return ChunkContent(whole, damaged, tuple(records), index, body[: CHUNK_HEAD.size], compression, stored)


def _inner(content: bytes) -> Iterator[tuple[int, bytes, int]]:
    at = 0
    while at + RECORD.size <= len(content):
        opcode, length = RECORD.unpack_from(content, at)
        end = at + RECORD.size + length
        if end > len(content) or (opcode == MESSAGE and length < MESSAGE_HEAD.size):
            return
        yield opcode, content[at + RECORD.size : end], at
        at = end
