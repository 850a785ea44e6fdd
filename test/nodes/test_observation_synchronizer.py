"""The observation synchroniser as a message filter, with message_filters itself and with its equal."""

import importlib
import re
import sys
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

pytest.importorskip("rclpy", reason="needs ROS 2", exc_type=ImportError)
pytest.importorskip("latent_policy_ros.msg", reason="needs the generated messages", exc_type=ImportError)

from geometry_msgs.msg import PoseStamped  # noqa: E402
from sensor_msgs.msg import Image, JointState  # noqa: E402
from std_msgs.msg import Float64MultiArray  # noqa: E402

from latent_policy_ros.common.errors import LatentPolicyError, ObservationRefused  # noqa: E402
from latent_policy_ros.embodiments import load_embodiment  # noqa: E402
from latent_policy_ros.nodes.topics import message_conversion  # noqa: E402
from latent_policy_ros.observations.messages import to_seconds  # noqa: E402
from latent_policy_ros.observations.modalities import value_modality  # noqa: E402
from latent_policy_ros.observations.observation_buffer import ObservationBuffer  # noqa: E402
from latent_policy_ros.observations.resize import Resize  # noqa: E402

HAND = load_embodiment("panda_gripper")
T0 = 1000.0
POSE = np.array([0.4, 0.0, 0.4, 1.0, 0.0, 0.0, 0.0])


@pytest.fixture(params=["message_filters", "equal"])
def modules(request, monkeypatch):
    """The modules filters and observation_synchronizer, imported with and without the package message_filters."""
    if request.param == "message_filters":
        pytest.importorskip("message_filters", reason="needs message_filters, which comes with a ROS 2 installation")
    else:
        monkeypatch.setitem(sys.modules, "message_filters", None)
    names = [f"latent_policy_ros.nodes.topics.{name}" for name in ("filters", "observation_synchronizer")]
    for name in names:
        monkeypatch.delitem(sys.modules, name, raising=False)
    filters, synchronizer = map(importlib.import_module, names)
    own = filters.SimpleFilter.__module__ == names[0]
    assert own == (request.param == "equal")
    return SimpleNamespace(filters=filters, synchronizer=synchronizer)


class Topics:
    """A node that keeps the callbacks of its subscriptions, and calls them with messages."""

    def __init__(self):
        self.callbacks, self.profiles = {}, {}

    def create_subscription(self, msg_type, topic, callback, qos_profile):
        self.callbacks[topic], self.profiles[topic] = callback, qos_profile
        return SimpleNamespace(topic_name=f"/{topic}")

    def image(self, stamp, value=7):
        self.callbacks["front"](message_conversion.image(stamp, "camera", np.full((8, 8, 3), value, np.uint8)))

    def state(self, stamp, value=0.02):
        q = np.full(len(HAND.rest), value)
        self.callbacks["joint_states"](message_conversion.joint_state(stamp, HAND.joint_names, q, q))
        self.callbacks["wrist_pose"](message_conversion.pose_stamped(stamp, "left/panda_link0", POSE))


@pytest.fixture
def cell(modules):
    """Topics, subscribers, and a synchroniser of them whose outputs are collected."""
    topics, subscriber = Topics(), modules.filters.Subscriber
    inputs = {
        name: subscriber(topics, kind, name, qos_profile=5)
        for name, kind in {"front": Image, "joint_states": JointState, "wrist_pose": PoseStamped}.items()
    }
    buffer = ObservationBuffer(("front",), HAND, resize=Resize(8, 8))
    cell = SimpleNamespace(topics=topics, inputs=inputs, now=T0, modules=modules, outputs=[])
    cell.synchronizer = modules.synchronizer.ObservationSynchronizer(inputs, buffer, lambda: cell.now)
    return cell


def collect(cell):
    cell.synchronizer.registerCallback(lambda output, tag: cell.outputs.append((output, tag)), "tag")


def test_a_subscriber_passes_messages_to_all_callbacks_with_their_arguments(modules):
    topics, received = Topics(), []
    source = modules.filters.Subscriber(topics, JointState, "joint_states", qos_profile=7)
    for connection, arguments in enumerate([(), ("a", 1)]):
        assert source.registerCallback(lambda *values: received.append(values), *arguments) == connection
    topics.callbacks["joint_states"]("message")
    assert received == [("message",), ("message", "a", 1)]
    assert source.getTopic() == "joint_states" and topics.profiles["joint_states"] == 7
    modules.filters.Subscriber(topics, JointState, "other")
    assert topics.profiles["other"] == 10


def test_each_observation_is_output_once_with_its_stamp_and_frame(cell):
    collect(cell)
    for k in range(5):
        cell.now = T0 + 0.05 * k
        cell.topics.state(cell.now, 0.01 * k)
        cell.topics.image(cell.now, k)
        cell.topics.state(cell.now + 0.01, 0.01 * k + 0.001)  # later, and no new observation
    outputs = [output for output, tag in cell.outputs if tag == "tag"]
    stamps = [output.observation.stamp for output in outputs]
    np.testing.assert_allclose(stamps, T0 + 0.05 * np.arange(5))
    np.testing.assert_allclose([to_seconds(output.header.stamp) for output in outputs], stamps)
    assert {output.header.frame_id for output in outputs} == {"left/panda_link0"}
    np.testing.assert_allclose([output.observation.joints[0] for output in outputs], 0.01 * np.arange(5))
    assert [output.observation.images["front"][0, 0, 0] for output in outputs] == [0, 1, 2, 3, 4]


def test_the_output_waits_for_the_state_at_the_time_of_the_image(cell):
    collect(cell)
    cell.topics.state(T0 - 0.2)
    cell.topics.image(T0)
    assert not cell.outputs
    cell.topics.state(T0 + 0.01)
    assert [output.observation.stamp for output, _ in cell.outputs] == [T0]


def test_filters_chain_before_and_behind(cell):
    """A user's filter between the subscriber of a camera and the synchroniser, and one behind it."""

    class Inverted(cell.modules.filters.SimpleFilter):
        def __init__(self, source):
            super().__init__()
            source.registerCallback(self.add)

        def add(self, message):
            pixels = 255 - np.frombuffer(message.data, np.uint8).reshape(message.height, message.width, 3)
            self.signalMessage(message_conversion.image(to_seconds(message.header.stamp), "camera", pixels))

    class Behind(cell.modules.filters.SimpleFilter):
        def __init__(self, source):
            super().__init__()
            source.registerCallback(lambda output: self.signalMessage(output.observation.images["front"][0, 0, 0]))

    buffer = ObservationBuffer(("front",), HAND, resize=Resize(8, 8))
    inputs = {**cell.inputs, "front": Inverted(cell.inputs["front"])}
    values = []
    Behind(cell.modules.synchronizer.ObservationSynchronizer(inputs, buffer, lambda: T0)).registerCallback(values.append)
    cell.topics.state(T0)
    cell.topics.image(T0, 5)
    assert values == [250]


def test_a_cache_of_message_filters_can_be_connected(cell):
    cache = pytest.importorskip("message_filters", reason="needs message_filters").Cache(cell.synchronizer, 10)
    for k in range(3):
        cell.now = T0 + 0.05 * k
        cell.topics.state(cell.now)
        cell.topics.image(cell.now)
    assert cache.getLast().observation.stamp == pytest.approx(T0 + 0.1)


def test_refused_messages_output_nothing_and_the_next_one_does(cell):
    collect(cell)
    cell.topics.state(T0)
    with pytest.raises(ObservationRefused, match="front has no stamp"):
        cell.topics.image(0.0)
    assert not cell.outputs
    cell.topics.image(T0)
    assert len(cell.outputs) == 1


def test_time_may_start_again_after_clear(cell):
    collect(cell)
    for start in (T0, T0 - 500.0):
        cell.now = start
        cell.synchronizer.clear()
        cell.topics.state(start)
        cell.topics.image(start)
    assert [output.observation.stamp for output, _ in cell.outputs] == [T0, T0 - 500.0]


def test_additional_streams_and_unknown_inputs(cell):
    source = cell.modules.filters.Subscriber(cell.topics, Float64MultiArray, "skin")
    synchronizer = cell.modules.synchronizer.ObservationSynchronizer
    buffer = ObservationBuffer((), HAND, wrist=False, values={"skin": 0.1})
    with pytest.raises(LatentPolicyError, match="input 'skin' has no stream; available: joint_states"):
        synchronizer({"skin": source}, buffer, lambda: T0)
    values = []
    buffer = ObservationBuffer(("front",), HAND, values={"skin": 0.1}, resize=Resize(8, 8))
    made = synchronizer({**cell.inputs, "skin": source}, buffer, lambda: T0, {"skin": value_modality("tactile")})
    made.registerCallback(lambda output: values.append(list(output.observation.values["skin"])))
    cell.topics.state(T0)
    cell.topics.image(T0)
    assert not values
    cell.topics.callbacks["skin"](Float64MultiArray(data=[1.0, 2.0]))
    assert values == [[1.0, 2.0]]


def test_the_node_of_the_documentation_receives_observations(graph, fake_robot, capsys):
    page = (Path(__file__).resolve().parents[2] / "docs/how-to/ROS.md").read_text()
    (code,) = [block for block in re.findall(r"```python\n(.*?)```", page, re.DOTALL) if "class Listener" in block]
    names = {}
    exec(code, names)
    node, robot = names["Listener"](), fake_robot("left", "mimic_hand", ("front",))
    graph.executor.add_node(node)
    printed = []
    try:
        graph.until(lambda: printed.append(capsys.readouterr().out) or "(96, 96, 3)" in "".join(printed), each=robot.publish)
    finally:
        graph.executor.remove_node(node)
        node.destroy_node()
