"""ManagedNode and run_node: errors in callbacks, transitions, signals, parameter ranges, watchdog."""

import os
import signal
import subprocess
import sys
import time

import numpy as np
import pytest

from latent_policy_ros.common.ros_environment import choose_transport

pytest.importorskip("rclpy", reason="needs ROS 2", exc_type=ImportError)
pytest.importorskip("latent_policy_ros.msg", reason="needs the generated messages", exc_type=ImportError)

from diagnostic_msgs.msg import DiagnosticArray  # noqa: E402
from lifecycle_msgs.msg import Transition  # noqa: E402
from lifecycle_msgs.srv import ChangeState  # noqa: E402
from rclpy import Parameter  # noqa: E402
from rclpy.lifecycle import TransitionCallbackReturn  # noqa: E402
from sensor_msgs.msg import JointState  # noqa: E402
from std_srvs.srv import Trigger  # noqa: E402

from latent_policy_ros.nodes.base import main_loop  # noqa: E402
from latent_policy_ros.nodes.base.lifecycle_node import ManagedNode  # noqa: E402
from latent_policy_ros.nodes.base.main_loop import run_node, spin  # noqa: E402
from latent_policy_ros.nodes.topics import qos  # noqa: E402


class FailingNode(ManagedNode):
    """Raises in the methods named in ``failing``."""

    def __init__(self, **options):
        super().__init__("failing", 50.0, **options)
        self.declare("rate", 10.0, "Rate [Hz].", 0.5, 100.0)
        self.failing = {"service", "status", "activate"}
        self.received = []

    def configure(self):
        self.serve(Trigger, "~/ask", self.ask)
        self.subscribe(JointState, "x", self.received.append, qos.STATES)

    def maybe_raise(self, where):
        if where in self.failing:
            raise RuntimeError(f"defect in {where}")

    def activate(self):
        self.maybe_raise("activate")

    def ask(self, _, response):
        self.maybe_raise("service")
        response.success = True
        return response

    def status(self):
        self.maybe_raise("status")
        return super().status()


@pytest.fixture
def node(graph):
    node = FailingNode(parameter_overrides=[Parameter("autostart", value=False)])
    graph.nodes.append(node)
    graph.executor.add_node(node)
    return node


def test_exceptions_in_service_and_status_are_reported(graph, node):
    node.failing.remove("activate")
    assert node.trigger_configure() == node.trigger_activate() == TransitionCallbackReturn.SUCCESS
    reports = graph.listen(DiagnosticArray, "/diagnostics", qos.EVENTS)
    client = graph.probe.create_client(Trigger, "failing/ask")
    graph.until(client.service_is_ready)
    future = client.call_async(Trigger.Request())
    graph.until(future.done)
    assert not future.result().success and "defect in service" in node.details["~/ask: failed"]
    graph.until(lambda: reports)
    assert "defect in status" in reports[-1][1].status[0].message
    node.failing.clear()
    future = client.call_async(Trigger.Request())
    graph.until(future.done)
    assert future.result().success


def test_invalid_transition_is_refused(graph, node):
    """A lifecycle manager and autostart may both request a transition."""
    node.failing.clear()
    assert node.trigger_configure() == node.trigger_activate() == TransitionCallbackReturn.SUCCESS
    client = graph.probe.create_client(ChangeState, "failing/change_state")
    graph.until(client.service_is_ready)
    for transition, success in ((Transition.TRANSITION_CONFIGURE, False), (Transition.TRANSITION_DEACTIVATE, True)):
        future = client.call_async(ChangeState.Request(transition=Transition(id=transition)))
        graph.until(future.done)
        assert future.result().success is success
    assert "not registered" in node.details["change_state: failed"] and not node.active


def test_node_can_be_configured_again_after_failed_activation(graph, node):
    node.failing.discard("status")
    assert node.trigger_configure() == TransitionCallbackReturn.SUCCESS
    assert node.trigger_activate() == TransitionCallbackReturn.ERROR and not node.active
    node.failing.clear()
    assert node.trigger_configure() == node.trigger_activate() == TransitionCallbackReturn.SUCCESS
    graph.publish(JointState, "x", qos.STATES, JointState())
    graph.run(0.3)
    assert len(node.received) == 1


@pytest.fixture
def restored_process(monkeypatch):
    """Restore the environment and the signal handlers, which ``run_node`` changes."""
    for name, chosen in choose_transport(False, os.environ).items():
        monkeypatch.setenv(name, chosen)
    before = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}
    yield
    for number, handler in before.items():
        signal.signal(number, handler)


class SlowNode(ManagedNode):
    """Gets SIGTERM during a long configuration."""

    cleaned = 0

    def __init__(self, **options):
        super().__init__("slow", 50.0, **options)

    def configure(self):
        os.kill(os.getpid(), signal.SIGTERM)
        time.sleep(30.0)

    def cleanup(self):
        SlowNode.cleaned += 1


class SlowHardwareNode(ManagedNode):
    """Gets SIGINT while it switches its motors on."""

    calls = []

    def __init__(self, **options):
        super().__init__("slow", 50.0, **options)

    def activate(self):
        self.calls.append("on")
        os.kill(os.getpid(), signal.SIGINT)
        time.sleep(0.3)
        self.calls.append("connected")

    def deactivate(self):
        self.calls.append("off")


def test_signal_interrupts_configuration(restored_process):
    began = time.monotonic()
    assert run_node(SlowNode, []) == 0
    assert time.monotonic() - began < 10.0 and SlowNode.cleaned


def test_signal_during_activation_deactivates_afterwards(restored_process):
    assert run_node(SlowHardwareNode, []) == 0
    assert SlowHardwareNode.calls == ["on", "connected", "off"]


@pytest.mark.parametrize("value, words", [("500.0", "500"), ("20", "rate")])
def test_invalid_parameter_is_reported_in_one_line(capsys, restored_process, value, words):
    assert run_node(FailingNode, ["--ros-args", "-p", f"rate:={value}"]) == 1
    error = capsys.readouterr().err.strip().splitlines()[-1]
    assert error.startswith("error: ") and words in error


class FinalizedNode(ManagedNode):
    """Is shut down by a transition, as ``ros2 lifecycle set NODE shutdown`` does."""

    def __init__(self, **options):
        super().__init__("finalized", 50.0, **options)

    def tick(self, now):
        self.trigger_shutdown()


def test_process_of_a_finalized_node_ends_with_an_error(restored_process):
    assert run_node(FinalizedNode, []) == 1


def test_process_ends_with_the_process_that_started_it(restored_process, monkeypatch):
    """However it ends, and whatever started it: here the parent changes after the first cycle."""
    calls = []
    monkeypatch.setattr(main_loop, "watch_parent", lambda: lambda: len(calls) < 3)
    node = lambda: TickingNode(calls)
    assert run_node(node, []) == 0
    assert calls == ["tick"] * 3 + ["deactivated"]


class TickingNode(ManagedNode):
    def __init__(self, calls):
        super().__init__("ticking", 50.0)
        self.calls = calls

    def tick(self, now):
        self.calls.append("tick")

    def deactivate(self):
        self.calls.append("deactivated")


@pytest.mark.parametrize("enclave", [True, False], ids=["plugins", "enclave"])
def test_a_graph_that_cannot_be_secured_is_reported_in_one_line(capfd, restored_process, monkeypatch, tmp_path, enclave):
    """Files that are no certificates stand for a middleware without security plugins: no node starts unsecured."""
    if enclave:
        folder = tmp_path / "enclaves"
        folder.mkdir()
        for name in ("identity_ca.cert", "cert", "key", "permissions_ca.cert"):
            (folder / f"{name}.pem").write_text("x")
        for name in ("governance", "permissions"):
            (folder / f"{name}.p7s").write_text("x")
    monkeypatch.setenv("ROS_SECURITY_ENABLE", "true")
    monkeypatch.setenv("ROS_SECURITY_STRATEGY", "Enforce")
    monkeypatch.setenv("ROS_SECURITY_KEYSTORE", str(tmp_path))
    assert run_node(FailingNode, []) == 1
    assert "error: ROS_SECURITY_ENABLE is true, but this node cannot join the secured graph" in capfd.readouterr().err


HANGING = """
import ctypes, sys
from latent_policy_ros.nodes.base.lifecycle_node import ManagedNode
from latent_policy_ros.nodes.base.main_loop import run_node

class Hanging(ManagedNode):
    def __init__(self, **options):
        super().__init__("hanging", 50.0, **options)
        self.cycles = 0

    def tick(self, now):
        self.cycles += 1
        if self.cycles == 150:  # after 3 s: blocks with the GIL held, as a middleware call may; no Python signal handler runs
            ctypes.PyDLL(None).sleep(100)

sys.exit(run_node(Hanging))
"""


def test_watchdog_ends_hanging_process_with_stack_traces(ros_domain):
    began = time.monotonic()
    command = [sys.executable, "-c", HANGING, "--ros-args", "-p", "hang_timeout:=1.0"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60)
    assert done.returncode == 1 and "Timeout (0:00:02)" in done.stderr and "in tick" in done.stderr
    assert time.monotonic() - began > 4.0  # the watchdog did not fire while the loop was running


@pytest.mark.parametrize("early", [0.0, 0.01])
def test_postponed_cycle_does_not_postpone_the_following_ones(early):
    class Late:
        rate, poll_period, polled, advance = 20.0, 0.01, (), early
        asked, cycles = [], []

        def receive(self):
            pass

        def awaited(self, now):
            return []

        def postpone(self, late):
            self.asked.append(late)
            return 0.0 if late > 0.018 else 0.009

        def cycle(self):
            self.cycles.append(time.monotonic())

    class Idle:
        def spin_once(self, timeout_sec):
            time.sleep(timeout_sec)

    node, began = Late(), time.monotonic()
    spin([node], Idle(), lambda: time.monotonic() > began + 1.0)
    periods = np.diff(node.cycles)
    assert np.median(periods) == pytest.approx(0.05 - early, abs=0.005) and len(node.cycles) >= 15
    assert node.cycles[0] - began > 0.017 and max(node.asked) > 0.017
