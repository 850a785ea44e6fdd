"""Parity of driver nodes with a simulated rollout: the same chunks and joints give the same set points."""

from types import SimpleNamespace

import numpy as np
import pytest

pytest.importorskip("rclpy", reason="needs ROS 2", exc_type=ImportError)
pytest.importorskip("latent_policy_ros.msg", reason="needs the generated messages", exc_type=ImportError)

from rclpy.serialization import deserialize_message  # noqa: E402
from servos import Clock, Servos, ServoWorld, action_chunks  # noqa: E402

from latent_policy_ros.common.errors import ActionRefused  # noqa: E402
from latent_policy_ros.common.paths import artifact  # noqa: E402
from latent_policy_ros.latent import LatentSpace  # noqa: E402
from latent_policy_ros.nodes import decoder_node  # noqa: E402
from latent_policy_ros.nodes.arm_driver_node import ArmDriver  # noqa: E402
from latent_policy_ros.nodes.base import driver_node  # noqa: E402
from latent_policy_ros.nodes.decoder_node import Decoder  # noqa: E402
from latent_policy_ros.nodes.topics import message_conversion  # noqa: E402
from latent_policy_ros.policy import ActionChunk  # noqa: E402
from latent_policy_ros.sim.evaluation import RobotRollout  # noqa: E402

LATENCY, SECONDS, EPOCH = 0.08, 2.0, 1024.0


class LocalDecoder(Decoder):
    """A decoder node whose messages go straight to ``routes[topic]``."""

    def __init__(self, **options):
        self.routes = {}
        super().__init__(**options)

    def publisher(self, msg_type, topic, profile):
        def publish(message):
            self.routes[topic](deserialize_message(message, msg_type) if isinstance(message, bytes) else message)

        return SimpleNamespace(publish=publish)


@pytest.mark.parametrize("embodiment", ["mimic_hand", "panda_gripper"])
def test_driver_nodes_send_the_set_points_of_a_rollout(graph, monkeypatch, embodiment):
    """Real decoder and driver nodes, with real messages, on a clock that the test moves; only the transport is left out."""
    space, world = LatentSpace.load(artifact("latents", "default")), ServoWorld(embodiment)
    rollout = RobotRollout(world, 0, space, latency=LATENCY)
    for chunk in action_chunks(space, embodiment):
        rollout.add_chunk(chunk)
    expected = []
    for _ in range(round(SECONDS * 100)):
        rollout.advance(0.01)
        expected.append(np.concatenate([c.output.position for c in (rollout.hand_controller, rollout.arm_controller)]))

    clock, kind = Clock(), world.embodiment.command
    for module in (driver_node, decoder_node):
        monkeypatch.setattr(module, "time", SimpleNamespace(monotonic=clock))
    for node_class in (driver_node.DriverNode, Decoder):
        monkeypatch.setattr(node_class, "now", lambda self: EPOCH + clock())
    decoder = graph.add(LocalDecoder, "robot", embodiment=embodiment)
    hand = graph.add(lambda **options: driver_node.EndEffectorDriver(kind, **options), "robot", embodiment=embodiment)
    arm = graph.add(ArmDriver, "robot", embodiment=embodiment)
    for node, start in ((hand, world.embodiment.rest), (arm, world.arm.home)):
        node.driver = Servos(node.names, start, clock, EPOCH)
        node.tick(node.now())
    decoder.routes = {
        f"{kind}_command": hand.on_trajectory,
        "arm_command": arm.on_trajectory,
        "wrist_command": arm.on_wrist_command,
    }

    chunks, sent = action_chunks(space, embodiment, EPOCH), []
    for step in range(round(SECONDS * 100)):
        clock.now = step / 100
        arrived = False
        while chunks and chunks[0].stamp + LATENCY <= decoder.now() + 1e-9:
            message = message_conversion.latent_action(chunks.pop(0), "panda_link0")
            try:
                decoder.decoder.accept(ActionChunk.from_message(message), decoder.now(), clock())
                arrived = True
            except ActionRefused:
                pass
        if arrived or step % 2 == 0:
            decoder.tick(decoder.now())
        hand.tick(hand.now())
        arm.tick(arm.now())
        sent.append(np.concatenate([node.controller.output.position for node in (hand, arm)]))

    assert hand.controller.output.reason == arm.controller.output.reason == "commanded to hold"
    assert np.ptp(sent, axis=0).max() > 0.1
    np.testing.assert_allclose(sent, expected, rtol=0, atol=1e-6)
