"""Intrinsics of a camera, as in ``sensor_msgs/CameraInfo`` and in the calibration files of ROS."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Annotated

import numpy as np
from pydantic import AfterValidator, ConfigDict, Field

from latent_policy_ros.common.config import Config, FileModel, Whole, load, resolve_path
from latent_policy_ros.common.errors import ConfigError

PLUMB_BOB = "plumb_bob"  # radial and tangential distortion with five coefficients, ROS's default model


@dataclass(frozen=True)
class CameraCalibration:
    """Intrinsics of a camera for images of one size. Pixels have integer coordinates at their centres.

    Attributes:
        width, height: Size of the images [pixels].
        K: Camera matrix (3, 3) of the raw image; zeros for a camera that is not calibrated.
        D: Coefficients (n,) of the distortion model.
        model: Name of the distortion model.
        R: Rectification (3, 3).
        P: Projection matrix (3, 4) of the rectified image.
    """

    width: int
    height: int
    K: np.ndarray
    D: np.ndarray
    model: str
    R: np.ndarray
    P: np.ndarray

    @classmethod
    def unknown(cls, width: int, height: int) -> CameraCalibration:
        """A camera that is not calibrated: all matrices are zero, as ``CameraInfo`` defines it."""
        return cls(width, height, np.zeros((3, 3)), np.zeros(0), "", np.zeros((3, 3)), np.zeros((3, 4)))

    @classmethod
    @lru_cache(maxsize=32)
    def pinhole(cls, width: int, height: int, field_of_view: float) -> CameraCalibration:
        """An ideal camera with a vertical field of view [rad], square pixels and no distortion."""
        f = height / 2 / np.tan(field_of_view / 2)
        K = np.array([[f, 0.0, (width - 1) / 2], [0.0, f, (height - 1) / 2], [0.0, 0.0, 1.0]])
        return cls(width, height, K, np.zeros(5), PLUMB_BOB, np.eye(3), np.column_stack([K, np.zeros(3)]))

    @classmethod
    def read(cls, url: str) -> CameraCalibration:
        """Read a calibration file.

        Args:
            url: Path of the file, ``file:///PATH`` or ``package://NAME/PATH``.

        Raises:
            ConfigError: The file cannot be read, or is not a calibration.
        """
        try:
            file = resolve_path(url.removeprefix("file://"), Path())
        except ValueError as error:
            raise ConfigError(url, "", str(error)) from error
        return load(CalibrationFile, file).calibration()


def _is_filled(matrix: Matrix) -> Matrix:
    if len(matrix.data) != matrix.rows * matrix.cols:
        raise ValueError(f"expected {matrix.rows} x {matrix.cols} numbers in data, got {len(matrix.data)}")
    return matrix


class Matrix(Config):
    """A matrix, row by row."""

    rows: Whole = Field(ge=1, description="Number of rows.")
    cols: Whole = Field(ge=0, description="Number of columns.")
    data: list[float] = Field(description="Its numbers, row by row.")

    def array(self) -> np.ndarray:
        """The matrix (rows, cols)."""
        return np.array(self.data, float).reshape(self.rows, self.cols)


FilledMatrix = Annotated[Matrix, AfterValidator(_is_filled)]


class CalibrationFile(FileModel):
    """Calibration of a camera, as camera_calibration of ROS writes it."""

    model_config = ConfigDict(extra="ignore")  # e.g. camera_name

    image_width: Whole = Field(ge=1, description="Width of the images [pixels].")
    image_height: Whole = Field(ge=1, description="Height of the images [pixels].")
    camera_matrix: FilledMatrix = Field(description="K (3, 3).")
    distortion_model: str = Field(PLUMB_BOB, description="Name of the distortion model, e.g. plumb_bob or rational_polynomial.")
    distortion_coefficients: FilledMatrix = Field(description="D (1, n).")
    rectification_matrix: FilledMatrix = Field(Matrix(rows=3, cols=3, data=[1, 0, 0, 0, 1, 0, 0, 0, 1]), description="R (3, 3).")
    projection_matrix: FilledMatrix = Field(description="P (3, 4).")

    def calibration(self) -> CameraCalibration:
        """The content of the file.

        Raises:
            ConfigError: A matrix has another shape, or a focal length is not positive.
        """
        matrices = {"camera_matrix": (3, 3), "rectification_matrix": (3, 3), "projection_matrix": (3, 4)}
        for name, shape in matrices.items():
            found = getattr(self, name).array().shape
            if found != shape:
                raise self.error(name, f"expected {shape[0]} x {shape[1]} numbers, got {found[0]} x {found[1]}")
        K = self.camera_matrix.array()
        if not (K[0, 0] > 0.0 and K[1, 1] > 0.0):
            raise self.error("camera_matrix", f"expected positive focal lengths, got {K[0, 0]:g} and {K[1, 1]:g}")
        return CameraCalibration(
            self.image_width, self.image_height, K, self.distortion_coefficients.array().ravel(), self.distortion_model,
            self.rectification_matrix.array(), self.projection_matrix.array(),
        )  # fmt: skip
