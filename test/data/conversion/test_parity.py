"""Parity of live observations and of observations from a bag."""

import numpy as np

from latent_policy_ros.data.bags.message_types import message_types
from latent_policy_ros.data.bags.reader import open_bag
from latent_policy_ros.data.conversion.alignment import Alignment
from latent_policy_ros.data.conversion.mapping import TopicMapping, conventional
from latent_policy_ros.data.conversion.topic_resolution import resolve_topics
from latent_policy_ros.observations.images import rgb_image
from latent_policy_ros.observations.modalities import COLOR_IMAGE, JOINT_STATE, WRIST_POSE
from latent_policy_ros.observations.observation_buffer import ObservationBuffer, Tolerances
from latent_policy_ros.observations.resize import DEFAULT_RESIZE

T0 = 1_700_000_000.0
NAMES = {"front": "/left/front/image_raw", "wrist": "/left/wrist/image_raw/compressed"}


def uneven(recording):
    """A recording with jittering, delayed cameras of two kinds, and joints whose order changes."""
    made, rng = recording(seconds=4, rate=73), np.random.default_rng(1)
    made.drop("wrist/image_raw")
    for k in range(41):
        made.add_image("wrist", T0 + k / 10, compressed=True)
    for camera in ("front/image_raw", "wrist/image_raw/compressed"):
        for event in made.on(camera):
            at = event.at - 0.01 + T0 + rng.uniform(0, 0.01)
            event.message.header, event.received = made.joint_state(at, [], []).header, at + rng.uniform(0.025, 0.04)
    for event in made.on("joint_states")[150:]:
        event.message.name, event.message.position = event.message.name[::-1], event.message.position[::-1].copy()
    return made


def live(bag, embodiment):
    """Observations of the policy node's buffer for ROS messages, requested at 20 Hz."""
    from geometry_msgs.msg import PoseStamped
    from rclpy.serialization import deserialize_message
    from sensor_msgs.msg import CompressedImage, Image, JointState

    buffer = ObservationBuffer(("front", "wrist"), embodiment, history=1, tolerances=Tolerances(state_skew=0.05))
    streams = {
        NAMES["front"]: (Image, "front", COLOR_IMAGE),
        NAMES["wrist"]: (CompressedImage, "wrist", COLOR_IMAGE),
        "/left/joint_states": (JointState, "joint_states", JOINT_STATE),
        "/left/wrist_pose": (PoseStamped, "wrist_pose", WRIST_POSE),
    }
    found, tick, store = {}, bag.start, message_types()
    for topic, received, message in bag.messages(streams):
        while tick < received:
            observation = buffer.observation(tick)
            if observation is not None:
                found[observation.stamp] = observation
            tick += 0.05
        message_class, name, modality = streams[topic]
        data = bytes(store.serialize_cdr(message, message.__msgtype__))
        buffer.push_message(name, modality, deserialize_message(data, message_class), received)
    return found


def test_live_and_recorded_observations_are_equal(tmp_path, recording):
    made = uneven(recording)
    path = made.write(tmp_path / "bag")
    robot = conventional("left", made.embodiment, ("front", "wrist"))
    with open_bag(path) as bag:
        seen = live(bag, made.embodiment)
        issues = []
        topics = resolve_topics(bag, robot, issues.append)
        alignment = Alignment(robot, topics, 10, TopicMapping(()), bag.start, issues.append, path)
        rows = []
        for topic, received, message in bag.messages(topics.names):
            rows += alignment.push(topic, received, message)
            # a recorded frame at the very stamps that the policy answered; the buffer remembers more than a second
            for stamp in [s for s in seen if s < received - 0.6]:
                frame, mine = alignment.buffer.observation_at(stamp), seen.pop(stamp)
                np.testing.assert_array_equal(frame.joints, mine.joints)
                np.testing.assert_array_equal(frame.wrist_pose, mine.wrist_pose)
                for camera in ("front", "wrist"):
                    np.testing.assert_array_equal(DEFAULT_RESIZE(frame.images[camera]()), mine.images[camera])
                rows.append(stamp)
    assert [issue.kind for issue in issues] == ["joint order"]
    assert sum(isinstance(row, float) for row in rows) > 25 and len(seen) < 10


def test_images_of_bags_are_read(recording):
    rng = np.random.default_rng(0)
    rgb = rng.integers(0, 256, (6, 8, 3), dtype=np.uint8)
    np.testing.assert_array_equal(rgb_image(recording.image(T0, rgb)), rgb)
    np.testing.assert_array_equal(rgb_image(recording.image(T0, rgb[..., ::-1].copy(), "bgr8")), rgb)
    grey = rgb_image(recording.image(T0, rgb[..., :1], "mono8"))
    np.testing.assert_array_equal(grey, np.repeat(rgb[..., :1], 3, axis=2))
