"""Motion plans of scripted experts: minimum-jerk motions of the pinch point, the same for every end-effector."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import pinocchio as pin

from latent_policy_ros.control.arm_kinematics import pose_to_se3, quaternion_from_rotation
from latent_policy_ros.sim.simulation import Simulation
from latent_policy_ros.sim.start import grasp_rotation
from latent_policy_ros.sim.tasks.grasp import Grasp

DT = 0.1  # time between waypoints [s]
APPROACH_HEIGHT = 0.09  # height above the object before and after the grasp [m]
TRAVEL_SPEED = 0.22  # mean speed of long motions [m/s]
MIN_TRAVEL_TIME = 1.2  # s
MIN_CLOSING_TIME = 0.8  # time to open or close, unless the joints' velocity limits require more [s]
PEAK_VELOCITY_RATIO = 1.875  # peak over mean velocity of a minimum-jerk motion


@dataclass(frozen=True)
class Plan:
    """Waypoints every :data:`DT` seconds, connected by straight lines as a policy's action chunks are.

    Attributes:
        wrist: Wrist poses (T, 7).
        hand: Joints of the end-effector (T, n).
        disturbable: Fraction (T,) in [0, 1] of a disturbance of the wrist that may be applied; 0 during grasp and release.
        grasped: Number of the first waypoint after the first grasp; 0 if the plan does not grasp.
    """

    wrist: np.ndarray
    hand: np.ndarray
    disturbable: np.ndarray
    grasped: int = 0

    def __len__(self) -> int:
        return len(self.wrist)


@dataclass(frozen=True)
class _KeyPose:
    """A state of the end-effector that the plan passes at ``time`` [s].

    Attributes:
        position: Pinch point in the world frame (3,) [m].
        yaw: Rotation of the grasp about the vertical axis [rad].
        step: Step of the grasp, 0 (open) to ``grasp.end`` (closed).
        start: Weight in [0, 1] of the initial orientation and joints against those of the grasp.
    """

    time: float
    position: np.ndarray
    yaw: float
    step: float
    start: float = 0.0
    disturbable: float = 1.0


class GraspMotion:
    """Builds a plan by appending motions of the pinch point.

    Args:
        sim: Simulation that was just reset.
        grasp: Grasp that the end-effector performs.
    """

    def __init__(self, sim: Simulation, grasp: Grasp) -> None:
        self.grasp = grasp
        wrist = pose_to_se3(sim.wrist_pose)
        self._start_rotation, self._start_joints = wrist.rotation, sim.hand_q
        self._grasp_rotation = grasp_rotation(grasp.rotation, wrist.rotation)
        self._closing_time = _closing_time(grasp, sim.embodiment.max_velocity)
        self._keys = [_KeyPose(0.0, wrist.act(grasp.at(0.0)[1]), 0.0, 0.0, start=1.0)]
        self._grasped = 0

    def move(
        self, position: np.ndarray, *, yaw: float | None = None, duration: float | None = None, disturbable: float = 1.0
    ) -> None:
        """Move the pinch point to ``position`` (3,) [m].

        Args:
            yaw: Rotation of the grasp about the vertical axis at the end [rad]; None keeps it.
            duration: Time of the motion [s]; None derives it from the distance.
            disturbable: Value of :attr:`Plan.disturbable` at the end.
        """
        last = self._keys[-1]
        if duration is None:
            duration = max(MIN_TRAVEL_TIME, float(np.linalg.norm(position - last.position)) / TRAVEL_SPEED)
        yaw = last.yaw if yaw is None else yaw
        self._keys.append(_KeyPose(last.time + duration, position, yaw, last.step, disturbable=disturbable))

    def close(self) -> None:
        """Close the end-effector in place."""
        self._grasp_to(self.grasp.end)
        self._grasped = self._grasped or math.ceil(self._keys[-1].time / DT)

    def open(self) -> None:
        """Open the end-effector in place."""
        self._grasp_to(0.0)

    def wait(self, duration: float = 0.3) -> None:
        """Stay for ``duration`` [s]."""
        self.move(self._keys[-1].position, duration=duration)

    def grasp_at(self, position: np.ndarray, yaw: float) -> None:
        """Approach an object at ``position`` (3,) [m] from above and grasp it."""
        pinch = position + [0.0, 0.0, self.grasp.height]
        self.move(pinch + [0.0, 0.0, APPROACH_HEIGHT], yaw=yaw)
        self.move(pinch, duration=0.8, disturbable=0.0)
        self.close()

    def pick(self, position: np.ndarray, yaw: float, lift: float = APPROACH_HEIGHT) -> None:
        """Approach an object at ``position`` (3,) [m] from above, grasp it and lift it by ``lift`` [m]."""
        self.grasp_at(position, yaw)
        self.move(self._keys[-1].position + [0.0, 0.0, lift], duration=0.8, disturbable=0.5)

    def plan(self) -> Plan:
        """Sample the motions every :data:`DT` seconds."""
        times = np.arange(0.0, self._keys[-1].time + DT / 2, DT)
        wrist, hand, disturbable = (np.array(column) for column in zip(*map(self._waypoint, times)))
        return Plan(wrist, hand, disturbable, self._grasped)

    def _grasp_to(self, step: float) -> None:
        last = self._keys[-1]
        self._keys.append(_KeyPose(last.time + self._closing_time, last.position, last.yaw, step, disturbable=0.0))

    def _waypoint(self, time: float) -> tuple[np.ndarray, np.ndarray, float]:
        """Wrist pose (7,), end-effector joints (n,) and disturbable fraction at ``time``."""
        i = min(max(k for k, key in enumerate(self._keys) if key.time <= time + 1e-9), len(self._keys) - 2)
        a, b = self._keys[i], self._keys[i + 1]
        u = np.clip((time - a.time) / (b.time - a.time), 0.0, 1.0)
        s = u**3 * (10 - 15 * u + 6 * u * u)  # minimum jerk

        def blend(x, y):
            return (1 - s) * x + s * y

        start, yaw = blend(a.start, b.start), blend(a.yaw, b.yaw)
        q, centre = self.grasp.at(blend(a.step, b.step))
        R = _rotation_z(yaw) @ self._grasp_rotation @ self.grasp.rotation.T
        if start > 0.0:
            R = R @ pin.exp3(start * pin.log3(R.T @ self._start_rotation))
        pose = np.concatenate([blend(a.position, b.position) - R @ centre, quaternion_from_rotation(R)])
        return pose, (1 - start) * q + start * self._start_joints, blend(a.disturbable, b.disturbable)


def _closing_time(grasp: Grasp, max_velocity: np.ndarray) -> float:
    """Time to execute the whole grasp within the joints' velocity limits [s]."""
    slowest = np.abs(np.diff(grasp.q, axis=0) / max_velocity).max()  # s per step
    return max(MIN_CLOSING_TIME, float(PEAK_VELOCITY_RATIO * slowest * grasp.end))


def _rotation_z(angle: float) -> np.ndarray:
    c, s = np.cos(angle), np.sin(angle)
    return np.array([[c, -s, 0], [s, c, 0], [0, 0, 1.0]])
