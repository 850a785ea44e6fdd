"""Composition: which nodes share a process, and the file that tells the process its nodes."""

import json
from dataclasses import replace
from pathlib import Path

import pytest
import yaml

from latent_policy_ros import bringup
from latent_policy_ros.bringup.composition import compose, write_members
from latent_policy_ros.common.errors import LatentPolicyError


@pytest.fixture(scope="module")
def specs():
    return bringup.node_specs(bringup.load_fleet("demo"), record=True)


def processes(specs, mode):
    return {spec.full_name: sorted(node.full_name for node in spec.nodes) for spec in compose(specs, mode)}


def test_without_composition_each_node_has_a_process(specs):
    assert processes(specs, "none") == {spec.full_name: [spec.full_name] for spec in specs}


def test_drivers_and_decoder_of_a_robot_share_a_process(specs):
    assert processes(specs, "robot") == {
        **{name: [name] for name in ("/policy", "/episode", "/recorder", "/left/sim", "/right/sim")},
        "/left/composed": ["/left/arm_driver", "/left/decoder", "/left/hand_driver"],
        "/right/composed": ["/right/arm_driver", "/right/decoder", "/right/gripper_driver"],
    }


@pytest.mark.parametrize(("mode", "deadlines"), [("none", {None}), ("robot", {None}), ("fleet", {0.0})])
def test_commands_have_a_deadline_but_in_a_fleet(specs, mode, deadlines):
    decoders = [node for spec in compose(specs, mode) for node in spec.nodes if node.name == "decoder"]
    assert len(decoders) == 2 and {node.parameters.get("deadline") for node in decoders} == deadlines


def test_drivers_and_decoders_of_a_fleet_share_a_process(specs):
    shared = processes(specs, "fleet")
    assert (
        set(shared) == {"/policy", "/episode", "/recorder", "/left/sim", "/right/sim", "/composed"}
        and len(shared["/composed"]) == 6
    )


def test_large_fleets_have_several_processes(specs):
    robot = [spec for spec in specs if spec.namespace == "left"]
    many = [replace(spec, namespace=f"r{number:02d}") for number in range(20) for spec in robot]
    shared = {name: nodes for name, nodes in processes(many, "fleet").items() if "composed" in name}
    assert {name: len(nodes) for name, nodes in shared.items()} == {"/composed": 24, "/composed_2": 24, "/composed_3": 12}
    assert "/r07/decoder" in shared["/composed"] and "/r08/decoder" in shared["/composed_2"]  # a robot is never split


def test_unknown_mode_is_refused(specs):
    with pytest.raises(LatentPolicyError, match="compose: expected none, robot, fleet, got 'all'"):
        compose(specs, "all")


def test_members_get_their_names_namespaces_and_parameters(specs, tmp_path):
    (left,) = [spec for spec in compose(specs, "robot") if spec.full_name == "/left/composed"]
    members = json.loads(write_members(left, tmp_path, "cell", ["--params-file", "tuned.yaml"]).read_text())["nodes"]
    by_executable = {member["executable"]: member["arguments"] for member in members}
    assert set(by_executable) == {"arm_driver_node", "hand_driver_node", "decoder_node"}
    arguments = by_executable["decoder_node"]
    assert arguments[:5] == ["--ros-args", "-r", "__ns:=/cell/left", "-r", "__node:=decoder"]
    assert arguments[-2:] == ["--params-file", "tuned.yaml"]  # after the node's own, so that it wins
    parameters = yaml.safe_load(Path(arguments[6]).read_text())["/**"]["ros__parameters"]
    assert parameters["embodiment"] == "mimic_hand"
