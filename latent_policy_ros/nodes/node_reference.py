"""Reference page of all nodes, read from nodes that are created and configured in this process.

``python -m latent_policy_ros.nodes.node_reference`` prints the page; ``latent-policy reference`` writes it to a file.
"""

from __future__ import annotations

import inspect
import os
import re
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import rclpy
from rcl_interfaces.msg import ParameterDescriptor, ParameterType
from rcl_interfaces.srv import ListParameters
from rclpy.action import ActionServer, get_action_server_names_and_types_by_node
from rclpy.lifecycle import LifecycleNode, TransitionCallbackReturn
from rclpy.node import Node
from rclpy.qos import DurabilityPolicy, QoSProfile, ReliabilityPolicy

from latent_policy_ros.common.errors import LatentPolicyError
from latent_policy_ros.nodes.arm_driver_node import ArmDriver
from latent_policy_ros.nodes.base import ros_context
from latent_policy_ros.nodes.base.driver_node import EndEffectorDriver
from latent_policy_ros.nodes.base.lifecycle_node import ManagedNode
from latent_policy_ros.nodes.camera_node import CameraNode
from latent_policy_ros.nodes.decoder_node import Decoder
from latent_policy_ros.nodes.description_node import DescriptionNode
from latent_policy_ros.nodes.episode_node import EpisodeNode
from latent_policy_ros.nodes.episode_runner import EpisodeRunner
from latent_policy_ros.nodes.human_hand_node import HumanHandNode
from latent_policy_ros.nodes.policy_node import PolicyNode
from latent_policy_ros.nodes.recorder_node import Recorder
from latent_policy_ros.nodes.sim_node import Sim

NAMESPACE = "reference"
ROBOT, CAMERA = "robot", "front"  # names in the configurations below; the page shows <robot> and <camera>
HAND, GRIPPER = "mimic_hand", "panda_gripper"
SOCKET = os.path.join(tempfile.gettempdir(), f"node-reference-{os.getpid()}.sock")
DISCOVERY_TIMEOUT = 5.0  # s
TRANSITIONS = ("configure", "activate", "deactivate")
HEADER = """\
# Nodes

<!-- Generated from the code by: latent-policy reference --write docs/reference -->

Names of topics and services are relative to the node's namespace. `<robot>` is a robot's namespace, `<camera>` the name of
one of its cameras. Message types of this package are defined in [msg/](../../msg).
"""
LIFECYCLE = """\
## All nodes

Every node except `episode_runner` is a [lifecycle node](https://design.ros2.org/articles/node_lifecycle.html) with the
standard lifecycle and parameter services (`~/change_state`, `~/get_state`, `~/get_parameters`, ...). With `autostart`, its
process configures and activates it. An unconfigured node has only these services, its parameters and `/diagnostics`.
A node that cannot be configured logs the reason and stays unconfigured; with `autostart` its process then ends with status 1.
Exceptions in callbacks never end a node: they are counted and reported on `/diagnostics`, which is published once per second.
Parameters are fixed when the node starts, unless their description says otherwise.
"""


@dataclass(frozen=True)
class NodeEntry:
    """One node of the page.

    Args:
        executable: Name for ``ros2 run latent_policy_ros``.
        make: Creates the node, from options of ``rclpy.node.Node``.
        parameters: Parameters with which it can be configured.
        variants: Parameters that add or replace topics; the key is the condition shown on the page.
    """

    executable: str
    make: Callable[..., Node]
    parameters: Mapping[str, Any] = field(default_factory=dict)
    variants: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)


_ROBOTS = {"robots": [ROBOT], "embodiments": [HAND]}
NODES = (
    NodeEntry(
        "policy_node", PolicyNode, {**_ROBOTS, "cameras": [CAMERA]},
        {"`images`: raw": {}, "`images`: compressed": {"images": ["compressed"]}},
    ),
    NodeEntry("episode_node", EpisodeNode, {"robots": [ROBOT], "simulators": [ROBOT]}),
    NodeEntry("decoder_node", Decoder, {}, {"hand": {"embodiment": HAND}, "gripper": {"embodiment": GRIPPER}}),
    NodeEntry("description_node", DescriptionNode, {"embodiment": HAND}),
    NodeEntry("hand_driver_node", partial(EndEffectorDriver, "hand"), {"embodiment": HAND}),
    NodeEntry("gripper_driver_node", partial(EndEffectorDriver, "gripper"), {"embodiment": GRIPPER}),
    NodeEntry("arm_driver_node", ArmDriver, {"embodiment": HAND}),
    NodeEntry("camera_node", CameraNode, {"camera": CAMERA, "source": "/dev/video0"}),
    NodeEntry("human_hand_node", HumanHandNode, _ROBOTS, {
        "`mode`: latent": {}, "`mode`: direct, hand": {"mode": "direct"},
        "`mode`: direct, gripper": {"mode": "direct", "embodiments": [GRIPPER]},
    }),
    NodeEntry("recorder_node", Recorder, {**_ROBOTS, "cameras": [CAMERA]}),
    NodeEntry(
        "sim_node", Sim, {"embodiment": HAND, "cameras": [CAMERA], "socket_path": SOCKET},
        {"": {}, "`overview`: true": {"overview": True}},
    ),
    NodeEntry("episode_runner", EpisodeRunner, {"robots": [ROBOT]}),
)  # fmt: skip


@dataclass(frozen=True)
class Interface:
    """Topics, services and parameters of a node. Topics and services: (name, type, QoS) each."""

    subscriptions: tuple[tuple[str, str, str], ...]
    publishers: tuple[tuple[str, str, str], ...]
    services: tuple[tuple[str, str, str], ...]
    clients: tuple[tuple[str, str, str], ...]
    actions: tuple[tuple[str, str, str], ...]

    @classmethod
    def of(cls, node: Node) -> Interface:
        """Read the interface of a node."""
        name = partial(_relative, node)
        topics = lambda found: tuple((name(e.topic_name), _type(e.msg_type), _qos(e.qos_profile)) for e in found)
        services = lambda found: tuple((name(e.srv_name), _type(e.srv_type), "") for e in found)
        subscriptions = topics([*node.subscriptions, *getattr(node, "polled", ())])
        if isinstance(node, Recorder):  # subscribes to each topic when it is published
            subscriptions += tuple(_recorded(name, node))
        return cls(subscriptions, topics(node.publishers), services(node.services), services(node.clients), _actions(name, node))


def page() -> str:
    """The page, as Markdown. Needs an initialised rclpy context.

    Raises:
        LatentPolicyError: A node could not be configured.
    """
    rclpy_node, managed_node = LifecycleNode("node", namespace=NAMESPACE), ManagedNode("node", 1.0, namespace=NAMESPACE)
    standard, common = Interface.of(rclpy_node), Interface.of(managed_node)
    rclpy_parameters, common_parameters = _parameters(rclpy_node), _parameters(managed_node)
    added = {name: row for name, row in common_parameters.items() if name not in rclpy_parameters}
    rclpy_node.destroy_node()
    managed_node.destroy_node()
    parts = [HEADER, _contents(), LIFECYCLE, _interface({"": common}, standard), _parameter_table(added)]
    parts += [_node(entry, common, common_parameters) for entry in NODES]
    return "\n".join(part for part in parts if part)


def _contents() -> str:
    names = ["All nodes", *(entry.executable for entry in NODES)]
    return "\n".join(f"- [{name}](#{name.lower().replace(' ', '-')})" for name in names) + "\n"


def _node(entry: NodeEntry, common: Interface, common_parameters: Mapping[str, tuple[Any, ParameterDescriptor]]) -> str:
    """Section of one node, without what all nodes have."""
    node = entry.make(namespace=NAMESPACE)
    own = {name: row for name, row in _parameters(node).items()
           if name not in common_parameters or row[0] != common_parameters[name][0]}  # fmt: skip
    managed = isinstance(node, ManagedNode)
    run = "ros2 run latent_policy_ros " if managed else "python -m latent_policy_ros.nodes."
    facts = f"Run with `{run}{entry.executable}`. Default name: `{node.get_name()}`."
    sections = [f"## {entry.executable}\n", _documentation(type(node)) + "\n", facts + "\n"]
    if managed:
        sections.append(_lifecycle(type(node)))
    node.destroy_node()
    variants = {condition: _configured(entry, parameters) for condition, parameters in (entry.variants or {"": {}}).items()}
    sections += [_interface(variants, common), _parameter_table(own)]
    return "\n".join(section for section in sections if section)


def _configured(entry: NodeEntry, parameters: Mapping[str, Any]) -> Interface:
    """Interface of a node after its transition to the state *inactive*."""
    overrides = [rclpy.Parameter(name, value=value) for name, value in {**entry.parameters, **parameters}.items()]
    node = entry.make(namespace=NAMESPACE, parameter_overrides=overrides)
    try:
        if isinstance(node, ManagedNode) and node.trigger_configure() != TransitionCallbackReturn.SUCCESS:
            raise LatentPolicyError(f"{entry.executable} cannot be configured with {entry.parameters | parameters}")
        return Interface.of(node)
    finally:
        if isinstance(node, ManagedNode):
            node.trigger_shutdown()
        node.destroy_node()


# --- names and types


def _relative(node: Node, name: str) -> str:
    """A name as a user writes it: relative to the namespace, or to the node, with placeholders."""
    name = re.sub(rf"^(/{NAMESPACE}/)?{node.get_name()}/", "~/", name)
    name = name.removeprefix(f"/{NAMESPACE}/")
    parts = {ROBOT: "<robot>", CAMERA: "<camera>"}
    return "/".join(parts.get(part, part) for part in name.split("/"))


def _type(interface: type) -> str:
    return f"{interface.__module__.split('.')[0]}/{interface.__name__}"


def _qos(profile: QoSProfile) -> str:
    reliability = "reliable" if profile.reliability == ReliabilityPolicy.RELIABLE else "best effort"
    latched = ", transient local" if profile.durability == DurabilityPolicy.TRANSIENT_LOCAL else ""
    return f"{reliability}{latched}, depth {profile.depth}"


def _actions(name: Callable[[str], str], node: Node) -> tuple[tuple[str, str, str], ...]:
    """Actions that a node serves; their names are only in the graph."""
    if not any(isinstance(waitable, ActionServer) for waitable in node.waitables):
        return ()
    deadline, found = time.monotonic() + DISCOVERY_TIMEOUT, []
    while not found and time.monotonic() < deadline:
        found = get_action_server_names_and_types_by_node(node, node.get_name(), node.get_namespace())
        time.sleep(0.01)
    return tuple((name(action), types[0].replace("/action/", "/"), "") for action, types in found)


def _recorded(name: Callable[[str], str], node: Recorder) -> Iterator[tuple[str, str, str]]:
    for subscription in node.topics.topics:
        for topic, msg_type in subscription.candidates:
            yield name(topic), msg_type.replace("/msg/", "/"), f"as the publishers offer, depth {subscription.depth}"


# --- parts of the page


def _documentation(cls: type) -> str:
    """Docstring of a class as Markdown, without its sections Args and Attributes."""
    text = re.split(r"\n(?:Args|Attributes|Raises):\n", inspect.getdoc(cls) or "")[0].strip()
    return _markdown(text)


def _markdown(text: str) -> str:
    return re.sub(r"``(.+?)``", r"`\1`", text)


def _lifecycle(cls: type) -> str:
    """What the node does in each transition: docstrings of the methods that it overrides."""
    lines = []
    for transition in TRANSITIONS:
        method = getattr(cls, transition)
        if method is not getattr(ManagedNode, transition) and method.__doc__:
            summary = " ".join(inspect.cleandoc(method.__doc__).split("\n\n")[0].split())
            lines.append(f"- *{transition}*: {_markdown(summary)}")
    return "\n".join(lines) + "\n" if lines else ""


def _interface(variants: Mapping[str, Interface], common: Interface) -> str:
    """Tables of topics and services that are not common; rows that not every variant has show its condition."""
    tables = []
    titles = {"subscriptions": "Subscribed topics", "publishers": "Published topics", "services": "Services",
              "actions": "Actions", "clients": "Called services"}  # fmt: skip
    for attribute, title in titles.items():
        rows: dict[tuple[str, str, str], list[str]] = {}
        for condition, interface in variants.items():
            for row in dict.fromkeys(getattr(interface, attribute)):
                if row not in getattr(common, attribute):
                    rows.setdefault(row, []).append(condition)
        if not rows:
            continue
        columns = [title, "Type", *(["QoS"] if any(qos for _, _, qos in rows) else [])]
        conditional = any(len(conditions) < len(variants) for conditions in rows.values())
        lines = []
        for (name, kind, qos), conditions in rows.items():
            cells = [f"`{name}`", f"`{kind}`", qos][: len(columns)]
            only = "" if len(conditions) == len(variants) else "; ".join(conditions)
            lines.append([*cells, only] if conditional else cells)
        tables.append(_table([*columns, "Only with"] if conditional else columns, lines))
    return "\n".join(tables)


def _parameters(node: Node) -> dict[str, tuple[Any, ParameterDescriptor]]:
    names = node.list_parameters([], ListParameters.Request.DEPTH_RECURSIVE).names
    return {name: (node.get_parameter(name).value, node.describe_parameter(name)) for name in names}


def _parameter_table(parameters: Mapping[str, tuple[Any, ParameterDescriptor]]) -> str:
    types = {value: name.removeprefix("PARAMETER_").lower() for name, value in vars(ParameterType).items()
             if name.startswith("PARAMETER_")}  # fmt: skip
    rows = []
    for name, (value, descriptor) in parameters.items():
        ranges = [*descriptor.integer_range, *descriptor.floating_point_range]
        bounds = f"{_number(ranges[0].from_value)} to {_number(ranges[0].to_value)}" if ranges else ""
        changeable = "" if descriptor.read_only else " Can be changed while the node runs."
        rows.append([f"`{name}`", types[descriptor.type].replace("_", " "), f"`{_yaml(value)}`", bounds,
                     _text(descriptor.description) + changeable])  # fmt: skip
    return _table(["Parameter", "Type", "Default", "Range", "Description"], rows) if rows else ""


def _yaml(value: Any) -> str:
    if isinstance(value, str):
        return f'"{value}"'
    if isinstance(value, bool):
        return str(value).lower()
    return "[" + ", ".join(map(_yaml, value)) + "]" if isinstance(value, (list, tuple)) else str(value)


def _number(value: float) -> str:
    return str(int(value)) if value == int(value) else f"{value:g}"


def _text(text: str) -> str:
    return text.replace("<", "&lt;").replace("|", "\\|")


def _table(columns: list[str], rows: list[list[str]]) -> str:
    lines = [columns, ["---"] * len(columns), *rows]
    return "\n".join("| " + " | ".join(cells) + " |" for cells in lines) + "\n"


def main() -> int:
    """Print the page."""
    ros_context.init(images=False, args=["--ros-args", "--disable-rosout-logs"])
    try:
        print(page(), end="")
    except LatentPolicyError as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    finally:
        rclpy.try_shutdown()
    return 0


if __name__ == "__main__":
    sys.exit(main())
