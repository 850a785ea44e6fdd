"""Random changes of the colours of camera images: brightness, white balance and saturation."""

from __future__ import annotations

import cv2
import numpy as np

LUMINANCE = np.array([0.299, 0.587, 0.114])  # weights of red, green and blue, ITU-R BT.601


def colour_matrices(generator: np.random.Generator, count: int, strength: float) -> np.ndarray:
    """Random linear maps of colours (count, 3, 3).

    Brightness and saturation are multiplied by a factor in ``1 - strength .. 1 + strength``, each channel by a further one that
    differs from 1 by at most half as much.
    """
    brightness, saturation = generator.uniform(1 - strength, 1 + strength, (2, count, 1, 1))
    balance = generator.uniform(1 - strength / 2, 1 + strength / 2, (count, 3, 1))
    return brightness * balance * (saturation * np.eye(3) + (1 - saturation) * LUMINANCE)


def coloured_images(images: np.ndarray, matrices: np.ndarray) -> np.ndarray:
    """Images (N, H, W, 3) uint8 whose colours are mapped by ``matrices`` (N, 3, 3), and saturate."""
    return np.stack([cv2.transform(image, matrix) for image, matrix in zip(images, matrices)])
