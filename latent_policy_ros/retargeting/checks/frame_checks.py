"""Checks of a hand's frame, side, finger names and joint directions, by comparison with a person's hand."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from latent_policy_ros.embodiments import Embodiment, HandKinematics
from latent_policy_ros.embodiments.description.defaults import EmbodimentDefaults
from latent_policy_ros.embodiments.description.mechanism import Mechanism
from latent_policy_ros.embodiments.model.schema import finger_chain
from latent_policy_ros.retargeting.checks.geometry_checks import FAILURE, WARNING, Diagnosis

KNUCKLES_Z = (0.02, 0.20)  # range of the knuckles along z of the hand frame [m]; a person's are at 0.093
KNUCKLES_ASIDE = 0.06  # largest distance of the mean knuckle from the z axis of the hand frame [m]
# Angles [rad] that give a warning (of the palm normal, of the fingers) and, for both, a failure.
PALM_ANGLE, FINGERS_ANGLE, FAILURE_ANGLE = np.deg2rad([40.0, 50.0, 75.0])
FLEXION_SHARE = 0.8  # a hinge flexes a finger if at least this share of the tip's velocity is along the palm normal
AXIS_COSINE = np.cos(np.deg2rad(20.0))  # a direction within 20 degrees of an axis is suggested as the axis
IN_FRONT, TO_WRIST = 0.01, 0.02  # bounds on the thumb tip at rest: above the palm, and below the thumb's first hinge [m]
THUMB_AHEAD = 0.03  # largest distance of the thumb's first hinge beyond the index's, along z [m]


def check_hand_frame(embodiment: Embodiment, q: np.ndarray) -> Iterator[Diagnosis]:
    """Check that fingers point along +z, bend towards +x, and that the thumb is on its side, over samples q (B, n)."""
    kinematics = HandKinematics(embodiment)
    roots = {finger: chain[0] for finger, chain in kinematics.fingers_at_zero().items()}
    tips, straight = kinematics.fingertips(q), kinematics.fingertips(_straight(embodiment)[None])[0]
    fingers = kinematics.fingers[1:]
    knuckles = np.array([roots[finger] for finger in fingers])
    ahead = straight[1:] - knuckles
    ahead = _unit((ahead / np.linalg.norm(ahead, axis=1, keepdims=True)).sum(axis=0))
    # Fingers bend towards the palm, so the mean of all fingertip positions is on its side.
    bent = _unit((tips[:, 1:] - knuckles).mean(axis=(0, 1)) * [1.0, 1.0, 0.0])
    frame = [*_direction(embodiment, "fingers", "the straight fingers point", ahead, 2, FINGERS_ANGLE)]
    if not frame:
        frame += _direction(embodiment, "palm", "the fingers bend", bent, 0, PALM_ANGLE)
    yield from frame
    if not frame:
        yield from _side(embodiment, roots, straight[0])
        yield from _thumb_at_rest(embodiment, roots["thumb"])
        yield from _backward_hinges(embodiment)
        yield from _origin(knuckles)


def _direction(embodiment: Embodiment, field: str, what: str, got: np.ndarray, axis: int, limit: float) -> Iterator[Diagnosis]:
    """Check that a direction (3,) is within ``limit`` [rad] of the ``axis`` that ``hand_frame.<field>`` defines."""
    angle = float(np.arccos(np.clip(got[axis], -1.0, 1.0)))
    if angle > limit:
        level = FAILURE if angle > FAILURE_ANGLE else WARNING
        better = _as_yaml(embodiment.T_base_hand[:3, :3] @ got)
        yield Diagnosis(level, f"hand_frame.{field}", f"{what} {np.rad2deg(angle):.0f} degrees away from it; try {field}: {better}")


def _origin(knuckles: np.ndarray) -> Iterator[Diagnosis]:
    """Check the position of the knuckles (F - 1, 3) relative to the origin."""
    middle = knuckles.mean(axis=0)
    if not KNUCKLES_Z[0] <= middle[2] <= KNUCKLES_Z[1] or np.linalg.norm(middle[:2]) > KNUCKLES_ASIDE:
        got = ", ".join(f"{v:.3f}" for v in middle)
        message = f"the knuckles are at ({got}) m; expected near (0, 0, 0.09), as the origin stands for a person's wrist"
        yield Diagnosis(WARNING, "hand_frame.origin", message)


def _thumb_at_rest(embodiment: Embodiment, root: np.ndarray) -> Iterator[Diagnosis]:
    """Check that the thumb tip at rest is in front of the palm, and not towards the wrist from its first hinge ``root`` (3,)."""
    x, _, z = HandKinematics(embodiment).fingertips(embodiment.rest[None])[0, 0]
    where = "behind the palm" if x < IN_FRONT else "nearer to the wrist than its first hinge" if z < root[2] - TO_WRIST else None
    if where:
        message = f"at rest its tip is {where}: are rest and the axes (and their signs) of the thumb's joints right?"
        yield Diagnosis(WARNING, "fingertips.thumb", message)


def _backward_hinges(embodiment: Embodiment) -> Iterator[Diagnosis]:
    """Find hinges that bend a finger further to the back of the hand than to the palm."""
    kinematics, straight, reported = HandKinematics(embodiment), _straight(embodiment), set()
    motion, tips = kinematics.link_transforms(straight[None])[0], kinematics.fingertips(straight[None])[0]
    to_hand = embodiment.T_base_hand[:3, :3].T
    for finger, tip in zip(kinematics.fingers[1:], tips[1:]):
        for hinge in finger_chain(embodiment, finger):
            row = embodiment.hinge_names.index(hinge.name)
            ratio = embodiment.coupling[row]
            if hinge.kind != "revolute" or not ratio.any() or hinge.name in reported:
                continue
            R, p = motion[row, :3, :3], motion[row, :3, 3]
            point = to_hand @ (R @ hinge.point + p - embodiment.T_base_hand[:3, 3])
            velocity = np.cross(to_hand @ R @ hinge.axis, tip - point)  # of the tip, per radian
            if abs(velocity[0]) < FLEXION_SHARE * np.linalg.norm(velocity):
                continue  # it spreads or twists the finger
            ends = sorted(float(ratio @ (end - straight)) for end in (embodiment.lower, embodiment.upper))
            back, forth = (-ends[0], ends[1]) if velocity[0] > 0 else (ends[1], -ends[0])
            if back > max(forth + 0.35, 0.7):
                reported.add(hinge.name)
                back, forth = np.rad2deg([back, max(forth, 0.0)])
                message = f"bends the {finger} {back:.0f} degrees to the back of the hand and {forth:.0f} to the palm"
                yield Diagnosis(WARNING, f"hinges.{hinge.name}.axis", f"{message}: are its sign and the range right?")


def _side(embodiment: Embodiment, roots: dict[str, np.ndarray], thumb_tip: np.ndarray) -> Iterator[Diagnosis]:
    """Check that thumb and index are at +y of a right hand, at -y of a left one.

    ``roots`` are the first hinges by finger; ``thumb_tip`` (3,) is the tip of the straight thumb. The first hinge of a thumb can be
    on either side.
    """
    sign = -1.0 if embodiment.side == "left" else 1.0
    fingers = list(roots)[1:]
    across = sign * (roots[fingers[0]] - roots[fingers[-1]])[1]
    thumb = sign * (thumb_tip - np.mean([roots[f] for f in fingers], axis=0))[1]
    other = "left" if sign > 0 else "right"
    if roots["thumb"][2] - roots[fingers[0]][2] > THUMB_AHEAD:
        message = f"the {fingers[0]} starts nearer to the wrist than the thumb: are their names swapped?"
        yield Diagnosis(WARNING, "fingertips", message)
    elif thumb < -0.005 and across <= 0:
        yield Diagnosis(FAILURE, "side", f"the thumb is on the wrong side of a {embodiment.side} hand: is it a {other} hand?")
    elif across < -0.005:
        message = f"the {fingers[-1]} is nearer to the thumb's side than the {fingers[0]}: are the names of the fingers reversed?"
        yield Diagnosis(WARNING, "fingertips", message)
    elif thumb < -0.005:
        yield Diagnosis(WARNING, "fingertips.thumb", f"it is on the side of the {fingers[-1]}: is that finger the thumb?")


def _straight(embodiment: Embodiment) -> np.ndarray:
    """The pose (n,) with straight fingers."""
    mechanism = Mechanism(embodiment.hinges, embodiment.fingertips, {})
    return EmbodimentDefaults(mechanism, embodiment.coupling, embodiment.lower, embodiment.upper).straight


def _as_yaml(direction: np.ndarray) -> str:
    """A direction (3,) as text for YAML; the nearest axis of the base if it is near one."""
    largest = int(np.abs(direction).argmax())
    if abs(direction[largest]) > AXIS_COSINE:
        direction = np.sign(direction[largest]) * np.eye(3)[largest]
    return "[" + ", ".join(f"{value + 0.0:g}" for value in np.round(direction, 2)) + "]"


def _unit(vector: np.ndarray) -> np.ndarray:
    """The vector (3,) scaled to length 1."""
    return vector / max(float(np.linalg.norm(vector)), 1e-12)
