"""One episode as a rosbag2 folder in MCAP, with every message definition inside. Needs no ROS."""

from __future__ import annotations

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
from latent_policy_ros.data.bags.message_types import definition, message_types
from latent_policy_ros.data.bags.metadata import BagFile, Topic

__all__ = ["EpisodeBag", "bag_folder", "channel_metadata", "message_types", "offered_qos"]

Times = tuple[int, int, int]  # log time [ns], publish time [ns], sequence number
RECORDER = f"{PACKAGE} {__version__}"
_UNLIMITED = {"sec": 9223372036, "nsec": 854775807}  # rosbag2's way to say "no deadline"


def offered_qos(reliable: bool, transient_local: bool = False, depth: int = 10) -> dict[str, object]:
    """The quality of service with which ``ros2 bag play`` shall publish a topic."""
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


def channel_metadata(topic: Topic) -> dict[str, str]:
    """What rosbag2 keeps beside a topic inside MCAP."""
    qos = metadata.dump([dict(profile) for profile in topic.qos]).strip() if topic.qos else ""
    return {"offered_qos_profiles": qos, "topic_type_hash": topic.type_hash}


class EpisodeBag:
    """A bag that is being written: ``<folder>/<name>_0.mcap``, with ``metadata.yaml`` once it is finished.

    What is known at the beginning stands at the head of the MCAP too, where ``dataset repair`` finds it in the bag of a
    recorder that was killed. What is known only at the end (the outcome) is given to ``close``, or to
    ``bag_metadata.update_custom`` even later.

    Args:
        folder: Of this bag; made. If it is taken, a number is appended.
        information: What the bag is to say about itself.

    Raises:
        OSError: It cannot be written, here or in any method.
    """

    def __init__(self, folder: Path, information: Mapping[str, str]) -> None:
        self.path = _make_folder(folder)
        self.information = {"recorder": RECORDER, **information}
        self._file = McapWriter(self.path / f"{self.path.name}_0.mcap", RECORDER)
        self._file.metadata(PACKAGE, self.information)
        self._file.sync()
        metadata.sync_folder(self.path)
        self._topics: dict[int, Topic] = {}
        self._schemas: dict[str, int] = {}
        self._synced = time.monotonic()

    @property
    def bytes(self) -> int:
        """Size so far."""
        return self._file.size

    def counts(self) -> dict[str, int]:
        """Messages handed to the system, by topic."""
        return {topic.name: self._file.counts[channel] for channel, topic in self._topics.items()}

    def add_topic(self, topic: Topic) -> int:
        """Announce a topic; returns its channel, for ``write``.

        Raises:
            ArtifactError: The message type is not defined anywhere.
        """
        described, type_hash = definition(topic.kind)
        if topic.kind not in self._schemas:
            self._schemas[topic.kind] = self._file.add_schema(topic.kind, "ros2msg", described)
        topic = replace(topic, type_hash=type_hash)
        channel = self._file.add_channel(topic.name, self._schemas[topic.kind], topic.encoding, channel_metadata(topic))
        self._topics[channel] = topic
        return channel

    def write(self, channel: int, times: Times, data: bytes) -> None:
        """Add one serialised message: CDR, as it came."""
        self._file.message(channel, *times, data)

    def flush(self, older_than: float, sync_every: float) -> None:
        """Hand what is older than ``older_than`` s to the system, and every ``sync_every`` s all of that to the disk."""
        self._file.flush(older_than)
        if time.monotonic() - self._synced >= sync_every:
            self._file.sync()
            self._synced = time.monotonic()

    def end_chunk(self) -> Counter[str]:
        """Write what is left; returns what the disk would not take, by topic."""
        try:
            self._file.flush()
            return Counter()
        except OSError:
            dropped = self._file.drop_chunk()
            return Counter({self._topics[channel].name: count for channel, count in dropped.items()})

    def close(self, information: Mapping[str, str] | None = None) -> Path:
        """Finish the bag; returns its folder."""
        custom = {**self.information, **(information or {})}
        self._file.flush()
        file = BagFile(self._file.path.name, self._file.start, self._file.end, self._file.counts.total())
        topics = [(topic, self._file.counts[channel]) for channel, topic in self._topics.items()]
        content = metadata.information(topics, [file], custom)
        self._file.metadata("rosbag2", {"serialized_metadata": metadata.dump(content)})
        self._file.finish()
        metadata.write(self.path, content)
        return self.path

    def discard(self) -> None:
        """Delete the bag: it was not worth keeping."""
        self._file.close()
        shutil.rmtree(self.path, ignore_errors=True)


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
    """Where a bag goes by local time, e.g. ``<folder>/2026-03-01/2026-03-01_12-30-05``."""
    moment = time.localtime(time.time() if now is None else now)
    return folder / time.strftime("%Y-%m-%d", moment) / time.strftime("%Y-%m-%d_%H-%M-%S", moment)
