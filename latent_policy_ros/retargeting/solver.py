"""Bounded least squares on vectors between points of a mechanism: projected Levenberg-Marquardt, compiled.

For one pose it minimises, within limits,

    sum_k weights[k] * |point[ends[k]] - point[starts[k]] - targets[k]|^2  +  sum_j prior_weight[j] * (q - prior)_j^2

where point[-1] is the base's origin, so that a keyvector may also be a place.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from numba import njit

from latent_policy_ros.embodiments.kinematics.fk_kernels import Mechanism, carry, differentiate, move
from latent_policy_ros.embodiments.kinematics.hinge_tree import HingeTree

AT_LIMIT = 1e-9
SETTLED = 1e-5  # a step shorter than this [rad] ends the search


class Keyvectors(NamedTuple):
    """Which vectors of a mechanism are compared, as the compiled code reads it."""

    mechanism: Mechanism
    starts: np.ndarray  # (K,) index of a point, -1: the base's origin
    ends: np.ndarray  # (K,)
    moved_by: np.ndarray  # (K, n) the joints that move a keyvector, in the first ...
    movers: np.ndarray  # (K,) ... so many entries of its row


def keyvectors(tree: HingeTree, starts: Sequence[int], ends: Sequence[int]) -> Keyvectors:
    """The vectors from points ``starts`` (-1: the origin) to points ``ends`` of the tree."""
    mechanism, count = tree.mechanism, len(ends)
    moved_by, movers = np.zeros((count, tree.joints), dtype=np.int64), np.zeros(count, dtype=np.int64)
    for k, pair in enumerate(zip(starts, ends, strict=True)):
        joints = set()
        for hinge in (mechanism.carrier[point] for point in pair if point >= 0):
            while hinge >= 0:
                joints.add(int(mechanism.joint[hinge]))
                hinge = mechanism.parent[hinge]
        movers[k] = len(joints)
        moved_by[k, : len(joints)] = sorted(joints)
    return Keyvectors(mechanism, np.array(starts, dtype=np.int64), np.array(ends, dtype=np.int64), moved_by, movers)


@njit(cache=True, nogil=True, error_model="numpy")
def descend(vectors, lower, upper, q, prior, prior_weight, targets, weights, iterations, settled):
    """Moves q (n,) downhill in place, within limits; returns its cost. No step makes it worse.

    ``prior`` and ``prior_weight`` [m^2/rad^2] (n,), ``targets`` (K, 3) [m], ``weights`` (K,).
    """
    mechanism, n, hinges, count = vectors.mechanism, len(q), len(vectors.mechanism.parent), len(vectors.mechanism.carrier)
    rotation = np.empty((hinges, 3, 3))
    translation, axis, point = np.empty((3, hinges, 3))
    places, residual = np.empty((count, 3)), np.empty((len(weights), 3))
    jacobian, hessian, factor = np.empty((count, n, 3)), np.empty((n, n)), np.empty((n, n))
    gradient, step, trial = np.empty((3, n))
    free = np.empty(n, dtype=np.bool_)
    for j in range(n):
        q[j] = min(max(q[j], lower[j]), upper[j])
    cost = _cost(vectors, q, prior, prior_weight, targets, weights, rotation, translation, axis, point, places, residual)
    damping, fresh = 1e-3, True
    for _ in range(iterations):
        if fresh:
            differentiate(mechanism, places, axis, point, jacobian)
            _gauss_newton(vectors, jacobian, residual, weights, q, prior, prior_weight, gradient, hessian)
        for j in range(n):
            pressed = (q[j] <= lower[j] + AT_LIMIT and gradient[j] > 0) or (q[j] >= upper[j] - AT_LIMIT and gradient[j] < 0)
            free[j] = not pressed
        _solve(hessian, gradient, free, damping, factor, step)
        longest = 0.0
        for j in range(n):
            trial[j] = min(max(q[j] - step[j], lower[j]), upper[j])
            longest = max(longest, abs(trial[j] - q[j]))
        if longest < 1e-12:
            break
        new = _cost(vectors, trial, prior, prior_weight, targets, weights, rotation, translation, axis, point, places, residual)
        fresh = new < cost
        if fresh:
            q[:] = trial
            cost, damping = new, damping * 0.2
        else:
            damping *= 10.0
        if longest < settled:
            break
    return cost


@njit(cache=True, nogil=True, error_model="numpy")
def _cost(vectors, q, prior, prior_weight, targets, weights, rotation, translation, axis, point, places, residual):
    """The cost at q; leaves the mechanism's motion and the residuals (K, 3) in the arrays given."""
    move(vectors.mechanism, q, rotation, translation, axis, point)
    carry(vectors.mechanism, rotation, translation, places)
    cost = 0.0
    for k in range(len(weights)):
        start, end = vectors.starts[k], vectors.ends[k]
        for r in range(3):
            origin = places[start, r] if start >= 0 else 0.0
            residual[k, r] = places[end, r] - origin - targets[k, r]
            cost += weights[k] * residual[k, r] * residual[k, r]
    for j in range(len(q)):
        cost += prior_weight[j] * (q[j] - prior[j]) ** 2
    return cost


@njit(cache=True, nogil=True, error_model="numpy")
def _gauss_newton(vectors, jacobian, residual, weights, q, prior, prior_weight, gradient, hessian):
    """Half the gradient (n,) and half the Gauss-Newton Hessian (n, n, upper triangle) of the cost."""
    hessian[:] = 0.0
    column = np.empty((len(q), 3))
    for j in range(len(q)):
        gradient[j] = prior_weight[j] * (q[j] - prior[j])
        hessian[j, j] = prior_weight[j]
    for k in range(len(weights)):
        start, end, w, r = vectors.starts[k], vectors.ends[k], weights[k], residual[k]
        for a in range(vectors.movers[k]):
            j = vectors.moved_by[k, a]
            for c in range(3):
                column[a, c] = jacobian[end, j, c] - (jacobian[start, j, c] if start >= 0 else 0.0)
            x, y, z = w * column[a, 0], w * column[a, 1], w * column[a, 2]
            gradient[j] += x * r[0] + y * r[1] + z * r[2]
            for b in range(a + 1):
                hessian[vectors.moved_by[k, b], j] += x * column[b, 0] + y * column[b, 1] + z * column[b, 2]


@njit(cache=True, nogil=True, error_model="numpy")
def _solve(hessian, gradient, free, damping, factor, step):
    """One damped Newton step (n,) over the free joints, by Cholesky's factors; the others stay."""
    n = len(gradient)
    for j in range(n):
        for i in range(j + 1):
            value = hessian[i, j] if free[i] and free[j] else 0.0
            if i == j:
                value = hessian[j, j] + damping * (hessian[j, j] + 1e-9) if free[j] else 1.0
            for k in range(i):
                value -= factor[i, k] * factor[j, k]
            factor[j, i] = np.sqrt(value) if i == j else value / factor[i, i]
    for j in range(n):
        value = gradient[j] if free[j] else 0.0
        for k in range(j):
            value -= factor[j, k] * step[k]
        step[j] = value / factor[j, j]
    for j in range(n - 1, -1, -1):
        value = step[j]
        for k in range(j + 1, n):
            value -= factor[k, j] * step[k]
        step[j] = value / factor[j, j]


@njit(cache=True, nogil=True, error_model="numpy")
def descend_all(vectors, lower, upper, q, prior, prior_weight, targets, weights, iterations, settled, costs):
    """:func:`descend` for B independent poses: q, prior (B, n), targets (B, K, 3), weights (B, K), costs (B,)."""
    for b in range(len(q)):
        costs[b] = descend(vectors, lower, upper, q[b], prior[b], prior_weight, targets[b], weights[b], iterations, settled)
