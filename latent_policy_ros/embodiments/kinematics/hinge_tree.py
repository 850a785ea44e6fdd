"""A tree of hinges: forward kinematics and derivatives of points it carries, for whole batches of poses at once.

Product of exponentials: with every axis given at the zero pose in the base frame, the motion of the body behind hinge i
is T_i = T_parent(i) @ exp(screw_i * angle_i), and a point p carried by it goes to T_i @ p.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from latent_policy_ros.embodiments.model.schema import Hinge


class HingeTree:
    """Kinematics of hinges, and of P points that they carry, driven by n joints.

    Args:
        hinges: Parents before children.
        carriers: For each point the name of the hinge that carries it, or None for the base.
        points: Their places [m] at the zero pose in the base frame, shape (P, 3).
        coupling: Angles of all hinges are ``coupling @ q``, shape (n_hinges, n), one joint a hinge. Default: each
            hinge is a joint.
    """

    def __init__(
        self, hinges: Sequence[Hinge], carriers: Sequence[str | None], points: np.ndarray, coupling: np.ndarray | None = None
    ) -> None:
        # Compiled code is loaded by those who compute with it, not by every process that reads an embodiment.
        from latent_policy_ros.embodiments.kinematics.fk_kernels import Mechanism

        index = {hinge.name: i for i, hinge in enumerate(hinges)}
        coupling = np.eye(len(hinges)) if coupling is None else np.asarray(coupling, dtype=np.float64)
        joint = np.abs(coupling).argmax(axis=1)
        self.joints = coupling.shape[1]
        self.mechanism = Mechanism(
            parent=np.array([-1 if h.parent is None else index[h.parent] for h in hinges]),
            axis=np.array([h.axis for h in hinges], dtype=np.float64),
            point=np.array([h.point for h in hinges], dtype=np.float64),
            revolute=np.array([h.kind == "revolute" for h in hinges]),
            joint=joint,
            ratio=coupling[np.arange(len(hinges)), joint],
            carrier=np.array([-1 if name is None else index[name] for name in carriers]),
            place=np.array(points, dtype=np.float64),
        )

    def motion(self, q: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Motion of all bodies since the zero pose: (B, n) -> (B, n_hinges, 3, 3) and (B, n_hinges, 3)."""
        from latent_policy_ros.embodiments.kinematics.fk_kernels import move_all

        q = np.ascontiguousarray(q)
        rotation = np.empty((len(q), len(self.mechanism.parent), 3, 3))
        translation = np.empty(rotation.shape[:-1])
        move_all(self.mechanism, q, rotation, translation)
        return rotation, translation

    def points(self, q: np.ndarray) -> np.ndarray:
        """Carried points [m] in the base frame: (B, n) -> (B, P, 3)."""
        return self._carry(q, with_jacobian=False)[0]

    def points_and_jacobian(self, q: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Carried points and their derivatives by the joints: (B, P, 3) and (B, P, 3, n)."""
        places, jacobian = self._carry(q, with_jacobian=True)
        return places, jacobian.swapaxes(-1, -2)

    def _carry(self, q: np.ndarray, with_jacobian: bool) -> tuple[np.ndarray, np.ndarray]:
        from latent_policy_ros.embodiments.kinematics.fk_kernels import carry_all

        q = np.ascontiguousarray(q)
        places = np.empty((len(q), *self.mechanism.place.shape))
        jacobian = np.empty((len(q) if with_jacobian else 0, len(self.mechanism.place), self.joints, 3))
        carry_all(self.mechanism, q, places, jacobian)
        return places, jacobian
