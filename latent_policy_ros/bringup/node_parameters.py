"""Parameters that each node declares, read from the source of the nodes: this folder does not import ROS."""

from __future__ import annotations

import ast
import importlib
from collections.abc import Iterator, Mapping
from functools import cache
from pathlib import Path
from typing import Any, Union

from latent_policy_ros.common.errors import available
from latent_policy_ros.common.paths import PACKAGE

Parameter = Union[bool, int, float, str, list[str], list[float]]
NODES = Path(__file__).resolve().parents[1] / "nodes"
#: Nodes of a robot, as fleet files name them, with their executables. Camera nodes are named `<camera>_camera`.
ROBOT_NODES = {
    "sim": "sim_node", "arm_driver": "arm_driver_node", "hand_driver": "hand_driver_node",
    "gripper_driver": "gripper_driver_node", "decoder": "decoder_node", "description": "description_node",
}  # fmt: skip
CAMERA_NODE = "camera_node"
#: Nodes of a fleet.
FLEET_NODES = {"policy": "policy_node", "episode": "episode_node", "human_hand": "human_hand_node", "recorder": "recorder_node"}
QOS_OVERRIDES = "qos_overrides."  # parameters that rclpy declares for a topic
UNKNOWN = object()  # a default that is computed


@cache
def declared_parameters(executable: str) -> Mapping[str, Any]:
    """{name: default} of the parameters that the class of a node and its bases declare; ``UNKNOWN`` for computed defaults."""
    found: dict[str, Any] = {}
    for module in _modules(f"{PACKAGE}.nodes.{executable}"):
        tree = ast.parse(_source(module).read_text(encoding="utf-8"))
        for call in (node for node in ast.walk(tree) if isinstance(node, ast.Call)):
            declares = isinstance(call.func, ast.Attribute) and call.func.attr == "declare" and len(call.args) > 1
            if declares and (name := _default(call.args[0], tree)) is not UNKNOWN:
                found.setdefault(str(name), _default(call.args[1], tree))
    return found


def checked_parameters(executable: str, node: str, values: Mapping[str, Any]) -> dict[str, Parameter]:
    """Parameters of a node from a fleet file, with the types that the node declares: a whole number for a double is converted.

    Args:
        executable: Executable of the node.
        node: Its name, for errors.
        values: {name: value}.

    Raises:
        ValueError: The node has no such parameter, or the value is of another type.
    """
    known, checked = {**declared_parameters(executable), "use_sim_time": False}, {}
    for name, value in values.items():
        if name.startswith(QOS_OVERRIDES):
            checked[name] = value
            continue
        if name not in known:
            raise ValueError(f"{node} has no parameter {name!r}; {available(known)}")
        default = known[name]
        if isinstance(default, float) and isinstance(value, int) and not isinstance(value, bool):
            value = float(value)
        if default is not UNKNOWN and type(value) is not type(default):
            raise ValueError(f"parameter {name} of {node}: expected a value like {default!r}, got {value!r}")
        checked[name] = value
    return checked


def _modules(first: str) -> Iterator[str]:
    """A module and the modules of nodes that it imports, directly or not."""
    waiting, seen = [first], set()
    while waiting:
        module = waiting.pop(0)
        if module in seen or not _source(module).is_file():
            continue
        seen.add(module)
        yield module
        for node in ast.walk(ast.parse(_source(module).read_text(encoding="utf-8"))):
            if isinstance(node, ast.ImportFrom) and (node.module or "").startswith(f"{PACKAGE}.nodes"):
                waiting += [str(node.module), *(f"{node.module}.{alias.name}" for alias in node.names)]


def _source(module: str) -> Path:
    return NODES.joinpath(*module.split(".")[2:]).with_suffix(".py")


def _default(value: ast.expr, tree: ast.Module) -> Any:
    """The value of an expression: a literal, or a constant of the module or of another one of this package."""
    if not isinstance(value, ast.Name):
        try:
            return ast.literal_eval(value)
        except ValueError:
            return UNKNOWN
    for node in tree.body:
        if isinstance(node, ast.Assign) and any(isinstance(t, ast.Name) and t.id == value.id for t in node.targets):
            return _default(node.value, tree)
        if isinstance(node, ast.ImportFrom) and value.id in [alias.asname or alias.name for alias in node.names]:
            if str(node.module).startswith(f"{PACKAGE}.nodes"):
                return _default(value, ast.parse(_source(str(node.module)).read_text(encoding="utf-8")))
            return getattr(importlib.import_module(str(node.module)), value.id)
    return UNKNOWN
