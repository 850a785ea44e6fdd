"""6D rotations: the first two columns of the rotation matrix, a continuous representation (Zhou et al. 2019)."""

from __future__ import annotations

import numpy as np


def quaternion_to_rotation_6d(quaternion: np.ndarray) -> np.ndarray:
    """Unit quaternions (..., 4), x y z w, to 6D rotations (..., 6)."""
    x, y, z, w = np.moveaxis(np.asarray(quaternion, dtype=np.float64), -1, 0)
    first = (1 - 2 * (y * y + z * z), 2 * (x * y + z * w), 2 * (x * z - y * w))
    second = (2 * (x * y - z * w), 1 - 2 * (x * x + z * z), 2 * (y * z + x * w))
    return np.stack([*first, *second], axis=-1)


def rotation_6d_to_quaternion(rotation: np.ndarray) -> np.ndarray:
    """6D rotations (..., 6) to unit quaternions (..., 4), x y z w, with w >= 0.

    The two columns need not be orthonormal: they are orthonormalised first. Each rotation is converted with the
    best-conditioned of the four formulas of Shepperd's method.
    """
    rotation = np.asarray(rotation, dtype=np.float64)
    a = rotation[..., :3] / np.maximum(np.linalg.norm(rotation[..., :3], axis=-1, keepdims=True), 1e-9)
    b = rotation[..., 3:] - np.sum(a * rotation[..., 3:], axis=-1, keepdims=True) * a
    b = b / np.maximum(np.linalg.norm(b, axis=-1, keepdims=True), 1e-9)
    c = np.cross(a, b)
    m = np.stack([a, b, c], axis=-1)
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
