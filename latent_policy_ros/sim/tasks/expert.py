"""A scripted expert: picks the cube up and puts it into the box, with any end-effector, by the one human grasp.

Its plan is a list of waypoints at the policy's rate; played with straight lines in between, as a policy's chunks are.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pinocchio as pin

from latent_policy_ros.control.arm_kinematics import pose_to_se3, quaternion_from_rotation
from latent_policy_ros.sim import scene
from latent_policy_ros.sim.tasks.grasp import Grasp, retargeted_grasp
from latent_policy_ros.sim.world import World

DT = 0.1  # s between waypoints
ABOVE = 0.09  # m above the cube before and after the grasp
CARRY = 0.14  # height of the pinch on the way to the box [m]
RELEASE = 0.075  # height of the pinch when it lets go [m]
RETREAT = 0.08  # m up after letting go
SPEED = 0.22  # m/s, mean of the long ways
CLOSING = 0.8  # s to close or to open, where the end-effector's joints are quick enough
PEAK = 1.875  # highest over mean speed of a minimum-jerk motion
REST = 0.3  # s at the end


@dataclass(frozen=True)
class Plan:
    """Waypoints every DT: wrist poses (T, 7) and joints of the end-effector (T, n); `disturbable` (T,) in [0, 1] says
    how much a disturbance of the wrist is forgiven at each (0 while it grasps or lets go)."""

    wrist: np.ndarray
    hand: np.ndarray
    disturbable: np.ndarray

    def __len__(self) -> int:
        return len(self.wrist)


@dataclass(frozen=True)
class _Key:
    """The plan passes here at `time`: pinch at `position`, hand turned by `yaw`, grasp at `step`; `home` = how far the
    hand still is from the grasp's orientation and joints (1: as at the start)."""

    time: float
    position: np.ndarray
    yaw: float
    step: float
    home: float = 0.0
    disturbable: float = 1.0


def plan(world: World) -> Plan:
    """The expert's plan for the episode that `world` was just reset to."""
    grasp = world_grasp(world)
    start = pose_to_se3(world.wrist_pose)
    G0 = _grasp_rotation(grasp, start.rotation)
    q_start = world.hand_q
    cube, yaw = world.cube_pose[:3], world.layout.cube[2]
    closing = _closing_time(grasp, world.embodiment.max_velocity)
    keys = _keys(start.act(grasp.at(0.0)[1]), cube, yaw, world.box_pose[:2], grasp, closing)
    rows = [_waypoint(keys, t, grasp, start.rotation, G0, q_start) for t in np.arange(0.0, keys[-1].time + DT / 2, DT)]
    return Plan(*(np.array(column) for column in zip(*rows)))


def world_grasp(world: World) -> Grasp:
    """The grasp of this world's cube by its end-effector."""
    return retargeted_grasp(world.embodiment, scene.CUBE, world.arm.T_flange_hand.rotation[2])


def _grasp_rotation(grasp: Grasp, start: np.ndarray) -> np.ndarray:
    """Rotation (3, 3) of the grasp frame in the world for a cube that is not turned: pinch along y, whichever way round
    is nearer to how the hand is held at the start; down is down."""
    ways = [np.array([[0, s, 0], [s, 0, 0], [0, 0, -1.0]]) for s in (1.0, -1.0)]
    return max(ways, key=lambda G: np.trace(G @ grasp.rotation.T @ start.T))


def _closing_time(grasp: Grasp, max_velocity: np.ndarray) -> float:
    """Time [s] to play the whole grasp with no joint faster than its limit."""
    fastest = np.abs(np.diff(grasp.q, axis=0) / max_velocity).max()  # s per step
    return max(CLOSING, float(PEAK * fastest * grasp.end))


def _keys(start: np.ndarray, cube: np.ndarray, yaw: float, box: np.ndarray, grasp: Grasp, closing: float) -> list[_Key]:
    pinch = cube + [0, 0, grasp.height]
    above, lifted = pinch + [0, 0, ABOVE], pinch + [0, 0, ABOVE]
    over, low = np.array([*box, CARRY]), np.array([*box, RELEASE + grasp.height])
    first = max(1.2, np.linalg.norm(above - start) / SPEED)
    across = max(1.2, np.linalg.norm(over - lifted) / SPEED)
    keys = [_Key(0.0, start, 0.0, 0.0, home=1.0)]

    def then(seconds: float, position: np.ndarray, yaw: float, step: float, disturbable: float = 1.0) -> None:
        keys.append(_Key(keys[-1].time + seconds, position, yaw, step, disturbable=disturbable))

    then(first, above, yaw, 0.0)
    then(0.8, pinch, yaw, 0.0, 0.0)
    then(closing, pinch, yaw, grasp.end, 0.0)
    then(0.8, lifted, yaw, grasp.end, 0.5)
    then(across, over, 0.0, grasp.end, 0.5)
    then(0.6, low, 0.0, grasp.end, 0.0)
    then(closing, low, 0.0, 0.0, 0.0)
    then(0.8, low + [0, 0, RETREAT], 0.0, 0.0, 0.5)
    then(REST, low + [0, 0, RETREAT], 0.0, 0.0)
    return keys


def _waypoint(keys, t, grasp, R_start, G0, q_start):
    i = min(max(k for k, key in enumerate(keys) if key.time <= t + 1e-9), len(keys) - 2)
    a, b = keys[i], keys[i + 1]
    u = np.clip((t - a.time) / (b.time - a.time), 0.0, 1.0)
    s = u**3 * (10 - 15 * u + 6 * u * u)  # minimum jerk

    def mix(x, y):
        return (1 - s) * x + s * y

    home, yaw = mix(a.home, b.home), mix(a.yaw, b.yaw)
    q, centre = grasp.at(mix(a.step, b.step))
    R_grasp = _about_z(yaw) @ G0 @ grasp.rotation.T
    R = R_grasp if home == 0.0 else R_grasp @ _power(R_grasp.T @ R_start, home)
    position = mix(a.position, b.position) - R @ centre
    pose = np.concatenate([position, quaternion_from_rotation(R)])
    return pose, (1 - home) * q + home * q_start, mix(a.disturbable, b.disturbable)


def _about_z(angle: float) -> np.ndarray:
    c, s = np.cos(angle), np.sin(angle)
    return np.array([[c, -s, 0], [s, c, 0], [0, 0, 1.0]])


def _power(R: np.ndarray, fraction: float) -> np.ndarray:
    """The part of a rotation: the same axis, a fraction of the angle."""
    return pin.exp3(fraction * pin.log3(R))
