"""A fleet of robots -> the list of nodes to run. Launch files and ``latent-policy up`` both render this one list."""

from __future__ import annotations

import hashlib
import os
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Union

import yaml

from latent_policy_ros.bringup.fleet import LATENT, NONE, Fleet, Robot, Teleoperation, known_cameras, load_fleet, single_robot
from latent_policy_ros.common.errors import ArtifactError, ConfigError, available
from latent_policy_ros.common.paths import PACKAGE, runs_dir
from latent_policy_ros.common.ros_environment import node_environment
from latent_policy_ros.policy.checkpoint import Checkpoint

__all__ = [
    "Fleet", "NodeSpec", "Robot", "Teleoperation", "launch_nodes", "load_fleet", "node_specs", "recorder_spec", "runner_spec",
    "single_robot", "write_parameters",
]  # fmt: skip

Parameter = Union[bool, int, float, str, list[str], list[float]]
SOCKET_PATH_LIMIT = 107  # bytes of an AF_UNIX path


@dataclass(frozen=True)
class NodeSpec:
    """One node to run.

    Attributes:
        executable: Name for ``ros2 run latent_policy_ros`` (and module under ``latent_policy_ros.nodes``).
        name: Node name.
        namespace: Without slashes; empty for the root.
        parameters: With the types that the node declares.
        patience: How long it may take to end when it is asked to [s].
    """

    executable: str
    name: str
    namespace: str = ""
    parameters: Mapping[str, Parameter] = field(default_factory=dict)
    patience: float = 5.0

    @property
    def full_name(self) -> str:
        """Fully qualified node name."""
        return f"/{self.namespace}/{self.name}" if self.namespace else f"/{self.name}"

    @property
    def file_name(self) -> str:
        """Its name as that of a file, without a suffix."""
        return self.full_name.strip("/").replace("/", ".")


def node_specs(
    fleet: Fleet,
    *,
    record: bool = False,
    bag_folder: Path | None = None,
    socket_folder: Path | None = None,
    overview: bool = False,
    teleoperation: Teleoperation | None = None,
) -> list[NodeSpec]:
    """Every node of a fleet.

    Args:
        fleet: The robots and their policy.
        record: Also run the recorder.
        bag_folder: Where it puts its bags; default ``bags`` in the runs folder.
        socket_folder: Where simulators listen; default a folder of this user and ROS domain.
        overview: Simulators also publish a large image for people.
        teleoperation: A person drives the robots, instead of the policy; without a latent space they need no decoders.

    Raises:
        ConfigError: The policy is damaged, or has not these cameras; there is no such robot to teleoperate; a socket's path
            is too long.
        LatentPolicyError, FileNotFoundError: See ``Teleoperation.hands``.
    """
    sockets, decoded = socket_folder or default_socket_folder(), teleoperation is None or teleoperation.mode == LATENT
    specs = [spec for robot in fleet.robots.values() for spec in _robot_specs(fleet, robot, sockets, overview, decoded)]
    specs.append(_policy_spec(fleet) if teleoperation is None else _human_hand_spec(fleet, teleoperation))
    if record:
        specs.append(recorder_spec(fleet, bag_folder, overview=overview, policy=teleoperation is None, latent=decoded))
    return specs


def recorder_spec(
    fleet: Fleet,
    bag_folder: Path | None = None,
    *,
    overview: bool = False,
    policy: bool = True,
    latent: bool = True,
    parameters: Mapping[str, Parameter] | None = None,
) -> NodeSpec:
    """The node that records a fleet.

    Args:
        fleet: The robots.
        bag_folder: Where it puts its bags; default ``bags`` in the runs folder.
        overview: Also record the large images that simulators publish for people.
        policy, latent: Whether the robots follow the fleet's policy, and plans of its latent space.
        parameters: More of the node's parameters.
    """
    robots = fleet.robots.values()
    return NodeSpec("recorder_node", "recorder", "", {
        "robots": list(fleet.robots), "embodiments": [robot.embodiment.reference for robot in robots],
        "cameras": [",".join(_recorded_cameras(robot, overview)) for robot in robots],
        "folder": str(bag_folder or runs_dir() / "bags"), "task": fleet.task, "fleet": fleet.text(),
        "policy": str(fleet.policy) if policy else "", "latent": str(fleet.latent) if latent else "",
        **(parameters or {}),
    }, patience=60.0)  # fmt: skip


def _policy_spec(fleet: Fleet) -> NodeSpec:
    try:
        known = Checkpoint.load(fleet.policy).settings.cameras
    except ArtifactError as error:
        raise ConfigError(fleet.file, "policy", str(error)) from error
    for name, robot in fleet.robots.items():
        if not robot.cameras:
            raise ConfigError(fleet.file, f"robots.{name}.cameras", "the policy needs one at least, got none; " + available(known))
        known_cameras(fleet.file, f"robots.{name}", robot.cameras, known, "the policy")
    return NodeSpec("policy_node", "policy", "", {
        "policy": str(fleet.policy), "latent": str(fleet.latent), "rate": fleet.rate,
        "device": fleet.device, "robots": list(fleet.robots),
        "embodiments": [robot.embodiment.reference for robot in fleet.robots.values()],
        "cameras": [",".join(robot.cameras) for robot in fleet.robots.values()],
        "images": [robot.images for robot in fleet.robots.values()],
    })  # fmt: skip


def _human_hand_spec(fleet: Fleet, teleoperation: Teleoperation) -> NodeSpec:
    driven = teleoperation.driven(fleet)
    teleoperation.hands()  # what is wrong with it is better said here than by a node
    return NodeSpec("human_hand_node", "human_hand", "", {
        "robots": [robot.namespace for robot in driven], "embodiments": [robot.embodiment.reference for robot in driven],
        "mode": teleoperation.mode, "latent": str(fleet.latent), "file": teleoperation.file, "loop": teleoperation.loop,
        "side": teleoperation.side, "layout": teleoperation.layout, "units": teleoperation.units,
    })  # fmt: skip


def _robot_specs(fleet: Fleet, robot: Robot, sockets: Path, overview: bool, decoded: bool) -> list[NodeSpec]:
    embodiment = robot.embodiment.reference
    socket = str(sockets / f"{robot.namespace}.sock")
    if len(socket.encode()) > SOCKET_PATH_LIMIT:
        raise ConfigError(fleet.file, f"robots.{robot.namespace}", f"socket path too long for the system: {socket}")
    shared: dict[str, Parameter] = {"embodiment": embodiment}
    specs = []
    if robot.driver == "sim":
        shared["socket_path"] = socket
        specs.append(NodeSpec("sim_node", "sim", robot.namespace, {
            "embodiment": embodiment, "cameras": list(robot.cameras), "socket_path": socket, "seed": robot.seed,
            "overview": overview,
        }))  # fmt: skip
    for camera, source in robot.sources.items():
        specs.append(NodeSpec("camera_node", f"{camera}_camera", robot.namespace, {"camera": camera, "source": source}))
    kind = robot.embodiment.command
    for part, driver in (("arm", robot.arm_driver or robot.driver), (kind, robot.driver)):
        if driver != NONE:
            parameters = {**shared, "driver": driver}
            if part == "arm":
                parameters |= {"arm": robot.arm.reference, "workspace": list(robot.workspace)}
            specs.append(NodeSpec(f"{part}_driver_node", f"{part}_driver", robot.namespace, parameters))
    if decoded:
        decoder = {"embodiment": embodiment, "latent": str(fleet.latent), "base_frame": robot.arm.base}
        specs.append(NodeSpec("decoder_node", "decoder", robot.namespace, decoder))
    return specs


def _recorded_cameras(robot: Robot, overview: bool) -> tuple[str, ...]:
    return (*robot.cameras, "overview") if overview and robot.driver == "sim" else robot.cameras


def default_socket_folder() -> Path:
    """Folder of simulator sockets of this user and ROS domain (two runs must never meet)."""
    base = os.environ.get("XDG_RUNTIME_DIR") or tempfile.gettempdir()
    return Path(base) / f"latent_policy_ros-{os.getuid()}-{os.environ.get('ROS_DOMAIN_ID', '0')}"


def runner_spec(
    fleet: Fleet, *, episodes: int, seed: int, summary: Path, record: bool = False, time_limit: float = 25.0
) -> NodeSpec:
    """The node that runs episodes on a simulated fleet and ends (see ``nodes/episode_runner.py``).

    Args:
        fleet: All robots simulated.
        episodes: How many.
        seed: Of the first; the next ones have the next numbers.
        summary: JSON file to write.
        record: Whether a recorder is up.
        time_limit: Longest episode [s].
    """
    return NodeSpec("episode_runner", "episode_runner", "", {
        "robots": list(fleet.robots), "episodes": episodes, "seed": seed, "summary": str(summary), "record": record,
        "time_limit": float(time_limit), "task": fleet.task,
    })  # fmt: skip


class _Quoted(yaml.SafeDumper):
    """YAML with all strings in quotes: a robot named y would be true to ROS, and one named 1e5 a number."""


_Quoted.add_representer(str, lambda dumper, text: dumper.represent_scalar("tag:yaml.org,2002:str", text, style='"'))


def write_parameters(spec: NodeSpec, folder: Path) -> Path:
    """Write the parameter file of a node (``--params-file``) and return its path."""
    folder.mkdir(parents=True, exist_ok=True)
    file = folder / f"{spec.file_name}.yaml"
    values = {name: value for name, value in spec.parameters.items() if value != []}  # an empty list has no type
    content = yaml.dump({"/**": {"ros__parameters": values}}, Dumper=_Quoted, sort_keys=False)
    file.write_text(content, encoding="utf-8")
    return file


def launch_nodes(specs: Sequence[NodeSpec], make_node: Any, *, respawn: bool = True) -> list[Any]:
    """The nodes as launch actions.

    Args:
        specs: The nodes.
        make_node: ``launch_ros.actions.Node``.
        respawn: Start a node again when it ends by itself.
    """
    added = {k: v for k, v in node_environment().items() if os.environ.get(k) != v}
    # Files, because launch would guess the types of strings anew; a folder of these nodes alone, as they may be started again
    # when another launch has written its own.
    folder = default_socket_folder() / "parameters" / hashlib.sha256(repr(specs).encode()).hexdigest()[:16]
    return [
        make_node(
            package=PACKAGE, executable=spec.executable, name=spec.name, namespace=f"/{spec.namespace}",
            parameters=[str(write_parameters(spec, folder))], additional_env=added, output="screen",
            respawn=respawn, respawn_delay=1.0, sigterm_timeout=str(spec.patience),
        )
        for spec in specs
    ]  # fmt: skip
