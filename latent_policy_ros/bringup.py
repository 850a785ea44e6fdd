"""A fleet of robots -> the list of nodes to run. Launch files and ``latent-policy up`` both render this one list."""

from __future__ import annotations

import os
import re
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Union

import yaml

from latent_policy_ros.drivers.registry import DRIVERS
from latent_policy_ros.embodiments import Embodiment, list_embodiments, load_embodiment
from latent_policy_ros.embodiments.reader import Section
from latent_policy_ros.errors import ArtifactError, ConfigError, available
from latent_policy_ros.latent import LatentSpace
from latent_policy_ros.paths import PACKAGE, artifact, config_dir, runs_dir
from latent_policy_ros.ros_env import node_environment

Parameter = Union[bool, int, float, str, list[str]]
IMAGES = ("raw", "compressed")
NAMESPACE = re.compile(r"[A-Za-z][A-Za-z0-9_]*")  # a token of a ROS name
SOCKET_PATH_LIMIT = 107  # bytes of an AF_UNIX path


@dataclass(frozen=True)
class Robot:
    """One robot of a fleet.

    Attributes:
        namespace: Its name in the graph.
        embodiment: Its end-effector.
        cameras: Its cameras; ``<namespace>/<camera>/image_raw`` are their topics.
        driver: Driver of end-effector and arm, one of ``DRIVERS``.
        images: Which image topics the policy reads, ``raw`` or ``compressed``.
        seed: Where its simulated scene begins.
    """

    namespace: str
    embodiment: Embodiment
    cameras: tuple[str, ...]
    driver: str = "sim"
    images: str = "raw"
    seed: int = 0


@dataclass(frozen=True)
class Fleet:
    """Robots that one policy drives.

    Attributes:
        file: Where it was described.
        robots: By namespace, in the file's order.
        policy, latent: Folders of policy and latent space.
        rate: Observations answered per second [Hz].
        task: The task in words.
    """

    file: Path
    robots: Mapping[str, Robot]
    policy: Path
    latent: Path
    rate: float
    task: str


@dataclass(frozen=True)
class NodeSpec:
    """One node to run.

    Attributes:
        executable: Name for ``ros2 run latent_policy_ros`` (and module under ``latent_policy_ros.nodes``).
        name: Node name.
        namespace: Without slashes; empty for the root.
        parameters: With the types that the node declares.
    """

    executable: str
    name: str
    namespace: str = ""
    parameters: Mapping[str, Parameter] = field(default_factory=dict)

    @property
    def full_name(self) -> str:
        """Fully qualified node name."""
        return f"/{self.namespace}/{self.name}" if self.namespace else f"/{self.name}"

    @property
    def file_name(self) -> str:
        """Its name as that of a file, without a suffix."""
        return self.full_name.strip("/").replace("/", ".")


def load_fleet(name_or_path: str | Path) -> Fleet:
    """The fleet of that name under ``config/robots``, or in that YAML file.

    Raises:
        ConfigError: No such name or file, or the file is wrong; says where, what was got and what was expected.
    """
    text = str(name_or_path)
    folder = config_dir() / "robots"
    path = Path(text).expanduser() if text.endswith((".yaml", ".yml")) else folder / f"{text}.yaml"
    if not path.is_file():
        raise ConfigError(path, "", f"no fleet {text!r}; {available(p.stem for p in folder.glob('*.yaml'))}")
    top = Section.load(path)
    robots = {name: _robot(name, section) for name, section in top.section("robots").sections()}
    if not robots:
        raise top.error("robots", "expected at least one robot, got none")
    policy = _artifact(top, "policy", "policies")
    latent = _artifact(top, "latent", "latents")
    rate = top.number("rate", above=0.0) if top.has("rate") else 10.0
    task = top.string("task") if top.has("task") else ""
    top.finish()
    return _checked(Fleet(path, robots, policy, latent, rate, task))


def single_robot(
    namespace: str,
    embodiment: str,
    cameras: Sequence[str],
    driver: str = "sim",
    policy: str = "default",
    latent: str = "default",
) -> Fleet:
    """A fleet of one robot, from launch arguments.

    Raises:
        ConfigError: An argument is wrong; names it.
    """
    content = {
        "policy": policy,
        "latent": latent,
        "robots": {namespace: {"embodiment": embodiment, "cameras": list(cameras), "driver": driver}},
    }
    top = Section("launch arguments", "", content)
    robots = {name: _robot(name, section) for name, section in top.section("robots").sections()}
    policy_dir, latent_dir = _artifact(top, "policy", "policies"), _artifact(top, "latent", "latents")
    return _checked(Fleet(Path("launch arguments"), robots, policy_dir, latent_dir, 10.0, ""))


def _robot(namespace: str, section: Section) -> Robot:
    if not NAMESPACE.fullmatch(namespace):
        raise section.error("", f"got the name {namespace!r}; expected a ROS name: letters, digits and _, first a letter")
    robots = [name for name in list_embodiments() if load_embodiment(name).command]
    name = section.string("embodiment")
    if name.endswith((".yaml", ".yml")):
        embodiment = load_embodiment(name)
        if not embodiment.command:
            raise section.error("embodiment", f"{name} is no robot's; {available(robots)}")
    else:
        embodiment = load_embodiment(section.choice("embodiment", robots))
    cameras = section.strings("cameras")
    for camera in cameras:
        if not NAMESPACE.fullmatch(camera):
            raise section.error("cameras", f"got {camera!r}; expected a ROS name: letters, digits and _, first a letter")
    driver = section.choice("driver", DRIVERS)
    images = section.choice("images", IMAGES) if section.has("images") else "raw"
    seed = int(section.number("seed", above=-1)) if section.has("seed") else 0
    section.finish()
    return Robot(namespace, embodiment, cameras, driver, images, seed)


def _artifact(top: Section, key: str, kind: str) -> Path:
    try:
        return artifact(kind, top.string(key)).resolve()
    except FileNotFoundError as error:
        raise top.error(key, str(error)) from error


def _checked(fleet: Fleet) -> Fleet:
    """The fleet, if its latent space knows every embodiment as it is now."""
    try:
        space = LatentSpace.load(fleet.latent)
    except ArtifactError as error:
        raise ConfigError(fleet.file, "latent", str(error)) from error
    for name, robot in fleet.robots.items():
        try:
            space.check(robot.embodiment)
        except ArtifactError as error:
            raise ConfigError(fleet.file, f"robots.{name}.embodiment", str(error)) from error
    return fleet


def node_specs(
    fleet: Fleet,
    *,
    record: bool = False,
    bag_folder: Path | None = None,
    socket_folder: Path | None = None,
    overview: bool = False,
) -> list[NodeSpec]:
    """Every node of a fleet.

    Args:
        fleet: The robots and their policy.
        record: Also run the recorder.
        bag_folder: Where it puts its bags; default ``bags`` in the runs folder.
        socket_folder: Where simulators listen; default a folder of this user and ROS domain.
        overview: Simulators also publish a large picture for people.
    """
    sockets = socket_folder or default_socket_folder()
    specs = [spec for robot in fleet.robots.values() for spec in _robot_specs(fleet, robot, sockets, overview)]
    specs.append(NodeSpec("policy_node", "policy", "", {
        "policy": str(fleet.policy), "latent": str(fleet.latent), "rate": fleet.rate,
        "robots": list(fleet.robots),
        "embodiments": [_embodiment_name(robot) for robot in fleet.robots.values()],
        "cameras": [",".join(robot.cameras) for robot in fleet.robots.values()],
        "images": [robot.images for robot in fleet.robots.values()],
    }))  # fmt: skip
    if record:
        specs.append(NodeSpec("recorder_node", "recorder", "", {
            "robots": list(fleet.robots),
            "cameras": [",".join(_recorded_cameras(robot, overview)) for robot in fleet.robots.values()],
            "folder": str(bag_folder or runs_dir() / "bags"), "task": fleet.task, "fleet": str(fleet.file),
            "policy": str(fleet.policy), "latent": str(fleet.latent),
        }))  # fmt: skip
    return specs


def _robot_specs(fleet: Fleet, robot: Robot, sockets: Path, overview: bool) -> list[NodeSpec]:
    embodiment = _embodiment_name(robot)
    socket = str(sockets / f"{robot.namespace}.sock")
    if len(socket.encode()) > SOCKET_PATH_LIMIT:
        raise ConfigError(fleet.file, f"robots.{robot.namespace}", f"socket path too long for the system: {socket}")
    driver: dict[str, Parameter] = {"embodiment": embodiment, "driver": robot.driver}
    specs = []
    if robot.driver == "sim":
        driver["socket_path"] = socket
        specs.append(NodeSpec("sim_node", "sim", robot.namespace, {
            "embodiment": embodiment, "cameras": list(robot.cameras), "socket_path": socket, "seed": robot.seed,
            "overview": overview,
        }))  # fmt: skip
    kind = robot.embodiment.command
    return [
        *specs,
        NodeSpec("arm_driver_node", "arm_driver", robot.namespace, driver),
        NodeSpec(f"{kind}_driver_node", f"{kind}_driver", robot.namespace, driver),
        NodeSpec("decoder_node", "decoder", robot.namespace, {"embodiment": embodiment, "latent": str(fleet.latent)}),
    ]


def _embodiment_name(robot: Robot) -> str:
    shipped = robot.embodiment.file.parent == (config_dir() / "embodiments").resolve()
    return robot.embodiment.name if shipped else str(robot.embodiment.file)


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


def write_parameters(spec: NodeSpec, folder: Path) -> Path:
    """Write the parameter file of a node (``--params-file``) and return its path."""
    folder.mkdir(parents=True, exist_ok=True)
    file = folder / f"{spec.file_name}.yaml"
    values = {name: value for name, value in spec.parameters.items() if value != []}  # an empty list has no type
    file.write_text(yaml.safe_dump({"/**": {"ros__parameters": values}}, sort_keys=False), encoding="utf-8")
    return file


def launch_nodes(specs: Sequence[NodeSpec], make_node: Any, *, respawn: bool = True) -> list[Any]:
    """The nodes as launch actions.

    Args:
        specs: The nodes.
        make_node: ``launch_ros.actions.Node``.
        respawn: Start a node again when it ends by itself.
    """
    added = {k: v for k, v in node_environment().items() if os.environ.get(k) != v}
    folder = default_socket_folder() / "parameters"  # files, because launch would guess the types of strings anew
    return [
        make_node(
            package=PACKAGE, executable=spec.executable, name=spec.name, namespace=f"/{spec.namespace}",
            parameters=[str(write_parameters(spec, folder))], additional_env=added, output="screen",
            respawn=respawn, respawn_delay=1.0,
        )
        for spec in specs
    ]  # fmt: skip
