"""Limits of files and texts from outside: size, depth, aliases, devices; names that become parts of paths."""

import json
import os

import pytest

from latent_policy_ros.common.artifacts import load_json, write_atomically
from latent_policy_ros.common.bounded_reader import MAX_DEPTH, LimitExceeded, parse_json, read_bytes
from latent_policy_ros.common.errors import ArtifactError, ConfigError
from latent_policy_ros.common.path_names import UnsafeName, inside, namespace, path_name
from latent_policy_ros.common.yaml_file import MAX_VALUES, parse_yaml, read_yaml
from latent_policy_ros.embodiments.description.xml_file import parse_xml

BOMB = "a: &a [x, x, x, x, x, x, x, x, x, x]\n" + "".join(
    f"{chr(98 + i)}: &{chr(98 + i)} [{', '.join([f'*{chr(97 + i)}'] * 10)}]\n" for i in range(12)
)


def test_devices_pipes_and_large_files_are_refused(tmp_path):
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "large").write_bytes(bytes(1001))
    for file in ("/dev/zero", tmp_path / "pipe"):
        with pytest.raises(LimitExceeded, match="is a device, a pipe or a folder"):
            read_bytes(file)
        with pytest.raises(ConfigError, match="is a device, a pipe"):
            read_yaml(file)
    with pytest.raises(LimitExceeded, match="more than 1000 bytes, the limit"):
        read_bytes(tmp_path / "large", 1000)
    assert len(read_bytes(tmp_path / "large", 1001)) == 1001


def test_deeply_nested_json_is_refused(tmp_path):
    for depth in (MAX_DEPTH + 1, 100_000):
        with pytest.raises(LimitExceeded, match=f"deeper than {MAX_DEPTH} levels, the limit"):
            parse_json("[" * depth + "]" * depth)
        (tmp_path / "x.json").write_text('{"a":' * depth + "1" + "}" * depth)
        with pytest.raises(ArtifactError, match="x.json: is nested deeper.*; make it again"):
            load_json(tmp_path / "x.json", ArtifactError, "make it again")
    value = json.loads("[" * MAX_DEPTH + "]" * MAX_DEPTH)
    assert parse_json(json.dumps(value)) == value


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (BOMB, f"more than {MAX_VALUES} values"),
        ("[" * 1000 + "]" * 1000, f"deeper than {MAX_DEPTH} levels, the limit"),
        ("- " * 1000 + "1", f"deeper than {MAX_DEPTH} levels, the limit"),
        ("a: 1" + ":1" * 100_000, "characters without quotes; the limit is"),
    ],
)
def test_yaml_beyond_the_limits_is_refused(tmp_path, text, message):
    with pytest.raises(LimitExceeded, match=message):
        parse_yaml(text)
    (tmp_path / "x.yaml").write_text(text)
    with pytest.raises(ConfigError, match=message):
        read_yaml(tmp_path / "x.yaml")


@pytest.mark.parametrize(
    "text",
    ["a: &a [*a]", "a: *b", "a: 2026-13-01", "a: !!int x", "a: !!bool x", "a: !!timestamp x", "a: " + "9" * 5000, "? {a: b}\n: 1",
     "!!python/object/apply:os.system ['true']", "a: [", "\0"],
)  # fmt: skip
def test_invalid_yaml_is_a_value_error(text):
    with pytest.raises(ValueError):
        parse_yaml(text)


def test_anchors_within_the_limits_are_expanded():
    assert parse_yaml("a: &a {x: [1, 2]}\nb: *a\nc: {<<: *a, y: 3}") == {
        "a": {"x": [1, 2]}, "b": {"x": [1, 2]}, "c": {"x": [1, 2], "y": 3}
    }  # fmt: skip


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("<robot>" * 1000, "nested deeper than 200 elements, the limit"),
        ('<!DOCTYPE x [<!ENTITY a "b">]><robot>&a;</robot>', "defines the entity 'a'"),
    ],
)
def test_xml_beyond_the_limits_is_refused(tmp_path, text, message):
    (tmp_path / "x.urdf").write_text(text)
    with pytest.raises(ConfigError, match=f"x.urdf: .*{message}"):
        parse_xml(tmp_path / "x.urdf")
    with pytest.raises(ConfigError, match="/dev/zero: is a device"):
        parse_xml(type(tmp_path)("/dev/zero"))


@pytest.mark.parametrize(
    "name", ["", ".", "..", "../x", "/x", "a/b", "a\nb", "a\0b", " a", ".hidden", "-rf", "a" * 101, 3, None, "a.b"]
)
def test_names_that_could_leave_a_folder_are_refused(name):
    with pytest.raises(UnsafeName, match="camera: got the name .*expected letters, digits"):
        path_name(name, "camera")


def test_names_of_files_and_folders_are_accepted():
    for name in ("front", "wrist_2", "2nd", "left-cam", "größe"):
        assert path_name(name) == name
    assert namespace("cell/left") == "cell/left"
    with pytest.raises(UnsafeName):
        namespace("cell/../left")


@pytest.mark.parametrize("part", ["../x", "/etc/passwd", "a/../../x", "a\0b"])
def test_paths_outside_of_a_folder_are_refused(tmp_path, part):
    with pytest.raises(UnsafeName, match="is outside of"):
        inside(tmp_path, part)
    assert inside(tmp_path, "a/b.png") == tmp_path / "a" / "b.png"


def test_atomic_writing_does_not_follow_links(tmp_path):
    (tmp_path / "victim").write_text("precious")
    (tmp_path / f".file.{os.getpid()}.part").symlink_to(tmp_path / "victim")
    write_atomically(tmp_path / "file", b"content")
    assert (tmp_path / "victim").read_text() == "precious" and (tmp_path / "file").read_text() == "content"
