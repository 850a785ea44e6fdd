"""Images of a simulated scene without a screen: one OpenGL context per thread, shared by all its worlds.

Which OpenGL is decided when this module is imported: ``$MUJOCO_GL`` if it is set, else EGL, else OSMesa, whichever
library is on this machine. Without either, physics works and :meth:`SceneRenderer.image` raises.
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
    """The value for MUJOCO_GL on this machine: ``egl``, ``osmesa``, or ``disable`` when neither library loads."""
    for name, libraries in LIBRARIES.items():
        for library in libraries:
            try:
                ctypes.CDLL(library)
            except OSError:
                continue
            return name
    return "disable"


BACKEND = os.environ.setdefault("MUJOCO_GL", choose_gl())  # set for child processes as well
_local = threading.local()


def _context():
    """This thread's OpenGL context, made on first use and current from then on.

    Raises:
        HardwareError: There is no OpenGL that can draw without a screen; says what to install.
    """
    if getattr(_local, "context", None) is None:
        if BACKEND in ("disable", "disabled", "off", "0", "false"):
            raise HardwareError(f"no OpenGL to draw the simulated cameras with (neither EGL nor OSMesa); {REMEDY}")
        # Not mujoco.GLContext: that was chosen when MuJoCo was first imported, which may have been before this module.
        module = f"mujoco.{BACKEND}" if BACKEND in LIBRARIES else "mujoco"
        try:
            _local.context = importlib.import_module(module).GLContext(640, 480)
            _local.drawings = {}
        except Exception as cause:  # every backend raises its own kind
            raise HardwareError(f"OpenGL ({BACKEND}) gave no context: {cause}; {REMEDY}") from cause
        if BACKEND == "osmesa":
            atexit.register(_local.context.free)  # it cannot free itself any more while Python shuts down
        _local.context.make_current()
    return _local.context


def _drawing(model: mujoco.MjModel):
    """The model's meshes on this thread's graphics card, uploaded once."""
    _context()
    drawing = _local.drawings.get(id(model))
    if drawing is None or drawing[0] is not model:
        context = mujoco.MjrContext(model, mujoco.mjtFontScale.mjFONTSCALE_100)
        drawing = _local.drawings[id(model)] = (model, context)
    return drawing[1]


def draw(model: mujoco.MjModel, scene: mujoco.MjvScene, width: int, height: int) -> np.ndarray:
    """RGB image (height, width, 3) uint8 of a scene that was made for `model`.

    Raises:
        HardwareError: No OpenGL on this machine.
        ValueError: Larger than the model's scenes are drawn at.
    """
    most = model.vis.global_
    if width > most.offwidth or height > most.offheight:
        raise ValueError(f"expected an image of at most {most.offwidth} x {most.offheight} pixels, got {width} x {height}")
    context = _drawing(model)
    rect, rgb = mujoco.MjrRect(0, 0, width, height), np.empty((height, width, 3), np.uint8)
    mujoco.mjr_setBuffer(mujoco.mjtFramebuffer.mjFB_OFFSCREEN, context)  # another world may have drawn before
    mujoco.mjr_render(rect, scene, context)
    mujoco.mjr_readPixels(rgb, None, rect, context)
    return rgb[::-1].copy()


class SceneRenderer:
    """Draws what the cameras of `model` see."""

    def __init__(self, model: mujoco.MjModel) -> None:
        self.model = model
        self._scene = mujoco.MjvScene(model, maxgeom=MAX_GEOMS)
        for flag in (mujoco.mjtRndFlag.mjRND_SHADOW, mujoco.mjtRndFlag.mjRND_REFLECTION, mujoco.mjtRndFlag.mjRND_SKYBOX):
            self._scene.flags[flag] = 0
        self._option, self._camera = mujoco.MjvOption(), mujoco.MjvCamera()

    def image(self, data: mujoco.MjData, camera: str, width: int, height: int) -> np.ndarray:
        """RGB image (height, width, 3) uint8 of the scene as it is in `data`, seen by `camera`.

        Raises:
            HardwareError: No OpenGL on this machine.
            KeyError: The model has no such camera.
        """
        self._camera.type = mujoco.mjtCamera.mjCAMERA_FIXED
        self._camera.fixedcamid = self.model.camera(camera).id
        mujoco.mjv_updateScene(self.model, data, self._option, None, self._camera, mujoco.mjtCatBit.mjCAT_ALL.value, self._scene)
        return draw(self.model, self._scene, width, height)
