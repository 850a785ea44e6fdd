"""Compiled kernels of forward kinematics: motion of hinges, points on them, Jacobians of the points.

The kernels work on one pose and write into arrays of the caller, so that other compiled code can call them. They exist for the
retargeting solver, which evaluates points and Jacobian up to eight times a frame, and for batches.

``benchmarks/kinematics.py`` compares them with pinocchio (table in docs/explanation/KINEMATICS.md). In batches of 2,000 poses they
are 6 to 8 times as fast for fingertips, and 2.3 to 2.6 times with Jacobians. A whole frame of retargeting is 2.7 to 4.7 times as
fast as eight evaluations by pinocchio. For single poses the gain is small (1.2 to 3.4 times), so that arms and the loading of
embodiments use pinocchio.

numba compiles a function anew for every combination of argument types. Calls therefore use separate, writable, contiguous arrays
(not the rows of one array, whose layout numba does not know) and variables in place of constants: the first use takes less time.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numba import njit


class TreeArrays(NamedTuple):
    """A :class:`~latent_policy_ros.embodiments.kinematics.hinge_tree.HingeTree` as arrays: H hinges, P points.

    Joint ``joint[i]`` moves hinge i by ``ratio[i]`` times its own position; this is how couplings are represented.
    """

    parent: np.ndarray  # (H,), index of the parent hinge, which stands before it; -1: the base
    axis: np.ndarray  # (H, 3), unit vectors at the zero pose
    origin: np.ndarray  # (H, 3) [m], points on the axes at the zero pose
    revolute: np.ndarray  # (H,) bool
    joint: np.ndarray  # (H,)
    ratio: np.ndarray  # (H,)
    carrier: np.ndarray  # (P,), index of the hinge that moves the point; -1: the base
    zero_point: np.ndarray  # (P, 3) [m], the points at the zero pose


@njit(cache=True, nogil=True, error_model="numpy")
def hinge_motion(tree, q, rotation, translation, axis, origin):
    """Motion of every body since the zero pose, (H, 3, 3) and (H, 3), and its hinge's present axis (H, 3) and origin (H, 3)."""
    for i in range(len(tree.parent)):
        above = tree.parent[i]
        a, p = tree.axis[i], tree.origin[i]
        value = tree.ratio[i] * q[tree.joint[i]]
        for r in range(3):
            if above < 0:
                axis[i, r], origin[i, r] = a[r], p[r]
            else:
                R = rotation[above, r]
                axis[i, r] = R[0] * a[0] + R[1] * a[1] + R[2] * a[2]
                origin[i, r] = R[0] * p[0] + R[1] * p[1] + R[2] * p[2] + translation[above, r]
        x, y, z = axis[i]
        if tree.revolute[i]:
            sine, cosine = np.sin(value), np.cos(value)
            rest = 1.0 - cosine
            turn = (
                (cosine + rest * x * x, rest * x * y - sine * z, rest * x * z + sine * y),
                (rest * x * y + sine * z, cosine + rest * y * y, rest * y * z - sine * x),
                (rest * x * z - sine * y, rest * y * z + sine * x, cosine + rest * z * z),
            )
            for r in range(3):
                for c in range(3):
                    if above < 0:
                        rotation[i, r, c] = turn[r][c]
                    else:
                        R = rotation[above]
                        rotation[i, r, c] = turn[r][0] * R[0, c] + turn[r][1] * R[1, c] + turn[r][2] * R[2, c]
            for r in range(3):
                R = rotation[i, r]
                translation[i, r] = origin[i, r] - (R[0] * p[0] + R[1] * p[1] + R[2] * p[2])
        else:
            for r in range(3):
                for c in range(3):
                    rotation[i, r, c] = rotation[above, r, c] if above >= 0 else (1.0 if r == c else 0.0)
                translation[i, r] = axis[i, r] * value + (translation[above, r] if above >= 0 else 0.0)


@njit(cache=True, nogil=True, error_model="numpy")
def moved_points(tree, rotation, translation, points):
    """Present positions of the points (P, 3) [m], from the motion of the bodies."""
    for k in range(len(tree.carrier)):
        body, p = tree.carrier[k], tree.zero_point[k]
        for r in range(3):
            if body < 0:
                points[k, r] = p[r]
            else:
                R = rotation[body, r]
                points[k, r] = R[0] * p[0] + R[1] * p[1] + R[2] * p[2] + translation[body, r]


@njit(cache=True, nogil=True, error_model="numpy")
def point_jacobian(tree, points, axis, origin, jacobian):
    """Derivatives of the points by q: jacobian (P, n, 3) [m/rad, 1 if prismatic]."""
    jacobian[:] = 0.0
    for k in range(len(tree.carrier)):
        i = tree.carrier[k]
        while i >= 0:
            j, ratio, a = tree.joint[i], tree.ratio[i], axis[i]
            column = jacobian[k, j]
            if tree.revolute[i]:  # axis x (point - origin of the hinge)
                x, y, z = points[k, 0] - origin[i, 0], points[k, 1] - origin[i, 1], points[k, 2] - origin[i, 2]
                column[0] += ratio * (a[1] * z - a[2] * y)
                column[1] += ratio * (a[2] * x - a[0] * z)
                column[2] += ratio * (a[0] * y - a[1] * x)
            else:
                for r in range(3):
                    column[r] += ratio * a[r]
            i = tree.parent[i]


@njit(cache=True, nogil=True, error_model="numpy")
def batch_motion(tree, q, rotation, translation):
    """:func:`hinge_motion` at B poses q (B, n): rotation (B, H, 3, 3), translation (B, H, 3)."""
    axis, origin = np.empty_like(tree.axis), np.empty_like(tree.origin)
    for b in range(len(q)):
        hinge_motion(tree, q[b], rotation[b], translation[b], axis, origin)


@njit(cache=True, nogil=True, error_model="numpy")
def batch_points(tree, q, points, jacobian):
    """Points (B, P, 3) at B poses q (B, n), and their derivatives (B, P, n, 3), unless that array is empty."""
    rotation, translation = np.empty((len(tree.parent), 3, 3)), np.empty((len(tree.parent), 3))
    axis, origin = np.empty_like(tree.axis), np.empty_like(tree.origin)
    for b in range(len(q)):
        hinge_motion(tree, q[b], rotation, translation, axis, origin)
        moved_points(tree, rotation, translation, points[b])
        if len(jacobian):
            point_jacobian(tree, points[b], axis, origin, jacobian[b])
