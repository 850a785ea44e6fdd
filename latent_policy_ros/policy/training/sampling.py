"""EmbodimentSampler: random frames of demonstrations, with a fixed share for each embodiment."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np


class EmbodimentSampler:
    """Draws rows of demonstrations. The share of each embodiment is the mean weight of its rows, to within one row.

    Args:
        names: Embodiment of each row.
        weights: Weight of each row.
        rows: The rows to draw from.
    """

    def __init__(self, names: Sequence[str], weights: np.ndarray, rows: np.ndarray) -> None:
        self._rows: dict[str, np.ndarray] = {}
        self._probabilities: dict[str, np.ndarray | None] = {}
        shares = []
        embodiments = np.array(names)[rows]
        for name in np.unique(embodiments):
            chosen = rows[embodiments == name]
            own = weights[chosen]
            self._rows[str(name)] = chosen
            self._probabilities[str(name)] = None if (own == own[0]).all() else own / own.sum()
            shares.append(own.mean())
        self._shares = np.array(shares) / np.sum(shares)

    def draw(self, generator: np.random.Generator, count: int) -> tuple[list[str], np.ndarray]:
        """Embodiments and rows of ``count`` random frames."""
        names = self._embodiments(int(generator.integers(len(self._rows))), count)
        return names, np.array([generator.choice(self._rows[name], p=self._probabilities[name]) for name in names])

    def _embodiments(self, shift: int, count: int) -> list[str]:
        """Embodiment of each row: repeatedly the one furthest below its share, starting at ``shift``."""
        names, chosen = list(self._rows), []
        counts = np.zeros(len(names))
        for done in range(1, count + len(names)):
            chosen.append(int(np.argmax(np.round(self._shares * done - counts, 9))))
            counts[chosen[-1]] += 1
        return [names[k] for k in chosen[shift : shift + count]]


def held_out(count: int, share: float, seed: Sequence[int]) -> np.ndarray:
    """Which of ``count`` episodes are held out for validation, (count,) bool: a random share, at least one but never all."""
    chosen = np.zeros(count, bool)
    if share > 0 and count > 1:
        number = min(max(round(share * count), 1), count - 1)
        chosen[np.random.default_rng(list(seed)).permutation(count)[:number]] = True
    return chosen
