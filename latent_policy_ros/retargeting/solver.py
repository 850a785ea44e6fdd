"""Bounded least squares on keyvectors (vectors between points of a hinge tree): projected Levenberg-Marquardt, compiled.

For one pose, :func:`minimise` minimises, within joint limits,

    sum_k weights[k] * |v_k - targets[k]|^2  +  sum_k length_weights[k] * (|v_k| - |targets[k]|)^2
    +  sum_j prior_weight[j] * (q - prior)_j^2

where v_k = point[ends[k]] - point[starts[k]], and point[-1] is the origin of the base, so that a keyvector can also be a position.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from numba import njit

from latent_policy_ros.embodiments.kinematics.fk_kernels import TreeArrays, hinge_motion, moved_points, point_jacobian
from latent_policy_ros.embodiments.kinematics.hinge_tree import HingeTree

AT_LIMIT = 1e-9  # a joint nearer to its limit than this [rad or m] is at the limit
SHORTEST = 1e-9  # [m] a vector shorter than this has no direction
TOLERANCE = 1e-5  # a step smaller than this [rad or m] ends the iteration


class Keyvectors(NamedTuple):
    """K keyvectors of a hinge tree, as arrays for the compiled code."""

    tree: TreeArrays
    starts: np.ndarray  # (K,) index of the point where each begins; -1: the origin of the base
    ends: np.ndarray  # (K,) index of the point where each ends
    joints: np.ndarray  # (K, n) indices of the joints that move each, in the first ``joint_counts`` entries of its row
    joint_counts: np.ndarray  # (K,)


def keyvectors(tree: HingeTree, starts: Sequence[int], ends: Sequence[int]) -> Keyvectors:
    """Make the keyvectors from points ``starts`` (-1: the origin of the base) to points ``ends`` of the tree, by index."""
    arrays, count = tree.arrays, len(ends)
    moving, counts = np.zeros((count, tree.joints), dtype=np.int64), np.zeros(count, dtype=np.int64)
    for k, pair in enumerate(zip(starts, ends, strict=True)):
        joints = set()
        for hinge in (arrays.carrier[point] for point in pair if point >= 0):
            while hinge >= 0:
                joints.add(int(arrays.joint[hinge]))
                hinge = arrays.parent[hinge]
        counts[k] = len(joints)
        moving[k, : len(joints)] = sorted(joints)
    return Keyvectors(arrays, np.array(starts, dtype=np.int64), np.array(ends, dtype=np.int64), moving, counts)


@njit(cache=True, nogil=True, error_model="numpy")
def minimise(vectors, lower, upper, q, prior, prior_weight, targets, weights, length_weights, iterations, tolerance):
    """Minimise the cost over q (n,) in place, within limits, and return the cost. No iteration increases it.

    Args:
        vectors: The Keyvectors.
        lower, upper: Joint limits (n,).
        q: Start, and result (n,).
        prior: Joint positions that the cost pulls to (n,).
        prior_weight: Weights of this pull (n,) [m^2/rad^2].
        targets: Wanted keyvectors (K, 3) [m].
        weights: Their weights (K,).
        length_weights: Weights of their lengths (K,), in addition.
        iterations: Largest count of iterations.
        tolerance: A smaller step [rad or m] ends the iteration.
    """
    tree, n, hinges, count = vectors.tree, len(q), len(vectors.tree.parent), len(vectors.tree.carrier)
    rotation, translation, axis, origin = (
        np.empty((hinges, 3, 3)),
        np.empty((hinges, 3)),
        np.empty((hinges, 3)),
        np.empty((hinges, 3)),
    )
    points, residual = np.empty((count, 3)), np.empty((len(weights), 3))
    directions, excess = np.empty((len(weights), 3)), np.zeros(len(weights))
    errors, motion = (residual, directions, excess), (rotation, translation, axis, origin, points)
    jacobian, hessian, factor = np.empty((count, n, 3)), np.empty((n, n)), np.empty((n, n))
    gradient, step, trial, free = np.empty(n), np.empty(n), np.empty(n), np.empty(n, dtype=np.bool_)
    for j in range(n):
        q[j] = min(max(q[j], lower[j]), upper[j])
    cost = _evaluate(vectors, q, prior, prior_weight, targets, weights, length_weights, motion, errors)
    damping, fresh = 1e-3, True
    for _ in range(iterations):
        if fresh:
            point_jacobian(tree, points, axis, origin, jacobian)
            _normal_equations(vectors, jacobian, errors, weights, length_weights, q, prior, prior_weight, gradient, hessian)
        for j in range(n):
            blocked = (q[j] <= lower[j] + AT_LIMIT and gradient[j] > 0) or (q[j] >= upper[j] - AT_LIMIT and gradient[j] < 0)
            free[j] = not blocked
        _damped_step(hessian, gradient, free, damping, factor, step)
        largest = 0.0
        for j in range(n):
            trial[j] = min(max(q[j] - step[j], lower[j]), upper[j])
            largest = max(largest, abs(trial[j] - q[j]))
        if largest < 1e-12:
            break
        new = _evaluate(vectors, trial, prior, prior_weight, targets, weights, length_weights, motion, errors)
        fresh = new < cost
        if fresh:
            q[:] = trial
            cost, damping = new, damping * 0.2
        else:
            damping *= 10.0
        if largest < tolerance:
            break
    return cost


@njit(cache=True, nogil=True, error_model="numpy")
def _evaluate(vectors, q, prior, prior_weight, targets, weights, length_weights, motion, errors):
    """Return the cost at q; write the motion of the tree, its points and the errors.

    ``motion`` are rotation, translation, axis, origin and points of the tree; ``errors`` are the residuals (K, 3) of the keyvectors
    and, where they have a length weight, their directions (K, 3) and the excess of their lengths (K,).
    """
    rotation, translation, axis, origin, points = motion
    residual, direction, excess = errors
    hinge_motion(vectors.tree, q, rotation, translation, axis, origin)
    moved_points(vectors.tree, rotation, translation, points)
    cost = 0.0
    for k in range(len(weights)):
        start, end = vectors.starts[k], vectors.ends[k]
        squared, wanted = 0.0, 0.0
        for r in range(3):
            direction[k, r] = points[end, r] - (points[start, r] if start >= 0 else 0.0)
            residual[k, r] = direction[k, r] - targets[k, r]
            cost += weights[k] * residual[k, r] * residual[k, r]
            squared += direction[k, r] * direction[k, r]
            wanted += targets[k, r] * targets[k, r]
        if length_weights[k] > 0.0:
            length = np.sqrt(squared)
            excess[k] = length - np.sqrt(wanted)
            cost += length_weights[k] * excess[k] * excess[k]
            direction[k] /= max(length, SHORTEST)
    for j in range(len(q)):
        cost += prior_weight[j] * (q[j] - prior[j]) ** 2
    return cost


@njit(cache=True, nogil=True, error_model="numpy")
def _normal_equations(vectors, jacobian, errors, weights, length_weights, q, prior, prior_weight, gradient, hessian):
    """Write half the gradient (n,) and half the Gauss-Newton Hessian (n, n; upper triangle) of the cost."""
    residual, direction, excess = errors
    hessian[:] = 0.0
    column, slope = np.empty((len(q), 3)), np.empty(len(q))
    for j in range(len(q)):
        gradient[j] = prior_weight[j] * (q[j] - prior[j])
        hessian[j, j] = prior_weight[j]
    for k in range(len(weights)):
        start, end, w, r = vectors.starts[k], vectors.ends[k], weights[k], residual[k]
        by_length, u = length_weights[k], direction[k]
        for a in range(vectors.joint_counts[k]):
            j = vectors.joints[k, a]
            for c in range(3):
                column[a, c] = jacobian[end, j, c] - (jacobian[start, j, c] if start >= 0 else 0.0)
            x, y, z = w * column[a, 0], w * column[a, 1], w * column[a, 2]
            gradient[j] += x * r[0] + y * r[1] + z * r[2]
            for b in range(a + 1):
                hessian[vectors.joints[k, b], j] += x * column[b, 0] + y * column[b, 1] + z * column[b, 2]
            if by_length > 0.0:
                slope[a] = u[0] * column[a, 0] + u[1] * column[a, 1] + u[2] * column[a, 2]
                gradient[j] += by_length * slope[a] * excess[k]
                for b in range(a + 1):
                    hessian[vectors.joints[k, b], j] += by_length * slope[a] * slope[b]


@njit(cache=True, nogil=True, error_model="numpy")
def _damped_step(hessian, gradient, free, damping, factor, step):
    """Write one damped Gauss-Newton step (n,) of the free joints, by Cholesky factorisation; other joints have a step of zero."""
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
def minimise_batch(
    vectors, lower, upper, q, prior, prior_weight, targets, weights, length_weights, iterations, tolerance, costs
):  # fmt: skip
    """:func:`minimise` for B independent poses: q, prior (B, n), targets (B, K, 3), both weights (B, K), costs (B,)."""
    for b in range(len(q)):
        costs[b] = minimise(
            vectors, lower, upper, q[b], prior[b], prior_weight, targets[b], weights[b], length_weights[b], iterations, tolerance
        )
