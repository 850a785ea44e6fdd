"""Left and right: side suffixes of names, and the mirror image of an embodiment."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from types import MappingProxyType

import numpy as np

from latent_policy_ros.common.yaml_file import YAML_SUFFIXES
from latent_policy_ros.embodiments.model.content_hash import content_hash
from latent_policy_ros.embodiments.model.schema import Embodiment, Fingertip, Hinge, read_only

SIDES = ("left", "right")


def split_side(name: str) -> tuple[str, str | None]:
    """Split a name into (name without side, side): ``x_left`` gives ``("x", "left")``; the side is None if there is none."""
    for side in SIDES:
        if name.endswith(f"_{side}") and len(name) > len(side) + 1:
            return name[: -len(side) - 1], side
    return name, None


def mirrored(embodiment: Embodiment) -> Embodiment:
    """The mirror image for the other side: the same joints, and the same q gives the mirrored pose.

    The mirror plane is y = 0 in the hand frame, and the nearest coordinate plane in the base frame, which is the
    convention of most hand manufacturers. Both frames stay right-handed.
    """
    side = SIDES[1 - SIDES.index(embodiment.side)]
    flip = np.ones(3)
    flip[np.abs(embodiment.T_base_hand[:3, 1]).argmax()] = -1.0
    hinges = []
    for h in embodiment.hinges:
        sense = -1.0 if h.kind == "revolute" else 1.0  # an axis of rotation is a pseudovector: a mirror reverses its sense
        axis, point = read_only(h.axis * flip * sense + 0.0), read_only(h.point * flip + 0.0)
        hinges.append(Hinge(h.name, h.parent, axis, point, h.lower, h.upper, h.kind))
    tips = {finger: Fingertip(tip.hinge, read_only(tip.point * flip + 0.0)) for finger, tip in embodiment.fingertips.items()}
    T_base_hand = np.diag([*flip, 1.0]) @ embodiment.T_base_hand @ np.diag([1.0, -1.0, 1.0, 1.0]) + 0.0
    image = replace(
        embodiment, name=f"{embodiment.name.removesuffix(f'_{embodiment.side}')}_{side}", side=side, hinges=tuple(hinges),
        fingertips=MappingProxyType(tips), T_base_hand=read_only(T_base_hand), reference=_of_side(embodiment.reference, side),
    )  # fmt: skip
    return replace(image, content_hash=content_hash(image))


def _of_side(reference: str, side: str) -> str:
    """The reference of an embodiment (a name or a path) with another side."""
    if not reference.endswith(YAML_SUFFIXES):
        return f"{split_side(reference)[0]}_{side}"
    path = Path(reference)
    return str(path.with_stem(f"{split_side(path.stem)[0]}_{side}"))
