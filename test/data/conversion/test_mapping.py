"""Mapping files: values, and errors with their place; robots of bags from their metadata."""

import json

import numpy as np
import pytest
import yaml

from latent_policy_ros.common.errors import ConfigError
from latent_policy_ros.common.paths import config_dir
from latent_policy_ros.data.conversion.mapping import robots_of_bag, with_cameras
from latent_policy_ros.data.conversion.mapping_file import load_mapping
from latent_policy_ros.data.recording.episode_recording import recording_metadata
from latent_policy_ros.embodiments import load_embodiment

GOOD = {
    "task": "stack",
    "fps": 30,
    "limits": {"state": 0.02},
    "robots": {
        "rig": {
            "embodiment": "panda_gripper",
            "cameras": {"top": "/cam"},
            "state": {"topic": "/state", "units": "mm", "more_units": "deg"},
            "command": {"topic": "/command", "order": ["a", "b"]},
            "more_joints": ["arm"],
            "rename": {"a": "panda_finger_joint1", "b": "arm"},
        }
    },
}


def load(tmp_path, content):
    file = tmp_path / "mapping.yaml"
    file.write_text(yaml.safe_dump(content))
    return load_mapping(file)


def changed(path, value):
    """GOOD with one field changed, or without it."""
    content = yaml.safe_load(yaml.safe_dump(GOOD))
    *parents, last = path.split(".")
    section = content
    for parent in parents:
        section = section[parent]
    if value is None:
        del section[last]
    else:
        section[last] = value
    return content


def test_values_of_a_mapping(tmp_path):
    mapping = load(tmp_path, GOOD)
    (robot,) = mapping.robots
    assert (mapping.task, mapping.fps, mapping.limits.state, mapping.limits.command) == ("stack", 30, 0.02, 0.3)
    assert robot.joints == ("panda_finger_joint1", "arm") and robot.command[0].scale == {}
    assert robot.state[0].scale == {"panda_finger_joint1": (1e-3, 0.0), "arm": (pytest.approx(np.pi / 180), 0.0)}
    assert mapping.limits.camera_at(30) == pytest.approx(0.05) and mapping.limits.camera_at(5) == pytest.approx(0.3)


@pytest.mark.parametrize(
    ("path", "value", "message"),
    [
        ("fps", 29.97, "fps: expected a whole number greater than 0, got 29.97"),
        ("fps", 0, "fps: expected a whole number greater than 0, got 0"),
        ("stamps", "arrival", "stamps: got 'arrival'; available: header, receive"),
        ("limits.state", -1, "limits.state: expected a number greater than 0"),
        ("limits.touch", 1, "limits.touch: unknown field; available: bridge, camera, command, repeated, state"),
        ("robots", {}, "robots: expected at least one, got none"),
        ("robots.rig.embodiment", "tentacle", "robots.rig.embodiment: .*got 'tentacle'; available: ability_hand"),
        ("robots.rig.embodiment", "human_hand", "robots.rig.embodiment: human_hand cannot be commanded"),
        ("robots.rig.cameras", None, "robots.rig.cameras: missing"),
        ("robots.rig.state.topic", None, "robots.rig.state.topic: missing"),
        ("robots.rig.state.units", "inch", "robots.rig.state.units: got 'inch'; available: deg, m, mm, rad"),
        ("robots.rig.state.units", "deg", "robots.rig.state.units: deg is a unit of revolute joints, but panda_gripper has none"),
        ("robots.rig.state.more_units", None, "robots.rig.state.more_units: missing: are more_joints in mm too"),
        ("robots.rig.command.order", ["x"], "robots.rig.command.order: names no joint of the robot; got x"),
        ("robots.rig.state.closed", 255, "robots.rig.state.open: missing: expected both"),
        ("robots.rig.state", [{"topic": "/s"}, {"topic": "/t", "unit": "mm"}], r"robots.rig.state\[1\].unit: unknown field"),
        ("robots.rig.state", [], "robots.rig.state: expected a source or a list of sources, got none"),
        ("robots.rig.command", {"next_state": 0}, "robots.rig.command.next_state: expected a whole number greater than 0, got 0"),
        ("robots.rig.wrist", {"frames": ["base"]}, "robots.rig.wrist.frames: expected two frames, base and wrist, got base"),
        ("robots.rig.wrist_command", "next_state", "robots.rig.wrist_command: next_state takes .*; `wrist` is missing"),
        ("robots.rig.frames", {"tracker": [1, 2]}, "robots.rig.frames.tracker: expected `same` or 7 numbers"),
        ("on_hole", "fill", "on_hole: got 'fill'; available: drop, keep, split"),
        ("outcome", "good", "outcome: got 'good'; available: failure, success"),
        ("robots.rig.rename", {"a": "thumb"}, "robots.rig.rename: no joints thumb; available: arm, panda_finger_joint1"),
        ("robots.rig.rename", {"a": "arm", "b": "arm"}, "robots.rig.rename: two joints become arm"),
        (
            "robots.rig.more_joints",
            ["panda_finger_joint1"],
            "robots.rig.more_joints: joints of the end-effector: panda_finger_joint1",
        ),
        ("robots.rig.cameras", {"top": "/cam", "front": "/cam"}, "robots.rig.cameras.top: /cam is already cameras.front"),
        ("robots.rig.command.topic", "/state", "command.topic: /state is already state.topic; .*next_state"),
        ("robots.rig.cameras", {"arm/top": "/cam"}, "robots.rig.cameras.arm/top: got the name 'arm/top'; expected letters"),
        (
            "robots.rig.streams",
            {"skin": {"topic": "/skin", "modality": "smell"}},
            "streams.skin.modality: unknown modality 'smell'",
        ),
        ("robots.rig.streams", {"skin": {"topic": "/skin", "modality": "joint_state"}}, "'joint_state' is for joints, not for"),
        ("robots.rig.streams", {"wrist": {"topic": "/skin", "modality": "tactile"}}, "got the name 'wrist'; expected none of"),
        (
            "robots.rig.streams",
            {"skin": {"topic": "/cam", "modality": "tactile"}},
            "streams.skin.topic: /cam is already",
        ),
        ("robots.rig.wrist_topic", "/pose", "robots.rig.wrist_topic: unknown field"),
    ],
)
def test_every_mistake_is_reported_with_its_path(tmp_path, path, value, message):
    with pytest.raises(ConfigError, match=message):
        load(tmp_path, changed(path, value))


def test_sources_episodes_and_frames(tmp_path):
    content = changed("robots.rig.state", [{"topic": "/a", "limit": 0.2}, "/b"])
    rig = content["robots"]["rig"]
    rig["command"] = {"topic": "/command", "closed": 255, "open": 0}
    rig |= {"wrist": {"frames": ["base", "tool0"]}, "wrist_command": "next_state", "frames": {"/world": "same"}}
    content |= {"outcome": "success", "on_hole": "keep", "episodes": {"marker": "/mark", "begin": True, "end": 0}}
    mapping = load(tmp_path, content)
    (robot,) = mapping.robots
    assert [(source.topics, source.limit) for source in robot.state] == [(("/a",), 0.2), (("/b",), 0.0)]
    factor, offset = robot.command[0].scale["panda_finger_joint1"]
    assert 255 * factor + offset == pytest.approx(0.0) and offset == pytest.approx(0.04)
    assert (robot.wrist.topic, robot.wrist.frames, robot.wrist_follows) == ("/tf", ("base", "tool0"), True)
    assert robot.frames == {"world": (0, 0, 0, 0, 0, 0, 1)} and robot.wrist_command is None
    assert (mapping.outcome, mapping.on_hole) == ("success", "keep")
    assert (mapping.episodes.begin, mapping.episodes.end) == ("true", "0")
    rig["command"] = "next_state"
    assert load(tmp_path, content).robots[0].next_state == 1


def test_shipped_mappings_load():
    mapping = load_mapping("example")
    assert len(mapping.robots[0].joints) == 23
    with pytest.raises(ConfigError, match="no mapping 'nothing'; available: .*example"):
        load_mapping("nothing")
    for file in (config_dir() / "mappings").glob("*.yaml"):
        load_mapping(file)


def test_bag_metadata_names_the_file_of_a_custom_embodiment(tmp_path):
    shipped = load_embodiment("panda_gripper")
    file = tmp_path / "my_gripper.yaml"
    file.write_text(shipped.file.read_text().replace("name: panda_gripper", "name: my_gripper"))
    mine = load_embodiment(file)
    recorded = recording_metadata(["rig"], {"rig": ["top"]}, [str(file)], "", "", "")
    (robot,) = robots_of_bag(recorded)
    assert robot.embodiment == mine and mine.name == "my_gripper"
    earlier = {"rig": {"name": mine.name, "content_hash": mine.content_hash}}  # bags by earlier versions: only the fleet has it
    fleet = yaml.safe_dump({"robots": {"rig": {"embodiment": str(file), "cameras": ["top"], "driver": "sim"}}})
    (robot,) = robots_of_bag({"embodiments": json.dumps(earlier), "fleet": fleet})
    assert robot.embodiment == mine
    file.unlink()
    with pytest.raises(ConfigError, match="no embodiment '.*my_gripper.yaml'"):
        robots_of_bag(recorded)
    moved = {"rig": {"name": "panda_gripper", "content_hash": "", "reference": str(file)}}
    (robot,) = robots_of_bag({"embodiments": json.dumps(moved), "cameras": '{"rig": []}'})
    assert robot.embodiment.name == "panda_gripper"


def test_robots_of_a_demo_bag():
    (left, right) = robots_of_bag({"fleet": (config_dir() / "robots/demo.yaml").read_text()})
    assert (left.robot, left.embodiment.name, tuple(left.cameras)) == ("left", "mimic_hand", ("front", "wrist"))
    assert right.command[0].topics == ("/right/gripper_command",) and right.state[0].topics == ("/right/joint_states",)
    assert [tuple(robot.cameras) for robot in with_cameras((left, right), ("front",))] == [("front",), ("front",)]
    with pytest.raises(ConfigError, match="available: front, wrist$"):
        with_cameras((left, right), ("rear",))
    with pytest.raises(ConfigError, match="invalid: "):
        robots_of_bag({"embodiments": "[1]", "cameras": "{}"})
    assert robots_of_bag({}) == ()
