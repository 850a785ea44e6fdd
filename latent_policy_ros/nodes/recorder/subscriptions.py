"""Subscriptions that follow the graph: topic, message type and QoS are chosen from the publishers that are present."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable, Iterable, Mapping
from copy import copy
from typing import Any

import rclpy
from rclpy.node import Node
from rclpy.qos import DurabilityPolicy, QoSProfile, ReliabilityPolicy
from rclpy.subscription import Subscription

from latent_policy_ros.common.errors import LatentPolicyError
from latent_policy_ros.data.bags.metadata import TopicMetadata
from latent_policy_ros.data.recording.episode_bag import offered_qos
from latent_policy_ros.nodes.topics import qos
from latent_policy_ros.nodes.topics.message_conversion import message_class

LATCHED_DEPTH = 100  # largest number of stored messages of a transient local topic
Candidate = tuple[str, str]  # topic, message type; an empty type accepts the type it is published as
Info = Mapping[str, int]  # the middleware's information about a message
Handler = Callable[["TopicSubscription", bytes, Info], None]


class TopicSubscription:
    """A subscription to the first of several topics that has a publisher.

    Args:
        candidates: Fully qualified topics with their message types, in order of preference.
        required: Whether a recording must not start while the topic is silent.
        depth: Depth of the middleware's queue, which is emptied by ``poll``.
        acknowledged: Ask reliable publishers to repeat lost messages. A command is replaced before it could be repeated, and its
            acknowledgement costs the publisher as much as sending it.

    Attributes:
        topic, msg_type: The current candidate.
        bag_topic: The topic as a bag describes it.
        profile: QoS that all publishers offer; None before the first subscription.
        publishers: Number of publishers.
        error: Why the topic cannot be subscribed to; empty otherwise.
        received: Number of messages received.
        rate: Messages per second in the last period of ``update_rate``.
        lost: Number of messages published but not received, known only while there is a single publisher.
        latched: Newest message of each publisher of a transient local topic.
    """

    def __init__(self, candidates: Iterable[Candidate], required: bool, depth: int, acknowledged: bool = True) -> None:
        self.candidates, self.required, self.depth, self.acknowledged = tuple(candidates), required, depth, acknowledged
        self.topic, self.msg_type = self.candidates[0]
        self.bag_topic = TopicMetadata(self.topic, self.msg_type)
        self.profile: QoSProfile | None = None
        self.publishers = 0
        self.error = ""
        self.received = 0
        self.rate = 0.0
        self.lost = 0
        self.latched: deque[tuple[bytes, Info]] = deque(maxlen=LATCHED_DEPTH)
        self._created = time.monotonic()
        self._last_received: float | None = None
        self._subscription: Subscription | None = None
        self._class: Any = None
        self._unheard = True  # the current subscription has not received a message
        self._sequence: int | None = None
        self._measured = (time.monotonic(), 0)

    @property
    def transient_local(self) -> bool:
        """Whether messages published before the subscription are received."""
        return self.profile is not None and self.profile.durability == DurabilityPolicy.TRANSIENT_LOCAL

    @property
    def reliable(self) -> bool:
        """Whether the subscription is reliable."""
        return self.acknowledged and self.profile is not None and self.profile.reliability == ReliabilityPolicy.RELIABLE

    def silence(self, now: float, timeout: float) -> str:
        """Describe why no message arrived within ``timeout`` [s]; empty if one did.

        A transient local topic counts as heard once it has received a message.
        """
        if self._last_received is not None and (now - self._last_received < timeout or self.transient_local):
            return ""
        name = " or ".join(topic for topic, _ in self.candidates) if not self.publishers else self.topic
        publishers = {0: "no publisher", 1: "1 publisher"}.get(self.publishers, f"{self.publishers} publishers")
        waited = f"nothing for {now - (self._last_received or self._created):.1f} s"
        return f"{name}: {self.error or publishers}, {waited}"

    def follow_graph(self, node: Node, recording: bool) -> None:
        """Choose the topic and the QoS from the present publishers, and subscribe again if they changed.

        While recording, a subscription that has received messages is replaced only if it is incompatible with a publisher:
        messages may be lost during the change.
        """
        keep = recording and not self._unheard
        topic, msg_type, infos = self._choose(node, keep)
        self.publishers = len(infos)
        profile = qos.matching([info.qos_profile for info in infos], self.depth)
        same = self._subscription is not None and (topic, msg_type) == (self.topic, self.msg_type)
        suitable = not infos or profile == self.profile or (keep and self._is_compatible(profile))
        if msg_type and not (same and suitable):
            self._subscribe(node, topic, msg_type, profile)

    def poll(self, handle: Handler) -> None:
        """Pass every message received since the last call to ``handle``, serialised."""
        if self._subscription is None:
            return
        subscription, message_class = self._subscription.handle, self._class
        for _ in range(self.depth):
            message = subscription.take_message(message_class, True)
            if message is None:
                return
            data, info = message
            self.received += 1
            self._unheard = False
            self._last_received = time.monotonic()
            self._count_losses(info)
            if self.transient_local:
                self._store_latched(data, info)
            handle(self, data, info)

    def replay_latched(self, handle: Handler) -> None:
        """Reset the counter of losses, and pass the newest message of each publisher to ``handle`` as if received now."""
        self.lost = 0
        now = time.time_ns()
        for data, info in list(self.latched)[-1:] if self.publishers == 1 else self.latched:
            handle(self, data, {**info, "received_timestamp": now})

    def update_rate(self, now: float) -> None:
        """Compute ``rate`` from the messages received since the last call."""
        before, received = self._measured
        self.rate = (self.received - received) / max(now - before, 1e-6)
        self._measured = now, self.received

    def close(self, node: Node) -> None:
        """Destroy the subscription."""
        if self._subscription is not None:
            node.destroy_subscription(self._subscription)
            self._subscription = None

    def _choose(self, node: Node, keep: bool) -> tuple[str, str, list[Any]]:
        """The topic to subscribe to, its type and its publishers; the current topic if none is published, or if it is kept."""
        self.error = ""
        current = ((self.topic, self.msg_type),) if keep else ()
        for topic, msg_type in (*current, *self.candidates):
            infos = node.get_publishers_info_by_topic(topic)
            matching = [info for info in infos if info.topic_type == (msg_type or infos[0].topic_type)]
            if matching:
                return topic, matching[0].topic_type, matching
            if infos:
                self.error = f"published as {infos[0].topic_type}, expected {msg_type}"
        return self.topic, self.msg_type, []

    def _is_compatible(self, profile: QoSProfile) -> bool:
        """Whether the current subscription receives from publishers for which ``profile`` was chosen."""
        return not (self.reliable and profile.reliability != ReliabilityPolicy.RELIABLE) and not (
            self.transient_local and profile.durability != DurabilityPolicy.TRANSIENT_LOCAL
        )

    def _subscribe(self, node: Node, topic: str, msg_type: str, profile: QoSProfile) -> None:
        try:
            self._class = message_class(msg_type)
        except LatentPolicyError as error:
            self.error = str(error)
            return
        old, own = self._subscription, copy(profile)
        if not self.acknowledged:
            own.reliability = ReliabilityPolicy.BEST_EFFORT
        self._subscription = node.create_subscription(self._class, topic, _ignore, own, raw=True)
        if old is not None:
            node.destroy_subscription(old)
        self.topic, self.msg_type, self.profile, self.error = topic, msg_type, profile, ""
        offered = offered_qos(profile.reliability == ReliabilityPolicy.RELIABLE, self.transient_local)
        self.bag_topic = TopicMetadata(topic, msg_type, (offered,))
        self._sequence, self._unheard = None, True
        self.latched.clear()

    def _store_latched(self, data: bytes, info: Info) -> None:
        """Store a message in place of the previous one of the same publisher.

        Publisher unknown: match by sequence number, keep both if ambiguous.
        """
        number = info.get("publication_sequence_number")
        numbers = [stored.get("publication_sequence_number") for _, stored in self.latched]
        if number is not None and numbers.count(number - 1) == 1:
            del self.latched[numbers.index(number - 1)]
        self.latched.append((data, info))

    def _count_losses(self, info: Info) -> None:
        """Count gaps in the publisher's sequence numbers."""
        sequence = info.get("publication_sequence_number") if self.publishers == 1 else None
        if sequence is not None and self._sequence is not None and sequence > self._sequence + 1:
            self.lost += sequence - self._sequence - 1
        self._sequence = sequence


class TopicSubscriptions:
    """All subscriptions of a recorder, polled instead of executed.

    Messages stay in the middleware's queues, serialised, until ``poll``. At hundreds of messages per second this costs a
    fraction of one callback per message, and it provides the time of receipt and the sequence number.

    Args:
        owner: The recorder; a second node beside it holds the subscriptions, so that no executor runs them.
        topics: The subscriptions.
    """

    def __init__(self, owner: Node, topics: Iterable[TopicSubscription]) -> None:
        self.topics = tuple(topics)
        self._node = rclpy.create_node(
            f"{owner.get_name()}_topics", namespace=owner.get_namespace(), context=owner.context, use_global_arguments=False,
            enable_rosout=False, start_parameter_services=False,
        )  # fmt: skip
        for subscription in self.topics:
            subscription.follow_graph(self._node, recording=False)

    @property
    def lost(self) -> dict[str, int]:
        """{topic: number of messages published but not received}, without zeros."""
        return {subscription.topic: subscription.lost for subscription in self.topics if subscription.lost}

    def follow_graph(self, handle: Handler, recording: bool) -> None:
        """Adapt all subscriptions to the present publishers, after a ``poll``: one that is replaced takes its queue along."""
        self.poll(handle)
        for subscription in self.topics:
            subscription.follow_graph(self._node, recording)

    def poll(self, handle: Handler) -> None:
        """Pass all received messages to ``handle``, topic by topic."""
        for subscription in self.topics:
            subscription.poll(handle)

    def replay_latched(self, handle: Handler) -> None:
        """Begin a recording: see ``TopicSubscription.replay_latched``."""
        for subscription in self.topics:
            subscription.replay_latched(handle)

    def update_rates(self) -> None:
        """Compute the rates of all topics since the last call."""
        now = time.monotonic()
        for subscription in self.topics:
            subscription.update_rate(now)

    def silent(self, timeout: float) -> list[str]:
        """Descriptions of the required topics that received no message within ``timeout`` [s]."""
        now = time.monotonic()
        return [reason for subscription in self.topics if subscription.required and (reason := subscription.silence(now, timeout))]

    def close(self) -> None:
        """Destroy all subscriptions and their node."""
        for subscription in self.topics:
            subscription.close(self._node)
        self._node.destroy_node()


def _ignore(_: bytes) -> None:
    """Callback of the subscriptions; never called, because no executor spins their node."""
