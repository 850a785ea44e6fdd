"""Fixtures: rclpy nodes on one executor, a small untrained policy, and a fake robot."""

import gc
import os
import time
from types import SimpleNamespace

import numpy as np
import pytest
from untrained import untrained_space

from latent_policy_ros.common.ros_environment import choose_transport
from latent_policy_ros.embodiments import load_embodiment

DIM = 8
EMBODIMENTS = ("mimic_hand", "panda_gripper")


@pytest.fixture(scope="session")
def space():
    return untrained_space(*EMBODIMENTS, dim=DIM)


@pytest.fixture(scope="session")
def artifacts(tmp_path_factory, space):
    """Folders of an untrained latent space and of an untrained policy of it."""
    torch = pytest.importorskip("torch")
    from latent_policy_ros.policy.checkpoint import Checkpoint
    from latent_policy_ros.policy.network.diffusion import PolicyNetwork
    from latent_policy_ros.policy.scaling import Scaling
    from latent_policy_ros.policy.settings import ModelSettings
    from latent_policy_ros.policy.training.train import human_grasp

    folder = tmp_path_factory.mktemp("artifacts")
    settings = ModelSettings(
        image_size=32, feature_dim=32, sampling_steps=2, image_encoder_options={"keypoints": 8},
        denoiser_options={"width": 32, "blocks": 1},
    )  # fmt: skip
    torch.manual_seed(0)
    weights = {k: v.numpy().astype(np.float32) for k, v in PolicyNetwork(settings, DIM).state_dict().items()}
    width = 9 + DIM
    scaling = Scaling(np.zeros(width + 1, np.float32), np.ones(width + 1, np.float32),
                      np.zeros((settings.horizon, width), np.float32),
                      np.full((settings.horizon, width), 0.02, np.float32))  # fmt: skip
    space.save(folder / "latent")
    Checkpoint(settings, space.latent_id, scaling, human_grasp(space), weights).save(folder / "policy")
    return SimpleNamespace(latent=str(folder / "latent"), policy=str(folder / "policy"), settings=settings)


class Graph:
    """Nodes under test on one executor, and a plain node ``probe`` that publishes and subscribes."""

    def __init__(self):
        import rclpy

        from latent_policy_ros.nodes.base.ros_context import Executor

        with pytest.MonkeyPatch.context() as patch:  # restored afterwards: child processes choose their own transport
            for name, value in choose_transport(False, os.environ).items():
                patch.setenv(name, value)
            rclpy.init()
            self.probe = rclpy.create_node("probe")
        self.executor = Executor()
        self.nodes = []
        gc.collect()  # a collection of objects of earlier tests would block 100 Hz loops for 30 ms
        gc.freeze()
        self.executor.add_node(self.probe)
        self._publishers = {}

    def add(self, make, namespace="", **parameters):
        """Create a node with parameters, then configure and activate it as ``run_node`` does."""
        from rclpy import Parameter

        from latent_policy_ros.nodes.base.main_loop import start

        overrides = [Parameter(name, value=value) for name, value in parameters.items()]
        node = make(namespace=namespace or None, parameter_overrides=overrides)
        self.nodes.append(node)
        self.executor.add_node(node)
        assert start([node]), f"{node.get_name()} did not start"
        return node

    def remove(self, node):
        """Shut a node down and destroy it."""
        self.nodes.remove(node)
        self.executor.remove_node(node)
        node.trigger_shutdown()
        node.destroy_node()

    def listen(self, msg_type, topic, profile):
        """Subscribe; returns a list that grows by (time of receipt, message)."""
        received = []
        self.probe.create_subscription(msg_type, topic, lambda m: received.append((time.time(), m)), profile)
        return received

    def publish(self, msg_type, topic, profile, message):
        """Publish a message, after the first subscriber of the topic is there."""
        if topic not in self._publishers:
            self._publishers[topic] = self.probe.create_publisher(msg_type, topic, profile)
            self.until(lambda: self._publishers[topic].get_subscription_count() > 0, 5, "a subscriber of " + topic)
        self._publishers[topic].publish(message)

    def run(self, seconds, each=lambda: None, period=0.05):
        """Spin all nodes; call ``each`` every ``period`` seconds."""
        from latent_policy_ros.nodes.base.main_loop import spin

        end, due = time.monotonic() + seconds, [0.0]

        def stop():
            if time.monotonic() >= due[0]:
                due[0] = time.monotonic() + period
                each()
            return time.monotonic() >= end

        if self.nodes:
            spin(self.nodes, self.executor, stop)
        else:
            while not stop():
                self.executor.spin_once(timeout_sec=0.005)

    def until(self, condition, timeout=5.0, what="condition", each=lambda: None):
        """Spin all nodes until ``condition()`` is true; fail after ``timeout`` seconds."""
        end = time.monotonic() + timeout
        while not condition():
            assert time.monotonic() < end, f"{what}: not within {timeout} s"
            self.run(0.05, each)

    def close(self):
        import rclpy

        gc.unfreeze()
        for node in list(self.nodes):
            self.remove(node)
        self.probe.destroy_node()
        rclpy.try_shutdown()


@pytest.fixture
def graph():
    graph = Graph()
    yield graph
    graph.close()


class FakeRobot:
    """Publishes camera images, joint states and wrist pose of a robot, except the topics in ``silent``."""

    def __init__(self, graph, namespace, embodiment, cameras):
        from geometry_msgs.msg import PoseStamped
        from sensor_msgs.msg import Image, JointState

        from latent_policy_ros.nodes.topics import qos

        self.embodiment, self.cameras, self.silent = load_embodiment(embodiment), set(cameras), set()
        make = graph.probe.create_publisher
        self.images = {c: make(Image, f"{namespace}/{c}/image_raw", qos.IMAGES) for c in cameras}
        self.joints = make(JointState, f"{namespace}/joint_states", qos.STATES)
        self.wrist = make(PoseStamped, f"{namespace}/wrist_pose", qos.STATES)
        self.size, self.value = (32, 32), 100

    def publish(self):
        from latent_policy_ros.nodes.topics import message_conversion

        now = time.time()
        for camera, publisher in self.images.items():
            if camera not in self.silent:
                publisher.publish(message_conversion.image(now, camera, np.full((*self.size, 3), self.value, np.uint8)))
        e = self.embodiment
        if "joint_states" not in self.silent:
            self.joints.publish(message_conversion.joint_state(now, e.joint_names, e.rest, np.zeros(len(e.rest))))
        if "wrist_pose" not in self.silent:
            self.wrist.publish(message_conversion.pose_stamped(now, "base", np.array([0.4, 0, 0.4, 1.0, 0, 0, 0])))


@pytest.fixture
def fake_robot(graph):
    return lambda *arguments: FakeRobot(graph, *arguments)
