"""Fleet files: the list of nodes, and errors with their place."""

import copy
import os
from pathlib import Path

import pytest
import yaml

from latent_policy_ros import bringup
from latent_policy_ros.bringup import node_list
from latent_policy_ros.common.errors import ConfigError, LatentPolicyError
from latent_policy_ros.common.paths import config_dir
from latent_policy_ros.drivers.registry import ALLOWED_MODULES


def load(tmp_path, fleet_content):
    file = tmp_path / "fleet.yaml"
    file.write_text(yaml.safe_dump(fleet_content))
    return bringup.load_fleet(file)


def test_nodes_of_a_fleet(tmp_path, fleet_content):
    specs = bringup.node_specs(load(tmp_path, fleet_content), record=True, socket_folder=Path("/run/x"))
    assert [(s.executable, s.full_name) for s in specs] == [
        ("sim_node", "/left/sim"),
        ("arm_driver_node", "/left/arm_driver"),
        ("hand_driver_node", "/left/hand_driver"),
        ("decoder_node", "/left/decoder"),
        ("arm_driver_node", "/right/arm_driver"),
        ("gripper_driver_node", "/right/gripper_driver"),
        ("decoder_node", "/right/decoder"),
        ("policy_node", "/policy"),
        ("episode_node", "/episode"),
        ("recorder_node", "/recorder"),
    ]
    by_name = {s.full_name: s.parameters for s in specs}
    assert by_name["/left/sim"]["socket_path"] == by_name["/left/arm_driver"]["socket_path"] == "/run/x/left.sock"
    assert by_name["/left/sim"]["seed"] == 7 and "socket_path" not in by_name["/right/arm_driver"]
    assert by_name["/policy"]["cameras"] == ["front,wrist", "front"] and by_name["/policy"]["rate"] == 10.0
    assert isinstance(by_name["/policy"]["rate"], float)  # ROS does not convert parameter types


def test_parts_of_a_fleet_for_several_machines(tmp_path, fleet_content):
    fleet = load(tmp_path, fleet_content)
    names = lambda *only: {spec.full_name for spec in bringup.node_specs(fleet, record=True, only=only)}
    assert names("shared") == {"/policy", "/episode", "/recorder"}
    assert names("left") and all(name.startswith("/left/") for name in names("left"))
    assert names("shared") | names("left", "right") == names()
    with pytest.raises(ConfigError, match="no part kitchen; available: left, right, shared"):
        bringup.node_specs(fleet, only=["kitchen"])


def test_teleoperation_replaces_the_policy(tmp_path, fleet_content, recorded_hand):
    fleet = load(tmp_path, fleet_content)
    plain = bringup.node_specs(fleet, record=True)
    by_hand = bringup.node_specs(fleet, record=True, teleoperation=bringup.Teleoperation(file=recorded_hand, units="mm"))
    names = [s.full_name for s in by_hand]
    assert names == [s.full_name.replace("/policy", "/human_hand") for s in plain if s.name != "episode"]
    human = next(s for s in by_hand if s.executable == "human_hand_node").parameters
    assert human["robots"] == ["left", "right"] and human["embodiments"] == ["mimic_hand", "panda_gripper"]
    assert human["latent"] == str(fleet.latent) and human["file"] == recorded_hand and human["mode"] == "latent"
    assert next(s for s in by_hand if s.executable == "recorder_node").parameters["policy"] == ""  # the robots follow no policy


def test_direct_teleoperation_needs_no_decoder(tmp_path, fleet_content):
    fleet_content["robots"]["left"]["embodiment"] = "faive_hand"  # unknown to this latent space
    file = tmp_path / "fleet.yaml"
    file.write_text(yaml.safe_dump(fleet_content))
    with pytest.raises(ConfigError, match="faive_hand"):
        bringup.load_fleet(file)
    specs = bringup.node_specs(bringup.load_fleet(file, decoded=False), teleoperation=bringup.Teleoperation("direct", ("left",)))
    assert not [s for s in specs if s.executable in ("decoder_node", "policy_node")]
    assert specs[-1].parameters["robots"] == ["left"] and specs[-1].parameters["embodiments"] == ["faive_hand"]


@pytest.mark.parametrize(
    "teleoperation, words",
    [
        (bringup.Teleoperation(robots=("middle",)), "no robot 'middle'.*available: left, right"),
        (bringup.Teleoperation("telepathy"), "mode: got 'telepathy'; available: direct, latent"),
        (bringup.Teleoperation(side="both"), "no side 'both'; available: auto, left, right"),
        (bringup.Teleoperation(layout="manos"), "no layout 'manos'; available: .*mediapipe"),
        (bringup.Teleoperation(units="inch"), "no units 'inch'; available: cm, m, mm"),
        (bringup.Teleoperation(file="/nowhere/hand.npz"), "/nowhere/hand.npz"),
        (bringup.Teleoperation(file=__file__), "expected .*npz.*, got .py"),
    ],
)
def test_invalid_teleoperation_is_reported(tmp_path, fleet_content, teleoperation, words):
    with pytest.raises((LatentPolicyError, FileNotFoundError), match=words):
        bringup.node_specs(load(tmp_path, fleet_content), teleoperation=teleoperation)


def test_recording_is_checked_before_nodes_start(tmp_path, fleet_content, recorded_hand):
    assert bringup.Teleoperation(file=recorded_hand, units="mm").hands().side == "left"
    with pytest.raises(LatentPolicyError, match="units: mm"):
        bringup.node_specs(load(tmp_path, fleet_content), teleoperation=bringup.Teleoperation(file=recorded_hand, units="m"))


def test_every_executable_is_a_node_of_this_package(tmp_path, fleet_content):
    folder = Path(node_list.__file__).parents[1] / "nodes"
    for spec in bringup.node_specs(load(tmp_path, fleet_content), record=True):
        assert (folder / f"{spec.executable}.py").is_file()


def test_swapping_the_embodiment_swaps_the_driver(tmp_path, fleet_content):
    fleet_content["robots"]["left"] |= {"embodiment": "panda_gripper", "cameras": ["front"]}
    names = [s.full_name for s in bringup.node_specs(load(tmp_path, fleet_content))]
    assert "/left/gripper_driver" in names and "/left/hand_driver" not in names


def test_simulated_robot_may_have_any_arm_with_simulation_parameters(tmp_path, fleet_content):
    fleet_content["robots"]["left"] |= {"arm": "ur5", "sim_task": "lift_cube"}
    (sim,) = [spec for spec in node_list.node_specs(load(tmp_path, fleet_content)) if spec.executable == "sim_node"]
    assert (sim.parameters["arm"], sim.parameters["task"]) == ("ur5", "lift_cube")
    plain = {k: v for k, v in yaml.safe_load((config_dir() / "arms" / "ur5.yaml").read_text()).items() if k != "simulation"}
    (tmp_path / "plain.yaml").write_text(yaml.safe_dump(plain))
    fleet_content["robots"]["left"]["arm"] = str(tmp_path / "plain.yaml")
    with pytest.raises(
        ConfigError, match="robots.left.arm: got .*plain.yaml'; a simulated robot needs an arm .* section simulation"
    ):
        load(tmp_path, fleet_content)


@pytest.mark.parametrize(
    "where, value, words",
    [
        (("robots", "left", "embodiment"), "mimic_hnd", ["robots.left.embodiment", "mimic_hnd", "available", "mimic_hand"]),
        (("robots", "left", "embodiment"), "human_hand", ["robots.left.embodiment", "human_hand", "panda_gripper"]),
        (("robots", "left", "embodiment"), "faive_hand", ["robots.left.embodiment", "faive_hand", "mimic_hand"]),
        (("robots", "left", "embodiment"), None, ["robots.left.embodiment", "missing"]),
        (("robots", "left", "cameras"), "front", ["robots.left.cameras", "list"]),
        (("robots", "left", "cameras"), ["front", "front"], ["robots.left.cameras", "duplicate"]),
        (("robots", "left", "cameras"), ["my cam"], ["robots.left.cameras", "my cam"]),
        (("robots", "left", "cameras"), ["front", "wrst"], ["robots.left.cameras", "'wrst'", "simulated", "front, wrist"]),
        (("robots", "left", "cameras"), {"front": "/dev/video0"}, ["robots.left.cameras", "a simulated robot publishes"]),
        (("robots", "right", "cameras"), {"front": 0}, ["robots.right.cameras.front", "expected a string, got 0"]),
        (("robots", "left", "driver"), "real", ["robots.left.driver", "real", "mock", "sim"]),
        (("robots", "left", "driver"), "none", ["robots.left.arm_driver", "missing", "mock, none"]),
        (("robots", "left", "arm_driver"), "mock", ["robots.left.arm_driver", "sim drives both or none", "sim and mock"]),
        (
            ("robots", "right", "arm_driver"),
            "no_such:Arm",
            ["robots.right.arm_driver", "imports the module no_such only if you allow it"],
        ),
        (("robots", "right", "arm"), "ur6", ["robots.right.arm", "got 'ur6'", "panda, ur5, xarm7, or a YAML file"]),
        (("robots", "left", "sim_task"), "juggle", ["robots.left.sim_task", "got 'juggle'", "cube_in_box, lift_cube"]),
        (("robots", "left", "workspace"), {"z": [0.5, 0.1]}, ["robots.left.workspace.z", "lower < upper"]),
        (("robots", "left", "workspace"), {"height": [0, 1]}, ["robots.left.workspace.height", "unknown", "x, y, z"]),
        (("robots", "left", "images"), "png", ["robots.left.images", "compressed"]),
        (("robots", "left", "colour"), "red", ["robots.left.colour", "unknown", "cameras"]),
        (("robots", "2left"), {}, ["robots.2left", "ROS name"]),
        (("robots",), {}, ["robots", "at least one"]),
        (("rate",), -1, ["rate", "from 5 to 100, got -1"]),
        (("rate",), 500, ["rate", "from 5 to 100, got 500"]),
        (("robots", "left", "seed"), 1.7, ["robots.left.seed", "a whole number from 0 to 2147483647, got 1.7"]),
        (("robots", "left", "seed"), 2**31, ["robots.left.seed", "got 2147483648"]),
        (("policy",), "no_such_policy", ["policy", "no_such_policy"]),
        (("latent",), "no_such_space", ["latent", "no_such_space"]),
        (("device",), "gpu", ["device", "'gpu'", "auto, cpu, cuda or cuda:N"]),
        (("speed",), 3, ["speed", "unknown"]),
    ],
)
def test_every_mistake_is_reported(tmp_path, fleet_content, where, value, words):
    changed = copy.deepcopy(fleet_content)
    at = changed
    for key in where[:-1]:
        at = at[key]
    if value is None:
        del at[where[-1]]
    else:
        at[where[-1]] = value
    with pytest.raises(ConfigError) as error:
        load(tmp_path, changed)
    for word in ["fleet.yaml", *words]:
        assert word in str(error.value)


def test_camera_unknown_to_the_policy_is_refused(tmp_path, fleet_content, artifact_folders):
    fleet_content["robots"]["right"]["cameras"] = ["front", "top"]
    fleet = load(tmp_path, fleet_content)
    words = "robots.right.cameras: got 'top': the policy has no camera of that name; available: front, wrist"
    with pytest.raises(ConfigError, match=words):
        bringup.node_specs(fleet)
    fleet_content["robots"]["right"]["cameras"] = []
    fleet = load(tmp_path, fleet_content)
    with pytest.raises(
        ConfigError, match="robots.right.cameras: the policy needs at least one camera, got none; available: front, wrist"
    ):
        bringup.node_specs(fleet)
    assert bringup.node_specs(fleet, teleoperation=bringup.Teleoperation())  # teleoperation needs no camera
    (tmp_path / "policy").mkdir()
    with pytest.raises(ConfigError, match="fleet.yaml: policy: .*policy.json"):
        bringup.node_specs(load(tmp_path, fleet_content | {"policy": str(tmp_path / "policy")}))


def test_unknown_fleet_lists_the_shipped_ones():
    with pytest.raises(ConfigError, match="available: .*demo"):
        bringup.load_fleet("dmeo")


def test_one_robot_from_launch_arguments(artifact_folders):
    fleet = bringup.single_robot("arm1", "panda_gripper", ["front"], "mock", **artifact_folders)
    assert [s.full_name for s in bringup.node_specs(fleet)] == [
        "/arm1/arm_driver", "/arm1/gripper_driver", "/arm1/decoder", "/policy", "/episode"]  # fmt: skip
    with pytest.raises(ConfigError, match="robots.arm1.driver"):
        bringup.single_robot("arm1", "panda_gripper", ["front"], "nope", **artifact_folders)


OWN = "class Hand:\n    def connect(self): ...\n    read = write = close = connect\n"


def test_custom_drivers_of_hand_and_arm(tmp_path, monkeypatch, fleet_content, artifact_folders):
    (tmp_path / "own_driver.py").write_text(OWN)
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setenv(ALLOWED_MODULES, "own_driver")
    fleet_content["robots"]["left"] |= {"driver": "own_driver:Hand@/dev/x", "arm_driver": "mock"}
    fleet_content["robots"]["right"] |= {"driver": "own_driver:Hand@/dev/y", "arm_driver": "none"}
    specs = bringup.node_specs(load(tmp_path, fleet_content))
    drivers = {s.full_name: s.parameters["driver"] for s in specs if s.executable.endswith("_driver_node")}
    assert drivers == {"/left/arm_driver": "mock", "/left/hand_driver": "own_driver:Hand@/dev/x",
                       "/right/gripper_driver": "own_driver:Hand@/dev/y"}  # fmt: skip
    alone = bringup.single_robot("a", "mimic_hand", ["front"], "none", **artifact_folders, arm_driver="own_driver:Hand")
    assert [s.full_name for s in bringup.node_specs(alone)] == ["/a/arm_driver", "/a/decoder", "/policy", "/episode"]


def test_arm_of_a_robot_is_passed_to_driver_and_decoder(tmp_path, fleet_content, artifact_folders):
    fleet_content["robots"]["right"] |= {"arm": "ur5", "workspace": {"z": [0.1, 1]}, "wrist_frame": "right_hand"}
    by_name = {spec.full_name: spec.parameters for spec in bringup.node_specs(load(tmp_path, fleet_content))}
    assert [by_name[f"/{robot}/arm_driver"]["arm"] for robot in ("left", "right")] == ["panda", "ur5"]
    assert [by_name[f"/{robot}/decoder"]["base_frame"] for robot in ("left", "right")] == ["~/panda_link0", "base_link"]
    assert by_name["/right/arm_driver"]["workspace"] == [-2.0, 2.0, -2.0, 2.0, 0.1, 1.0]
    assert by_name["/right/arm_driver"]["wrist_frame"] == "right_hand" and "wrist_frame" not in by_name["/left/arm_driver"]
    assert "arm" not in by_name["/right/gripper_driver"]
    fleet = bringup.single_robot("a", "mimic_hand", ["front"], "mock", **artifact_folders, arm="xarm7")
    assert yaml.safe_load(fleet.text())["robots"]["a"]["arm"] == "xarm7"


def test_cameras_with_sources_get_camera_nodes(tmp_path, fleet_content):
    fleet_content["robots"]["right"]["cameras"] = {"front": "/dev/video0", "wrist": "none"}
    specs = {spec.full_name: spec for spec in bringup.node_specs(load(tmp_path, fleet_content))}
    assert specs["/right/front_camera"].executable == "camera_node" and "/right/wrist_camera" not in specs
    assert specs["/right/front_camera"].parameters == {"camera": "front", "source": "/dev/video0"}
    assert specs["/policy"].parameters["cameras"] == ["front,wrist", "front,wrist"]


def test_parameter_files_keep_types(tmp_path):
    parameters = {"text": "10", "yes": "on", "y": "n", "nan": "1e5", "rate": 10.0, "seed": 3, "flag": True,
                  "names": ["a,b", "c"], "none": []}  # fmt: skip
    file = bringup.write_parameters(bringup.NodeSpec("sim_node", "sim", "left", parameters), tmp_path)
    read = yaml.safe_load(file.read_text())["/**"]["ros__parameters"]
    assert read == {k: v for k, v in parameters.items() if k != "none"}
    assert '"y": "n"' in file.read_text()  # ROS reads more words as booleans than PyYAML
    assert {k: type(v) for k, v in read.items()} == {k: type(v) for k, v in parameters.items() if k != "none"}


def test_launches_do_not_share_parameter_files(artifact_folders, tmp_path, monkeypatch):
    monkeypatch.setattr(node_list, "default_socket_folder", lambda: tmp_path)
    files = []
    for namespace in ("left", "right"):
        fleet = bringup.single_robot(namespace, "panda_gripper", ["front"], "mock", **artifact_folders)
        nodes = bringup.launch_nodes(bringup.node_specs(fleet), lambda **keywords: keywords)
        files.append(next(node["parameters"][0] for node in nodes if node["name"] == "policy"))
    read = [yaml.safe_load(Path(file).read_text())["/**"]["ros__parameters"]["robots"] for file in files]
    assert read == [["left"], ["right"]]  # each launch may restart its nodes


def test_domains_do_not_share_sockets(monkeypatch):
    monkeypatch.setenv("ROS_DOMAIN_ID", "5")
    five = node_list.default_socket_folder()
    monkeypatch.setenv("ROS_DOMAIN_ID", "6")
    assert five != node_list.default_socket_folder() and str(os.getuid()) in five.name


def test_socket_path_that_is_too_long_is_refused(tmp_path, fleet_content):
    with pytest.raises(ConfigError, match="robots.left: socket path .* is too long: expected at most 107 bytes, got 13."):
        bringup.node_specs(load(tmp_path, fleet_content), socket_folder=Path("/" + "x" * 120))


def test_fleet_with_other_end_effectors(tmp_path, fleet_content):
    fleet = load(tmp_path, fleet_content)
    swapped = fleet.with_embodiments(["panda_gripper"])
    assert {name: robot.embodiment.name for name, robot in swapped.robots.items()} == {"left": "panda_gripper"}
    assert swapped.robots["left"].seed == fleet.robots["left"].seed and swapped.rate == fleet.rate
    assert yaml.safe_load(swapped.text())["robots"]["left"]["embodiment"] == "panda_gripper"
    with pytest.raises(ConfigError, match="expected at most 2 embodiments, one for each robot; got a, b, c"):
        fleet.with_embodiments(["a", "b", "c"])
    with pytest.raises(ConfigError, match="robots.left.embodiment: got 'a'"):
        fleet.with_embodiments(["a"])


def test_policy_of_hardware_is_not_engaged_at_start(tmp_path, fleet_content):
    engaged = lambda **options: next(
        s.parameters["engage"] for s in bringup.node_specs(load(tmp_path, fleet_content), **options) if s.name == "policy"
    )
    assert engaged() and not engaged(engage=False)  # simulated and mock robots
    fleet_content["robots"]["right"] |= {"driver": "none", "arm_driver": "mock"}
    assert engaged()  # a hand of the user without an arm that could move
    for driver in ({"driver": "robotiq@/dev/x", "arm_driver": "mock"}, {"driver": "mock", "arm_driver": "none"}):
        fleet_content["robots"]["right"] |= driver
        assert not engaged() and engaged(engage=True)


@pytest.mark.parametrize(
    "where, value, words",
    [
        ("left", {"decoder": {"blnd": 0.1}}, ["robots.left.parameters", "decoder has no parameter 'blnd'", "blend"]),
        ("left", {"decoder": {"blend": "slow"}}, ["parameter blend of decoder: expected a value like 0.2, got 'slow'"]),
        ("left", {"policy": {}}, ["no node 'policy'", "arm_driver"]),
        ("left", {"top_camera": {}}, ["robots.left.parameters.top_camera", "no camera node"]),
        ("", {"decoder": {}}, ["parameters", "no node 'decoder'", "policy"]),
        ("", {"policy": {"robots": 3}}, ["parameter robots of policy"]),
    ],
)
def test_wrong_parameters_of_nodes_are_reported(tmp_path, fleet_content, where, value, words):
    (fleet_content["robots"][where] if where else fleet_content)["parameters"] = value
    with pytest.raises(ConfigError) as error:
        load(tmp_path, fleet_content)
    for word in words:
        assert word in str(error.value)


def test_a_fleet_without_robot_namespaces_has_one_robot(tmp_path, fleet_content):
    with pytest.raises(ConfigError, match="robot_namespaces: false needs a fleet of one robot, got left, right"):
        load(tmp_path, {**fleet_content, "robot_namespaces": False})
    del fleet_content["robots"]["right"]
    specs = bringup.node_specs(load(tmp_path, {**fleet_content, "robot_namespaces": False}), namespace="cell")
    assert {spec.namespace for spec in specs} == {""} and specs[0].parameters["socket_path"].endswith("/cell.left.sock")
    assert {spec.namespace for spec in bringup.in_namespace(specs, "/cell/")} == {"cell"}
