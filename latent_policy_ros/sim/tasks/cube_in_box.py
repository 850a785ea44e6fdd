"""Task: pick up a cube and put it into an open box."""

from __future__ import annotations

import mujoco
import numpy as np

from latent_policy_ros.sim.simulation import Simulation
from latent_policy_ros.sim.tasks.base import Task
from latent_policy_ros.sim.tasks.box import add_box, drop_into_box, place_box, rests_in_box
from latent_policy_ros.sim.tasks.cube import CUBE, EDGE, add_cube, cube_grasp, cube_yaw, place_cube
from latent_policy_ros.sim.tasks.grasp import Grasp
from latent_policy_ros.sim.tasks.motion import GraspMotion, Plan


class CubeInBox(Task):
    """Success: the cube is at rest inside the box, and the robot does not touch it."""

    name = "cube_in_box"
    text = "pick up the red cube and put it into the blue box"

    def furnish(self, spec: mujoco.MjSpec) -> None:
        add_cube(spec)
        add_box(spec)

    def reset(self, sim: Simulation, rng: np.random.Generator) -> None:
        place_cube(sim, rng)
        place_box(sim, rng)

    def success(self, sim: Simulation) -> bool:
        return rests_in_box(sim, CUBE)

    def expert(self, sim: Simulation, grasp: Grasp | None = None) -> Plan:
        """Plan a solution, by default with the end-effector's own grasp of the cube."""
        motion = GraspMotion(sim, grasp or cube_grasp(sim))
        motion.pick(sim.body_pose(CUBE)[:3], cube_yaw(sim))
        drop_into_box(sim, motion, EDGE)
        return motion.plan()
