"""Free bodies of one shape that tasks place on the table: their creation, placement and yaw."""

from __future__ import annotations

from collections.abc import Sequence

import mujoco
import numpy as np

from latent_policy_ros.sim.robot_model import CONDIM, FRICTION
from latent_policy_ros.sim.simulation import Simulation

REST_SPEED = 0.05  # a body is at rest below this speed [m/s]
STIFF = {"solimp": [0.95, 0.99, 0.001, 0.5, 2], "solref": [0.004, 1]}  # contacts of held objects, which must not sink in
ROLLING = 6  # condim of a round object: contacts with torsional and rolling friction


def add_object(
    spec: mujoco.MjSpec,
    name: str,
    kind: mujoco.mjtGeom,
    size: Sequence[float],
    position: Sequence[float],
    mass: float,
    rgba: Sequence[float],
) -> None:
    """Add a free body with one geom, both called ``name``.

    Args:
        size: Size of the geom as MuJoCo defines it for ``kind``, e.g. the half edges of a box [m].
        position: Initial position (3,) of its centre [m].
        mass: Mass [kg].
        rgba: Colour and opacity (4,).
    """
    body = spec.worldbody.add_body(name=name, pos=position)
    body.add_freejoint(name=name)
    condim = ROLLING if kind == mujoco.mjtGeom.mjGEOM_SPHERE else CONDIM
    body.add_geom(name=name, type=kind, size=size, mass=mass, rgba=rgba, friction=FRICTION, condim=condim, **STIFF)


def place(sim: Simulation, name: str, position: Sequence[float], yaw: float = 0.0) -> None:
    """Place a free body or a mocap body upright at ``position`` (3,) [m], turned about the vertical axis by ``yaw`` [rad]."""
    sim.place_body(name, np.array([*position, 0.0, 0.0, np.sin(yaw / 2), np.cos(yaw / 2)]))


def yaw_of(sim: Simulation, name: str) -> float:
    """Rotation of a body about the vertical axis [rad]; exact while the body is upright."""
    *_, qz, qw = sim.body_pose(name)
    return 2 * float(np.arctan2(qz, qw))
