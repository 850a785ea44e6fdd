"""Creation of ROS messages from arrays. Each function is named after the content of its message.

Every field is cast to its declared type, because rclpy serialises values of other types without an error.
:mod:`latent_policy_ros.observations.messages` reads messages.
"""

from __future__ import annotations

import importlib
from array import array
from collections.abc import Sequence

import numpy as np
from builtin_interfaces.msg import Duration, Time
from geometry_msgs.msg import Pose, PoseStamped, TransformStamped
from sensor_msgs.msg import CameraInfo, Image, JointState
from trajectory_msgs.msg import JointTrajectory, JointTrajectoryPoint

from latent_policy_ros.common.errors import LatentPolicyError
from latent_policy_ros.common.path_names import path_name
from latent_policy_ros.drivers.cameras.camera_calibration import CameraCalibration
from latent_policy_ros.msg import LatentAction
from latent_policy_ros.policy import ActionChunk


def message_class(msg_type: str) -> type:
    """The Python class of a message type, e.g. of ``sensor_msgs/msg/Image``.

    Raises:
        LatentPolicyError: The package of the type is not installed, or the text names no type.
    """
    try:
        package, _, name = (path_name(part) for part in msg_type.split("/"))
        return getattr(importlib.import_module(f"{package}.msg"), name)
    except (ImportError, AttributeError, ValueError) as error:
        raise LatentPolicyError(f"message type {msg_type} is not installed") from error


def seconds_and_nanoseconds(seconds: float) -> tuple[int, int]:
    """Whole seconds and nanoseconds, rounded, of a stamp or duration [s]."""
    whole = int(seconds // 1)
    nanoseconds = round((seconds - whole) * 1e9)
    return whole + nanoseconds // 1_000_000_000, nanoseconds % 1_000_000_000


def to_stamp(seconds: float) -> Time:
    """Seconds as a stamp, rounded to nanoseconds."""
    whole, nanoseconds = seconds_and_nanoseconds(seconds)
    return Time(sec=whole, nanosec=nanoseconds)


def doubles(values: Sequence[float] | np.ndarray) -> array:
    """Values of a float64[] field. Assigning any other container takes 100 times as long."""
    return array("d", np.asarray(values, dtype=np.float64).tobytes())


def joint_state(stamp: float, names: Sequence[str], position: np.ndarray, velocity: np.ndarray) -> JointState:
    """Measured joints: position (n,) [rad or m] and velocity (n,) per second."""
    message = JointState(name=list(names), position=doubles(position), velocity=doubles(velocity))
    message.header.stamp = to_stamp(stamp)
    return message


def to_pose(values: np.ndarray) -> Pose:
    """(7,) x y z [m], qx qy qz qw as a Pose."""
    pose = Pose()
    p, q = pose.position, pose.orientation
    p.x, p.y, p.z, q.x, q.y, q.z, q.w = np.asarray(values, dtype=np.float64).tolist()
    return pose


def pose_stamped(stamp: float, frame: str, values: np.ndarray) -> PoseStamped:
    """(7,) x y z [m], qx qy qz qw in ``frame`` as a PoseStamped."""
    message = PoseStamped(pose=to_pose(values))
    message.header.stamp, message.header.frame_id = to_stamp(stamp), frame
    return message


def image(stamp: float, frame: str, pixels: np.ndarray) -> Image:
    """(H, W, 3) uint8 RGB as an rgb8 image."""
    height, width = pixels.shape[:2]
    data = array("B")
    data.frombytes(np.ascontiguousarray(pixels))
    message = Image(height=height, width=width, encoding="rgb8", is_bigendian=0, step=3 * width, data=data)
    message.header.stamp, message.header.frame_id = to_stamp(stamp), frame
    return message


def camera_info(stamp: float, frame: str, calibration: CameraCalibration) -> CameraInfo:
    """The intrinsics that belong to an image of the same stamp and frame."""
    message = CameraInfo(height=calibration.height, width=calibration.width, distortion_model=calibration.model)
    message.d = doubles(calibration.D)
    message.k, message.r, message.p = (matrix.ravel() for matrix in (calibration.K, calibration.R, calibration.P))
    message.header.stamp, message.header.frame_id = to_stamp(stamp), frame
    return message


def transform_stamped(stamp: float, parent: str, child: str, pose: np.ndarray) -> TransformStamped:
    """The pose (7,) x y z [m], qx qy qz qw of the frame ``child`` in ``parent``."""
    message = TransformStamped(child_frame_id=child)
    message.header.stamp, message.header.frame_id = to_stamp(stamp), parent
    t, q = message.transform.translation, message.transform.rotation
    t.x, t.y, t.z, q.x, q.y, q.z, q.w = (float(value) for value in pose)
    return message


def command(stamp: float, reach_in: float, names: Sequence[str], position: np.ndarray | None) -> JointTrajectory:
    """A joint command.

    Args:
        stamp: Time of the observation from which the command was computed [s].
        reach_in: Time after ``stamp`` at which the position is to be reached [s].
        names: The n joints.
        position: (n,) [rad or m]; None makes a trajectory without points, which commands a driver to hold its measured
            position.
    """
    message = JointTrajectory(joint_names=list(names))
    message.header.stamp = to_stamp(stamp)
    if position is not None:
        ahead = to_stamp(max(0.0, reach_in))
        point = JointTrajectoryPoint(positions=doubles(position))
        point.time_from_start = Duration(sec=ahead.sec, nanosec=ahead.nanosec)
        message.points = [point]
    return message


def latent_action(chunk: ActionChunk, frame: str) -> LatentAction:
    """An action chunk whose wrist poses are in ``frame``."""
    message = LatentAction(
        policy_id=chunk.policy_id, latent_id=chunk.latent_id, sequence=int(chunk.sequence) % 2**32,
        horizon=int(chunk.horizon), dim=int(chunk.latents.shape[1]), time_step=float(chunk.dt),
        latents=array("f", np.asarray(chunk.latents, dtype=np.float32).tobytes()),
        wrist_poses=[to_pose(pose) for pose in chunk.wrist_poses],
    )  # fmt: skip
    message.header.stamp, message.header.frame_id = to_stamp(chunk.stamp), frame
    return message
