"""Writer of one episode as a rosbag2 folder with an MCAP file, including all message definitions."""

from __future__ import annotations

import contextlib
import os
import shutil
import time
from collections import Counter
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

from rosbags.interfaces import QosDurability, QosHistory, QosLiveliness, QosReliability

from latent_policy_ros import __version__
from latent_policy_ros.common.paths import PACKAGE
from latent_policy_ros.data.bags import metadata
from latent_policy_ros.data.bags.mcap_writer import McapWriter
from latent_policy_ros.data.bags.message_types import definition
from latent_policy_ros.data.bags.metadata import BagFile, TopicMetadata

MessageTimes = tuple[int, int, int]  # log time [ns], publish time [ns], sequence number
RECORDER = f"{PACKAGE} {__version__}"
_UNLIMITED = {"sec": 9223372036, "nsec": 854775807}  # rosbag2's value of an infinite duration


def offered_qos(reliable: bool, transient_local: bool = False, depth: int = 10) -> dict[str, object]:
    """The QoS profile of a topic, as ``ros2 bag play`` reads it from a bag."""
    return {
        "history": QosHistory.KEEP_LAST.name.lower(),
        "depth": depth,
        "reliability": (QosReliability.RELIABLE if reliable else QosReliability.BEST_EFFORT).name.lower(),
        "durability": (QosDurability.TRANSIENT_LOCAL if transient_local else QosDurability.VOLATILE).name.lower(),
        "deadline": dict(_UNLIMITED),
        "lifespan": dict(_UNLIMITED),
        "liveliness": QosLiveliness.AUTOMATIC.name.lower(),
        "liveliness_lease_duration": dict(_UNLIMITED),
        "avoid_ros_namespace_conventions": False,
    }


def channel_metadata(topic: TopicMetadata) -> dict[str, str]:
    """Metadata that rosbag2 stores with a channel of an MCAP file."""
    qos = metadata.dump([dict(profile) for profile in topic.qos]).strip() if topic.qos else ""
    return {"offered_qos_profiles": qos, "topic_type_hash": topic.type_hash}


class EpisodeBag:
    """A bag being written: ``<folder>/<name>_0.mcap``, and ``metadata.yaml`` once the bag is finished.

    ``custom_data`` is also written to the beginning of the MCAP file, from which ``dataset repair`` restores it if the recorder
    was killed. Values that are known only at the end, such as the outcome, are passed to ``close``, or later to
    ``data.bags.metadata.update_custom``.

    Args:
        folder: Folder of this bag; created. A number is appended if it exists.
        custom_data: Metadata of the bag, written to rosbag2's ``custom_data``.
        min_free: Space on the disk that messages leave free [bytes].

    Raises:
        OSError: The bag cannot be written; raised by any method.
    """

    def __init__(self, folder: Path, custom_data: Mapping[str, str], min_free: int = 0) -> None:
        self.path = _make_folder(folder)
        self.custom_data = {"recorder": RECORDER, **custom_data}
        with contextlib.ExitStack() as undo:
            undo.callback(shutil.rmtree, self.path, ignore_errors=True)  # without messages there is nothing to repair
            self._file = McapWriter(self.path / f"{self.path.name}_0.mcap", RECORDER, min_free=min_free)
            undo.callback(self._file.close)
            self._file.metadata(PACKAGE, self.custom_data)
            self._file.sync()
            metadata.sync_folder(self.path)
            undo.pop_all()
        self._topics: dict[int, TopicMetadata] = {}
        self._schemas: dict[str, int] = {}

    @property
    def size(self) -> int:
        """Size of the file [bytes]."""
        return self._file.size

    def counts(self) -> dict[str, int]:
        """Number of messages by topic that were passed to the operating system."""
        return {topic.name: self._file.counts[channel] for channel, topic in self._topics.items()}

    def add_topic(self, topic: TopicMetadata) -> int:
        """Add a topic; returns its channel number.

        Raises:
            ArtifactError: The message type has no definition.
        """
        described, type_hash = definition(topic.msg_type)
        if topic.msg_type not in self._schemas:
            self._schemas[topic.msg_type] = self._file.add_schema(topic.msg_type, "ros2msg", described)
        topic = replace(topic, type_hash=type_hash)
        channel = self._file.add_channel(topic.name, self._schemas[topic.msg_type], topic.encoding, channel_metadata(topic))
        self._topics[channel] = topic
        return channel

    def write(self, channel: int, times: MessageTimes, data: bytes) -> None:
        """Add one message, serialised as CDR."""
        self._file.message(channel, *times, data)

    def flush(self, older_than: float) -> None:
        """Pass messages older than ``older_than`` [s] to the operating system."""
        self._file.flush(older_than)

    def sync(self) -> None:
        """Write all flushed messages to the disk. Other threads may write messages meanwhile: a slow disk takes seconds."""
        self._file.sync()

    def end_chunk(self) -> Counter[str]:
        """Write the open chunk, into the reserve if necessary; returns the number of dropped messages by topic."""
        try:
            self._file.flush(use_reserve=True)
            return Counter()
        except OSError:
            dropped = self._file.drop_chunk()
            return Counter({self._topics[channel].name: count for channel, count in dropped.items()})

    def close(self, custom_data: Mapping[str, str] | None = None) -> Path:
        """Add ``custom_data``, finish the bag, and return its folder."""
        custom = {**self.custom_data, **(custom_data or {})}
        self._file.flush(use_reserve=True)
        file = BagFile(self._file.path.name, self._file.start, self._file.end, self._file.counts.total())
        topics = [(topic, self._file.counts[channel]) for channel, topic in self._topics.items()]
        content = metadata.information(topics, [file], custom)
        self._file.metadata("rosbag2", {"serialized_metadata": metadata.dump(content)})
        self._file.finish()
        metadata.write(self.path, content)
        return self.path


def _make_folder(folder: Path) -> Path:
    folder.parent.mkdir(parents=True, exist_ok=True)
    path, number = folder, 1
    while True:
        try:
            os.mkdir(path)
            return path
        except FileExistsError:
            path, number = folder.with_name(f"{folder.name}-{number}"), number + 1


def bag_folder(folder: Path, now: float | None = None) -> Path:
    """Folder of a bag by its start in local time, e.g. ``<folder>/2026-03-01/2026-03-01_12-30-05``."""
    moment = time.localtime(time.time() if now is None else now)
    return folder / time.strftime("%Y-%m-%d", moment) / time.strftime("%Y-%m-%d_%H-%M-%S", moment)
