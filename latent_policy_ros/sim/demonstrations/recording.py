"""Execution and recording of a plan in a world, with optional disturbances of the wrist.

Disturbances follow DART (Laskey et al. 2017): they push the wrist off the plan, while the recorded command remains the
plan's. The recorded episodes then contain corrections of deviations such as a policy's own errors cause.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pinocchio as pin

from latent_policy_ros.control.arm_kinematics import pose_to_se3, se3_to_pose
from latent_policy_ros.data.lerobot.episodes import Episode, EpisodeMeta
from latent_policy_ros.sim.tasks.motion import DT, Plan
from latent_policy_ros.sim.world import World

COMMANDS_PER_FRAME = 5  # 50 Hz, the command rate of decoders
PUSHES = 3  # pushes in a disturbed episode
PUSH_SIGMA, PUSH_MAX = 0.015, 0.03  # standard deviation and bound of a push along each axis [m]
PUSH_ROTATION_SIGMA = 0.06  # standard deviation of a push about each axis [rad]
PUSH_WIDTH = (0.25, 0.5)  # range of the standard deviation of a push in time [s]


class Disturbance:
    """Random smooth pushes of the wrist: time [s] -> twist (6,) [m, rad].

    Args:
        rng: Source of randomness.
        duration: Duration of the episode [s].
        pushes: Number of pushes.
    """

    def __init__(self, rng: np.random.Generator, duration: float, pushes: int = PUSHES) -> None:
        self.times = rng.uniform(0.2, duration, pushes)
        self.widths = rng.uniform(*PUSH_WIDTH, pushes)
        shift = np.clip(rng.normal(0.0, PUSH_SIGMA, (pushes, 3)), -PUSH_MAX, PUSH_MAX)
        self.twists = np.hstack([shift, rng.normal(0.0, PUSH_ROTATION_SIGMA, (pushes, 3))])

    def __call__(self, time: float) -> np.ndarray:
        return np.exp(-0.5 * ((time - self.times) / self.widths) ** 2) @ self.twists


def demonstrate(
    world: World, plan: Plan, disturbance: Disturbance | None = None, on_frame: Callable[[int], None] | None = None
) -> bool:
    """Execute ``plan`` in ``world`` and return whether the task is done at the end.

    Args:
        on_frame: Called with the number of each frame, before its command is executed.
    """
    for frame in range(len(plan)):
        if on_frame:
            on_frame(frame)
        following = min(frame + 1, len(plan) - 1)
        for k in range(1, COMMANDS_PER_FRAME + 1):
            u = k / COMMANDS_PER_FRAME
            pose = _interpolate(plan.wrist[frame], plan.wrist[following], u)
            if disturbance is not None:
                fraction = (1 - u) * plan.disturbable[frame] + u * plan.disturbable[following]
                pose = _displace(pose, fraction * disturbance((frame + u) * DT))
            world.set_arm_target(world.arm.ik(pose, world.arm_target))
            world.set_hand_target((1 - u) * plan.hand[frame] + u * plan.hand[following])
            world.step(DT / COMMANDS_PER_FRAME)
    return world.success()


def record(world: World, plan: Plan, seed: int, disturbance: Disturbance | None = None, robot: str = "sim") -> Episode:
    """Execute ``plan`` and return images, measurements and commands; ``meta.success`` tells whether the task is done."""
    e, frames, size = world.embodiment, len(plan), world.image_size
    images = {camera: np.empty((frames, size, size, 3), np.uint8) for camera in world.cameras}
    wrist, hand = np.empty((frames, 7)), np.empty((frames, e.action_dim))

    def observe(frame: int) -> None:
        for camera, video in images.items():
            video[frame] = world.render(camera)
        wrist[frame], hand[frame] = world.wrist_pose, e.to_action(world.hand_q)

    success = demonstrate(world, plan, disturbance, observe)
    meta = EpisodeMeta(
        robot=robot, embodiment=e.name, embodiment_hash=e.content_hash, dt=DT, seed=seed, success=success, task=world.task.text
    )
    return Episode(images, wrist, hand, plan.wrist, e.to_action(plan.hand), meta)


def _interpolate(a: np.ndarray, b: np.ndarray, u: float) -> np.ndarray:
    """Pose (7,) between ``a`` (u = 0) and ``b`` (u = 1), interpolated as decoders interpolate action chunks."""
    if a[3:] @ b[3:] < 0:
        b = np.concatenate([b[:3], -b[3:]])
    pose = (1 - u) * a + u * b
    pose[3:] /= np.linalg.norm(pose[3:])
    return pose


def _displace(pose: np.ndarray, twist: np.ndarray) -> np.ndarray:
    """Apply a twist (6,) [m, rad] to ``pose``: a translation in the base frame and a rotation about the wrist."""
    T = pose_to_se3(pose)
    return se3_to_pose(pin.SE3(pin.exp3(twist[3:]) @ T.rotation, T.translation + twist[:3]))
