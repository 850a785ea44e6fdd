"""The red cube of the built-in tasks: its body, its placement and the grasp of it."""

from __future__ import annotations

import mujoco
import numpy as np

from latent_policy_ros.sim.simulation import Simulation
from latent_policy_ros.sim.tasks.grasp import Grasp, retargeted_grasp
from latent_policy_ros.sim.tasks.objects import add_object, place, yaw_of

CUBE = "cube"  # name of the body
EDGE = 0.045  # m
MASS = 0.08  # kg
START_X, START_Y, START_YAW = (0.37, 0.55), (0.0, 0.18), 0.3  # ranges of the initial pose [m]; yaw in +-START_YAW [rad]
RED = (0.85, 0.15, 0.12, 1)


def add_cube(spec: mujoco.MjSpec) -> None:
    """Add the cube as a free body."""
    add_object(spec, CUBE, mujoco.mjtGeom.mjGEOM_BOX, [EDGE / 2] * 3, [0.46, 0.09, EDGE / 2], MASS, RED)


def place_cube(sim: Simulation, rng: np.random.Generator) -> None:
    """Put the cube on the table at a random position and yaw."""
    x, y, yaw = rng.uniform(*START_X), rng.uniform(*START_Y), rng.uniform(-1, 1) * START_YAW
    place(sim, CUBE, [x, y, EDGE / 2], yaw)


def cube_yaw(sim: Simulation) -> float:
    """Rotation of the cube about the vertical axis, up to a quarter turn: in +-pi/4 [rad]; exact while the cube lies on a face."""
    quarter = np.pi / 2
    return (yaw_of(sim, CUBE) + quarter / 2) % quarter - quarter / 2


def cube_grasp(sim: Simulation) -> Grasp:
    """Grasp of the cube by the end-effector of ``sim``."""
    return retargeted_grasp(sim.embodiment, EDGE, sim.arm.T_flange_hand.rotation[2])
