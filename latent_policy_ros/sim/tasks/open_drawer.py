"""Task: pull a drawer open by its handle."""

from __future__ import annotations

import mujoco
import numpy as np

from latent_policy_ros.sim.robot_model import CONDIM, FRICTION
from latent_policy_ros.sim.simulation import Simulation
from latent_policy_ros.sim.tasks.base import Task
from latent_policy_ros.sim.tasks.grasp import retargeted_grasp
from latent_policy_ros.sim.tasks.motion import GraspMotion, Plan
from latent_policy_ros.sim.tasks.objects import STIFF, place, yaw_of

CABINET, DRAWER = "cabinet", "drawer"  # names of the bodies; the joint of the drawer has the name of its body
CABINET_X, CABINET_Y, CABINET_YAW = (0.41, 0.53), (-0.03, 0.06), 0.25  # ranges of the handle's pose [m]; yaw in +-CABINET_YAW [rad]
WIDTH, DEPTH, HEIGHT, WALL = 0.22, 0.16, 0.065, 0.008  # outer size of the cabinet, thickness of its walls [m]
HANDLE_WIDTH, HANDLE_HEIGHT = 0.02, 0.045  # thickness of the bar and height of its centre above the table [m]
HANDLE_REACH, HANDLE_SPAN = 0.07, 0.19  # distance of the bar from the front, and its length [m]
TRAVEL, OPEN = 0.14, 0.08  # range of the drawer, and the opening that the task requires [m]
DRAWER_MASS, DRAWER_FRICTION, DRAWER_DAMPING = 0.5, 2.0, 5.0  # kg, N, N s/m
PULL, PULL_TIME = 0.11, 2.2  # motion of the expert [m], [s]
OPENING = 0.05  # width of the hand's opening over the bar [m]; the thumb must fit between the bar and the drawer
WOOD, LIGHT_WOOD, STEEL = (0.5, 0.33, 0.2, 1), (0.72, 0.52, 0.33, 1), (0.55, 0.57, 0.6, 1)


class OpenDrawer(Task):
    """Success: the drawer is open by 8 cm for 0.3 s.

    The cabinet's frame is at the closed handle: x along the handle, y into the cabinet, z up from the table.
    """

    name = "open_drawer"
    text = "pull the drawer open by its handle"
    hold_time = 0.3

    def furnish(self, spec: mujoco.MjSpec) -> None:
        cabinet = spec.worldbody.add_body(name=CABINET, pos=[0.46, 0.15, 0.0], mocap=True)  # moved by each reset
        front = HANDLE_REACH
        for name, size, centre in (
            ("top", [WIDTH, DEPTH, WALL], [0.0, front + DEPTH / 2, HEIGHT - WALL / 2]),
            ("left", [WALL, DEPTH, HEIGHT], [-(WIDTH - WALL) / 2, front + DEPTH / 2, HEIGHT / 2]),
            ("right", [WALL, DEPTH, HEIGHT], [(WIDTH - WALL) / 2, front + DEPTH / 2, HEIGHT / 2]),
            ("back", [WIDTH, WALL, HEIGHT], [0.0, front + DEPTH - WALL / 2, HEIGHT / 2]),
        ):
            _add_wall(cabinet, f"cabinet_{name}", size, centre, WOOD)
        drawer = cabinet.add_body(name=DRAWER)
        drawer.add_joint(
            name=DRAWER, type=mujoco.mjtJoint.mjJNT_SLIDE, axis=[0.0, -1.0, 0.0], limited=True, range=[0.0, TRAVEL],
            frictionloss=DRAWER_FRICTION, damping=[DRAWER_DAMPING, 0.0, 0.0],
        )  # fmt: skip
        drawer.mass, drawer.inertia, drawer.explicitinertial = DRAWER_MASS, [1e-3] * 3, True
        gap = 0.002  # between the drawer and the cabinet or the table
        inner, height = WIDTH - 2 * WALL - 2 * gap, HEIGHT - WALL - 2 * gap
        middle, depth = gap + height / 2, DEPTH - WALL - gap
        for name, size, centre in (
            ("front", [inner, WALL, height], [0.0, front + WALL / 2, middle]),
            ("floor", [inner, depth, WALL], [0.0, front + depth / 2, gap + WALL / 2]),
            ("left", [WALL, depth, height], [-(inner - WALL) / 2, front + depth / 2, middle]),
            ("right", [WALL, depth, height], [(inner - WALL) / 2, front + depth / 2, middle]),
            ("back", [inner, WALL, height], [0.0, front + depth - WALL / 2, middle]),
        ):
            _add_wall(drawer, f"drawer_{name}", size, centre, LIGHT_WOOD)
        _add_wall(drawer, "handle", [HANDLE_SPAN, HANDLE_WIDTH, HANDLE_WIDTH], [0.0, 0.0, HANDLE_HEIGHT], STEEL)
        for side in (-1, 1):
            centre = [side * (HANDLE_SPAN - HANDLE_WIDTH) / 2, front / 2, HANDLE_HEIGHT]
            _add_wall(drawer, f"handle_{'right' if side > 0 else 'left'}", [HANDLE_WIDTH, front, HANDLE_WIDTH], centre, STEEL)

    def reset(self, sim: Simulation, rng: np.random.Generator) -> None:
        x, y, yaw = rng.uniform(*CABINET_X), rng.uniform(*CABINET_Y), rng.uniform(-1, 1) * CABINET_YAW
        place(sim, CABINET, [x, y, 0.0], yaw)

    def success(self, sim: Simulation) -> bool:
        return bool(sim.data.joint(DRAWER).qpos[0] >= OPEN)

    def expert(self, sim: Simulation) -> Plan:
        down = sim.arm.T_flange_hand.rotation[2]
        grasp = retargeted_grasp(sim.embodiment, HANDLE_WIDTH, down, height=2 * HANDLE_HEIGHT, opening=OPENING)
        motion, yaw = GraspMotion(sim, grasp), yaw_of(sim, CABINET)
        handle = sim.body_pose(CABINET)[:3] + [0.0, 0.0, HANDLE_HEIGHT]
        motion.grasp_at(handle, yaw)
        motion.move(handle + PULL * np.array([np.sin(yaw), -np.cos(yaw), 0.0]), duration=PULL_TIME, disturbable=0.0)
        motion.wait(self.hold_time + 0.2)
        return motion.plan()


def _add_wall(body: mujoco.MjsBody, name: str, size: list[float], centre: list[float], rgba: tuple) -> None:
    """Add a box of ``size`` (3,) [m]. The cabinet and the drawer do not collide with each other."""
    half = [length / 2 for length in size]
    surface = {"friction": FRICTION, "condim": CONDIM, "conaffinity": 0, **STIFF}
    body.add_geom(name=name, type=mujoco.mjtGeom.mjGEOM_BOX, size=half, pos=centre, rgba=rgba, **surface)
