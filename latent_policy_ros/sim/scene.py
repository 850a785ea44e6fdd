"""The pick-and-place scene: a robot at a table with a red cube and an open blue box, and the cameras that watch it.

World frame = the arm's base frame: x forward, y left, z up, table top at z = 0. Metres.
"""

from __future__ import annotations

from functools import lru_cache

import mujoco
import numpy as np

from latent_policy_ros.embodiments import Embodiment
from latent_policy_ros.embodiments.model.content_hash import EmbodimentKey
from latent_policy_ros.sim.robot_model import CONDIM, FRICTION, robot_spec

TIMESTEP = 0.002  # s
CUBE = 0.045  # edge
CUBE_MASS = 0.08  # kg
CUBE_X, CUBE_Y, CUBE_YAW = (0.37, 0.55), (0.0, 0.18), 0.3  # where the cube starts; yaw within +- [rad]
BOX_X, BOX_Y = (0.40, 0.52), (-0.27, -0.15)  # where the box's centre is
BOX_INNER, BOX_WALL, BOX_HEIGHT, BOX_FLOOR = 0.16, 0.006, 0.045, 0.004
FRONT_POSITION, FRONT_TARGET, FRONT_FOV = (1.0, -0.08, 0.78), (0.42, -0.08, 0.05), 36.0  # fov vertical [degrees]
WRIST_POSITION, WRIST_TARGET, WRIST_FOV = (-0.02, 0.12, 0.10), (0.07, 0.03, 0.15), 70.0  # in a right hand's frame
CAMERAS = {"front": "front", "wrist": "robot/wrist"}  # by what MuJoCo calls them
LARGEST_PICTURE = 640  # pixels, each way
RED, BLUE, TABLE = (0.85, 0.15, 0.12, 1), (0.12, 0.3, 0.75, 1), (0.72, 0.68, 0.6, 1)


def _look_at(position, target, up) -> dict:
    """Camera pose: MuJoCo cameras look along -z with +y up in the image."""
    z = np.subtract(position, target)
    z /= np.linalg.norm(z)
    x = np.cross(up, z)
    x /= np.linalg.norm(x)
    quaternion = np.zeros(4)
    mujoco.mju_mat2Quat(quaternion, np.stack([x, np.cross(z, x), z], axis=1).ravel())
    return {"pos": position, "quat": quaternion}


def _furnish(spec: mujoco.MjSpec) -> None:
    world, box_type = spec.worldbody, mujoco.mjtGeom.mjGEOM_BOX
    surface = {"friction": FRICTION, "condim": CONDIM}
    for direction, strength in (([0.0, 0.3, -1.0], 0.3), ([-1.0, -0.6, -1.0], 0.25)):
        kind = mujoco.mjtLightType.mjLIGHT_DIRECTIONAL
        world.add_light(pos=[0, 0, 2], dir=direction, castshadow=False, type=kind, diffuse=[strength] * 3, specular=[0.1] * 3)
    world.add_geom(name="table", type=box_type, size=[0.5, 0.6, 0.02], pos=[0.4, 0, -0.02], rgba=TABLE, **surface)
    cube = world.add_body(name="cube", pos=[0.46, 0.09, CUBE / 2])
    cube.add_freejoint(name="cube")
    cube.add_geom(
        name="cube", type=box_type, size=[CUBE / 2] * 3, mass=CUBE_MASS, rgba=RED,
        solimp=[0.95, 0.99, 0.001, 0.5, 2], solref=[0.004, 1], **surface,
    )  # fmt: skip
    box = world.add_body(name="box", pos=[0.46, -0.21, 0], mocap=True)  # fixed to the table; placed anew each reset
    inner, half = BOX_INNER / 2, BOX_WALL / 2
    box.add_geom(
        name="box_floor", type=box_type, size=[inner, inner, BOX_FLOOR / 2], pos=[0, 0, BOX_FLOOR / 2],
        rgba=(0.25, 0.45, 0.9, 1), **surface,
    )  # fmt: skip
    for name, sx, sy in (("left", 0, 1), ("right", 0, -1), ("front", 1, 0), ("back", -1, 0)):
        along, across = inner + BOX_WALL, half
        box.add_geom(
            name=f"box_{name}", type=box_type, rgba=BLUE, pos=[sx * (inner + half), sy * (inner + half), BOX_HEIGHT / 2],
            size=[across if sx else along, across if sy else along, BOX_HEIGHT / 2], **surface,
        )  # fmt: skip


@lru_cache(maxsize=8)
def _build(key: EmbodimentKey, mount: bytes) -> mujoco.MjModel:
    embodiment, T_flange_hand = key.embodiment, np.frombuffer(mount).reshape(4, 4)
    spec = mujoco.MjSpec()
    spec.option.timestep, spec.option.impratio = TIMESTEP, 10
    spec.option.cone = mujoco.mjtCone.mjCONE_ELLIPTIC
    spec.option.integrator = mujoco.mjtIntegrator.mjINT_IMPLICITFAST
    spec.visual.global_.offwidth, spec.visual.global_.offheight = LARGEST_PICTURE, LARGEST_PICTURE
    quality = spec.visual.quality  # roundness of capsules and spheres is what drawing a hand costs
    quality.offsamples, quality.numslices, quality.numstacks = 4, 10, 6
    spec.visual.headlight.ambient, spec.visual.headlight.diffuse = [0.35] * 3, [0.25] * 3
    spec.visual.map.znear = 0.01
    _furnish(spec)
    robot = robot_spec(embodiment, T_flange_hand)
    if embodiment.kind == "hand":
        T = T_flange_hand
        quaternion = np.zeros(4)
        mujoco.mju_mat2Quat(quaternion, np.ascontiguousarray(T[:3, :3]).ravel())
        hand = robot.body("panda_link8").add_body(name="hand_frame", pos=T[:3, 3], quat=quaternion)
        up = (-1.0, 0.0, 0.0)  # the back of the hand is up in the image
        side = (1.0, -1.0 if embodiment.side == "left" else 1.0, 1.0)
        place = _look_at(np.multiply(WRIST_POSITION, side), np.multiply(WRIST_TARGET, side), up)
        hand.add_camera(name="wrist", fovy=WRIST_FOV, **place)
    spec.attach(robot, prefix="robot/", frame=spec.worldbody.add_frame())
    spec.worldbody.add_camera(name="front", fovy=FRONT_FOV, **_look_at(FRONT_POSITION, FRONT_TARGET, (0, 0, 1)))
    return spec.compile()


def scene_model(embodiment: Embodiment, T_flange_hand: np.ndarray) -> mujoco.MjModel:
    """The compiled scene for this end-effector. One model serves all worlds of a process: treat it as read-only."""
    return _build(EmbodimentKey.of(embodiment), np.asarray(T_flange_hand, float).tobytes())


def scene_cameras(embodiment: Embodiment) -> tuple[str, ...]:
    """Names of the cameras of such a robot: hands carry one at the wrist."""
    return ("front", "wrist") if embodiment.kind == "hand" else ("front",)
