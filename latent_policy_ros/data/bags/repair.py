"""Repair of incomplete bags, e.g. of a killed recorder: every complete message is kept, and the metadata is rebuilt."""

from __future__ import annotations

import contextlib
import fcntl
import glob
import os
import shutil
import struct
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from latent_policy_ros.common.errors import ArtifactError, LatentPolicyError
from latent_policy_ros.common.paths import PACKAGE
from latent_policy_ros.common.yaml_file import parse_yaml
from latent_policy_ros.data.bags import metadata
from latent_policy_ros.data.bags.compression import MAX_CHUNK
from latent_policy_ros.data.bags.mcap_file import chunks_exist, read_metadata, read_summary
from latent_policy_ros.data.bags.mcap_scan import ChunkContent, Record, is_finished, read_chunk, scan
from latent_policy_ros.data.bags.mcap_writer import (
    ATTACHMENT,
    CHANNEL,
    CHUNK,
    MESSAGE,
    MESSAGE_HEAD,
    METADATA,
    SCHEMA,
    McapWriter,
    read_mapping,
    read_text,
)
from latent_policy_ros.data.bags.metadata import TRASH, BagFile, TopicMetadata, split_number
from latent_policy_ros.data.recording.episode_bag import RECORDER

SUFFIX = ".repairing"
PACKED = ".zstd"  # suffix of a file that is compressed as a whole
ROSBAG2 = "rosbag2"  # name of rosbag2's metadata record


@dataclass
class FileContent:
    """Content of a file after repair."""

    topics: dict[int, TopicMetadata] = field(default_factory=dict)  # by channel
    counts: Counter[int] = field(default_factory=Counter)
    start: int = 0
    end: int = 0
    custom: dict[str, str] = field(default_factory=dict)  # custom metadata
    lost: list[str] = field(default_factory=list)  # descriptions of what could not be kept


@dataclass(frozen=True)
class Repair:
    """Result of a repair.

    Attributes:
        bag: Folder of the bag, or its file if it has no folder.
        repaired: Names of rewritten files, possibly including ``metadata.yaml``; empty for a complete bag.
        messages: Number of messages in the bag.
        lost: Descriptions of what could not be kept.
    """

    bag: Path
    repaired: tuple[str, ...]
    messages: int
    lost: tuple[str, ...]


def find_mcap_bags(paths: list[Path]) -> list[Path]:
    """Find MCAP bags, complete or not, at the given paths or below them.

    Raises:
        ArtifactError: A path holds no MCAP file.
    """
    found: dict[Path, None] = {}
    for path in paths:
        below = (file for file in path.rglob("*.mcap") if file.is_file() and TRASH not in file.relative_to(path).parts)
        files = [path] if path.is_file() else [file for file in sorted(below) if not _is_copy(file)]
        if not files:
            raise ArtifactError(f"{path}: no MCAP file here or below; only bags in MCAP can be repaired")
        for file in files:
            found[file.parent if file in files_of_bag(file.parent) else file] = None
    return list(found)


def files_of_bag(folder: Path) -> list[Path]:
    """The MCAP files of the bag in a folder, in order; empty if the files are separate bags.

    The bag consists of the files listed in ``metadata.yaml`` and of further files of the same split bag. Without metadata that
    lists any of the files, it consists of the files ``NAME_0.mcap``, ``NAME_1.mcap``, ..., or of a file with the folder's name.
    """
    found_here = (file for file in folder.glob("*.mcap") if file.is_file() and not _is_copy(file))
    files = sorted(found_here, key=lambda file: (split_number(file)[1], file.name))
    names = {split_number(file)[0] for file in files}
    named: set[str] = set()
    with contextlib.suppress(ArtifactError, KeyError, TypeError):
        named = {os.path.basename(file) for file in metadata.read(folder)["relative_file_paths"]}
    if there := {split_number(file)[0] for file in files if file.name in named or f"{file.name}{PACKED}" in named}:
        wanted = there
    elif folder.name in names:
        wanted = {folder.name}
    else:
        wanted = names if len(names) == 1 and files[0].stem != split_number(files[0])[0] else set()
    found = [file for file in files if split_number(file)[0] in wanted]
    begins = any(split_number(file)[1] == 0 for file in [*found, *_packed(folder, found)])
    return found if there or begins else []


def repair_bag(bag: Path) -> Repair:
    """Repair a bag. A complete bag is not changed. A file is replaced only after its repaired copy is complete.

    Args:
        bag: Folder of a bag, or a single MCAP file.

    Raises:
        ArtifactError: The bag is being written, has no MCAP file, or has one that is compressed as a whole; or the disk has no
            space for a copy of the largest file; or the bag is damaged beyond repair.
        OSError: A file cannot be read or written.
    """
    try:
        return _repair(bag)
    except (LatentPolicyError, OSError):
        raise
    except Exception as error:  # damaged files raise errors of any type; one bag must not stop the repair of others
        raise ArtifactError(f"{bag}: cannot be repaired: {type(error).__name__}: {error}; it was not changed") from error


def _repair(bag: Path) -> Repair:
    files = [bag] if bag.is_file() else files_of_bag(bag)
    if not files:
        raise ArtifactError(f"{bag}: no MCAP file of a bag; only bags in MCAP can be repaired; pass separate files one by one")
    if packed := _packed(bag, files) if bag.is_dir() else []:
        names = " ".join(f"{file}{PACKED}" for file in packed)
        raise ArtifactError(f"{bag}: a part of it is compressed as a whole; unpack it first: zstd -d --rm {names}")
    with _locked(files):
        contents, repaired = {}, []
        for file in files:
            content = _finished(file)
            if content is None:
                content = _rewrite(file)
                repaired.append(file.name)
            contents[file] = content
        lost = tuple(f"{file.name}: {text}" for file, content in contents.items() for text in content.lost)
        if bag.is_dir() and not (not repaired and _metadata_fits(bag, contents)):
            _write_metadata(bag, contents, repaired, lost)
            repaired.append(metadata.FILE)
    return Repair(bag, tuple(repaired), sum(content.counts.total() for content in contents.values()), lost)


def _packed(folder: Path, files: list[Path]) -> list[Path]:
    """Paths that the compressed files of the same bag would have if they were unpacked."""
    names = {split_number(file)[0] for file in files}
    packed = [file.with_suffix("") for file in sorted(folder.glob(f"*.mcap{PACKED}"))]
    return [file for file in packed if split_number(file)[0] in names]


def _is_copy(file: Path) -> bool:
    """Whether a file is the unpacked copy of a compressed file, as players leave it."""
    return file.with_name(f"{file.name}{PACKED}").is_file()


@contextlib.contextmanager
def _locked(files: list[Path]) -> Iterator[None]:
    """Lock files against recorders; ArtifactError if one is being written."""
    with contextlib.ExitStack() as stack:
        for file in files:
            opened = stack.enter_context(file.open("rb"))
            try:
                fcntl.flock(opened, fcntl.LOCK_SH | fcntl.LOCK_NB)
            except BlockingIOError as error:
                raise ArtifactError(f"{file}: is being recorded; stop its recorder first") from error
        _check_unwritten(files)
        yield


def _check_unwritten(files: list[Path]) -> None:
    """Raise ArtifactError if a process has one of the files open for writing. Other recorders do not lock their files.

    Processes of other users cannot be checked.
    """
    ours = {(stat.st_dev, stat.st_ino): file for file, stat in ((file, file.stat()) for file in files)}
    for link in glob.iglob("/proc/[0-9]*/fd/*"):
        with contextlib.suppress(OSError):  # another user's, or closed meanwhile
            stat, process = os.stat(link), Path(link).parents[1]
            file = ours.get((stat.st_dev, stat.st_ino))
            if file and _opened_for(link) != os.O_RDONLY:
                who = f"process {process.name} ({(process / 'comm').read_text().strip()})"
                raise ArtifactError(f"{file}: is still being written by {who}; stop it first")


def _opened_for(link: str) -> int:
    """Access mode of an open file of a process."""
    info = Path(link.replace("/fd/", "/fdinfo/")).read_text()
    flags = info.partition("flags:")[2].split()[0]  # octal
    return int(flags, 8) & os.O_ACCMODE


def _finished(file: Path) -> FileContent | None:
    """Content of a complete file; None if the file is incomplete."""
    if not is_finished(file):
        return None
    content = FileContent()
    try:
        with file.open("rb") as stream:
            summary = read_summary(stream)
            if summary and not chunks_exist(stream, summary):
                return None
            for record in read_metadata(stream, summary) if summary else ():
                content.custom |= _custom_metadata(record.name, record.metadata)
    except Exception:  # a damaged end raises errors of any type
        return None
    if summary is None or summary.statistics is None or not (summary.chunk_indexes or _in_order(file)):
        return None
    for number, channel in summary.channels.items():
        schema = summary.schemas.get(channel.schema_id)
        content.topics[number] = _topic(channel.topic, schema.name if schema else "", channel.message_encoding, channel.metadata)
    content.counts.update(summary.statistics.channel_message_counts)
    content.start, content.end = summary.statistics.message_start_time, summary.statistics.message_end_time
    return content


def _custom_metadata(name: str, values: dict[str, str]) -> dict[str, str]:
    """Custom metadata of the bag in a metadata record."""
    if name == PACKAGE:
        return values
    custom: Any = None
    if name == ROSBAG2:
        with contextlib.suppress(ValueError, AttributeError):  # all values are text
            custom = parse_yaml(values.get("serialized_metadata", ""), as_text=True).get("custom_data")
    return custom if isinstance(custom, dict) else {}


def _in_order(file: Path) -> bool:
    """Whether messages outside of chunks, which have no index, are in order of time."""
    newest = 0
    for record in scan(file):
        if record.opcode == MESSAGE and len(record.body) >= MESSAGE_HEAD.size:
            _, _, log_time, _ = MESSAGE_HEAD.unpack_from(record.body)
            if log_time < newest:
                return False
            newest = log_time
    return True


def _rewrite(file: Path) -> FileContent:
    """Replace a file by one with all of its complete records."""
    before = file.stat()
    if shutil.disk_usage(file.parent).free < before.st_size + (16 << 20):
        raise ArtifactError(f"{file}: no space on the disk for a copy of {before.st_size / 1e6:.0f} MB beside it")
    temporary = file.with_name(file.name + SUFFIX)
    temporary.unlink(missing_ok=True)
    writer, content = McapWriter(temporary, RECORDER), FileContent()
    try:
        for record in scan(file):
            try:
                _copy_record(writer, record, content)
            except (struct.error, ValueError):
                content.lost.append(f"the record at byte {record.offset} is damaged")
        writer.finish()
    except BaseException:
        writer.close()
        temporary.unlink(missing_ok=True)
        raise
    for number, body in writer.channels.items():
        content.topics[number] = _topic_of(body, writer.schemas)
    content.counts, content.start, content.end = writer.counts, writer.start, writer.end
    written = _finished(temporary)
    if written is None or written.counts != content.counts:
        raise ArtifactError(f"{temporary}: verification of the repaired file failed; {file} was not changed")
    shutil.copymode(file, temporary)
    after = file.stat()
    if (after.st_size, after.st_mtime_ns) != (before.st_size, before.st_mtime_ns):  # by a process of another user
        temporary.unlink()
        raise ArtifactError(f"{file}: is still being written: it changed during the repair; stop its recorder first")
    temporary.replace(file)
    metadata.sync_folder(file.parent)
    return content


def _copy_record(writer: McapWriter, record: Record, content: FileContent) -> None:
    """Copy a record. ValueError, struct.error: it is damaged."""
    if record.opcode == CHUNK:
        _copy_chunk(writer, read_chunk(record.body), record.offset, content)
    elif record.opcode == METADATA:
        name, at = read_text(record.body, 0)
        values = read_mapping(record.body, at)
        writer.metadata(name, values)  # includes rosbag2's own record; its readers use the counts in the summary
        content.custom |= _custom_metadata(name, values)
    elif record.opcode == ATTACHMENT:
        _copy_attachment(writer, record.body, record.offset, content)
    else:
        _copy(writer, record.opcode, record.body, content)


def _copy_chunk(writer: McapWriter, chunk: ChunkContent | None, offset: int, content: FileContent) -> None:
    """Copy a chunk, or the complete records of an incomplete one."""
    if chunk is None:
        return
    if chunk.damaged:
        messages = sum(map(len, chunk.index.values()))
        reason = "is damaged" if chunk.head else f"expands to more than {MAX_CHUNK >> 20} MiB, the limit"
        content.lost.append(f"the chunk at byte {offset} {reason}: {messages} messages or more in it are left out")
        return
    definitions = [(opcode, body) for opcode, body, _ in chunk.records if opcode in (SCHEMA, CHANNEL)]
    defined = {struct.unpack_from("<H", body)[0] for opcode, body in definitions if opcode == CHANNEL}
    if chunk.whole and set(chunk.index) <= defined | set(writer.channels):
        writer.flush()
        for opcode, body in definitions:
            _check_definition(opcode, body)
        for opcode, body in definitions:
            writer.register_definition(opcode, body)
        writer.copy_chunk(chunk.head, chunk.compression, chunk.stored, chunk.index)
        return
    for opcode, body, _ in chunk.records:
        _copy(writer, opcode, body, content)


def _copy_attachment(writer: McapWriter, body: bytes, offset: int, content: FileContent) -> None:
    try:
        writer.attachment(body)
    except (struct.error, ValueError):
        content.lost.append(f"the attachment at byte {offset} is damaged")


def _copy(writer: McapWriter, opcode: int, body: bytes, content: FileContent) -> None:
    """Copy a definition or a message. ValueError, struct.error: it is damaged."""
    if opcode in (SCHEMA, CHANNEL):
        _check_definition(opcode, body)
        writer.copy_definition(opcode, body)
    elif opcode == MESSAGE and len(body) >= MESSAGE_HEAD.size:
        channel, sequence, log_time, publish_time = MESSAGE_HEAD.unpack_from(body)
        if channel in writer.channels:
            writer.message(channel, log_time, publish_time, sequence, body[MESSAGE_HEAD.size :])
        else:
            content.lost.append(f"a message at {log_time} ns of a topic whose description is lost (channel {channel})")


def _check_definition(opcode: int, body: bytes) -> None:
    """Raise ValueError or struct.error if a schema or channel is damaged."""
    if opcode == SCHEMA:
        read_text(body, read_text(body, 2)[1])
    else:
        _topic_of(body, {})


def _topic_of(body: bytes, schemas: dict[int, bytes]) -> TopicMetadata:
    """Topic of a channel record."""
    _, schema = struct.unpack_from("<HH", body)
    name, at = read_text(body, 4)
    encoding, at = read_text(body, at)
    msg_type = read_text(schemas[schema], 2)[0] if schema in schemas else ""
    return _topic(name, msg_type, encoding, read_mapping(body, at))


def _topic(name: str, msg_type: str, encoding: str, values: dict[str, str]) -> TopicMetadata:
    qos: Any = []
    with contextlib.suppress(ValueError):
        qos = parse_yaml(values.get("offered_qos_profiles", ""))
    profiles = tuple(profile for profile in qos if isinstance(profile, dict)) if isinstance(qos, list) else ()
    return TopicMetadata(name, msg_type, profiles, values.get("topic_type_hash", ""), encoding)


def _metadata_fits(bag: Path, contents: dict[Path, FileContent]) -> bool:
    """Whether ``metadata.yaml`` exists and lists exactly these files and messages."""
    try:
        listed = metadata.read(bag)
        counts = {entry["topic_metadata"]["name"]: entry["message_count"] for entry in listed["topics_with_message_count"]}
        names = [os.path.basename(name) for name in listed["relative_file_paths"]]
    except (ArtifactError, KeyError, TypeError):
        return False
    found: Counter[str] = Counter()
    for content in contents.values():
        found.update({topic.name: content.counts[channel] for channel, topic in content.topics.items()})
    return names == [file.name for file in contents] and +Counter(counts) == +found


def _write_metadata(bag: Path, contents: dict[Path, FileContent], repaired: list[str], lost: tuple[str, ...]) -> None:
    """Write ``metadata.yaml`` for the current files; custom metadata is kept."""
    before: dict[str, Any] = {}
    with contextlib.suppress(ArtifactError):
        before = metadata.read(bag)
    custom: dict[str, str] = {"outcome": "unknown"}
    topics: dict[str, tuple[TopicMetadata, int]] = {}
    for content in contents.values():
        custom |= content.custom
        for channel, topic in content.topics.items():
            count = topics.get(topic.name, (topic, 0))[1] + content.counts[channel]
            topics[topic.name] = topic, count
    custom |= before.get("custom_data") or {}
    if repaired:
        custom |= {"repaired": "true", "repair": "; ".join((f"{', '.join(repaired)} had no end, or messages out of order", *lost))}
    files = [BagFile(file.name, c.start, c.end, c.counts.total()) for file, c in contents.items()]
    stored: dict[str, Any] = {key: before[key] for key in ("compression_format", "compression_mode", "ros_distro") if key in before}
    metadata.write(bag, {**metadata.information(topics.values(), files, custom), **stored})
