"""MessageTemplate: the same content as that of the message itself."""

from dataclasses import replace

import numpy as np
import pytest

pytest.importorskip("rclpy", reason="needs ROS 2", exc_type=ImportError)
pytest.importorskip("latent_policy_ros.msg", reason="needs the generated messages", exc_type=ImportError)

from rclpy.serialization import deserialize_message, serialize_message  # noqa: E402

from latent_policy_ros.data.bags.message_types import message_types  # noqa: E402
from latent_policy_ros.msg import LatentAction  # noqa: E402
from latent_policy_ros.nodes.topics import message_conversion  # noqa: E402
from latent_policy_ros.nodes.topics.latent_actions import LatentActions  # noqa: E402
from latent_policy_ros.nodes.topics.message_template import (  # noqa: E402
    MessageTemplate,
    command_template,
    joint_state_template,
    pose_stamped_template,
    serialised_text,
)
from latent_policy_ros.policy import ActionChunk  # noqa: E402

STORE, RNG = message_types(), np.random.default_rng(0)
NAMES = ("a", "index_2", "thumb_rotation")
Q, V, POSE = np.array([0.1, np.inf, -3.0]), np.array([0.0, -0.0, 1e300]), np.array([0.4, 0.0, 0.4, 0.0, 0.0, 0.6, 0.8])


@pytest.mark.parametrize("stamp", [0.0, 0.9999999999, 1764540000.123456])
@pytest.mark.parametrize("frame", ["", "base", "left/panda_link0"])
def test_a_filled_template_equals_the_serialised_message(stamp, frame):
    for template, values, message in (
        (joint_state_template(NAMES), (stamp, Q, V), message_conversion.joint_state(stamp, NAMES, Q, V)),
        (pose_stamped_template(frame), (stamp, POSE), message_conversion.pose_stamped(stamp, frame, POSE)),
        (command_template(NAMES), (stamp, 0.02, Q), message_conversion.command(stamp, 0.02, NAMES, Q)),
    ):
        template.serialise(*map(np.zeros_like, values))  # leaves nothing behind
        data = template.serialise(*values)
        assert deserialize_message(data, type(message)) == message
        name = f"{type(message).__module__.partition('.')[0]}/msg/{type(message).__name__}"
        assert STORE.serialize_cdr(STORE.deserialize_cdr(data, name), name)[4:12] == data[4:12]  # raises unless the size is exact


def test_values_are_read_from_bytes_whoever_serialised_them():
    stamp = 1764540000.25
    for template, values, message in (
        (joint_state_template(NAMES), (stamp, Q, V), message_conversion.joint_state(stamp, NAMES, Q, V)),
        (pose_stamped_template("base"), (stamp, POSE), message_conversion.pose_stamped(stamp, "base", POSE)),
        (command_template(NAMES), (stamp, 0.5, Q), message_conversion.command(stamp, 0.5, NAMES, Q)),
    ):
        for data in (template.serialise(*values), bytes(serialize_message(message))):
            for found, value in zip(template.read(data), values, strict=True):
                np.testing.assert_array_equal(found, value)


def test_bytes_that_align_numbers_may_be_anything():
    template = command_template(NAMES)
    data = bytearray(template.serialise(1.0, 0.5, Q))
    after = data.index(serialised_text("a")) + len(serialised_text("a"))
    for filling in (b"\x07\x08", b"\0\0"):
        data[after : after + 2] = filling
        np.testing.assert_array_equal(template.read(bytes(data) + bytes(5))[2], Q)


@pytest.mark.parametrize(
    "other",
    [
        message_conversion.command(1.0, 0.5, NAMES[::-1], Q),
        message_conversion.command(1.0, 0.5, NAMES[:2], Q[:2]),
        message_conversion.command(1.0, 0.5, (*NAMES, "b"), np.append(Q, 1.0)),
        message_conversion.command(1.0, 0.0, NAMES, None),
    ],
    ids=["order", "fewer", "more", "hold"],
)
def test_other_messages_are_not_read(other):
    template = command_template(NAMES)
    for _ in range(20):  # they are not learned either
        assert template.read(bytes(serialize_message(other))) is None


def test_damaged_bytes_are_not_read():
    template = command_template(NAMES)
    data = template.serialise(1.0, 0.5, Q)
    for length in range(len(data)):
        assert template.read(data[:length]) is None


def test_values_of_another_shape_are_refused():
    template = joint_state_template(NAMES)
    with pytest.raises(ValueError, match="shape"):
        template.serialise(0.0, Q[:2], V)
    with pytest.raises(ValueError, match="zip"):
        template.serialise(0.0, Q)


def test_a_value_that_is_not_in_the_message_is_refused():
    make = lambda stamp, q: message_conversion.joint_state(stamp, NAMES, 2 * q, q)
    with pytest.raises(ValueError, match="once in the serialised message, found it 0 times"):
        MessageTemplate(lambda stamp, q, v: make(stamp, q), 1, [np.zeros(3), np.zeros(3)])


def test_names_of_joints_are_found_whole():
    data = serialize_message(message_conversion.joint_state(0.0, ("right_thumb", "thumb_2", "index"), Q, V))
    assert serialised_text("index") in data and serialised_text("thumb") not in data and serialised_text("thumb_") not in data


def test_action_chunks_are_written_and_read_as_bytes():
    actions, reader = LatentActions(), LatentActions()
    for horizon, sequence in ((4, 7), (4, 2**32 + 5), (6, 8)):
        latents, poses = RNG.normal(size=(horizon, 3)).astype(np.float32), np.tile(POSE, (horizon, 1)) * (1.0 + sequence % 7)
        chunk = ActionChunk(1764540000.5, 0.1, latents, poses, "space", "policy", sequence)
        message = message_conversion.latent_action(chunk, "base")
        data = actions.serialise(chunk, "base")
        assert deserialize_message(data, LatentAction) == message
        assert reader.read(data) is None or (horizon, sequence) != (6, 8)  # another kind than the one learnt
        reader.learn(chunk, "base")
        found, frame = reader.read(bytes(serialize_message(message)))
        assert frame == "base" and found.sequence == sequence % 2**32 and found.stamp == chunk.stamp
        np.testing.assert_array_equal(found.latents, latents)
        np.testing.assert_array_equal(found.wrist_poses, poses)
    other = replace(chunk, policy_id="other")
    assert reader.read(LatentActions().serialise(other, "base")) is None
    assert reader.read(LatentActions().serialise(chunk, "left/base")) is None
