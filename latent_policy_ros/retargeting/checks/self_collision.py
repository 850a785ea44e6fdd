"""Self-collision of a hand: overlaps of its capsules, for batches of poses."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from latent_policy_ros.embodiments import Embodiment, HandKinematics
from latent_policy_ros.embodiments.kinematics.capsules import capsules
from latent_policy_ros.embodiments.model.schema import PALM


def segment_distance(a: np.ndarray, b: np.ndarray, c: np.ndarray, d: np.ndarray) -> np.ndarray:
    """Distance [m] between the segments a-b and c-d: four arrays (..., 3) give (...). A segment may be a point.

    The nearest points are at an end of one segment or, where the two lines are nearest, inside both.
    """
    ends = (_point_to_segment(p, s, e) for p, s, e in ((a, c, d), (b, c, d), (c, a, b), (d, a, b)))
    best = np.minimum.reduce(list(ends))
    u, v, w = b - a, d - c, a - c
    uu, vv, uv, uw, vw = (np.einsum("...i,...i", p, q) for p, q in ((u, u), (v, v), (u, v), (u, w), (v, w)))
    determinant = uu * vv - uv * uv
    crossing = determinant > 1e-12 * uu * vv  # else the lines are parallel, or a segment is a point
    safe = np.where(crossing, determinant, 1.0)
    s, t = (uv * vw - vv * uw) / safe, (uu * vw - uv * uw) / safe
    inside = crossing & (s >= 0) & (s <= 1) & (t >= 0) & (t <= 1)
    between = np.linalg.norm(w + s[..., None] * u - t[..., None] * v, axis=-1)
    return np.where(inside, np.minimum(best, between), best)


def _point_to_segment(point: np.ndarray, start: np.ndarray, end: np.ndarray) -> np.ndarray:
    """Distance [m] between points and segments: three arrays (..., 3) give (...)."""
    along, to_point = end - start, point - start
    length2 = np.einsum("...i,...i", along, along)
    share = np.clip(np.einsum("...i,...i", to_point, along) / np.where(length2 > 0, length2, 1.0), 0.0, 1.0)
    return np.linalg.norm(to_point - share[..., None] * along, axis=-1)


@dataclass(frozen=True)
class Overlap:
    """Overlap of two links over a batch of poses.

    Attributes:
        links: Names of the hinges that carry them, or ``palm``.
        depth: Largest overlap [m].
        share: Share of the poses in which they overlap.
        worst: Index of the pose with the largest overlap.
    """

    links: tuple[str, str]
    depth: float
    share: float
    worst: int


class SelfCollision:
    """Overlaps between the links of one embodiment.

    Pairs of links that touch in every pose are left out: links on one joint, and on joints closer together than the links are
    thick.
    """

    def __init__(self, embodiment: Embodiment) -> None:
        self._kinematics = HandKinematics(embodiment)
        shapes = capsules(embodiment)
        index: dict[str | None, int] = {name: i for i, name in enumerate((None, *embodiment.hinge_names))}
        self._names = (PALM, *embodiment.hinge_names)
        self._body = np.array([index[shape.hinge] for shape in shapes])
        self._start = np.array([shape.start for shape in shapes])
        self._end = np.array([shape.end for shape in shapes])
        self._radius = np.array([shape.radius for shape in shapes])
        first, second = np.triu_indices(len(shapes), 1)
        apart = ~self._always_touching(embodiment)[self._body[first], self._body[second]]
        self._first, self._second = first[apart], second[apart]
        pairs = np.sort(np.stack((self._body[self._first], self._body[self._second]), axis=1), axis=1)
        self._bodies, self._pair = np.unique(pairs, axis=0, return_inverse=True)

    def _always_touching(self, embodiment: Embodiment) -> np.ndarray:
        """Mask (n_hinges + 1, n_hinges + 1) of the pairs of bodies (0: the palm) that touch in every pose."""
        at = {hinge.name: hinge for hinge in embodiment.hinges}
        count = len(self._names)
        radius = np.zeros(count)
        np.maximum.at(radius, self._body, self._radius)
        touching = np.eye(count, dtype=bool)
        for i, hinge in enumerate(embodiment.hinges, start=1):
            above, length = hinge.parent, 0.0
            lower = hinge
            while True:
                j = 0 if above is None else self._names.index(above)
                touching[i, j] = touching[j, i] = touching[i, j] or lower is hinge or length < radius[i] + radius[j]
                if above is None:
                    break
                length += float(np.linalg.norm(at[above].point - lower.point))
                lower, above = at[above], at[above].parent
        return touching

    def depths(self, q: np.ndarray) -> np.ndarray:
        """Overlap of each pair of links [m], negative if they are apart: q (B, n) -> (B, pairs)."""
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
        """Names of the two links of each pair."""
        return [(self._names[a], self._names[b]) for a, b in self._bodies]

    def overlaps(self, q: np.ndarray, intended: np.ndarray | None = None, tolerance: float = 1e-3) -> tuple[Overlap, ...]:
        """Pairs of links that overlap by more than ``tolerance`` [m] in any pose q (B, n), the deepest first.

        ``intended`` is a mask (B, pairs) of contacts that do not count.
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
