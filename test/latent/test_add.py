"""Addition of an embodiment to a frozen latent space, in files of its own, and refit of one of the space."""

import json
from dataclasses import replace

import numpy as np
import pytest
from typer.testing import CliRunner

from latent_policy_ros.cli import app
from latent_policy_ros.common.errors import ArtifactError, ConfigError
from latent_policy_ros.common.paths import artifact
from latent_policy_ros.embodiments import load_embodiment
from latent_policy_ros.latent import add
from latent_policy_ros.latent.add import add_embodiment, add_to_folder, refit_embodiment, refit_in_folder
from latent_policy_ros.latent.space import LatentSpace
from latent_policy_ros.latent.training import train_latent_from_settings


@pytest.fixture(scope="module")
def extended(trained, tmp_path_factory):
    """Folder of a space with mimic_hand added, and its metrics."""
    folder = tmp_path_factory.mktemp("space")
    trained.save(folder)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(add, "FRAMES", 3000)
        patch.setattr(add, "STEPS", 300)
        _, measures = add_to_folder(load_embodiment("mimic_hand"), folder)
    return folder, measures


@pytest.fixture
def copy(extended, tmp_path):
    LatentSpace.load(extended[0]).save(tmp_path)
    return tmp_path


def test_other_codecs_and_the_id_do_not_change(trained, extended):
    space = LatentSpace.load(extended[0])
    assert space.latent_id == trained.latent_id and set(space.added) == {"mimic_hand"}
    assert set(space.embodiments) == {*trained.embodiments, "mimic_hand"}
    x = np.zeros((1, 11))
    assert np.array_equal(space.encode("faive_hand", x), trained.encode("faive_hand", x))


def test_decoding_from_and_to_the_added_embodiment(extended):
    _, measures = extended
    at = {name: i for i, name in enumerate(measures.names)}
    tips = measures.pairs["tips"]
    for other in ("human_hand", "faive_hand"):  # mm, on held-out recordings
        assert tips[at[other], at["mimic_hand"]] < 14 and tips[at["mimic_hand"], at[other]] < 20
    assert measures.pairs["r2"][at["mimic_hand"], at["panda_gripper"]] > 0.7
    assert tips[at["mimic_hand"], at["mimic_hand"]] < tips[at["panda_gripper"], at["mimic_hand"]] / 2


def test_adding_to_a_copy_keeps_the_original(trained, tmp_path, monkeypatch):
    monkeypatch.setattr(add, "FRAMES", 600)
    monkeypatch.setattr(add, "STEPS", 2)
    trained.save(tmp_path / "a")
    command = ["latent", "add", "mimic_hand", "--to", str(tmp_path / "a"), "-o", str(tmp_path / "b")]
    result = CliRunner().invoke(app, command, env={"COLUMNS": "80"})
    assert result.exit_code == 0 and "from it to mimic_hand" in result.output and "…" not in result.output, result.output
    assert not LatentSpace.load(tmp_path / "a").added and set(LatentSpace.load(tmp_path / "b").added) == {"mimic_hand"}


def test_check_covers_added_embodiments(extended):
    space = LatentSpace.load(extended[0])
    space.check(load_embodiment("mimic_hand"))
    left = load_embodiment("mimic_hand_left")
    space.check(left)
    assert space.expected_hash("mimic_hand_left") == left.content_hash != space.expected_hash("mimic_hand")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"latent_id": "ab" * 32}, "mimic_hand was fitted to latent space abababababab, but this is .*; remove .* add it again"),
        ({"format": "latent-policy-added-embodiment/9"}, "expected .*embodiment/1', got .*embodiment/9'; update this package"),
        ({"content_hash": "00" * 32}, "contents were changed"),
        ({"name": "other"}, "contents were changed"),
        ({"action_names": ["a"]}, "16 inputs but 1 action names"),
    ],
)
def test_changed_description_is_refused(copy, change, message):
    file = copy / "added" / "mimic_hand.json"
    file.write_text(json.dumps(json.loads(file.read_text()) | change))
    refused(copy, message)


def refused(folder, message):
    """The added embodiment raises the error; all others remain usable."""
    space = LatentSpace.load(folder)
    assert "mimic_hand" not in space.embodiments and space.codec("faive_hand")
    for name in ("mimic_hand", "mimic_hand_left"):
        with pytest.raises(ArtifactError, match=message):
            space.codec(name)


def test_damaged_weights_are_refused(copy):
    file = copy / "added" / "mimic_hand.safetensors"
    data = bytearray(file.read_bytes())
    file.write_bytes(data[:-50])
    refused(copy, "mimic_hand.safetensors: damaged .* add it again")
    data[-3] ^= 1
    file.write_bytes(data)
    refused(copy, "contents were changed")


def test_adding_again_replaces_damaged_files(copy, monkeypatch):
    monkeypatch.setattr(add, "FRAMES", 600)
    monkeypatch.setattr(add, "STEPS", 2)
    (copy / "added" / "mimic_hand.safetensors").write_bytes(b"")
    add_to_folder(load_embodiment("mimic_hand"), copy)
    assert LatentSpace.load(copy).codec("mimic_hand")


def test_copy_keeps_the_metrics_of_added_embodiments(extended, tmp_path):
    add.copy_space(extended[0], tmp_path)
    for file in ("latent.json", "added/mimic_hand.json"):
        assert (tmp_path / file).read_bytes() == (extended[0] / file).read_bytes()
    assert LatentSpace.load(tmp_path).codec("mimic_hand")


def test_training_over_a_space_with_added_embodiments_is_refused(extended):
    with pytest.raises(ArtifactError, match="added: these embodiments were added to an earlier .*; choose another folder"):
        train_latent_from_settings("latent", extended[0])


def test_refused_embodiments(trained):
    for name in ("faive_hand", "faive_hand_left"):
        with pytest.raises(ArtifactError, match=f"was trained with faive_hand; give {name} another name"):
            add_embodiment(trained, load_embodiment(name))
    with pytest.raises(ConfigError, match="expected a hand or a gripper to add, got human"):
        add_embodiment(trained, load_embodiment("human_hand"))


def test_refit_changes_one_codec_and_the_id(trained, tmp_path):
    space = replace(trained, report={"settings": {**trained.report["settings"], "frames": 3000, "decoding_steps": 300}})
    space.save(tmp_path / "a")
    refitted, measures = refit_in_folder(load_embodiment("faive_hand"), tmp_path / "a", tmp_path / "b")
    loaded = LatentSpace.load(tmp_path / "b")
    assert loaded.latent_id == refitted.latent_id != trained.latent_id == LatentSpace.load(tmp_path / "a").latent_id
    assert loaded.embodiments == trained.embodiments and not loaded.added
    for name in trained.codecs:
        same = [np.array_equal(loaded.codec(name).tensors[key], array) for key, array in trained.codec(name).tensors.items()]
        assert all(same) == (name != "faive_hand")
    z = trained.encode("human_hand", np.zeros((1, 189)))
    assert np.array_equal(loaded.distance(z), trained.distance(z))
    at = {name: i for i, name in enumerate(measures.names)}
    assert measures.pairs["tips"][at["human_hand"], at["faive_hand"]] < 14  # mm, on held-out recordings
    assert loaded.report["refitted"]["faive_hand"]["from"] == trained.latent_id
    assert loaded.report["settings"] == space.report["settings"]


def test_refused_refits(trained, extended, tmp_path):
    with pytest.raises(ArtifactError, match="was not trained with mimic_hand; available: faive_hand, human_hand, panda_gripper"):
        refit_embodiment(trained, load_embodiment("mimic_hand"))
    with pytest.raises(ConfigError, match="expected a hand or a gripper to refit, got human"):
        refit_embodiment(trained, load_embodiment("human_hand"))
    trained.save(tmp_path)
    with pytest.raises(ArtifactError, match="added: these embodiments were added to an earlier .*; choose another folder"):
        refit_in_folder(load_embodiment("faive_hand"), tmp_path, extended[0])


def test_refit_command_refuses_a_policy_of_another_space_before_the_work(trained, tmp_path):
    trained.save(tmp_path / "a")
    command = ["latent", "refit", "faive_hand", "--in", str(tmp_path / "a"), "--policy", "default", "-o", str(tmp_path / "b")]
    result = CliRunner().invoke(app, command)
    assert isinstance(result.exception, ArtifactError) and not (tmp_path / "b").exists()
    shipped = LatentSpace.load(artifact("latents", "default"))
    assert f"is for latent space {shipped.latent_id[:12]}, got {trained.latent_id[:12]}" in str(result.exception)


def test_error_of_an_unknown_embodiment_names_the_command(trained):
    with pytest.raises(ArtifactError, match="no embodiment 'mimic_hand'; available: .*latent-policy latent add"):
        trained.codec("mimic_hand")
