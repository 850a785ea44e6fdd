"""Are lengths, angles and the tree of hinges possible? What is found names the field of the YAML file that is probably wrong."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from latent_policy_ros.embodiments import Embodiment, HandKinematics
from latent_policy_ros.embodiments.model.schema import finger_chain

FAILURE, WARNING = "failure", "warning"
LONG_LINK, IMPOSSIBLE_LINK, SHORT_FINGER = 0.25, 1.0, 0.01  # m
STILL = 1e-6  # a joint that moves a tip by less [m] moves nothing


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
