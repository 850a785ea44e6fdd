"""Displaced hands: what a hand beside its path would have seen with its wrist camera, made from recorded images.

A policy that drifts off the demonstrated paths sees what no demonstration shows. Therefore the hand is displaced at random in some
of the observations. The image of its wrist camera is mapped to that of a displaced camera, as if all that it shows were in one
plane at the height of the objects, and the actions lead back to the demonstrated path. SPARTN (Zhou et al. 2023) renders such
images with a radiance field of each scene; one plane needs nothing but the pose of the camera.
"""

from __future__ import annotations

import cv2
import numpy as np
import pinocchio as pin

from latent_policy_ros.policy.rotations import matrix_to_rotation_6d, rotation_6d_to_matrix
from latent_policy_ros.policy.scaling import POSITION, ROTATION
from latent_policy_ros.policy.settings import Displacement

FULL_HEIGHT = 0.2  # height above the plane from which displacements do not grow any more [m]
LEAST_HEIGHT = 0.02  # a camera that is lower, or below the plane, counts as this high above it [m]
VERTICAL = 0.5  # size of vertical displacements relative to horizontal ones


class DisplacedHands:
    """Random displacements of hands, and the maps of their wrist cameras' images.

    Args:
        settings: Pose of the wrist camera, height of the plane and sizes of the displacements.
        image_size: Height and width of the images [px].
    """

    def __init__(self, settings: Displacement, image_size: int) -> None:
        self.share, self._settings = settings.share, settings
        focal, centre = image_size / 2 / np.tan(np.radians(settings.field_of_view) / 2), (image_size - 1) / 2
        self._K = np.array([[focal, 0.0, centre], [0.0, focal, centre], [0.0, 0.0, 1.0]])
        self._position, self._axes = self._mount()

    def displace(self, states: np.ndarray, chosen: np.ndarray, generator: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
        """Displace some of the hands.

        Args:
            states: Histories of raw states (B, S, 10 + L). All states of a history get the same displacement.
            chosen: Which hands are displaced, (B,) bool.
            generator: Source of the displacements.

        Returns:
            The states, and the homographies (B, 3, 3) from pixels of the recorded images to those of the displaced cameras.
        """
        s, normal = self._settings, generator.standard_normal((2, len(states), 3))
        pinch, rotation = states[:, -1, POSITION].astype(float), rotation_6d_to_matrix(states[:, -1, ROTATION])
        scale = chosen * np.clip(pinch[:, 2] - s.plane, 0.0, FULL_HEIGHT)
        moved = s.position * scale[:, None] * normal[0] * (1.0, 1.0, VERTICAL)
        turned = np.stack([pin.exp3(v) for v in s.rotation / FULL_HEIGHT * scale[:, None] * normal[1]])
        displaced = states.copy()
        displaced[..., POSITION] += moved[:, None]
        displaced[..., ROTATION] = matrix_to_rotation_6d(turned[:, None] @ rotation_6d_to_matrix(states[..., ROTATION]))
        offset, axes = rotation @ self._position[:, None], rotation @ self._axes
        before, after = pinch + offset[..., 0], pinch + moved + (turned @ offset)[..., 0]
        return displaced, self._homographies(before, axes, after, turned @ axes)

    def _homographies(self, c1: np.ndarray, R1: np.ndarray, c2: np.ndarray, R2: np.ndarray) -> np.ndarray:
        """Maps of the pixels of points in the plane from cameras at ``c1`` (B, 3) with axes ``R1`` (B, 3, 3) to others.

        Source: Hartley and Zisserman 2004, Multiple View Geometry, result 13.1, with the plane's normal along z of the base frame.
        """
        distance = -np.maximum(c1[:, 2] - self._settings.plane, LEAST_HEIGHT)[:, None, None]
        normal = R1[:, 2:]  # (B, 1, 3), as the first camera sees it
        moved = R2.mT @ (c1 - c2)[..., None] @ normal / distance
        return self._K @ (R2.mT @ R1 + moved) @ np.linalg.inv(self._K)

    def _mount(self) -> tuple[np.ndarray, np.ndarray]:
        """Position (3,) and axes (3, 3; right, down, forward) of the camera in the grasp frame."""
        position, target = np.array(self._settings.camera_position), np.array(self._settings.camera_target)
        forward = (target - position) / np.linalg.norm(target - position)
        right = np.cross(forward, (0.0, 0.0, -1.0))
        right /= np.linalg.norm(right)
        return position, np.stack([right, np.cross(forward, right), forward], axis=1)


def warped_image(image: np.ndarray, homography: np.ndarray | None) -> np.ndarray:
    """The image (H, W, 3) as another camera sees it; None: the same camera. Border pixels are replicated."""
    if homography is None:
        return image
    return cv2.warpPerspective(image, homography, image.shape[1::-1], borderMode=cv2.BORDER_REPLICATE)
