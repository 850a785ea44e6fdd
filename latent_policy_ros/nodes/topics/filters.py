"""Message filters: ``SimpleFilter`` and ``Subscriber`` of message_filters, or their equals where that package is not installed.

message_filters comes with a ROS 2 installation, and not from PyPI. Filters of either origin can be connected to each other.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any


class BasicFilter:
    """The equal of ``message_filters.SimpleFilter``: calls the registered callbacks with its output."""

    def __init__(self) -> None:
        self.callbacks: dict[int, tuple[Callable[..., Any], tuple[Any, ...]]] = {}

    def registerCallback(self, cb: Callable[..., Any], *args: Any) -> int:
        """Call ``cb`` with each output, followed by ``args``. Returns the number of the connection."""
        connection = len(self.callbacks)
        self.callbacks[connection] = cb, args
        return connection

    def signalMessage(self, *msg: Any) -> None:
        """Pass an output to the callbacks."""
        for cb, args in self.callbacks.values():
            cb(*msg, *args)


class BasicSubscriber(BasicFilter):
    """The equal of ``message_filters.Subscriber``: its output is the messages of a topic.

    Args:
        node: The node that creates the subscription.
        msg_type, topic: Type and name.
        options: Further arguments of ``create_subscription``; ``qos_profile`` defaults to a depth of 10.
    """

    def __init__(self, node: Any, msg_type: type, topic: str, **options: Any) -> None:
        super().__init__()
        self.node, self.topic = node, topic
        self.sub = node.create_subscription(msg_type, topic, self.callback, **{"qos_profile": 10, **options})

    def callback(self, msg: Any) -> None:
        """Pass a message to the callbacks."""
        self.signalMessage(msg)

    def getTopic(self) -> str:
        """Name of the topic."""
        return self.topic


try:
    from message_filters import SimpleFilter, Subscriber
except ImportError:
    SimpleFilter, Subscriber = BasicFilter, BasicSubscriber
