"""Bounded least squares on vectors between points of a mechanism: projected Levenberg-Marquardt, batched.

For every pose b of a batch it minimises, within limits,

    sum_k weights[b, k] * |vectors[k] @ points(q_b) - targets[b, k]|^2  +  sum_j prior_weight[j] * (q_b - prior_b)_j^2

where row k of ``vectors`` picks a keyvector out of the points: +1 and -1 for the vector between two of them.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

PointsAndJacobian = Callable[[np.ndarray], tuple[np.ndarray, np.ndarray]]
AT_LIMIT = 1e-9


@dataclass(frozen=True)
class KeyvectorProblem:
    """The mechanism and what is compared; poses, targets and weights come with each call of :meth:`solve`.

    Attributes:
        evaluate: q (B, n) -> points (B, P, 3) [m] and their derivatives (B, P, 3, n).
        vectors: Keyvectors as combinations of points, shape (K, P).
        lower, upper: Limits of q, shape (n,).
        prior_weight: How strongly q is held to its prior [m^2/rad^2], shape (n,).
    """

    evaluate: PointsAndJacobian
    vectors: np.ndarray
    lower: np.ndarray
    upper: np.ndarray
    prior_weight: np.ndarray

    def solve(
        self, start: np.ndarray, prior: np.ndarray, targets: np.ndarray, weights: np.ndarray, iterations: int
    ) -> tuple[np.ndarray, np.ndarray]:
        """Poses (B, n) after that many steps from ``start`` (B, n), and their costs (B,).

        ``prior`` (B, n), ``targets`` (B, K, 3) [m], ``weights`` (B, K). No step makes a pose worse.
        """
        q = np.clip(start, self.lower, self.upper)
        cost, gradient, hessian = self._model(q, prior, targets, weights)
        damping = np.full(len(q), 1e-3)
        for _ in range(iterations):
            trial = self._step(q, gradient, hessian, damping)
            trial_cost, trial_gradient, trial_hessian = self._model(trial, prior, targets, weights)
            better = trial_cost < cost
            q, cost = np.where(better[:, None], trial, q), np.where(better, trial_cost, cost)
            gradient = np.where(better[:, None], trial_gradient, gradient)
            hessian = np.where(better[:, None, None], trial_hessian, hessian)
            damping = np.where(better, damping * 0.2, damping * 10.0)
        return q, cost

    def _model(
        self, q: np.ndarray, prior: np.ndarray, targets: np.ndarray, weights: np.ndarray
    ) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Cost (B,), half its gradient (B, n) and half its Gauss-Newton Hessian (B, n, n)."""
        points, jacobian = self.evaluate(q)
        residual = self.vectors @ points - targets
        weighted = weights[:, :, None] * residual
        away = q - prior
        cost = (weighted * residual).sum(axis=(1, 2)) + (self.prior_weight * away * away).sum(axis=1)
        batch, n = q.shape
        flat = jacobian.reshape(batch, -1, n)
        gradient = ((self.vectors.T @ weighted).reshape(batch, 1, -1) @ flat)[:, 0] + self.prior_weight * away
        # Jacobian^T (M x I3) Jacobian with M (B, P, P) = vectors^T diag(weights) vectors
        metric = self.vectors.T @ (weights[:, :, None] * self.vectors)
        pulled = (metric @ jacobian.reshape(batch, len(self.vectors.T), -1)).reshape(batch, -1, n)
        return cost, gradient, flat.swapaxes(1, 2) @ pulled + np.diag(self.prior_weight)

    def _step(self, q: np.ndarray, gradient: np.ndarray, hessian: np.ndarray, damping: np.ndarray) -> np.ndarray:
        """One damped Newton step over the joints that are not pressed against a limit, projected to the limits."""
        pressed = ((q <= self.lower + AT_LIMIT) & (gradient > 0)) | ((q >= self.upper - AT_LIMIT) & (gradient < 0))
        free = ~pressed
        diagonal = np.einsum("bii->bi", hessian)
        matrix = hessian * (free[:, :, None] & free[:, None, :])
        extra = np.where(free, damping[:, None] * (diagonal + 1e-9), 1.0)
        np.einsum("bii->bi", matrix)[...] += extra
        step = np.linalg.solve(matrix, np.where(free, gradient, 0.0)[..., None])[..., 0]
        return np.clip(q - step, self.lower, self.upper)
