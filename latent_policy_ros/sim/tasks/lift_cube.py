"""Task: lift a cube off the table and hold it."""

from __future__ import annotations

import mujoco
import numpy as np

from latent_policy_ros.sim.simulation import Simulation
from latent_policy_ros.sim.tasks.base import Task
from latent_policy_ros.sim.tasks.cube import CUBE, EDGE, add_cube, cube_grasp, cube_yaw, place_cube
from latent_policy_ros.sim.tasks.motion import GraspMotion, Plan

LIFT = 0.10  # the cube's underside must be this far above the table [m]
MARGIN = 0.03  # the expert lifts the cube higher than required by this distance [m]


class LiftCube(Task):
    """Success: the robot holds the cube at least 10 cm above the table for 0.5 s."""

    name = "lift_cube"
    text = "lift the red cube"
    hold_time = 0.5

    def furnish(self, spec: mujoco.MjSpec) -> None:
        add_cube(spec)

    def reset(self, sim: Simulation, rng: np.random.Generator) -> None:
        place_cube(sim, rng)

    def success(self, sim: Simulation) -> bool:
        return bool(sim.body_pose(CUBE)[2] - EDGE / 2 >= LIFT and sim.robot_touches(CUBE))

    def expert(self, sim: Simulation) -> Plan:
        motion = GraspMotion(sim, cube_grasp(sim))
        motion.pick(sim.body_pose(CUBE)[:3], cube_yaw(sim), lift=LIFT + MARGIN)
        motion.wait(self.hold_time + 0.3)
        return motion.plan()
