"""`latent-policy record`: parameters of the recorder for fleets and for topics."""

import pytest
import yaml

from latent_policy_ros import bringup
from latent_policy_ros.cli.record import recorder
from latent_policy_ros.common.errors import ConfigError


@pytest.fixture
def fleet(tmp_path, fleet_content):
    file = tmp_path / "fleet.yaml"
    file.write_text("# comment\n" + yaml.safe_dump(fleet_content))
    return file


def test_recorder_of_a_fleet_has_the_parameters_of_up_record(fleet, tmp_path):
    beside = bringup.node_specs(bringup.load_fleet(fleet), record=True, bag_folder=tmp_path)[-1]
    alone = recorder([str(fleet)], ["/tf"], tmp_path, "", "raw", 3.0, False)
    more = {"images": "raw", "start_wait": 3.0, "start_now": True, "topics": ["/tf"]}
    assert dict(alone.parameters) == {**beside.parameters, **more}
    assert alone.parameters["fleet"] == fleet.read_text()  # including comments
    assert alone.parameters["embodiments"] == ["mimic_hand", "panda_gripper"] and alone.parameters["task"] == "stack: all"
    assert recorder([str(fleet)], [], None, "other", "jpeg", 3.0, True).parameters["task"] == "other"


def test_recorder_of_topics_needs_no_fleet(tmp_path):
    spec = recorder(["/a", "/b/c"], ["/d"], tmp_path, "look", "jpeg", 3.0, False)
    assert spec.parameters["topics"] == ["/a", "/b/c", "/d"] and "robots" not in spec.parameters
    assert bringup.write_parameters(spec, tmp_path).is_file()


@pytest.mark.parametrize("what, words", [(["demo", "/a"], "one fleet"), (["/a", "b"], "'b'"), (["dmeo"], "available: .*demo")])
def test_invalid_argument_is_named(what, words):
    with pytest.raises(ConfigError, match=words):
        recorder(what, [], None, "", "jpeg", 3.0, False)


def test_fleet_file_of_launch_arguments_is_equivalent(tmp_path, artifact_folders):
    fleet = bringup.single_robot("arm1", "panda_gripper", ["front"], "mock", **artifact_folders)
    file = tmp_path / "same.yaml"
    file.write_text(bringup.recorder_spec(fleet).parameters["fleet"])
    same = bringup.load_fleet(file)
    assert (same.policy, same.latent) == (fleet.policy, fleet.latent) and same.robots["arm1"].arm.reference == "panda"
    alike = [f.robots["arm1"].model_copy(update={"arm": None}) for f in (same, fleet)]  # arms cannot be compared
    assert alike[0] == alike[1]
