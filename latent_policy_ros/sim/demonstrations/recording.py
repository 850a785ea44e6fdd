"""Play a plan in a world and record it: what was seen, measured and commanded, frame by frame.

Demonstrations are disturbed on purpose (as in DART, Laskey et al. 2017): something pushes the wrist off the plan, while
the recorded command stays the plan's. A policy then sees how to come back from where its own errors will take it.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pinocchio as pin

from latent_policy_ros.control.arm_kinematics import pose_to_se3, se3_to_pose
from latent_policy_ros.data.lerobot.episodes import Episode, EpisodeMeta
from latent_policy_ros.sim.tasks.expert import DT, Plan
from latent_policy_ros.sim.world import TASK, World

COMMANDS_PER_FRAME = 5  # 50 Hz, as decoders command
PUSHES = 3  # of a disturbed episode
PUSH_SIGMA, PUSH_MAX = 0.015, 0.03  # m each axis
PUSH_TURN = 0.06  # rad each axis, standard deviation
PUSH_SECONDS = (0.25, 0.5)  # standard deviation of a push in time


class Disturbance:
    """Smooth pushes of the wrist at random times: a twist (6,) [m, rad] for every moment of `seconds`."""

    def __init__(self, rng: np.random.Generator, seconds: float, pushes: int = PUSHES) -> None:
        self.at = rng.uniform(0.2, seconds, pushes)
        self.width = rng.uniform(*PUSH_SECONDS, pushes)
        shift = np.clip(rng.normal(0.0, PUSH_SIGMA, (pushes, 3)), -PUSH_MAX, PUSH_MAX)
        self.twist = np.hstack([shift, rng.normal(0.0, PUSH_TURN, (pushes, 3))])

    def __call__(self, time: float) -> np.ndarray:
        return np.exp(-0.5 * ((time - self.at) / self.width) ** 2) @ self.twist


def demonstrate(
    world: World, plan: Plan, disturbance: Disturbance | None = None, on_frame: Callable[[int], None] | None = None
) -> bool:
    """Play `plan` in `world` from now on; returns whether the task is done at its end.

    Args:
        on_frame: Called with the number of each frame, before its command is carried out.
    """
    for frame in range(len(plan)):
        if on_frame:
            on_frame(frame)
        after = min(frame + 1, len(plan) - 1)
        for k in range(1, COMMANDS_PER_FRAME + 1):
            u = k / COMMANDS_PER_FRAME
            pose = _between(plan.wrist[frame], plan.wrist[after], u)
            if disturbance is not None:
                share = (1 - u) * plan.disturbable[frame] + u * plan.disturbable[after]
                pose = _pushed(pose, share * disturbance((frame + u) * DT))
            world.set_arm_target(world.arm.ik(pose, world.arm_target))
            world.set_hand_target((1 - u) * plan.hand[frame] + u * plan.hand[after])
            world.step(DT / COMMANDS_PER_FRAME)
    return world.success()


def record(world: World, plan: Plan, seed: int, disturbance: Disturbance | None = None, robot: str = "sim") -> Episode:
    """Play `plan` and return all that was seen, measured and commanded; `meta.success` says how it ended."""
    e, frames = world.embodiment, len(plan)
    size = world.image_size
    images = {camera: np.empty((frames, size, size, 3), np.uint8) for camera in world.cameras}
    wrist, hand = np.empty((frames, 7)), np.empty((frames, e.action_dim))

    def observe(frame: int) -> None:
        for camera, image_batch in images.items():
            image_batch[frame] = world.render(camera)
        wrist[frame], hand[frame] = world.wrist_pose, e.to_action(world.hand_q)

    success = demonstrate(world, plan, disturbance, observe)
    meta = EpisodeMeta(robot=robot, embodiment=e.name, embodiment_hash=e.content_hash, dt=DT, seed=seed, success=success, task=TASK)
    return Episode(images, wrist, hand, plan.wrist, e.to_action(plan.hand), meta)


def _between(a: np.ndarray, b: np.ndarray, u: float) -> np.ndarray:
    """Pose on the straight line from `a` to `b`, as a decoder interpolates a chunk."""
    if a[3:] @ b[3:] < 0:
        b = np.concatenate([b[:3], -b[3:]])
    pose = (1 - u) * a + u * b
    pose[3:] /= np.linalg.norm(pose[3:])
    return pose


def _pushed(pose: np.ndarray, twist: np.ndarray) -> np.ndarray:
    """`pose` shifted in the base frame, and turned about the wrist, by a twist (6,)."""
    T = pose_to_se3(pose)
    return se3_to_pose(pin.SE3(pin.exp3(twist[3:]) @ T.rotation, T.translation + twist[:3]))
