"""LatentSpace: encoding and decoding, files, identity."""

import json
import shutil
import subprocess
import sys
import time
from types import SimpleNamespace

import numpy as np
import pytest

from latent_policy_ros.common.artifacts import artifact_hash, load_tensors
from latent_policy_ros.common.errors import ArtifactError
from latent_policy_ros.common.paths import artifact
from latent_policy_ros.latent.space import LatentSpace


def test_save_and_load_round_trip(space, tmp_path):
    space.save(tmp_path)
    loaded = LatentSpace.load(tmp_path)
    assert loaded.latent_id == space.latent_id and len(loaded.latent_id) == 64
    assert loaded.embodiments == ("gripper", "hand") and loaded.dim == 4 and loaded.report == {"seconds": 1.5}
    x = np.random.default_rng(0).normal(size=(2, 5, 3))
    assert np.array_equal(loaded.encode("hand", x), space.encode("hand", x))


def test_bounded_latents_have_length_one(space):
    z = space.encode("hand", np.random.default_rng(0).normal(size=(7, 3)))
    assert z.dtype == np.float32 and np.allclose(np.linalg.norm(z, axis=1), 1, atol=1e-6)
    assert np.allclose(space.decode("hand", 3 * z), space.decode("hand", z), atol=1e-6)


def test_decoded_actions_stay_within_limits(space):
    x = space.decode("hand", np.random.default_rng(0).normal(size=(1000, 4)))
    assert x.shape == (1000, 3) and x.min() == 0 and x.max() == 1


def test_id_covers_every_tensor_and_hash(space):
    import dataclasses

    codec = space.codecs["hand"]
    ids = {space.latent_id}
    for key, array in codec.tensors.items():
        changed = array.copy()
        changed.flat[-1] += 1
        tensors = {**codec.tensors, key: changed}
        ids.add(LatentSpace({**space.codecs, "hand": dataclasses.replace(codec, tensors=tensors)}).latent_id)
    ids.add(LatentSpace({**space.codecs, "hand": dataclasses.replace(codec, content_hash="ff" * 32)}).latent_id)
    assert len(ids) == 2 + len(codec.tensors)


@pytest.mark.parametrize("keep", [0, 7, 100, -1])
def test_truncated_weights_are_refused(space, tmp_path, keep):
    space.save(tmp_path)
    file = tmp_path / "latent.safetensors"
    file.write_bytes(file.read_bytes()[:keep])
    with pytest.raises(ArtifactError, match="latent.safetensors: damaged .* train a new latent space"):
        LatentSpace.load(tmp_path)


def test_changed_byte_is_refused(space, tmp_path):
    space.save(tmp_path)
    file = tmp_path / "latent.safetensors"
    data = bytearray(file.read_bytes())
    data[-3] ^= 1
    file.write_bytes(data)
    with pytest.raises(ArtifactError, match=f"contents were changed: latent.json states latent_id {space.latent_id[:12]}"):
        LatentSpace.load(tmp_path)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"format": "latent-policy-latent-space/3"}, "format: expected .*/2', got .*/3'; update this package"),
        ({"format": "latent-policy-latent-space/1"}, "got .*/1'; .* train a new latent space with: latent-policy train latent"),
        ({"bounded": False}, "contents were changed"),
        ({"embodiments": {}}, "incomplete"),
        ({"latent_id": "00" * 32}, "states latent_id 000000000000"),
        ({"dim": 5}, "contents were changed"),
    ],
)
def test_changed_description_is_refused(space, tmp_path, change, message):
    space.save(tmp_path)
    file = tmp_path / "latent.json"
    file.write_text(json.dumps(json.loads(file.read_text()) | change))
    with pytest.raises(ArtifactError, match=message):
        LatentSpace.load(tmp_path)


@pytest.mark.parametrize("name", ["latent.json", "latent.safetensors"])
def test_missing_file_is_named(space, tmp_path, name):
    space.save(tmp_path)
    (tmp_path / name).unlink()
    with pytest.raises(ArtifactError, match=f"{name}: no such file"):
        LatentSpace.load(tmp_path)


def test_other_version_of_an_embodiment_is_refused(space):
    def embodiment(content_hash, names=("j0", "j1", "j2")):
        return SimpleNamespace(name="hand", content_hash=content_hash, action_names=names)

    space.check(embodiment("01" * 32))
    with pytest.raises(ArtifactError, match="trained for hand 010101010101, but the embodiment is now ffff"):
        space.check(embodiment("ff" * 32))
    with pytest.raises(ArtifactError, match="expected the actions j0, j1, j2, but the embodiment now has j0, j2, j1; restore"):
        space.check(embodiment("ff" * 32, ("j0", "j2", "j1")))
    with pytest.raises(ArtifactError, match="no embodiment 'foot'; available: gripper, hand"):
        space.check(SimpleNamespace(name="foot", content_hash=""))


def test_wrong_sizes_are_refused(space):
    with pytest.raises(ArtifactError, match=r"encode hand: expected actions \(..., 3\), got \(2,\)"):
        space.encode("hand", np.zeros(2))
    with pytest.raises(ArtifactError, match=r"decode hand: expected latents \(..., 4\), got \(3,\)"):
        space.decode("hand", np.zeros(3))


def test_runtime_imports_without_torch():
    program = "import sys; sys.modules['torch'] = None; import latent_policy_ros.latent, latent_policy_ros.policy"
    subprocess.run([sys.executable, "-c", program], check=True)


def test_shipped_space_loads():
    space = LatentSpace.load(artifact("latents", "default"))
    assert space.latent_id == "0ee56d0d0d605431b2f2165dfdea1c5a567580c0969445fda4e7fdd7b4a38d9a"


def test_new_description_field_keeps_the_id_of_a_stored_space(space, tmp_path, monkeypatch):
    space.save(tmp_path / "old")
    describe = LatentSpace._description
    monkeypatch.setattr(LatentSpace, "_description", lambda self: {**describe(self), "new_field": "default"})
    loaded = LatentSpace.load(tmp_path / "old")
    assert loaded.latent_id == space.latent_id != LatentSpace(space.codecs).latent_id
    loaded.save(tmp_path / "again")
    assert (tmp_path / "again/latent.json").read_text() == (tmp_path / "old/latent.json").read_text()


def test_id_is_the_hash_of_what_is_stored(tmp_path):
    folder = shutil.copytree(artifact("latents", "default"), tmp_path / "copy")
    file = folder / "latent.json"
    described, (tensors, _) = json.loads(file.read_text()), load_tensors(folder / "latent.safetensors", ArtifactError, "")
    stored = {key: value for key, value in described.items() if key not in ("latent_id", "report")}
    assert artifact_hash(stored, tensors) == described["latent_id"]
    file.write_text(json.dumps(described | {"report": {}}))  # the record of the training is no identity
    assert LatentSpace.load(folder).latent_id == described["latent_id"]


def test_unbounded_latents_keep_their_length(space, tmp_path):
    from dataclasses import replace

    free = LatentSpace({name: replace(codec, bounded=False) for name, codec in space.codecs.items()})
    free.save(tmp_path)
    loaded, x = LatentSpace.load(tmp_path), np.random.default_rng(0).normal(size=(50, 3))
    assert not loaded.bounded and loaded.latent_id == free.latent_id != space.latent_id
    assert np.linalg.norm(loaded.encode("hand", x), axis=1).std() > 0.1
    z = loaded.encode("hand", x)
    assert not np.allclose(loaded.decode("hand", 3 * z), loaded.decode("hand", z))
    with pytest.raises(ArtifactError, match="differ in normalisation of latents"):
        LatentSpace({**space.codecs, "other": replace(space.codecs["hand"], name="other", bounded=False)})


def test_chunk_is_decoded_within_half_a_millisecond():
    from random_latents import random_codec

    big = LatentSpace({"hand": random_codec("hand", 24, 1, h=256, dim=32)})
    z, times = np.random.default_rng(0).normal(size=(16, 32)), []
    for _ in range(100):
        start = time.perf_counter()
        big.decode("hand", z)
        times.append(time.perf_counter() - start)
    assert np.median(times) < 5e-4
