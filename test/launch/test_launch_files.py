"""The launch files are real launch files, and render the very list that ``latent-policy up`` runs."""

import importlib.util
import sys
import types
from pathlib import Path
from types import SimpleNamespace

import pytest
import yaml

from latent_policy_ros import bringup

FOLDER = Path(__file__).resolve().parents[2] / "launch"


def has_launch():
    return all(importlib.util.find_spec(name) for name in ("launch", "launch_ros"))


class Record:
    """Stands for any class of launch: keeps what it was made with."""

    def __init__(self, *arguments, **keywords):
        self.arguments, self.keywords = arguments, keywords


class FakeNode(Record):
    def __init__(self, *, respawn_max_retries=-1, **keywords):
        super().__init__(**keywords, respawn_max_retries=respawn_max_retries)


class FakeDeclare(Record):
    name = property(lambda self: self.arguments[0])


class FakeConfiguration(Record):
    def perform(self, context):
        return context[self.arguments[0]]


@pytest.fixture
def fake_launch(monkeypatch):
    """Modules that have the names of launch, as its users import them."""
    contents = {
        "launch": {"LaunchDescription": Record},
        "launch.actions": {"DeclareLaunchArgument": FakeDeclare, "OpaqueFunction": Record},
        "launch.substitutions": {"LaunchConfiguration": FakeConfiguration},
        "launch_ros": {},
        "launch_ros.actions": {"Node": FakeNode},
    }
    for name, fleet_content in contents.items():
        module = types.ModuleType(name)
        module.__dict__.update(fleet_content)
        monkeypatch.setitem(sys.modules, name, module)


def module(name):
    spec = importlib.util.spec_from_file_location(name.replace(".", "_"), FOLDER / name)
    loaded = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(loaded)
    return loaded


def render(name, **given):
    """The nodes that a launch file starts, as the keywords of launch_ros' Node."""
    (entities,) = module(name).generate_launch_description().arguments
    *declared, function = entities
    context = {a.name: a.keywords.get("default_value") for a in declared} | given
    assert set(given) <= {a.name for a in declared}
    return [SimpleNamespace(**node.keywords) for node in function.keywords["function"](context)]


def compare(nodes, specs):
    assert [(n.package, n.executable, n.namespace, n.name) for n in nodes] == [
        ("latent_policy_ros", s.executable, f"/{s.namespace}", s.name) for s in specs]  # fmt: skip
    for node, spec in zip(nodes, specs):
        (file,) = node.parameters
        assert yaml.safe_load(Path(file).read_text())["/**"]["ros__parameters"] == dict(spec.parameters)
        assert node.respawn and node.respawn_max_retries > 0


@pytest.mark.parametrize("record", ["true", "false"])
def test_bringup_renders_the_fleet(fake_launch, tmp_path, fleet_content, record):
    file = tmp_path / "fleet.yaml"
    file.write_text(yaml.safe_dump(fleet_content))
    specs = bringup.node_specs(bringup.load_fleet(file), record=record == "true")
    compare(render("bringup.launch.py", robots=str(file), record=record), specs)


@pytest.mark.parametrize("mode", ["latent", "direct"])
def test_bringup_renders_teleoperation(fake_launch, tmp_path, fleet_content, recorded_hand, mode):
    if mode == "direct":
        fleet_content["robots"]["left"]["embodiment"] = "faive_hand"  # which the latent space does not know: no matter
    file = tmp_path / "fleet.yaml"
    file.write_text(yaml.safe_dump(fleet_content))
    given = {"teleop": "true", "mode": mode, "drive": "left", "file": recorded_hand, "loop": "true", "side": "left",
             "units": "mm"}  # fmt: skip
    teleoperation = bringup.Teleoperation(mode, ("left",), recorded_hand, True, "left", "auto", "mm")
    fleet = bringup.load_fleet(file, decoded=mode == "latent")
    compare(render("bringup.launch.py", robots=str(file), **given), bringup.node_specs(fleet, teleoperation=teleoperation))


def test_single_renders_one_robot_and_one_argument_swaps_its_embodiment(fake_launch, artifact_folders):
    for embodiment, driver in (("mimic_hand", "hand_driver_node"), ("panda_gripper", "gripper_driver_node")):
        nodes = render("single.launch.py", namespace="a", embodiment=embodiment, cameras="front", **artifact_folders)
        fleet = bringup.single_robot("a", embodiment, ["front"], **artifact_folders)
        compare(nodes, bringup.node_specs(fleet))
        assert driver in [n.executable for n in nodes]


@pytest.mark.skipif(not has_launch(), reason="needs launch_ros, which comes with a ROS 2 installation")
@pytest.mark.parametrize("name", ["bringup.launch.py", "single.launch.py"])
def test_launch_itself_takes_the_files(name, tmp_path, fleet_content, artifact_folders):
    import launch
    from launch.launch_description_sources import PythonLaunchDescriptionSource

    description = PythonLaunchDescriptionSource(str(FOLDER / name)).get_launch_description(launch.LaunchContext())
    context = launch.LaunchContext()
    file = tmp_path / "fleet.yaml"
    file.write_text(yaml.safe_dump(fleet_content))
    given = {"robots": str(file), "namespace": "a", "embodiment": "mimic_hand", **artifact_folders}
    context.launch_configurations.update(given)
    *declared, function = description.entities
    for argument in declared:
        argument.visit(context)
    assert len(function.visit(context)) >= 5


@pytest.mark.parametrize("file", sorted(FOLDER.glob("*.py")), ids=lambda f: f.name)
def test_launch_files_compile(file):
    compile(file.read_text(), str(file), "exec")
