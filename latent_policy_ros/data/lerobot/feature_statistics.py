"""Statistics of features as LeRobotDataset v3.0 keeps them: min, max, mean, std, count and five quantiles."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

QUANTILES = {"q01": 0.01, "q10": 0.10, "q50": 0.50, "q90": 0.90, "q99": 0.99}
Stats = dict[str, np.ndarray]
SIDE, ABOVE = 150, 300  # images with a side over 300 are thinned to about 150 pixels
FEWEST, POWER = 100, 0.75  # images of an episode that are counted: 100, or its length to this power


def vector_stats(values: np.ndarray) -> Stats:
    """Of (T, d), or (T,), for each of the d columns."""
    columns = values.reshape(len(values), -1)
    wide = columns.astype(np.float64)
    quantiles = np.quantile(wide, list(QUANTILES.values()), axis=0)
    stats = {"min": columns.min(axis=0), "max": columns.max(axis=0), "mean": wide.mean(axis=0), "std": wide.std(axis=0)}
    return {**stats, "count": np.array([len(values)]), **dict(zip(QUANTILES, quantiles))}


class PixelStats:
    """Of images, for each channel, in [0, 1]: some images of an episode, thinned, counted in 256 steps.

    Args:
        frames: About how many images will come.
    """

    def __init__(self, frames: int = 0) -> None:
        wanted = max(FEWEST, int(frames**POWER))
        self._every = max(1, frames // wanted)
        self._seen = self._taken = 0
        self._counts = np.zeros((3, 256), np.int64)

    def add(self, rgb: np.ndarray) -> None:
        """Count (H, W, 3) uint8, if it is its turn."""
        self._seen += 1
        if (self._seen - 1) % self._every:
            return
        longer = max(rgb.shape[:2])
        step = longer // SIDE if longer >= ABOVE else 1
        thin = rgb[::step, ::step]
        for channel in range(3):
            self._counts[channel] += np.bincount(thin[..., channel].ravel(), minlength=256)
        self._taken += 1

    def result(self) -> Stats:
        """Each of shape (3, 1, 1); ``count`` (1,) is the number of images."""
        levels, total = np.arange(256) / 255, self._counts.sum(axis=1)
        mean = self._counts @ levels / total
        std = np.sqrt(np.maximum(self._counts @ levels**2 / total - mean**2, 0))
        there = self._counts > 0
        low, high = there.argmax(axis=1) / 255, (255 - there[:, ::-1].argmax(axis=1)) / 255
        below = np.cumsum(self._counts, axis=1)
        quantiles = {name: (below >= q * total[:, None]).argmax(axis=1) / 255 for name, q in QUANTILES.items()}
        shaped = {"min": low, "max": high, "mean": mean, "std": std, **quantiles}
        stats = {name: value.reshape(3, 1, 1) for name, value in shaped.items()}
        return {**stats, "count": np.array([self._taken])}


def aggregate(parts: Sequence[Mapping[str, Stats]]) -> dict[str, Stats]:
    """Statistics of all episodes together. Quantiles are weighted means of theirs, as LeRobot aggregates them."""
    return {key: _aggregate([part[key] for part in parts if key in part]) for key in parts[0]}


def _aggregate(parts: Sequence[Stats]) -> Stats:
    counts = np.array([part["count"][0] for part in parts], np.float64)

    def weighted(values: Sequence[np.ndarray]) -> np.ndarray:
        return np.tensordot(counts, np.stack(values), axes=1) / counts.sum()

    mean = weighted([part["mean"] for part in parts])
    variance = weighted([part["std"] ** 2 + (part["mean"] - mean) ** 2 for part in parts])
    return {
        "min": np.min([part["min"] for part in parts], axis=0),
        "max": np.max([part["max"] for part in parts], axis=0),
        "mean": mean,
        "std": np.sqrt(variance),
        "count": np.array([int(counts.sum())]),
        **{name: weighted([part[name] for part in parts]) for name in QUANTILES},
    }


def plain(stats: Mapping[str, Stats]) -> dict[str, dict[str, list]]:
    """As JSON may hold it."""
    return {key: {name: np.asarray(value).tolist() for name, value in of.items()} for key, of in stats.items()}


def arrays(stats: Mapping[str, Mapping[str, list]]) -> dict[str, Stats]:
    """What :func:`plain` made plain."""
    return {key: {name: np.array(value) for name, value in of.items()} for key, of in stats.items()}
