"""Drawing of a hand as solid shapes on a light background, upright, with the palm and the thumb towards the viewer.

Shapes are placed by forward kinematics, without physics, in one scene that serves every hand.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache

import numpy as np

from latent_policy_ros.embodiments.model.schema import PALM
from latent_policy_ros.sim.hand_images.solids import Solid
from latent_policy_ros.sim.render import draw, mujoco

COLOURS = {
    "thumb": (0.91, 0.38, 0.27), "index": (0.96, 0.68, 0.20), "middle": (0.38, 0.69, 0.40), "ring": (0.28, 0.58, 0.86),
    "pinky": (0.54, 0.44, 0.76), PALM: (0.78, 0.80, 0.84),
}  # fmt: skip
BACKGROUND = (0.975, 0.978, 0.985)
AZIMUTH, ELEVATION = np.deg2rad(30.0), np.deg2rad(10.0)  # of the viewer [rad]: from the palm normal towards the thumb, and upwards
MAX_SIZE = 2048  # largest width and height of the off-screen buffer [pixels]
SUPERSAMPLING = 2  # images are drawn larger by this factor and averaged: smoother than OpenGL's multisampling, in half the time
MAX_SOLIDS = 400
EXTENT = 0.25  # extent of the scene that the shadow map covers [m]
SHADOW_SIZE = 2048  # width and height of the shadow map [pixels]


@dataclass(frozen=True)
class View:
    """Parallel projection of the hand frame onto an image.

    The axes of the image are u to the right and v upwards; both are zero at the origin of the hand frame.

    Attributes:
        centre: Centre of the image (u, v) [m].
        width, height: Size of the image [pixels].
        scale: Pixels per metre.
        left_hand: The viewer is on the thumb's side of a left hand.
    """

    centre: tuple[float, float]
    width: int
    height: int
    scale: float
    left_hand: bool = False

    def project(self, points: np.ndarray) -> np.ndarray:
        """Project points (..., 3) [m] to pixels (..., 2): column and row, from the upper left corner."""
        u, v = np.moveaxis(image_coordinates(points, self.left_hand), -1, 0)
        columns = 0.5 * self.width + (u - self.centre[0]) * self.scale
        rows = 0.5 * self.height - (v - self.centre[1]) * self.scale
        return np.stack((columns, rows), axis=-1)


def _axes(left_hand: bool) -> np.ndarray:
    """Axes u and v of the image and the direction to the viewer, in the hand frame, as rows (3, 3)."""
    azimuth = -AZIMUTH if left_hand else AZIMUTH
    level = np.cos(ELEVATION)
    to_viewer = np.array([level * np.cos(azimuth), level * np.sin(azimuth), np.sin(ELEVATION)])
    right = np.cross([0.0, 0.0, 1.0], to_viewer)
    right /= np.linalg.norm(right)
    return np.stack((right, np.cross(to_viewer, right), to_viewer))


def image_coordinates(points: np.ndarray, left_hand: bool = False) -> np.ndarray:
    """Coordinates u and v (..., 2) [m] of points (..., 3) [m] in the hand frame."""
    return np.asarray(points) @ _axes(left_hand)[:2].T


def bounds(solids: Sequence[Solid], left_hand: bool = False) -> np.ndarray:
    """Smallest rectangle that contains the solids: [[lowest u, lowest v], [highest u, highest v]] [m]."""
    ends = image_coordinates(np.array([[s.start, s.end] for s in solids]), left_hand)
    radius = np.array([s.radius for s in solids])[:, None, None]
    return np.stack(((ends - radius).min(axis=(0, 1)), (ends + radius).max(axis=(0, 1))))


def draw_hand(solids: Sequence[Solid], view: View) -> np.ndarray:
    """Draw the solids as an RGB image (view.height, view.width, 3) uint8.

    Raises:
        HardwareError: OpenGL is not available.
    """
    model, scene = _empty_scene()
    right, up, to_viewer = _axes(view.left_hand)
    scene.ngeom = 0
    for solid in solids:
        _add(scene, solid)
    eye = right * view.centre[0] + up * view.centre[1] + to_viewer
    for camera in scene.camera:
        camera.orthographic, camera.pos, camera.forward, camera.up = 1, eye, -to_viewer, up
        half = 0.5 / view.scale
        camera.frustum_center, camera.frustum_width = 0.0, half * view.width
        camera.frustum_bottom, camera.frustum_top = -half * view.height, half * view.height
        camera.frustum_near, camera.frustum_far = 0.5, 1.5
    fine = draw(model, scene, view.width * SUPERSAMPLING, view.height * SUPERSAMPLING)
    fine = fine.reshape(view.height, SUPERSAMPLING, view.width, SUPERSAMPLING, 3)
    return fine.mean(axis=(1, 3)).round().astype(np.uint8)


def _add(scene: mujoco.MjvScene, solid: Solid) -> None:
    geom = scene.geoms[scene.ngeom]
    colour = np.array([*COLOURS[solid.part], 1.0], dtype=np.float32)
    shape = mujoco.mjtGeom.mjGEOM_CAPSULE if np.linalg.norm(solid.end - solid.start) > 1e-9 else mujoco.mjtGeom.mjGEOM_SPHERE
    mujoco.mjv_initGeom(geom, shape, np.full(3, solid.radius), solid.start.astype(float), np.eye(3).ravel(), colour)
    if shape == mujoco.mjtGeom.mjGEOM_CAPSULE:
        mujoco.mjv_connector(geom, shape, solid.radius, solid.start.astype(float), solid.end.astype(float))
    scene.ngeom += 1


@lru_cache(maxsize=1)
def _empty_scene() -> tuple[mujoco.MjModel, mujoco.MjvScene]:
    """Model with lights and background, and a scene of it without hand."""
    spec = mujoco.MjSpec()
    visual = spec.visual
    visual.global_.offwidth = visual.global_.offheight = MAX_SIZE
    visual.quality.offsamples, visual.quality.numslices, visual.quality.numstacks = 0, 16, 8
    visual.quality.shadowsize = SHADOW_SIZE
    visual.headlight.ambient, visual.headlight.diffuse, visual.headlight.specular = [0.5] * 3, [0.32] * 3, [0.0] * 3
    spec.stat.extent, spec.stat.center = EXTENT, [0.0, 0.0, 0.1]
    texture = spec.add_texture(name="sky", type=mujoco.mjtTexture.mjTEXTURE_SKYBOX, builtin=mujoco.mjtBuiltin.mjBUILTIN_FLAT)
    texture.rgb1, texture.rgb2, texture.width, texture.height = BACKGROUND, BACKGROUND, 8, 48
    spec.worldbody.add_light(
        type=mujoco.mjtLightType.mjLIGHT_DIRECTIONAL, pos=[0.4, -0.1, 0.5], dir=[-1.0, 0.35, -0.9], diffuse=[0.42] * 3,
        specular=[0.12] * 3, castshadow=True,
    )  # fmt: skip
    model = spec.compile()
    scene = mujoco.MjvScene(model, maxgeom=MAX_SOLIDS)
    data = mujoco.MjData(model)
    mujoco.mj_forward(model, data)
    mujoco.mjv_updateScene(model, data, mujoco.MjvOption(), None, mujoco.MjvCamera(), mujoco.mjtCatBit.mjCAT_ALL.value, scene)
    return model, scene
