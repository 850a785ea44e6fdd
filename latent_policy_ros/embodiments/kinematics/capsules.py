"""Capsules of an embodiment for collisions and images: along the links, with spheres at the fingertips."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from latent_policy_ros.embodiments.model.schema import Embodiment, Shape

MIN_LENGTH = 1e-3  # shorter capsules [m] are left out: they would be spheres inside their neighbours


@dataclass(frozen=True)
class Capsule:
    """A capsule, or a sphere if ``start`` equals ``end``.

    Attributes:
        hinge: Name of the hinge that moves it; None if it is fixed to the palm.
        start, end: Ends of its axis [m] in the palm frame at the zero pose, shape (3,).
        radius: [m].
        finger: Name of the finger if it is a fingertip, else None.
    """

    hinge: str | None
    start: np.ndarray
    end: np.ndarray
    radius: float
    finger: str | None = None


def shape_of(embodiment: Embodiment) -> Shape:
    """The radii of the capsules of an embodiment.

    Raises:
        ValueError: The embodiment has no shape (human hand).
    """
    if embodiment.shape is None:
        raise ValueError(f"{embodiment.name} has no shape: it is of kind {embodiment.kind!r}")
    return embodiment.shape


def capsules(embodiment: Embodiment) -> tuple[Capsule, ...]:
    """The capsules of the palm, the links and the fingertips, in that order.

    Raises:
        ValueError: The embodiment has no shape (human hand).
    """
    shape, palm = shape_of(embodiment), embodiment.T_base_hand[:3, 3]
    at = {hinge.name: hinge.point for hinge in embodiment.hinges}
    roots = [Capsule(None, palm, h.point, shape.palm_radius) for h in embodiment.hinges if h.parent is None]
    links = [Capsule(h.parent, at[h.parent], h.point, shape.link_radius) for h in embodiment.hinges if h.parent]
    tips = embodiment.fingertips.items()
    links += [Capsule(tip.hinge, at[tip.hinge], tip.point, shape.link_radius) for _, tip in tips]
    balls = [Capsule(tip.hinge, tip.point, tip.point, shape.tip_radius, finger) for finger, tip in tips]
    return tuple(c for c in roots + links if np.linalg.norm(c.end - c.start) >= MIN_LENGTH) + tuple(balls)
