"""Conversion of images to the size that a policy takes."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np

ImageFit = Literal["crop", "pad", "stretch"]


@dataclass(frozen=True)
class Resize:
    """Conversion of images to one size.

    Attributes:
        height, width: Size of the result [px].
        fit: Treatment of images of another aspect ratio. ``crop``: the longer side loses both ends. ``pad``: black bars are added
            to the shorter side. ``stretch``: both sides are scaled separately.
    """

    height: int
    width: int
    fit: ImageFit = "crop"

    def __call__(self, image: np.ndarray) -> np.ndarray:
        """The image (H, W, 3) uint8 as (height, width, 3)."""
        height, width = image.shape[:2]
        if (height, width) == (self.height, self.width):
            return image
        rows, columns = self._region(height, width)
        if self.fit == "crop":
            top, left = (height - rows) // 2, (width - columns) // 2
            return _scaled(image[top : top + rows, left : left + columns], self.height, self.width)
        if self.fit == "stretch" or (rows, columns) == (height, width):
            return _scaled(image, self.height, self.width)
        inner = max(1, round(self.height * height / rows)), max(1, round(self.width * width / columns))
        top, left = (self.height - inner[0]) // 2, (self.width - inner[1]) // 2
        padded = np.zeros((self.height, self.width, *image.shape[2:]), image.dtype)
        padded[top : top + inner[0], left : left + inner[1]] = _scaled(image, *inner)
        return padded

    def _region(self, height: int, width: int) -> tuple[int, int]:
        """Size of the region of an image that becomes the result; with ``pad`` it is larger than the image."""
        is_high = height * self.width > width * self.height
        if not self.changes_shape(height, width) or self.fit == "stretch":
            return height, width
        if is_high == (self.fit == "crop"):
            return max(1, round(width * self.height / self.width)), width
        return height, max(1, round(height * self.width / self.height))

    def changes_shape(self, height: int, width: int) -> bool:
        """Whether images of this size have another aspect ratio, so that a part of them is lost, added or distorted."""
        return height * self.width != width * self.height

    def text(self, height: int, width: int) -> str:
        """A size and what is done to images of it, e.g. ``640x480 px, cropped to 480x480 px``."""
        size = f"{width}x{height} px"
        if not self.changes_shape(height, width):
            return size
        rows, columns = self._region(height, width)
        if self.fit == "stretch":
            return f"{size}, stretched to {self.width}x{self.height} px"
        return f"{size}, {'cropped' if self.fit == 'crop' else 'padded'} to {columns}x{rows} px"


DEFAULT_RESIZE = Resize(96, 96)


def _scaled(image: np.ndarray, height: int, width: int) -> np.ndarray:
    import cv2

    shrinks = image.shape[0] > height
    return cv2.resize(image, (width, height), interpolation=cv2.INTER_AREA if shrinks else cv2.INTER_LINEAR)
