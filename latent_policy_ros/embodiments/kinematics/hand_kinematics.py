"""Forward kinematics and Jacobians of an embodiment's fingertips, with couplings, in the canonical hand frame."""

from __future__ import annotations

import numpy as np

from latent_policy_ros.embodiments.kinematics.hinge_tree import HingeTree
from latent_policy_ros.embodiments.model.schema import Embodiment, Hinge


class HandKinematics:
    """Kinematics of one embodiment for batches of joint positions q (B, n) [rad, m if prismatic].

    Results are in the canonical hand frame, except where another frame is given.

    Args:
        embodiment: A hand or gripper.

    Attributes:
        embodiment: As given.
        fingers: Names of the F fingers, in the order of the results.

    Raises:
        ValueError: The embodiment has no hinges (human hand).
    """

    def __init__(self, embodiment: Embodiment) -> None:
        if not embodiment.hinges:
            raise ValueError(f"{embodiment.name} has no hinges: it is of kind {embodiment.kind!r}")
        self.embodiment = embodiment
        self.fingers = tuple(embodiment.fingertips)
        # Points: the fingertips, then the last hinge of each finger.
        tips = list(embodiment.fingertips.values())
        points = [tip.point for tip in tips] + [embodiment.hinge(tip.hinge).point for tip in tips]
        self._carriers, self._points = [tip.hinge for tip in tips] * 2, np.array(points)
        self._tree = HingeTree(embodiment.hinges, self._carriers, self._points, embodiment.coupling)
        self._R_hand_base = embodiment.T_base_hand[:3, :3].T.copy()
        self._origin = embodiment.T_base_hand[:3, 3].copy()

    def link_transforms(self, q: np.ndarray) -> np.ndarray:
        """Motion of the body behind each hinge since the zero pose, in the palm frame: (B, n) -> (B, n_hinges, 4, 4)."""
        rotation, translation = self._tree.motion(self._checked(q))
        transforms = np.zeros((*rotation.shape[:2], 4, 4))
        transforms[..., :3, :3], transforms[..., :3, 3], transforms[..., 3, 3] = rotation, translation, 1.0
        return transforms

    def fingertips(self, q: np.ndarray) -> np.ndarray:
        """Fingertips [m]: (B, n) -> (B, F, 3)."""
        return self._to_hand(self._tree.points(self._checked(q)))[:, : len(self.fingers)]

    def jacobian(self, q: np.ndarray) -> np.ndarray:
        """Derivatives of :meth:`fingertips` by q [m/rad, 1 if prismatic]: (B, n) -> (B, F, 3, n)."""
        return self.points_and_jacobian(q)[1][:, : len(self.fingers)]

    def points_and_jacobian(self, q: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Fingertips and the last hinge of each finger (B, 2 F, 3) [m], and their derivatives (B, 2 F, 3, n)."""
        points, jacobian = self._tree.points_and_jacobian(self._checked(q))
        return self._to_hand(points), self._R_hand_base @ jacobian

    def fingers_at_zero(self) -> dict[str, np.ndarray]:
        """Points of each finger at the zero pose [m]: its hinges from the palm, then its tip; shape (hinges + 1, 3)."""
        at = {hinge.name: hinge for hinge in self.embodiment.hinges}
        chains: dict[str, np.ndarray] = {}
        for finger, tip in self.embodiment.fingertips.items():
            chain = [tip.point]
            name: str | None = tip.hinge
            while name is not None:
                chain.append(at[name].point)
                name = at[name].parent
            chains[finger] = self._to_hand(np.array(chain[::-1]))
        return chains

    def tree_in_hand_frame(self, mirror: np.ndarray) -> HingeTree:
        """The hinges and points in the hand frame, with each coordinate multiplied by ``mirror`` (3,) (1 or -1).

        A reflection also inverts the axes of rotation, so that the same q gives the mirrored pose.
        """
        hinges = [
            Hinge(
                h.name, h.parent, mirror * (self._R_hand_base @ h.axis) * (mirror.prod() if h.kind == "revolute" else 1.0),
                mirror * self._to_hand(h.point), h.lower, h.upper, h.kind,
            )
            for h in self.embodiment.hinges
        ]  # fmt: skip
        return HingeTree(hinges, self._carriers, mirror * self._to_hand(self._points), self.embodiment.coupling)

    def _checked(self, q: np.ndarray) -> np.ndarray:
        q = np.asarray(q, dtype=np.float64)
        if q.ndim != 2 or q.shape[1] != self._tree.joints:
            raise ValueError(f"{self.embodiment.name}: q must have shape (B, {self._tree.joints}), got {q.shape}")
        return q

    def _to_hand(self, points_base: np.ndarray) -> np.ndarray:
        return (points_base - self._origin) @ self._R_hand_base.T
