"""The launch files render the very list that ``latent-policy up`` runs. Classes of launch are replaced by records here."""

import importlib.util
import sys
import types
from pathlib import Path
from types import SimpleNamespace

import pytest
import yaml

from latent_policy_ros import bringup
from latent_policy_ros.common.errors import ConfigError

FOLDER = Path(__file__).resolve().parents[2] / "launch"


class Record:
    """Stands for any class of launch: keeps what it was made with."""

    def __init__(self, *arguments, **keywords):
        self.arguments, self.keywords = arguments, keywords


class Context:
    def __init__(self, launch_configurations):
        self.launch_configurations = launch_configurations


class FakeNode(Record):
    def __init__(self, *, respawn_max_retries=-1, **keywords):
        super().__init__(**keywords, respawn_max_retries=respawn_max_retries)


class FakeDeclare(Record):
    name = property(lambda self: self.arguments[0])

    @property
    def default_value(self):
        default = self.keywords.get("default_value")
        return None if default is None else (SimpleNamespace(text=default),)


@pytest.fixture
def fake_launch(monkeypatch):
    """Modules that have the names of launch, as its users import them; returns the warnings of a launch."""
    warnings = []
    contents = {
        "launch": {"LaunchDescription": Record, "LaunchContext": Record},
        "launch.actions": {"DeclareLaunchArgument": FakeDeclare, "OpaqueFunction": Record, "GroupAction": Record},
        "launch.logging": {"get_logger": lambda _: SimpleNamespace(warning=warnings.append)},
        "launch_ros": {},
        "launch_ros.actions": {"Node": FakeNode, "PushRosNamespace": Record},
    }
    for name, content in contents.items():
        module = types.ModuleType(name)
        module.__dict__.update(content)
        monkeypatch.setitem(sys.modules, name, module)
    ours = "latent_policy_ros.nodes.launch_actions"
    monkeypatch.delitem(sys.modules, ours, raising=False)
    monkeypatch.setattr(bringup, "present_nodes", set)
    yield warnings
    sys.modules.pop(ours, None)  # it holds the records


def module(name):
    spec = importlib.util.spec_from_file_location(name.replace(".", "_"), FOLDER / name)
    loaded = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(loaded)
    return loaded


def entities(name):
    return module(name).generate_launch_description().arguments[0]


def render(name, configurations=None, **given):
    """The nodes that a launch file starts, as the keywords of launch_ros' Node, and the namespaces that it pushes."""
    _, *declared, nodes, _ = entities(name)
    assert set(given) <= {a.name for a in declared}
    values = {a.name: a.keywords.get("default_value") for a in declared} | given
    context = Context({**(configurations or {}), **values})
    (group,) = nodes.keywords["function"](context)
    (inside,) = group.arguments
    pushed = [entity.arguments[0] for entity in inside if not isinstance(entity, FakeNode)]
    return [SimpleNamespace(**node.keywords) for node in inside if isinstance(node, FakeNode)], pushed


def compare(nodes, specs):
    assert [(n.package, n.executable, n.namespace, n.name) for n in nodes] == [
        ("latent_policy_ros", s.executable, s.namespace, s.name) for s in specs]  # fmt: skip
    for node, spec in zip(nodes, specs):
        (file,) = node.parameters
        assert yaml.safe_load(Path(file).read_text())["/**"]["ros__parameters"] == dict(spec.parameters)
        assert node.respawn and node.respawn_max_retries > 0
        assert node.sigkill_timeout == str(spec.stop_timeout) and float(node.sigterm_timeout) <= 5.0


@pytest.fixture
def fleet_file(tmp_path, fleet_content):
    def write(**changes):
        file = tmp_path / "fleet.yaml"
        file.write_text(yaml.safe_dump({**fleet_content, **changes}))
        return str(file)

    return write


@pytest.mark.parametrize("record", ["true", "True", "false"])
def test_bringup_renders_the_fleet(fake_launch, fleet_file, record):
    specs = bringup.node_specs(bringup.load_fleet(fleet_file()), record=record != "false")
    nodes, pushed = render("bringup.launch.py", robots=fleet_file(), record=record)
    compare(nodes, specs)
    assert pushed == [] and {n.namespace for n in nodes} == {"left", "right", ""}  # relative: PushRosNamespace applies


@pytest.mark.parametrize("mode", ["latent", "direct"])
def test_bringup_renders_teleoperation(fake_launch, fleet_file, fleet_content, recorded_hand, mode):
    if mode == "direct":
        fleet_content["robots"]["left"]["embodiment"] = "faive_hand"  # which the latent space does not know: no matter
    given = {"teleop": "true", "teleop_mode": mode, "teleop_robots": "left", "teleop_file": recorded_hand, "teleop_loop": "true",
             "teleop_side": "left", "teleop_units": "mm"}  # fmt: skip
    teleoperation = bringup.Teleoperation(mode, ("left",), recorded_hand, loop=True, side="left", units="mm")
    fleet = bringup.load_fleet(fleet_file(), decoded=mode == "latent")
    nodes, _ = render("bringup.launch.py", robots=fleet_file(), **given)
    compare(nodes, bringup.node_specs(fleet, teleoperation=teleoperation))


def test_single_renders_one_robot_and_one_argument_swaps_its_embodiment(fake_launch, artifact_folders):
    for embodiment, driver in (("mimic_hand", "hand_driver_node"), ("panda_gripper", "gripper_driver_node")):
        nodes, pushed = render("single.launch.py", namespace="a", embodiment=embodiment, **artifact_folders)
        fleet = bringup.single_robot("robot", embodiment, ["front"], **artifact_folders, robot_namespaces=False)
        compare(nodes, bringup.node_specs(fleet, namespace="a"))
        assert driver in [n.executable for n in nodes]
        assert pushed == ["a"] and {n.namespace for n in nodes} == {""}  # the policy too is in the robot's namespace


def test_conventional_arguments(fake_launch, fleet_file, tmp_path):
    params = tmp_path / "params.yaml"
    params.write_text("/**: {ros__parameters: {blend: 0.1}}\n")
    given = {"params_file": str(params), "autostart": "False", "use_respawn": "0", "log_level": "debug", "record": "yes",
             "bag_folder": str(tmp_path / "bags")}  # fmt: skip
    nodes, _ = render("bringup.launch.py", robots=fleet_file(), **given)
    for node in nodes:
        first, last = node.parameters
        assert last == str(params) and first != last  # the last file wins
        own = yaml.safe_load(Path(first).read_text())["/**"]["ros__parameters"]
        assert own["autostart"] is False and not node.respawn and node.ros_arguments == ["--log-level", "debug"]
    assert own["folder"] == str(tmp_path / "bags")
    for wrong in ({"record": "maybe"}, {"params_file": "/nowhere.yaml"}):
        with pytest.raises(ConfigError, match=f"{next(iter(wrong))}: (expected true or false, got 'maybe'|no file /nowhere.yaml)"):
            render("bringup.launch.py", robots=fleet_file(), **wrong)


def test_nodes_that_are_in_the_domain_already_are_named(fake_launch, fleet_file, monkeypatch):
    monkeypatch.setattr(bringup, "present_nodes", lambda: {"/cell/left/decoder", "/left/decoder", "/other"})
    render("bringup.launch.py", robots=fleet_file(), namespace="another")
    assert not fake_launch
    render("bringup.launch.py", {"ros_namespace": "/cell"}, robots=fleet_file())
    assert "/cell/left/decoder is in the ROS domain" in fake_launch[0] and "choose another namespace" in fake_launch[0]
    render("bringup.launch.py", robots=fleet_file(), compose="robot")
    assert fake_launch[1].startswith("/left/decoder is in the ROS domain")


def test_fleet_files_set_any_parameter_of_a_node(fake_launch, fleet_file, fleet_content):
    fleet_content["robots"]["left"]["parameters"] = {"decoder": {"blend": 0}, "sim": {"camera_rate": 10}}
    file = fleet_file(parameters={"policy": {"max_age": 1, "qos_overrides./left/latent_action.publisher.depth": 2}})
    nodes, _ = render("bringup.launch.py", robots=file)
    read = lambda name: yaml.safe_load(Path(next(n for n in nodes if n.name == name).parameters[0]).read_text())["/**"]
    assert read("decoder")["ros__parameters"]["blend"] == 0.0 and read("sim")["ros__parameters"]["camera_rate"] == 10.0
    assert isinstance(read("policy")["ros__parameters"]["max_age"], float)


def test_rviz_starts_with_the_robots_of_the_fleet(fake_launch, fleet_file, tmp_path, monkeypatch):
    monkeypatch.setenv("AMENT_PREFIX_PATH", str(tmp_path))
    with pytest.raises(ConfigError, match="rviz: rviz2 is not installed"):
        render("bringup.launch.py", robots=fleet_file(), rviz="true")
    marker = tmp_path / "share/ament_index/resource_index/packages/rviz2"
    marker.parent.mkdir(parents=True)
    marker.touch()
    nodes, _ = render("bringup.launch.py", {"ros_namespace": "/cell_a"}, robots=fleet_file(), rviz="true", namespace="b")
    *ours, rviz = nodes
    assert (rviz.package, rviz.executable, rviz.arguments[0], rviz.parameters) == ("rviz2", "rviz2", "-d", [])
    assert "/cell_a/b/left/robot_description" in Path(rviz.arguments[1]).read_text()
    assert [n.namespace for n in ours if n.name == "description"] == ["left", "right"]


def test_values_of_arguments_stay_inside(fake_launch):
    """Arguments of an include reach neither what follows nor a second include; variables of the including file survive."""
    enter, *declared, _, leave = entities("single.launch.py")
    enter, leave = (entity.keywords["function"] for entity in (enter, leave))
    context = SimpleNamespace(launch_configurations={"record": "true", "mine": "1"})  # given by the include
    enter(context)
    for declaration in declared:
        context.launch_configurations.setdefault(declaration.name, "default")
    leave(context)
    assert context.launch_configurations == {"record": "true", "mine": "1"}
    enter(context)  # another include, without record
    assert "record" not in context.launch_configurations
    leave(context)
    context.launch_configurations["record"] = "".join(["true"])  # given again
    enter(context)
    assert context.launch_configurations["record"] == "true"


def test_remaps_of_launch_reach_nodes_of_several_robots(fake_launch, fleet_file):
    remaps = [
        ("joint_states", "filtered"),
        ("front/image_raw", "/shared/image"),
        ("/diagnostics", "/d"),
        ("~/x", "y"),
        ("p:a", "b"),
    ]
    nodes, _ = render("bringup.launch.py", {"ros_remaps": remaps}, robots=fleet_file(), record="true")
    expected = [(f"{r}/{a}", f"{r}/{b}" if not b.startswith("/") else b) for r in ("left", "right") for a, b in remaps[:2]]
    assert {n.name: n.remappings for n in nodes if n.remappings} == dict.fromkeys(("policy", "episode", "recorder"), expected)


def test_text_of_a_description_lists_its_nodes(fake_launch, fleet_file, monkeypatch):
    monkeypatch.setattr(sys, "argv", ["ros2", "launch", "--print", "single.launch.py"])
    assert "after embodiment:=..." in str(entities("single.launch.py")[-2])
    monkeypatch.setattr(sys, "argv", [f"robots:={fleet_file()}", "namespace:=cell", "record:=true"])
    text = str(entities("bringup.launch.py")[-2])
    assert "\n        /cell/left/sim (sim_node)\n" in text and "/cell/recorder (recorder_node)" in text
    monkeypatch.setattr(sys, "argv", ["robots:=nothing"])
    assert "nothing" in str(entities("bringup.launch.py")[-2])


@pytest.mark.parametrize("file", sorted(FOLDER.glob("*.py")), ids=lambda f: f.name)
def test_launch_files_compile(file):
    compile(file.read_text(), str(file), "exec")
