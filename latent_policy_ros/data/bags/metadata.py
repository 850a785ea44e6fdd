"""``metadata.yaml`` of a bag: what rosbag2 wants to know of it, and what the bag says of itself."""

from __future__ import annotations

import os
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from latent_policy_ros.common.errors import ArtifactError
from latent_policy_ros.common.paths import PACKAGE

FILE, TOP = "metadata.yaml", "rosbag2_bagfile_information"
VERSION = 9  # of rosbag2's format, as Jazzy writes it
PIECE = re.compile(r"(.+)_(0|[1-9]\d*)")  # as recorders number a bag's files; with leading zeros people number their bags


@dataclass(frozen=True)
class Topic:
    """A topic of a bag.

    Attributes:
        name: Fully qualified.
        kind: Message type, e.g. ``sensor_msgs/msg/Image``.
        qos: With which ``ros2 bag play`` shall publish it, as rosbag2's profiles; may be empty.
        type_hash: RIHS01 of the type; may be empty.
        encoding: Of its messages.
    """

    name: str
    kind: str
    qos: tuple[Mapping[str, Any], ...] = ()
    type_hash: str = ""
    encoding: str = "cdr"


@dataclass(frozen=True)
class BagFile:
    """One file of a bag: its name, log times [ns] of its first and last message, and the number of these."""

    name: str
    start: int
    end: int
    messages: int


def piece(file: Path) -> tuple[str, int]:
    """What the files of a bag have in common, and which of them this is: ``name`` and 9 of ``name_9.mcap``."""
    found = PIECE.fullmatch(file.stem)
    return (found[1], int(found[2])) if found else (file.stem, 0)


def information(topics: Iterable[tuple[Topic, int]], files: Sequence[BagFile], custom: Mapping[str, str]) -> dict[str, Any]:
    """What ``metadata.yaml`` says.

    Args:
        topics: With their numbers of messages.
        files: In order of time.
        custom: What the bag says of itself.
    """
    filled = [file for file in files if file.messages]
    start, end = min((f.start for f in filled), default=0), max((f.end for f in filled), default=0)
    return {
        "version": VERSION,
        "storage_identifier": "mcap",
        "duration": {"nanoseconds": end - start},
        "starting_time": {"nanoseconds_since_epoch": start},
        "message_count": sum(file.messages for file in files),
        "topics_with_message_count": [
            {
                "topic_metadata": {
                    "name": topic.name, "type": topic.kind, "serialization_format": topic.encoding,
                    "offered_qos_profiles": [dict(profile) for profile in topic.qos],
                    "type_description_hash": topic.type_hash,
                },
                "message_count": count,
            }
            for topic, count in topics
        ],
        "compression_format": "",
        "compression_mode": "",
        "relative_file_paths": [file.name for file in files],
        "files": [
            {
                "path": file.name,
                "starting_time": {"nanoseconds_since_epoch": file.start},
                "duration": {"nanoseconds": file.end - file.start},
                "message_count": file.messages,
            }
            for file in files
        ],
        "custom_data": dict(custom) or None,
        "ros_distro": PACKAGE,
    }  # fmt: skip


def write(folder: Path, content: Mapping[str, Any]) -> None:
    """Write ``metadata.yaml`` so that at any moment the old or the new one is there, whole."""
    temporary = folder / f"{FILE}.tmp"
    with temporary.open("w", encoding="utf-8") as file:
        file.write(dump({TOP: dict(content)}))
        file.flush()
        os.fsync(file.fileno())
    temporary.replace(folder / FILE)
    sync_folder(folder)


class _Plain(yaml.SafeDumper):
    """Without references to what was written before: other readers know only a part of YAML."""

    def ignore_aliases(self, data: Any) -> bool:
        return True


def dump(content: Any) -> str:
    """YAML, as rosbag2 reads it."""
    return yaml.dump(content, Dumper=_Plain, sort_keys=False, allow_unicode=True)


def read(folder: Path) -> dict[str, Any]:
    """What ``metadata.yaml`` of a bag says.

    Raises:
        ArtifactError: There is none, or it is not one.
    """
    file = folder / FILE
    try:
        found = yaml.safe_load(file.read_text(encoding="utf-8"))
    except FileNotFoundError as error:
        raise ArtifactError(f"{folder}: no {FILE}: the bag is being recorded, or its recorder was killed") from error
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
        raise ArtifactError(f"{file}: cannot be read: {error}") from error
    if not isinstance(found, dict) or not isinstance(found.get(TOP), dict):
        raise ArtifactError(f"{file}: expected a map {TOP!r}, got {str(found)[:60]!r}")
    return found[TOP]


def update_custom(folder: Path, values: Mapping[str, str]) -> None:
    """Change what a finished bag says of itself.

    Raises:
        ArtifactError: The bag has no readable metadata.
    """
    content = read(folder)
    write(folder, {**content, "custom_data": {**(content.get("custom_data") or {}), **values}})


def sync_folder(folder: Path) -> None:
    """Bring the names in a folder to the disk."""
    fd = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)
