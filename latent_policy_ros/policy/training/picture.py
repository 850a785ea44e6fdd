"""Picture of the observations that a policy is trained on."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np

from latent_policy_ros.policy.network.observation_batch import ObservationBatch
from latent_policy_ros.policy.training.dataset import DemonstrationDataset

COLUMNS = 10


def write_observations(data: DemonstrationDataset, file: Path) -> None:
    """Write a picture of some observations, one in each column.

    It has two rows for each camera: as recorded, and as the network sees them in training. Missing and masked images are black.
    """
    recorded, changed = (data.batch(np.random.default_rng(0), augment).observations for augment in (False, True))
    rows = [_row(batch, camera, data.model.image_size) for camera in data.model.cameras for batch in (recorded, changed)]
    picture = cv2.resize(np.concatenate(rows), None, fx=2, fy=2, interpolation=cv2.INTER_NEAREST)
    cv2.imwrite(str(file), picture[..., ::-1])


def _row(batch: ObservationBatch, camera: str, size: int) -> np.ndarray:
    """The first observations of a batch as seen by a camera, (size, COLUMNS * size, 3)."""
    tiles = np.zeros((COLUMNS, size, size, 3), np.uint8)
    if camera in batch.images:
        seen = batch.images[camera]
        shown = seen.rows < COLUMNS
        tiles[seen.rows[shown]] = seen.images[shown]
    return np.concatenate(tiles, axis=1)
