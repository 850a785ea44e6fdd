"""The main loop of a node's process: start, spin, signals, watchdog and shutdown."""

from __future__ import annotations

import contextlib
import gc
import signal
import sys
import time
from collections.abc import Callable
from typing import Any

from rclpy.exceptions import InvalidParameterTypeException, InvalidParameterValueException
from rclpy.impl.implementation_singleton import rclpy_implementation
from rclpy.lifecycle import TransitionCallbackReturn
from rclpy.signals import SignalHandlerOptions

from latent_policy_ros.common.errors import LatentPolicyError
from latent_policy_ros.common.processes import Watchdog, watch_parent
from latent_policy_ros.nodes.base import ros_context
from latent_policy_ros.nodes.base.lifecycle_node import ManagedNode

RCLError = rclpy_implementation.RCLError
MIN_EVENT_TIME = 0.001  # s per cycle for messages, even when the loop is late
MAX_MESSAGES = 500  # handled in one cycle beyond that time, so that a backlog does not grow
TRANSITION_TIMEOUT = 300.0  # s: hang timeout while a node configures, activates or shuts down


def run_node(make_node: Callable[[], ManagedNode], arguments: list[str] | None = None, images: bool = False) -> int:
    """Run one node as a process until SIGINT, SIGTERM, the end of the parent process, or the shutdown transition.

    Args:
        make_node: Creates the node.
        arguments: Command line; default ``sys.argv``.
        images: Whether the node publishes or receives images; see ``ros_context.init``.

    Returns:
        Exit status: 0 after a signal, 1 if the node could not be created or configured, or was shut down by a transition. With
        status 1 a launch system restarts it, because a finalized node cannot be used again.
    """
    stopping, interruptible = False, True
    parent_alive = watch_parent()

    def on_signal(*_: Any) -> None:
        nonlocal stopping, interruptible
        stopping, interrupt, interruptible = True, interruptible, False
        if interrupt:  # configuring takes seconds; do not wait for its end
            raise KeyboardInterrupt

    def configured() -> bool:
        nonlocal interruptible
        interruptible = False  # activation moves hardware: it is completed and then reverted
        return stopping or not parent_alive()

    def stop() -> bool:
        watchdog.feed()
        return stopping or node.finalized or not parent_alive()

    node, status, watchdog = None, 0, Watchdog()
    try:
        for number in (signal.SIGINT, signal.SIGTERM):
            signal.signal(number, on_signal)
        ros_context.init(images, args=arguments, signal_handler_options=SignalHandlerOptions.NO)
        node = make_node()
        watchdog.timeout = node.value("hang_timeout")
        watchdog.allow(TRANSITION_TIMEOUT)
        executor = ros_context.Executor()
        executor.add_node(node)
        if start(node, configured):
            gc.freeze()  # a collection of everything loaded stops a driver for 9 ms, a policy for 130 ms
            spin([node], executor, stop)
            status = int(node.finalized)
        else:
            status = 1
    except KeyboardInterrupt:
        pass
    except (LatentPolicyError, InvalidParameterTypeException, InvalidParameterValueException) as error:
        print(f"error: {error}", file=sys.stderr)
        status = 1
    except RCLError as error:
        if not ros_context.security_enabled():
            raise
        print(f"error: {ros_context.SECURITY_HELP}: {error}", file=sys.stderr)
        status = 1
    finally:
        interruptible = False
        watchdog.allow(TRANSITION_TIMEOUT)
        if node is not None:
            with contextlib.suppress(Exception):  # not every lifecycle state allows a shutdown
                node.trigger_shutdown()
            node.destroy_node()
        ros_context.shutdown()
        watchdog.stop()
    return status


def start(node: ManagedNode, stopped: Callable[[], bool] = lambda: False) -> bool:
    """Configure and activate a node if its parameter ``autostart`` is true.

    Args:
        node: The node, unconfigured.
        stopped: Called after configuration; if it returns true, the node is not activated.

    Returns:
        False if a transition failed.
    """
    if not node.value("autostart"):
        return True
    success = TransitionCallbackReturn.SUCCESS
    return node.trigger_configure() == success and (stopped() or node.trigger_activate() == success)


def spin(nodes: list[ManagedNode], executor: Any, stop: Callable[[], bool]) -> None:
    """Call ``cycle`` of each node at its rate and handle messages in between, until ``stop()`` returns true."""
    due = dict.fromkeys(nodes, time.monotonic())
    while not stop():
        now = time.monotonic()
        for node in nodes:
            if now >= due[node]:
                node.cycle()
                due[node] = max(due[node] + 1.0 / node.rate, time.monotonic() - 1.0 / node.rate)
        until = max(min(due.values()), time.monotonic() + MIN_EVENT_TIME)
        while (left := until - time.monotonic()) > 0 and not stop():
            executor.spin_once(timeout_sec=min(left, 0.1))
        for _ in range(MAX_MESSAGES):
            before = sum(node.handled for node in nodes)
            executor.spin_once(timeout_sec=0.0)
            if sum(node.handled for node in nodes) == before:
                break
