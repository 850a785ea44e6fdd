"""One episode as a rosbag2 folder in MCAP, with every message definition inside. Needs no ROS."""

from __future__ import annotations

import shutil
import time
from collections import Counter
from functools import lru_cache
from pathlib import Path

from rosbags.interfaces import Qos, QosDurability, QosHistory, QosLiveliness, QosReliability, QosTime
from rosbags.rosbag2 import StoragePlugin, Writer
from rosbags.typesys import Stores, get_types_from_msg, get_typestore
from rosbags.typesys.store import Typestore

from ..paths import PACKAGE, config_dir

_UNLIMITED = QosTime(9223372036, 854775807)  # rosbag2's way to say "no deadline"


@lru_cache(maxsize=1)
def message_types() -> Typestore:
    """ROS 2's common message types, and this package's own.

    Raises:
        FileNotFoundError: The ``msg`` folder is neither in the checkout nor installed beside the configuration.
    """
    store = get_typestore(Stores.ROS2_JAZZY)
    folder = config_dir().parent / "msg"
    files = sorted(folder.glob("*.msg"))
    if not files:
        raise FileNotFoundError(f"no message definitions of {PACKAGE} in {folder}")
    for file in files:
        store.register(get_types_from_msg(file.read_text(encoding="utf-8"), f"{PACKAGE}/msg/{file.stem}"))
    return store


def offered_qos(reliable: bool, depth: int = 10) -> Qos:
    """The quality of service with which ``ros2 bag play`` shall publish a topic."""
    reliability = QosReliability.RELIABLE if reliable else QosReliability.BEST_EFFORT
    return Qos(
        QosHistory.KEEP_LAST, depth, reliability, QosDurability.VOLATILE, _UNLIMITED, _UNLIMITED,
        QosLiveliness.AUTOMATIC, _UNLIMITED, False,
    )  # fmt: skip


class EpisodeBag:
    """A bag that is being written: ``<folder>/<name>/<name>_0.mcap`` with ``metadata.yaml``.

    Topics enter with their first message. What is known only at the end (the outcome) is given to ``close``.

    Args:
        folder: Where bags go; made if needed.
        name: Of this bag; a number is appended if it is taken.
        information: What the bag is to say about itself.
    """

    def __init__(self, folder: Path, name: str, information: dict[str, str]) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        path, number = folder / name, 1
        while path.exists():
            path, number = folder / f"{name}-{number}", number + 1
        self.path = path
        self.counts: Counter[str] = Counter()
        self._types = message_types()
        self._writer = Writer(path, version=9, storage_plugin=StoragePlugin.MCAP)
        self._writer.open()
        # rosbag2, its reindex too, names the first file <folder>_0.mcap; rosbags has no option for it.
        storage = self._writer.storage
        storage.path = storage.path.rename(path / f"{path.name}_0.mcap")
        self._connections: dict[str, object] = {}
        self.information = dict(information)

    def write(self, topic: str, kind: str, reliable: bool, stamp: int, data: bytes) -> None:
        """Add one serialised message.

        Args:
            topic: Fully qualified topic.
            kind: Message type, e.g. ``sensor_msgs/msg/Image``.
            reliable: How the topic is published.
            stamp: When it was received [ns].
            data: CDR, as it came.
        """
        connection = self._connections.get(topic)
        if connection is None:
            connection = self._connections[topic] = self._writer.add_connection(
                topic, kind, typestore=self._types, offered_qos_profiles=[offered_qos(reliable)]
            )
        self._writer.write(connection, stamp, data)
        self.counts[topic] += 1

    def close(self, information: dict[str, str] | None = None) -> Path:
        """Finish the bag; returns its folder."""
        for key, value in {**self.information, **(information or {})}.items():
            self._writer.set_custom_data(key, value)
        self._writer.close()
        return self.path

    def discard(self) -> None:
        """Delete the bag: it was not worth keeping."""
        self._writer.abort()
        shutil.rmtree(self.path, ignore_errors=True)


def bag_name(now: float | None = None) -> str:
    """A name by local time, e.g. ``2026-03-01_12-30-05``."""
    return time.strftime("%Y-%m-%d_%H-%M-%S", time.localtime(now if now is not None else time.time()))
