"""A tree of hinges: forward kinematics and derivatives of points it carries, for whole batches of poses at once.

Product of exponentials: with every axis given at the zero pose in the base frame, the motion of the body behind hinge i
is T_i = T_parent(i) @ exp(screw_i * angle_i), and a point p carried by it goes to T_i @ p. Hinges at the same distance
from the base are independent, so that one numpy call serves a whole level of all fingers and of all poses.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from latent_policy_ros.embodiments.schema import Hinge


class HingeTree:
    """Kinematics of hinges, and of P points that they carry.

    Args:
        hinges: Parents before children.
        carriers: For each point the name of the hinge that carries it, or None for the base.
        points: Their places [m] at the zero pose in the base frame, shape (P, 3).
    """

    def __init__(self, hinges: Sequence[Hinge], carriers: Sequence[str | None], points: np.ndarray) -> None:
        index = {hinge.name: i for i, hinge in enumerate(hinges)}
        self._parent = np.array([-1 if h.parent is None else index[h.parent] for h in hinges])
        self._axis = np.array([h.axis for h in hinges])
        self._point = np.array([h.point for h in hinges])
        self._revolute = np.array([h.kind == "revolute" for h in hinges])
        self._skew = _skew(self._axis)
        self._skew2 = self._skew @ self._skew
        self._levels = _levels(self._parent)
        self._carrier = np.array([-1 if name is None else index[name] for name in carriers])
        self._carried = np.asarray(points, dtype=np.float64)
        moves = np.vstack((_ancestors(self._parent), np.zeros(len(hinges), dtype=bool)))  # last row: the base
        self._moves = moves[self._carrier]  # (P, n_hinges): whether the hinge moves the point

    def motion(self, angles: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Motion of all bodies since the zero pose: (B, n_hinges) -> (B, n_hinges, 3, 3) and (B, n_hinges, 3)."""
        turn = np.where(self._revolute, angles, 0.0)
        local = np.sin(turn)[..., None, None] * self._skew + (1.0 - np.cos(turn))[..., None, None] * self._skew2
        slide = np.where(self._revolute, 0.0, angles)
        shift = slide[..., None] * self._axis - (local @ self._point[..., None])[..., 0]
        rotation, translation = local + np.eye(3), shift
        for level in self._levels[1:]:
            above = self._parent[level]
            translation[:, level] = (rotation[:, above] @ shift[:, level, :, None])[..., 0] + translation[:, above]
            rotation[:, level] = rotation[:, above] @ rotation[:, level]
        return rotation, translation

    def points(self, angles: np.ndarray) -> np.ndarray:
        """Carried points [m] in the base frame: (B, n_hinges) -> (B, P, 3)."""
        return self._place(*self.motion(angles))

    def points_and_jacobian(self, angles: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Carried points and their derivatives by all angles: (B, P, 3) and (B, P, 3, n_hinges)."""
        rotation, translation = self.motion(angles)
        places = self._place(rotation, translation)
        axis = (rotation @ self._axis[..., None])[..., 0]
        point = (rotation @ self._point[..., None])[..., 0] + translation
        # A revolute hinge moves a point by axis x (place - point on the axis), a prismatic one by its axis.
        arm = places[:, :, None] - point[:, None]  # (B, P, n_hinges, 3)
        columns = np.where(self._revolute[:, None], _cross(axis[:, None], arm), axis[:, None])
        return places, (columns * self._moves[None, :, :, None]).swapaxes(-1, -2)

    def _place(self, rotation: np.ndarray, translation: np.ndarray) -> np.ndarray:
        carried = (rotation[:, self._carrier] @ self._carried[..., None])[..., 0] + translation[:, self._carrier]
        return np.where(self._carrier[:, None] < 0, self._carried, carried)


def _skew(v: np.ndarray) -> np.ndarray:
    """Cross-product matrices: (N, 3) -> (N, 3, 3)."""
    x, y, z = v.T
    zero = np.zeros_like(x)
    return np.stack([zero, -z, y, z, zero, -x, -y, x, zero], axis=-1).reshape(-1, 3, 3)


def _cross(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """Cross product over the last axis; numpy's own is several times slower on small arrays."""
    ax, ay, az = a[..., 0], a[..., 1], a[..., 2]
    bx, by, bz = b[..., 0], b[..., 1], b[..., 2]
    return np.stack((ay * bz - az * by, az * bx - ax * bz, ax * by - ay * bx), axis=-1)


def _levels(parent: np.ndarray) -> list[np.ndarray]:
    """Indices of the hinges by distance from the base."""
    depth = np.zeros(len(parent), dtype=int)
    for i, above in enumerate(parent):
        depth[i] = 0 if above < 0 else depth[above] + 1
    return [np.flatnonzero(depth == level) for level in range(depth.max() + 1)]


def _ancestors(parent: np.ndarray) -> np.ndarray:
    """Boolean matrix (n, n): row i marks i and every hinge between it and the base."""
    matrix = np.eye(len(parent), dtype=bool)
    for i, above in enumerate(parent):
        if above >= 0:
            matrix[i] |= matrix[above]
    return matrix
