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
from latent_policy_ros.nodes.topics.message_wait import MessageWait

RCLError = rclpy_implementation.RCLError
MIN_EVENT_TIME = 0.001  # s per cycle for services, even when the loop is late
SIMULTANEOUS = 0.0005  # s: what is due within this time is done at once, as each awakening has its cost
MAX_WAIT = 0.1  # s between two calls of ``stop``
MAX_AWAITED = 0.01  # s between two events of the executor while messages are awaited
TRANSITION_TIMEOUT = 300.0  # s: hang timeout while a node configures, activates or shuts down


def run_node(make_node: Callable[[], ManagedNode], arguments: list[str] | None = None, images: bool = False) -> int:
    """As :func:`run_nodes`, with one node."""
    return run_nodes(lambda: [make_node()], arguments, images)


def run_nodes(make_nodes: Callable[[], list[ManagedNode]], arguments: list[str] | None = None, images: bool = False) -> int:
    """Run nodes as one process until SIGINT, SIGTERM, the end of the parent process, or the shutdown transition of one of them.

    Args:
        make_nodes: Creates the nodes.
        arguments: Command line; default ``sys.argv``.
        images: Whether the node publishes or receives images; see ``ros_context.init``.

    Returns:
        Exit status: 0 after a signal, 1 if a node could not be created or configured, or was shut down by a transition. With
        status 1 a launch system restarts it, because a finalized node cannot be used again. A node that a restart does not help
        (``ModeError``) stays up, unconfigured.
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
        return stopping or any(node.finalized for node in nodes) or not parent_alive()

    nodes, status, watchdog = list[ManagedNode](), 0, Watchdog()
    try:
        for number in (signal.SIGINT, signal.SIGTERM):
            signal.signal(number, on_signal)
        ros_context.init(images, args=arguments, signal_handler_options=SignalHandlerOptions.NO)
        nodes = make_nodes()
        timeouts = [node.value("hang_timeout") for node in nodes]
        watchdog.timeout = max(timeouts) if all(timeouts) else 0.0
        watchdog.allow(TRANSITION_TIMEOUT)
        executor = ros_context.Executor()
        for node in nodes:
            executor.add_node(node)
        if start(nodes, configured):
            gc.freeze()  # a collection of everything loaded stops a driver for 9 ms, a policy for 130 ms
            spin(nodes, executor, stop)
            status = int(any(node.finalized for node in nodes))
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
        for node in nodes:
            with contextlib.suppress(Exception):  # not every lifecycle state allows a shutdown
                node.trigger_shutdown()
            node.destroy_node()
        ros_context.shutdown()
        watchdog.stop()
    return status


def start(nodes: list[ManagedNode], stopped: Callable[[], bool] = lambda: False) -> bool:
    """Configure all nodes whose parameter ``autostart`` is true, then activate them.

    Args:
        nodes: The nodes, unconfigured.
        stopped: Called after configuration; if it returns true, no node is activated.

    Returns:
        False if a transition failed, except of a node that stays unconfigured for good (``ModeError``).
    """
    success, starting = TransitionCallbackReturn.SUCCESS, [node for node in nodes if node.value("autostart")]
    if not all(node.trigger_configure() == success or node.refusal for node in starting):
        return False
    return stopped() or all(node.refusal or node.trigger_activate() == success for node in starting)


def spin(nodes: list[ManagedNode], executor: Any, stop: Callable[[], bool]) -> None:
    """Call ``cycle`` of each node at its rate, read its topics and answer services in between, until ``stop()`` returns true.

    A node may postpone a cycle, and is asked again when a message arrives that it awaits; the following ones are not postponed.
    """
    schedule, poll = dict.fromkeys(nodes, time.monotonic()), dict.fromkeys(nodes, 0.0)
    due, messages = dict(schedule), MessageWait()
    while not stop():
        now = time.monotonic()
        soon = now + SIMULTANEOUS
        for node in nodes:
            if soon >= due[node] or soon >= poll[node]:
                node.receive()
                poll[node] = _next(poll[node], node.poll_period, now) if node.polled else float("inf")
            if soon >= due[node] and (wait := node.postpone(max(0.0, now - schedule[node]))) > 0.0:
                due[node] = time.monotonic() + wait
            elif soon >= due[node]:
                node.cycle()
                period = 1.0 / node.rate
                due[node] = schedule[node] = max(schedule[node] + period - node.advance, time.monotonic() - period)
        until = max(min(*due.values(), *poll.values()), time.monotonic() + MIN_EVENT_TIME)
        while (left := until - time.monotonic()) > 0 and not stop():
            awaited = [subscription for node in nodes for subscription in node.awaited(time.monotonic())]
            executor.spin_once(timeout_sec=0.0 if awaited else min(left, MAX_WAIT))
            if awaited and messages.wait(awaited, min(left, MAX_AWAITED)):
                for node in nodes:
                    if not node.awaited(time.monotonic()):
                        continue
                    if due[node] > schedule[node]:  # it postponed its cycle, which may have waited for this
                        due[node] = until = 0.0
                    else:
                        node.receive()


def _next(last: float, period: float, now: float) -> float:
    """The time ``period`` after ``last`` [s], or after ``now`` if that is over: what was missed is not made up for."""
    return last + period if last + period > now else now + period
