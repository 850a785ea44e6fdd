"""Does a description look like a hand? What is found names the field of the YAML file that is probably wrong."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from latent_policy_ros.embodiments import Embodiment, HandKinematics
from latent_policy_ros.embodiments.parts import finger_chain

FAILURE, WARNING = "failure", "warning"
LONG_LINK, IMPOSSIBLE_LINK, SHORT_FINGER = 0.25, 1.0, 0.01  # m
KNUCKLES_AHEAD = (0.02, 0.20)  # along +z of the hand frame [m]; a person's are at 0.093
ASIDE = 0.06  # the middle of the knuckles lies no farther from the hand frame's z axis [m]
STILL = 1e-6  # a joint that moves a tip by less [m] moves nothing
ODD_ANGLE = np.deg2rad(40.0)


@dataclass(frozen=True)
class Finding:
    """Something that is wrong (``failure``) or looks wrong (``warning``); ``field`` is its dotted path in the file."""

    level: str
    field: str
    message: str


def lengths(embodiment: Embodiment) -> Iterator[Finding]:
    """Points given in millimetres, angles in degrees."""
    seen = set()
    for finger, tip in embodiment.fingertips.items():
        chain = finger_chain(embodiment, finger)
        ways = [(f"hinges.{b.name}.point", a.name, b.point - a.point) for a, b in zip(chain[:-1], chain[1:])]
        ways.append((f"fingertips.{finger}.point", chain[-1].name, tip.point - chain[-1].point))
        for field, start, way in ways:
            length = float(np.linalg.norm(way))
            if length > LONG_LINK and field not in seen:
                seen.add(field)
                level = FAILURE if length > IMPOSSIBLE_LINK else WARNING
                yield Finding(level, field, f"is {length:.3g} m away from hinge {start}: points are in metres; millimetres given?")
        length = sum(float(np.linalg.norm(way)) for _, _, way in ways)
        if length < SHORT_FINGER:
            message = f"the {finger} is {1000 * length:.2g} mm long from its first hinge to its tip: points are in metres"
            yield Finding(FAILURE, f"fingertips.{finger}.point", message)
    for hinge in embodiment.hinges:
        if hinge.kind == "revolute" and max(abs(hinge.lower), abs(hinge.upper)) > 2 * np.pi:
            got = f"[{hinge.lower:g}, {hinge.upper:g}]"
            yield Finding(WARNING, f"hinges.{hinge.name}.range", f"{got} is more than a full turn: radians; degrees given?")


def idle(embodiment: Embodiment, q: np.ndarray) -> Iterator[Finding]:
    """Joints that move no fingertip at any q (B, n), and hinges behind a tip."""
    travel = joint_travel(embodiment, q).max(axis=0)
    for joint, moves in zip(embodiment.joint_names, travel):
        if moves < STILL:
            message = "moves no fingertip: is it the parent of the hinges behind it, and do the tips hang on the last hinge?"
            yield Finding(WARNING, f"actuated.{joint}", message)
    carrying = {h.name for finger in embodiment.fingertips for h in finger_chain(embodiment, finger)}
    for hinge in embodiment.hinges:
        if hinge.name not in carrying and hinge.name not in embodiment.joint_names:
            yield Finding(WARNING, f"hinges.{hinge.name}", "no fingertip hangs on it or behind it")


def joint_travel(embodiment: Embodiment, q: np.ndarray) -> np.ndarray:
    """How far [m] each joint moves each tip over its whole range, at the speed it has at q (B, n), the largest: (F, n)."""
    by_joint = np.linalg.norm(HandKinematics(embodiment).jacobian(q), axis=2).max(axis=0)
    return by_joint * (embodiment.upper - embodiment.lower)


def hand_frame(embodiment: Embodiment, q: np.ndarray) -> Iterator[Finding]:
    """Whether fingers point along +z, bend towards +x and have the thumb on their side, over samples q (B, n)."""
    kinematics = HandKinematics(embodiment)
    roots = {finger: chain[0] for finger, chain in kinematics.fingers_at_zero().items()}
    tips = kinematics.fingertips(q)
    fingers = kinematics.fingers[1:]
    knuckles = np.array([roots[finger] for finger in fingers])
    at_rest = _unit((kinematics.fingertips(embodiment.rest[None])[0, 1:] - knuckles).sum(axis=0))
    # Fingers bend one way: the middle of all that they reach lies on the palm's side.
    bent = _unit((tips[:, 1:] - knuckles).mean(axis=(0, 1)) * [1.0, 1.0, 0.0])
    frame = [
        *_along(embodiment, "fingers", "at rest the fingers point", "points backwards", at_rest, 2, np.deg2rad(65.0)),
        *_along(embodiment, "palm", "the fingers bend", "points out of the back of the hand", bent, 0, ODD_ANGLE),
    ]
    yield from frame
    if not frame:
        yield from _side(embodiment, roots, tips)
    middle = knuckles.mean(axis=0)
    if not KNUCKLES_AHEAD[0] <= middle[2] <= KNUCKLES_AHEAD[1] or np.linalg.norm(middle[:2]) > ASIDE:
        got = ", ".join(f"{v:.3f}" for v in middle)
        message = f"the knuckles lie at ({got}) m from it; it stands for a human wrist, whose knuckles lie near (0, 0, 0.09)"
        yield Finding(WARNING, "hand_frame.origin", message)


def _along(
    embodiment: Embodiment, field: str, what: str, fault: str, got: np.ndarray, axis: int, odd: float
) -> Iterator[Finding]:
    """Findings if a direction (3,) differs from ``axis`` of the hand frame, which ``hand_frame.<field>`` gives."""
    angle = float(np.arccos(np.clip(got[axis], -1.0, 1.0)))
    if angle > np.pi / 2 + 0.2:
        there = embodiment.T_base_hand[:3, axis]
        opposite = ", ".join(f"{0.0 - v:.3g}" for v in np.round(there, 4))
        yield Finding(FAILURE, f"hand_frame.{field}", f"{what} away from {field}: it {fault}; try {field}: [{opposite}]")
    elif angle > odd:
        yield Finding(WARNING, f"hand_frame.{field}", f"{what} {np.rad2deg(angle):.0f} degrees beside it")


def _side(embodiment: Embodiment, roots: dict[str, np.ndarray], tips: np.ndarray) -> Iterator[Finding]:
    """The thumb and the index finger lie at +y of a right hand, at -y of a left one."""
    sign = -1.0 if embodiment.side == "left" else 1.0
    fingers = list(roots)[1:]
    across = sign * (roots[fingers[0]] - roots[fingers[-1]])[1]
    # Where the thumb is rooted tells its side; its tip may sweep across the whole palm.
    thumb = sign * (0.5 * (roots["thumb"] + tips[:, 0].mean(axis=0)) - np.mean([roots[f] for f in fingers], axis=0))[1]
    other = "left" if sign > 0 else "right"
    if thumb < -0.005 and across <= 0:
        yield Finding(FAILURE, "side", f"the thumb is on the wrong side of a {embodiment.side} hand: is it a {other} hand?")
    elif across < -0.005:
        message = f"the {fingers[-1]} lies nearer to the thumb's side than the {fingers[0]}: are the fingers named in reverse?"
        yield Finding(WARNING, "fingertips", message)
    elif thumb < -0.005:
        yield Finding(WARNING, "fingertips.thumb", f"it lies on the side of the {fingers[-1]}: is that finger the thumb?")


def _unit(vector: np.ndarray) -> np.ndarray:
    return vector / max(float(np.linalg.norm(vector)), 1e-12)
