"""Task: stack a cube on a larger block."""

from __future__ import annotations

import mujoco
import numpy as np

from latent_policy_ros.sim.simulation import Simulation
from latent_policy_ros.sim.tasks.base import Task
from latent_policy_ros.sim.tasks.cube import CUBE, EDGE, add_cube, cube_grasp, cube_yaw, place_cube
from latent_policy_ros.sim.tasks.motion import GraspMotion, Plan
from latent_policy_ros.sim.tasks.objects import REST_SPEED, add_object, place, yaw_of

BASE = "base"  # name of the lower block
BASE_WIDTH, BASE_HEIGHT, BASE_MASS = 0.06, 0.045, 0.25  # m, m, kg
BASE_X, BASE_Y, BASE_YAW = (0.38, 0.54), (-0.26, -0.11), 0.3  # ranges of the initial pose [m]; yaw in +-BASE_YAW [rad]
GREEN = (0.15, 0.55, 0.3, 1)
TOLERANCE = 0.004  # of the heights of both blocks [m]
CARRY_HEIGHT = 0.16  # height of the pinch point above the table on the way to the lower block [m]
RELEASE_GAP = 0.005  # distance between the blocks when the cube is released [m]
RETREAT = 0.08  # upward motion after the release [m]


class StackBlocks(Task):
    """Success: the cube is at rest on the block, the block on the table, and the robot touches neither."""

    name = "stack_blocks"
    text = "stack the red cube on the green block"
    hold_time = 0.2

    def furnish(self, spec: mujoco.MjSpec) -> None:
        add_cube(spec)
        half = [BASE_WIDTH / 2, BASE_WIDTH / 2, BASE_HEIGHT / 2]
        add_object(spec, BASE, mujoco.mjtGeom.mjGEOM_BOX, half, [0.46, -0.18, BASE_HEIGHT / 2], BASE_MASS, GREEN)

    def reset(self, sim: Simulation, rng: np.random.Generator) -> None:
        place_cube(sim, rng)
        x, y, yaw = rng.uniform(*BASE_X), rng.uniform(*BASE_Y), rng.uniform(-1, 1) * BASE_YAW
        place(sim, BASE, [x, y, BASE_HEIGHT / 2], yaw)

    def success(self, sim: Simulation) -> bool:
        cube, base = sim.body_pose(CUBE)[:3], sim.body_pose(BASE)[:3]
        over = np.abs(cube[:2] - base[:2]).max() < BASE_WIDTH / 2
        stacked = abs(cube[2] - BASE_HEIGHT - EDGE / 2) < TOLERANCE and abs(base[2] - BASE_HEIGHT / 2) < TOLERANCE
        at_rest = max(sim.body_speed(CUBE), sim.body_speed(BASE)) < REST_SPEED
        return bool(over and stacked and at_rest and not sim.robot_touches(CUBE) and not sim.robot_touches(BASE))

    def expert(self, sim: Simulation) -> Plan:
        motion = GraspMotion(sim, cube_grasp(sim))
        motion.pick(sim.body_pose(CUBE)[:3], cube_yaw(sim))
        x, y, _ = sim.body_pose(BASE)[:3]
        release = np.array([x, y, BASE_HEIGHT + RELEASE_GAP + EDGE / 2 + motion.grasp.height])
        motion.move(np.array([x, y, CARRY_HEIGHT]), yaw=yaw_of(sim, BASE), disturbable=0.5)
        motion.move(release, duration=1.0, disturbable=0.0)
        motion.open()
        motion.move(release + [0.0, 0.0, RETREAT], duration=0.8, disturbable=0.5)
        motion.wait(self.hold_time + 0.1)
        return motion.plan()
