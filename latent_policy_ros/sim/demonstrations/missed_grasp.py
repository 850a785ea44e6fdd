"""Missed grasps, after which demonstrations start: the expert then shows how to open the hand and grasp again.

A policy misses grasps, which an expert that knows the pose of every object never does. The miss itself is not recorded, so
that it is not imitated.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from latent_policy_ros.sim.demonstrations.recording import demonstrate
from latent_policy_ros.sim.start import grasp_frame
from latent_policy_ros.sim.tasks.motion import DT
from latent_policy_ros.sim.world import World

ATTEMPTS = 3
SHIFT = 0.015, 0.05  # range of the horizontal distance from the planned grasp [m]
RAISE = 0.02  # largest height above the planned grasp [m]
SHIFT_TIME = 1.0  # time in which the wrist leaves the plan [s]
LIFT_FRAMES = 8  # most frames that are executed after the grasp
HELD = 0.006  # difference between measured and commanded aperture that tells that something is held [m]


def miss_grasp(world: World, seed: int, rng: np.random.Generator) -> bool:
    """Move the robot of a world that was just reset with ``seed`` to beside the object, and close the hand there.

    Returns:
        Whether the grasp was missed. If every attempt took hold of something, the world is reset.
    """
    frame = grasp_frame(world.embodiment)
    for _ in range(ATTEMPTS):
        plan = world.task.expert(world)
        frames = min(plan.grasped + int(rng.integers(LIFT_FRAMES + 1)), len(plan))
        angle, distance = rng.uniform(0, 2 * np.pi), rng.uniform(*SHIFT)
        shift = np.array([distance * np.cos(angle), distance * np.sin(angle), rng.uniform(0, RAISE)])
        wrist = plan.wrist[:frames].copy()
        wrist[:, :3] += np.minimum(np.arange(frames) * DT / SHIFT_TIME, 1.0)[:, None] * shift
        demonstrate(world, replace(plan, wrist=wrist, hand=plan.hand[:frames], disturbable=np.zeros(frames)))
        measured, commanded = frame.measure(np.stack([world.hand_q, plan.hand[frames - 1]]))[1]
        if measured - commanded < HELD:
            return True
        world.reset(seed)
    return False
