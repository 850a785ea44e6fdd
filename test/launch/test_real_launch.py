"""The launch files under launch and launch_ros themselves, which come with a ROS 2 installation. No process is started."""

from pathlib import Path
from types import SimpleNamespace

import pytest
import yaml

pytest.importorskip("launch.actions", reason="needs launch, which comes with a ROS 2 installation")
pytest.importorskip("launch_ros.actions", reason="needs launch_ros, which comes with a ROS 2 installation")

from launch import LaunchContext, LaunchDescription, LaunchIntrospector  # noqa: E402
from launch.actions import GroupAction, IncludeLaunchDescription  # noqa: E402
from launch.launch_description_sources import PythonLaunchDescriptionSource  # noqa: E402
from launch_ros.actions import Node, PushRosNamespace, SetParameter, SetRemap  # noqa: E402

from latent_policy_ros import bringup  # noqa: E402

FOLDER = Path(__file__).resolve().parents[2] / "launch"


def include(name, **arguments):
    return IncludeLaunchDescription(PythonLaunchDescriptionSource(str(FOLDER / name)), launch_arguments=arguments.items())


def started(*entities):
    """{full name: command line} of the nodes that launch would start."""
    context, found = LaunchContext(), {}

    def visit(entity):
        if isinstance(entity, Node):
            entity._perform_substitutions(context)
            words = ["".join(getattr(part, "text", "?") for part in word) for word in entity.cmd]
            assert entity.node_name not in found, "two nodes of one name"
            found[entity.node_name] = words
            return
        for inner in entity.visit(context) or []:
            visit(inner)

    visit(LaunchDescription(entities))
    return found


def parameters(words):
    """Parameters of a node as ROS reads them: in the order of its command line, later ones replace earlier ones."""
    values = {}
    for option, word in zip(words, words[1:]):
        if option == "-p":
            values.update([word.split(":=")])
        elif option == "--params-file":
            for content in yaml.safe_load(Path(word).read_text()).values():
                values.update(content["ros__parameters"])
    return values


def remaps(words):
    return {word for option, word in zip(words, words[1:]) if option == "-r" and "__" not in word and "?" not in word}


@pytest.fixture(autouse=True)
def empty_domain(monkeypatch):
    monkeypatch.setattr(bringup, "present_nodes", set)


@pytest.fixture
def fleet(tmp_path, fleet_content):
    file = tmp_path / "fleet.yaml"
    file.write_text(yaml.safe_dump(fleet_content))
    return str(file)


def test_two_identical_cells_on_one_graph(fleet):
    cell = lambda name, *more: GroupAction(
        [PushRosNamespace(name), *more, include("bringup.launch.py", robots=fleet, record="true")]
    )
    found = started(cell("cell_a"), cell("cell_b", SetRemap("joint_states", "measured")))
    names = ("left/sim", "left/arm_driver", "left/hand_driver", "left/decoder", "right/arm_driver", "policy", "recorder")
    assert {f"/{c}/{name}" for c in ("cell_a", "cell_b") for name in names} <= set(found)
    sockets = {parameters(found[f"/{c}/left/sim"])["socket_path"] for c in ("cell_a", "cell_b")}
    assert len(sockets) == 2
    assert parameters(found["/cell_b/left/arm_driver"])["socket_path"] == parameters(found["/cell_b/left/sim"])["socket_path"]
    assert not remaps(found["/cell_a/policy"]) and remaps(found["/cell_b/left/arm_driver"]) == {"joint_states:=measured"}
    for node in ("policy", "recorder"):
        assert {f"{r}/joint_states:={r}/measured" for r in ("left", "right")} <= remaps(found[f"/cell_b/{node}"])


def test_two_fleets_of_one_namespace_are_named(fleet, monkeypatch):
    warnings, context = [], LaunchContext()
    monkeypatch.setattr("latent_policy_ros.nodes.launch_actions.get_logger", lambda _: SimpleNamespace(warning=warnings.append))

    def visit(entity):
        for inner in [] if isinstance(entity, Node) else entity.visit(context) or []:
            visit(inner)

    visit(LaunchDescription([include("bringup.launch.py", robots=fleet, namespace=name) for name in ("", "cell", "")]))
    (warning,) = warnings
    assert "/left/decoder, " in warning and "/cell" not in warning


def test_two_single_robots_share_nothing(artifact_folders):
    one = lambda name, **more: include("single.launch.py", namespace=name, driver="mock", **artifact_folders, **more)
    found = started(one("left", embodiment="mimic_hand", record="true"), one("right", embodiment="panda_gripper"))
    assert sorted(found) == [
        "/left/arm_driver", "/left/decoder", "/left/episode", "/left/hand_driver", "/left/policy", "/left/recorder",
        "/right/arm_driver", "/right/decoder", "/right/episode", "/right/gripper_driver", "/right/policy",
    ]  # fmt: skip
    assert parameters(found["/right/policy"])["embodiments"] == ["panda_gripper"]
    assert parameters(found["/left/policy"])["robot_namespaces"] is False


def test_parameter_files_and_global_parameters(fleet, tmp_path):
    params = tmp_path / "params.yaml"
    params.write_text("/**: {ros__parameters: {rate: 20.0}}\n")
    found = started(
        SetParameter("use_sim_time", True), include("bringup.launch.py", robots=fleet, params_file=str(params), engage="no")
    )
    assert parameters(found["/policy"])["engage"] is False
    assert parameters(found["/policy"])["rate"] == 20.0 and parameters(found["/policy"])["use_sim_time"] == "True"


@pytest.mark.parametrize("name", ["bringup.launch.py", "single.launch.py"])
def test_descriptions_show_their_arguments_and_nodes(name):
    description = PythonLaunchDescriptionSource(str(FOLDER / name)).get_launch_description(LaunchContext())
    arguments = {argument.name: argument.description for argument in description.get_launch_arguments()}
    common = {"namespace", "params_file", "engage", "use_sim_time", "autostart", "use_respawn", "log_level", "record", "bag_folder"}
    assert common <= set(arguments) and all(arguments.values())
    assert "nodes of a fleet" in LaunchIntrospector().format_launch_description(description)
