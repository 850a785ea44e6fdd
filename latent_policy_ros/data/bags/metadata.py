"""``metadata.yaml`` of a bag: the description that rosbag2 requires, and custom metadata of the recording."""

from __future__ import annotations

import os
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from latent_policy_ros.common.bounded_reader import read_text
from latent_policy_ros.common.errors import ArtifactError
from latent_policy_ros.common.ros_environment import ros_distribution
from latent_policy_ros.common.yaml_file import parse_yaml

FILE, ROOT_KEY = "metadata.yaml", "rosbag2_bagfile_information"
TRASH = "trash"  # folder of discarded bags, beside those of the days; not searched for bags
VERSION = 9  # of rosbag2's format, as written by Jazzy
NUMBERED = re.compile(r"(.+)_(0|[1-9]\d*)")  # stem of a file of a split bag; a number with leading zeros is part of the name


@dataclass(frozen=True)
class TopicMetadata:
    """Description of a topic in a bag.

    Attributes:
        name: Fully qualified name.
        msg_type: Message type, e.g. ``sensor_msgs/msg/Image``.
        qos: QoS profiles with which ``ros2 bag play`` publishes the topic, in rosbag2's form; may be empty.
        type_hash: RIHS01 hash of the type; may be empty.
        encoding: Serialisation of the messages.
    """

    name: str
    msg_type: str
    qos: tuple[Mapping[str, Any], ...] = ()
    type_hash: str = ""
    encoding: str = "cdr"


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


@dataclass(frozen=True)
class BagFile:
    """One file of a bag: name, log times [ns] of the first and the last message, and number of messages."""

    name: str
    start: int
    end: int
    messages: int


def split_number(file: Path) -> tuple[str, int]:
    """Common name and number of a file of a split bag: ``("name", 9)`` for ``name_9.mcap``; 0 without a number."""
    found = NUMBERED.fullmatch(file.stem)
    return (found[1], int(found[2])) if found else (file.stem, 0)


def information(topics: Iterable[tuple[TopicMetadata, int]], files: Sequence[BagFile], custom: Mapping[str, str]) -> dict[str, Any]:
    """Content of ``metadata.yaml``.

    Args:
        topics: Topics with their numbers of messages.
        files: Files in order of time.
        custom: Custom metadata of the recording.
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
                    "name": topic.name, "type": topic.msg_type, "serialization_format": topic.encoding,
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
        "ros_distro": ros_distribution(),
    }  # fmt: skip


def write(folder: Path, content: Mapping[str, Any]) -> None:
    """Replace ``metadata.yaml`` atomically: after a crash, either the old or the new file is complete."""
    temporary = folder / f"{FILE}.tmp"
    temporary.unlink(missing_ok=True)
    with temporary.open("x", encoding="utf-8") as file:  # never through a link that is there
        file.write(dump({ROOT_KEY: dict(content)}))
        file.flush()
        os.fsync(file.fileno())
    temporary.replace(folder / FILE)
    sync_folder(folder)


class _Dumper(yaml.SafeDumper):
    """YAML without anchors and aliases, which other readers of bags do not support."""

    def ignore_aliases(self, data: Any) -> bool:
        return True


def dump(content: Any) -> str:
    """YAML in the form that rosbag2 reads."""
    return yaml.dump(content, Dumper=_Dumper, sort_keys=False, allow_unicode=True)


def read(folder: Path) -> dict[str, Any]:
    """Content of the ``metadata.yaml`` of a bag.

    Raises:
        ArtifactError: Missing or invalid file.
    """
    file = folder / FILE
    try:
        found = parse_yaml(read_text(file))
    except FileNotFoundError as error:
        raise ArtifactError(f"{folder}: no {FILE}: the bag is being recorded, or its recorder was killed") from error
    except (OSError, ValueError) as error:
        raise ArtifactError(f"{file}: cannot be read: {error}") from error
    if not isinstance(found, dict) or not isinstance(found.get(ROOT_KEY), dict):
        raise ArtifactError(f"{file}: expected a map {ROOT_KEY!r}, got {str(found)[:60]!r}")
    return found[ROOT_KEY]


def update_custom(folder: Path, values: Mapping[str, str]) -> None:
    """Change custom metadata of a finished bag.

    Raises:
        ArtifactError: The bag has no readable metadata.
    """
    content = read(folder)
    write(folder, {**content, "custom_data": {**(content.get("custom_data") or {}), **values}})


def sync_folder(folder: Path) -> None:
    """Write the directory entries of a folder to the disk."""
    fd = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)
