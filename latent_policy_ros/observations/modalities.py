"""Modalities: conversion of sensor messages to arrays of an observation.

The live policy node and the bag reader use the same entries. An installed package adds its own through the entry point group
``latent_policy_ros.modalities``; the entry point refers to a :class:`Modality`.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np

from latent_policy_ros.common.errors import LatentPolicyError, NotFinite, ObservationRefused, available
from latent_policy_ros.common.registry import Registry
from latent_policy_ros.observations.images import compressed_depth, rgb_image
from latent_policy_ros.observations.messages import pose_array, pose_of, transform_array

Field = Literal["images", "joints", "wrist_pose", "keypoints", "values"]

POSE_TYPES = (
    "geometry_msgs/msg/PoseStamped", "geometry_msgs/msg/Pose", "geometry_msgs/msg/PoseWithCovarianceStamped",
    "geometry_msgs/msg/TransformStamped", "nav_msgs/msg/Odometry", "tf2_msgs/msg/TFMessage",
)  # fmt: skip
MIN_HAND_POINTS = 21
HAND_ROWS, HAND_COUNTS = (3, 7, 16), (21, 25, 26)  # numbers for each point, and counts of points, in a flat array of a hand
DEPTH_ENCODINGS = {"16UC1": (np.uint16, 1e-3), "32FC1": (np.float32, 1.0)}  # pixel type, scale to metres


@dataclass(frozen=True)
class Modality:
    """Conversion of one kind of measurement from ROS messages to arrays.

    Attributes:
        name: Name in the registry, e.g. ``depth_image``.
        message_types: Accepted ROS message types, e.g. ``sensor_msgs/msg/Image``; the first is the default of live topics.
        read: Converts a message to an array. Fields are read by name, so that messages of rclpy and of bags both work. Raises
            ObservationRefused for content that cannot be converted.
        layout: Shape, type and unit of the array, e.g. ``(H, W) float32 [m]``.
        field: Field of :class:`~latent_policy_ros.observations.observation.Observation` that receives the array;
            ``keypoints`` are the input of teleoperation and of hand recordings.
        tolerance: Largest time difference between an observation and the array in it [s]; None uses that of joint states.
        encoder: Name of the policy's encoder for this modality; empty for a modality that policies do not use.
    """

    name: str
    message_types: tuple[str, ...]
    read: Callable[[Any], np.ndarray]
    layout: str
    field: Field = "values"
    tolerance: float | None = None
    encoder: str = ""


MODALITIES = Registry(
    "modality",
    "latent_policy_ros.modalities",
    {
        "color_image": f"{__name__}:COLOR_IMAGE",
        "depth_image": f"{__name__}:DEPTH_IMAGE",
        "joint_state": f"{__name__}:JOINT_STATE",
        "wrist_pose": f"{__name__}:WRIST_POSE",
        "wrench": f"{__name__}:WRENCH",
        "tactile": f"{__name__}:TACTILE",
        "hand_poses": f"{__name__}:HAND_POSES",
        "manus_glove": f"{__name__}:MANUS_GLOVE",
        "hand_markers": f"{__name__}:HAND_MARKERS",
        "hand_array": f"{__name__}:HAND_ARRAY",
    },
)


def load_modality(name: str) -> Modality:
    """The registered modality of that name.

    Raises:
        LatentPolicyError: Unknown name, or an entry point that does not refer to a Modality.
    """
    modality = MODALITIES.load(name)
    if not isinstance(modality, Modality):
        raise LatentPolicyError(f"modality {name!r}: expected a Modality, got {type(modality).__name__}")
    return modality


def value_modality(name: str) -> Modality:
    """The modality of an additional stream.

    Raises:
        LatentPolicyError: Unknown name, or a modality of cameras, joints or wrist poses, which have their own settings.
    """
    modality = load_modality(name)
    if modality.field != "values":
        names = [known for known in MODALITIES.names() if load_modality(known).field == "values"]
        raise LatentPolicyError(f"modality {name!r} is for {modality.field}, not for additional streams; {available(names)}")
    return modality


def modality_for(field: Field, message_type: str) -> Modality | None:
    """The modality that converts a message type for a field of observations; None if there is none."""
    modalities = (load_modality(name) for name in MODALITIES.names())
    return next((m for m in modalities if m.field == field and message_type in m.message_types), None)


def message_types(field: Field) -> tuple[str, ...]:
    """All message types that are converted for a field of observations."""
    modalities = (load_modality(name) for name in MODALITIES.names())
    return tuple(dict.fromkeys(kind for m in modalities if m.field == field for kind in m.message_types))


def _positions(message: Any) -> np.ndarray:
    return np.asarray(message.position, dtype=np.float64)


def _wrist_pose(message: Any) -> np.ndarray:
    if hasattr(message, "transforms"):
        if len(message.transforms) != 1:
            example = ", ".join(f"{t.header.frame_id} to {t.child_frame_id}" for t in message.transforms[:2])
            raise ObservationRefused(
                f"a tf message of {len(message.transforms)} transforms; name the two frames of the wrist's pose in the mapping: "
                f"`frames: [base, tool]` (here: {example})"
            )
        message = message.transforms[0]
    return transform_array(message.transform) if hasattr(message, "transform") else pose_array(pose_of(message))


def _depth(message: Any) -> np.ndarray:
    if hasattr(message, "format"):
        return compressed_depth(message.data, message.format)
    if message.encoding not in DEPTH_ENCODINGS:
        raise ObservationRefused(f"depth image encoding {message.encoding!r} is not supported; {available(DEPTH_ENCODINGS)}")
    pixel, scale = DEPTH_ENCODINGS[message.encoding]
    dtype = np.dtype(pixel).newbyteorder(">" if message.is_bigendian else "<")
    height, width, step = message.height, message.width, message.step
    data = np.frombuffer(message.data, np.uint8)
    if height < 1 or width < 1 or step < width * dtype.itemsize or data.size < height * step:
        raise ObservationRefused(f"depth image {width}x{height} {message.encoding}: contradicts {data.size} bytes of step {step}")
    rows = np.ascontiguousarray(data[: height * step].reshape(height, step)[:, : width * dtype.itemsize])
    metres = rows.view(dtype).astype(np.float32) * np.float32(scale)
    metres[~np.isfinite(metres)] = 0.0
    return metres


def _wrench(message: Any) -> np.ndarray:
    force, torque = message.wrench.force, message.wrench.torque
    return _finite(np.array([force.x, force.y, force.z, torque.x, torque.y, torque.z]), "wrench")


def _tactile(message: Any) -> np.ndarray:
    values = np.asarray(message.data, dtype=np.float32)
    if not values.size:
        raise ObservationRefused("tactile message has no values")
    return _finite(values, "tactile message")


def _points(points: Sequence[Any]) -> np.ndarray:
    return np.array([(p.x, p.y, p.z) for p in points], dtype=np.float64).reshape(-1, 3)


def _glove(message: Any) -> np.ndarray:
    nodes = sorted(message.raw_nodes, key=lambda node: node.node_id)
    return _points([node.pose.position for node in nodes])


def _markers(message: Any) -> np.ndarray:
    """Points of one marker with a list of points, or positions of one marker for each point."""
    listed = [marker.points for marker in message.markers if len(marker.points) >= MIN_HAND_POINTS]
    return _points(listed[0] if listed else [marker.pose.position for marker in sorted(message.markers, key=lambda m: m.id)])


def _hand_array(message: Any) -> np.ndarray:
    """Points (N, 3) of a flat array of positions, poses or 4 x 4 matrices; the layout of the message says the size of a row."""
    data = np.asarray(message.data, dtype=np.float64)
    sizes = [dimension.size for dimension in message.layout.dim]
    fitting = [row for row in HAND_ROWS if data.size in [row * count for count in HAND_COUNTS]]
    row = int(np.prod(sizes[1:])) if len(sizes) > 1 else fitting[0] if fitting else 0
    if row not in HAND_ROWS or data.size % row:
        expected = "rows of 3 (position), 7 (pose) or 16 (matrix)"
        raise ObservationRefused(f"an array of {data.size} numbers is no hand; expected {expected}")
    rows = data.reshape(-1, row)
    return rows[:, [3, 7, 11]] if row == HAND_ROWS[-1] else rows[:, :3]


def _finite(values: np.ndarray, what: str) -> np.ndarray:
    if not np.isfinite(values).all():
        raise NotFinite(f"{what} is not finite")
    return values


COLOR_IMAGE = Modality(
    "color_image", ("sensor_msgs/msg/Image", "sensor_msgs/msg/CompressedImage", "foxglove_msgs/msg/CompressedVideo"), rgb_image,
    "(H, W, 3) uint8 RGB", field="images",
)  # fmt: skip
JOINT_STATE = Modality(
    "joint_state", ("sensor_msgs/msg/JointState",), _positions,
    "(n,) float64 [rad or m], in the order of the names in the message; the buffer matches them by name", field="joints",
)  # fmt: skip
WRIST_POSE = Modality(
    "wrist_pose", POSE_TYPES, _wrist_pose,
    "(7,) float64: x y z [m], qx qy qz qw; the buffer normalises the quaternion", field="wrist_pose",
)  # fmt: skip
DEPTH_IMAGE = Modality(
    "depth_image", ("sensor_msgs/msg/Image", "sensor_msgs/msg/CompressedImage"), _depth,
    "(H, W) float32 [m]; 0 where nothing was measured", tolerance=0.1,
)  # fmt: skip
WRENCH = Modality("wrench", ("geometry_msgs/msg/WrenchStamped",), _wrench, "(6,) float64: force [N], torque [N m]")
TACTILE = Modality(
    "tactile", ("std_msgs/msg/Float32MultiArray", "std_msgs/msg/Float64MultiArray"), _tactile,
    "(n,) float32, in the unit of the sensor",
)  # fmt: skip
_HAND = "(N, 3) float64 in the order and unit of the device; (0, 3) without a hand"
HAND_POSES = Modality(
    "hand_poses", ("geometry_msgs/msg/PoseArray",), lambda message: _points([pose.position for pose in message.poses]), _HAND,
    field="keypoints",
)  # fmt: skip
MANUS_GLOVE = Modality("manus_glove", ("manus_ros2_msgs/msg/ManusGlove",), _glove, _HAND, field="keypoints")
HAND_MARKERS = Modality("hand_markers", ("visualization_msgs/msg/MarkerArray",), _markers, _HAND, field="keypoints")
HAND_ARRAY = Modality(  # visionOS gives matrices, Quest positions or poses
    "hand_array", ("std_msgs/msg/Float32MultiArray", "std_msgs/msg/Float64MultiArray"), _hand_array, _HAND, field="keypoints",
)  # fmt: skip
