"""PolledSubscription: bounded intake, the newest messages first in time, other topics untouched."""

import itertools
import time
from types import SimpleNamespace

import pytest

pytest.importorskip("rclpy", reason="needs ROS 2", exc_type=ImportError)
pytest.importorskip("latent_policy_ros.msg", reason="needs the generated messages", exc_type=ImportError)

from rclpy.qos import QoSProfile, ReliabilityPolicy  # noqa: E402
from rclpy.serialization import deserialize_message  # noqa: E402
from sensor_msgs.msg import JointState  # noqa: E402

from latent_policy_ros.nodes.base.lifecycle_node import ManagedNode  # noqa: E402
from latent_policy_ros.nodes.topics import qos  # noqa: E402
from latent_policy_ros.nodes.topics.polled_subscription import MIN_BURST, MIN_RATE, RATE_PER_PLACE, PolledSubscription  # noqa: E402


class Queue:
    """A subscription whose queue is never empty."""

    def __init__(self):
        self.handle, self.msg_type, self.taken = self, JointState, 0

    def take_message(self, message_type, raw):
        self.taken += 1
        return b"message", {}


@pytest.mark.parametrize("depth, rate, burst", [(1, MIN_RATE, MIN_BURST), (50, 50 * RATE_PER_PLACE, 50)])
def test_messages_per_second_are_bounded(depth, rate, burst):
    queue, handled = Queue(), []
    polled = PolledSubscription(queue, depth, handled.append)
    polled.poll(100.0)
    assert len(handled) == burst
    for k in range(1, 301):
        polled.poll(100.0 + 0.01 * k)
    assert len(handled) == queue.taken == pytest.approx(burst + 3.0 * rate, abs=2)


@pytest.mark.parametrize("depth", [1, 50])
def test_a_message_may_be_read_when_the_rate_allows_it(depth):
    polled = PolledSubscription(Queue(), depth, lambda _: None)
    assert polled.may_read(100.0)
    polled.poll(100.0)
    assert not polled.may_read(100.0) and polled.may_read(100.0 + 1.5 / max(MIN_RATE, depth * RATE_PER_PLACE))


class Patient(ManagedNode):
    """Reads its topics once in an hour, unless their messages are awaited."""

    poll_period = 3600.0

    def __init__(self, **options):
        super().__init__("patient", rate=0.001, **options)
        self.received = SimpleNamespace(awaited=[], calm=[])

    def configure(self):
        for name in ("awaited", "calm"):
            note = getattr(self.received, name).append
            self.subscribe(JointState, name, note, qos.COMMANDS, raw=True, awaited=name == "awaited")


def test_an_awaited_message_is_read_when_it_arrives(graph):
    node = graph.add(Patient)
    publishers = {name: graph.probe.create_publisher(JointState, name, qos.COMMANDS) for name in ("awaited", "calm")}
    graph.until(lambda: all(p.get_subscription_count() for p in publishers.values()), what="discovery")
    steps, unread = itertools.count(), []

    def each():
        step = next(steps)
        if step == 3:
            publishers["calm"].publish(JointState())
        elif step == 8:
            unread.append(len(node.received.calm))
            publishers["awaited"].publish(JointState(name=["a"]))

    graph.run(0.6, each)
    assert unread == [0] and len(node.received.calm) == 1  # read with the awaited one
    assert [deserialize_message(data, JointState).name for data in node.received.awaited] == [["a"]]


def test_a_flood_of_awaited_messages_is_bounded(graph):
    node = graph.add(Patient)
    publisher = graph.probe.create_publisher(JointState, "awaited", qos.COMMANDS)
    graph.until(publisher.get_subscription_count, what="discovery")
    began = time.monotonic()
    graph.run(2.0, each=lambda: publisher.publish(JointState()), period=0.001)
    assert 20 < len(node.received.awaited) <= MIN_BURST + MIN_RATE * (time.monotonic() - began) and not node.counts


class Listener(ManagedNode):
    """Notes the names in the messages of two topics, of which one is a message filter."""

    def __init__(self, **options):
        super().__init__("listener", rate=20.0, **options)
        self.received = SimpleNamespace(flooded=[], calm=[])

    def configure(self):
        note = lambda message, received: received.append(message.name[0])
        self.filter(JointState, "flooded", qos.STATES).registerCallback(note, self.received.flooded)
        self.subscribe(JointState, "calm", lambda message: note(message, self.received.calm), qos.STATES)


def test_a_flood_of_one_topic_leaves_the_others_alone(graph):
    """Bursts of 200 messages, four times what the queue holds: a part is read, and the newest is among them."""
    node = graph.add(Listener)
    fast = QoSProfile(depth=50, reliability=ReliabilityPolicy.BEST_EFFORT)
    flooded, calm = (graph.probe.create_publisher(JointState, topic, fast) for topic in ("flooded", "calm"))
    graph.until(lambda: flooded.get_subscription_count() and calm.get_subscription_count(), what="discovery")
    sent, turns, began = 0, 0, time.monotonic()

    def flood():
        nonlocal sent, turns
        turns += 1
        calm.publish(JointState(name=[str(turns)]))
        for _ in range(200):
            sent += 1
            flooded.publish(JointState(name=[str(sent)]))

    for _ in range(30):
        flood()
        graph.run(0.05)
    graph.until(lambda: node.received.flooded[-1:] == [str(sent)], what="the newest message")
    seconds = time.monotonic() - began
    assert node.received.calm == [str(k + 1) for k in range(turns)]
    read = node.received.flooded
    assert 50 < len(read) <= min(50 * RATE_PER_PLACE * seconds + 50, 0.3 * sent) and not node.counts
    assert not list(node.subscriptions) and len(node.polled) == 2  # no executor runs them
