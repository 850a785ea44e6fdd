"""The compiled way of one hand after another: from a person's 21 keypoints to a robot's joints, frame by frame.

For a frame: keypoints to the canonical hand frame; the keyvectors that the robot should have, and their weights; how far
joints may turn; and a few downhill steps from the pose before.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numba import njit

from latent_policy_ros.retargeting.solver import SETTLED, Keyvectors, descend

# Thumb-to-finger vectors, as the person's fingertips (keypoints inside the flesh) come nearer than APART [m], shrink
# faster than the person's, so that they vanish at CONTACT [m]: who touches makes the robot touch.
CONTACT, APART = 0.012, 0.05
# Their weight relative to a knuckle-to-tip vector: FAR at rest, NEAR in a grasp, TOUCHING at contact. It is halfway to
# the next at NEAR_RANGE and TOUCH_RANGE [m] from contact.
FAR, NEAR, TOUCHING = 0.05, 12.0, 1000.0
NEAR_RANGE, TOUCH_RANGE = 0.035, 0.003
LAST_BONE = 0.15  # weight of the direction of each finger's last bone: decides where fingertips leave a choice
SMOOTHNESS = 3e-4  # pull to the pose before [m^2/rad^2]: 1 rad weighs as much as 3 mm of one keyvector
REST = 1e-4  # pull to the relaxed pose, likewise: makes the answer one, where fingertips leave a choice
# No joint turns further between two frames than the person's fastest bone did, and STEADY [rad] more to settle; and
# never more than LARGEST [rad], which is faster than people are at 25 frames a second: such a frame is a mistake.
STEADY, LARGEST = 0.02, 0.5
FIRST_STEPS, WARM_STEPS = 60, 8
MEMORY = 300  # frames over which the lengths of a person's fingers are averaged
SHORTEST_FINGER = 1e-3  # [m]

FINE, REFUSED = -1, -2


class Match(NamedTuple):
    """What corresponds between a person's hand and a robot's, whose F fingers begin with the thumb; hand frame."""

    bases: np.ndarray  # (F,) keypoint of each finger's knuckle
    tips: np.ndarray  # (F,) keypoint of each fingertip
    origins: np.ndarray  # (F, 3) [m] the robot's place for the person's knuckle
    turns: np.ndarray  # (F, 3, 3) rotation from the person's finger to the robot's
    lengths: np.ndarray  # (F,) [m] of the robot's fingers
    last_bones: np.ndarray  # (F,) [m] length of the last bone of the robot's fingers


class Joints(NamedTuple):
    """The robot's joints, n of them."""

    lower: np.ndarray
    upper: np.ndarray
    rest: np.ndarray
    max_velocity: np.ndarray
    per_radian: np.ndarray  # 1; for a prismatic joint the travel [m] that is as much as a radian


class State(NamedTuple):
    """What one frame hands to the next."""

    frames: np.ndarray  # (1,) how many there were
    q: np.ndarray  # (n,)
    bones: np.ndarray  # (20, 3) directions of the person's bones
    lengths: np.ndarray  # (F,) [m] of the person's fingers


@njit(cache=True, nogil=True, error_model="numpy")
def follow(vectors: Keyvectors, match, joints, state, hands, dt, q):
    """Joints q (T, n) for T frames of keypoints (T, 21, 3) [m], ``dt`` [s] apart (0: not known).

    Returns FINE, or the first frame that is refused: what came before it is done, and the state is that of then.
    """
    hand, targets = np.empty((21, 3)), np.empty((len(vectors.ends), 3))
    weights, lengths, bones = np.empty(len(targets)), np.empty(len(match.tips)), np.empty((20, 3))
    n = len(joints.rest)
    lower, upper, prior, trial = np.empty((4, n))
    held = np.full(n, SMOOTHNESS + REST)
    for t in range(len(hands)):
        if not canonical(hands[t], hand) or not _lengths(match, hand, lengths):
            return t
        first = state.frames[0] == 0
        share = 1.0 / min(state.frames[0] + 1, MEMORY)
        for f in range(len(lengths)):
            state.lengths[f] += share * (lengths[f] - state.lengths[f]) if not first else lengths[f] - state.lengths[f]
        aim(match, hand, state.lengths, targets, weights)
        _directions(hand, bones)
        if first:
            _begin(vectors, joints, held, targets, weights, trial, q[t])
        else:
            turn = min(fastest(state.bones, bones) + STEADY, LARGEST)
            for j in range(n):
                reach = turn * joints.per_radian[j]
                if dt > 0.0:
                    reach = min(reach, joints.max_velocity[j] * dt)
                last = state.q[j]
                lower[j], upper[j] = max(joints.lower[j], last - reach), min(joints.upper[j], last + reach)
                prior[j] = (SMOOTHNESS * last + REST * joints.rest[j]) / (SMOOTHNESS + REST)
            q[t] = state.q
            descend(vectors, lower, upper, q[t], prior, held, targets, weights, WARM_STEPS, SETTLED)
        state.q[:], state.bones[:] = q[t], bones
        state.frames[0] += 1
    return FINE


@njit(cache=True, nogil=True, error_model="numpy")
def _begin(vectors, joints, held, targets, weights, trial, q):
    """The first frame: the best from the relaxed pose, a more open and a more closed one."""
    best = np.inf
    for share in (-1.0, 0.25, 0.6):
        for j in range(len(q)):
            trial[j] = joints.lower[j] + share * (joints.upper[j] - joints.lower[j]) if share >= 0.0 else joints.rest[j]
        cost = descend(vectors, joints.lower, joints.upper, trial, joints.rest, held, targets, weights, FIRST_STEPS, SETTLED)
        if cost < best:
            best = cost
            q[:] = trial


@njit(cache=True, nogil=True, error_model="numpy")
def canonical(keypoints, hand):
    """One frame (21, 3) to the canonical hand frame; False if it is not a hand. See ``keypoints.to_hand_frame``."""
    for k in range(21):
        for r in range(3):
            if not np.isfinite(keypoints[k, r]):
                return False
    x, y, z, across = np.empty((4, 3))
    length = _towards(keypoints[0], keypoints[9], z)
    for r in range(3):
        across[r] = keypoints[5, r] - keypoints[17, r]
    width = _cross(across, z, x)
    if not 0.03 <= length <= 0.2 or width < 0.1 * length:
        return False
    _cross(z, x, y)
    for k in range(21):
        a, b, c = keypoints[k, 0] - keypoints[0, 0], keypoints[k, 1] - keypoints[0, 1], keypoints[k, 2] - keypoints[0, 2]
        hand[k, 0] = a * x[0] + b * x[1] + c * x[2]
        hand[k, 1] = a * y[0] + b * y[1] + c * y[2]
        hand[k, 2] = a * z[0] + b * z[1] + c * z[2]
    return True


@njit(cache=True, nogil=True, error_model="numpy")
def aim(match, hand, lengths, targets, weights):
    """Keyvectors (3 F - 1, 3) [m] that the robot should have, and their weights: knuckle to tip, thumb to finger, last bone."""
    count = len(match.tips)
    bone = np.empty(3)
    thumb = hand[match.tips[0]]
    for f in range(count):
        tip, base, turn = hand[match.tips[f]], hand[match.bases[f]], match.turns[f]
        scale = match.lengths[f] / lengths[f]
        _towards(hand[match.tips[f] - 1], tip, bone)
        for r in range(3):
            targets[f, r], targets[2 * count - 1 + f, r] = match.origins[f, r], 0.0
            for c in range(3):
                targets[f, r] += scale * turn[r, c] * (tip[c] - base[c])
                targets[2 * count - 1 + f, r] += match.last_bones[f] * turn[r, c] * bone[c]
        weights[f], weights[2 * count - 1 + f] = 1.0, LAST_BONE
        if f > 0:
            k = count + f - 1
            gap = _towards(thumb, tip, bone)
            wanted = gap if gap > APART else max(0.0, gap - CONTACT) * APART / (APART - CONTACT)
            away = max(0.0, gap - CONTACT)
            for r in range(3):
                targets[k, r] = wanted * bone[r]
            weights[k] = FAR + NEAR / (1.0 + (away / NEAR_RANGE) ** 4) + TOUCHING / (1.0 + (away / TOUCH_RANGE) ** 4)


@njit(cache=True, nogil=True, error_model="numpy")
def pace(q, last, reach):
    """Holds a gripper's joint q (T, 1) within ``reach`` of the frame before, in place, going on from ``last`` (1,) or NaN."""
    for t in range(len(q)):
        if np.isfinite(last[0]):
            q[t, 0] = min(max(q[t, 0], last[0] - reach), last[0] + reach)
        last[0] = q[t, 0]


@njit(cache=True, nogil=True, error_model="numpy")
def fastest(before, now):
    """How far the bone turned that turned most [rad]: directions (20, 3) of two frames."""
    longest = 0.0
    for b in range(len(now)):
        x, y, z = now[b, 0] - before[b, 0], now[b, 1] - before[b, 1], now[b, 2] - before[b, 2]
        longest = max(longest, x * x + y * y + z * z)
    return 2.0 * np.arcsin(min(1.0, 0.5 * np.sqrt(longest)))


@njit(cache=True, nogil=True, error_model="numpy")
def _directions(hand, bones):
    for k in range(1, 21):
        _towards(hand[k - 1 if k % 4 != 1 else 0], hand[k], bones[k - 1])


@njit(cache=True, nogil=True, error_model="numpy")
def _lengths(match, hand, lengths):
    """Length [m] of each finger along its bones; False if a finger has none."""
    bone = np.empty(3)
    for f in range(len(lengths)):
        lengths[f] = 0.0
        for k in range(match.bases[f], match.tips[f]):
            lengths[f] += _towards(hand[k], hand[k + 1], bone)
        if lengths[f] < SHORTEST_FINGER:
            return False
    return True


@njit(cache=True, nogil=True, error_model="numpy")
def _towards(start, end, direction):
    """Unit vector from start to end (3,), zero if they are one; returns their distance."""
    for r in range(3):
        direction[r] = end[r] - start[r]
    return _normalise(direction)


@njit(cache=True, nogil=True, error_model="numpy")
def _cross(a, b, result):
    """Unit vector along a x b; returns the length of a x b."""
    result[0], result[1], result[2] = a[1] * b[2] - a[2] * b[1], a[2] * b[0] - a[0] * b[2], a[0] * b[1] - a[1] * b[0]
    return _normalise(result)


@njit(cache=True, nogil=True, error_model="numpy")
def _normalise(v):
    length = np.sqrt(v[0] * v[0] + v[1] * v[1] + v[2] * v[2])
    if length > 1e-12:
        for r in range(3):
            v[r] /= length
    return length
