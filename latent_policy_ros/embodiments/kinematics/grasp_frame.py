"""GraspFrame: the frame between thumb and opposing fingers, in which wrist poses mean the same grasp for every end-effector."""

from __future__ import annotations

import numpy as np
import pinocchio as pin

from latent_policy_ros.embodiments.human.keypoints import PINCH_AXIS
from latent_policy_ros.embodiments.kinematics.capsules import shape_of
from latent_policy_ros.embodiments.kinematics.pinocchio_model import pinocchio_model
from latent_policy_ros.embodiments.model.schema import Embodiment

OPPOSING_FINGERS = ("index", "middle")  # fingers that oppose the thumb, as far as the end-effector has them
REFERENCE_WIDTH = 0.045  # distance between the fingertip surfaces at which the axes of the frame are defined [m]
BLEND = 0.035, 0.055  # apertures at which the pinch point is constant, and at which it is the midpoint of the fingertips [m]
MIN_DISTANCE = 0.005  # least distance of thumb and fingers from which the pinch axis is computed [m]
APPROACH = np.cross((0.0, 1.0, 0.0), PINCH_AXIS)  # nominal approach direction in the hand frame, of both sides


class GraspFrame:
    """Grasp frame of an end-effector, in its hand frame.

    The origin is the pinch point: the midpoint between the tip of the thumb and the mean of the tips of index and middle finger.
    It moves with the joints while the fingers are open. It is constant once they are nearer than ``BLEND``: they then hold an
    object, which stops them, while commanded joints close further.

    The axes are constant: x is the pinch axis, from the thumb to the fingers, while the surfaces of the fingertips are
    ``REFERENCE_WIDTH`` apart in a precision grasp; z is the approach direction, perpendicular to x and as near as possible to
    ``APPROACH``. The jaws of a gripper count as thumb and finger.

    Args:
        embodiment: A hand or gripper with a thumb and an opposing finger.
        grasp: Joints (T, n) of the end-effector during a person's precision grasp, from open to closed.

    Attributes:
        embodiment: As given.
        origin, rotation: Pinch point (3,) [m] and axes (3, 3) in the hand frame, with the fingertips ``REFERENCE_WIDTH`` apart.

    Raises:
        ValueError: The embodiment has no thumb or no opposing finger, or they do not open in the grasp.
    """

    def __init__(self, embodiment: Embodiment, grasp: np.ndarray) -> None:
        opposing = [finger for finger in OPPOSING_FINGERS if finger in embodiment.fingertips]
        if "thumb" not in embodiment.fingertips or not opposing:
            raise ValueError(
                f"{embodiment.name}: fingertips: expected thumb and index or middle, got {list(embodiment.fingertips)}"
            )
        self.embodiment = embodiment
        self._model = pinocchio_model(embodiment)
        self._data = self._model.createData()
        # Views of the positions in ``_data``, in the base frame.
        tips = [self._data.oMf[self._model.getFrameId(f"{finger}_tip")].translation for finger in ("thumb", *opposing)]
        self._thumb, self._fingers = tips[0], tips[1:]
        self._tips = 2 * shape_of(embodiment).tip_radius
        thumb, fingers = self._fingertips(grasp)
        apertures = np.linalg.norm(fingers - thumb, axis=-1) - self._tips
        at = int(np.abs(apertures - REFERENCE_WIDTH).argmin())
        self.origin = (thumb[at] + fingers[at]) / 2
        x = fingers[at] - thumb[at]
        if (distance := np.linalg.norm(x)) < MIN_DISTANCE:
            raise ValueError(f"{embodiment.name}: thumb and fingers do not open in a grasp: they are {1e3 * distance:.1f} mm apart")
        x /= distance
        z = APPROACH - (APPROACH @ x) * x
        z /= np.linalg.norm(z)
        self.rotation = np.stack([x, np.cross(z, x), z], axis=1)

    def measure(self, q: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Pinch points (..., 3) [m] in the hand frame, and apertures (...) [m] of joints (..., n).

        The aperture is the distance between the surfaces of thumb and fingers. It is negative if they overlap.
        """
        thumb, fingers = self._fingertips(q)
        aperture = np.linalg.norm(fingers - thumb, axis=-1) - self._tips
        open_share = np.clip((aperture - BLEND[0]) / (BLEND[1] - BLEND[0]), 0.0, 1.0)[..., None]
        return open_share * (thumb + fingers) / 2 + (1 - open_share) * self.origin, aperture

    def from_wrist(self, position: np.ndarray, rotation: np.ndarray, pinch_point: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Position (..., 3) [m] and rotation (..., 3, 3) of the grasp frame, from those of the hand frame in the same base frame.

        Args:
            position, rotation: Pose of the hand frame, (..., 3) [m] and (..., 3, 3).
            pinch_point: From :meth:`measure`, (..., 3) [m].
        """
        return position + (rotation @ pinch_point[..., None])[..., 0], rotation @ self.rotation

    def to_wrist(self, position: np.ndarray, rotation: np.ndarray, pinch_point: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Position and rotation of the hand frame, from those of the grasp frame; the inverse of :meth:`from_wrist`."""
        rotation = rotation @ self.rotation.T
        return position - (rotation @ pinch_point[..., None])[..., 0], rotation

    def _fingertips(self, q: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Tip of the thumb and mean tip of the opposing fingers, each (..., 3) [m, hand frame]."""
        hinges = np.asarray(q, dtype=np.float64) @ self.embodiment.coupling.T
        tips = np.empty((*hinges.shape[:-1], 2, 3))
        hand = self.embodiment.T_base_hand
        for angles, (thumb, finger) in zip(hinges.reshape(-1, hinges.shape[-1]), tips.reshape(-1, 2, 3)):
            pin.framesForwardKinematics(self._model, self._data, angles)
            thumb[:], finger[:] = self._thumb, self._fingers[0]
            for other in self._fingers[1:]:
                finger += other
        tips[..., 1, :] /= len(self._fingers)
        tips = (tips - hand[:3, 3]) @ hand[:3, :3]
        return tips[..., 0, :], tips[..., 1, :]
