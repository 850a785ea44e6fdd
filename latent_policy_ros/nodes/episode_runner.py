"""Runs episodes on a simulated fleet that is up: resets, starts the policy, watches, measures, and writes a summary."""

from __future__ import annotations

import json
import signal
import sys
import time
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
from latent_policy_ros.nodes.base import message_conversion, qos
from latent_policy_ros.nodes.base.ros_context import Executor, join, leave
from latent_policy_ros.nodes.episode_summary import EpisodeResult, RobotMeasures, write_summary
from latent_policy_ros.observations.messages import to_seconds

SETTLE = 0.5  # s: plans go stale and drivers hold, before and after a reset
TAIL = 0.7  # s that are still recorded after the last success
BAG = 60.0  # s that the recorder may take to finish a bag
REST = 2.0  # s for the policy to answer at the end
STOPPED = 130  # exit status after Ctrl-C, as of a shell


class EpisodeRunner(Node):
    """A client of policy, simulators and recorder. Parameters say what to run; ``run`` runs it."""

    def __init__(self, say: Callable[[str], None] = print) -> None:
        super().__init__("episode_runner")
        for name, default in (("robots", [""]), ("episodes", 1), ("seed", 0), ("time_limit", 25.0), ("start_limit", 180.0),
                              ("record", False), ("task", ""), ("summary", "")):  # fmt: skip
            self.declare_parameter(name, default)
        self.robots = [name for name in self._value("robots") if name]
        if not self.robots:
            raise LatentPolicyError("parameter robots: expected at least one namespace, got none")
        self.say, self.stopped, self.watchdog = say, False, Watchdog()
        self.executor_ = Executor()
        self.executor_.add_node(self)
        self.measures = {robot: RobotMeasures() for robot in self.robots}
        self.status: dict[str, dict[str, Any]] = {}  # newest diagnostics of each node
        self._succeeded: dict[str, float] = {}
        self._heard: set[str] = set()
        self._states: list[Subscription] = []  # only until all are heard: there are hundreds of messages a second
        self._measuring = False
        self._events = self.create_publisher(EpisodeEvent, "episode_event", qos.EVENTS)
        for robot in self.robots:
            measures = self.measures[robot]
            for kind in ("hand", "gripper"):
                on_command = partial(self._on_command, measures)
                self.create_subscription(JointTrajectory, f"{robot}/{kind}_command", on_command, qos.COMMANDS)
            self.create_subscription(LatentAction, f"{robot}/latent_action", partial(self._on_plan, measures), qos.LATENTS)
            self.create_subscription(EpisodeEvent, f"{robot}/episode_event", partial(self._on_event, robot), qos.EVENTS)
            for kind, topic in ((JointState, "joint_states"), (PoseStamped, "wrist_pose")):
                heard = partial(self._on_state, f"{robot}/{topic}")
                self._states.append(self.create_subscription(kind, f"{robot}/{topic}", heard, qos.IMAGES, raw=True))
        self.create_subscription(DiagnosticArray, "/diagnostics", self._on_diagnostics, qos.EVENTS)

    def run(self) -> list[EpisodeResult]:
        """All episodes; the summary is written after each.

        Raises:
            LatentPolicyError: Something is not up within ``start_limit``; names it.
            KeyboardInterrupt: Stopped.
        """
        self._await_all()
        results: list[EpisodeResult] = []
        try:
            for number in range(1, self._value("episodes") + 1):
                seed = self._value("seed") + number - 1
                results.append(self._episode(number, seed))
                if self._value("summary"):
                    write_summary(Path(self._value("summary")), results, self.measures, self.status)
                if self.stopped:
                    raise KeyboardInterrupt
        finally:
            self._rest()
        return results

    def _rest(self) -> None:
        """Nobody watches the robots any more: they are to stand still."""
        self.stopped = False
        try:
            self._policy(Transition.TRANSITION_DEACTIVATE, REST)
        except LatentPolicyError as error:
            self.say(f"the policy may still be active: {error}")

    def _episode(self, number: int, seed: int) -> EpisodeResult:
        self._policy(Transition.TRANSITION_DEACTIVATE)
        self._spin(SETTLE)
        for robot in self.robots:
            self._reset(robot, seed)
        self._spin(SETTLE)
        self._succeeded.clear()
        bag_before = self._last_bag()
        self._publish(EpisodeEvent.BEGIN, number, seed)
        self._policy(Transition.TRANSITION_ACTIVATE)
        self.say(f"episode {number}/{self._value('episodes')}, seed {seed}: running")
        began, limit = time.monotonic(), self._value("time_limit")
        self._began, self._measuring = began, True
        while len(self._succeeded) < len(self.robots) and time.monotonic() - began < limit and not self.stopped:
            self._spin(0.05)
        seconds = time.monotonic() - began
        self._spin(TAIL)
        self._measuring = False
        for measures in self.measures.values():
            measures.close_interval(seconds + TAIL)
        success = len(self._succeeded) == len(self.robots)
        self._publish(EpisodeEvent.END, number, seed, success, json.dumps(self._succeeded))
        bag = self._await_bag(bag_before) if self._value("record") else ""
        result = EpisodeResult(number, seed, seconds, {robot: self._succeeded.get(robot) for robot in self.robots}, bag)
        self.say(f"episode {number}/{self._value('episodes')}: {result.text()}")
        return result

    # --- steps

    def _await_all(self) -> None:
        """Wait until every part of the fleet answers."""
        expected = {f"{robot}/{topic}" for robot in self.robots for topic in ("joint_states", "wrist_pose")}
        self._state_client = self.create_client(GetState, "policy/get_state")
        self._change_client = self.create_client(ChangeState, "policy/change_state")
        self._resets = {robot: self.create_client(Trigger, f"{robot}/sim/reset") for robot in self.robots}
        self._seeds = {robot: self.create_client(SetParameters, f"{robot}/sim/set_parameters") for robot in self.robots}
        services = [self._state_client, self._change_client, *self._resets.values(), *self._seeds.values()]
        listeners = 2 if self._value("record") else 0  # the recorder subscribes twice: to write, and to obey
        deadline, told = time.monotonic() + self._value("start_limit"), time.monotonic()
        while True:
            missing = sorted(expected - self._heard)
            missing += [client.srv_name for client in services if not client.service_is_ready()]
            missing += [f"{r}/latent_action" for r in self.robots if self.count_subscribers(f"{r}/latent_action") < 2]
            if self._events.get_subscription_count() < listeners:
                missing.append("recorder")
            if not missing and self._policy_state(timeout=2.0) in ("active", "inactive"):
                while self._states:
                    self.destroy_subscription(self._states.pop())
                return
            if self.stopped:
                raise KeyboardInterrupt
            if time.monotonic() > deadline:
                waited = f"not up within {self._value('start_limit'):g} s"
                raise LatentPolicyError(f"{waited}; missing: {', '.join(missing) or 'an active policy node'}")
            if time.monotonic() - told > 5.0:
                told = time.monotonic()
                self.say(f"waiting for {', '.join(missing) or 'the policy'}")
            self._spin(0.1)

    def _policy(self, transition: int, timeout: float = 10.0) -> None:
        """Activate or deactivate the policy node; nothing happens if it is so already."""
        wanted = "active" if transition == Transition.TRANSITION_ACTIVATE else "inactive"
        if self._policy_state(timeout) == wanted:
            return
        request = ChangeState.Request(transition=Transition(id=transition))
        if not self._ask(self._change_client, request, timeout).success:
            raise LatentPolicyError(f"the policy node did not become {wanted}")

    def _policy_state(self, timeout: float = 10.0) -> str:
        """Its lifecycle state; empty if it does not say (a node that is loading, or was discovered just now)."""
        try:
            return self._ask(self._state_client, GetState.Request(), timeout).current_state.label
        except LatentPolicyError:
            return ""

    def _reset(self, robot: str, seed: int) -> None:
        value = ParameterValue(type=ParameterType.PARAMETER_INTEGER, integer_value=seed)
        answer = self._ask(self._seeds[robot], SetParameters.Request(parameters=[Parameter(name="seed", value=value)]))
        if not answer.results[0].successful:
            raise LatentPolicyError(f"{robot}: seed {seed} was refused: {answer.results[0].reason}")
        if not self._ask(self._resets[robot], Trigger.Request()).success:
            raise LatentPolicyError(f"{robot}: the simulator did not reset")

    def _await_bag(self, before: str) -> str:
        deadline = time.monotonic() + BAG
        while self._last_bag() == before and time.monotonic() < deadline and not self.stopped:
            self._spin(0.1)
        return self._last_bag() if self._last_bag() != before else ""

    def _last_bag(self) -> str:
        return self.status.get("/recorder", {}).get("values", {}).get("last_bag", "-")

    def _ask(self, client: Any, request: Any, timeout: float = 10.0) -> Any:
        future = client.call_async(request)
        deadline = time.monotonic() + timeout
        while not future.done():
            if self.stopped:
                raise KeyboardInterrupt
            if time.monotonic() > deadline:
                raise LatentPolicyError(f"{client.srv_name} did not answer within {timeout:g} s")
            self.executor_.spin_once(timeout_sec=0.02)
        return future.result()

    def _spin(self, seconds: float) -> None:
        end = time.monotonic() + seconds
        while (left := end - time.monotonic()) > 0:
            self.watchdog.feed()
            self.executor_.spin_once(timeout_sec=min(left, 0.05))

    def _publish(self, event: str, episode: int, seed: int, success: bool = False, detail: str = "") -> None:
        message = EpisodeEvent(event=event, task=self._value("task"), episode=episode, seed=seed, success=success, detail=detail)
        message.header.stamp = message_conversion.to_stamp(time.time())
        self._events.publish(message)

    # --- what comes in

    def _on_command(self, measures: RobotMeasures, message: JointTrajectory) -> None:
        if self._measuring and message.points:
            measures.command(to_seconds(message.header.stamp), time.time())

    def _on_plan(self, measures: RobotMeasures, _: LatentAction) -> None:
        if self._measuring:
            measures.plans += 1

    def _on_event(self, robot: str, message: EpisodeEvent) -> None:
        if self._measuring and message.event == EpisodeEvent.SUCCESS and robot not in self._succeeded:
            self._succeeded[robot] = time.monotonic() - self._began
            self.say(f"  {robot}: done after {self._succeeded[robot]:.1f} s")

    def _on_state(self, topic: str, _: bytes) -> None:
        self._heard.add(topic)

    def _on_diagnostics(self, message: DiagnosticArray) -> None:
        for status in message.status:
            values = {pair.key: pair.value for pair in status.values}
            self.status[status.name] = {"level": status.level[0], "message": status.message, "values": values}

    def _value(self, name: str) -> Any:
        return self.get_parameter(name).value


def main() -> int:
    """Run as a process: 0 if every robot did the task at least once, 3 if not, 1 if something was not up."""
    join(images=False, signal_handler_options=SignalHandlerOptions.NO)
    runner: EpisodeRunner | None = None

    def stop(*_: Any) -> None:
        if runner is not None:
            runner.stopped = True

    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, stop)
    try:
        runner = EpisodeRunner(partial(print, flush=True))
        runner.watchdog.timeout = HANG_TIMEOUT
        results = runner.run()
        return 0 if all(any(r.robots[robot] is not None for r in results) for robot in runner.robots) else 3
    except KeyboardInterrupt:
        return STOPPED
    except LatentPolicyError as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    finally:
        if runner is not None:
            runner.watchdog.allow(HANG_TIMEOUT)
            runner.destroy_node()
        leave()


if __name__ == "__main__":
    sys.exit(main())
