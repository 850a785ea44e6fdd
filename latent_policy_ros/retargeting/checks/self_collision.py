"""Where the links of one hand run into each other: distances between its capsules, for whole batches of poses."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from latent_policy_ros.embodiments import Embodiment, HandKinematics
from latent_policy_ros.embodiments.kinematics.capsules import capsules

PALM = "palm"


def segment_distance(a: np.ndarray, b: np.ndarray, c: np.ndarray, d: np.ndarray) -> np.ndarray:
    """Least distance [m] between the segments a-b and c-d: four arrays (..., 3) -> (...). Points are segments too.

    It lies at an end of one of them or, where the two lines come closest, inside both.
    """
    ends = (_point_to_segment(p, s, e) for p, s, e in ((a, c, d), (b, c, d), (c, a, b), (d, a, b)))
    best = np.minimum.reduce(list(ends))
    u, v, w = b - a, d - c, a - c
    uu, vv, uv, uw, vw = (np.einsum("...i,...i", p, q) for p, q in ((u, u), (v, v), (u, v), (u, w), (v, w)))
    determinant = uu * vv - uv * uv
    crossing = determinant > 1e-12 * uu * vv  # else parallel, or a point: ends decide
    safe = np.where(crossing, determinant, 1.0)
    s, t = (uv * vw - vv * uw) / safe, (uu * vw - uv * uw) / safe
    inside = crossing & (s >= 0) & (s <= 1) & (t >= 0) & (t <= 1)
    between = np.linalg.norm(w + s[..., None] * u - t[..., None] * v, axis=-1)
    return np.where(inside, np.minimum(best, between), best)


def _point_to_segment(point: np.ndarray, start: np.ndarray, end: np.ndarray) -> np.ndarray:
    along, to_point = end - start, point - start
    length2 = np.einsum("...i,...i", along, along)
    share = np.clip(np.einsum("...i,...i", to_point, along) / np.where(length2 > 0, length2, 1.0), 0.0, 1.0)
    return np.linalg.norm(to_point - share[..., None] * along, axis=-1)


@dataclass(frozen=True)
class Overlap:
    """Two links that run into each other.

    Attributes:
        links: Names of the hinges that carry them, or ``palm``.
        depth: How far at most, over the poses [m].
        share: In which share of the poses.
        worst: Index of the pose where it is deepest.
    """

    links: tuple[str, str]
    depth: float
    share: float
    worst: int


class SelfCollision:
    """Overlaps between the links of one embodiment that no joint holds together.

    Links that touch in every pose because they sit on one joint, or on joints closer together than the links are thick,
    are left out.
    """

    def __init__(self, embodiment: Embodiment) -> None:
        self._kinematics = HandKinematics(embodiment)
        shapes = capsules(embodiment)
        index = {None: 0, **{name: i + 1 for i, name in enumerate(embodiment.hinge_names)}}
        self._names = (PALM, *embodiment.hinge_names)
        self._body = np.array([index[shape.hinge] for shape in shapes])
        self._start = np.array([shape.start for shape in shapes])
        self._end = np.array([shape.end for shape in shapes])
        self._radius = np.array([shape.radius for shape in shapes])
        first, second = np.triu_indices(len(shapes), 1)
        apart = ~self._held_together(embodiment)[self._body[first], self._body[second]]
        self._first, self._second = first[apart], second[apart]
        pairs = np.sort(np.stack((self._body[self._first], self._body[self._second]), axis=1), axis=1)
        self._bodies, self._pair = np.unique(pairs, axis=0, return_inverse=True)

    def _held_together(self, embodiment: Embodiment) -> np.ndarray:
        """(n + 1, n + 1): whether two bodies (0: the palm) always touch, being near each other along the mechanism."""
        at = {hinge.name: hinge for hinge in embodiment.hinges}
        count = len(self._names)
        thickest = np.zeros(count)
        np.maximum.at(thickest, self._body, self._radius)
        held = np.eye(count, dtype=bool)
        for i, hinge in enumerate(embodiment.hinges, start=1):
            above, length = hinge.parent, 0.0
            lower = hinge
            while True:
                j = 0 if above is None else self._names.index(above)
                held[i, j] = held[j, i] = held[i, j] or lower is hinge or length < thickest[i] + thickest[j]
                if above is None:
                    break
                length += float(np.linalg.norm(at[above].point - lower.point))
                lower, above = at[above], at[above].parent
        return held

    def depths(self, q: np.ndarray) -> np.ndarray:
        """How far each pair of links overlaps [m], negative if apart: (B, n) -> (B, pairs)."""
        motion = self._kinematics.link_transforms(q)
        motion = np.concatenate((np.broadcast_to(np.eye(4), (len(motion), 1, 4, 4)), motion), axis=1)[:, self._body]
        start = (motion[..., :3, :3] @ self._start[..., None])[..., 0] + motion[..., :3, 3]
        end = (motion[..., :3, :3] @ self._end[..., None])[..., 0] + motion[..., :3, 3]
        i, j = self._first, self._second
        gap = segment_distance(start[:, i], end[:, i], start[:, j], end[:, j]) - self._radius[i] - self._radius[j]
        depth = np.full((len(q), len(self._bodies)), -np.inf)
        for pair in range(len(self._bodies)):
            depth[:, pair] = -gap[:, self._pair == pair].min(axis=1)
        return depth

    @property
    def pairs(self) -> list[tuple[str, str]]:
        """Names of the links of each pair."""
        return [(self._names[a], self._names[b]) for a, b in self._bodies]

    def overlaps(self, q: np.ndarray, intended: np.ndarray | None = None, tolerance: float = 1e-3) -> tuple[Overlap, ...]:
        """Pairs that overlap by more than ``tolerance`` [m] in any pose (B, n), the deepest first.

        ``intended`` (B, pairs) marks contacts that are meant.
        """
        depth = self.depths(q)
        if intended is not None:
            depth = np.where(intended, -np.inf, depth)
        found = []
        for links, column in zip(self.pairs, depth.T):
            hit = column > tolerance
            if hit.any():
                found.append(Overlap(links, float(column.max()), float(hit.mean()), int(column.argmax())))
        return tuple(sorted(found, key=lambda overlap: -overlap.depth))
