"""NodeSpec: a node to run, and its parameter file."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import yaml

from latent_policy_ros.bringup.node_parameters import Parameter


@dataclass(frozen=True)
class NodeSpec:
    """A node to run.

    Attributes:
        executable: Name for ``ros2 run latent_policy_ros``, and of the module in ``latent_policy_ros.nodes``.
        name: Node name.
        namespace: Namespace without slash at the start, relative to that of the fleet.
        parameters: Parameters, with the types that the node declares.
        robots: Namespaces of the robots whose topics the node uses, relative to ``namespace``, if they differ from it.
        stop_timeout: Time from SIGTERM to SIGKILL when the node is stopped [s].
        members: Nodes that run in this process instead of one of their own; see ``compose``.
    """

    executable: str
    name: str
    namespace: str = ""
    parameters: Mapping[str, Parameter] = field(default_factory=dict)
    robots: tuple[str, ...] = ()
    stop_timeout: float = 5.0
    members: tuple[NodeSpec, ...] = ()

    @property
    def full_name(self) -> str:
        """Fully qualified node name."""
        return f"/{self.namespace}/{self.name}" if self.namespace else f"/{self.name}"

    @property
    def nodes(self) -> tuple[NodeSpec, ...]:
        """The nodes of this process."""
        return self.members or (self,)

    @property
    def file_name(self) -> str:
        """The full name as a file name without suffix."""
        return self.full_name.strip("/").replace("/", ".")


class _Quoted(yaml.SafeDumper):
    """YAML with all strings quoted: ROS reads an unquoted ``y`` as true and ``1e5`` as a number."""


_Quoted.add_representer(str, lambda dumper, text: dumper.represent_scalar("tag:yaml.org,2002:str", text, style='"'))


def write_parameters(spec: NodeSpec, folder: Path) -> Path:
    """Write the parameter file of a node (``--params-file``) and return its path."""
    folder.mkdir(parents=True, exist_ok=True)
    file = folder / f"{spec.file_name}.yaml"
    values = {name: value for name, value in spec.parameters.items() if value != []}  # ROS cannot infer the type of an empty list
    content = yaml.dump({"/**": {"ros__parameters": values}}, Dumper=_Quoted, sort_keys=False)
    file.write_text(content, encoding="utf-8")
    return file


def node_arguments(spec: NodeSpec, folder: Path, namespace: str = "", ros_arguments: Sequence[str] = ()) -> list[str]:
    """ROS arguments of a node: its name, its namespace, and its parameter file, which is written to ``folder``.

    Args:
        spec: The node.
        folder: Folder of the parameter file.
        namespace: Namespace in which launch places the node.
        ros_arguments: Further arguments, which replace values of the parameter file.
    """
    place = "/".join(filter(None, (namespace.strip("/"), spec.namespace)))
    names = ["-r", f"__ns:=/{place}", "-r", f"__node:={spec.name}"]
    return ["--ros-args", *names, "--params-file", str(write_parameters(spec, folder)), *ros_arguments]
