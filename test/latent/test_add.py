"""A new embodiment joins a space that stays as it is, in files of its own, which are loaded whole or refused."""

import json

import numpy as np
import pytest
from typer.testing import CliRunner

from latent_policy_ros.cli import app
from latent_policy_ros.common.errors import ArtifactError, ConfigError
from latent_policy_ros.embodiments import load_embodiment
from latent_policy_ros.latent import add
from latent_policy_ros.latent.add import add_embodiment, add_to_folder
from latent_policy_ros.latent.space import LatentSpace
from latent_policy_ros.latent.training import train_latent_from_settings


@pytest.fixture(scope="module")
def grown(trained, tmp_path_factory):
    """(folder of a space with mimic_hand added, what was measured)."""
    folder = tmp_path_factory.mktemp("space")
    trained.save(folder)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(add, "FRAMES", 3000)
        patch.setattr(add, "STEPS", 300)
        _, measures = add_to_folder(load_embodiment("mimic_hand"), folder)
    return folder, measures


@pytest.fixture
def copy(grown, tmp_path):
    LatentSpace.load(grown[0]).save(tmp_path)
    return tmp_path


def test_the_others_and_the_id_stay_as_they_were(trained, grown):
    space = LatentSpace.load(grown[0])
    assert space.latent_id == trained.latent_id and set(space.added) == {"mimic_hand"}
    assert set(space.embodiments) == {*trained.embodiments, "mimic_hand"}
    x = np.zeros((1, 11))
    assert np.array_equal(space.encode("faive_hand", x), trained.encode("faive_hand", x))


def test_it_understands_and_is_understood(grown):
    _, measures = grown
    at = {name: i for i, name in enumerate(measures.names)}
    tips = measures.pairs["tips"]
    for other in ("human_hand", "faive_hand"):  # mm, on recordings that were held out, from and to
        assert tips[at[other], at["mimic_hand"]] < 14 and tips[at["mimic_hand"], at[other]] < 20
    assert measures.pairs["r2"][at["mimic_hand"], at["panda_gripper"]] > 0.7
    assert tips[at["mimic_hand"], at["mimic_hand"]] < tips[at["panda_gripper"], at["mimic_hand"]] / 2


def test_a_copy_leaves_the_original_alone(trained, tmp_path, monkeypatch):
    monkeypatch.setattr(add, "FRAMES", 600)
    monkeypatch.setattr(add, "STEPS", 2)
    trained.save(tmp_path / "a")
    command = ["latent", "add", "mimic_hand", "--to", str(tmp_path / "a"), "-o", str(tmp_path / "b")]
    told = CliRunner().invoke(app, command, env={"COLUMNS": "80"})
    assert told.exit_code == 0 and "from it to mimic_hand" in told.output and "…" not in told.output, told.output
    assert not LatentSpace.load(tmp_path / "a").added and set(LatentSpace.load(tmp_path / "b").added) == {"mimic_hand"}


def test_a_policys_checks_hold_for_it_too(grown):
    space = LatentSpace.load(grown[0])
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
def test_a_changed_description_is_refused(copy, change, message):
    file = copy / "added" / "mimic_hand.json"
    file.write_text(json.dumps(json.loads(file.read_text()) | change))
    refused(copy, message)


def refused(folder, message):
    """Whoever asks for it is told; all others have their latent space."""
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


def test_a_damaged_one_is_mended_by_adding_it_again(copy, monkeypatch):
    monkeypatch.setattr(add, "FRAMES", 600)
    monkeypatch.setattr(add, "STEPS", 2)
    (copy / "added" / "mimic_hand.safetensors").write_bytes(b"")
    add_to_folder(load_embodiment("mimic_hand"), copy)
    assert LatentSpace.load(copy).codec("mimic_hand")


def test_a_copy_keeps_what_was_measured_of_those_added_before(grown, tmp_path):
    add.copy_space(grown[0], tmp_path)
    for file in ("latent.json", "added/mimic_hand.json"):
        assert (tmp_path / file).read_bytes() == (grown[0] / file).read_bytes()
    assert LatentSpace.load(tmp_path).codec("mimic_hand")


def test_another_latent_space_is_not_trained_over_one_with_added_embodiments(grown):
    with pytest.raises(ArtifactError, match="added: embodiments were added to the space before this one; choose another folder"):
        train_latent_from_settings("latent", grown[0])


def test_what_cannot_be_added(trained):
    for name in ("faive_hand", "faive_hand_left"):
        with pytest.raises(ArtifactError, match=f"{name}: faive_hand is in latent space .* itself; give yours another name"):
            add_embodiment(trained, load_embodiment(name))
    with pytest.raises(ConfigError, match="expected a hand or a gripper to add, got human"):
        add_embodiment(trained, load_embodiment("human_hand"))


def test_an_unknown_embodiment_hears_how_it_is_added(trained):
    with pytest.raises(ArtifactError, match="no embodiment 'mimic_hand'; available: .*latent-policy latent add"):
        trained.codec("mimic_hand")
