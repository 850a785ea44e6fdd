"""Node: runs episodes on request, with an action: reset of simulated scenes, start and end of the policy, and of the recording."""

from __future__ import annotations

import json
import sys
import time
import uuid
from array import array
from collections.abc import Callable, Generator
from functools import partial
from typing import Any

from diagnostic_msgs.msg import DiagnosticArray
from rcl_interfaces.msg import Parameter, ParameterType, ParameterValue
from rcl_interfaces.srv import SetParameters
from rclpy.action import ActionServer, CancelResponse, GoalResponse
from std_srvs.srv import Trigger

from latent_policy_ros.action import RunEpisode
from latent_policy_ros.common.errors import LatentPolicyError, describe_error
from latent_policy_ros.msg import EpisodeEvent
from latent_policy_ros.nodes.base.lifecycle_node import OK, ManagedNode
from latent_policy_ros.nodes.base.main_loop import run_node
from latent_policy_ros.nodes.topics import message_conversion, qos
from latent_policy_ros.nodes.topics.robot_topics import ROBOT_NAMESPACES, ROBOT_NAMESPACES_HELP, robot_prefix

RATE = 20.0  # Hz
SETTLE_TIME = 0.5  # s before and after a reset: old chunks become stale and the drivers hold
TAIL_TIME = 0.7  # s recorded after the last success
CALL_TIMEOUT = 10.0  # s for the answer of a service
REPEAT_PERIOD = 3.0  # s; a service drops its answer if it has not discovered the client yet (rmw_fastrtps waits for 0.1 s)
BAG_TIMEOUT = 60.0  # s for the recorder to finish a bag
FEEDBACK_PERIOD = 0.2  # s
Steps = Generator[None, None, Any]  # advanced in every cycle of the node
Result, Feedback = RunEpisode.Result, RunEpisode.Feedback


class EpisodeNode(ManagedNode):
    """Runs one episode at a time, on a goal of the action ``run_episode``.

    The node disengages the policy, resets every simulator to the goal's seed, publishes the event ``begin`` on ``episode_event``,
    engages the policy, and waits until every robot reports ``success`` on ``<robot>/robot_event``, one of the services
    ``~/success`` and ``~/failure`` is called, or the time is over. It then disengages the policy, publishes the event ``end``, and,
    with a recorder, waits for the bag. A goal during an episode is rejected. A canceled episode ends at once.
    """

    poll_period = 1.0 / RATE

    def __init__(self, **node_options: Any) -> None:
        super().__init__("episode", rate=RATE, **node_options)
        self.declare("robots", [""], "Names of the robots.")
        self.declare(ROBOT_NAMESPACES, True, ROBOT_NAMESPACES_HELP)
        self.declare("simulators", [""], "Names of the robots whose simulator is reset.")
        self.declare("record", False, "A recorder runs: wait for it at the start, and for its bag at the end.")
        self.declare("task", "", "Description of the task, unless the goal has one.")
        self.declare("time_limit", 25.0, "Longest duration of an episode, unless the goal has one [s].", 0.1, 3600.0)
        self.declare("start_limit", 120.0, "Longest time to wait for the nodes of the fleet [s].", 0.0, 3600.0)
        self._steps: Steps | None = None
        self._goal: Any = None  # goal handle of the running episode

    def configure(self) -> None:
        self.robots = [name for name in self.value("robots") if name]
        if not self.robots:
            raise LatentPolicyError("parameter robots: expected at least one name, got none")
        self._prefixes = {name: robot_prefix(name, self.value(ROBOT_NAMESPACES)) for name in self.robots}
        self._steps, self._goal, self._number = None, None, 0
        self._run = f"{self.get_fully_qualified_name()} {uuid.uuid4().hex[:8]}"  # recorders match the events of an episode by it
        self._stage, self._detail, self._start = "", "", 0.0
        self._success_times: dict[str, float] = {}
        self._distances = dict.fromkeys(self.robots, 0.0)
        self._mark, self._last_bag, self._feedback_due = "", "-", 0.0
        self._events = self.publisher(EpisodeEvent, "episode_event", qos.EVENTS)
        self._policy = {name: self._client(Trigger, f"policy/{name}") for name in ("engage", "disengage")}
        simulators = [(name, self._prefixes[name]) for name in self.value("simulators") if name]
        self._resets = {name: self._client(Trigger, f"{prefix}sim/reset") for name, prefix in simulators}
        self._seeds = {name: self._client(SetParameters, f"{prefix}sim/set_parameters") for name, prefix in simulators}
        for robot, prefix in self._prefixes.items():
            self.subscribe(EpisodeEvent, f"{prefix}robot_event", partial(self._on_robot_event, robot), qos.EVENTS)
        self.subscribe(DiagnosticArray, "/diagnostics", self._on_diagnostics, qos.EVENTS)
        for outcome in (Result.SUCCESS, Result.FAILURE):
            self.serve(Trigger, f"~/{outcome}", partial(self._on_mark, outcome))
        server = ActionServer(
            self, RunEpisode, "run_episode", self._execute, goal_callback=self._on_goal,
            handle_accepted_callback=self._on_accepted, cancel_callback=lambda goal: CancelResponse.ACCEPT,
        )  # fmt: skip
        self._destructors.append(server.destroy)

    def deactivate(self) -> None:
        """End a running episode: the policy is disengaged."""
        if self._steps is not None:
            self._policy["disengage"].call_async(Trigger.Request())
            self._finish(self._new_result(Result.ABORTED, "the node was deactivated"))

    def tick(self, now: float) -> None:
        if self._steps is None:
            return
        if time.monotonic() >= self._feedback_due:
            self._feedback_due = time.monotonic() + FEEDBACK_PERIOD
            self._publish_feedback()
        try:
            next(self._steps)
        except StopIteration as ended:
            self._finish(ended.value)
        except Exception as error:
            self.count("episode aborted", describe_error(error))
            self._policy["disengage"].call_async(Trigger.Request())
            self._finish(self._new_result(Result.ABORTED, describe_error(error)))

    def status(self) -> tuple[bytes, str, dict[str, str]]:
        if not self.active:
            return OK, "inactive", {}
        return OK, f"{self._stage} {self._detail}".strip() or "waiting for a goal", {"episodes": str(self._number)}

    # --- the action

    def _on_goal(self, goal: RunEpisode.Goal) -> GoalResponse:
        reason = "the node is not active" if not self.active else "an episode is running" if self._steps is not None else ""
        if not 0.0 <= goal.time_limit <= 3600.0:
            reason = f"time_limit: expected 0 to 3600 s, got {goal.time_limit:g}"
        if reason:
            self.get_logger().warning(f"goal rejected: {reason}")
        return GoalResponse.REJECT if reason else GoalResponse.ACCEPT

    def _on_accepted(self, goal: Any) -> None:
        self._goal, self._steps, self._number = goal, self._episode(goal.request), self._number + 1
        self._success_times.clear()
        self._mark, self._start, self._stage = "", 0.0, Feedback.WAITING

    def _execute(self, goal: Any) -> RunEpisode.Result:
        raise LatentPolicyError("goals are executed by _finish")  # never called: handle_accepted_callback does not execute them

    def _finish(self, result: RunEpisode.Result) -> None:
        """Answer the goal. Its state becomes *executing* only here: a callback that executes for seconds would block the node."""
        goal, self._goal, self._steps, self._stage, self._detail = self._goal, None, None, "", ""
        self.get_logger().info(f"episode {self._number}: {result.outcome}: {result.reason}")
        try:
            canceled = goal.is_cancel_requested
            goal.execute(partial(_conclude, result, canceled))
        except Exception as error:  # the context is shut down
            self.count("result not sent", describe_error(error))

    def _publish_feedback(self) -> None:
        elapsed = time.monotonic() - self._start if self._start else 0.0
        self._goal.publish_feedback(Feedback(
            stage=self._stage, detail=self._detail, elapsed=elapsed, robots=self.robots,
            latent_distances=array("d", self._distances.values()),
        ))  # fmt: skip

    def _new_result(self, outcome: str, reason: str, duration: float = 0.0, bag: str = "") -> RunEpisode.Result:
        times = array("d", [self._success_times.get(robot, -1.0) for robot in self.robots])
        return Result(outcome=outcome, reason=reason, duration=duration, bag=bag, robots=self.robots, success_times=times)

    # --- one episode, as a generator that tick() advances

    def _episode(self, goal: RunEpisode.Goal) -> Steps:
        self._enter(Feedback.WAITING)
        deadline = time.monotonic() + self.value("start_limit")
        while self._is_incomplete():
            if self._goal.is_cancel_requested:
                return self._new_result(Result.CANCELED, "canceled before the start")
            if time.monotonic() > deadline:
                raise LatentPolicyError(f"not up within {self.value('start_limit'):g} s; missing: {self._detail}")
            yield
        self._enter(Feedback.RESETTING)
        yield from _call(self._policy["disengage"], Trigger.Request())
        yield from self._wait(SETTLE_TIME)
        for robot in self._resets:
            yield from self._reset(robot, goal.seed)
        yield from self._wait(SETTLE_TIME)
        self._success_times.clear()
        bag, task, seed = self._last_bag, goal.task or self.value("task"), max(0, goal.seed)
        self._event(EpisodeEvent.BEGIN, task, seed)
        yield from _call(self._policy["engage"], Trigger.Request())
        self._enter(Feedback.RUNNING)
        self._start = time.monotonic()
        outcome, reason = yield from self._run_until_done(goal.time_limit or self.value("time_limit"))
        duration = time.monotonic() - self._start
        yield from self._wait(TAIL_TIME)
        self._enter(Feedback.FINISHING)
        yield from _call(self._policy["disengage"], Trigger.Request())
        self._event(EpisodeEvent.END, task, seed, outcome == Result.SUCCESS, json.dumps(self._success_times))
        if self.value("record"):
            yield from self._wait(BAG_TIMEOUT, lambda: self._last_bag != bag)
        return self._new_result(outcome, reason, duration, self._last_bag if self._last_bag != bag else "")

    def _run_until_done(self, limit: float) -> Steps:
        """Returns outcome and reason."""
        while True:
            if self._goal.is_cancel_requested:
                return Result.CANCELED, "canceled"
            if self._mark:
                return self._mark, f"service {self._mark}"
            if len(self._success_times) == len(self.robots):
                return Result.SUCCESS, "every robot reported success"
            if time.monotonic() - self._start > limit:
                missing = ", ".join(robot for robot in self.robots if robot not in self._success_times)
                return Result.FAILURE, f"no success of {missing} within {limit:g} s"
            yield

    def _reset(self, robot: str, seed: int) -> Steps:
        if seed >= 0:
            value = ParameterValue(type=ParameterType.PARAMETER_INTEGER, integer_value=seed)
            answer = yield from _call(self._seeds[robot], SetParameters.Request(parameters=[Parameter(name="seed", value=value)]))
            if not answer.results[0].successful:
                raise LatentPolicyError(f"{robot}: the simulator refused seed {seed}: {answer.results[0].reason}")
        yield from _call(self._resets[robot], Trigger.Request())

    def _wait(self, seconds: float, until: Callable[[], bool] = lambda: False) -> Steps:
        deadline = time.monotonic() + seconds
        while time.monotonic() < deadline and not until():
            yield

    def _enter(self, stage: str) -> None:
        self._stage, self._detail = stage, ""
        self._publish_feedback()

    def _is_incomplete(self) -> bool:
        """Whether services of the fleet are missing; names them in the feedback."""
        clients = [*self._policy.values(), *self._resets.values(), *self._seeds.values()]
        missing = [self.resolve_service_name(client.srv_name) for client in clients if not client.service_is_ready()]
        missing += [f"subscriber of {self.resolve_topic_name(f'{prefix}latent_action')}" for prefix in self._prefixes.values()
                    if not self.count_subscribers(f"{prefix}latent_action")]  # fmt: skip
        if self.value("record") and not self._events.get_subscription_count():
            missing.append("recorder")
        self._detail = ", ".join(missing)
        return bool(missing)

    # --- topics and services

    def _client(self, srv_type: type, name: str) -> Any:
        client = self.create_client(srv_type, name)
        self._destructors.append(lambda: self.destroy_client(client))
        return client

    def _event(self, event: str, task: str, seed: int, success: bool = False, detail: str = "") -> None:
        message = EpisodeEvent(event=event, task=task, episode=self._number, seed=seed, success=success, detail=detail)
        message.header.stamp, message.header.frame_id = message_conversion.to_stamp(self.now()), self._run
        self._events.publish(message)

    def _on_robot_event(self, robot: str, message: EpisodeEvent) -> None:
        if self._start and self._steps is not None and message.event == EpisodeEvent.SUCCESS:
            self._success_times.setdefault(robot, time.monotonic() - self._start)

    def _on_mark(self, outcome: str, _: Trigger.Request, response: Trigger.Response) -> Trigger.Response:
        response.success = self._stage == Feedback.RUNNING
        response.message = f"ends the episode: {outcome}" if response.success else "no episode is running"
        if response.success:
            self._mark = outcome
        return response

    def _on_diagnostics(self, message: DiagnosticArray) -> None:
        space = self.get_namespace().rstrip("/")
        for status in message.status:
            if status.name == f"{space}/recorder":
                self._last_bag = _value(status, "last_bag", self._last_bag)
            for robot, prefix in self._prefixes.items():
                if status.name == f"{space}/{prefix}decoder":
                    self._distances[robot] = float(_value(status, "latent_distance", "0"))


def _value(status: Any, key: str, default: str) -> str:
    return next((pair.value for pair in status.values if pair.key == key), default)


def _call(client: Any, request: Any) -> Steps:
    """The response of a service that may be called twice. A Trigger that does not succeed is an error."""
    start, futures = time.monotonic(), list[Any]()
    while not any(future.done() for future in futures):
        if time.monotonic() > start + CALL_TIMEOUT:
            raise LatentPolicyError(f"{client.srv_name} did not answer within {CALL_TIMEOUT:g} s")
        if time.monotonic() >= start + REPEAT_PERIOD * len(futures):
            futures.append(client.call_async(request))
        yield
    response = next(future.result() for future in futures if future.done())
    for future in futures:
        client.remove_pending_request(future)
    if isinstance(response, Trigger.Response) and not response.success:
        raise LatentPolicyError(f"{client.srv_name}: {response.message or 'refused'}")
    return response


def _conclude(result: RunEpisode.Result, canceled: bool, goal: Any) -> RunEpisode.Result:
    """Set the state of a goal, and return its result."""
    if canceled:
        goal.canceled()
    elif result.outcome == Result.ABORTED:
        goal.abort()
    else:
        goal.succeed()
    return result


def main() -> int:
    """Entry point of ``ros2 run latent_policy_ros episode_node``."""
    return run_node(EpisodeNode)


if __name__ == "__main__":
    sys.exit(main())
