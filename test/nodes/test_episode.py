"""Action run_episode: its stages, results, rejection and cancellation, with a policy and a simulator that only answer."""

import time

import pytest

pytest.importorskip("rclpy", reason="needs ROS 2", exc_type=ImportError)
pytest.importorskip("latent_policy_ros.msg", reason="needs the generated messages", exc_type=ImportError)

from action_msgs.msg import GoalStatus  # noqa: E402
from diagnostic_msgs.msg import DiagnosticArray, DiagnosticStatus, KeyValue  # noqa: E402
from rcl_interfaces.msg import SetParametersResult  # noqa: E402
from rcl_interfaces.srv import SetParameters  # noqa: E402
from rclpy.action import ActionClient  # noqa: E402
from rclpy.task import Future  # noqa: E402
from std_srvs.srv import Trigger  # noqa: E402

from latent_policy_ros.action import RunEpisode  # noqa: E402
from latent_policy_ros.msg import EpisodeEvent, LatentAction  # noqa: E402
from latent_policy_ros.nodes import episode_node  # noqa: E402
from latent_policy_ros.nodes.episode_node import EpisodeNode  # noqa: E402
from latent_policy_ros.nodes.topics import qos  # noqa: E402


class Fleet:
    """Answers the services of a policy and of a simulator, and keeps their calls and the events of the episode."""

    def __init__(self, graph, namespace="", **parameters):
        self.graph, self.calls, self.feedback = graph, [], []
        self.node = graph.add(EpisodeNode, namespace, robots=["left"], simulators=["left"], task="stack", **parameters)
        self.events = graph.listen(EpisodeEvent, f"{namespace}/episode_event", qos.EVENTS)
        self.client = ActionClient(graph.probe, RunEpisode, f"{namespace}/run_episode")

    def serve(self):
        make = self.graph.probe.create_service
        for name in ("policy/engage", "policy/disengage", "left/sim/reset"):
            make(Trigger, name, lambda _, response, name=name: self._answer(name, response))
        make(SetParameters, "left/sim/set_parameters", self._set)
        self.graph.probe.create_subscription(LatentAction, "left/latent_action", lambda _: None, qos.LATENTS)

    def _answer(self, name, response):
        self.calls.append(name)
        response.success = True
        return response

    def _set(self, request, response):
        self.calls.append(f"seed {request.parameters[0].value.integer_value}")
        response.results = [SetParametersResult(successful=True)]
        return response

    def send(self, **goal):
        self.graph.until(self.client.server_is_ready, 10, "action server")
        keep = lambda message: self.feedback.append(message.feedback)
        future = self.client.send_goal_async(RunEpisode.Goal(**goal), feedback_callback=keep)
        self.graph.until(future.done, 10, "acceptance")
        return future.result()

    def finish(self, handle, timeout=15):
        future = handle.get_result_async()
        self.graph.until(future.done, timeout, "result")
        return future.result()

    def stages(self):
        return list(dict.fromkeys(message.stage for message in self.feedback))

    def until_running(self):
        self.graph.until(lambda: "running" in self.stages(), 10, "the episode")


class LossyClient:
    """A client whose first request is not answered."""

    srv_name = "policy/disengage"

    def __init__(self):
        self.futures = []

    def call_async(self, request):
        self.futures.append(Future())
        if len(self.futures) == 2:
            self.futures[1].set_result(Trigger.Response(success=True))
        return self.futures[-1]

    def remove_pending_request(self, future):
        self.futures.remove(future)


def test_an_unanswered_call_is_repeated(monkeypatch):
    monkeypatch.setattr(episode_node, "REPEAT_PERIOD", 0.05)
    client = LossyClient()
    steps = [time.sleep(0.01) for _ in episode_node._call(client, Trigger.Request())]
    assert 3 <= len(steps) <= 20 and client.futures == []


@pytest.fixture
def fleet(graph):
    fleet = Fleet(graph)
    fleet.serve()
    return fleet


def test_an_episode_from_reset_to_success(graph, fleet):
    diagnostics = graph.probe.create_publisher(DiagnosticArray, "/diagnostics", qos.EVENTS)
    handle = fleet.send(seed=7)
    assert handle.accepted and not fleet.send().accepted  # one at a time
    fleet.until_running()
    values = [KeyValue(key="latent_distance", value="0.75")]
    diagnostics.publish(DiagnosticArray(status=[DiagnosticStatus(name="/left/decoder", values=values)]))
    graph.run(0.5)
    graph.publish(EpisodeEvent, "left/robot_event", qos.EVENTS, EpisodeEvent(event="success"))
    answer = fleet.finish(handle)
    assert answer.status == GoalStatus.STATUS_SUCCEEDED
    result = answer.result
    assert (result.outcome, result.robots, result.bag) == ("success", ["left"], "")
    assert 0.3 < result.success_times[0] <= result.duration
    assert fleet.calls == ["policy/disengage", "seed 7", "left/sim/reset", "policy/engage", "policy/disengage"]
    assert fleet.stages() == ["waiting", "resetting", "running", "finishing"]
    assert [m.latent_distances[0] for m in fleet.feedback if m.stage == "running"][-1] == 0.75
    events = [(m.event, m.task, m.seed, m.success) for _, m in fleet.events]
    assert events == [("begin", "stack", 7, False), ("end", "stack", 7, True)]
    assert len({m.header.frame_id for _, m in fleet.events}) == 1


def test_time_limit_mark_and_cancellation(graph, fleet):
    result = fleet.finish(fleet.send(time_limit=0.3, task="pour")).result
    assert (result.outcome, result.reason) == ("failure", "no success of left within 0.3 s") and result.success_times[0] == -1.0
    assert fleet.events[-1][1].task == "pour" and "seed -1" not in fleet.calls
    mark = graph.probe.create_client(Trigger, "episode/success")
    graph.until(mark.service_is_ready)
    for expected in (False, True):
        if expected:
            fleet.feedback.clear()
            handle = fleet.send()
            fleet.until_running()
        future = mark.call_async(Trigger.Request())
        graph.until(future.done)
        assert future.result().success == expected
    result = fleet.finish(handle).result
    assert (result.outcome, result.reason) == ("success", "service success") and fleet.events[-1][1].success
    fleet.feedback.clear()
    handle = fleet.send()
    fleet.until_running()
    canceled = handle.cancel_goal_async()
    graph.until(canceled.done)
    answer = fleet.finish(handle)
    assert answer.status == GoalStatus.STATUS_CANCELED and answer.result.outcome == "canceled"
    assert fleet.calls[-1] == "policy/disengage" and fleet.events[-1][1].event == "end" and not fleet.events[-1][1].success


def test_what_is_missing_is_named(graph):
    fleet = Fleet(graph, "/empty", start_limit=0.5, record=True)
    answer = fleet.finish(fleet.send())
    assert answer.status == GoalStatus.STATUS_ABORTED
    for name in ("/empty/policy/engage", "/empty/left/sim/reset", "/empty/left/latent_action"):
        assert name in answer.result.reason
    assert not fleet.send(time_limit=-1.0).accepted
