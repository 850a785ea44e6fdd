"""Between ROS messages and arrays. Every field is cast: rclpy does not check types and would send garbage."""

from __future__ import annotations

from array import array
from collections.abc import Sequence

import numpy as np
from builtin_interfaces.msg import Duration, Time
from geometry_msgs.msg import Pose, PoseStamped
from sensor_msgs.msg import Image, JointState
from trajectory_msgs.msg import JointTrajectory, JointTrajectoryPoint

from latent_policy_ros.common.errors import ActionRefused
from latent_policy_ros.msg import LatentAction
from latent_policy_ros.policy import ActionChunk


def to_seconds(stamp: Time) -> float:
    """A stamp as seconds."""
    return stamp.sec + 1e-9 * stamp.nanosec


def to_stamp(seconds: float) -> Time:
    """Seconds as a stamp, to the nearest nanosecond of what a float64 holds."""
    whole = int(seconds // 1)
    nanoseconds = round((seconds - whole) * 1e9)
    return Time(sec=whole + nanoseconds // 1_000_000_000, nanosec=nanoseconds % 1_000_000_000)


def doubles(values: Sequence[float] | np.ndarray) -> array:
    """A float64[] field; any other container is 100 times slower to assign."""
    return array("d", np.asarray(values, dtype=np.float64).tobytes())


def joint_state(stamp: float, names: Sequence[str], position: np.ndarray, velocity: np.ndarray) -> JointState:
    message = JointState(name=list(names), position=doubles(position), velocity=doubles(velocity))
    message.header.stamp = to_stamp(stamp)
    return message


def pose_array(pose: Pose) -> np.ndarray:
    """(7,) x y z [m], qx qy qz qw."""
    p, q = pose.position, pose.orientation
    return np.array([p.x, p.y, p.z, q.x, q.y, q.z, q.w])


def to_pose(values: np.ndarray) -> Pose:
    pose = Pose()
    p, q = pose.position, pose.orientation
    p.x, p.y, p.z, q.x, q.y, q.z, q.w = (float(v) for v in values)
    return pose


def pose_stamped(stamp: float, frame: str, values: np.ndarray) -> PoseStamped:
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


def command(stamp: float, reach_in: float, names: Sequence[str], position: np.ndarray | None) -> JointTrajectory:
    """A joint command.

    Args:
        stamp: Time of the observation that the command answers [s].
        reach_in: Seconds after ``stamp`` at which the position is to be reached.
        names: The n joints.
        position: (n,); None is the trajectory without points, which tells a driver to hold its measured pose.
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
    message = LatentAction(
        policy_id=chunk.policy_id, latent_id=chunk.latent_id, sequence=int(chunk.sequence) % 2**32,
        horizon=int(chunk.horizon), dim=int(chunk.latents.shape[1]), time_step=float(chunk.dt),
        latents=array("f", np.asarray(chunk.latents, dtype=np.float32).tobytes()),
        wrist_poses=[to_pose(pose) for pose in chunk.wrist_poses],
    )  # fmt: skip
    message.header.stamp, message.header.frame_id = to_stamp(chunk.stamp), frame
    return message


def action_chunk(message: LatentAction) -> ActionChunk:
    """The plan in a message; whether it is fit for a robot is the decoder's to say.

    Raises:
        ActionRefused: ``latents`` is not horizon x dim.
    """
    latents = np.frombuffer(message.latents, np.float32)
    if latents.size != message.horizon * message.dim:
        raise ActionRefused(
            f"latent action {message.sequence}: latents: expected horizon {message.horizon} x dim {message.dim} numbers, "
            f"got {latents.size}"
        )
    poses = np.array([pose_array(pose) for pose in message.wrist_poses]).reshape(-1, 7)
    return ActionChunk(
        to_seconds(message.header.stamp), message.time_step, latents.reshape(message.horizon, message.dim), poses,
        message.latent_id, message.policy_id, message.sequence,
    )  # fmt: skip
