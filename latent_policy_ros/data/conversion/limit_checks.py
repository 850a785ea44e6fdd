"""Joint limits of recorded values: units that are not those of the joints, and values outside of the limits."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from latent_policy_ros.embodiments import Embodiment

LIMIT_MARGIN = 0.05  # fraction of a joint's range; positions further outside of it violate the limits
FAR_OUTSIDE = 0.5  # fraction of a joint's range; positions further outside of it are in another unit, or of another joint
LEAST_USE = 0.1  # share of a joint's largest position that converted values must reach to be taken for its unit
MAX_ANGLE = 4 * np.pi  # rad or m; larger values of joints without known limits are probably degrees
OTHER_UNITS = {"revolute": (np.pi / 180, "degrees", "deg"), "prismatic": (1e-3, "millimetres", "mm")}


@dataclass(frozen=True)
class LimitFinding:
    """A joint outside of its limits: kind of issue, first frame, description, and whether the values are unusable."""

    kind: str
    frame: int
    text: str
    fatal: bool


def check_limits(joints: Sequence[str], values: np.ndarray, embodiment: Embodiment) -> Iterator[LimitFinding]:
    """Find joints whose values (T, n) are outside of the limits of the embodiment."""
    for column, joint in enumerate(joints):
        q = values[:, column]
        if joint in embodiment.joint_names:
            k = embodiment.joint_names.index(joint)
            low, high = float(embodiment.lower[k]), float(embodiment.upper[k])
            outside = np.maximum(low - q, q - high) / (high - low)
            if (outside > LIMIT_MARGIN).any():
                yield _finding(embodiment, joint, q, outside, low, high)
        elif (np.abs(q) > MAX_ANGLE).any():
            text = f"{joint} reaches {np.abs(q).max():.1f}, which is no angle in rad; `more_units: deg` converts degrees"
            yield LimitFinding("units", int((np.abs(q) > MAX_ANGLE).argmax()), text, False)


def _finding(embodiment: Embodiment, joint: str, q: np.ndarray, outside: np.ndarray, low: float, high: float) -> LimitFinding:
    kind = embodiment.hinge(joint).kind
    unit = "rad" if kind == "revolute" else "m"
    limits = f"its limits are {low:.4g} to {high:.4g} {unit}"
    if (outside <= FAR_OUTSIDE).all():
        frame = int((outside > LIMIT_MARGIN).argmax())
        return LimitFinding("outside limits", frame, f"{joint} is {q[frame]:.4g}; {limits}", False)
    frame = int((outside > FAR_OUTSIDE).argmax())
    factor, name, short = OTHER_UNITS[kind]
    margin = LIMIT_MARGIN * (high - low)
    other = q * factor
    fits = ((other >= low - margin) & (other <= high + margin)).all()
    fits &= np.abs(other).max() > LEAST_USE * max(abs(low), abs(high))  # small values fit any unit
    remedy = f"is it in {name}? `units: {short}` converts them" if fits else "which unit is it in?"
    if embodiment.kind == "gripper":
        remedy += f"{';' if fits else ''} `closed:` and `open:` map the values of the bag to the joint"
    text = f"{joint} goes from {q.min():.4g} to {q.max():.4g}; {limits}; {remedy}"
    return LimitFinding("units", frame, text, True)
