"""The blue open box of the built-in tasks: its body, its placement, the test of its content, and the motion to drop into it."""

from __future__ import annotations

import mujoco
import numpy as np

from latent_policy_ros.sim.robot_model import CONDIM, FRICTION
from latent_policy_ros.sim.simulation import Simulation
from latent_policy_ros.sim.tasks.motion import GraspMotion
from latent_policy_ros.sim.tasks.objects import REST_SPEED, place

BOX = "box"  # name of the body; its origin is the centre of the underside
BOX_X, BOX_Y = (0.40, 0.52), (-0.27, -0.15)  # ranges of the box's position [m]
BOX_INNER, BOX_WALL, BOX_HEIGHT, BOX_FLOOR = 0.16, 0.006, 0.045, 0.004  # inner width, thickness and height of the box [m]
BLUE, LIGHT_BLUE = (0.12, 0.3, 0.75, 1), (0.25, 0.45, 0.9, 1)
CARRY_HEIGHT = 0.14  # height of the pinch point above the table on the way to the box [m]
RELEASE_GAP = 0.0075  # height of the object's underside above the walls when it is released [m]
RETREAT = 0.08  # upward motion after the release [m]


def add_box(spec: mujoco.MjSpec) -> None:
    """Add the box, fixed to the table."""
    surface = {"type": mujoco.mjtGeom.mjGEOM_BOX, "friction": FRICTION, "condim": CONDIM}
    box = spec.worldbody.add_body(name=BOX, pos=[0.46, -0.21, 0], mocap=True)  # moved by each reset
    inner, half = BOX_INNER / 2, BOX_WALL / 2
    size, centre = [inner, inner, BOX_FLOOR / 2], [0, 0, BOX_FLOOR / 2]
    box.add_geom(name="box_floor", size=size, pos=centre, rgba=LIGHT_BLUE, **surface)
    for name, x, y in (("left", 0, 1), ("right", 0, -1), ("front", 1, 0), ("back", -1, 0)):
        size = [half if x else inner + BOX_WALL, half if y else inner + BOX_WALL, BOX_HEIGHT / 2]
        centre = [x * (inner + half), y * (inner + half), BOX_HEIGHT / 2]
        box.add_geom(name=f"box_{name}", size=size, pos=centre, rgba=BLUE, **surface)


def place_box(sim: Simulation, rng: np.random.Generator) -> None:
    """Put the box at a random position on the robot's right."""
    place(sim, BOX, [rng.uniform(*BOX_X), rng.uniform(*BOX_Y), 0.0])


def rests_in_box(sim: Simulation, name: str) -> bool:
    """Whether the free body ``name`` is at rest inside the box, and the robot does not touch it."""
    offset = sim.body_pose(name)[:3] - sim.body_pose(BOX)[:3]
    inside = np.abs(offset[:2]).max() < BOX_INNER / 2 and offset[2] < BOX_HEIGHT
    return bool(inside and sim.body_speed(name) < REST_SPEED and not sim.robot_touches(name))


def drop_into_box(sim: Simulation, motion: GraspMotion, height: float) -> None:
    """Append the motions that carry a grasped object, ``height`` [m] high, over the box and release it there."""
    x, y = sim.body_pose(BOX)[:2]
    release = np.array([x, y, BOX_HEIGHT + RELEASE_GAP + height / 2 + motion.grasp.height])
    motion.move(np.array([x, y, CARRY_HEIGHT]), yaw=0.0, disturbable=0.5)
    motion.move(release, duration=0.6, disturbable=0.0)
    motion.open()
    motion.move(release + [0.0, 0.0, RETREAT], duration=0.8, disturbable=0.5)
    motion.wait()
