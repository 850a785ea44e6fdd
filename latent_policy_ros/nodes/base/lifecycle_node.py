"""``ManagedNode``: base of all nodes of this package, with lifecycle, parameters, counted errors and diagnostics."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable, Iterator
from copy import copy
from typing import Any

from diagnostic_msgs.msg import DiagnosticArray, DiagnosticStatus, KeyValue
from lifecycle_msgs.srv import ChangeState
from rcl_interfaces.msg import FloatingPointRange, IntegerRange, ParameterDescriptor, SetParametersResult
from rclpy.lifecycle import LifecycleNode, LifecycleState, TransitionCallbackReturn
from rclpy.parameter import Parameter
from rclpy.qos import QoSProfile
from rclpy.qos_overriding_options import QoSOverridingOptions
from rclpy.serialization import deserialize_message
from rclpy.subscription import Subscription

from latent_policy_ros.common.errors import LatentPolicyError, ModeError, describe_error
from latent_policy_ros.common.processes import HANG_TIMEOUT, report_ready
from latent_policy_ros.nodes.topics import qos
from latent_policy_ros.nodes.topics.filters import Subscriber
from latent_policy_ros.nodes.topics.message_conversion import to_stamp
from latent_policy_ros.nodes.topics.polled_subscription import PolledSubscription

OK, WARN, ERROR = DiagnosticStatus.OK, DiagnosticStatus.WARN, DiagnosticStatus.ERROR
LOG_PERIOD = 5.0  # s between log lines about the same event
DIAGNOSTICS_PERIOD = 1.0  # s
MAX_DETAIL = 500  # characters


def parameter_descriptor(
    default: Any, description: str, lower: float | None = None, upper: float | None = None, read_only: bool = True
) -> ParameterDescriptor:
    """Descriptor of a parameter; see ``ManagedNode.declare``."""
    descriptor = ParameterDescriptor(description=description, read_only=read_only)
    if lower is not None and upper is not None:
        if isinstance(default, int):
            descriptor.integer_range = [IntegerRange(from_value=int(lower), to_value=int(upper), step=0)]
        else:
            descriptor.floating_point_range = [FloatingPointRange(from_value=float(lower), to_value=float(upper), step=0.0)]
    return descriptor


class _Subscribing:
    """A node as ``message_filters.Subscriber`` uses it, with subscriptions that the node reads at a bounded rate."""

    def __init__(self, node: ManagedNode, awaited: bool) -> None:
        self._node, self._awaited = node, awaited

    def create_subscription(
        self, msg_type: type, topic: str, callback: Callable[[Any], None], qos_profile: QoSProfile
    ) -> Subscription:
        return self._node.subscribe(msg_type, topic, callback, qos_profile, awaited=self._awaited)


class ManagedNode(LifecycleNode):
    """A lifecycle node that calls ``tick`` at a fixed rate while it is active.

    Subclasses declare parameters in ``__init__`` and override ``configure``, ``activate``, ``tick``, ``deactivate``,
    ``cleanup`` and ``status``. Exceptions in callbacks, services and ``tick`` are counted, logged and reported on
    ``/diagnostics``; they never end the process.

    Args:
        name: Default name of the node.
        rate: Calls of ``tick`` per second [Hz]; subclasses may change the attribute ``rate`` at any time.
        hang_timeout: Default of the parameter ``hang_timeout`` [s].
        node_options: Options of ``rclpy.lifecycle.LifecycleNode``.

    Attributes:
        active: Whether the node is in the lifecycle state *active*.
        finalized: Whether the node was shut down, after which it cannot be used again.
        simulated_time: Whether the node follows ``/clock``.
        needs_clock: Whether ``tick`` waits for the first time on ``/clock``.
        refusal: Why the node stays unconfigured although its process continues; see ``ModeError``.
        counts: Number of occurrences of each unexpected event.
        details: Detail of the newest occurrence of each event.
        poll_period: Longest time for which a received message waits [s]; see ``subscribe``.
        advance: Time by which the next cycle comes earlier than ``rate`` says [s].
    """

    needs_clock = True
    poll_period = 0.01
    advance = 0.0

    def __init__(self, name: str, rate: float, hang_timeout: float = HANG_TIMEOUT, **node_options: Any) -> None:
        super().__init__(name, **node_options)
        self.rate = rate
        self.active = self.finalized = False
        self.simulated_time = bool(self.value("use_sim_time"))
        self.refusal = ""
        self.counts: Counter[str] = Counter()
        self.details: dict[str, str] = {}
        self._last_logged: dict[str, float] = {}
        self._reported_counts: Counter[str] = Counter()
        self._destructors: list[Callable[[], Any]] = []
        self._polled: dict[Subscription, PolledSubscription] = {}
        self._awaited: list[PolledSubscription] = []
        self._cycled = False
        self._ready = False
        self._diagnostics_due = 0.0
        self._diagnostics = self.create_publisher(DiagnosticArray, "/diagnostics", qos.EVENTS)
        for service in self.services:
            if service.srv_type is ChangeState:  # rclpy's callback raises on an invalid transition, which would end the process
                service.callback = self._guarded_service(ChangeState, "change_state", service.callback)
        self.add_on_set_parameters_callback(self._refuse_other_clock)
        self.declare("autostart", True, "Configure and activate the node when its process starts.")
        self.declare(
            "hang_timeout", hang_timeout,
            "End the process if one cycle of its loop takes longer than this [s]; 0 disables the check, for debuggers.",
            0.0, 3600.0,
        )  # fmt: skip

    # --- overridden by subclasses

    def postpone(self, late: float) -> float:
        """Time [s] by which the cycle that is due is postponed, e.g. for input that is about to arrive; 0: not at all.

        Args:
            late: Time by which it was postponed already [s].
        """
        return 0.0

    def configure(self) -> None:
        """Read parameters, load artefacts, create publishers and subscriptions.

        Raises:
            LatentPolicyError: The configuration is wrong; the node stays unconfigured.
        """

    def activate(self) -> None:
        """Start the node's work."""

    def tick(self, now: float) -> None:
        """One step of the node's work; ``now`` is the node clock [s]."""

    def deactivate(self) -> None:
        """Stop the node's work and leave the robot in a safe state."""

    def cleanup(self) -> None:
        """Release what ``configure`` acquired, except publishers, subscriptions and services."""

    def status(self) -> tuple[bytes, str, dict[str, str]]:
        """Level, message and values for ``/diagnostics``."""
        return OK, "running" if self.active else "inactive", {}

    # --- used by subclasses

    def declare(
        self,
        name: str,
        default: Any,
        description: str,
        lower: float | None = None,
        upper: float | None = None,
        read_only: bool = True,
    ) -> None:
        """Declare a parameter.

        Args:
            name: Name of the parameter.
            default: Default value; it also sets the type.
            description: Full sentence or noun phrase with the unit; ROS tools show it alone.
            lower: Lowest value of a number; needs ``upper`` too.
            upper: Highest value of a number.
            read_only: Whether the value is fixed once the node exists.
        """
        self.declare_parameter(name, default, parameter_descriptor(default, description, lower, upper, read_only))

    def value(self, name: str) -> Any:
        """Value of a parameter."""
        return self.get_parameter(name).value

    def now(self) -> float:
        """Time of the node clock [s]."""
        return self.get_clock().now().nanoseconds * 1e-9 if self.simulated_time else time.time()

    def frame(self, name: str) -> str:
        """The tf frame of a name: ``~/link`` is ``link`` in the namespace of the node; all others are taken as they are."""
        return f"{self.get_namespace()}/{name[2:]}".strip("/") if name.startswith("~/") else name

    def subscribe(
        self,
        msg_type: type,
        topic: str,
        callback: Callable[[Any], None],
        profile: QoSProfile,
        raw: bool = False,
        awaited: bool = False,
        usual: tuple[Callable[[bytes], tuple[Any, ...] | None], Callable[..., None]] | None = None,
    ) -> Subscription:
        """Subscribe until cleanup. An exception in the callback, and a damaged message, are counted under the topic's name.

        The node reads its topics every ``poll_period``, at a bounded rate; see :class:`PolledSubscription`.

        Args:
            msg_type: Type of the messages.
            topic: Name, relative to the node.
            callback: Called with each message.
            profile: Quality of service.
            raw: Call ``callback`` with serialised messages, undamaged or not.
            awaited: A message does not wait for ``poll_period``: its arrival ends the wait of the main loop.
            usual: ``read`` of a :class:`MessageTemplate`, and a function that is called with the values of messages that fit it, in
                place of ``callback``: it takes a fifth of the time.
        """
        read, on_values = usual or (lambda _: None, callback)

        def guarded(data: bytes) -> None:
            try:
                # Here, because the middleware drops damaged messages unnoticed.
                values = read(data)
                message = data if raw or values is not None else deserialize_message(data, msg_type)
            except Exception as error:
                self.count(f"{topic}: damaged message", describe_error(error))
                return
            try:
                if values is None:
                    callback(message)
                else:
                    on_values(*values)
            except LatentPolicyError as error:
                self.count(f"{topic}: refused", str(error))
            except Exception as error:  # a defect in one callback must not stop the safety functions of the node
                self.count(f"{topic}: failed", describe_error(error))

        own, options = copy(profile), {"qos_overriding_options": QoSOverridingOptions(qos.OVERRIDABLE)}  # overrides change it
        subscription = self.create_subscription(msg_type, topic, guarded, own, raw=True, **options)
        self._polled[subscription] = polled = PolledSubscription(subscription, own.depth, guarded)
        if awaited:
            self._awaited.append(polled)

        def destroy() -> None:
            del self._polled[subscription]
            if awaited:
                self._awaited.remove(polled)
            self.destroy_subscription(subscription)

        self._destructors.append(destroy)
        return subscription

    def filter(self, msg_type: type, topic: str, profile: QoSProfile, awaited: bool = False) -> Any:
        """A ``message_filters.Subscriber`` of a topic, until cleanup. The node reads the topic as with :meth:`subscribe`."""
        return Subscriber(_Subscribing(self, awaited), msg_type, topic, qos_profile=profile)

    @property
    def subscriptions(self) -> Iterator[Subscription]:
        """Subscriptions that an executor runs: all but the polled ones."""
        return (subscription for subscription in super().subscriptions if subscription not in self._polled)

    @property
    def polled(self) -> tuple[Subscription, ...]:
        """Subscriptions that the node reads itself."""
        return tuple(self._polled)

    def awaited(self, now: float) -> list[Subscription]:
        """Subscriptions whose messages end the wait of the main loop that begins at ``now`` [s], of a steady clock."""
        return [polled.subscription for polled in self._awaited if polled.may_read(now)] if self._cycled else []

    def receive(self) -> None:
        """Handle the messages that arrived since the last call. Before the first cycle they wait: drivers have not measured yet."""
        if not self._cycled:
            return
        now = time.monotonic()
        for polled in list(self._polled.values()):
            try:
                polled.poll(now)
            except Exception as error:  # of the middleware; the other topics are read
                self.count(f"{polled.subscription.topic_name}: failed", describe_error(error))

    def publisher(self, msg_type: type, topic: str, profile: QoSProfile) -> Any:
        """Create a lifecycle publisher, which exists until cleanup and publishes only while the node is active."""
        options = {"qos_overriding_options": QoSOverridingOptions(qos.OVERRIDABLE)}
        created = self.create_lifecycle_publisher(msg_type, topic, copy(profile), **options)  # overrides change the profile
        self._destructors.append(lambda: self.destroy_lifecycle_publisher(created))
        return created

    def serve(self, srv_type: type, name: str, callback: Callable[[Any, Any], Any]) -> None:
        """Offer a service until cleanup. An exception in the callback is counted and answered with an empty response."""
        service = self.create_service(srv_type, name, self._guarded_service(srv_type, name, callback))
        self._destructors.append(lambda: self.destroy_service(service))

    def _guarded_service(self, srv_type: type, name: str, callback: Callable[[Any, Any], Any]) -> Callable[[Any, Any], Any]:
        def guarded(request: Any, response: Any) -> Any:
            try:
                return callback(request, response)
            except Exception as error:
                self.count(f"{name}: failed", describe_error(error))
                return srv_type.Response()

        return guarded

    def count(self, event: str, detail: str = "", log: bool = True) -> None:
        """Count an unexpected event, and log it at most once in ``LOG_PERIOD``, unless ``log`` is false."""
        self.counts[event] += 1
        detail = detail if len(detail) <= MAX_DETAIL else f"{detail[:MAX_DETAIL]}..."  # messages may contain texts of any length
        self.details[event] = detail
        now = time.monotonic()
        if log and now - self._last_logged.get(event, -LOG_PERIOD) >= LOG_PERIOD:
            self._last_logged[event] = now
            self.get_logger().warning(f"{event} ({self.counts[event]} times){': ' + detail if detail else ''}")

    def _refuse_other_clock(self, parameters: list[Parameter]) -> SetParametersResult:
        """Refuse another clock at run time: stamps of the old one would be compared with the new one."""
        for parameter in parameters:
            if parameter.name == "use_sim_time" and parameter.value != self.value("use_sim_time"):
                reason = "use_sim_time: the clock is chosen at start; restart all nodes with the same value of use_sim_time"
                return SetParametersResult(successful=False, reason=reason)
        return SetParametersResult(successful=True)

    def report_soon(self) -> None:
        """Publish diagnostics in the next cycle."""
        self._diagnostics_due = 0.0

    # --- lifecycle transitions

    def on_configure(self, state: LifecycleState) -> TransitionCallbackReturn:
        self.refusal = ""
        try:
            self.configure()
        except ModeError as error:
            self.refusal = str(error)
            self.get_logger().error(f"stays unconfigured: {error}")
            self._destroy()
            return TransitionCallbackReturn.FAILURE
        except (LatentPolicyError, FileNotFoundError) as error:
            self.get_logger().error(f"cannot be configured: {error}")
            self._destroy()
            return TransitionCallbackReturn.FAILURE
        except BaseException as error:  # including KeyboardInterrupt, which a signal raises while a node loads
            if isinstance(error, Exception):
                self.get_logger().error(f"cannot be configured: {describe_error(error)}")
            self._destroy()
            raise
        return super().on_configure(state)

    def on_activate(self, state: LifecycleState) -> TransitionCallbackReturn:
        result = super().on_activate(state)  # activates the publishers, which ``activate`` may use
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
        self.finalized = True
        self._stop()
        result = super().on_shutdown(state)
        self._destroy()
        return result

    def on_error(self, state: LifecycleState) -> TransitionCallbackReturn:
        """A transition raised an exception: release everything, so that the node can be configured again."""
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
        while self._destructors:
            self._destructors.pop()()

    # --- one cycle of the loop

    def cycle(self) -> None:
        """Call ``tick`` if the node is active, then publish diagnostics if they are due."""
        if self.active and not self.waits_for_clock:
            try:
                self.tick(self.now())
            except Exception as error:
                self.count("failed", describe_error(error))
        self._cycled = True
        if time.monotonic() >= self._diagnostics_due:
            self._diagnostics_due = time.monotonic() + DIAGNOSTICS_PERIOD
            self._publish_diagnostics()

    @property
    def waits_for_clock(self) -> bool:
        """Whether simulation time has not begun."""
        return self.simulated_time and self.needs_clock and self.now() == 0.0

    def _publish_diagnostics(self) -> None:
        try:
            level, text, values = self.status()
            if self.refusal:
                level, text = ERROR, self.refusal
            elif self.active and self.waits_for_clock:
                level, text = WARN, "use_sim_time: no time on /clock yet; start a simulator that publishes it"
        except Exception as error:
            level, text, values = ERROR, f"no status: {describe_error(error)}", {}
        new_events = [event for event, n in self.counts.items() if n > self._reported_counts[event]]
        self._reported_counts = self.counts.copy()
        if new_events and level == OK:
            level, text = WARN, "; ".join(new_events)
        for event, n in self.counts.items():
            values = {**values, event: f"{n} ({self.details[event]})" if self.details[event] else str(n)}
        status = DiagnosticStatus(
            level=level, name=self.get_fully_qualified_name(), message=text, hardware_id=self.get_namespace().strip("/"),
            values=[KeyValue(key=key, value=value) for key, value in values.items()],
        )  # fmt: skip
        message = DiagnosticArray(status=[status])
        message.header.stamp = to_stamp(self.now())
        self._diagnostics.publish(message)
        if self.active and level != ERROR and not self._ready:  # a driver without its hardware is active, but not ready
            self._ready = True
            if not report_ready():
                self.get_logger().info("ready")
