"""Policy node: one batch for all robots; a robot without valid observations does not affect the others."""

import time
from types import SimpleNamespace

import numpy as np
import pytest

pytest.importorskip("rclpy", reason="needs ROS 2", exc_type=ImportError)
pytest.importorskip("latent_policy_ros.msg", reason="needs the generated messages", exc_type=ImportError)
pytest.importorskip("torch")

from diagnostic_msgs.msg import DiagnosticArray  # noqa: E402
from sensor_msgs.msg import Image, JointState  # noqa: E402
from std_msgs.msg import Bool, Float64MultiArray  # noqa: E402
from std_srvs.srv import Trigger  # noqa: E402

from latent_policy_ros.common.errors import LatentPolicyError  # noqa: E402
from latent_policy_ros.msg import LatentAction  # noqa: E402
from latent_policy_ros.nodes.policy_node import PolicyNode, parse_streams  # noqa: E402
from latent_policy_ros.nodes.topics import message_conversion, qos  # noqa: E402
from latent_policy_ros.observations.arrivals import STAMPS, Arrivals  # noqa: E402
from latent_policy_ros.observations.messages import to_seconds  # noqa: E402


class Fleet:
    def __init__(self, graph, fake_robot, artifacts):
        self.graph = graph
        self.left = fake_robot("left", "mimic_hand", ("front", "wrist"))
        self.right = fake_robot("right", "panda_gripper", ("front",))
        self.chunks = {r: graph.listen(LatentAction, f"{r}/latent_action", qos.EVENTS) for r in ("left", "right")}
        self.node = graph.add(
            PolicyNode, policy=artifacts.policy, latent=artifacts.latent, robots=["left", "right"],
            embodiments=["mimic_hand", "panda_gripper"], cameras=["front,wrist", "front"],
        )  # fmt: skip

    def run(self, seconds, period=0.03):
        def each():
            self.left.publish()
            self.right.publish()

        self.graph.run(seconds, each, period)

    def rates(self, seconds=1.0):
        for plans in self.chunks.values():
            plans.clear()
        self.run(seconds)
        return {robot: len(plans) / seconds for robot, plans in self.chunks.items()}

    def at_10_hz(self, *robots):
        """Whether the robots get chunks at 10 Hz in one of three seconds; a busy machine may lose some."""
        return any(all(rates[r] >= 8 for r in robots) for rates in (self.rates() for _ in range(3)))


@pytest.fixture
def fleet(graph, fake_robot, artifacts):
    fleet = Fleet(graph, fake_robot, artifacts)
    fleet.run(0.5)
    return fleet


def test_both_robots_get_chunks_at_10_hz(fleet, artifacts, space):
    assert fleet.at_10_hz("left", "right")
    received, plan = fleet.chunks["left"][-1]
    assert plan.latent_id == space.latent_id and (plan.horizon, plan.dim) == (16, 8)
    assert len(plan.latents) == 128 and len(plan.wrist_poses) == 16 and plan.time_step == pytest.approx(0.1)
    assert 0 < received - to_seconds(plan.header.stamp) < 0.3
    assert plan.header.frame_id == "base"  # the frame of the wrist poses
    sequences = [p.sequence for _, p in fleet.chunks["left"]]
    stamps = [to_seconds(p.header.stamp) for _, p in fleet.chunks["left"]]
    assert np.all(np.diff(sequences) > 0) and np.all(np.diff(stamps) > 0)
    assert not [what for what in fleet.node.counts if "left out" not in what]
    level, text, values = fleet.node.status()
    assert text == "running" and float(values["left/rate_hz"]) > 8


def test_plans_advance_until_they_wait_for_their_images(fleet, monkeypatch):
    node, robot, too_late = fleet.node, SimpleNamespace(missing=(), arrivals=Arrivals()), 1.0
    for k in range(STAMPS):  # at 20 Hz; the newest 30 ms ago
        stamp = time.time() - 0.03 - 0.05 * (STAMPS - 1 - k)
        robot.arrivals.add(stamp, stamp)
    monkeypatch.setattr(node, "robots", {"left": robot})
    monkeypatch.setattr(node, "_postponed", False)
    assert node.postpone(too_late) == 0.0 and node.advance == pytest.approx(0.001)
    assert not node.awaited(time.monotonic())
    assert 0.0 < node.postpone(0.0) < 0.021 and node.advance == 0.0
    assert len(node.awaited(time.monotonic())) == 3  # cameras
    assert node.postpone(too_late) == 0.0 and node.advance == 0.0  # it waited, and an image came


@pytest.mark.parametrize("topic, value", [("joint_states", 1e308), ("joint_states", 1e300), ("wrist_pose", 1e300)])
def test_implausible_measurements_of_one_robot_do_not_affect_the_other(fleet, topic, value):
    right, count = fleet.right, [0]
    publish = right.publish

    def odd():
        count[0] += 1
        right.silent = {topic}
        publish()
        measured = value if count[0] // 3 % 2 else 0.02
        if topic == "joint_states":
            names = right.embodiment.joint_names
            right.joints.publish(message_conversion.joint_state(time.time(), names, np.array([measured]), np.zeros(1)))
        else:
            right.wrist.publish(message_conversion.pose_stamped(time.time(), "", np.array([measured, 0, 0, 0, 0, 0, 1.0])))

    right.publish = odd
    fleet.run(0.3)
    assert fleet.at_10_hz("left")
    assert fleet.node.counts["right: refused"] and not fleet.node.counts["failed"]
    assert all(np.isfinite(plan.latents).all() for plans in fleet.chunks.values() for _, plan in plans)


@pytest.mark.parametrize("silent", ["wrist", "joint_states", "wrist_pose"])
def test_robot_with_a_stale_stream_is_left_out_and_reported(graph, fleet, silent):
    diagnostics = graph.listen(DiagnosticArray, "/diagnostics", qos.EVENTS)
    fleet.left.silent.add(silent)
    fleet.run(0.5)
    assert fleet.at_10_hz("right") and not fleet.chunks["left"]
    assert fleet.node.robots["left"].missing == (f"{silent}: stale",)
    messages = [s for _, m in diagnostics for s in m.status if s.name == "/policy"]
    assert f"left ({silent}: stale)" in messages[-1].message
    fleet.left.silent.clear()
    assert fleet.at_10_hz("left")


def test_images_of_another_size_are_fitted_and_reported(fleet):
    fleet.left.size = (480, 640)
    assert fleet.at_10_hz("left")
    values = fleet.node.status()[2]
    assert values["left/front"] == values["left/wrist"] == "640x480 px, cropped to 480x480 px"
    assert values["right/front"] == "32x32 px"


@pytest.mark.parametrize("bad", ["encoding", "data", "step", "empty"])
def test_malformed_images_are_refused_and_counted(graph, fleet, bad):
    image = message_conversion.image(time.time(), "front", np.zeros((32, 32, 3), np.uint8))
    if bad == "encoding":
        image.encoding = "16UC1"
    elif bad == "data":
        image.data = image.data[:100]
    elif bad == "step":
        image.step = 10
    else:
        image = Image()
    for _ in range(3):
        fleet.left.images["front"].publish(image)
        fleet.run(0.1)
    assert fleet.node.counts["left/front/image_raw: refused"] == 3
    assert fleet.at_10_hz("left", "right")


@pytest.mark.parametrize("bad", ["missing", "twice", "nan", "lengths", "empty"])
def test_malformed_joint_states_are_refused_and_counted(fleet, bad):
    names, q = list(fleet.left.embodiment.joint_names), fleet.left.embodiment.rest.copy()
    if bad == "missing":
        names, q = names[1:], q[1:]
    elif bad == "twice":
        names, q = [*names, names[0]], [*q, q[0]]
    elif bad == "nan":
        q[2] = np.nan
    message = message_conversion.joint_state(time.time(), names, q, np.zeros(len(q)))
    if bad == "lengths":
        message.position = message.position[:-2]
    if bad == "empty":
        message = JointState()
    for _ in range(3):
        message.header.stamp = message_conversion.to_stamp(time.time())
        fleet.left.joints.publish(message)
        fleet.run(0.1)
    assert fleet.node.counts["left/joint_states: refused"] == (
        0 if bad in ("empty", "missing") else 3
    )  # some joints only: merged by name
    assert fleet.at_10_hz("left")


def test_joint_order_and_extra_joints_do_not_matter(fleet):
    e, node = fleet.left.embodiment, fleet.node
    order = np.random.default_rng(1).permutation(len(e.rest))
    fleet.left.silent.add("joint_states")
    q = e.rest + 0.01
    names, values = [*(e.joint_names[k] for k in order), "panda_joint1"], [*q[order], 7.0]

    def each():
        fleet.left.publish()
        fleet.left.joints.publish(message_conversion.joint_state(time.time(), names, values, np.zeros(len(values))))

    fleet.graph.run(0.5, each)
    np.testing.assert_allclose(node.robots["left"].buffer.observation(time.time()).joints, q, atol=1e-6)


def test_wrong_settings_prevent_the_start(graph, artifacts):
    good = {"policy": artifacts.policy, "latent": artifacts.latent, "robots": ["left"], "embodiments": ["mimic_hand"],
            "cameras": ["front"]}  # fmt: skip
    for changes in ({"cameras": ["ceiling"]}, {"embodiments": ["faive_hand"]}, {"policy": "nonsense"},
                    {"embodiments": ["mimic_hand", "mimic_hand"]}, {"robots": [""]}):  # fmt: skip
        with pytest.raises(AssertionError, match="did not start"):
            graph.add(PolicyNode, **{**good, **changes})
        graph.remove(graph.nodes[-1])


def test_additional_streams_are_subscribed_and_required(graph, fake_robot, artifacts):
    robot = fake_robot("left", "panda_gripper", ("front",))
    node = graph.add(
        PolicyNode, policy=artifacts.policy, latent=artifacts.latent, robots=["left"], embodiments=["panda_gripper"],
        cameras=["front"], streams=["skin:tactile:std_msgs/msg/Float64MultiArray"], task="stack",
    )  # fmt: skip
    chunks = graph.listen(LatentAction, "left/latent_action", qos.EVENTS)
    graph.run(0.5, robot.publish, 0.03)
    assert node.robots["left"].missing == ("skin: nothing received",) and not chunks

    def each():
        robot.publish()
        graph.publish(Float64MultiArray, "left/skin", qos.STATES, Float64MultiArray(data=[1.0, 2.0]))

    graph.until(lambda: chunks, 5, "a chunk", each)
    observation = node.robots["left"].buffer.observation(time.time())
    np.testing.assert_array_equal(observation.values["skin"], [1.0, 2.0])
    assert observation.task == "stack"


@pytest.mark.parametrize(("text", "message"), [
    ("skin", "left: streams: expected NAME:MODALITY or NAME:MODALITY:MESSAGE_TYPE, got 'skin'"),
    ("skin:smell", "unknown modality 'smell'"), ("skin:color_image", "'color_image' is for images"),
    ("skin:tactile:std_msgs/msg/String", "left: streams: tactile does not convert 'std_msgs/msg/String'; available: "),
])  # fmt: skip
def test_invalid_streams_are_refused(text, message):
    with pytest.raises(LatentPolicyError, match=message):
        parse_streams("left: streams", text)


def test_a_policy_that_is_not_engaged_does_not_drive(graph, fake_robot, artifacts):
    robot = fake_robot("left", "mimic_hand", ("front",))
    chunks = graph.listen(LatentAction, "left/latent_action", qos.LATENTS)
    engaged = graph.listen(Bool, "policy/engaged", qos.STATE_CHANGES)
    node = graph.add(PolicyNode, policy=artifacts.policy, latent=artifacts.latent, robots=["left"], embodiments=["mimic_hand"],
                     cameras=["front"], engage=False)  # fmt: skip
    graph.run(1.0, robot.publish, 0.03)
    assert not chunks and node.status()[1] == "not engaged: the robots hold"

    def call(name):
        client = graph.probe.create_client(Trigger, f"policy/{name}")
        graph.until(client.service_is_ready)
        future = client.call_async(Trigger.Request())
        graph.until(future.done)
        return future.result()

    assert call("engage").success
    graph.until(lambda: len(chunks) > 3, 5, "chunks", robot.publish)
    assert call("disengage").success
    graph.run(0.3, robot.publish, 0.03)
    chunks.clear()
    graph.run(0.5, robot.publish, 0.03)
    assert not chunks and [m.data for _, m in engaged][-3:] == [False, True, False]
    assert call("engage").success
    node.trigger_deactivate()
    assert not call("engage").success and not node.engaged
    node.trigger_activate()  # the parameter counts again
    assert not node.engaged
