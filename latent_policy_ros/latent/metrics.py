"""How well a latent space translates: cross-reconstruction on recordings that were kept from training."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

import numpy as np

from latent_policy_ros.latent.space import LatentSpace

if TYPE_CHECKING:
    from rich.table import Table


def split_by_recording(
    recording: np.ndarray, held_out: float, generator: np.random.Generator
) -> tuple[np.ndarray, np.ndarray]:
    """Rows to train on and rows held out, by whole recordings: neighbouring frames are too alike to be split.

    Args:
        recording: Which recording each row is of, (N,).
        held_out: Fraction of the recordings to hold out; at least one is, and at least one is not.
        generator: Chooses them.

    Raises:
        ValueError: Fewer than two recordings.
    """
    recordings = generator.permutation(np.unique(recording))
    if len(recordings) < 2:
        raise ValueError(f"expected at least 2 recordings to hold one out, got {len(recordings)}")
    count = min(max(round(held_out * len(recordings)), 1), len(recordings) - 1)
    mask = np.isin(recording, recordings[:count])
    return np.flatnonzero(~mask), np.flatnonzero(mask)


def cross_reconstruction(
    space: LatentSpace, actions: Mapping[str, np.ndarray]
) -> dict[str, dict[str, dict[str, float]]]:
    """Errors of decoding j from what i encoded, against the truth of j.

    Args:
        space: The latent space.
        actions: Paired actions {name: (N, d)}.

    Returns:
        ``result[i][j]``: ``mae``, the mean absolute error in j's action units, and ``r2``, the share of j's variance
        that is explained (summed over components; 0 is as good as always answering the mean).
    """
    result: dict[str, dict[str, dict[str, float]]] = {}
    for source in sorted(actions):
        z = space.encode(source, actions[source])
        result[source] = {}
        for target in sorted(actions):
            truth = np.asarray(actions[target], dtype=np.float64)
            error = space.decode(target, z) - truth
            variance = float(np.square(truth - truth.mean(axis=0)).sum())
            result[source][target] = {
                "mae": round(float(np.abs(error).mean()), 5),
                "r2": round(1 - float(np.square(error).sum()) / max(variance, 1e-12), 4),
            }
    return result


def report_table(errors: Mapping[str, Mapping[str, Mapping[str, float]]]) -> Table:
    """Cross-reconstruction as a table: from (rows) to (columns)."""
    from rich.table import Table

    table = Table("from \\ to", *errors, title="Cross-reconstruction, held-out recordings: mean absolute error (R2)")
    for source, targets in errors.items():
        table.add_row(source, *(f"{e['mae']:.4f} ({e['r2']:.2f})" for e in targets.values()))
    return table
