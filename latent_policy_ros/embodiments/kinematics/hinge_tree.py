"""Hinge tree: forward kinematics of points on a tree of hinges, and their Jacobians, for batches of poses.

Product of exponentials: with every axis given at the zero pose in the base frame, the motion of the body behind hinge i is
T_i = T_parent(i) @ exp(screw_i * position_i), and a point p on it moves to T_i @ p.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from latent_policy_ros.embodiments.model.schema import Hinge


class HingeTree:
    """Kinematics of hinges and of P points on them, moved by n joints.

    Args:
        hinges: Parents before children.
        carriers: For each point the name of the hinge that moves it, or None for the base.
        points: The points [m] in the base frame at the zero pose, shape (P, 3).
        coupling: Positions of all hinges are ``coupling @ q``, shape (n_hinges, n), at most one nonzero entry a row. Default:
            every hinge is a joint.

    Attributes:
        joints: n.
        arrays: The tree as arrays, for compiled code.
    """

    def __init__(
        self, hinges: Sequence[Hinge], carriers: Sequence[str | None], points: np.ndarray, coupling: np.ndarray | None = None
    ) -> None:
        # Not at the top of the module: processes that only read embodiments need not load numba, which takes seconds.
        from latent_policy_ros.embodiments.kinematics.fk_kernels import TreeArrays

        index = {hinge.name: i for i, hinge in enumerate(hinges)}
        coupling = np.eye(len(hinges)) if coupling is None else np.asarray(coupling, dtype=np.float64)
        joint = np.abs(coupling).argmax(axis=1)
        self.joints = coupling.shape[1]
        self.arrays = TreeArrays(
            parent=np.array([-1 if h.parent is None else index[h.parent] for h in hinges]),
            axis=np.array([h.axis for h in hinges], dtype=np.float64),
            origin=np.array([h.point for h in hinges], dtype=np.float64),
            revolute=np.array([h.kind == "revolute" for h in hinges]),
            joint=joint,
            ratio=coupling[np.arange(len(hinges)), joint],
            carrier=np.array([-1 if name is None else index[name] for name in carriers]),
            zero_point=np.array(points, dtype=np.float64),
        )

    def motion(self, q: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Motion of all bodies since the zero pose: (B, n) -> rotation (B, n_hinges, 3, 3), translation (B, n_hinges, 3) [m]."""
        from latent_policy_ros.embodiments.kinematics.fk_kernels import batch_motion

        q = np.require(q, np.float64, ["C", "W"])
        rotation = np.empty((len(q), len(self.arrays.parent), 3, 3))
        translation = np.empty(rotation.shape[:-1])
        batch_motion(self.arrays, q, rotation, translation)
        return rotation, translation

    def points(self, q: np.ndarray) -> np.ndarray:
        """The points [m] in the base frame: (B, n) -> (B, P, 3)."""
        return self._points(q, with_jacobian=False)[0]

    def points_and_jacobian(self, q: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """The points (B, P, 3) [m] and their derivatives by the joints (B, P, 3, n) [m/rad, 1 if prismatic]."""
        points, jacobian = self._points(q, with_jacobian=True)
        return points, jacobian.swapaxes(-1, -2)

    def _points(self, q: np.ndarray, with_jacobian: bool) -> tuple[np.ndarray, np.ndarray]:
        from latent_policy_ros.embodiments.kinematics.fk_kernels import batch_points

        q = np.require(q, np.float64, ["C", "W"])
        points = np.empty((len(q), *self.arrays.zero_point.shape))
        jacobian = np.empty((len(q) if with_jacobian else 0, len(self.arrays.zero_point), self.joints, 3))
        batch_points(self.arrays, q, points, jacobian)
        return points, jacobian
