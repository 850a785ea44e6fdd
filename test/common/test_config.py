"""Reading and validation of configuration files: field types, texts of errors, several mistakes in one file."""

import pickle
from pathlib import Path
from typing import Annotated, Literal

import pytest
from pydantic import Field, model_validator

from latent_policy_ros.common.config import (
    Config,
    Direction,
    FilePath,
    Interval,
    Names,
    Positive,
    Text,
    Vector3,
    Whole,
    config_file,
    field_errors,
    load,
    one_of,
    validate,
)
from latent_policy_ros.common.errors import ConfigError
from latent_policy_ros.common.paths import config_dir


class Joint(Config):
    axis: Direction = (0.0, 0.0, 1.0)
    range: Interval
    speed: Positive | None = None

    @model_validator(mode="after")
    def _check(self):
        if self.speed is not None and self.speed > self.range[1]:
            raise field_errors([("speed", f"expected less than the upper limit {{{self.range[1]:g}}}")])
        return self


class Robot(Config):
    name: Text
    joints: Annotated[dict[str, Joint], Field(min_length=1)]
    kind: Literal["hand", "gripper"] = "hand"
    colour: Annotated[str, one_of(lambda: ("red", "blue"), ", or none")] = "red"
    rate: float = Field(10.0, ge=5.0, le=100.0)
    seed: Whole = Field(0, ge=0, le=9)
    point: Vector3 = (0.0, 0.0, 0.0)
    cameras: Names = ()
    file: FilePath = Path("none")


GOOD = {"name": "tiny", "joints": {"a": {"range": [0, 1]}}}


def findings(**changes):
    values = {key: value for key, value in {**GOOD, **changes}.items() if value is not ...}
    with pytest.raises(ConfigError) as error:
        validate(Robot, values, "tiny.yaml")
    return [tuple(finding) for finding in error.value.findings]


def test_values_are_converted():
    robot = validate(Robot, {**GOOD, "joints": {"a": {"axis": [0, 2, 0], "range": [0, 1]}}, "rate": 10, "seed": 7.0}, "x")
    assert robot.joints["a"].axis == (0.0, 1.0, 0.0) and robot.joints["a"].range == (0.0, 1.0)
    assert type(robot.rate) is float and type(robot.seed) is int


@pytest.mark.parametrize(
    "changes, path, message",
    [
        ({"name": ...}, "name", "missing: expected a string; got only the fields joints"),
        ({"joints": ...}, "joints", "missing: expected a mapping; got only the fields name"),
        ({"joints": {"a": {}}}, "joints.a.range", "missing: expected 2 numbers; got only the fields (nothing)"),
        ({"joints": {}}, "joints", "expected at least one, got none"),
        ({"joints": [1]}, "joints", "expected a mapping, got [1] (a list of 1)"),
        ({"joints": {"a": 3}}, "joints.a", "expected a mapping, got 3 (a number)"),
        ({"joints": {"a": {"range": [1, 0]}}}, "joints.a.range", "expected lower < upper, got [1, 0]"),
        (
            {"joints": {"a": {"range": [0, 1], "axis": [0, 0, 0]}}},
            "joints.a.axis",
            "expected a direction, got a vector of length 0",
        ),
        ({"joints": {"a": {"range": [0, 1], "axis": [0, "y", 0]}}}, "joints.a.axis[1]", "expected a number, got 'y' (a string)"),
        ({"joints": {"a": {"range": [0, float("inf")]}}}, "joints.a.range[1]", "expected a finite number, got inf"),
        ({"joints": {"a": {"range": [0, 1], "speed": 0}}}, "joints.a.speed", "expected a number greater than 0, got 0"),
        (
            {"joints": {"a": {"range": [0, 1], "speed": "1"}}},
            "joints.a.speed",
            "expected a number greater than 0, got '1' (a string)",
        ),
        ({"joints": {"a": {"range": [0, 1], "speed": 2}}}, "joints.a.speed", "expected less than the upper limit {1}"),
        ({"joints": {"a": {"range": [0, 1], "rnage": 2}}}, "joints.a.rnage", "unknown field; available: axis, range, speed"),
        ({"joints": {1: {"range": [0, 1]}}}, "joints", "the name of a field must be a string, got 1 (a number); write '1'"),
        ({"name": ""}, "name", "expected a string, got '' (a string)"),
        ({"name": 3}, "name", "expected a string, got 3 (a number)"),
        ({"kind": "foot"}, "kind", "got 'foot'; available: gripper, hand"),
        ({"colour": "green"}, "colour", "got 'green'; available: blue, red, or none"),
        ({"rate": 500}, "rate", "expected a number from 5 to 100, got 500"),
        ({"rate": True}, "rate", "expected a number from 5 to 100, got True (a boolean)"),
        ({"seed": 1.5}, "seed", "expected a whole number from 0 to 9, got 1.5"),
        ({"point": [0, 1]}, "point", "expected 3 numbers, got [0, 1] (a list of 2)"),
        ({"cameras": "front"}, "cameras", "expected a list of strings, got 'front' (a string)"),
        ({"cameras": ["a", "b", "a"]}, "cameras", "duplicate: a"),
        ({"file": "$NOT_SET_AT_ALL/x"}, "file", "$NOT_SET_AT_ALL/x: this variable is not set"),
        ({"file": "http://x"}, "file", "expected a path or package://NAME/PATH, got 'http://x'"),
        ({"file": "package://no_such/x"}, "file", "no package 'no_such'; source the workspace that contains it, or install it"),
    ],
)
def test_every_mistake_is_reported_with_its_path(changes, path, message):
    assert findings(**changes) == [(path, message)]


def test_three_mistakes_in_one_file_are_all_reported(tmp_path):
    file = tmp_path / "tiny.yaml"
    file.write_text("name: tiny\njoints: {a: {range: [1, 0]}}\nrate: fast\ncolor: red\n")
    with pytest.raises(ConfigError) as caught:
        load(Robot, file)
    assert str(caught.value).splitlines() == [
        f"{file}: joints.a.range: expected lower < upper, got [1, 0]",
        f"{file}: rate: expected a number from 5 to 100, got 'fast' (a string)",
        f"{file}: color: unknown field; available: cameras, colour, file, joints, kind, name, point, rate, seed",
    ]
    assert (caught.value.path, caught.value.message) == tuple(caught.value.findings[0])
    copy = pickle.loads(pickle.dumps(caught.value))
    assert str(copy) == str(caught.value) and copy.findings == caught.value.findings


@pytest.mark.parametrize(
    "text, message",
    [
        ("", "expected a mapping, got nothing"),
        ("[1, 2]", "expected a mapping, got [1, 2] (a list of 2)"),
        ("name: a\nname: b", "is not valid YAML: line 2: duplicate key 'name', first given in line 1"),
        ("[a: 1", "is not valid YAML"),
        ("[1]: 2", "a key must be a name"),
    ],
)
def test_file_that_is_no_mapping_is_refused(tmp_path, text, message):
    (tmp_path / "x.yaml").write_text(text)
    with pytest.raises(ConfigError) as error:
        load(Robot, tmp_path / "x.yaml")
    assert error.value.path == "" and message in error.value.message


def test_paths_are_relative_to_the_file(tmp_path, monkeypatch):
    monkeypatch.setenv("MODELS", "/models")
    paths = {text: validate(Robot, {**GOOD, "file": text}, tmp_path / "x.yaml").file for text in ("a/b", "$MODELS/c", "/d", "~/e")}
    assert paths == {"a/b": tmp_path / "a/b", "$MODELS/c": Path("/models/c"), "/d": Path("/d"), "~/e": Path.home() / "e"}
    description = validate(Robot, {**GOOD, "file": "package://example-robot-data/robots"}, "x.yaml").file
    assert description.is_dir()


def test_files_by_name_and_by_path(tmp_path):
    assert config_file("robots", "demo", "fleet") == config_dir() / "robots" / "demo.yaml"
    (tmp_path / "mine.yaml").touch()
    assert config_file("robots", tmp_path / "mine.yaml", "fleet") == tmp_path / "mine.yaml"
    for name in ("dmeo", str(tmp_path / "other.yaml")):
        with pytest.raises(ConfigError, match=f"no fleet '.*{name}'; available: .*demo.*, or a YAML file"):
            config_file("robots", name, "fleet")


def test_models_cannot_be_changed():
    with pytest.raises(ValueError, match="frozen"):
        validate(Robot, GOOD, "x").rate = 20.0
