"""What a recorder tells of itself and of each topic, as one message."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence

from diagnostic_msgs.msg import DiagnosticArray, DiagnosticStatus, KeyValue
from rclpy.node import Node

from latent_policy_ros.data.recording.bag_queue import BagQueue
from latent_policy_ros.nodes.base.message_conversion import to_stamp
from latent_policy_ros.nodes.recorder.subscriptions import Source


def status_message(
    node: Node, level: bytes, text: str, values: Mapping[str, str], sources: Sequence[Source], queue: BagQueue | None, silent: float
) -> DiagnosticArray:
    """The recorder's own status, then one for each topic.

    Args:
        node: The recorder.
        level, text, values: Its own status.
        sources: What it listens to.
        queue: What it records into, if it does.
        silent: Seconds without a message after which a topic is silent.
    """
    message = DiagnosticArray(status=[_status(level, node.get_fully_qualified_name(), text, values)])
    message.header.stamp = to_stamp(node.get_clock().now().nanoseconds * 1e-9)
    message.status += [_topic_status(source, queue, silent) for source in sources]
    return message


def _topic_status(source: Source, queue: BagQueue | None, silent: float) -> DiagnosticStatus:
    dropped = queue.dropped[source.topic] if queue else 0
    values = {
        "type": source.kind, "rate_hz": f"{source.rate:.1f}", "publishers": str(source.publishers),
        "reliability": "reliable" if source.reliable else "best effort",
        "durability": "transient local" if source.transient_local else "volatile",
        "recorded": str(queue.accepted[source.topic] if queue else 0), "dropped": str(dropped), "lost": str(source.lost),
    }  # fmt: skip
    why = source.silence(time.monotonic(), silent)
    if why and source.expected:
        return _status(DiagnosticStatus.ERROR, source.topic, why, values)
    if dropped or source.lost:
        return _status(DiagnosticStatus.WARN, source.topic, f"{dropped} dropped, {source.lost} lost in transport", values)
    return _status(DiagnosticStatus.OK, source.topic, "silent" if why else "heard", values)


def _status(level: bytes, name: str, text: str, values: Mapping[str, str]) -> DiagnosticStatus:
    pairs = [KeyValue(key=key, value=value) for key, value in values.items()]
    return DiagnosticStatus(level=level, name=name, message=text, values=pairs)
