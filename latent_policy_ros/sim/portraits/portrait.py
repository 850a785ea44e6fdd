"""A hand drawn as solid shapes on a light background: upright, its palm and its thumb to the viewer.

Nothing is simulated: the shapes are put where forward kinematics says, into one scene that serves every hand.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache

import numpy as np

from latent_policy_ros.embodiments.model.schema import PALM
from latent_policy_ros.sim.portraits.solids import Solid
from latent_policy_ros.sim.render import draw, mujoco

COLOURS = {
    "thumb": (0.91, 0.38, 0.27), "index": (0.96, 0.68, 0.20), "middle": (0.38, 0.69, 0.40), "ring": (0.28, 0.58, 0.86),
    "pinky": (0.54, 0.44, 0.76), PALM: (0.78, 0.80, 0.84),
}  # fmt: skip
BACKGROUND = (0.975, 0.978, 0.985)
AZIMUTH, ELEVATION = np.deg2rad(30.0), np.deg2rad(10.0)  # of the viewer: from the palm's normal to the thumb, and upwards
LARGEST = 2048  # pixels, each way
FINER = 2  # drawn that many times larger, then averaged: smoother edges than OpenGL's own samples, in half the time
MAX_SOLIDS = 400
EXTENT = 0.25  # m
SHADOW = 2048  # pixels of the shadow map, each way


@dataclass(frozen=True)
class View:
    """A parallel projection of the hand frame: ``centre`` (2,) [m] of the image, in its own axes, and pixels a metre.

    The image's axes are u to the right and v upwards, both zero at the hand frame's origin.
    """

    centre: tuple[float, float]
    width: int
    height: int
    pixels_a_metre: float
    left_hand: bool = False

    def project(self, points: np.ndarray) -> np.ndarray:
        """Points (..., 3) [m] to pixels (..., 2): column and row, from the upper left corner."""
        u, v = np.moveaxis(on_image(points, self.left_hand), -1, 0)
        columns = 0.5 * self.width + (u - self.centre[0]) * self.pixels_a_metre
        rows = 0.5 * self.height - (v - self.centre[1]) * self.pixels_a_metre
        return np.stack((columns, rows), axis=-1)


def _axes(left_hand: bool) -> np.ndarray:
    """Rows: the image's u and v and the direction to the viewer, in the hand frame, shape (3, 3)."""
    azimuth = -AZIMUTH if left_hand else AZIMUTH
    level = np.cos(ELEVATION)
    to_viewer = np.array([level * np.cos(azimuth), level * np.sin(azimuth), np.sin(ELEVATION)])
    right = np.cross([0.0, 0.0, 1.0], to_viewer)
    right /= np.linalg.norm(right)
    return np.stack((right, np.cross(to_viewer, right), to_viewer))


def on_image(points: np.ndarray, left_hand: bool = False) -> np.ndarray:
    """Points (..., 3) [m] of the hand frame in the image's axes u and v: (..., 2) [m]."""
    return np.asarray(points) @ _axes(left_hand)[:2].T


def bounds(solids: Sequence[Solid], left_hand: bool = False) -> np.ndarray:
    """[[lowest u, lowest v], [highest u, highest v]] [m] of what an image of these solids shows."""
    ends = on_image(np.array([[s.start, s.end] for s in solids]), left_hand)
    radius = np.array([s.radius for s in solids])[:, None, None]
    return np.stack(((ends - radius).min(axis=(0, 1)), (ends + radius).max(axis=(0, 1))))


def portrait(solids: Sequence[Solid], view: View) -> np.ndarray:
    """RGB image (view.height, view.width, 3) uint8.

    Raises:
        HardwareError: No OpenGL on this machine; says what to install.
    """
    model, scene = _stage()
    right, up, to_viewer = _axes(view.left_hand)
    scene.ngeom = 0
    for solid in solids:
        _add(scene, solid)
    eye = right * view.centre[0] + up * view.centre[1] + to_viewer
    for camera in scene.camera:
        camera.orthographic, camera.pos, camera.forward, camera.up = 1, eye, -to_viewer, up
        half = 0.5 / view.pixels_a_metre
        camera.frustum_center, camera.frustum_width = 0.0, half * view.width
        camera.frustum_bottom, camera.frustum_top = -half * view.height, half * view.height
        camera.frustum_near, camera.frustum_far = 0.5, 1.5
    fine = draw(model, scene, view.width * FINER, view.height * FINER)
    fine = fine.reshape(view.height, FINER, view.width, FINER, 3)
    return fine.mean(axis=(1, 3)).round().astype(np.uint8)


def _add(scene: mujoco.MjvScene, solid: Solid) -> None:
    geom = scene.geoms[scene.ngeom]
    colour = np.array([*COLOURS[solid.part], 1.0], dtype=np.float32)
    kind = mujoco.mjtGeom.mjGEOM_CAPSULE if np.linalg.norm(solid.end - solid.start) > 1e-9 else mujoco.mjtGeom.mjGEOM_SPHERE
    mujoco.mjv_initGeom(geom, kind, np.full(3, solid.radius), solid.start.astype(float), np.eye(3).ravel(), colour)
    if kind == mujoco.mjtGeom.mjGEOM_CAPSULE:
        mujoco.mjv_connector(geom, kind, solid.radius, solid.start.astype(float), solid.end.astype(float))
    scene.ngeom += 1


@lru_cache(maxsize=1)
def _stage() -> tuple[mujoco.MjModel, mujoco.MjvScene]:
    """Light and background, and an empty scene."""
    spec = mujoco.MjSpec()
    visual = spec.visual
    visual.global_.offwidth = visual.global_.offheight = LARGEST
    visual.quality.offsamples, visual.quality.numslices, visual.quality.numstacks = 0, 16, 8
    visual.quality.shadowsize = SHADOW
    visual.headlight.ambient, visual.headlight.diffuse, visual.headlight.specular = [0.5] * 3, [0.32] * 3, [0.0] * 3
    spec.stat.extent, spec.stat.center = EXTENT, [0.0, 0.0, 0.1]  # what the shadow map covers
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
