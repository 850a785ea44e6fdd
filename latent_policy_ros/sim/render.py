"""Off-screen rendering of MuJoCo scenes, with one OpenGL context per thread that all its scenes share.

The OpenGL backend is chosen when this module is imported: ``$MUJOCO_GL`` if it is set, otherwise EGL, otherwise OSMesa,
depending on the installed libraries. Without any of them, physics works and :meth:`SceneRenderer.image` raises.
"""

from __future__ import annotations

import atexit
import ctypes
import importlib
import os
import threading

import mujoco
import numpy as np

from latent_policy_ros.common.errors import HardwareError

LIBRARIES = {"egl": ("libEGL.so.1",), "osmesa": ("libOSMesa.so.8", "libOSMesa.so.6", "libOSMesa.so")}
REMEDY = "install one with: sudo apt install libegl1   (or libosmesa6), or set MUJOCO_GL"
MAX_GEOMS = 400


def choose_gl() -> str:
    """Return a value for MUJOCO_GL: ``egl``, ``osmesa``, or ``disable`` if neither library can be loaded."""
    for name, libraries in LIBRARIES.items():
        for library in libraries:
            try:
                ctypes.CDLL(library)
            except OSError:
                continue
            return name
    return "disable"


BACKEND = os.environ.setdefault("MUJOCO_GL", choose_gl())  # set for child processes as well
os.environ.setdefault("LP_NUM_THREADS", "0")  # Mesa's software renderer: for images this small, waking threads takes longer
_local = threading.local()


def _context():
    """Return this thread's OpenGL context, which is created on first use and stays current.

    Raises:
        HardwareError: Off-screen OpenGL is not available; the message names the packages to install.
    """
    if getattr(_local, "context", None) is None:
        if BACKEND in ("disable", "disabled", "off", "0", "false"):
            raise HardwareError(f"cannot render the simulated cameras: no off-screen OpenGL (EGL or OSMesa); {REMEDY}")
        # Not mujoco.GLContext: MuJoCo chooses it on its first import, which may precede the import of this module.
        module = f"mujoco.{BACKEND}" if BACKEND in LIBRARIES else "mujoco"
        try:
            _local.context = importlib.import_module(module).GLContext(640, 480)
            _local.resources = {}
        except Exception as cause:  # backends raise exceptions of their own
            raise HardwareError(f"cannot create an OpenGL context ({BACKEND}): {cause}; {REMEDY}") from cause
        if BACKEND == "osmesa":
            atexit.register(_local.context.free)  # its destructor fails during the shutdown of Python
        _local.context.make_current()
    return _local.context


def _resources(model: mujoco.MjModel) -> mujoco.MjrContext:
    """Return the GPU resources of ``model`` in this thread's context, which are uploaded on first use."""
    _context()
    entry = _local.resources.get(id(model))
    if entry is None or entry[0] is not model:
        context = mujoco.MjrContext(model, mujoco.mjtFontScale.mjFONTSCALE_100)
        entry = _local.resources[id(model)] = (model, context)
    return entry[1]


def draw(model: mujoco.MjModel, scene: mujoco.MjvScene, width: int, height: int) -> np.ndarray:
    """Render a scene of ``model`` as an RGB image (height, width, 3) uint8.

    Raises:
        HardwareError: OpenGL is not available.
        ValueError: The image is larger than the model's off-screen buffer.
    """
    limit = model.vis.global_
    if width > limit.offwidth or height > limit.offheight:
        raise ValueError(f"expected an image of at most {limit.offwidth} x {limit.offheight} pixels, got {width} x {height}")
    context = _resources(model)
    rect, rgb = mujoco.MjrRect(0, 0, width, height), np.empty((height, width, 3), np.uint8)
    mujoco.mjr_setBuffer(mujoco.mjtFramebuffer.mjFB_OFFSCREEN, context)  # another scene may have used the context
    mujoco.mjr_render(rect, scene, context)
    mujoco.mjr_readPixels(rgb, None, rect, context)
    return rgb[::-1].copy()


class SceneRenderer:
    """Renders the cameras of a model.

    Args:
        model: The model.
        nominal: A model with the same meshes, whose GPU resources are used. Models that differ in appearance share them.
    """

    def __init__(self, model: mujoco.MjModel, nominal: mujoco.MjModel) -> None:
        self.model, self._nominal = model, nominal
        self._scene = mujoco.MjvScene(model, maxgeom=MAX_GEOMS)
        for flag in (mujoco.mjtRndFlag.mjRND_SHADOW, mujoco.mjtRndFlag.mjRND_REFLECTION, mujoco.mjtRndFlag.mjRND_SKYBOX):
            self._scene.flags[flag] = 0
        self._option, self._camera = mujoco.MjvOption(), mujoco.MjvCamera()

    def image(self, data: mujoco.MjData, camera: str, width: int, height: int) -> np.ndarray:
        """Render the state ``data`` from ``camera`` as an RGB image (height, width, 3) uint8.

        Raises:
            HardwareError: OpenGL is not available.
            KeyError: The model has no such camera.
        """
        self._camera.type = mujoco.mjtCamera.mjCAMERA_FIXED
        self._camera.fixedcamid = self.model.camera(camera).id
        mujoco.mjv_updateScene(self.model, data, self._option, None, self._camera, mujoco.mjtCatBit.mjCAT_ALL.value, self._scene)
        return draw(self._nominal, self._scene, width, height)
