"""What all nodes share: life cycle with autostart, declared parameters, counters, diagnostics, the main loop."""

from __future__ import annotations

import contextlib
import gc
import signal
import sys
import time
from collections import Counter
from collections.abc import Callable
from typing import Any

from diagnostic_msgs.msg import DiagnosticArray, DiagnosticStatus, KeyValue
from lifecycle_msgs.srv import ChangeState
from rcl_interfaces.msg import FloatingPointRange, IntegerRange, ParameterDescriptor
from rclpy.exceptions import InvalidParameterTypeException, InvalidParameterValueException
from rclpy.lifecycle import LifecycleNode, LifecycleState, TransitionCallbackReturn
from rclpy.qos import QoSProfile
from rclpy.signals import SignalHandlerOptions

from latent_policy_ros.common.errors import LatentPolicyError, describe_error
from latent_policy_ros.common.processes import HANG_TIMEOUT, Watchdog, report_ready
from latent_policy_ros.nodes.base import qos
from latent_policy_ros.nodes.base.message_conversion import to_stamp
from latent_policy_ros.nodes.base.ros_context import Executor, join, leave

OK, WARN, ERROR = DiagnosticStatus.OK, DiagnosticStatus.WARN, DiagnosticStatus.ERROR
LOG_PERIOD = 5.0  # s between log lines of the same kind
DIAGNOSTICS_PERIOD = 1.0  # s
EVENT_TIME = 0.001  # s: a loop that is late still handles messages for this long, then until none is left
MAX_DRAIN = 500  # messages
SLOW = 300.0  # s: what is loaded, or written to a slow disk at the end, is so by then


class ManagedNode(LifecycleNode):
    """A lifecycle node that does its work in ``tick``, ``rate`` times a second while it is active.

    Subclasses declare parameters in ``__init__`` and override ``configure``, ``activate``, ``tick``, ``deactivate``,
    ``cleanup`` and ``status``. Nothing that a message holds may end a node: callbacks that raise are counted.
    """

    def __init__(self, name: str, rate: float, hang_timeout: float = HANG_TIMEOUT, **node_options: Any) -> None:
        super().__init__(name, **node_options)
        self.rate = rate
        self.active = False
        self.counts: Counter[str] = Counter()
        self.details: dict[str, str] = {}  # newest text of each count
        self.handled = 0
        self._logged: dict[str, float] = {}
        self._last_counts: Counter[str] = Counter()
        self._entities: list[Callable[[], Any]] = []
        self._ready = False
        self._diagnostics_due = 0.0
        self._diagnostics = self.create_publisher(DiagnosticArray, "/diagnostics", qos.EVENTS)
        for service in self.services:
            if service.srv_type is ChangeState:  # rclpy's raises where a transition is not possible now, and ends the node
                service.callback = self._guarded_service(ChangeState, "change_state", service.callback)
        self.declare("autostart", True, "Configure and activate without being told to.")
        hangs = "Without a turn of the loop for so long [s] the process ends, to be started again; 0: never (for debuggers)."
        self.declare("hang_timeout", hang_timeout, hangs, 0.0, 3600.0)

    # --- for subclasses

    def configure(self) -> None:
        """Read parameters, load, subscribe. May raise LatentPolicyError: the node stays unconfigured."""

    def activate(self) -> None:
        """Begin to work."""

    def tick(self, now: float) -> None:
        """One turn of the work; ``now`` is the node clock [s]."""

    def deactivate(self) -> None:
        """Cease to work, and leave the robot safe."""

    def cleanup(self) -> None:
        """Let go of what ``configure`` took (subscriptions and publishers go by themselves)."""

    def status(self) -> tuple[bytes, str, dict[str, str]]:
        """Level, message and values for /diagnostics."""
        return OK, "running" if self.active else "inactive", {}

    def declare(
        self,
        name: str,
        default: Any,
        description: str,
        lower: float | None = None,
        upper: float | None = None,
        read_only: bool = True,
    ) -> None:
        """Declare a parameter; numbers with their range."""
        descriptor = ParameterDescriptor(description=description, read_only=read_only)
        if lower is not None and upper is not None:
            if isinstance(default, int):
                descriptor.integer_range = [IntegerRange(from_value=int(lower), to_value=int(upper), step=0)]
            else:
                descriptor.floating_point_range = [FloatingPointRange(from_value=float(lower), to_value=float(upper), step=0.0)]
        self.declare_parameter(name, default, descriptor)

    def value(self, name: str) -> Any:
        """Value of a parameter."""
        return self.get_parameter(name).value

    def now(self) -> float:
        """Node clock [s]."""
        return self.get_clock().now().nanoseconds * 1e-9

    def subscribe(self, kind: type, topic: str, callback: Callable[[Any], None], profile: QoSProfile, raw: bool = False) -> None:
        """Subscribe until cleanup. What the callback raises is counted under the topic and never ends the node."""

        def guarded(message: Any) -> None:
            self.handled += 1
            try:
                callback(message)
            except LatentPolicyError as error:
                self.count(f"{topic}: refused", str(error))
            except Exception as error:  # a bug must not stop a robot's safety either
                self.count(f"{topic}: failed", describe_error(error))

        subscription = self.create_subscription(kind, topic, guarded, profile, raw=raw)
        self._entities.append(lambda: self.destroy_subscription(subscription))

    def publisher(self, kind: type, topic: str, profile: QoSProfile) -> Any:
        """A publisher that publishes only while the node is active, until cleanup."""
        created = self.create_lifecycle_publisher(kind, topic, profile)
        self._entities.append(lambda: self.destroy_lifecycle_publisher(created))
        return created

    def serve(self, kind: type, name: str, callback: Callable[[Any, Any], Any]) -> None:
        """Offer a service until cleanup. Where the callback raises, the answer is an empty one, and it is counted."""
        service = self.create_service(kind, name, self._guarded_service(kind, name, callback))
        self._entities.append(lambda: self.destroy_service(service))

    def _guarded_service(self, kind: type, name: str, callback: Callable[[Any, Any], Any]) -> Callable[[Any, Any], Any]:
        def guarded(request: Any, response: Any) -> Any:
            try:
                return callback(request, response)
            except Exception as error:
                self.count(f"{name}: failed", describe_error(error))
                return kind.Response()

        return guarded

    def count(self, what: str, detail: str = "") -> None:
        """Count something that should not happen; log it now and then."""
        self.counts[what] += 1
        self.details[what] = detail
        now = time.monotonic()
        if now - self._logged.get(what, -LOG_PERIOD) >= LOG_PERIOD:
            self._logged[what] = now
            self.get_logger().warning(f"{what} ({self.counts[what]} times){': ' + detail if detail else ''}")

    def report(self) -> None:
        """Publish diagnostics now rather than when they are due."""
        self._diagnostics_due = 0.0

    # --- life cycle

    def on_configure(self, state: LifecycleState) -> TransitionCallbackReturn:
        try:
            self.configure()
        except (LatentPolicyError, FileNotFoundError) as error:
            self.get_logger().error(f"cannot be configured: {error}")
            self._destroy()
            return TransitionCallbackReturn.FAILURE
        except BaseException as error:  # also a signal's
            if isinstance(error, Exception):
                self.get_logger().error(f"cannot be configured: {describe_error(error)}")
            self._destroy()
            raise
        return super().on_configure(state)

    def on_activate(self, state: LifecycleState) -> TransitionCallbackReturn:
        result = super().on_activate(state)  # publishers first
        self.activate()
        self.active = True
        return result

    def on_deactivate(self, state: LifecycleState) -> TransitionCallbackReturn:
        self._stop()
        return super().on_deactivate(state)

    def on_cleanup(self, state: LifecycleState) -> TransitionCallbackReturn:
        result = super().on_cleanup(state)
        self._destroy()
        return result

    def on_shutdown(self, state: LifecycleState) -> TransitionCallbackReturn:
        self._stop()
        result = super().on_shutdown(state)
        self._destroy()
        return result

    def on_error(self, state: LifecycleState) -> TransitionCallbackReturn:
        """A transition raised: nothing of it stays, and the node may be configured again."""
        self.active = False
        self._destroy()
        return TransitionCallbackReturn.SUCCESS

    def _stop(self) -> None:
        if self.active:
            self.active = False
            self.deactivate()

    def _destroy(self) -> None:
        try:
            self.cleanup()
        except Exception as error:
            self.count("cleanup failed", describe_error(error))
        while self._entities:
            self._entities.pop()()

    # --- the loop

    def cycle(self) -> None:
        """One turn of the loop: work, then diagnostics when they are due."""
        if self.active:
            try:
                self.tick(self.now())
            except Exception as error:
                self.count("failed", describe_error(error))
        if time.monotonic() >= self._diagnostics_due:
            self._diagnostics_due = time.monotonic() + DIAGNOSTICS_PERIOD
            self._publish_diagnostics()

    def _publish_diagnostics(self) -> None:
        try:
            level, text, values = self.status()
        except Exception as error:
            level, text, values = ERROR, f"no status: {describe_error(error)}", {}
        fresh = [what for what, n in self.counts.items() if n > self._last_counts[what]]
        self._last_counts = self.counts.copy()
        if fresh and level == OK:
            level, text = WARN, "; ".join(fresh)
        counted = {what: f"{n}{' (' + self.details[what] + ')' if self.details[what] else ''}" for what, n in self.counts.items()}
        pairs = [KeyValue(key=key, value=value) for key, value in {**values, **counted}.items()]
        status = DiagnosticStatus(
            level=level, name=self.get_fully_qualified_name(), message=text,
            hardware_id=self.get_namespace().strip("/"), values=pairs,
        )  # fmt: skip
        message = DiagnosticArray(status=[status])
        message.header.stamp = to_stamp(self.now())
        self._diagnostics.publish(message)
        if self.active and level != ERROR and not self._ready:  # a driver without hardware is not
            self._ready = True
            if not report_ready():
                self.get_logger().info("ready")


def start(node: ManagedNode, stopped: Callable[[], bool] = lambda: False) -> bool:
    """Configure and, unless it was ``stopped`` meanwhile, activate, if ``autostart`` says so; False if that failed."""
    if not node.value("autostart"):
        return True
    success = TransitionCallbackReturn.SUCCESS
    return node.trigger_configure() == success and (stopped() or node.trigger_activate() == success)


def spin(nodes: list[ManagedNode], executor: Any, stop: Callable[[], bool]) -> None:
    """The loop of one process: each node's ``turn`` at its rate, messages in between, until ``stop()``."""
    due = dict.fromkeys(nodes, time.monotonic())
    while not stop():
        now = time.monotonic()
        for node in nodes:
            if now >= due[node]:
                node.cycle()
                due[node] = max(due[node] + 1.0 / node.rate, time.monotonic() - 1.0 / node.rate)
        until = max(min(due.values()), time.monotonic() + EVENT_TIME)
        while (left := until - time.monotonic()) > 0 and not stop():
            executor.spin_once(timeout_sec=min(left, 0.1))
        for _ in range(MAX_DRAIN):
            before = sum(node.handled for node in nodes)
            executor.spin_once(timeout_sec=0.0)
            if sum(node.handled for node in nodes) == before:
                break


def main(make: Callable[[], ManagedNode], arguments: list[str] | None = None, images: bool = False) -> int:
    """Run one node as a process until SIGINT or SIGTERM; returns the exit status (``images``: see ``join``)."""
    stopping, loading = False, True

    def stop(*_: Any) -> None:
        nonlocal stopping, loading
        stopping, interrupt, loading = True, loading, False
        if interrupt:  # it takes seconds, and nobody waits for it any more
            raise KeyboardInterrupt

    def loaded() -> bool:
        nonlocal loading
        loading = False  # what is activated is hardware, and is left as one should
        return stopping

    def ended() -> bool:
        watchdog.feed()
        return stopping

    node, status, watchdog = None, 0, Watchdog()
    try:
        for number in (signal.SIGINT, signal.SIGTERM):
            signal.signal(number, stop)
        join(images, args=arguments, signal_handler_options=SignalHandlerOptions.NO)
        node = make()
        watchdog.timeout = node.value("hang_timeout")
        watchdog.allow(SLOW)
        executor = Executor()
        executor.add_node(node)
        if start(node, loaded):
            gc.freeze()  # what was loaded stays: to look through it again would stop a driver for 9 ms, a policy for 130
            spin([node], executor, ended)
        else:
            status = 1
    except KeyboardInterrupt:
        pass
    except (LatentPolicyError, InvalidParameterTypeException, InvalidParameterValueException) as error:
        print(f"error: {error}", file=sys.stderr)
        status = 1
    finally:
        loading = False
        watchdog.allow(SLOW)
        if node is not None:
            with contextlib.suppress(Exception):  # it may not be in a state to be shut down from
                node.trigger_shutdown()
            node.destroy_node()
        leave()
        watchdog.stop()
    return status
