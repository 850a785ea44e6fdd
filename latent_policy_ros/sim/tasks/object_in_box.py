"""Task: put an object whose shape is drawn at random into an open box."""

from __future__ import annotations

from dataclasses import dataclass

import mujoco
import numpy as np

from latent_policy_ros.sim.simulation import Simulation
from latent_policy_ros.sim.tasks.base import Task
from latent_policy_ros.sim.tasks.box import add_box, drop_into_box, place_box, rests_in_box
from latent_policy_ros.sim.tasks.cube import START_X, START_Y, START_YAW
from latent_policy_ros.sim.tasks.grasp import retargeted_grasp
from latent_policy_ros.sim.tasks.motion import GraspMotion, Plan
from latent_policy_ros.sim.tasks.objects import add_object, place, yaw_of

SHELF_HEIGHT = -0.5  # top of the shelf below the table that keeps the objects of other episodes [m]
SHELF_X, SHELF_SPACING = 0.4, 0.2  # m


@dataclass(frozen=True)
class _Shape:
    """An object with its size along x, y (grasped) and z [m], mass [kg] and colour."""

    name: str
    kind: mujoco.mjtGeom
    extent: tuple[float, float, float]
    mass: float
    rgba: tuple[float, float, float, float]

    @property
    def width(self) -> float:
        """Distance between the grasped faces [m]."""
        return self.extent[1]

    @property
    def height(self) -> float:
        return self.extent[2]


BOX_SHAPE, BALL_SHAPE = mujoco.mjtGeom.mjGEOM_BOX, mujoco.mjtGeom.mjGEOM_SPHERE
SHAPES = (
    _Shape("tile", BOX_SHAPE, (0.064, 0.038, 0.022), 0.05, (0.95, 0.75, 0.1, 1)),
    _Shape("block", BOX_SHAPE, (0.05, 0.054, 0.064), 0.12, (0.2, 0.6, 0.25, 1)),
    _Shape("ball", BALL_SHAPE, (0.048, 0.048, 0.048), 0.05, (0.9, 0.45, 0.1, 1)),
)


class ObjectInBox(Task):
    """Success: the object on the table, a flat tile, a large block or a ball, is at rest inside the box, untouched by the robot.

    The scene contains all objects. Those of other episodes lie on a shelf below the table, hidden from the cameras.
    """

    name = "object_in_box"
    text = "put the object into the blue box"

    def furnish(self, spec: mujoco.MjSpec) -> None:
        size = [SHELF_SPACING, SHELF_SPACING * len(SHAPES) / 2, 0.01]
        spec.worldbody.add_geom(name="shelf", type=BOX_SHAPE, size=size, pos=[SHELF_X, 0.0, SHELF_HEIGHT - 0.01])
        for i, shape in enumerate(SHAPES):
            add_object(spec, shape.name, shape.kind, [extent / 2 for extent in shape.extent], _shelf(i), shape.mass, shape.rgba)
        add_box(spec)

    def reset(self, sim: Simulation, rng: np.random.Generator) -> None:
        chosen = int(rng.integers(len(SHAPES)))
        for i, shape in enumerate(SHAPES):
            place(sim, shape.name, _shelf(i))
        x, y, yaw = rng.uniform(*START_X), rng.uniform(*START_Y), rng.uniform(-1, 1) * START_YAW
        place(sim, SHAPES[chosen].name, [x, y, SHAPES[chosen].height / 2], yaw)
        place_box(sim, rng)

    def success(self, sim: Simulation) -> bool:
        return rests_in_box(sim, _on_table(sim).name)

    def expert(self, sim: Simulation) -> Plan:
        shape = _on_table(sim)
        grasp = retargeted_grasp(sim.embodiment, shape.width, sim.arm.T_flange_hand.rotation[2], height=shape.height)
        motion = GraspMotion(sim, grasp)
        motion.pick(sim.body_pose(shape.name)[:3], yaw_of(sim, shape.name))
        drop_into_box(sim, motion, shape.height)
        return motion.plan()


def _shelf(index: int) -> list[float]:
    """Position on the shelf of the object with this index."""
    return [SHELF_X, SHELF_SPACING * (index - (len(SHAPES) - 1) / 2), SHELF_HEIGHT + SHAPES[index].height / 2]


def _on_table(sim: Simulation) -> _Shape:
    """The object of this episode: the highest one, all others lie on the shelf."""
    return max(SHAPES, key=lambda shape: sim.body_pose(shape.name)[2])
