"""The same hand for the other side of the body."""

from __future__ import annotations

from dataclasses import replace
from types import MappingProxyType

import numpy as np

from latent_policy_ros.common.config_reader import frozen
from latent_policy_ros.embodiments.model.catalogue import SIDES, reference
from latent_policy_ros.embodiments.model.content_hash import content_hash
from latent_policy_ros.embodiments.model.schema import Embodiment, Fingertip, Hinge


def mirrored(embodiment: Embodiment) -> Embodiment:
    """The mirror image: same joints, and the same q gives the mirrored pose.

    In the hand frame it is mirrored at the plane y = 0; both its frames stay right-handed. The base frame is mirrored at
    the coordinate plane that is nearest to that one, as makers of hands do.
    """
    side = SIDES[1 - SIDES.index(embodiment.side)]
    flip = np.ones(3)
    flip[np.abs(embodiment.T_base_hand[:3, 1]).argmax()] = -1.0
    hinges = tuple(
        # A rotation seen in a mirror turns the other way: an axis of rotation is a pseudovector.
        Hinge(h.name, h.parent, frozen(h.axis * flip * (-1.0 if h.kind == "revolute" else 1.0) + 0.0), frozen(h.point * flip + 0.0),
              h.lower, h.upper, h.kind)
        for h in embodiment.hinges
    )  # fmt: skip
    tips = {finger: Fingertip(tip.hinge, frozen(tip.point * flip + 0.0)) for finger, tip in embodiment.fingertips.items()}
    T_base_hand = np.diag([*flip, 1.0]) @ embodiment.T_base_hand @ np.diag([1.0, -1.0, 1.0, 1.0]) + 0.0
    name = f"{embodiment.name.removesuffix(f'_{embodiment.side}')}_{side}"
    image = replace(
        embodiment, name=name, side=side, hinges=hinges, fingertips=MappingProxyType(tips), T_base_hand=frozen(T_base_hand),
        reference=reference(embodiment.file, name),
    )  # fmt: skip
    return replace(image, content_hash=content_hash(image))
