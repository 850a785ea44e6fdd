"""Node: runs episodes on a simulated fleet, measures rates and latencies, and writes a summary."""

from __future__ import annotations

import json
import signal
import sys
import time
import uuid
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

from diagnostic_msgs.msg import DiagnosticArray
from geometry_msgs.msg import PoseStamped
from lifecycle_msgs.msg import Transition
from lifecycle_msgs.srv import ChangeState, GetState
from rcl_interfaces.msg import Parameter, ParameterType, ParameterValue
from rcl_interfaces.srv import SetParameters
from rclpy.node import Node
from rclpy.signals import SignalHandlerOptions
from rclpy.subscription import Subscription
from sensor_msgs.msg import JointState
from std_srvs.srv import Trigger
from trajectory_msgs.msg import JointTrajectory

from latent_policy_ros.common.errors import LatentPolicyError
from latent_policy_ros.common.processes import HANG_TIMEOUT, Watchdog
from latent_policy_ros.msg import EpisodeEvent, LatentAction
from latent_policy_ros.nodes.base import message_conversion, qos, ros_context
from latent_policy_ros.nodes.base.lifecycle_node import parameter_descriptor
from latent_policy_ros.nodes.episode_summary import EpisodeResult, RobotMeasures, write_summary
from latent_policy_ros.observations.messages import to_seconds

SETTLE_TIME = 0.5  # s before and after a reset: old chunks become stale and the drivers hold
TAIL_TIME = 0.7  # s recorded after the last success
BAG_TIMEOUT = 60.0  # s for the recorder to finish a bag
CALL_TIMEOUT = 10.0  # s for the answer of a service
FINAL_CALL_TIMEOUT = 2.0  # s for the policy's answer at the end of the run
REPORT_PERIOD = 5.0  # s between reports of what is missing
INTERRUPTED = 130  # exit status after Ctrl-C, as in a shell
STATE_TOPICS = (("joint_states", JointState), ("wrist_pose", PoseStamped))


class EpisodeRunner(Node):
    """Runs episodes on a fleet of simulated robots whose nodes are up.

    In each episode the runner deactivates the policy, resets every simulator to the episode's seed, publishes the event
    `begin`, activates the policy, and waits until all robots succeed or the time is over. It then publishes the event
    `end` and, if the episode is recorded, waits for the bag.

    Args:
        report: Called with each line of progress.
        node_options: Options of ``rclpy.node.Node``.
    """

    def __init__(self, report: Callable[[str], None] = print, **node_options: Any) -> None:
        super().__init__("episode_runner", **node_options)
        self._declare("robots", [""], "Namespaces of the robots.")
        self._declare("episodes", 1, "Number of episodes.", 1, 1_000_000)
        self._declare("seed", 0, "Seed of the first episode's scene; each further episode adds 1.")
        self._declare("time_limit", 25.0, "Longest duration of an episode [s].", 0.0, 3600.0)
        self._declare("start_limit", 180.0, "Longest time to wait for the fleet's nodes at the start [s].", 0.0, 3600.0)
        self._declare("record", False, "Wait for the recorder at the start, and for its bag after each episode.")
        self._declare("task", "", "Description of the task, for the episode events.")
        self._declare("summary", "", "Path of the JSON summary, rewritten after each episode; empty: no summary.")
        self.robots = [name for name in self._value("robots") if name]
        self.report, self.stopped, self.watchdog = report, False, Watchdog()
        self.executor_ = ros_context.Executor()
        self.executor_.add_node(self)
        self.measures = {robot: RobotMeasures() for robot in self.robots}
        self.diagnostics: dict[str, dict[str, Any]] = {}  # newest of each node
        self._success_times: dict[str, float] = {}  # s from the start of the episode
        self._measuring = False
        self._run = f"{self.get_fully_qualified_name()} {uuid.uuid4().hex[:8]}"  # recorders match the events of an episode by it
        self._create_clients()
        self._subscribe()

    def run(self) -> list[EpisodeResult]:
        """Run all episodes. The summary is written after each.

        Raises:
            LatentPolicyError: No robots are named, or a part of the fleet is not up within ``start_limit``.
            KeyboardInterrupt: ``stopped`` was set.
        """
        if not self.robots:
            raise LatentPolicyError("parameter robots: expected at least one namespace, got none")
        self._wait_for_fleet()
        results: list[EpisodeResult] = []
        try:
            for number in range(1, self._value("episodes") + 1):
                results.append(self._run_episode(number, self._value("seed") + number - 1))
                if self._value("summary"):
                    write_summary(Path(self._value("summary")), results, self.measures, self.diagnostics)
                if self.stopped:
                    raise KeyboardInterrupt
        finally:
            self._deactivate_policy_finally()
        return results

    def _run_episode(self, number: int, seed: int) -> EpisodeResult:
        self._change_policy_state(Transition.TRANSITION_DEACTIVATE)
        self._spin(SETTLE_TIME)
        for robot in self.robots:
            self._reset_simulator(robot, seed)
        self._spin(SETTLE_TIME)
        self._success_times.clear()
        previous_bag = self._last_bag()
        self._publish_event(EpisodeEvent.BEGIN, number, seed)
        self._change_policy_state(Transition.TRANSITION_ACTIVATE)
        self.report(f"episode {number}/{self._value('episodes')}, seed {seed}: running")
        seconds = self._measure_until_done()
        success = len(self._success_times) == len(self.robots)
        self._publish_event(EpisodeEvent.END, number, seed, success, json.dumps(self._success_times))
        bag = self._wait_for_bag(previous_bag) if self._value("record") else ""
        result = EpisodeResult(number, seed, seconds, {robot: self._success_times.get(robot) for robot in self.robots}, bag)
        self.report(f"episode {number}/{self._value('episodes')}: {result.text()}")
        return result

    def _measure_until_done(self) -> float:
        """Wait until all robots succeed or the time is over, then ``TAIL_TIME``; returns the episode's duration [s]."""
        self._start_time, self._measuring = time.monotonic(), True
        deadline = self._start_time + self._value("time_limit")
        while len(self._success_times) < len(self.robots) and time.monotonic() < deadline and not self.stopped:
            self._spin(0.05)
        seconds = time.monotonic() - self._start_time
        self._spin(TAIL_TIME)
        self._measuring = False
        for measures in self.measures.values():
            measures.seconds += seconds + TAIL_TIME
        return seconds

    # --- services of the other nodes

    def _create_clients(self) -> None:
        self._get_policy_state = self.create_client(GetState, "policy/get_state")
        self._set_policy_state = self.create_client(ChangeState, "policy/change_state")
        self._resets = {robot: self.create_client(Trigger, f"{robot}/sim/reset") for robot in self.robots}
        self._seeds = {robot: self.create_client(SetParameters, f"{robot}/sim/set_parameters") for robot in self.robots}

    def _wait_for_fleet(self) -> None:
        """Wait until every topic and service of the fleet is there and the policy node is configured."""
        start_limit, last_report = self._value("start_limit"), time.monotonic()
        deadline = time.monotonic() + start_limit
        while (missing := self._missing()) or self._policy_state(timeout=2.0) not in ("active", "inactive"):
            missing = ", ".join(missing) or "a configured policy node"
            if self.stopped:
                raise KeyboardInterrupt
            if time.monotonic() > deadline:
                raise LatentPolicyError(f"not up within {start_limit:g} s; missing: {missing}")
            if time.monotonic() - last_report > REPORT_PERIOD:
                last_report = time.monotonic()
                self.report(f"waiting for {missing}")
            self._spin(0.1)
        while self._state_subscriptions:
            self.destroy_subscription(self._state_subscriptions.popitem()[1])

    def _missing(self) -> list[str]:
        """Names of the topics, services and subscribers that are not there yet."""
        missing = sorted(set(self._state_subscriptions) - self._received_topics)
        clients = [self._get_policy_state, self._set_policy_state, *self._resets.values(), *self._seeds.values()]
        missing += [client.srv_name for client in clients if not client.service_is_ready()]
        for robot in self.robots:  # one subscriber is this node
            if self.count_subscribers(f"{robot}/latent_action") < 2:
                missing.append(f"subscriber of {robot}/latent_action")
        if self._value("record") and self._events.get_subscription_count() < 2:  # the recorder acts on events and records them
            missing.append("recorder")
        return missing

    def _change_policy_state(self, transition: int, timeout: float = CALL_TIMEOUT) -> None:
        """Activate or deactivate the policy node, unless it is in that state."""
        wanted = "active" if transition == Transition.TRANSITION_ACTIVATE else "inactive"
        if self._policy_state(timeout) == wanted:
            return
        request = ChangeState.Request(transition=Transition(id=transition))
        if not self._call(self._set_policy_state, request, timeout).success:
            raise LatentPolicyError(f"the policy node did not become {wanted}")

    def _deactivate_policy_finally(self) -> None:
        """Deactivate the policy at the end of the run, so that the robots stand still."""
        self.stopped = False
        try:
            self._change_policy_state(Transition.TRANSITION_DEACTIVATE, FINAL_CALL_TIMEOUT)
        except LatentPolicyError as error:
            self.report(f"the policy may still be active: {error}")

    def _policy_state(self, timeout: float = CALL_TIMEOUT) -> str:
        """Lifecycle state of the policy node; empty without an answer, for example while the node loads."""
        try:
            return self._call(self._get_policy_state, GetState.Request(), timeout).current_state.label
        except LatentPolicyError:
            return ""

    def _reset_simulator(self, robot: str, seed: int) -> None:
        value = ParameterValue(type=ParameterType.PARAMETER_INTEGER, integer_value=seed)
        answer = self._call(self._seeds[robot], SetParameters.Request(parameters=[Parameter(name="seed", value=value)]))
        if not answer.results[0].successful:
            raise LatentPolicyError(f"{robot}: the simulator refused seed {seed}: {answer.results[0].reason}")
        if not self._call(self._resets[robot], Trigger.Request()).success:
            raise LatentPolicyError(f"{robot}: the simulator did not reset")

    def _call(self, client: Any, request: Any, timeout: float = CALL_TIMEOUT) -> Any:
        """Response of a service.

        Raises:
            LatentPolicyError: No response within ``timeout`` [s].
            KeyboardInterrupt: ``stopped`` was set.
        """
        future = client.call_async(request)
        deadline = time.monotonic() + timeout
        while not future.done():
            if self.stopped:
                raise KeyboardInterrupt
            if time.monotonic() > deadline:
                raise LatentPolicyError(f"{client.srv_name} did not answer within {timeout:g} s")
            self.executor_.spin_once(timeout_sec=0.02)
        return future.result()

    # --- topics

    def _subscribe(self) -> None:
        self._events = self.create_publisher(EpisodeEvent, "episode_event", qos.EVENTS)
        self._received_topics: set[str] = set()
        self._state_subscriptions: dict[str, Subscription] = {}  # destroyed once heard: hundreds of messages per second
        for robot in self.robots:
            on_command = partial(self._on_command, self.measures[robot])
            for command in ("hand_command", "gripper_command"):
                self.create_subscription(JointTrajectory, f"{robot}/{command}", on_command, qos.COMMANDS)
            on_chunk = partial(self._on_chunk, self.measures[robot])
            self.create_subscription(LatentAction, f"{robot}/latent_action", on_chunk, qos.LATENTS)
            self.create_subscription(EpisodeEvent, f"{robot}/episode_event", partial(self._on_event, robot), qos.EVENTS)
            for name, msg_type in STATE_TOPICS:
                topic = f"{robot}/{name}"
                on_state = partial(self._on_state, topic)
                self._state_subscriptions[topic] = self.create_subscription(msg_type, topic, on_state, qos.IMAGES, raw=True)
        self.create_subscription(DiagnosticArray, "/diagnostics", self._on_diagnostics, qos.EVENTS)

    def _publish_event(self, event: str, episode: int, seed: int, success: bool = False, detail: str = "") -> None:
        message = EpisodeEvent(event=event, task=self._value("task"), episode=episode, seed=seed, success=success, detail=detail)
        message.header.stamp = message_conversion.to_stamp(self.get_clock().now().nanoseconds * 1e-9)
        message.header.frame_id = self._run
        self._events.publish(message)

    def _on_command(self, measures: RobotMeasures, message: JointTrajectory) -> None:
        if self._measuring and message.points:
            measures.add_command(to_seconds(message.header.stamp), time.time())

    def _on_chunk(self, measures: RobotMeasures, _: LatentAction) -> None:
        if self._measuring:
            measures.chunks += 1

    def _on_event(self, robot: str, message: EpisodeEvent) -> None:
        if self._measuring and message.event == EpisodeEvent.SUCCESS and robot not in self._success_times:
            self._success_times[robot] = time.monotonic() - self._start_time
            self.report(f"  {robot}: success after {self._success_times[robot]:.1f} s")

    def _on_state(self, topic: str, _: bytes) -> None:
        self._received_topics.add(topic)

    def _on_diagnostics(self, message: DiagnosticArray) -> None:
        for status in message.status:
            values = {pair.key: pair.value for pair in status.values}
            self.diagnostics[status.name] = {"level": status.level[0], "message": status.message, "values": values}

    def _wait_for_bag(self, previous: str) -> str:
        """Path of the bag that the recorder finished after ``previous``; empty after ``BAG_TIMEOUT``."""
        deadline = time.monotonic() + BAG_TIMEOUT
        while self._last_bag() == previous and time.monotonic() < deadline and not self.stopped:
            self._spin(0.1)
        return self._last_bag() if self._last_bag() != previous else ""

    def _last_bag(self) -> str:
        return self.diagnostics.get("/recorder", {}).get("values", {}).get("last_bag", "-")

    # --- helpers

    def _declare(self, name: str, default: Any, description: str, lower: float | None = None, upper: float | None = None) -> None:
        self.declare_parameter(name, default, parameter_descriptor(default, description, lower, upper))

    def _value(self, name: str) -> Any:
        return self.get_parameter(name).value

    def _spin(self, seconds: float) -> None:
        end = time.monotonic() + seconds
        while (left := end - time.monotonic()) > 0:
            self.watchdog.feed()
            self.executor_.spin_once(timeout_sec=min(left, 0.05))


def main() -> int:
    """Run as a process.

    Returns:
        Exit status: 0 if every robot succeeded at least once, 3 if not, 1 if the fleet was not up, 130 after Ctrl-C.
    """
    ros_context.init(images=False, signal_handler_options=SignalHandlerOptions.NO)
    runner: EpisodeRunner | None = None

    def on_signal(*_: Any) -> None:
        if runner is not None:
            runner.stopped = True

    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, on_signal)
    try:
        runner = EpisodeRunner(partial(print, flush=True))
        runner.watchdog.timeout = HANG_TIMEOUT
        results = runner.run()
        return 0 if all(any(r.robots[robot] is not None for r in results) for robot in runner.robots) else 3
    except KeyboardInterrupt:
        return INTERRUPTED
    except LatentPolicyError as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    finally:
        if runner is not None:
            runner.watchdog.allow(HANG_TIMEOUT)
            runner.destroy_node()
        ros_context.shutdown()


if __name__ == "__main__":
    sys.exit(main())
