"""Node: runs episodes through the action ``run_episode``, measures rates and latencies, and writes a summary."""

from __future__ import annotations

import signal
import struct
import sys
import time
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

from diagnostic_msgs.msg import DiagnosticArray
from geometry_msgs.msg import PoseStamped
from rclpy.action import ActionClient
from rclpy.node import Node
from rclpy.serialization import deserialize_message
from rclpy.signals import SignalHandlerOptions
from rclpy.subscription import Subscription
from sensor_msgs.msg import JointState
from trajectory_msgs.msg import JointTrajectory

from latent_policy_ros.action import RunEpisode
from latent_policy_ros.common.errors import LatentPolicyError
from latent_policy_ros.common.processes import HANG_TIMEOUT, Watchdog
from latent_policy_ros.msg import LatentAction
from latent_policy_ros.nodes.base import ros_context
from latent_policy_ros.nodes.base.lifecycle_node import parameter_descriptor
from latent_policy_ros.nodes.episode_summary import EpisodeResult, RobotMeasures, write_summary
from latent_policy_ros.nodes.topics import qos
from latent_policy_ros.nodes.topics.robot_topics import ROBOT_NAMESPACES, ROBOT_NAMESPACES_HELP, robot_prefix

CALL_TIMEOUT = 10.0  # s for the answer of the action server
DISCOVERY_TIME = 0.3  # s for the action server to discover this client: it drops answers to clients that it does not know
END_TIMEOUT = 200.0  # s for an episode beside its time limit: resets, and the bag
FINAL_CALL_TIMEOUT = 2.0  # s for the answer to a cancellation at the end of the run
REPORT_PERIOD = 5.0  # s between reports of what is missing
READ_PERIOD = 0.1  # s between readings of the measured topics, whose messages wait with their time of receipt
STAMP = struct.Struct("<iI")  # seconds and nanoseconds, behind the encapsulation header of a message that begins with a header
INTERRUPTED = 130  # exit status after Ctrl-C, as in a shell
STATE_TOPICS = (("joint_states", JointState), ("wrist_pose", PoseStamped))
Stages = RunEpisode.Feedback


class EpisodeRunner(Node):
    """Runs episodes on a fleet of simulated robots whose nodes are up.

    Each episode is a goal of the action `run_episode` (`episode_node`). While the policy drives, the runner measures rates and
    latencies.

    Args:
        report: Called with each line of progress.
        node_options: Options of ``rclpy.node.Node``.
    """

    def __init__(self, report: Callable[[str], None] = print, **node_options: Any) -> None:
        super().__init__("episode_runner", **node_options)
        self._declare("robots", [""], "Names of the robots.")
        self._declare(ROBOT_NAMESPACES, True, ROBOT_NAMESPACES_HELP)
        self._declare("episodes", 1, "Number of episodes.", 1, 1_000_000)
        self._declare("seed", 0, "Seed of the first episode's scene; each further episode adds 1.")
        self._declare("time_limit", 25.0, "Longest duration of an episode [s].", 0.0, 3600.0)
        self._declare("start_limit", 180.0, "Longest time to wait for the fleet's nodes at the start [s].", 0.0, 3600.0)
        self._declare("task", "", "Description of the task; empty: that of the fleet.")
        self._declare("summary", "", "Path of the JSON summary, rewritten after each episode; empty: no summary.")
        self.robots = [name for name in self._value("robots") if name]
        self._prefixes = {name: robot_prefix(name, self._value(ROBOT_NAMESPACES)) for name in self.robots}
        self.report, self.stopped, self.watchdog = report, False, Watchdog()
        # Read directly: a callback of an executor for each of these messages costs several times as much.
        self._measured: dict[Subscription, Callable[[bytes, float], None]] = {}
        self.executor_ = ros_context.Executor()
        self.executor_.add_node(self)
        self.measures = {robot: RobotMeasures() for robot in self.robots}
        self.diagnostics: dict[str, dict[str, Any]] = {}  # newest of each node
        self._measuring_since = 0.0  # monotonic clock; 0 while nothing is measured
        self._read_due = 0.0
        self._stage = ""
        self._client = ActionClient(self, RunEpisode, "run_episode")
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
        for number in range(1, self._value("episodes") + 1):
            results.append(self._run_episode(number, self._value("seed") + number - 1))
            if self._value("summary"):
                write_summary(Path(self._value("summary")), results, self.measures, self.diagnostics)
            if self.stopped:
                raise KeyboardInterrupt
        return results

    def _run_episode(self, number: int, seed: int) -> EpisodeResult:
        limit = self._value("time_limit")
        goal = RunEpisode.Goal(task=self._value("task"), time_limit=limit, seed=seed)
        handle = self._wait(self._client.send_goal_async(goal, feedback_callback=self._on_feedback), CALL_TIMEOUT)
        if not handle.accepted:
            raise LatentPolicyError("the goal was rejected: see the log of the node episode")
        self.report(f"episode {number}/{self._value('episodes')}, seed {seed}: started")
        try:
            result = self._wait(handle.get_result_async(), limit + END_TIMEOUT).result
        except BaseException:
            self.stopped = False
            self._wait(handle.cancel_goal_async(), FINAL_CALL_TIMEOUT)
            raise
        self._measure(False)
        if result.outcome in (RunEpisode.Result.ABORTED, RunEpisode.Result.CANCELED):
            raise LatentPolicyError(f"episode {number}: {result.outcome}: {result.reason}")
        times = {robot: time if time >= 0.0 else None for robot, time in zip(result.robots, result.success_times)}
        found = EpisodeResult(number, seed, result.duration, times, result.bag)
        self.report(f"episode {number}/{self._value('episodes')}: {found.text()}")
        return found

    def _on_feedback(self, message: Any) -> None:
        stage = message.feedback.stage
        if stage != self._stage:
            self._stage = stage
            self._measure(stage == Stages.RUNNING)

    def _measure(self, on: bool) -> None:
        """Begin or end measuring."""
        self._read_measured()
        now = time.monotonic()
        if self._measuring_since and not on:
            for measures in self.measures.values():
                measures.seconds += now - self._measuring_since
        self._measuring_since = (self._measuring_since or now) if on else 0.0

    def _wait(self, future: Any, timeout: float) -> Any:
        """The result of a future.

        Raises:
            LatentPolicyError: No result within ``timeout`` [s].
            KeyboardInterrupt: ``stopped`` was set.
        """
        deadline = time.monotonic() + timeout
        while not future.done():
            if self.stopped:
                raise KeyboardInterrupt
            if time.monotonic() > deadline:
                raise LatentPolicyError(f"no answer of the action run_episode within {timeout:g} s")
            self._spin(READ_PERIOD, future.done)
        return future.result()

    def _wait_for_fleet(self) -> None:
        """Wait until the state topics of every robot, and the action server, are there."""
        start_limit, last_report = self._value("start_limit"), time.monotonic()
        deadline = time.monotonic() + start_limit
        while missing := self._missing():
            if self.stopped:
                raise KeyboardInterrupt
            if time.monotonic() > deadline:
                raise LatentPolicyError(f"not up within {start_limit:g} s; missing: {', '.join(missing)}")
            if time.monotonic() - last_report > REPORT_PERIOD:
                last_report = time.monotonic()
                self.report(f"waiting for {', '.join(missing)}")
            self._spin(0.1)
        self._spin(DISCOVERY_TIME)
        while self._state_subscriptions:
            self.destroy_subscription(self._state_subscriptions.popitem()[1])

    def _missing(self) -> list[str]:
        """Names of the topics and actions that are not there yet."""
        missing = sorted(set(self._state_subscriptions) - self._received_topics)
        return missing if self._client.server_is_ready() else [*missing, "action run_episode"]

    # --- topics

    def _subscribe(self) -> None:
        self._received_topics: set[str] = set()
        self._state_subscriptions: dict[str, Subscription] = {}  # destroyed once heard: hundreds of messages per second
        for robot, prefix in self._prefixes.items():
            on_command, on_chunk = (partial(handle, self.measures[robot]) for handle in (self._on_command, self._on_chunk))
            for command in ("hand_command", "gripper_command"):
                commands = self.create_subscription(JointTrajectory, f"{prefix}{command}", on_command, qos.STATES, raw=True)
                self._measured[commands] = on_command
            chunks = self.create_subscription(LatentAction, f"{prefix}latent_action", on_chunk, qos.STATES, raw=True)
            self._measured[chunks] = on_chunk
            for name, msg_type in STATE_TOPICS:
                topic = f"{prefix}{name}"
                on_state = partial(self._on_state, topic)
                self._state_subscriptions[topic] = self.create_subscription(msg_type, topic, on_state, qos.IMAGES, raw=True)
        self.create_subscription(DiagnosticArray, "/diagnostics", self._on_diagnostics, qos.EVENTS)

    @property
    def subscriptions(self) -> Iterator[Subscription]:
        """Subscriptions that an executor runs: all but the measured ones."""
        return (subscription for subscription in super().subscriptions if subscription not in self._measured)

    @property
    def polled(self) -> tuple[Subscription, ...]:
        """Subscriptions that the node reads itself."""
        return tuple(self._measured)

    def _read_measured(self) -> None:
        """Handle the messages of the measured topics that were received since the last call."""
        self._read_due = time.monotonic() + READ_PERIOD
        for subscription, handle in self._measured.items():
            while (taken := subscription.handle.take_message(subscription.msg_type, True)) is not None:
                data, info = taken
                if self._measuring_since:
                    handle(data, (info.get("received_timestamp") or time.time_ns()) * 1e-9)

    def _on_command(self, measures: RobotMeasures, data: bytes, received: float) -> None:
        seconds, nanoseconds = STAMP.unpack_from(data, 4)
        observed = seconds + nanoseconds * 1e-9
        # The first command with a stamp is deserialised: a command to hold has no points, and a stamp of its own.
        if observed == measures.observed or deserialize_message(data, JointTrajectory).points:
            measures.add_command(observed, received)

    def _on_chunk(self, measures: RobotMeasures, _: bytes, __: float) -> None:
        measures.chunks += 1

    def _on_state(self, topic: str, _: bytes) -> None:
        self._received_topics.add(topic)

    def _on_diagnostics(self, message: DiagnosticArray) -> None:
        for status in message.status:
            values = {pair.key: pair.value for pair in status.values}
            self.diagnostics[status.name] = {"level": status.level[0], "message": status.message, "values": values}

    # --- helpers

    def _declare(self, name: str, default: Any, description: str, lower: float | None = None, upper: float | None = None) -> None:
        self.declare_parameter(name, default, parameter_descriptor(default, description, lower, upper))

    def _value(self, name: str) -> Any:
        return self.get_parameter(name).value

    def _spin(self, seconds: float, done: Callable[[], bool] = lambda: False) -> None:
        end = time.monotonic() + seconds
        while (left := end - time.monotonic()) > 0 and not done():
            self.watchdog.feed()
            self.executor_.spin_once(timeout_sec=left)
            if time.monotonic() >= self._read_due:
                self._read_measured()


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
