"""Modalities: conversion of messages, and a modality of another package in live observations."""

import struct
from types import SimpleNamespace

import cv2
import numpy as np
import pytest
from pressure_modality import register

from latent_policy_ros.common.errors import LatentPolicyError, NotFinite, ObservationRefused
from latent_policy_ros.data.bags.message_types import message_types as store
from latent_policy_ros.observations.modalities import MODALITIES, load_modality, message_types, value_modality
from latent_policy_ros.observations.observation_buffer import ObservationBuffer
from latent_policy_ros.observations.transforms import TransformChain

T0 = 1_700_000_000.0
HAND = SimpleNamespace(name="hand", joint_names=("a", "b"), lower=np.zeros(2), upper=np.ones(2), max_velocity=np.full(2, 10.0))


def depth_message(pixels, encoding, padding=0, big=False):
    rows = pixels.astype(pixels.dtype.newbyteorder(">" if big else "<"))
    data = b"".join(row.tobytes() + b"\xff" * padding for row in rows)
    step = pixels.shape[1] * pixels.dtype.itemsize + padding
    return SimpleNamespace(
        height=pixels.shape[0], width=pixels.shape[1], encoding=encoding, step=step, is_bigendian=int(big), data=data
    )


@pytest.mark.parametrize("big", [False, True])
@pytest.mark.parametrize("padding", [0, 4])
def test_depth_is_in_metres(padding, big):
    millimetres = np.array([[0, 250], [1500, 65535], [1, 2]], np.uint16)
    read = load_modality("depth_image").read
    metres = read(depth_message(millimetres, "16UC1", padding, big))
    assert metres.dtype == np.float32 and np.allclose(metres, millimetres / 1000)
    floats = np.array([[0.5, np.nan], [np.inf, 2.0]], np.float32)
    np.testing.assert_array_equal(read(depth_message(floats, "32FC1", padding, big)), [[0.5, 0.0], [0.0, 2.0]])


@pytest.mark.parametrize(("changes", "text"), [
    ({"encoding": "rgb8"}, "'rgb8' is not supported; available: 16UC1, 32FC1"), ({"step": 3}, "contradicts 8 bytes of step 3"),
    ({"data": b"123"}, "contradicts 3 bytes"), ({"height": 0}, "depth image 2x0"),
])  # fmt: skip
def test_malformed_depth_images_are_refused(changes, text):
    message = depth_message(np.ones((2, 2), np.uint16), "16UC1")
    vars(message).update(changes)
    with pytest.raises(ObservationRefused, match=text):
        load_modality("depth_image").read(message)


def test_compressed_depth_is_in_metres():
    """As compressed_depth_image_transport writes it: millimetres, or inverse depth quantised with two parameters."""
    read = load_modality("depth_image").read

    def packed(pixels, encoding, a=0.0, b=0.0):
        data = struct.pack("<iff", 0, a, b) + cv2.imencode(".png", pixels)[1].tobytes()
        return SimpleNamespace(format=f"{encoding}; compressedDepth png", data=data)

    metres = read(packed(np.array([[0, 250], [1500, 65535]], np.uint16), "16UC1"))
    assert metres.dtype == np.float32 and np.allclose(metres, [[0, 0.25], [1.5, 65.535]])
    depth = np.array([[0.5, 2.0], [4.0, 8.0]])
    a, b = 100.0 * 101.0, 1.0 - 100.0 * 101.0 / 10.0  # for a quantisation of 100 and depths up to 10 m
    codes = np.rint(a / depth + b).astype(np.uint16)
    codes[1, 1] = 0
    np.testing.assert_allclose(read(packed(codes, "32FC1", a, b)), [[0.5, 2.0], [4.0, 0.0]], rtol=2e-3)
    eight_bits = packed(np.ones((2, 2), np.uint8), "16UC1")
    cut = packed(np.ones((9, 9), np.uint16), "16UC1")
    cut.data = cut.data[:40]
    jpeg = SimpleNamespace(format="jpeg", data=b"123")
    expected = "'jpeg'; expected '16UC1; compressedDepth png' or"
    for bad, text in ((eight_bits, "no PNG of 16 bits"), (cut, "no PNG of 16 bits"), (jpeg, expected)):
        with pytest.raises(ObservationRefused, match=text):
            read(bad)


def test_wrench_and_tactile_values():
    vector = lambda *xyz: SimpleNamespace(x=xyz[0], y=xyz[1], z=xyz[2])
    wrench = SimpleNamespace(wrench=SimpleNamespace(force=vector(1, 2, 3), torque=vector(4, 5, np.nan)))
    with pytest.raises(NotFinite, match="wrench is not finite"):
        load_modality("wrench").read(wrench)
    wrench.wrench.torque.z = 6
    np.testing.assert_array_equal(load_modality("wrench").read(wrench), [1, 2, 3, 4, 5, 6])
    read = load_modality("tactile").read
    np.testing.assert_array_equal(read(SimpleNamespace(data=np.array([1.0, 2.0]))), np.array([1, 2], np.float32))
    for bad, text in (([], "has no values"), ([np.inf], "is not finite")):
        with pytest.raises(ObservationRefused, match=text):
            read(SimpleNamespace(data=np.array(bad)))


def test_every_modality_converts_known_message_types():
    for name in MODALITIES.names():
        modality = load_modality(name)
        known = {*store().fielddefs, "manus_ros2_msgs/msg/ManusGlove"}  # its definition is in the bags
        assert modality.name == name and modality.layout and set(modality.message_types) <= known
    video = "foxglove_msgs/msg/CompressedVideo"
    assert message_types("images") == ("sensor_msgs/msg/Image", "sensor_msgs/msg/CompressedImage", video)
    with pytest.raises(LatentPolicyError, match="'joint_state' is for joints.*available: depth_image, tactile, wrench"):
        value_modality("joint_state")


@pytest.fixture
def outside(monkeypatch):
    register(monkeypatch)


def push_state(buffer, stamp):
    buffer.push_joints(stamp, HAND.joint_names, [0.1, 0.2])
    buffer.push_wrist(stamp, [0, 0, 0, 0, 0, 0, 1.0])


def test_an_outside_modality_reaches_live_observations(outside):
    modality = value_modality("pressure")
    buffer = ObservationBuffer((), HAND, values={"cup": 0.05}, task="pick")
    push_state(buffer, T0)
    assert buffer.missing(T0) == ("cup: nothing received",)
    header = SimpleNamespace(stamp=SimpleNamespace(sec=int(T0), nanosec=10_000_000))
    buffer.push_message("cup", modality, SimpleNamespace(header=header, fluid_pressure=7.0), T0 + 1)
    observation = buffer.observation(T0 + 0.02)
    np.testing.assert_array_equal(observation.values["cup"], [7.0])
    assert observation.task == "pick" and observation.offsets["cup"] == pytest.approx(0.01)
    with pytest.raises(ObservationRefused, match=r"cup: expected shape \(1,\) as before, got \(2,\)"):
        buffer.push_value("cup", T0, np.zeros(2))
    with pytest.raises(ObservationRefused, match="unknown stream 'lid'; available: cup"):
        buffer.push_value("lid", T0, np.zeros(1))


def test_messages_without_a_header_are_stamped_by_their_receipt():
    buffer = ObservationBuffer((), HAND, values={"skin": 0.05})
    push_state(buffer, T0)
    buffer.push_message("skin", load_modality("tactile"), SimpleNamespace(data=[1.0, 2.0]), T0 + 0.03)
    assert buffer.observation(T0 + 0.03).offsets["skin"] == pytest.approx(0.03)


def pose(x):
    return SimpleNamespace(position=SimpleNamespace(x=x, y=0.0, z=0.3), orientation=SimpleNamespace(x=0.0, y=0.0, z=0.0, w=1.0))


def transform(parent, child, x, yaw=0.0, stamp=T0):
    rotation = SimpleNamespace(x=0.0, y=0.0, z=np.sin(yaw / 2), w=np.cos(yaw / 2))
    header = SimpleNamespace(frame_id=parent, stamp=SimpleNamespace(sec=int(stamp), nanosec=round(stamp % 1 * 1e9)))
    move = SimpleNamespace(translation=SimpleNamespace(x=x, y=0.0, z=0.3), rotation=rotation)
    return SimpleNamespace(header=header, child_frame_id=child, transform=move)


@pytest.mark.parametrize("message", [
    pose(0.4), SimpleNamespace(pose=pose(0.4)), SimpleNamespace(pose=SimpleNamespace(pose=pose(0.4), covariance=[0] * 36)),
    transform("base", "tool", 0.4), SimpleNamespace(transforms=[transform("base", "tool", 0.4)]),
], ids=["Pose", "PoseStamped", "PoseWithCovarianceStamped", "TransformStamped", "TFMessage"])  # fmt: skip
def test_wrist_poses_of_all_message_types(message):
    np.testing.assert_array_equal(load_modality("wrist_pose").read(message), [0.4, 0, 0.3, 0, 0, 0, 1])


def test_a_tree_of_transforms_needs_the_names_of_its_ends():
    tree = SimpleNamespace(transforms=[transform("base", "elbow", 1.0), transform("elbow", "tool", 0.5)])
    with pytest.raises(ObservationRefused, match=r"2 transforms; name the two frames .*frames: \[base, tool\]"):
        load_modality("wrist_pose").read(tree)


def tree(*transforms):
    return SimpleNamespace(transforms=list(transforms))


def test_transforms_are_composed_along_the_chain():
    chain = TransformChain("base", "/tool")
    fixed = tree(transform("/elbow", "tool", 0.5))
    assert chain.push(fixed, static=True) == [] == chain.push(tree(transform("map", "x", 1)))
    [(stamp, found)] = chain.push(tree(transform("base", "elbow", 1.0, np.pi / 2, T0 + 3)))
    assert stamp == T0 + 3
    np.testing.assert_allclose(found, [1.0, 0.5, 0.6, 0, 0, np.sqrt(0.5), np.sqrt(0.5)], atol=1e-12)
    backwards = TransformChain("tool", "base")
    backwards.push(fixed, static=True)
    [(_, inverse)] = backwards.push(transform("base", "elbow", 1.0, np.pi / 2))
    np.testing.assert_allclose(inverse, [-0.5, 1.0, -0.6, 0, 0, -np.sqrt(0.5), np.sqrt(0.5)], atol=1e-12)
    assert chain.known == ("base", "elbow", "map", "tool", "x") and chain.tree("x") == ("map", "x")


def test_transforms_are_composed_at_a_time_that_all_of_them_cover():
    """The elbow moves by 1 m/s, with stamps between those of the tool, and arrives late; the tool moves back by as much."""
    chain, found = TransformChain("base", "tool"), []
    for k in range(16):
        found += chain.push(transform("elbow", "tool", 1.0 - k / 8, yaw=k / 8, stamp=T0 + k / 8))
        if k >= 3:
            at = (k - 3) / 8 + 1 / 16
            found += chain.push(transform("base", "elbow", at, yaw=-at, stamp=T0 + at))
    assert [16 * (stamp - T0) for stamp, _ in found] == [1, 3, 5, 7, *range(8, 26)]
    np.testing.assert_allclose([pose[3:] for _, pose in found], np.tile([0, 0, 0, 1.0], (22, 1)), atol=1e-3)
    chain = TransformChain("base", "tool")
    for k in range(16):
        moved = transform("base", "elbow", k / 8, stamp=T0 + k / 8)
        poses = chain.push(tree(moved, transform("elbow", "tool", 1 - k / 8, stamp=T0)))
        assert {stamp for stamp, _ in poses} == {T0}  # the tool's transform is not extrapolated


@pytest.mark.parametrize("shift, known", [(0.0, [0.25, 0.5, 0.75, 1.0]), (0.1, [1.0])])
def test_a_transform_that_pauses_is_known_only_if_it_did_not_move(shift, known):
    chain = TransformChain("base", "tool", max_gap=0.5)
    chain.push(transform("base", "elbow", 1.0, stamp=T0))
    assert [stamp for stamp, _ in chain.push(transform("elbow", "tool", 0.5, stamp=T0))] == [T0]
    for k in (1, 2, 3, 4):
        assert chain.push(transform("elbow", "tool", 0.5, stamp=T0 + k / 4)) == []
    assert [stamp - T0 for stamp, _ in chain.push(transform("base", "elbow", 1.0 + shift, stamp=T0 + 1))] == known


def test_a_frame_with_two_parents_has_no_pose():
    chain = TransformChain("base", "tool")
    assert chain.push(transform("base", "tool", 1.0)) and chain.push(transform("base", "cup", 1.0)) == []
    assert chain.push(transform("tool", "cup", 1.0)) == [] and not chain.conflict  # the cup was grasped
    chain.push(transform("base", "tracker", 0.1), static=True)
    assert chain.push(transform("tracker", "tool", 1.0)) == []
    assert chain.conflict.startswith("frame tool has the parents base and tracker")


def test_invalid_transforms_between_the_frames_are_refused():
    chain = TransformChain("base", "tool")
    assert len(chain.push(tree(transform("base", "tool", 1.0), transform("base", "cup", np.nan)))) == 1
    with pytest.raises(NotFinite, match="transform from base to tool is not finite"):
        chain.push(transform("base", "tool", np.nan, stamp=T0 + 1))
    assert [stamp for stamp, _ in chain.push(transform("base", "tool", 1.0, stamp=T0 + 2))] == [T0 + 2]


def test_a_message_of_one_transform_has_its_stamp():
    buffer = ObservationBuffer((), HAND, wrist=True)
    buffer.push_joints(T0, HAND.joint_names, [0.1, 0.2])
    buffer.push_message("wrist_pose", load_modality("wrist_pose"), tree(transform("base", "tool", 0.4, stamp=T0)), T0 + 0.04)
    assert buffer.observation(T0 + 0.04).offsets["wrist_pose"] == 0.0
