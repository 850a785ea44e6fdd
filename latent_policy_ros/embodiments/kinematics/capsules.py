"""Primitive shapes of a hand, for collisions and images: capsules along its links, spheres at its fingertips."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from latent_policy_ros.embodiments.model.schema import Embodiment

SHORTEST = 1e-3  # capsules shorter than this [m] would be spheres hidden in their neighbours


@dataclass(frozen=True)
class Capsule:
    """A capsule (or, if ``start`` equals ``end``, a sphere) that moves with ``hinge`` (None: fixed to the palm).

    ``start`` and ``end`` [m] have shape (3,) and are given in the palm frame at the zero pose; ``radius`` [m].
    ``finger`` names the finger it ends in if it is a fingertip, else it is None.
    """

    hinge: str | None
    start: np.ndarray
    end: np.ndarray
    radius: float
    finger: str | None = None


def capsules(embodiment: Embodiment) -> tuple[Capsule, ...]:
    """Palm, links and fingertips, in that order."""
    shape, palm = embodiment.shape, embodiment.T_base_hand[:3, 3]
    if shape is None:
        raise ValueError(f"{embodiment.name} has no shape: it is of kind {embodiment.kind!r}")
    at = {hinge.name: hinge.point for hinge in embodiment.hinges}
    roots = [Capsule(None, palm, h.point, shape.palm_radius) for h in embodiment.hinges if h.parent is None]
    links = [Capsule(h.parent, at[h.parent], h.point, shape.link_radius) for h in embodiment.hinges if h.parent]
    tips = embodiment.fingertips.items()
    links += [Capsule(tip.hinge, at[tip.hinge], tip.point, shape.link_radius) for _, tip in tips]
    balls = [Capsule(tip.hinge, tip.point, tip.point, shape.tip_radius, finger) for finger, tip in tips]
    return tuple(c for c in roots + links if np.linalg.norm(c.end - c.start) >= SHORTEST) + tuple(balls)
