"""What every node promises: nothing that goes wrong inside it ends it, and it can begin anew."""

import os
import signal
import subprocess
import sys
import time

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

from latent_policy_ros.nodes.base import qos  # noqa: E402
from latent_policy_ros.nodes.base.lifecycle_node import ManagedNode  # noqa: E402
from latent_policy_ros.nodes.base.main_loop import run_node  # noqa: E402


class Faulty(ManagedNode):
    """Fails wherever its parameters say so."""

    def __init__(self, **options):
        super().__init__("faulty", 50.0, **options)
        self.declare("rate", 10.0, "Hz.", 0.5, 100.0)
        self.faults = {"service", "status", "activate"}
        self.got = []

    def configure(self):
        self.serve(Trigger, "~/ask", self.ask)
        self.subscribe(JointState, "x", self.got.append, qos.STATES)

    def fail(self, where):
        if where in self.faults:
            raise RuntimeError(f"a bug in {where}")

    def activate(self):
        self.fail("activate")

    def ask(self, _, response):
        self.fail("service")
        response.success = True
        return response

    def status(self):
        self.fail("status")
        return super().status()


@pytest.fixture
def node(graph):
    node = Faulty(parameter_overrides=[Parameter("autostart", value=False)])
    graph.nodes.append(node)
    graph.executor.add_node(node)
    return node


def test_a_fault_in_a_service_or_in_the_status_is_told_and_ends_nothing(graph, node):
    node.faults.remove("activate")
    assert node.trigger_configure() == node.trigger_activate() == TransitionCallbackReturn.SUCCESS
    told = graph.listen(DiagnosticArray, "/diagnostics", qos.EVENTS)
    client = graph.probe.create_client(Trigger, "faulty/ask")
    graph.until(client.service_is_ready)
    future = client.call_async(Trigger.Request())
    graph.until(future.done)
    assert not future.result().success and "a bug in service" in node.details["~/ask: failed"]
    graph.until(lambda: told)
    assert "a bug in status" in told[-1][1].status[0].message
    node.faults.clear()
    future = client.call_async(Trigger.Request())
    graph.until(future.done)
    assert future.result().success


def test_a_transition_that_is_not_possible_now_is_refused_and_ends_nothing(graph, node):
    """As by a manager of life cycles beside autostart."""
    node.faults.clear()
    assert node.trigger_configure() == node.trigger_activate() == TransitionCallbackReturn.SUCCESS
    client = graph.probe.create_client(ChangeState, "faulty/change_state")
    graph.until(client.service_is_ready)
    for transition, success in ((Transition.TRANSITION_CONFIGURE, False), (Transition.TRANSITION_DEACTIVATE, True)):
        future = client.call_async(ChangeState.Request(transition=Transition(id=transition)))
        graph.until(future.done)
        assert future.result().success is success
    assert "not registered" in node.details["change_state: failed"] and not node.active


def test_a_node_whose_activation_failed_can_be_configured_anew_and_hears_everything_once(graph, node):
    node.faults.discard("status")
    assert node.trigger_configure() == TransitionCallbackReturn.SUCCESS
    assert node.trigger_activate() == TransitionCallbackReturn.ERROR and not node.active
    node.faults.clear()
    assert node.trigger_configure() == node.trigger_activate() == TransitionCallbackReturn.SUCCESS
    graph.publish(JointState, "x", qos.STATES, JointState())
    graph.run(0.3)
    assert len(node.got) == 1


@pytest.fixture
def alone(monkeypatch):
    """`main` changes the environment and the handlers of signals of its process, and this one goes on."""
    for name, chosen in choose_transport(False, os.environ).items():
        monkeypatch.setenv(name, chosen)
    before = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}
    yield
    for number, handler in before.items():
        signal.signal(number, handler)


class Slow(ManagedNode):
    """Takes long to be configured."""

    cleaned = 0

    def __init__(self, **options):
        super().__init__("slow", 50.0, **options)

    def configure(self):
        os.kill(os.getpid(), signal.SIGTERM)
        time.sleep(30.0)

    def cleanup(self):
        Slow.cleaned += 1


class SlowHardware(ManagedNode):
    """Switches motors on for a while when it is activated."""

    did = []

    def __init__(self, **options):
        super().__init__("slow", 50.0, **options)

    def activate(self):
        self.did.append("on")
        os.kill(os.getpid(), signal.SIGINT)
        time.sleep(0.3)
        self.did.append("connected")

    def deactivate(self):
        self.did.append("off")


def test_a_node_that_is_told_to_end_while_it_loads_ends_at_once(alone):
    began = time.monotonic()
    assert run_node(Slow, []) == 0
    assert time.monotonic() - began < 10.0 and Slow.cleaned


def test_hardware_that_is_being_connected_is_left_as_it_should(alone):
    assert run_node(SlowHardware, []) == 0
    assert SlowHardware.did == ["on", "connected", "off"]


@pytest.mark.parametrize("value, words", [("500.0", "500"), ("20", "rate")])
def test_a_parameter_out_of_its_range_or_of_another_type_is_told_in_one_line(capsys, alone, value, words):
    assert run_node(Faulty, ["--ros-args", "-p", f"rate:={value}"]) == 1
    error = capsys.readouterr().err.strip().splitlines()[-1]
    assert error.startswith("error: ") and words in error


HANGING = """
import ctypes, sys
from latent_policy_ros.nodes.base.lifecycle_node import ManagedNode
from latent_policy_ros.nodes.base.main_loop import run_node

class Hanging(ManagedNode):
    def __init__(self, **options):
        super().__init__("hanging", 50.0, **options)
        self.turns = 0

    def tick(self, now):
        self.turns += 1
        if self.turns == 150:  # after 3 s, as a call of the middleware may: nothing of Python goes on, no signal is handled
            ctypes.PyDLL(None).sleep(100)

sys.exit(run_node(Hanging))
"""


def test_a_process_that_hangs_ends_with_the_stacks_of_its_threads(ros_domain):
    began = time.monotonic()
    command = [sys.executable, "-c", HANGING, "--ros-args", "-p", "hang_timeout:=1.0"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60)
    assert done.returncode == 1 and "Timeout (0:00:02)" in done.stderr and "in tick" in done.stderr
    assert time.monotonic() - began > 4.0  # not while its loop still turned
