"""Decompression of chunks, messages and files of bags, with limits that are named in errors."""

from __future__ import annotations

from pathlib import Path

import lz4.frame
import zstandard

from latent_policy_ros.common.bounded_reader import LimitExceeded

MAX_CHUNK = 512 << 20  # bytes of a chunk, or of a compressed message, after decompression
MAX_RECORD = 1 << 30  # bytes of a record of an MCAP file
_SLICE = 4096  # bytes that are decompressed at once: at most 128 MiB result from them


def decompress(compression: str, stored: bytes) -> bytes:
    """Decompress a complete chunk or message.

    Args:
        compression: ``zstd``, ``lz4``, or empty.
        stored: The compressed bytes.

    Raises:
        LimitExceeded: The result is larger than ``MAX_CHUNK``, whatever the size in a header says.
        ValueError: Damaged bytes, or an unknown compression.
    """
    content, error = _decompress(compression, stored)
    if len(content) > MAX_CHUNK:
        raise LimitExceeded(f"a chunk expands to more than {MAX_CHUNK >> 20} MiB, the limit")
    if error:
        raise ValueError(error)
    return content


def decompress_available(compression: str, stored: bytes) -> bytes | None:
    """Decompress bytes that may end early or be damaged, as far as possible; None if the result is larger than ``MAX_CHUNK``."""
    content, _ = _decompress(compression, stored)
    return content if len(content) <= MAX_CHUNK else None


def unpack_file(packed: Path, target: Path, limit: int) -> None:
    """Decompress a file.

    Raises:
        LimitExceeded: The result is larger than ``limit`` [bytes].
        ValueError: Damaged file.
        OSError: A file cannot be read or written.
    """
    size = 0
    with packed.open("rb") as source, target.open("wb") as unpacked:
        try:
            for block in zstandard.ZstdDecompressor().read_to_iter(source, write_size=1 << 20):
                size += len(block)
                if size > limit:
                    raise LimitExceeded(f"{packed.name}: expands to more than {limit >> 20} MiB, the limit")
                unpacked.write(block)
        except zstandard.ZstdError as error:
            raise ValueError(f"{packed.name}: {error}") from error


def _decompress(compression: str, stored: bytes) -> tuple[bytes, str]:
    """What can be decompressed, a little more than ``MAX_CHUNK`` at most, and an error message."""
    if not compression:
        return stored, ""
    if compression == "zstd":
        unpack = zstandard.ZstdDecompressor().decompressobj().decompress
    elif compression == "lz4":
        unpack = lz4.frame.LZ4FrameDecompressor().decompress
    else:
        return b"", f"compression {compression!r} is not supported; available: lz4, zstd"
    parts, size, error = [], 0, ""
    try:
        for at in range(0, len(stored), _SLICE):
            parts.append(unpack(stored[at : at + _SLICE]))
            size += len(parts[-1])
            if size > MAX_CHUNK:
                break
    except (zstandard.ZstdError, RuntimeError, EOFError) as damage:
        error = f"damaged: {damage}"  # the rest is unreadable
    return b"".join(parts), error
