"""Random appearance of a scene: colours of robot, table and objects, lights, and camera poses."""

from __future__ import annotations

import colorsys

import mujoco
import numpy as np

OBJECT_COLOUR = 0.02, 0.12, 0.15  # largest change of hue, and of the factors of saturation and value, of a task's objects
ROBOT_COLOUR = (0.0, 0.55), (0.15, 0.95)  # ranges of saturation and value; objects of tasks have more saturation
TABLE_COLOUR = (0.0, 0.35), (0.35, 0.9)
BRIGHTNESS = 0.6, 1.4  # factor of each light
LIGHT_DIRECTION = 0.3  # standard deviation of each component of a light's direction
CAMERA_POSITION = {"front": 0.008, "robot/wrist": 0.003}  # largest shift along each axis [m]
CAMERA_ROTATION = {"front": 0.006, "robot/wrist": 0.02}  # standard deviation of the rotation about each axis [rad]
FIELD_OF_VIEW = 0.02  # largest relative change


def randomise_appearance(model: mujoco.MjModel, nominal: mujoco.MjModel, rng: np.random.Generator) -> None:
    """Write a random appearance to ``model``. Physics is unchanged.

    Args:
        model: Model that is modified, a copy of ``nominal``.
        nominal: The scene as compiled.
        rng: Source of all randomness.
    """
    _paint(model, nominal, rng)
    model.light_diffuse[:] = nominal.light_diffuse * rng.uniform(*BRIGHTNESS, (nominal.nlight, 1))
    directions = nominal.light_dir + rng.normal(0.0, LIGHT_DIRECTION, nominal.light_dir.shape)
    directions[:, 2] = np.minimum(directions[:, 2], -0.3)  # lights stay above the table
    model.light_dir[:] = directions / np.linalg.norm(directions, axis=1, keepdims=True)
    for name in ("ambient", "diffuse"):
        getattr(model.vis.headlight, name)[:] = getattr(nominal.vis.headlight, name) * rng.uniform(*BRIGHTNESS)
    for name, shift in CAMERA_POSITION.items():
        camera = mujoco.mj_name2id(nominal, mujoco.mjtObj.mjOBJ_CAMERA, name)
        if camera >= 0:
            model.cam_pos[camera] = nominal.cam_pos[camera] + rng.uniform(-shift, shift, 3)
            quaternion = nominal.cam_quat[camera].copy()
            mujoco.mju_quatIntegrate(quaternion, rng.normal(0.0, CAMERA_ROTATION[name], 3), 1.0)
            model.cam_quat[camera] = quaternion
            model.cam_fovy[camera] = nominal.cam_fovy[camera] * rng.uniform(1 - FIELD_OF_VIEW, 1 + FIELD_OF_VIEW)


def _paint(model: mujoco.MjModel, nominal: mujoco.MjModel, rng: np.random.Generator) -> None:
    """Colour the geoms. Geoms of the robot that have one colour keep a common colour, and so do those of the objects."""
    names = [nominal.body(body).name for body in nominal.geom_bodyid]
    robot = np.array([name.startswith("robot/") for name in names])
    table = np.arange(nominal.ngeom) == nominal.geom("table").id
    for chosen, change in (
        (robot, _random_colour(*ROBOT_COLOUR)),
        (table, _random_colour(*TABLE_COLOUR)),
        (~robot & ~table, _near),
    ):
        colours, group = np.unique(nominal.geom_rgba[chosen], axis=0, return_inverse=True)
        painted = np.array([[*change(colour[:3], rng), colour[3]] for colour in colours]).reshape(-1, 4)
        model.geom_rgba[chosen] = painted[group.ravel()]


def _random_colour(saturation: tuple[float, float], value: tuple[float, float]):
    def colour(_: np.ndarray, rng: np.random.Generator) -> tuple[float, float, float]:
        return colorsys.hsv_to_rgb(rng.random(), rng.uniform(*saturation), rng.uniform(*value))

    return colour


def _near(rgb: np.ndarray, rng: np.random.Generator) -> tuple[float, float, float]:
    """A colour near ``rgb``."""
    h, s, v = colorsys.rgb_to_hsv(*map(float, rgb))
    hue, saturation, value = OBJECT_COLOUR
    s, v = (min(1.0, x * rng.uniform(1 - change, 1 + change)) for x, change in ((s, saturation), (v, value)))
    return colorsys.hsv_to_rgb((h + rng.uniform(-hue, hue)) % 1.0, s, v)
