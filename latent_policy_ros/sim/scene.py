"""MuJoCo scene: a robot at a table with lights and cameras, furnished by a task.

The world frame is the arm's base frame: x forward, y left, z up, table top at z = 0. Lengths are in metres.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import lru_cache

import mujoco
import numpy as np
import pinocchio as pin

from latent_policy_ros.control.arm_description import Arm
from latent_policy_ros.embodiments import Embodiment
from latent_policy_ros.embodiments.model.content_hash import EmbodimentKey
from latent_policy_ros.sim.robot_model import CONDIM, FRICTION, quaternion_wxyz, robot_spec
from latent_policy_ros.sim.start import grasp_frame
from latent_policy_ros.sim.tasks.base import Task

TIMESTEP = 0.002  # s
FRONT_POSITION, FRONT_TARGET, FRONT_FOV = (1.0, -0.05, 0.78), (0.42, -0.05, 0.05), 40.0  # vertical field of view [deg]
WRIST_POSITION, WRIST_TARGET, WRIST_FOV = (0.012, -0.112, -0.097), (0.025, -0.022, 0.005), 70.0  # grasp frame of a right hand
MAX_IMAGE_SIZE = 640  # largest width and height of a rendered image [pixels]
TABLE = (0.72, 0.68, 0.6, 1)
LIGHTS = (([0.0, 0.3, -1.0], 0.3), ([-1.0, -0.6, -1.0], 0.25))  # direction and brightness


def scene_model(embodiment: Embodiment, arm: Arm, task: Task) -> mujoco.MjModel:
    """Return the compiled scene. Worlds of one process share it: it must not be modified."""
    limits = arm.lower.tobytes() + arm.upper.tobytes()
    content = (arm.file, arm.urdf, repr(arm.simulation), limits, arm.mount(embodiment).homogeneous.tobytes())
    return _compile(EmbodimentKey.of(embodiment), _ArmKey(arm, content), task)


@dataclass(frozen=True)
class _ArmKey:
    """An arm as a cache key: two arms are equal if their models are."""

    arm: Arm = field(compare=False)
    content: tuple


@lru_cache(maxsize=8)
def _compile(key: EmbodimentKey, arm_key: _ArmKey, task: Task) -> mujoco.MjModel:
    arm = arm_key.arm
    spec = mujoco.MjSpec()
    spec.option.timestep, spec.option.impratio = TIMESTEP, 10
    spec.option.cone = mujoco.mjtCone.mjCONE_ELLIPTIC
    spec.option.integrator = mujoco.mjtIntegrator.mjINT_IMPLICITFAST
    spec.visual.global_.offwidth, spec.visual.global_.offheight = MAX_IMAGE_SIZE, MAX_IMAGE_SIZE
    quality = spec.visual.quality  # the tessellation of capsules and spheres dominates the rendering time of a hand
    quality.offsamples, quality.numslices, quality.numstacks = 4, 10, 6
    spec.visual.headlight.ambient, spec.visual.headlight.diffuse = [0.35] * 3, [0.25] * 3
    spec.visual.map.znear = 0.01
    _add_table(spec)
    task.furnish(spec)
    robot = robot_spec(key.embodiment, arm)
    _add_wrist_camera(robot, key.embodiment, arm)
    root = arm.T_base_root
    frame = spec.worldbody.add_frame(pos=root.translation, quat=quaternion_wxyz(root.rotation))
    spec.attach(robot, prefix="robot/", frame=frame)
    spec.worldbody.add_camera(name="front", fovy=FRONT_FOV, **_look_at(FRONT_POSITION, FRONT_TARGET, (0, 0, 1)))
    return spec.compile()


def _add_table(spec: mujoco.MjSpec) -> None:
    for direction, brightness in LIGHTS:
        spec.worldbody.add_light(
            pos=[0, 0, 2], dir=direction, castshadow=False, type=mujoco.mjtLightType.mjLIGHT_DIRECTIONAL,
            diffuse=[brightness] * 3, specular=[0.1] * 3,
        )  # fmt: skip
    spec.worldbody.add_geom(
        name="table", type=mujoco.mjtGeom.mjGEOM_BOX, size=[0.5, 0.6, 0.02], pos=[0.4, 0, -0.02], rgba=TABLE,
        friction=FRICTION, condim=CONDIM,
    )  # fmt: skip


def _add_wrist_camera(robot: mujoco.MjSpec, embodiment: Embodiment, arm: Arm) -> None:
    """Add a camera with the same pose in the grasp frame of every end-effector, of left hands too."""
    grasp = grasp_frame(embodiment)
    T = arm.mount(embodiment) * pin.SE3(grasp.rotation, grasp.origin)
    frame = robot.body(arm.flange).add_body(name="grasp_frame", pos=T.translation, quat=quaternion_wxyz(T.rotation))
    up = (0.0, 0.0, -1.0)  # the arm is at the top of the image
    frame.add_camera(name="wrist", fovy=WRIST_FOV, **_look_at(WRIST_POSITION, WRIST_TARGET, up))


def _look_at(position, target, up) -> dict:
    """Pose of a camera at ``position`` directed at ``target``. MuJoCo cameras look along -z, with +y up in the image."""
    z = np.subtract(position, target)
    z /= np.linalg.norm(z)
    x = np.cross(up, z)
    x /= np.linalg.norm(x)
    return {"pos": position, "quat": quaternion_wxyz(np.stack([x, np.cross(z, x), z], axis=1))}
