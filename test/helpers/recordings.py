"""Events, episodes and bags for tests of the recorder node."""

import time

import numpy as np
from rclpy.qos import DurabilityPolicy, QoSProfile, ReliabilityPolicy
from rosbags.highlevel import AnyReader
from trajectory_msgs.msg import JointTrajectory

from latent_policy_ros.data.bags import metadata
from latent_policy_ros.msg import EpisodeEvent, LatentAction
from latent_policy_ros.nodes.topics import message_conversion, qos
from latent_policy_ros.policy import ActionChunk

FLEET = "robots:\n  left: {embodiment: mimic_hand, cameras: [front], driver: mock}\n"
RELIABLE = QoSProfile(depth=100, reliability=ReliabilityPolicy.RELIABLE)
LATCHED = QoSProfile(depth=5, reliability=ReliabilityPolicy.RELIABLE, durability=DurabilityPolicy.TRANSIENT_LOCAL)


def event(name, age=0.0, run="", **changes):
    message = EpisodeEvent(**{"event": name, "task": "stack", "episode": 3, "seed": 42, **changes})
    message.header.stamp, message.header.frame_id = message_conversion.to_stamp(time.time() - age), run
    return message


def information(bag):
    return metadata.read(bag)["custom_data"]


def counts(bag):
    with AnyReader([bag]) as reader:
        return {c.topic: c.msgcount for c in reader.connections}


def begin(graph, recorder, robot, **changes):
    graph.publish(EpisodeEvent, "episode_event", qos.EVENTS, event("begin", **changes))
    graph.until(lambda: recorder.recording, what="recording", each=robot.publish)


def end(graph, recorder, name="end", **changes):
    graph.publish(EpisodeEvent, "episode_event", qos.EVENTS, event(name, **changes))
    graph.until(lambda: not recorder.recording, what="the end")


def record(graph, robot, seconds=0.6):
    """Publish an episode; returns the number of action chunks and of commands."""
    sent = [0]
    wrist = np.tile([0.4, 0, 0.4, 1.0, 0, 0, 0], (16, 1))

    def each():
        sent[0] += 1
        robot.publish()
        chunk = ActionChunk(time.time(), 0.1, np.full((16, 8), 0.5), wrist, "latent", "policy", sent[0])
        graph.publish(LatentAction, "left/latent_action", qos.LATENTS, message_conversion.latent_action(chunk, "panda_link0"))
        command = message_conversion.command(time.time(), 0.0, ["a"], np.array([1.0]))
        graph.publish(JointTrajectory, "left/hand_command", qos.COMMANDS, command)

    graph.run(seconds, each, 0.03)
    graph.run(0.2)
    return sent[0]
