"""Rotations as quaternions, matrices, and 6D rotations: the first two columns of a matrix, a continuous form (Zhou et al. 2019)."""

from __future__ import annotations

import numpy as np


def quaternion_to_matrix(quaternion: np.ndarray) -> np.ndarray:
    """Quaternions (..., 4), x y z w, of any length but zero, to rotation matrices (..., 3, 3)."""
    quaternion = np.asarray(quaternion, dtype=np.float64)
    unit = quaternion / np.linalg.norm(quaternion, axis=-1, keepdims=True)
    x, y, z, w = (unit[..., k] for k in range(4))
    xx, yy, zz = x * x, y * y, z * z
    matrix = np.empty((*unit.shape[:-1], 3, 3))
    for k, diagonal in enumerate((yy + zz, xx + zz, xx + yy)):
        matrix[..., k, k] = 1 - 2 * diagonal
    for i, j, symmetric, skew in ((0, 1, x * y, z * w), (2, 0, x * z, y * w), (1, 2, y * z, x * w)):
        matrix[..., i, j], matrix[..., j, i] = 2 * (symmetric - skew), 2 * (symmetric + skew)
    return matrix


def matrix_to_rotation_6d(matrix: np.ndarray) -> np.ndarray:
    """Rotation matrices (..., 3, 3) to 6D rotations (..., 6)."""
    return np.concatenate([matrix[..., 0], matrix[..., 1]], axis=-1)


def rotation_6d_to_matrix(rotation: np.ndarray) -> np.ndarray:
    """6D rotations (..., 6) to rotation matrices (..., 3, 3). The two columns need not be orthonormal: they are orthonormalised."""
    rotation = np.asarray(rotation, dtype=np.float64)
    a = rotation[..., :3] / np.maximum(np.linalg.norm(rotation[..., :3], axis=-1, keepdims=True), 1e-9)
    b = rotation[..., 3:] - np.sum(a * rotation[..., 3:], axis=-1, keepdims=True) * a
    b = b / np.maximum(np.linalg.norm(b, axis=-1, keepdims=True), 1e-9)
    return np.stack([a, b, np.cross(a, b)], axis=-1)


def matrix_to_quaternion(m: np.ndarray) -> np.ndarray:
    """Rotation matrices (..., 3, 3) to unit quaternions (..., 4), x y z w, with w >= 0.

    Each rotation is converted with the best-conditioned of the four formulas of Shepperd's method.
    """
    d = np.stack([m[..., 0, 0], m[..., 1, 1], m[..., 2, 2]], axis=-1)
    trace = d.sum(axis=-1)
    sums = [m[..., i, j] + m[..., j, i] for i, j in ((0, 1), (0, 2), (1, 2))]
    differences = [m[..., i, j] - m[..., j, i] for i, j in ((2, 1), (0, 2), (1, 0))]
    squares = [1 + 2 * d[..., k] - trace for k in range(3)] + [1 + trace]
    candidates = np.stack(
        [
            np.stack([squares[0], sums[0], sums[1], differences[0]], axis=-1),
            np.stack([sums[0], squares[1], sums[2], differences[1]], axis=-1),
            np.stack([sums[1], sums[2], squares[2], differences[2]], axis=-1),
            np.stack([*differences, squares[3]], axis=-1),
        ],
        axis=-2,
    )
    best = np.stack(squares, axis=-1).argmax(axis=-1)
    q = np.take_along_axis(candidates, best[..., None, None], axis=-2)[..., 0, :]
    q = q / np.maximum(np.linalg.norm(q, axis=-1, keepdims=True), 1e-9)
    return np.where(q[..., 3:] < 0, -q, q)
