"""Topics that are listened to without knowing beforehand who publishes them and how: found, subscribed to, measured."""

from __future__ import annotations

import importlib
import time
from collections import deque
from collections.abc import Callable, Iterable
from typing import Any

import rclpy
from rclpy.node import Node
from rclpy.qos import DurabilityPolicy, QoSProfile, ReliabilityPolicy
from rclpy.subscription import Subscription

from latent_policy_ros.nodes.base import qos

LATCHED = 100  # messages of a transient local topic that are kept at most
Candidate = tuple[str, str]  # topic, message type; an empty type: whatever it is published as


class Source:
    """Something to listen to: the first of several topics that has a publisher.

    Args:
        candidates: Fully qualified topics with their types, the most wanted first.
        expected: Whether its silence is a fault.
        depth: Messages that may wait between two looks.
    """

    def __init__(self, candidates: Iterable[Candidate], expected: bool, depth: int) -> None:
        self.candidates, self.expected, self.depth = tuple(candidates), expected, depth
        self.topic, self.kind = self.candidates[0]
        self.profile: QoSProfile | None = None
        self.publishers = 0
        self.fault = ""  # why it cannot be subscribed to
        self.since = time.monotonic()  # when listening began
        self.heard: float | None = None  # when the newest message came
        self.received = 0
        self.rate = 0.0  # messages/s over the last period of `measure`
        self.lost = 0  # messages that were published and never came; known for a single publisher only
        self.latched: deque[tuple[bytes, dict[str, int]]] = deque(maxlen=LATCHED)
        self._subscription: Subscription | None = None
        self._type: Any = None
        self._fresh = True  # nothing came by the present subscription yet
        self._sequence: int | None = None
        self._measured = (time.monotonic(), 0)

    @property
    def transient_local(self) -> bool:
        """Whether what was published before still counts."""
        return self.profile is not None and self.profile.durability == DurabilityPolicy.TRANSIENT_LOCAL

    @property
    def reliable(self) -> bool:
        """Whether it is received reliably."""
        return self.profile is not None and self.profile.reliability == ReliabilityPolicy.RELIABLE

    def silence(self, now: float, after: float) -> str:
        """Why nothing was heard for ``after`` seconds, in words; empty if something was, or is not to be expected again."""
        if self.heard is not None and (now - self.heard < after or self.transient_local):
            return ""
        name = " or ".join(topic for topic, _ in self.candidates) if not self.publishers else self.topic
        publishers = {0: "no publisher", 1: "1 publisher"}.get(self.publishers, f"{self.publishers} publishers")
        waited = f"nothing for {now - (self.heard or self.since):.1f} s"
        return f"{name}: {self.fault or publishers}, {waited}"

    def look(self, node: Node, recording: bool) -> None:
        """Follow the graph: choose the topic and the quality of service, and subscribe anew if they changed.

        While recording, only where what was subscribed to cannot be heard: a change takes a moment, in which messages pass by.
        """
        stay = recording and not self._fresh
        topic, kind, infos = self._choose(node, stay)
        self.publishers = len(infos)
        wanted = qos.matching([info.qos_profile for info in infos], self.depth)
        same = self._subscription is not None and (topic, kind) == (self.topic, self.kind)
        good = not infos or wanted == self.profile or (stay and self._hears(wanted))
        if kind and not (same and good):
            self._subscribe(node, topic, kind, wanted)

    def take(self, handle: Callable[[Source, bytes, dict[str, int]], None]) -> None:
        """Hand over what came since the last look."""
        if self._subscription is None:
            return
        taker, kind = self._subscription.handle, self._type
        for _ in range(self.depth):
            taken = taker.take_message(kind, True)
            if taken is None:
                return
            data, info = taken
            self.received += 1
            self._fresh = False
            self.heard = time.monotonic()
            self._follow(info)
            if self.transient_local:
                self._keep(data, info)
            handle(self, data, info)

    def restart(self, handle: Callable[[Source, bytes, dict[str, int]], None]) -> None:
        """Count losses from now on, and hand over what was published before and still counts, as received now.

        That is the newest message of each publisher.
        """
        self.lost = 0
        now = time.time_ns()
        for data, info in list(self.latched)[-1:] if self.publishers == 1 else self.latched:
            handle(self, data, {**info, "received_timestamp": now})

    def measure(self, now: float) -> None:
        """Set ``rate`` from what came since the last call."""
        before, received = self._measured
        self.rate = (self.received - received) / max(now - before, 1e-6)
        self._measured = now, self.received

    def close(self, node: Node) -> None:
        """Stop listening."""
        if self._subscription is not None:
            node.destroy_subscription(self._subscription)
            self._subscription = None

    def _choose(self, node: Node, stay: bool) -> tuple[str, str, list[Any]]:
        """The topic to hear, its type, and its publishers. The present one if none is published, or if it shall stay."""
        self.fault = ""
        present = ((self.topic, self.kind),) if stay else ()
        for topic, kind in (*present, *self.candidates):
            infos = node.get_publishers_info_by_topic(topic)
            matching = [info for info in infos if info.topic_type == (kind or infos[0].topic_type)]
            if matching:
                return topic, matching[0].topic_type, matching
            if infos:
                self.fault = f"published as {infos[0].topic_type}, expected {kind}"
        return self.topic, self.kind, []

    def _hears(self, wanted: QoSProfile) -> bool:
        """Whether the present subscription receives from publishers for which ``wanted`` was chosen."""
        return not (self.reliable and wanted.reliability != ReliabilityPolicy.RELIABLE) and not (
            self.transient_local and wanted.durability != DurabilityPolicy.TRANSIENT_LOCAL
        )

    def _subscribe(self, node: Node, topic: str, kind: str, wanted: QoSProfile) -> None:
        package, _, name = kind.split("/")
        try:
            self._type = getattr(importlib.import_module(f"{package}.msg"), name)
        except (ImportError, AttributeError):
            self.fault = f"message type {kind} is not installed"
            return
        old = self._subscription
        self._subscription = node.create_subscription(self._type, topic, _unused, wanted, raw=True)
        if old is not None:
            node.destroy_subscription(old)
        self.topic, self.kind, self.profile, self.fault = topic, kind, wanted, ""
        self._sequence, self._fresh = None, True
        self.latched.clear()

    def _keep(self, data: bytes, info: dict[str, int]) -> None:
        """Keep a message in place of the one before it by the same publisher.

        Nobody tells whose it is, but each numbers its own. Where two came as far as that, both are kept: better one message that
        counts no longer than one too few.
        """
        number = info.get("publication_sequence_number")
        numbers = [of.get("publication_sequence_number") for _, of in self.latched]
        if number is not None and numbers.count(number - 1) == 1:
            del self.latched[numbers.index(number - 1)]
        self.latched.append((data, info))

    def _follow(self, info: dict[str, int]) -> None:
        """Count what is missing in the publisher's own numbering."""
        sequence = info.get("publication_sequence_number") if self.publishers == 1 else None
        if sequence is not None and self._sequence is not None and sequence > self._sequence + 1:
            self.lost += sequence - self._sequence - 1
        self._sequence = sequence


class TopicWatch:
    """Listens to sources from ``look`` and ``take``, which are to be called often; takes no part in an executor.

    Messages wait in the middleware until they are taken, serialised as they came: with hundreds of them a second, that costs a
    fraction of a callback for each, and tells when each was received, and which are missing.

    Args:
        owner: The node for which it listens; a second node beside it holds the subscriptions.
        sources: What to listen to.
    """

    def __init__(self, owner: Node, sources: Iterable[Source]) -> None:
        self.sources = tuple(sources)
        self._node = rclpy.create_node(
            f"{owner.get_name()}_topics", namespace=owner.get_namespace(), context=owner.context, use_global_arguments=False,
            enable_rosout=False, start_parameter_services=False,
        )  # fmt: skip
        self.look(recording=False)

    def look(self, recording: bool) -> None:
        """Follow the graph."""
        for source in self.sources:
            source.look(self._node, recording)

    def take(self, handle: Callable[[Source, bytes, dict[str, int]], None]) -> None:
        """Hand over what came, source by source."""
        for source in self.sources:
            source.take(handle)

    def restart(self, handle: Callable[[Source, bytes, dict[str, int]], None]) -> None:
        """A recording begins: see ``Source.restart``."""
        for source in self.sources:
            source.restart(handle)

    def measure(self) -> None:
        """Set the sources' rates from what came since the last call."""
        now = time.monotonic()
        for source in self.sources:
            source.measure(now)

    def silent(self, after: float) -> list[str]:
        """Expected sources that were not heard for ``after`` seconds, each with what is known of it."""
        now = time.monotonic()
        return [why for source in self.sources if source.expected and (why := source.silence(now, after))]

    def close(self) -> None:
        """Stop listening."""
        for source in self.sources:
            source.close(self._node)
        self._node.destroy_node()


def _unused(_: bytes) -> None:
    """No executor spins the node: messages are taken."""
