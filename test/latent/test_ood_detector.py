"""OODDetector: calibration, identity, speed."""

import time

import numpy as np
import pytest

from latent_policy_ros.common.errors import ArtifactError
from latent_policy_ros.latent.ood_detector import OODDetector
from latent_policy_ros.latent.space import LatentSpace

rng = np.random.default_rng(0)
MIX = rng.normal(size=(6, 6)) * [3, 2, 1, 0.5, 0.3, 0.2]


def cloud(count):
    return (rng.normal(size=(count, 6)) @ MIX + [1, 2, 3, 4, 5, 6]).astype(np.float32)


def test_distance_is_mahalanobis_scaled_by_a_quantile():
    seen, held_out = cloud(20000), cloud(20000)
    detector, z = OODDetector.fit(seen, held_out), cloud(50) * 2
    off, inverse = z - seen.mean(axis=0), np.linalg.inv(np.cov(seen.T))
    expected = np.sqrt(np.einsum("bi, ij, bj -> b", off, inverse, off))
    ratio = detector.distance(z) / expected
    assert np.allclose(ratio, ratio[0], rtol=1e-3)
    assert (detector.distance(held_out) > 1).mean() == pytest.approx(0.001, abs=2e-4)


def test_space_stores_the_detector_and_the_id_covers_it(space, tmp_path):
    z = np.random.default_rng(1).normal(size=(500, space.dim))
    z /= np.linalg.norm(z, axis=1, keepdims=True)
    detector = OODDetector.fit(z[:400], z[400:])
    measured = LatentSpace(space.codecs, ood_detector=detector)
    assert measured.latent_id != space.latent_id
    measured.save(tmp_path)
    loaded = LatentSpace.load(tmp_path)
    assert loaded.latent_id == measured.latent_id
    assert np.array_equal(loaded.distance(z), measured.distance(z)) and loaded.distance(z).shape == (500,)
    assert np.allclose(measured.distance(2 * z), measured.distance(z), rtol=1e-4)  # bounded: length has no effect
    assert loaded.distance(z[0]).shape == ()


def test_missing_detector_is_an_error(space):
    with pytest.raises(ArtifactError, match="no out-of-distribution detector; train a new"):
        space.distance(np.zeros(4))
    with pytest.raises(ArtifactError, match="OOD detector: expected mean"):
        OODDetector({"mean": np.zeros(4)})


def test_distance_takes_less_than_100_microseconds():
    detector, z = OODDetector.fit(cloud(1000), cloud(1000)), cloud(16)
    times = []
    for _ in range(200):
        start = time.perf_counter()
        detector.distance(z)
        times.append(time.perf_counter() - start)
    assert np.median(times) < 1e-4
