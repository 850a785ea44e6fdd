"""The compiled inner loops of :mod:`hinge_tree`: motion of hinges, places of the points they carry, derivatives.

Written out as loops over three numbers because a pose is too little work for array calls: a 20-hinge hand takes about
2 microseconds. Everything works on one pose; callers loop.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numba import njit


class Mechanism(NamedTuple):
    """Hinges (parents before children), and P points that they carry, as arrays; see :class:`HingeTree`.

    Joint ``joint[i]`` moves hinge i by ``ratio[i]`` times its own angle, which is how couplings come in.
    """

    parent: np.ndarray  # (H,), -1: the base
    axis: np.ndarray  # (H, 3), unit vectors at the zero pose
    point: np.ndarray  # (H, 3) [m], on the axes
    revolute: np.ndarray  # (H,) bool
    joint: np.ndarray  # (H,)
    ratio: np.ndarray  # (H,)
    carrier: np.ndarray  # (P,), -1: the base
    place: np.ndarray  # (P, 3) [m], at the zero pose


@njit(cache=True, nogil=True, error_model="numpy")
def move(mechanism, q, rotation, translation, axis, point):
    """Motion of every body since the zero pose, (H, 3, 3) and (H, 3), and where axes (H, 3) and points (H, 3) are now."""
    for i in range(len(mechanism.parent)):
        above = mechanism.parent[i]
        a, p = mechanism.axis[i], mechanism.point[i]
        value = mechanism.ratio[i] * q[mechanism.joint[i]]
        for r in range(3):
            if above < 0:
                axis[i, r], point[i, r] = a[r], p[r]
            else:
                R = rotation[above, r]
                axis[i, r] = R[0] * a[0] + R[1] * a[1] + R[2] * a[2]
                point[i, r] = R[0] * p[0] + R[1] * p[1] + R[2] * p[2] + translation[above, r]
        x, y, z = axis[i]
        if mechanism.revolute[i]:
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
                translation[i, r] = point[i, r] - (R[0] * p[0] + R[1] * p[1] + R[2] * p[2])
        else:
            for r in range(3):
                for c in range(3):
                    rotation[i, r, c] = rotation[above, r, c] if above >= 0 else (1.0 if r == c else 0.0)
                translation[i, r] = axis[i, r] * value + (translation[above, r] if above >= 0 else 0.0)


@njit(cache=True, nogil=True, error_model="numpy")
def carry(mechanism, rotation, translation, places):
    """Where the carried points are now: places (P, 3) [m]."""
    for k in range(len(mechanism.carrier)):
        body, p = mechanism.carrier[k], mechanism.place[k]
        for r in range(3):
            if body < 0:
                places[k, r] = p[r]
            else:
                R = rotation[body, r]
                places[k, r] = R[0] * p[0] + R[1] * p[1] + R[2] * p[2] + translation[body, r]


@njit(cache=True, nogil=True, error_model="numpy")
def differentiate(mechanism, places, axis, point, jacobian):
    """Derivatives of the places by q: jacobian (P, n, 3) [m/rad, or 1 for a prismatic joint]."""
    jacobian[:] = 0.0
    for k in range(len(mechanism.carrier)):
        i = mechanism.carrier[k]
        while i >= 0:
            j, ratio, a = mechanism.joint[i], mechanism.ratio[i], axis[i]
            column = jacobian[k, j]
            if mechanism.revolute[i]:  # axis x (place - point on the axis)
                x, y, z = places[k, 0] - point[i, 0], places[k, 1] - point[i, 1], places[k, 2] - point[i, 2]
                column[0] += ratio * (a[1] * z - a[2] * y)
                column[1] += ratio * (a[2] * x - a[0] * z)
                column[2] += ratio * (a[0] * y - a[1] * x)
            else:
                for r in range(3):
                    column[r] += ratio * a[r]
            i = mechanism.parent[i]


@njit(cache=True, nogil=True, error_model="numpy")
def move_all(mechanism, q, rotation, translation):
    """:func:`move` of B poses q (B, n): rotation (B, H, 3, 3), translation (B, H, 3)."""
    axis, point = np.empty_like(mechanism.axis), np.empty_like(mechanism.point)
    for b in range(len(q)):
        move(mechanism, q[b], rotation[b], translation[b], axis, point)


@njit(cache=True, nogil=True, error_model="numpy")
def carry_all(mechanism, q, places, jacobian):
    """Places (B, P, 3) at B poses q (B, n), and their derivatives (B, P, n, 3), unless that array is empty."""
    rotation = np.empty((len(mechanism.parent), 3, 3))
    translation, axis, point = np.empty((3, len(mechanism.parent), 3))
    for b in range(len(q)):
        move(mechanism, q[b], rotation, translation, axis, point)
        carry(mechanism, rotation, translation, places[b])
        if len(jacobian):
            differentiate(mechanism, places[b], axis, point, jacobian[b])
