"""What the policy sees live is what training sees of the recording: one buffer makes both."""

import numpy as np

from latent_policy_ros.data.bags.message_types import message_types
from latent_policy_ros.data.bags.reader import open_bag
from latent_policy_ros.data.conversion.alignment import Alignment
from latent_policy_ros.data.conversion.mapping import Limits, conventional
from latent_policy_ros.data.conversion.topic_resolution import find_sources
from latent_policy_ros.observations.images import fit, rgb_image
from latent_policy_ros.observations.observation_buffer import ObservationBuffer, Tolerances

T0 = 1_700_000_000.0
NAMES = {"front": "/left/front/image_raw", "wrist": "/left/wrist/image_raw/compressed"}


def uneven(recording):
    """Cameras of two kinds that jitter and arrive late, joints at an odd rate that change their order."""
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
    """Observations as the policy node makes them: its own callbacks take ROS messages, and it is asked at 20 Hz."""
    from geometry_msgs.msg import PoseStamped
    from rclpy.serialization import deserialize_message
    from sensor_msgs.msg import CompressedImage, Image, JointState

    from latent_policy_ros.nodes.policy_node import PolicyNode

    buffer = ObservationBuffer(("front", "wrist"), embodiment, history=1, tolerances=Tolerances(state_skew=0.05))
    callbacks = {
        NAMES["front"]: (Image, lambda message: PolicyNode._on_image(None, buffer, "front", message)),
        NAMES["wrist"]: (CompressedImage, lambda message: PolicyNode._on_compressed(None, buffer, "wrist", message)),
        "/left/joint_states": (JointState, lambda message: PolicyNode._on_joints(None, buffer, message)),
        "/left/wrist_pose": (PoseStamped, lambda message: PolicyNode._on_wrist(None, buffer, message)),
    }
    found, tick, store = {}, bag.start, message_types()
    for topic, received, message in bag.messages(callbacks):
        while tick < received:
            observation = buffer.observation(tick)
            if observation is not None:
                found[observation.stamp] = observation
            tick += 0.05
        kind, callback = callbacks[topic]
        callback(deserialize_message(bytes(store.serialize_cdr(message, message.__msgtype__)), kind))
    return found


def test_live_and_recorded_frames_are_equal(tmp_path, recording):
    made = uneven(recording)
    path = made.write(tmp_path / "bag")
    robot = conventional("left", made.embodiment, ("front", "wrist"))
    with open_bag(path) as bag:
        seen = live(bag, made.embodiment)
        faults = []
        sources = find_sources(bag, robot, faults.append)
        alignment = Alignment(robot, sources, 10, Limits(), False, bag.start, faults.append, path)
        rows = []
        for topic, received, message in bag.messages(sources.topics):
            rows += alignment.push(topic, received, message)
            # a recorded frame at the very stamps that the policy answered; the buffer remembers more than a second
            for stamp in [s for s in seen if s < received - 0.6]:
                frame, mine = alignment.buffer.observation_at(stamp), seen.pop(stamp)
                np.testing.assert_array_equal(frame.joints, mine.joints)
                np.testing.assert_array_equal(frame.wrist_pose, mine.wrist_pose)
                for camera in ("front", "wrist"):
                    np.testing.assert_array_equal(fit(frame.images[camera](), 96, 96), mine.images[camera])
                rows.append(stamp)
    assert [fault.kind for fault in faults] == ["joint order"]
    assert sum(isinstance(row, float) for row in rows) > 25 and len(seen) < 10


def test_messages_are_read_the_same_way_with_and_without_ros(recording):
    rng = np.random.default_rng(0)
    rgb = rng.integers(0, 256, (6, 8, 3), dtype=np.uint8)
    np.testing.assert_array_equal(rgb_image(recording.image(T0, rgb)), rgb)
    np.testing.assert_array_equal(rgb_image(recording.image(T0, rgb[..., ::-1].copy(), "bgr8")), rgb)
    grey = rgb_image(recording.image(T0, rgb[..., :1], "mono8"))
    np.testing.assert_array_equal(grey, np.repeat(rgb[..., :1], 3, axis=2))
