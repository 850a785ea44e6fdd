"""Feature statistics of LeRobotDataset v3.0: min, max, mean, std, count and five quantiles."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

QUANTILES = {"q01": 0.01, "q10": 0.10, "q50": 0.50, "q90": 0.90, "q99": 0.99}
Stats = dict[str, np.ndarray]
TARGET_SIDE, LARGE_SIDE = 150, 300  # px; images with a longer side of LARGE_SIDE or more are subsampled to about TARGET_SIDE
MIN_IMAGES, EXPONENT = 100, 0.75  # number of sampled images of an episode: its length to EXPONENT, and at least MIN_IMAGES


def vector_statistics(values: np.ndarray) -> Stats:
    """Statistics of each column of an array (T, d) or (T,)."""
    columns = values.reshape(len(values), -1)
    wide = columns.astype(np.float64)
    quantiles = np.quantile(wide, list(QUANTILES.values()), axis=0)
    stats = {"min": columns.min(axis=0), "max": columns.max(axis=0), "mean": wide.mean(axis=0), "std": wide.std(axis=0)}
    return {**stats, "count": np.array([len(values)]), **dict(zip(QUANTILES, quantiles))}


class ImageStatistics:
    """Statistics of the images of an episode, per channel, in [0, 1], computed from histograms of sampled pixels.

    Args:
        frames: Expected number of images; determines how many are sampled.
    """

    def __init__(self, frames: int = 0) -> None:
        self._stride = max(1, frames // max(MIN_IMAGES, int(frames**EXPONENT)))
        self._added = self._sampled = 0
        self._histogram = np.zeros((3, 256), np.int64)

    def add(self, rgb: np.ndarray) -> None:
        """Add an image (H, W, 3) uint8. Only every n-th image is sampled."""
        self._added += 1
        if (self._added - 1) % self._stride:
            return
        longer_side = max(rgb.shape[:2])
        step = longer_side // TARGET_SIDE if longer_side >= LARGE_SIDE else 1
        pixels = rgb[::step, ::step]
        for channel in range(3):
            self._histogram[channel] += np.bincount(pixels[..., channel].ravel(), minlength=256)
        self._sampled += 1

    def result(self) -> Stats:
        """Statistics of shape (3, 1, 1); ``count`` (1,) is the number of sampled images."""
        levels, total = np.arange(256) / 255, self._histogram.sum(axis=1)
        mean = self._histogram @ levels / total
        std = np.sqrt(np.maximum(self._histogram @ levels**2 / total - mean**2, 0))
        occupied = self._histogram > 0
        low, high = occupied.argmax(axis=1) / 255, (255 - occupied[:, ::-1].argmax(axis=1)) / 255
        cumulative = np.cumsum(self._histogram, axis=1)
        quantiles = {name: (cumulative >= q * total[:, None]).argmax(axis=1) / 255 for name, q in QUANTILES.items()}
        shaped = {"min": low, "max": high, "mean": mean, "std": std, **quantiles}
        stats = {name: value.reshape(3, 1, 1) for name, value in shaped.items()}
        return {**stats, "count": np.array([self._sampled])}


class AggregatedStatistics:
    """Statistics of a data set, aggregated episode by episode.

    As in LeRobot, quantiles are averaged with the episodes' lengths as weights.

    Args:
        initial: Statistics of the episodes so far.
    """

    def __init__(self, initial: Mapping[str, Stats] | None = None) -> None:
        self.result: dict[str, Stats] = dict(initial or {})

    def add(self, statistics: Mapping[str, Stats]) -> None:
        """Add the statistics of an episode."""
        for name, stats in statistics.items():
            self.result[name] = _merge(self.result[name], stats) if name in self.result else dict(stats)


def _merge(one: Stats, other: Stats) -> Stats:
    """Statistics of the union of two sets of values."""
    count = one["count"] + other["count"]
    share = other["count"] / count

    def weighted(name: str) -> np.ndarray:
        return one[name] + share * (np.asarray(other[name], np.float64) - one[name])

    squares = (1 - share) * one["std"] ** 2 + share * other["std"] ** 2
    return {
        "min": np.minimum(one["min"], other["min"]),
        "max": np.maximum(one["max"], other["max"]),
        "mean": weighted("mean"),
        "std": np.sqrt(squares + share * (1 - share) * (other["mean"] - one["mean"]) ** 2),
        "count": count,
        **{name: weighted(name) for name in QUANTILES},
    }


def statistics_to_json(statistics: Mapping[str, Stats]) -> dict[str, dict[str, list]]:
    """Convert the statistics of features to JSON values."""
    return {key: {name: np.asarray(value).tolist() for name, value in stats.items()} for key, stats in statistics.items()}


def statistics_from_json(content: Mapping[str, Mapping[str, list]]) -> dict[str, Stats]:
    """Convert JSON values to the statistics of features: the inverse of ``statistics_to_json``."""
    return {key: {name: np.array(value) for name, value in stats.items()} for key, stats in content.items()}
