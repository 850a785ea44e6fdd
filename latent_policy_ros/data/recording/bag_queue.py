"""Writes a bag from threads, so that whoever receives messages never waits for a disk or an encoder. Needs no ROS."""

from __future__ import annotations

import contextlib
import json
import threading
from collections import Counter, deque
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from latent_policy_ros.common.errors import ArtifactError, ObservationRefused
from latent_policy_ros.data.bags.metadata import Topic
from latent_policy_ros.data.recording.episode_bag import EpisodeBag, Times
from latent_policy_ros.data.recording.jpeg import COMPRESSED_KIND, to_jpeg

CHUNK_AGE = 0.4  # s after which a message is handed to the system, and so survives this process
SYNC_PERIOD = 1.0  # s after which it survives a power cut
PERIOD = 0.05  # s between looks at a queue
ENCODER_PERIOD = 0.01


class Worker:
    """A thread that handles what is put, in order.

    Args:
        limit: Bytes that may wait.
        period: It looks for work so often [s]; being woken for each message would cost more than the work.
        handle: Called with each thing. What it raises ends the work, and is kept in ``error``.
        rest: Called after each look.
    """

    def __init__(self, limit: int, period: float, handle: Callable[..., None], rest: Callable[[], None] | None = None) -> None:
        self.error: Exception | None = None
        self._limit, self._period, self._handle, self._rest = limit, period, handle, rest
        self._waiting: deque[tuple[int, tuple[Any, ...]]] = deque()
        self._lock = threading.Lock()
        self._bytes = 0
        self._closing = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()

    @property
    def waiting(self) -> int:
        """Bytes that wait."""
        return self._bytes

    def put(self, size: int, *arguments: Any) -> bool:
        """Hand over something of that many bytes; False if it does not fit, or the work has ended."""
        with self._lock:
            if self.error is not None or (self._bytes + size > self._limit and self._waiting):
                return False
            self._bytes += size
            self._waiting.append((size, arguments))
            return True

    def close(self) -> list[tuple[Any, ...]]:
        """Finish what waits, and end; returns what an error left undone."""
        self._closing.set()
        self._thread.join()
        return [arguments for _, arguments in self._waiting]

    def _run(self) -> None:
        closing = False
        while not closing:
            closing = self._closing.wait(self._period)
            try:
                while self._waiting:
                    with self._lock:
                        size, arguments = self._waiting.popleft()
                        self._bytes -= size
                    self._handle(*arguments)
                if self._rest is not None:
                    self._rest()
            except Exception as error:  # told by whoever looks at `error`; nothing is lost silently
                self.error = error
                return


class BagQueue:
    """Puts messages into a bag; images become JPEGs on the way, if asked for. What does not fit is counted.

    Args:
        bag: Is this object's alone.
        limit: Bytes that may wait for the disk, and as many for the encoder.
        quality: Of JPEGs, 1 to 100.
    """

    def __init__(self, bag: EpisodeBag, limit: int = 256 << 20, quality: int = 90) -> None:
        self.bag = bag
        #: Messages handed over, and those that were not recorded because a queue was full or the disk failed; by topic.
        self.accepted: Counter[str] = Counter()
        self.dropped: Counter[str] = Counter()
        #: Topics whose message type is defined nowhere, with the reason.
        self.undefined: dict[str, str] = {}
        self._quality = quality
        self._channels: dict[str, int] = {}
        self._writer = Worker(limit, PERIOD, self._write, lambda: bag.flush(CHUNK_AGE, SYNC_PERIOD))
        self._encoder = Worker(limit, ENCODER_PERIOD, self._encode)

    @property
    def error(self) -> Exception | None:
        """What ended the recording, if something did."""
        return self._writer.error or self._encoder.error

    @property
    def waiting(self) -> int:
        """Bytes that wait."""
        return self._writer.waiting + self._encoder.waiting

    def put(self, topic: Topic, times: Times, data: bytes, encode: bool = False) -> None:
        """Hand over a serialised message.

        Args:
            topic: Under which it is recorded.
            times: Log time [ns], publish time [ns], sequence number.
            data: CDR.
            encode: It is an image and shall be recorded as JPEG under ``<topic>/compressed``; as it is, if that cannot be.
        """
        accepted = (self._encoder if encode else self._writer).put(len(data), topic, times, data)
        (self.accepted if accepted else self.dropped)[topic.name] += 1

    def close(self, information: Mapping[str, str]) -> Path:
        """Write what waits, and finish the bag; returns its folder.

        Raises:
            OSError: The disk failed, and the bag could not be finished: it can be repaired.
        """
        self._end()
        dropped = {"dropped": json.dumps(self.dropped)} if self.dropped else {}
        return self.bag.close({**information, **dropped})

    def discard(self) -> None:
        """Delete the bag."""
        self._end()
        self.bag.discard()

    def _end(self) -> None:
        for worker in (self._encoder, self._writer):
            self.dropped.update(topic.name for topic, *_ in worker.close())
        self.dropped.update(self.bag.end_chunk())

    def _write(self, topic: Topic, times: Times, data: bytes) -> None:
        channel = self._channels.get(topic.name)
        if channel is None:
            try:
                channel = self._channels[topic.name] = self.bag.add_topic(topic)
            except ArtifactError as error:  # the other topics are recorded all the same
                self.undefined[topic.name] = str(error)
                self.dropped[topic.name] += 1
                return
        self.bag.write(channel, times, data)

    def _encode(self, topic: Topic, times: Times, data: bytes) -> None:
        with contextlib.suppress(ObservationRefused):  # a depth image, say: recorded as it is
            data = to_jpeg(data, self._quality)
            topic = Topic(f"{topic.name}/compressed", COMPRESSED_KIND, topic.qos)
        if not self._writer.put(len(data), topic, times, data):
            self.dropped[topic.name] += 1
