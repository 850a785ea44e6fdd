"""Does a hand stand in its hand frame as a person's does, and do its joints bend as a person's do?"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from latent_policy_ros.embodiments import Embodiment, HandKinematics
from latent_policy_ros.embodiments.description.defaults import EmbodimentDefaults
from latent_policy_ros.embodiments.description.mechanism import Mechanism
from latent_policy_ros.embodiments.model.schema import finger_chain
from latent_policy_ros.retargeting.checks.geometry_checks import FAILURE, WARNING, Finding

KNUCKLES_AHEAD = (0.02, 0.20)  # along +z of the hand frame [m]; a person's are at 0.093
ASIDE = 0.06  # the middle of the knuckles lies no farther from the hand frame's z axis [m]
ODD_ANGLE, ASLANT, WRONG = np.deg2rad([40.0, 50.0, 75.0])  # from the palm's normal, from the fingers, from either
BENDS = 0.8  # a hinge that moves the tip more towards the palm or the back than this share bends the finger
NEARLY = np.cos(np.deg2rad(20.0))
IN_FRONT, TO_WRIST = 0.01, 0.02  # a relaxed thumb's tip: above the palm, and below its own first hinge at most [m]
SWAPPED = 0.03  # the thumb is rooted no farther ahead of the index than this [m]


def hand_frame(embodiment: Embodiment, q: np.ndarray) -> Iterator[Finding]:
    """Whether fingers point along +z, bend towards +x and have the thumb on their side, over samples q (B, n)."""
    kinematics = HandKinematics(embodiment)
    roots = {finger: chain[0] for finger, chain in kinematics.fingers_at_zero().items()}
    tips, stretched = kinematics.fingertips(q), kinematics.fingertips(_straight(embodiment)[None])[0, 1:]
    fingers = kinematics.fingers[1:]
    knuckles = np.array([roots[finger] for finger in fingers])
    ahead = stretched - knuckles
    ahead = _unit((ahead / np.linalg.norm(ahead, axis=1, keepdims=True)).sum(axis=0))
    # Fingers bend one way: the middle of all that they reach lies on the palm's side.
    bent = _unit((tips[:, 1:] - knuckles).mean(axis=(0, 1)) * [1.0, 1.0, 0.0])
    frame = [*_along(embodiment, "fingers", "the stretched fingers point", ahead, 2, ASLANT)]
    if not frame:
        frame += _along(embodiment, "palm", "the fingers bend", bent, 0, ODD_ANGLE)
    yield from frame
    if not frame:
        yield from _side(embodiment, roots, tips)
        yield from _thumb(embodiment, roots["thumb"])
        yield from _backwards(embodiment)
        yield from _origin(knuckles)


def _along(embodiment: Embodiment, field: str, what: str, got: np.ndarray, axis: int, odd: float) -> Iterator[Finding]:
    """Findings if a direction (3,) differs by more than ``odd`` [rad] from the ``axis`` that ``hand_frame.<field>`` gives."""
    angle = float(np.arccos(np.clip(got[axis], -1.0, 1.0)))
    if angle > odd:
        level = FAILURE if angle > WRONG else WARNING
        better = _as_written(embodiment.T_base_hand[:3, :3] @ got)
        yield Finding(level, f"hand_frame.{field}", f"{what} {np.rad2deg(angle):.0f} degrees beside it; try {field}: {better}")


def _origin(knuckles: np.ndarray) -> Iterator[Finding]:
    middle = knuckles.mean(axis=0)
    if not KNUCKLES_AHEAD[0] <= middle[2] <= KNUCKLES_AHEAD[1] or np.linalg.norm(middle[:2]) > ASIDE:
        got = ", ".join(f"{v:.3f}" for v in middle)
        message = f"the knuckles lie at ({got}) m from it; it stands for a human wrist, whose knuckles lie near (0, 0, 0.09)"
        yield Finding(WARNING, "hand_frame.origin", message)


def _thumb(embodiment: Embodiment, root: np.ndarray) -> Iterator[Finding]:
    """A relaxed thumb stands in front of the palm and does not point to the wrist."""
    x, _, z = HandKinematics(embodiment).fingertips(embodiment.rest[None])[0, 0]
    where = "behind the palm" if x < IN_FRONT else "nearer to the wrist than its first hinge" if z < root[2] - TO_WRIST else None
    if where:
        message = f"at rest its tip is {where}: are rest and the axes (their signs) of the thumb's joints right?"
        yield Finding(WARNING, "fingertips.thumb", message)


def _backwards(embodiment: Embodiment) -> Iterator[Finding]:
    """Hinges that bend a finger to the back of the hand more than to the palm."""
    kinematics, straight, told = HandKinematics(embodiment), _straight(embodiment), set()
    motion, tips = kinematics.link_transforms(straight[None])[0], kinematics.fingertips(straight[None])[0]
    to_hand = embodiment.T_base_hand[:3, :3].T
    for finger, tip in zip(kinematics.fingers[1:], tips[1:]):
        for hinge in finger_chain(embodiment, finger):
            row = embodiment.hinge_names.index(hinge.name)
            ratio = embodiment.coupling[row]
            if hinge.kind != "revolute" or not ratio.any() or hinge.name in told:
                continue
            R, p = motion[row, :3, :3], motion[row, :3, 3]
            point = to_hand @ (R @ hinge.point + p - embodiment.T_base_hand[:3, 3])
            way = np.cross(to_hand @ R @ hinge.axis, tip - point)  # of the tip, as the angle grows
            if abs(way[0]) < BENDS * np.linalg.norm(way):
                continue  # it spreads or twists the finger
            ends = sorted(float(ratio @ (end - straight)) for end in (embodiment.lower, embodiment.upper))
            back, forth = (-ends[0], ends[1]) if way[0] > 0 else (ends[1], -ends[0])
            if back > max(forth + 0.35, 0.7):
                told.add(hinge.name)
                back, forth = np.rad2deg([back, max(forth, 0.0)])
                message = f"bends the {finger} {back:.0f} degrees to the back of the hand and {forth:.0f} to the palm"
                yield Finding(WARNING, f"hinges.{hinge.name}.axis", f"{message}: is its sign right, and the range?")


def _side(embodiment: Embodiment, roots: dict[str, np.ndarray], tips: np.ndarray) -> Iterator[Finding]:
    """The thumb and the index finger lie at +y of a right hand, at -y of a left one."""
    sign = -1.0 if embodiment.side == "left" else 1.0
    fingers = list(roots)[1:]
    across = sign * (roots[fingers[0]] - roots[fingers[-1]])[1]
    # Where the thumb is rooted tells its side; its tip may sweep across the whole palm.
    thumb = sign * (0.5 * (roots["thumb"] + tips[:, 0].mean(axis=0)) - np.mean([roots[f] for f in fingers], axis=0))[1]
    other = "left" if sign > 0 else "right"
    if roots["thumb"][2] - roots[fingers[0]][2] > SWAPPED:
        message = f"the {fingers[0]} is rooted nearer to the wrist than the thumb: are their names swapped?"
        yield Finding(WARNING, "fingertips", message)
    elif thumb < -0.005 and across <= 0:
        yield Finding(FAILURE, "side", f"the thumb is on the wrong side of a {embodiment.side} hand: is it a {other} hand?")
    elif across < -0.005:
        message = f"the {fingers[-1]} lies nearer to the thumb's side than the {fingers[0]}: are the fingers named in reverse?"
        yield Finding(WARNING, "fingertips", message)
    elif thumb < -0.005:
        yield Finding(WARNING, "fingertips.thumb", f"it lies on the side of the {fingers[-1]}: is that finger the thumb?")


def _straight(embodiment: Embodiment) -> np.ndarray:
    """The pose (n,) with all fingers stretched."""
    mechanism = Mechanism(embodiment.hinges, embodiment.fingertips, {})
    return EmbodimentDefaults(mechanism, embodiment.coupling, embodiment.lower, embodiment.upper).straight


def _as_written(direction: np.ndarray) -> str:
    """A direction (3,) as a YAML gives it: one of the base's axes where it is near one."""
    largest = int(np.abs(direction).argmax())
    if abs(direction[largest]) > NEARLY:
        direction = np.sign(direction[largest]) * np.eye(3)[largest]
    return "[" + ", ".join(f"{value + 0.0:g}" for value in np.round(direction, 2)) + "]"


def _unit(vector: np.ndarray) -> np.ndarray:
    return vector / max(float(np.linalg.norm(vector)), 1e-12)
