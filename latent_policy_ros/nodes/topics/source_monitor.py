"""SourceMonitor: the nodes that publish topics which only a limited number of nodes may publish."""

from __future__ import annotations

from collections.abc import Sequence

from rclpy.node import Node
from rclpy.subscription import Subscription

PERIOD = 0.5  # s between two counts of the publishers that a subscription is connected to
GRAPH_PERIOD = 1.0  # s between two counts in the ROS graph: each looks at all publishers of all robots
NAMES_PERIOD = 10.0  # s between two queries of their names while their numbers are the same: names cost ten times as much
UNNAMED_PERIOD = 2.0  # s until the next query while a name is unknown
LEASE = 30.0  # s: a killed publisher stays in the graph for up to 20 s, beside its successor of the same name
UNKNOWN = "_NODE_NAME_UNKNOWN_"  # a publisher whose node has not been discovered yet, or that is no ROS node


class SourceMonitor:
    """Finds out whether more nodes publish to some topics than may.

    Nodes are distinguished by their full names. Two publishers of one name are one node that was restarted, or two nodes that were
    started twice: they count as two after ``LEASE``.

    Args:
        node: The node that depends on the topics.
        topics: Names, relative to the node.
        most: Number of nodes that may publish to the topics.
        subscriptions: The node's subscriptions to all of the topics, in their order; none if it publishes them itself.
    """

    def __init__(self, node: Node, topics: Sequence[str], most: int = 1, subscriptions: Sequence[Subscription] = ()) -> None:
        self._node, self._topics, self._most, self._subscriptions = node, tuple(topics), most, tuple(subscriptions)
        self._connected = bool(self._subscriptions) and hasattr(Subscription, "get_publisher_count")  # from ROS 2 Jazzy on
        self._period = PERIOD if self._connected else GRAPH_PERIOD
        self._due, self._names_due, self._repeated_since = 0.0, 0.0, float("inf")
        self._counts: list[int] = []
        self._names: list[str] = []
        self.conflict = ""

    def update(self, now: float) -> str:
        """The conflict at ``now`` [s], of a steady clock: its topics and all nodes; an empty string if there is none."""
        if now < self._due:
            return self.conflict
        self._due = now + self._period
        counts = self._count()
        if counts != self._counts or now >= self._names_due:
            self._counts, self._names_due = counts, now + NAMES_PERIOD
            self._names = self._publishers(now) if sum(counts) > self._most else []
        names, repeated = self._names, any(count > self._most for count in counts)
        self._repeated_since = min(self._repeated_since, now) if repeated else float("inf")
        if len(names) <= self._most and now - self._repeated_since <= LEASE:
            self.conflict = ""
        else:
            shown = [name for name in names for _ in range(1 if len(names) > self._most else self._most + 1)]
            self.conflict = f"{len(shown)} nodes publish {', '.join(self._topics)}: {', '.join(shown)}; stop all but {self._most}"
        return self.conflict

    def _count(self) -> list[int]:
        """Number of publishers of each topic."""
        if self._connected:
            return [subscription.get_publisher_count() for subscription in self._subscriptions]
        return [self._node.count_publishers(topic) for topic in self._topics]

    def _publishers(self, now: float) -> list[str]:
        """Full names of the nodes that publish the topics."""
        found = [info for topic in self._topics for info in self._node.get_publishers_info_by_topic(topic)]
        if any(info.node_name == UNKNOWN for info in found):
            self._names_due = now + UNNAMED_PERIOD
        return sorted({f"{info.node_namespace.rstrip('/')}/{info.node_name}" for info in found if info.node_name != UNKNOWN})
