"""Asynchronous bag writer: one thread writes messages, one syncs them to the disk, and one compresses images to JPEG."""

from __future__ import annotations

import contextlib
import json
import threading
from collections import Counter, deque
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from latent_policy_ros.common.cpu_meter import CpuMeter
from latent_policy_ros.common.errors import ObservationRefused, describe_error
from latent_policy_ros.data.bags.metadata import TopicMetadata
from latent_policy_ros.data.recording.episode_bag import EpisodeBag, MessageTimes
from latent_policy_ros.data.recording.jpeg import COMPRESSED_IMAGE_TYPE, to_jpeg

CHUNK_MAX_AGE = 0.4  # s; older messages are passed to the operating system and survive a crash of this process
SYNC_PERIOD = 1.0  # s between calls of fsync; synced messages survive a power cut
QUEUE_PERIOD = 0.1  # s between polls of the queues, as the recorder reads its topics


class WorkerThread:
    """A thread that processes submitted items in order.

    The thread polls its queue, because waking it for every message would cost more than the work itself.

    Args:
        limit: Largest size of the queue [bytes].
        period: Polling period [s].
        handle: Called with each item. An exception ends the thread and is kept in ``error``.
        after_poll: Called after each poll.
    """

    def __init__(
        self, limit: int, period: float, handle: Callable[..., None], after_poll: Callable[[], None] | None = None
    ) -> None:
        self.error: Exception | None = None
        self._limit, self._period, self._handle, self._after_poll = limit, period, handle, after_poll
        self._queue: deque[tuple[int, tuple[Any, ...]]] = deque()
        self._lock = threading.Lock()
        self._bytes = 0
        self._closing = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()

    @property
    def pending_bytes(self) -> int:
        """Size of the queue [bytes]."""
        return self._bytes

    def submit(self, size: int, *arguments: Any) -> bool:
        """Queue one item of ``size`` bytes; False if the queue is full or the thread has ended.

        An item larger than the limit is accepted by an empty queue.
        """
        with self._lock:
            if self.error is not None or (self._bytes + size > self._limit and self._queue):
                return False
            self._bytes += size
            self._queue.append((size, arguments))
            return True

    def close(self) -> list[tuple[Any, ...]]:
        """Process the queue and end the thread; returns the items that were not processed because of an error."""
        self._closing.set()
        self._thread.join()
        return [arguments for _, arguments in self._queue]

    def _run(self) -> None:
        closing = False
        while not closing:
            closing = self._closing.wait(self._period)
            try:
                while self._queue:
                    with self._lock:
                        size, arguments = self._queue.popleft()
                        self._bytes -= size
                    self._handle(*arguments)
                if self._after_poll is not None:
                    self._after_poll()
            except Exception as error:  # reported through `error` and through the counters of dropped messages
                self.error = error
                return


class BagWriter:
    """Writes serialised messages to a bag without blocking the caller.

    Messages that do not fit into the queues are dropped and counted.

    Args:
        bag: The bag; no other object may write to it.
        limit: Largest size of the writer's queue, and of the encoder's queue [bytes].
        quality: JPEG quality, 1 to 100.
    """

    def __init__(self, bag: EpisodeBag, limit: int = 256 << 20, quality: int = 90) -> None:
        self.bag = bag
        #: Number of queued messages by topic.
        self.accepted: Counter[str] = Counter()
        #: Number of messages by topic that were not recorded: a queue was full, or writing failed.
        self.dropped: Counter[str] = Counter()
        #: {topic: reason} of topics of which a message could not be recorded: no definition of its type, or an invalid message.
        self.failed: dict[str, str] = {}
        #: CPU time of compressing images.
        self.image_time = CpuMeter()
        self._quality = quality
        self._channels: dict[str, int] = {}
        self._writer = WorkerThread(limit, QUEUE_PERIOD, self._write, lambda: bag.flush(CHUNK_MAX_AGE))
        self._syncer = WorkerThread(limit, SYNC_PERIOD, lambda: None, bag.sync)  # a slow disk must not delay the writer
        self._encoder = WorkerThread(limit, QUEUE_PERIOD, self._encode)

    @property
    def error(self) -> Exception | None:
        """The exception that ended one of the threads."""
        return self._writer.error or self._encoder.error or self._syncer.error

    @property
    def pending_bytes(self) -> int:
        """Size of both queues [bytes]."""
        return self._writer.pending_bytes + self._encoder.pending_bytes

    def write(self, topic: TopicMetadata, times: MessageTimes, data: bytes, encode: bool = False) -> None:
        """Queue a serialised message.

        Args:
            topic: Topic in the bag.
            times: Log time [ns], publish time [ns], sequence number.
            data: Message in CDR.
            encode: Compress the image to JPEG and record it as ``<topic>/compressed``. Images that JPEG cannot represent are
                recorded unchanged.
        """
        accepted = (self._encoder if encode else self._writer).submit(len(data), topic, times, data)
        (self.accepted if accepted else self.dropped)[topic.name] += 1

    def close(self, custom_data: Mapping[str, str]) -> Path:
        """Write all queued messages and finish the bag; returns its folder.

        Raises:
            OSError: Writing failed and the bag is unfinished; ``latent-policy dataset repair`` finishes it.
        """
        self._stop_threads()
        dropped = {"dropped": json.dumps(self.dropped)} if self.dropped else {}
        return self.bag.close({**custom_data, **dropped})

    def _stop_threads(self) -> None:
        for worker in (self._encoder, self._writer):  # in this order: the encoder submits to the writer
            self.dropped.update(topic.name for topic, *_ in worker.close())
        self.dropped.update(self.bag.end_chunk())
        self._syncer.close()

    def _write(self, topic: TopicMetadata, times: MessageTimes, data: bytes) -> None:
        try:
            channel = self._channels.get(topic.name)
            if channel is None:
                channel = self._channels[topic.name] = self.bag.add_topic(topic)
            self.bag.write(channel, times, data)
        except OSError:
            raise
        except Exception as error:  # of one message: must not end the recording
            self.failed[topic.name] = describe_error(error)
            self.dropped[topic.name] += 1

    def _encode(self, topic: TopicMetadata, times: MessageTimes, data: bytes) -> None:
        with contextlib.suppress(ObservationRefused), self.image_time:  # for example a depth image: recorded unchanged
            data = to_jpeg(data, self._quality)
            topic = TopicMetadata(f"{topic.name}/compressed", COMPRESSED_IMAGE_TYPE, topic.qos)
        if not self._writer.submit(len(data), topic, times, data):
            self.dropped[topic.name] += 1
