"""Feature statistics of LeRobotDataset v3.0: min, max, mean, std, count and five quantiles."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

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


def aggregate_statistics(parts: Sequence[Mapping[str, Stats]]) -> dict[str, Stats]:
    """Aggregate the statistics of episodes. As in LeRobot, quantiles are averaged with the episodes' lengths as weights."""
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


def statistics_to_json(statistics: Mapping[str, Stats]) -> dict[str, dict[str, list]]:
    """Convert the statistics of features to JSON values."""
    return {key: {name: np.asarray(value).tolist() for name, value in stats.items()} for key, stats in statistics.items()}


def statistics_from_json(content: Mapping[str, Mapping[str, list]]) -> dict[str, Stats]:
    """Convert JSON values to the statistics of features: the inverse of ``statistics_to_json``."""
    return {key: {name: np.array(value) for name, value in stats.items()} for key, stats in content.items()}
