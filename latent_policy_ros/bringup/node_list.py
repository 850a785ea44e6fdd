"""The nodes of a fleet: one list, rendered by launch files and by ``latent-policy up``."""

from __future__ import annotations

import hashlib
import inspect
import os
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Union

import yaml

from latent_policy_ros.bringup.fleet import LATENT, NONE, Fleet, Robot, Teleoperation, unknown_camera
from latent_policy_ros.common.errors import ArtifactError, ConfigError, available
from latent_policy_ros.common.paths import PACKAGE, runs_dir
from latent_policy_ros.common.ros_environment import node_environment
from latent_policy_ros.policy.checkpoint import Checkpoint

Parameter = Union[bool, int, float, str, list[str], list[float]]
MAX_RESPAWNS = 20  # of a node under launch, which counts them until it ends
MIN_SILENCE, SILENT_PERIODS = 0.2, 1.5  # s, and periods of the policy, without a chunk after which a decoder holds
SOCKET_PATH_LIMIT = 107  # longest path of an AF_UNIX socket [bytes]


@dataclass(frozen=True)
class NodeSpec:
    """A node to run.

    Attributes:
        executable: Name for ``ros2 run latent_policy_ros``, and of the module in ``latent_policy_ros.nodes``.
        name: Node name.
        namespace: Namespace without slashes; empty for the root.
        parameters: Parameters, with the types that the node declares.
        stop_timeout: Time from SIGTERM to SIGKILL when the node is stopped [s].
    """

    executable: str
    name: str
    namespace: str = ""
    parameters: Mapping[str, Parameter] = field(default_factory=dict)
    stop_timeout: float = 5.0

    @property
    def full_name(self) -> str:
        """Fully qualified node name."""
        return f"/{self.namespace}/{self.name}" if self.namespace else f"/{self.name}"

    @property
    def file_name(self) -> str:
        """The full name as a file name without suffix."""
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
    """All nodes of a fleet.

    Args:
        fleet: The robots and their policy.
        record: Include the recorder.
        bag_folder: Folder of the recorder's bags; default ``bags`` in the runs folder.
        socket_folder: Folder of the simulators' sockets; default a folder of this user and ROS domain.
        overview: Simulators also publish a large image of the scene, for display.
        teleoperation: Drive the robots by a human hand instead of the policy. Mode ``direct`` needs no decoder nodes.

    Raises:
        ConfigError: The policy cannot be loaded or does not know a camera; unknown robot to teleoperate; socket path too long.
        LatentPolicyError, FileNotFoundError: See ``Teleoperation.hands``.
    """
    sockets, decoded = socket_folder or default_socket_folder(), teleoperation is None or teleoperation.mode == LATENT
    specs = [spec for name, robot in fleet.robots.items() for spec in _robot_specs(fleet, name, robot, sockets, overview, decoded)]
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
    """The recorder node of a fleet.

    Args:
        fleet: The robots.
        bag_folder: Folder of the bags; default ``bags`` in the runs folder.
        overview: Also record the large images of simulators.
        policy, latent: The robots follow the fleet's policy, and latent actions of its latent space.
        parameters: Further parameters of the node.
    """
    robots = fleet.robots.values()
    return NodeSpec("recorder_node", "recorder", "", {
        "robots": list(fleet.robots), "embodiments": [robot.embodiment.reference for robot in robots],
        "cameras": [",".join(_recorded_cameras(robot, overview)) for robot in robots],
        "folder": str(bag_folder or runs_dir() / "bags"), "task": fleet.task, "fleet": fleet.text(),
        "policy": str(fleet.policy) if policy else "", "latent": str(fleet.latent) if latent else "",
        **(parameters or {}),
    }, stop_timeout=60.0)  # fmt: skip


def runner_spec(
    fleet: Fleet, *, episodes: int, seed: int, summary: Path, record: bool = False, time_limit: float = 25.0
) -> NodeSpec:
    """The node that runs episodes on a simulated fleet and then exits (``nodes/episode_runner.py``).

    Args:
        fleet: A fleet of simulated robots.
        episodes: Number of episodes.
        seed: Seed of the first episode; each following one increments it.
        summary: JSON file to write.
        record: A recorder node is running.
        time_limit: Longest duration of an episode [s].
    """
    return NodeSpec("episode_runner", "episode_runner", "", {
        "robots": list(fleet.robots), "episodes": episodes, "seed": seed, "summary": str(summary), "record": record,
        "time_limit": float(time_limit), "task": fleet.task,
    })  # fmt: skip


def _policy_spec(fleet: Fleet) -> NodeSpec:
    try:
        known = Checkpoint.load(fleet.policy).settings.cameras
    except ArtifactError as error:
        raise ConfigError(fleet.file, "policy", str(error)) from error
    for name, robot in fleet.robots.items():
        message = unknown_camera(robot.cameras, known, "the policy")
        if not robot.cameras:
            message = f"the policy needs at least one camera, got none; {available(known)}"
        if message:
            raise ConfigError(fleet.file, f"robots.{name}.cameras", message)
    return NodeSpec("policy_node", "policy", "", {
        "policy": str(fleet.policy), "latent": str(fleet.latent), "rate": fleet.rate,
        "device": fleet.device, "task": fleet.task, "robots": list(fleet.robots),
        "embodiments": [robot.embodiment.reference for robot in fleet.robots.values()],
        "cameras": [",".join(robot.cameras) for robot in fleet.robots.values()],
        "images": [str(robot.images) for robot in fleet.robots.values()],
    })  # fmt: skip


def _human_hand_spec(fleet: Fleet, teleoperation: Teleoperation) -> NodeSpec:
    robots = teleoperation.select(fleet)
    teleoperation.hands()  # report errors of the recording before nodes start
    return NodeSpec("human_hand_node", "human_hand", "", {
        "robots": list(robots), "embodiments": [robot.embodiment.reference for robot in robots.values()],
        "mode": teleoperation.mode, "latent": str(fleet.latent), "file": teleoperation.file, "loop": teleoperation.loop,
        "side": teleoperation.side, "layout": teleoperation.layout, "units": teleoperation.units,
    })  # fmt: skip


def _robot_specs(fleet: Fleet, name: str, robot: Robot, sockets: Path, overview: bool, decoded: bool) -> list[NodeSpec]:
    embodiment = robot.embodiment.reference
    socket = str(sockets / f"{name}.sock")
    if len(socket.encode()) > SOCKET_PATH_LIMIT:
        message = f"socket path {socket} is too long: expected at most {SOCKET_PATH_LIMIT} bytes, got {len(socket.encode())}"
        raise ConfigError(fleet.file, f"robots.{name}", message)
    shared: dict[str, Parameter] = {"embodiment": embodiment}
    specs = []
    if robot.driver == "sim":
        shared["socket_path"] = socket
        specs.append(NodeSpec("sim_node", "sim", name, {
            "embodiment": embodiment, "arm": robot.arm.reference, "task": robot.sim_task, "cameras": list(robot.cameras),
            "socket_path": socket, "seed": robot.seed, "overview": overview,
        }))  # fmt: skip
    for camera, source in robot.sources.items():
        specs.append(NodeSpec("camera_node", f"{camera}_camera", name, {"camera": camera, "source": source}))
    for part, driver in (("arm", robot.arm_driver or robot.driver), (robot.embodiment.command, robot.driver)):
        if driver != NONE:
            parameters = {**shared, "driver": driver}
            if part == "arm":
                parameters |= {"arm": robot.arm.reference, "workspace": robot.workspace.bounds()}
            specs.append(NodeSpec(f"{part}_driver_node", f"{part}_driver", name, parameters))
    if decoded:
        decoder = {"embodiment": embodiment, "latent": str(fleet.latent), "base_frame": robot.arm.base,
                   "silence": max(MIN_SILENCE, SILENT_PERIODS / fleet.rate)}  # fmt: skip
        specs.append(NodeSpec("decoder_node", "decoder", name, decoder))
    return specs


def _recorded_cameras(robot: Robot, overview: bool) -> tuple[str, ...]:
    return (*robot.cameras, "overview") if overview and robot.driver == "sim" else tuple(robot.cameras)


def default_socket_folder() -> Path:
    """Folder of simulator sockets: one for each user and ROS domain, so that two graphs never share a socket."""
    base = os.environ.get("XDG_RUNTIME_DIR") or tempfile.gettempdir()
    return Path(base) / f"latent_policy_ros-{os.getuid()}-{os.environ.get('ROS_DOMAIN_ID', '0')}"


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


def launch_nodes(specs: Sequence[NodeSpec], make_node: Any, *, respawn: bool = True) -> list[Any]:
    """Launch actions of the nodes.

    Args:
        specs: The nodes.
        make_node: ``launch_ros.actions.Node``.
        respawn: Restart a node that exits, up to ``MAX_RESPAWNS`` times where launch has that option (ROS 2 Iron and later).
    """
    bases = inspect.getmro(make_node) if inspect.isclass(make_node) else ()
    options = {parameter for base in bases for parameter in inspect.signature(base.__init__).parameters}
    limit = {"respawn_max_retries": MAX_RESPAWNS} if "respawn_max_retries" in options else {}
    added = {k: v for k, v in node_environment().items() if os.environ.get(k) != v}
    # Parameters go through files because launch guesses the types of strings. The folder is unique to these nodes: a node that
    # respawns reads its file again, and another launch must not have overwritten it.
    folder = default_socket_folder() / "parameters" / hashlib.sha256(repr(specs).encode()).hexdigest()[:16]
    return [
        make_node(
            package=PACKAGE, executable=spec.executable, name=spec.name, namespace=f"/{spec.namespace}",
            parameters=[str(write_parameters(spec, folder))], additional_env=added, output="screen",
            respawn=respawn, respawn_delay=1.0, **limit, sigterm_timeout=str(spec.stop_timeout),
        )
        for spec in specs
    ]  # fmt: skip
