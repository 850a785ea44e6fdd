"""Compiled kernel of hand retargeting: a person's 21 keypoints to a robot's joints, frame by frame.

For each frame it transforms the keypoints to the canonical hand frame, computes the wanted keyvectors and their weights, bounds the
step of each joint, and runs a few iterations of the solver from the joints of the frame before.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numba import njit

from latent_policy_ros.retargeting.solver import TOLERANCE, Keyvectors, minimise

# [m] Keypoints lie inside the flesh, so that tips touch at a distance of about CONTACT, on some devices up to 12 mm.
# Thumb-to-finger vectors keep their length above APART. Below TOUCHING they are shortened to the share TOUCHING_SHARE: the robot's
# tips are points inside its fingertips too, which then touch. Between the two the length is interpolated.
CONTACT, TOUCHING, APART, TOUCHING_SHARE = 0.008, 0.010, 0.016, 0.4
# Weight of a thumb-to-finger vector relative to a knuckle-to-tip vector: FAR_WEIGHT far apart; NEAR_WEIGHT more in a grasp, half of
# it at NEAR_RANGE [m] beyond contact; TOUCH_WEIGHT more at contact, half of it at TOUCH_RANGE [m] beyond.
FAR_WEIGHT, NEAR_WEIGHT, TOUCH_WEIGHT = 0.05, 12.0, 1000.0
NEAR_RANGE, TOUCH_RANGE = 0.035, 0.003
# Weight of the length of these vectors, half of it at LENGTH_RANGE [m] beyond contact: a finger of few joints that cannot reach the
# direction of a vector otherwise gets too near to the thumb, because least squares shorten what they cannot align.
LENGTH_WEIGHT, LENGTH_RANGE = 40.0, 0.020
LAST_BONE_WEIGHT = 0.15  # of the direction of each finger's last bone; decides between joints that give the same fingertips
SMOOTHNESS = 3e-4  # weight of the distance from the joints of the frame before [m^2/rad^2]
REST_WEIGHT = 1e-4  # weight of the distance from the rest pose [m^2/rad^2]; makes the solution unique
# Between two frames no joint turns more than the person's fastest bone did plus SETTLING_STEP, and never more than MAX_STEP [rad]:
# people are slower at 25 frames a second, so that a faster frame is a tracking error.
SETTLING_STEP, MAX_STEP = 0.02, 0.5
FIRST_ITERATIONS, WARM_ITERATIONS = 60, 8
MEAN_FRAMES = 300  # frames over which the lengths of the person's fingers are averaged
MIN_FINGER_LENGTH = 1e-3  # [m]

ALL_FRAMES = -1  # returned by retarget_frames if no frame was rejected


class Correspondence(NamedTuple):
    """Correspondence between a person's hand and a robot's with F fingers, thumb first; in the hand frame.

    It maps each finger on its own, from its knuckle, by the lengths of the person's and the robot's finger; or the whole hand: all
    fingers then have one anchor, origin and length, and the person's length is the mean of the fingers.
    """

    whole_hand: bool
    bases: np.ndarray  # (F,) keypoint index of each finger's knuckle
    tips: np.ndarray  # (F,) keypoint index of each fingertip
    anchors: np.ndarray  # (F,) keypoint index from which the person's fingertip is measured
    origins: np.ndarray  # (F, 3) [m] point of the robot that corresponds to the anchor
    rotations: np.ndarray  # (F, 3, 3) from the person's finger to the robot's
    lengths: np.ndarray  # (F,) [m] of the robot's fingers; of a whole hand their mean, scaled by the fit
    last_bones: np.ndarray  # (F,) [m] length of the last bone of the robot's fingers


class JointBounds(NamedTuple):
    """Limits and rest pose of the robot's n joints, shape (n,) each."""

    lower: np.ndarray
    upper: np.ndarray
    rest: np.ndarray
    max_velocity: np.ndarray
    per_radian: np.ndarray  # 1; for a prismatic joint the travel [m] that counts as one radian


class RetargetState(NamedTuple):
    """State between two frames."""

    frames: np.ndarray  # (1,) count of frames so far
    q: np.ndarray  # (n,) joints of the last frame
    bones: np.ndarray  # (20, 3) directions of the person's bones
    lengths: np.ndarray  # (F,) [m] lengths of the person's fingers, averaged over the frames


@njit(cache=True, nogil=True, error_model="numpy")
def retarget_frames(vectors: Keyvectors, hand_map, joints, state, hands, dt, q):
    """Write the joints q (T, n) for T frames of keypoints (T, 21, 3) [m], ``dt`` [s] apart (0: unknown).

    Args:
        vectors: Keyvectors of the robot: origin of the hand frame to tip, thumb to finger, last bone.
        hand_map: The Correspondence.
        joints: The JointBounds.
        state: RetargetState of the frame before; updated.
        hands: Keypoints in any frame.
        dt: Time between frames.
        q: Result.

    Returns:
        ALL_FRAMES, or the index of the first frame that is not a hand. Joints and state are then those of the frame before it.
    """
    hand, targets, bones = np.empty((21, 3)), np.empty((len(vectors.ends), 3)), np.empty((20, 3))
    weights, length_weights, lengths = np.empty(len(targets)), np.zeros(len(targets)), np.empty(len(hand_map.tips))
    n = len(joints.rest)
    lower, upper, prior, trial = np.empty(n), np.empty(n), np.empty(n), np.empty(n)
    prior_weight = np.full(n, SMOOTHNESS + REST_WEIGHT)
    for t in range(len(hands)):
        if not to_hand_frame_kernel(hands[t], hand) or not _finger_lengths(hand_map, hand, lengths):
            return t
        first = state.frames[0] == 0
        iterations = FIRST_ITERATIONS if first else WARM_ITERATIONS
        share = 1.0 / min(state.frames[0] + 1, MEAN_FRAMES)
        for f in range(len(lengths)):
            state.lengths[f] += share * (lengths[f] - state.lengths[f]) if not first else lengths[f] - state.lengths[f]
        wanted_keyvectors(hand_map, hand, state.lengths, targets, weights, length_weights)
        _bone_directions(hand, bones)
        if first:
            _first_frame(vectors, joints, prior_weight, targets, weights, length_weights, iterations, trial, q[t])
        else:
            turn = min(largest_bone_turn(state.bones, bones) + SETTLING_STEP, MAX_STEP)
            for j in range(n):
                step = turn * joints.per_radian[j]
                if dt > 0.0:
                    step = min(step, joints.max_velocity[j] * dt)
                last = state.q[j]
                lower[j], upper[j] = max(joints.lower[j], last - step), min(joints.upper[j], last + step)
                prior[j] = (SMOOTHNESS * last + REST_WEIGHT * joints.rest[j]) / (SMOOTHNESS + REST_WEIGHT)
            q[t] = state.q
            minimise(vectors, lower, upper, q[t], prior, prior_weight, targets, weights, length_weights, iterations, TOLERANCE)
        state.q[:], state.bones[:] = q[t], bones
        state.frames[0] += 1
    return ALL_FRAMES


@njit(cache=True, nogil=True, error_model="numpy")
def _first_frame(vectors, joints, prior_weight, targets, weights, length_weights, iterations, trial, q):
    """Write the joints q (n,) of a first frame: the best of three starts, the rest pose and 25% and 60% of the ranges."""
    best = np.inf
    for share in (-1.0, 0.25, 0.6):
        for j in range(len(q)):
            trial[j] = joints.lower[j] + share * (joints.upper[j] - joints.lower[j]) if share >= 0.0 else joints.rest[j]
        cost = minimise(
            vectors, joints.lower, joints.upper, trial, joints.rest, prior_weight, targets, weights, length_weights,
            iterations, TOLERANCE,
        )  # fmt: skip
        if cost < best:
            best = cost
            q[:] = trial


@njit(cache=True, nogil=True, error_model="numpy")
def to_hand_frame_kernel(keypoints, hand):
    """Transform one frame (21, 3) to the canonical hand frame, as ``keypoints.to_hand_frame``; False if it is not a hand."""
    for k in range(21):
        for r in range(3):
            if not np.isfinite(keypoints[k, r]):
                return False
    x, y, z, across = np.empty(3), np.empty(3), np.empty(3), np.empty(3)
    length = _direction(keypoints[0], keypoints[9], z)
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
def wanted_keyvectors(hand_map, hand, lengths, targets, weights, length_weights):
    """Write the wanted keyvectors (3 F - 1, 3) [m] and their weights: F fingertips, F - 1 thumb to finger, F last bones.

    ``hand`` (21, 3) are keypoints in the hand frame; ``lengths`` (F,) those of the person's fingers. The lengths of the vectors
    from thumb to finger get weights of their own in ``length_weights`` (3 F - 1,); those of the others stay as given.
    """
    count = len(hand_map.tips)
    bone = np.empty(3)
    thumb = hand[hand_map.tips[0]]
    for f in range(count):
        tip, anchor, rotation = hand[hand_map.tips[f]], hand[hand_map.anchors[f]], hand_map.rotations[f]
        scale = hand_map.lengths[f] / lengths[f]
        _direction(hand[hand_map.tips[f] - 1], tip, bone)
        for r in range(3):
            targets[f, r], targets[2 * count - 1 + f, r] = hand_map.origins[f, r], 0.0
            for c in range(3):
                targets[f, r] += scale * rotation[r, c] * (tip[c] - anchor[c])
                targets[2 * count - 1 + f, r] += hand_map.last_bones[f] * rotation[r, c] * bone[c]
        weights[f], weights[2 * count - 1 + f] = 1.0, LAST_BONE_WEIGHT
        if f > 0:
            k = count + f - 1
            gap = _direction(thumb, tip, bone)
            wanted = gap if gap > APART else TOUCHING_SHARE * gap
            if TOUCHING < gap <= APART:
                closed = TOUCHING_SHARE * TOUCHING
                wanted = closed + (APART - closed) * (gap - TOUCHING) / (APART - TOUCHING)
            away = max(0.0, gap - CONTACT)
            for r in range(3):
                targets[k, r] = wanted * bone[r]
            near, touch = 1.0 + (away / NEAR_RANGE) ** 4, 1.0 + (away / TOUCH_RANGE) ** 4
            weights[k] = FAR_WEIGHT + NEAR_WEIGHT / near + TOUCH_WEIGHT / touch
            length_weights[k] = LENGTH_WEIGHT / (1.0 + (away / LENGTH_RANGE) ** 8)


@njit(cache=True, nogil=True, error_model="numpy")
def limit_steps(q, last, step):
    """Limit the steps of a gripper's joint q (T, 1) to ``step``, in place; ``last`` (1,) is the state, NaN at first."""
    for t in range(len(q)):
        if np.isfinite(last[0]):
            q[t, 0] = min(max(q[t, 0], last[0] - step), last[0] + step)
        last[0] = q[t, 0]


@njit(cache=True, nogil=True, error_model="numpy")
def largest_bone_turn(before, now):
    """Largest turn of a bone [rad] between two frames, from the directions (20, 3) of the bones."""
    largest = 0.0
    for b in range(len(now)):
        x, y, z = now[b, 0] - before[b, 0], now[b, 1] - before[b, 1], now[b, 2] - before[b, 2]
        largest = max(largest, x * x + y * y + z * z)
    return 2.0 * np.arcsin(min(1.0, 0.5 * np.sqrt(largest)))


@njit(cache=True, nogil=True, error_model="numpy")
def _bone_directions(hand, bones):
    """Write unit vectors (20, 3) along the bones of a hand (21, 3), those of the palm included."""
    for k in range(1, 21):
        _direction(hand[k - 1 if k % 4 != 1 else 0], hand[k], bones[k - 1])


@njit(cache=True, nogil=True, error_model="numpy")
def _finger_lengths(hand_map, hand, lengths):
    """Write the length [m] of each finger along its bones, or their mean for a whole hand; False if a finger is too short."""
    bone = np.empty(3)
    for f in range(len(lengths)):
        lengths[f] = 0.0
        for k in range(hand_map.bases[f], hand_map.tips[f]):
            lengths[f] += _direction(hand[k], hand[k + 1], bone)
        if lengths[f] < MIN_FINGER_LENGTH:
            return False
    if hand_map.whole_hand:
        lengths[:] = lengths.mean()
    return True


@njit(cache=True, nogil=True, error_model="numpy")
def _direction(start, end, direction):
    """Write the unit vector from start to end (3,), zero if they are equal; return their distance."""
    for r in range(3):
        direction[r] = end[r] - start[r]
    return _normalise(direction)


@njit(cache=True, nogil=True, error_model="numpy")
def _cross(a, b, result):
    """Write the unit vector along a x b; return the length of a x b."""
    result[0], result[1], result[2] = a[1] * b[2] - a[2] * b[1], a[2] * b[0] - a[0] * b[2], a[0] * b[1] - a[1] * b[0]
    return _normalise(result)


@njit(cache=True, nogil=True, error_model="numpy")
def _normalise(v):
    """Scale v (3,) to length 1 in place, unless it is zero; return its length before."""
    length = np.sqrt(v[0] * v[0] + v[1] * v[1] + v[2] * v[2])
    if length > 1e-12:
        for r in range(3):
            v[r] /= length
    return length
