"""Geometry checks of an embodiment: units of lengths and angles, and joints and hinges without effect on fingertips."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from latent_policy_ros.common.errors import ConfigError, Finding
from latent_policy_ros.embodiments import Embodiment, HandKinematics
from latent_policy_ros.embodiments.model.schema import finger_chain

FAILURE, WARNING = "failure", "warning"
LONG_LINK, IMPOSSIBLE_LINK, SHORT_FINGER = 0.25, 1.0, 0.01  # bounds on lengths [m]
NO_TRAVEL = 1e-6  # a joint that moves no tip further than this [m] has no effect


@dataclass(frozen=True)
class Diagnosis:
    """A certain (``failure``) or suspected (``warning``) error in an embodiment's YAML file.

    Attributes:
        level: ``failure`` or ``warning``.
        field: Dotted path of the field that is probably wrong.
        message: What is wrong, and what to check or write.
    """

    level: str
    field: str
    message: str


def check_units(embodiment: Embodiment) -> Iterator[Diagnosis]:
    """Find points that seem to be in millimetres and ranges that seem to be in degrees."""
    seen = set()
    for finger, tip in embodiment.fingertips.items():
        chain = finger_chain(embodiment, finger)
        steps = [(f"hinges.{b.name}.point", a.name, b.point - a.point) for a, b in zip(chain[:-1], chain[1:])]
        steps.append((f"fingertips.{finger}.point", chain[-1].name, tip.point - chain[-1].point))
        for field, start, step in steps:
            length = float(np.linalg.norm(step))
            if length > LONG_LINK and field not in seen:
                seen.add(field)
                level = FAILURE if length > IMPOSSIBLE_LINK else WARNING
                yield Diagnosis(level, field, f"is {length:.3g} m away from hinge {start}: expected metres; are these millimetres?")
        length = sum(float(np.linalg.norm(step)) for _, _, step in steps)
        if length < SHORT_FINGER:
            message = f"the {finger} is {1000 * length:.2g} mm long from its first hinge to its tip; points must be in metres"
            yield Diagnosis(FAILURE, f"fingertips.{finger}.point", message)
    for hinge in embodiment.hinges:
        if hinge.kind == "revolute" and max(abs(hinge.lower), abs(hinge.upper)) > 2 * np.pi:
            got = f"[{hinge.lower:g}, {hinge.upper:g}]"
            yield Diagnosis(WARNING, f"hinges.{hinge.name}.range", f"{got} is more than a full turn; are these degrees?")


def require_plausible(embodiment: Embodiment) -> None:
    """Raise ConfigError, with all findings, if lengths of the embodiment are implausible."""
    found = [Finding(d.field, d.message) for d in check_units(embodiment) if d.level == FAILURE]
    if found:
        raise ConfigError(embodiment.file, *found[0], found[1:])


def check_idle_joints(embodiment: Embodiment, q: np.ndarray) -> Iterator[Diagnosis]:
    """Find joints that move no fingertip at any of the samples q (B, n), and hinges beyond a fingertip."""
    travel = joint_travel(embodiment, q).max(axis=0)
    for joint, moves in zip(embodiment.joint_names, travel):
        if moves < NO_TRAVEL:
            message = "moves no fingertip: are the parents right, and are the fingertips on the last hinges?"
            yield Diagnosis(WARNING, f"actuated.{joint}", message)
    carrying = {h.name for finger in embodiment.fingertips for h in finger_chain(embodiment, finger)}
    for hinge in embodiment.hinges:
        if hinge.name not in carrying and hinge.name not in embodiment.joint_names:
            yield Diagnosis(WARNING, f"hinges.{hinge.name}", "carries no fingertip: is a parent or the hinge of a fingertip wrong?")


def joint_travel(embodiment: Embodiment, q: np.ndarray) -> np.ndarray:
    """Upper estimate (F, n) of the travel [m] of each fingertip over each joint's range, from the Jacobians at samples q (B, n)."""
    by_joint = np.linalg.norm(HandKinematics(embodiment).jacobian(q), axis=2).max(axis=0)
    return by_joint * (embodiment.upper - embodiment.lower)
