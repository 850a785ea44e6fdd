"""Forward kinematics and Jacobians of an embodiment, for whole batches of poses at once.

Product of exponentials: with every axis given at the zero pose in the palm frame, the motion of the body behind hinge i
is T_i = T_parent(i) @ exp(screw_i * angle_i), and a point p carried by it goes to T_i @ p. Hinges at the same distance
from the palm are independent, so that one numpy call serves a whole level of all fingers and of all poses.
"""

from __future__ import annotations

import numpy as np

from latent_policy_ros.embodiments.schema import Embodiment


class HandKinematics:
    """Kinematics of one embodiment. Results are in the canonical hand frame unless they say otherwise.

    Attributes:
        fingers: Names of the F fingertips, in the order of the results.
    """

    def __init__(self, embodiment: Embodiment) -> None:
        if not embodiment.hinges:
            raise ValueError(f"{embodiment.name} has no hinges: it is of kind {embodiment.kind!r}")
        self.embodiment = embodiment
        self.fingers = tuple(embodiment.fingertips)
        index = {hinge.name: i for i, hinge in enumerate(embodiment.hinges)}
        self._parent = np.array([-1 if h.parent is None else index[h.parent] for h in embodiment.hinges])
        self._axis = np.array([h.axis for h in embodiment.hinges])
        self._point = np.array([h.point for h in embodiment.hinges])
        self._revolute = np.array([h.kind == "revolute" for h in embodiment.hinges])
        self._skew = _skew(self._axis)
        self._skew2 = self._skew @ self._skew
        self._levels = _levels(self._parent)
        self._tip_hinge = np.array([index[tip.hinge] for tip in embodiment.fingertips.values()])
        self._tip_point = np.array([tip.point for tip in embodiment.fingertips.values()])
        self._R_hand_base = embodiment.T_base_hand[:3, :3].T.copy()
        self._origin = embodiment.T_base_hand[:3, 3].copy()
        self._carries = _ancestors(self._parent)[self._tip_hinge]  # (F, n_hinges)

    def hinge_angles(self, q: np.ndarray) -> np.ndarray:
        """Angles of all hinges, coupled ones included: (B, n) -> (B, n_hinges)."""
        q = np.asarray(q, dtype=np.float64)
        if q.ndim != 2 or q.shape[1] != len(self.embodiment.joint_names):
            expected = f"(B, {len(self.embodiment.joint_names)})"
            raise ValueError(f"{self.embodiment.name}: q must have shape {expected}, got {q.shape}")
        return q @ self.embodiment.coupling.T

    def link_transforms(self, q: np.ndarray) -> np.ndarray:
        """Motion of the body behind each hinge since the zero pose, in the PALM frame: (B, n) -> (B, n_hinges, 4, 4)."""
        rotation, translation = self._motion(self.hinge_angles(q))
        transforms = np.zeros((*rotation.shape[:2], 4, 4))
        transforms[..., :3, :3], transforms[..., :3, 3], transforms[..., 3, 3] = rotation, translation, 1.0
        return transforms

    def fingertips(self, q: np.ndarray) -> np.ndarray:
        """Fingertips [m] in the hand frame: (B, n) -> (B, F, 3)."""
        return self._tips(*self._motion(self.hinge_angles(q)))

    def jacobian(self, q: np.ndarray) -> np.ndarray:
        """Derivatives of :meth:`fingertips` by q [m/rad], couplings included: (B, n) -> (B, F, 3, n)."""
        return self.fingertips_and_jacobian(q)[1]

    def fingertips_and_jacobian(self, q: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Both at the price of one pass."""
        rotation, translation = self._motion(self.hinge_angles(q))
        tips_base = self._tips_base(rotation, translation)
        axis = (rotation @ self._axis[..., None])[..., 0]
        point = (rotation @ self._point[..., None])[..., 0] + translation
        # A revolute hinge moves a tip by axis x (tip - point), a prismatic one by its axis.
        arm = tips_base[:, :, None] - point[:, None]  # (B, F, n_hinges, 3)
        columns = np.where(self._revolute[:, None], _cross(axis[:, None], arm), axis[:, None])
        columns = columns * self._carries[None, :, :, None]
        jacobian = self._R_hand_base @ columns.swapaxes(-1, -2) @ self.embodiment.coupling
        return self._to_hand(tips_base), jacobian

    def knuckles(self) -> np.ndarray:
        """Where each finger starts: the point of its hinge closest to the palm [m], in the hand frame, shape (F, 3)."""
        roots = []
        for hinge in self._tip_hinge:
            while self._parent[hinge] >= 0:
                hinge = self._parent[hinge]
            roots.append(hinge)
        return self._to_hand(self._point[roots])

    def _motion(self, angles: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Rotations (B, n_hinges, 3, 3) and translations (B, n_hinges, 3) of all bodies in the palm frame."""
        turn = np.where(self._revolute, angles, 0.0)
        local = np.sin(turn)[..., None, None] * self._skew + (1.0 - np.cos(turn))[..., None, None] * self._skew2
        shift = -(local @ self._point[..., None])[..., 0] + np.where(self._revolute, 0.0, angles)[..., None] * self._axis
        local += np.eye(3)
        rotation, translation = local, shift
        for level in self._levels[1:]:
            above = self._parent[level]
            translation[:, level] = (rotation[:, above] @ shift[:, level, :, None])[..., 0] + translation[:, above]
            rotation[:, level] = rotation[:, above] @ local[:, level]
        return rotation, translation

    def _tips_base(self, rotation: np.ndarray, translation: np.ndarray) -> np.ndarray:
        carried = (rotation[:, self._tip_hinge] @ self._tip_point[..., None])[..., 0]
        return carried + translation[:, self._tip_hinge]

    def _tips(self, rotation: np.ndarray, translation: np.ndarray) -> np.ndarray:
        return self._to_hand(self._tips_base(rotation, translation))

    def _to_hand(self, points_base: np.ndarray) -> np.ndarray:
        return (points_base - self._origin) @ self._R_hand_base.T


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
    """Indices of the hinges by distance from the palm."""
    depth = np.zeros(len(parent), dtype=int)
    for i, above in enumerate(parent):
        depth[i] = 0 if above < 0 else depth[above] + 1
    return [np.flatnonzero(depth == level) for level in range(depth.max() + 1)]


def _ancestors(parent: np.ndarray) -> np.ndarray:
    """Boolean matrix (n, n): row i marks i and every hinge between it and the palm."""
    matrix = np.eye(len(parent), dtype=bool)
    for i, above in enumerate(parent):
        if above >= 0:
            matrix[i] |= matrix[above]
    return matrix
