"""PolledSubscription: a subscription whose messages wait in the middleware's queue, serialised, until the node reads them."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from rclpy.subscription import Subscription

RATE_PER_PLACE, MIN_RATE = 10.0, 100.0  # messages per second that are read: for each place of the queue, and at least
MIN_BURST = 5  # messages that may be read at once


class PolledSubscription:
    """Reads a bounded number of messages per second, however many are published.

    The queue keeps the newest messages. While more arrive than may be read, the middleware drops the oldest ones, which cost no
    time of the interpreter. A flood of one topic thus leaves the rest of a node alone.

    Args:
        subscription: The subscription, created with ``raw=True``. No executor may run it.
        depth: Depth of its queue.
        handle: Called with each message, serialised.
    """

    def __init__(self, subscription: Subscription, depth: int, handle: Callable[[bytes], None]) -> None:
        self.subscription, self._handle = subscription, handle
        self._rate, self._burst = max(MIN_RATE, RATE_PER_PLACE * depth), max(MIN_BURST, depth)
        self._allowed, self._polled = float(self._burst), 0.0

    def may_read(self, now: float) -> bool:
        """Whether a message may be read at ``now`` [s], of a steady clock."""
        return self._allowed + self._rate * (now - self._polled) >= 1.0

    def poll(self, now: float) -> None:
        """Handle the messages that are waiting at ``now`` [s], of a steady clock."""
        self._allowed = min(self._burst, self._allowed + self._rate * (now - self._polled))
        self._polled = now
        while self._allowed >= 1.0:
            taken: Any = self.subscription.handle.take_message(self.subscription.msg_type, True)
            if taken is None:
                return
            self._allowed -= 1.0
            self._handle(taken[0])
