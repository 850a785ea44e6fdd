"""Displays of a fleet: names of topics and frames in RViz and Foxglove are those of its nodes."""

import json

import pytest
import yaml
from typer.testing import CliRunner

from latent_policy_ros import bringup
from latent_policy_ros.bringup.displays import foxglove_layout, placements, rviz_config
from latent_policy_ros.cli import app
from latent_policy_ros.common.paths import config_dir


@pytest.fixture
def fleet(tmp_path, fleet_content):
    def load(**right):
        fleet_content["robots"]["right"] |= right
        file = tmp_path / "fleet.yaml"
        file.write_text(yaml.safe_dump(fleet_content))
        return bringup.load_fleet(file)

    return load


def displays(text):
    """{name: its settings} of a configuration of RViz, and the fixed frame."""
    manager = yaml.safe_load(text)["Visualization Manager"]
    found = [d for display in manager["Displays"] for d in (display, *display.get("Displays", ()))]
    return {d["Name"] if d["Name"] != "RobotModel" else d["TF Prefix"]: d for d in found}, manager["Global Options"]["Fixed Frame"]


def test_rviz_shows_every_robot_in_one_frame(fleet):
    found, frame = displays(rviz_config(fleet(), "/cell_a"))
    assert frame == "cell_a/world"
    model = found["cell_a/left"]
    assert model["Description Topic"]["Value"] == "/cell_a/left/robot_description"
    assert model["Description Topic"]["Durability Policy"] == "Transient Local"  # it is published once
    images = {name: d["Topic"] for name, d in found.items() if d["Class"].endswith("/Image")}
    assert {name: topic["Value"] for name, topic in images.items()} == {
        "left front": "/cell_a/left/front/image_raw", "left wrist": "/cell_a/left/wrist/image_raw",
        "right front": "/cell_a/right/front/image_raw",
    }  # fmt: skip
    assert {topic["Reliability Policy"] for topic in images.values()} == {"Best Effort"}
    assert "/diagnostics" not in str(found) and "right" in found


def test_compressed_images_and_places_of_hardware(fleet, monkeypatch):
    own = {"driver": "none", "arm_driver": "none", "images": "compressed"}
    found, frame = displays(rviz_config(fleet(**own)))
    assert found["right front"]["Topic"]["Value"] == "/right/front/image_raw/compressed"
    assert frame == "left/panda_link0"  # where the other robot stands is not known
    pose = [1.0, 0.5, 0.0, 0.0, 0.0, 3.14]
    loaded = fleet(**own, parameters={"description": {"world_pose": pose}})
    assert placements(loaded) == {"right": pose}


def test_one_robot_needs_no_common_frame(artifact_folders):
    fleet = bringup.single_robot("robot", "mimic_hand", ["front"], **artifact_folders, robot_namespaces=False)
    found, frame = displays(rviz_config(fleet, "left"))
    assert frame == "left/panda_link0" and found["left"]["Description Topic"]["Value"] == "/left/robot_description"
    assert not [s for s in bringup.node_specs(fleet, tf=True) if s.parameters.get("world_frame")]


def test_description_nodes_place_the_robots_where_displays_expect_them(fleet):
    specs = bringup.node_specs(fleet(), tf=True, namespace="/cell_a")
    found = {s.namespace: s.parameters for s in specs if s.name == "description"}
    assert {name: p["world_frame"] for name, p in found.items()} == dict.fromkeys(("left", "right"), "cell_a/world")
    assert [p["world_pose"][1] for p in found.values()] == [0.0, -1.5]
    assert [s.parameters["tf"] for s in specs if s.name == "sim"] == [True]


@pytest.mark.parametrize("recorded", [True, False])
def test_every_panel_of_the_foxglove_layout_is_placed_once(fleet, recorded):
    content = json.loads(foxglove_layout(fleet(), recorded=recorded))
    placed = []

    def visit(part):
        if isinstance(part, str):
            placed.append(part)
        else:
            visit(part["first"]), visit(part["second"])

    visit(content["layout"])
    panels = content["configById"]
    assert sorted(placed) == sorted(panels)
    assert panels["Image!left_wrist"]["imageMode"] == {
        "imageTopic": f"/left/wrist/image_raw{'/compressed' if recorded else ''}", "calibrationTopic": "/left/wrist/camera_info",
    }  # fmt: skip
    layer = panels["3D!robots"]["layers"]["right"]
    assert (layer["topic"], layer["framePrefix"]) == ("/right/robot_description", "right/")
    assert panels["3D!robots"]["followTf"] == "world"


@pytest.mark.parametrize("file, make", [("rviz/demo.rviz", rviz_config), ("foxglove/demo.json", foxglove_layout)])
def test_shipped_files_are_those_of_the_demo(file, make):
    written = (config_dir() / file).read_text(encoding="utf-8")
    assert written == make(bringup.load_fleet("demo")), "run: latent-policy displays demo --out config"


def test_the_command_writes_both_files(fleet, tmp_path):
    file = fleet().file
    done = CliRunner().invoke(app, ["displays", str(file), "--out", str(tmp_path / "out"), "--namespace", "cell_a", "--live"])
    assert done.exit_code == 0, done.output
    rviz, foxglove = tmp_path / "out/rviz/cell_a.fleet.rviz", tmp_path / "out/foxglove/cell_a.fleet.json"
    assert displays(rviz.read_text())[1] == "cell_a/world"
    assert '/cell_a/left/front/image_raw"' in foxglove.read_text()
