"""MessageWait: waits until a message of some subscriptions arrives, without reading it."""

from __future__ import annotations

from collections.abc import Sequence

from rclpy.impl.implementation_singleton import rclpy_implementation
from rclpy.subscription import Subscription
from rclpy.utilities import get_default_context


class MessageWait:
    """Waits for subscriptions that no executor runs."""

    def __init__(self) -> None:
        self._wait_set, self._places = None, -1

    def wait(self, subscriptions: Sequence[Subscription], timeout: float) -> bool:
        """Wait for at most ``timeout`` [s]; returns whether a message is waiting at one of the subscriptions."""
        if self._places != len(subscriptions):
            self._places = len(subscriptions)
            self._wait_set = rclpy_implementation.WaitSet(self._places, 0, 0, 0, 0, 0, get_default_context().handle)
        self._wait_set.clear_entities()
        for subscription in subscriptions:
            self._wait_set.add_subscription(subscription.handle)
        self._wait_set.wait(max(0, round(timeout * 1e9)))
        ready = bool(self._wait_set.get_ready_entities("subscription"))
        self._wait_set.clear_entities()  # lets go of the subscriptions, which may be destroyed now
        return ready
