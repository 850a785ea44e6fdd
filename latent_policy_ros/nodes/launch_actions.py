"""Parts of the launch files: their common arguments, and the action that starts the nodes of a fleet."""

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any
from weakref import WeakKeyDictionary

from ament_index_python.packages import get_package_prefix
from launch import LaunchContext, LaunchDescription
from launch.actions import DeclareLaunchArgument, GroupAction, OpaqueFunction
from launch.logging import get_logger
from launch_ros.actions import Node, PushRosNamespace

from latent_policy_ros import bringup
from latent_policy_ros.common.errors import ConfigError, LatentPolicyError, describe_error

TRUE, FALSE = ("true", "1", "yes", "on"), ("false", "0", "no", "off")
REMAPS, PARAMETERS, NAMESPACE = "ros_remaps", "global_params", "ros_namespace"  # what launch_ros keeps in its configurations
AUTO, ENGAGE = "auto", ("auto", *TRUE, *FALSE, "True", "False")
LEVELS = ("", "debug", "info", "warn", "error", "fatal")
RVIZ = "rviz2"  # package, executable and node
#: Makes the fleet from the arguments, with more options of ``bringup.node_specs``.
MakeFleet = Callable[["Arguments"], "tuple[bringup.Fleet, dict[str, Any]]"]


#: Full names of the nodes that each launch found in the ROS domain, or started.
_present: WeakKeyDictionary[LaunchContext, set[str]] = WeakKeyDictionary()


class Left(str):
    """Value of a launch argument that an include of this package's files left behind; the next include ignores it."""


class Arguments(dict[str, str]):
    """Values of launch arguments."""

    def flag(self, name: str) -> bool:
        """The value of a boolean argument; true and True, false and False, 1 and 0, yes and no are accepted.

        Raises:
            ConfigError: Another value.
        """
        value = self[name].strip().lower()
        if value not in TRUE + FALSE:
            raise ConfigError("launch arguments", name, f"expected true or false, got {self[name]!r}")
        return value in TRUE

    def names(self, name: str) -> tuple[str, ...]:
        """The value of an argument that lists names, separated by commas."""
        return tuple(part.strip() for part in self[name].split(",") if part.strip())


def argument(name: str, default: str | None, description: str, choices: Sequence[str] | None = None) -> DeclareLaunchArgument:
    """A launch argument; one without default is required."""
    options = {} if default is None else {"default_value": default}
    return DeclareLaunchArgument(name, description=description, **options, **({"choices": list(choices)} if choices else {}))


def common_arguments() -> list[DeclareLaunchArgument]:
    """Arguments of every launch file of this package."""
    return [
        argument("namespace", "", "Namespace of all nodes, inside of a namespace that is pushed by an including file."),
        argument("params_file", "", "ROS parameter file (YAML); its values replace all others, also those of a fleet file."),
        argument("engage", AUTO, "The policy drives at once; false: once told to; auto: at once without hardware.", ENGAGE),
        argument("tf", "false", "Publish the URDF of each robot, and the transforms of its links."),
        argument("rviz", "false", "Start RViz with a configuration of these robots; includes tf."),
        argument("use_sim_time", "false", "Use simulation time: nodes follow /clock, which the simulator publishes."),
        argument("autostart", "true", "Configure and activate the nodes; false leaves that to a lifecycle manager."),
        argument("use_respawn", "true", "Restart a node that ends."),
        argument("log_level", "", "Level of the nodes' loggers; empty: that of ROS.", LEVELS),
        argument(
            "compose",
            "none",
            "Drivers and decoders share a process: those of a robot, those of eight robots of the fleet, or none.",
            bringup.COMPOSE_MODES,
        ),
        argument("only", "", "Parts on this machine: names of robots, shared (policy, episodes, recorder), or both; empty: all."),
        argument("record", "false", "Start the recorder, which writes one MCAP bag for each episode."),
        argument("bag_folder", "", "Folder of the recorder's bags; empty: bags in $LATENT_POLICY_HOME, or in ./runs."),
    ]


def fleet_description(arguments: Sequence[DeclareLaunchArgument], make_fleet: MakeFleet) -> LaunchDescription:
    """The description of a launch file.

    Values of the arguments stay inside: they neither reach files that are included later, nor a later include of this file.

    Args:
        arguments: Arguments of the file; ``common_arguments`` are added.
        make_fleet: Makes the fleet from the arguments.
    """
    declared = [*arguments, *common_arguments()]
    names = [declaration.name for declaration in declared]
    before: dict[str, str] = {}

    def enter(context: LaunchContext) -> None:
        configurations = context.launch_configurations
        before.update({name: configurations[name] for name in names if name in configurations})
        for name in names:
            if isinstance(configurations.get(name), Left):
                del configurations[name]

    def leave(context: LaunchContext) -> None:
        configurations = context.launch_configurations
        for name in names:
            if name in before:
                configurations[name] = Left(before[name])
            else:
                configurations.pop(name, None)
        before.clear()

    return LaunchDescription([
        OpaqueFunction(function=enter), *declared, FleetNodes(declared, make_fleet), OpaqueFunction(function=leave),
    ])  # fmt: skip


class FleetNodes(OpaqueFunction):
    """Starts the nodes of a fleet in the namespace of the argument ``namespace``.

    As text, for ``ros2 launch --print``, it lists them. That command passes no arguments to a description: they are read from the
    command line.
    """

    def __init__(self, declared: Sequence[DeclareLaunchArgument], make_fleet: MakeFleet) -> None:
        super().__init__(function=self._start)
        self._declared, self._make_fleet = declared, make_fleet

    def _start(self, context: LaunchContext) -> list[GroupAction]:
        configurations = context.launch_configurations
        arguments = Arguments({declaration.name: str(configurations[declaration.name]) for declaration in self._declared})
        inside, globals_ = configurations.get(NAMESPACE, ""), configurations.get(PARAMETERS) or []
        namespace = f"{inside}/{arguments['namespace']}"
        fleet, specs = self._specs(arguments, inside)
        files = [str(Path(value).expanduser().absolute()) for value in (*_files(globals_), arguments["params_file"]) if value]
        if missing := [file for file in files if not Path(file).is_file()]:
            raise ConfigError("launch arguments", "params_file", f"no file {missing[0]}")
        self._warn_of_conflicts(context, bringup.in_namespace(specs, namespace))
        push = [PushRosNamespace(arguments["namespace"])] if arguments["namespace"] else []
        nodes = bringup.launch_nodes(
            specs, Node, namespace=namespace, remaps=configurations.get(REMAPS) or [],
            parameter_files=files, log_level=arguments["log_level"], respawn=arguments.flag("use_respawn"),
        )  # fmt: skip
        if arguments.flag("rviz"):
            nodes.append(_rviz(fleet, namespace, arguments.flag("use_sim_time")))
        return [GroupAction([*push, *nodes])]

    @staticmethod
    def _warn_of_conflicts(context: LaunchContext, specs: Sequence[bringup.NodeSpec]) -> None:
        """Warn if nodes of these names are in the ROS domain, or were started by this launch."""
        if context not in _present:
            _present[context] = bringup.present_nodes()
        if conflict := bringup.name_conflict(specs, _present[context]):
            get_logger("latent_policy_ros").warning(conflict)
        _present[context] |= {node.full_name for spec in specs for node in spec.nodes}

    def _specs(self, arguments: Arguments, inside: str = "") -> tuple[bringup.Fleet, list[bringup.NodeSpec]]:
        fleet, more = self._make_fleet(arguments)
        options = {
            "record": arguments.flag("record"), "autostart": arguments.flag("autostart"),
            "use_sim_time": arguments.flag("use_sim_time"), "tf": arguments.flag("tf") or arguments.flag("rviz"),
            "engage": None if arguments["engage"] == AUTO else arguments.flag("engage"),
            "bag_folder": Path(arguments["bag_folder"]).expanduser().absolute() if arguments["bag_folder"] else None,
            "namespace": f"{inside}/{arguments['namespace']}".strip("/"), "only": arguments.names("only"),
        }  # fmt: skip
        return fleet, bringup.compose(bringup.node_specs(fleet, **options, **more), arguments["compose"])

    def __str__(self) -> str:
        defaults = {d.name: "".join(part.text for part in d.default_value) for d in self._declared if d.default_value is not None}
        given = dict(word.split(":=", 1) for word in sys.argv if ":=" in word)
        required = [declaration.name for declaration in self._declared if declaration.name not in defaults | given]
        if required:
            return f"nodes of a fleet, after {', '.join(f'{name}:=...' for name in required)}"
        arguments = Arguments(defaults | {name: value for name, value in given.items() if name in defaults or name not in required})
        try:
            specs = bringup.in_namespace(self._specs(arguments)[1], arguments["namespace"])
            if arguments.flag("rviz"):
                specs += bringup.in_namespace([bringup.NodeSpec(RVIZ, RVIZ)], arguments["namespace"])
        except (LatentPolicyError, OSError) as error:
            return f"nodes of a fleet: {describe_error(error)}"
        return "nodes of a fleet:" + "".join(f"\n        {spec.full_name} ({spec.executable})" for spec in specs)


def _rviz(fleet: bringup.Fleet, namespace: str, simulated_time: bool) -> Node:
    """RViz, showing a fleet.

    Raises:
        ConfigError: RViz is not installed.
    """
    try:
        get_package_prefix(RVIZ)
    except (LookupError, OSError) as error:  # launch would find out after it has started nodes, and leave them running
        message = f"{RVIZ} is not installed; expected the package ros-<distribution>-{RVIZ}, or rviz:=false"
        raise ConfigError("launch arguments", "rviz", message) from error
    file = bringup.write_rviz_config(fleet, bringup.default_socket_folder() / "rviz", namespace)
    clock = [{"use_sim_time": True}] if simulated_time else []  # left out if false, so that a global parameter of launch counts
    return Node(package=RVIZ, executable=RVIZ, name=RVIZ, arguments=["-d", str(file)], parameters=clock, output="screen")


def _files(globals_: Sequence[Any]) -> list[str]:
    """Parameter files among what SetParametersFromFile and SetParameter keep: they precede those of a node, and are repeated."""
    return [str(entry) for entry in globals_ if not isinstance(entry, tuple)]


def teleoperation(arguments: Mapping[str, str] | Arguments) -> bringup.Teleoperation | None:
    """The teleoperation that the arguments of ``bringup.launch.py`` ask for."""
    values = Arguments(arguments)
    if not values.flag("teleop"):
        return None
    texts = {name: values[f"teleop_{name}"] for name in ("mode", "file", "side", "layout", "units")}
    return bringup.Teleoperation(**texts, robots=values.names("teleop_robots"), loop=values.flag("teleop_loop"))
