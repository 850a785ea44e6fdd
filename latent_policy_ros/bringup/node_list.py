"""The nodes of a fleet: one list, rendered by launch files and by ``latent-policy up``."""

from __future__ import annotations

import hashlib
import inspect
import os
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from latent_policy_ros.bringup.composition import write_members
from latent_policy_ros.bringup.displays import placements, world_frame
from latent_policy_ros.bringup.fleet import CAMERA_SUFFIX, LATENT, NONE, Fleet, Robot, Teleoperation, unknown_camera
from latent_policy_ros.bringup.node_parameters import CAMERA_NODE, FLEET_NODES, ROBOT_NODES, Parameter
from latent_policy_ros.bringup.node_spec import NodeSpec, write_parameters
from latent_policy_ros.common.errors import ArtifactError, ConfigError, Finding, available
from latent_policy_ros.common.paths import PACKAGE, runs_dir
from latent_policy_ros.common.ros_environment import node_environment
from latent_policy_ros.drivers.registry import is_simulated
from latent_policy_ros.policy.checkpoint import Checkpoint

FOREIGN_FRAMES = (NONE, "ros2_control")  # arm drivers whose frames another package publishes
MAX_RESPAWNS = 20  # of a node under launch, which counts them until it ends
SIGTERM_AFTER = 5.0  # s after SIGINT, which launch does not pass on if it was sent to launch alone
SIMULATED_RATE = 50.0  # Hz, of the control loops of simulated robots, which share the processor with their simulators
MIN_SILENCE, SILENT_PERIODS = 0.2, 1.5  # s, and periods of the policy, without a chunk after which a decoder holds
SHARED = "shared"  # the part of a fleet that is not of one robot: policy, episodes, recorder
SOCKET_PATH_LIMIT = 107  # longest path of an AF_UNIX socket [bytes]


def node_specs(
    fleet: Fleet,
    *,
    record: bool = False,
    bag_folder: Path | None = None,
    socket_folder: Path | None = None,
    overview: bool = False,
    teleoperation: Teleoperation | None = None,
    namespace: str = "",
    autostart: bool = True,
    use_sim_time: bool = False,
    engage: bool | None = None,
    tf: bool = False,
    only: Sequence[str] = (),
) -> list[NodeSpec]:
    """The nodes of a fleet.

    Args:
        fleet: The robots and their policy.
        record: Include the recorder.
        bag_folder: Folder of the recorder's bags; default ``bags`` in the runs folder.
        socket_folder: Folder of the simulators' sockets; default a folder of this user and ROS domain.
        overview: Simulators also publish a large image of the scene, for display.
        teleoperation: Drive the robots by a human hand instead of the policy. Mode ``direct`` needs no decoder nodes.
        namespace: Namespace in which the nodes will run, such that two fleets of one name do not share sockets.
        autostart: Nodes configure and activate themselves.
        engage: The policy drives at once; default: only without hardware.
        tf: Publish the URDF of each robot, and the transforms of its links.
        use_sim_time: Nodes follow ``/clock``, which the first simulator publishes.
        only: Parts of the fleet on this machine: names of robots, and ``SHARED`` for the nodes of all robots. Default: all.

    Raises:
        ConfigError: The policy cannot be loaded or does not know a camera; unknown robot to teleoperate, or unknown part; socket
            path too long; simulation time with hardware.
        LatentPolicyError, FileNotFoundError: See ``Teleoperation.hands``.
    """
    if unknown := [part for part in only if part not in (SHARED, *fleet.robots)]:
        raise ConfigError(fleet.file, "robots", f"no part {', '.join(unknown)}; {available((SHARED, *fleet.robots))}")
    sockets, decoded = socket_folder or default_socket_folder(), teleoperation is None or teleoperation.mode == LATENT
    parts, poses = dict[str, list[NodeSpec]](), placements(fleet) if tf else {}
    for name, robot in fleet.robots.items():
        placed: dict[str, Parameter] = {"world_frame": world_frame(namespace), "world_pose": poses[name]} if name in poses else {}
        socket = sockets / f"{'.'.join(filter(None, [*namespace.split('/'), name]))}.sock"
        parts[name] = _robot_specs(fleet, name, robot, str(socket), overview, decoded, tf, placed)
    if use_sim_time:
        _give_clock(fleet, parts)
    if SHARED in only or not only:  # other machines need not have the policy
        shared = [_policy_spec(fleet, engage), _episode_spec(fleet, record)] if teleoperation is None else []
        shared += [_human_hand_spec(fleet, teleoperation)] if teleoperation is not None else []
        if record:
            shared.append(recorder_spec(fleet, bag_folder, overview=overview, policy=teleoperation is None, latent=decoded))
        parts[SHARED] = shared
    common: dict[str, Parameter] = {} if autostart else {"autostart": False}
    if use_sim_time:  # left out if false, so that a global parameter of launch counts
        common["use_sim_time"] = True
    chosen = [spec for part, specs in parts.items() if part in only or not only for spec in specs]
    return [replace(spec, parameters={**spec.parameters, **common}) for spec in chosen]


def _give_clock(fleet: Fleet, parts: dict[str, list[NodeSpec]]) -> None:
    """Let the first simulator publish the time; refuse hardware."""
    findings = []
    for name, robot in fleet.robots.items():
        for key, driver in (("driver", robot.driver), ("arm_driver", robot.arm_driver)):
            if driver and driver != NONE and not is_simulated(driver):
                findings.append(Finding(f"robots.{name}.{key}", f"{driver} moves hardware, which has no simulation time"))
        for camera, source in robot.sources.items():
            if not os.path.isfile(source):
                findings.append(Finding(f"robots.{name}.cameras.{camera}", f"{source} is hardware, which has no simulation time"))
    if findings:
        raise ConfigError(fleet.file, *findings[0], findings[1:])
    for specs in parts.values():
        for k, spec in enumerate(specs):
            if spec.executable == ROBOT_NODES["sim"]:
                specs[k] = replace(spec, parameters={**spec.parameters, "publish_clock": True})
                return


def in_namespace(specs: Sequence[NodeSpec], namespace: str) -> list[NodeSpec]:
    """The nodes in a namespace, as ``PushRosNamespace`` places them under launch."""
    inside = namespace.strip("/")
    return [replace(spec, namespace="/".join(filter(None, (inside, spec.namespace)))) for spec in specs]


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
    return _fleet_spec(fleet, "recorder", {
        "robots": list(fleet.robots), "embodiments": [robot.embodiment.reference for robot in robots],
        "cameras": [",".join(_recorded_cameras(robot, overview)) for robot in robots],
        "folder": str(bag_folder or runs_dir() / "bags"), "task": fleet.task, "fleet": fleet.text(),
        "policy": str(fleet.policy) if policy else "", "latent": str(fleet.latent) if latent else "",
        **(parameters or {}),
    }, stop_timeout=60.0)  # fmt: skip


def runner_spec(fleet: Fleet, *, episodes: int, seed: int, summary: Path, time_limit: float = 25.0) -> NodeSpec:
    """The node that runs and measures episodes on a simulated fleet and then exits (``nodes/episode_runner.py``).

    Args:
        fleet: A fleet of simulated robots.
        episodes: Number of episodes.
        seed: Seed of the first episode; each following one increments it.
        summary: JSON file to write.
        time_limit: Longest duration of an episode [s].
    """
    return NodeSpec("episode_runner", "episode_runner", "", {
        "robots": list(fleet.robots), "robot_namespaces": fleet.robot_namespaces,
        "episodes": episodes, "seed": seed, "summary": str(summary),
        "time_limit": float(time_limit), "task": fleet.task,
    })  # fmt: skip


def _policy_spec(fleet: Fleet, engage: bool | None) -> NodeSpec:
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
    return _fleet_spec(fleet, "policy", {
        "policy": str(fleet.policy), "latent": str(fleet.latent), "rate": fleet.rate,
        "device": fleet.device, "task": fleet.task, "robots": list(fleet.robots),
        "engage": not fleet.moves_hardware() if engage is None else engage,
        "embodiments": [robot.embodiment.reference for robot in fleet.robots.values()],
        "cameras": [",".join(robot.cameras) for robot in fleet.robots.values()],
        "images": [str(robot.images) for robot in fleet.robots.values()],
    })  # fmt: skip


def _episode_spec(fleet: Fleet, record: bool) -> NodeSpec:
    simulators = [name for name, robot in fleet.robots.items() if robot.driver == "sim"]
    parameters: dict[str, Parameter] = {
        "robots": list(fleet.robots),
        "simulators": simulators,
        "record": record,
        "task": fleet.task,
    }
    return _fleet_spec(fleet, "episode", parameters)


def _human_hand_spec(fleet: Fleet, teleoperation: Teleoperation) -> NodeSpec:
    robots = teleoperation.select(fleet)
    teleoperation.hands()  # report errors of the recording before nodes start
    return _fleet_spec(fleet, "human_hand", {
        "robots": list(robots), "embodiments": [robot.embodiment.reference for robot in robots.values()],
        "mode": teleoperation.mode, "latent": str(fleet.latent), "file": teleoperation.file, "entry": teleoperation.entry,
        "webcam": teleoperation.webcam, "hand_model": teleoperation.hand_model,
        "keypoints_type": teleoperation.keypoints_type, "loop": teleoperation.loop,
        "side": teleoperation.side, "layout": teleoperation.layout, "units": teleoperation.units,
    })  # fmt: skip


def _fleet_spec(fleet: Fleet, name: str, parameters: Mapping[str, Parameter], stop_timeout: float = 5.0) -> NodeSpec:
    """A node of all robots of a fleet, with the parameters that the fleet's file sets."""
    values = {**parameters, "robot_namespaces": fleet.robot_namespaces, **fleet.parameters.get(name, {})}
    robots = tuple(fleet.robots) if fleet.robot_namespaces else ()
    return NodeSpec(FLEET_NODES[name], name, "", values, robots, stop_timeout)


def _robot_specs(
    fleet: Fleet, name: str, robot: Robot, socket: str, overview: bool, decoded: bool, tf: bool, placed: Mapping[str, Parameter]
) -> list[NodeSpec]:
    if len(socket.encode()) > SOCKET_PATH_LIMIT:
        message = f"socket path {socket} is too long: expected at most {SOCKET_PATH_LIMIT} bytes, got {len(socket.encode())}"
        raise ConfigError(fleet.file, f"robots.{name}", message)
    embodiment, specs = robot.embodiment.reference, []

    def add(node: str, parameters: dict[str, Parameter]) -> None:
        values = {**parameters, **robot.parameters.get(node, {})}
        specs.append(NodeSpec(ROBOT_NODES.get(node, CAMERA_NODE), node, fleet.robot_namespace(name), values))

    shared: dict[str, Parameter] = {"embodiment": embodiment}
    images: dict[str, Parameter] = {"compressed": True} if robot.images == "compressed" else {}
    own = (robot.arm_driver or robot.driver).partition("@")[0] not in FOREIGN_FRAMES and not robot.wrist_frame
    base_frame = f"~/{robot.arm.base}" if own else robot.arm.base  # unique in tf, if this package publishes the frames
    if robot.driver == "sim":
        shared["socket_path"] = socket
        add("sim", {
            "embodiment": embodiment, "arm": robot.arm.reference, "task": robot.sim_task, "cameras": list(robot.cameras),
            "socket_path": socket, "seed": robot.seed, "overview": overview, "tf": tf, **images,
        })  # fmt: skip
    for camera, source in robot.sources.items():
        add(f"{camera}{CAMERA_SUFFIX}", {"camera": camera, "source": source, **images})
    for part, driver in (("arm", robot.arm_driver or robot.driver), (robot.embodiment.command, robot.driver)):
        if driver != NONE:
            parameters = {**shared, "driver": driver, **({"rate": SIMULATED_RATE} if driver == "sim" else {})}
            if part == "arm":
                parameters |= {"arm": robot.arm.reference, "workspace": robot.workspace.bounds(), "base_frame": base_frame}
                parameters |= {"wrist_frame": robot.wrist_frame} if robot.wrist_frame else {}
            add(f"{part}_driver", parameters)
    if tf:
        add("description", {"embodiment": embodiment, "arm": robot.arm.reference, **placed})
    if decoded:
        add("decoder", {
            "embodiment": embodiment, "latent": str(fleet.latent), "base_frame": base_frame,
            "silence": max(MIN_SILENCE, SILENT_PERIODS / fleet.rate),
        })  # fmt: skip
    return specs


def _recorded_cameras(robot: Robot, overview: bool) -> tuple[str, ...]:
    return (*robot.cameras, "overview") if overview and robot.driver == "sim" else tuple(robot.cameras)


def default_socket_folder() -> Path:
    """Folder of simulator sockets: one for each user and ROS domain, so that two graphs never share a socket."""
    base = os.environ.get("XDG_RUNTIME_DIR") or tempfile.gettempdir()
    return Path(base) / f"latent_policy_ros-{os.getuid()}-{os.environ.get('ROS_DOMAIN_ID', '0')}"


def launch_nodes(
    specs: Sequence[NodeSpec],
    make_node: Any,
    *,
    namespace: str = "",
    remaps: Sequence[tuple[str, str]] = (),
    parameter_files: Sequence[str] = (),
    log_level: str = "",
    respawn: bool = True,
) -> list[Any]:
    """Launch actions of the nodes, with relative namespaces.

    Args:
        specs: The nodes.
        make_node: ``launch_ros.actions.Node``.
        namespace: Namespace in which launch places the nodes.
        remaps: Remapping rules that launch gives to all nodes; see ``robot_remaps``.
        parameter_files: Files whose parameters replace those of ``specs``.
        log_level: Level of the nodes' loggers; empty: ROS's own default.
        respawn: Restart a node that exits, up to ``MAX_RESPAWNS`` times where launch has that option (ROS 2 Iron and later).
    """
    bases = inspect.getmro(make_node) if inspect.isclass(make_node) else ()
    options = {parameter for base in bases for parameter in inspect.signature(base).parameters}
    limit = {"respawn_max_retries": MAX_RESPAWNS} if "respawn_max_retries" in options else {}
    added = {k: v for k, v in node_environment().items() if os.environ.get(k) != v}
    # Parameters go through files because launch guesses the types of strings. The folder is unique to these nodes: a node that
    # respawns reads its file again, and another launch must not have overwritten it.
    identity = hashlib.sha256(repr((namespace, specs)).encode()).hexdigest()[:16]
    folder = default_socket_folder() / "parameters" / identity
    common: dict[str, Any] = {
        "package": PACKAGE, "additional_env": added, "output": "screen", "respawn": respawn, "respawn_delay": 1.0, **limit,
        "sigterm_timeout": str(SIGTERM_AFTER), "ros_arguments": ["--log-level", log_level] if log_level else [],
    }  # fmt: skip

    def action(spec: NodeSpec) -> Any:
        options = {**common, "executable": spec.executable, "sigkill_timeout": str(spec.stop_timeout)}
        if spec.members:
            replaced = [argument for file in parameter_files for argument in ("--params-file", file)]
            return make_node(arguments=[str(write_members(spec, folder, namespace, replaced))], **options)
        return make_node(
            name=spec.name, namespace=spec.namespace, parameters=[str(write_parameters(spec, folder)), *parameter_files],
            remappings=robot_remaps(spec.robots, remaps), **options,
        )  # fmt: skip

    return [action(spec) for spec in specs]


def robot_remaps(robots: Sequence[str], remaps: Sequence[tuple[str, str]]) -> list[tuple[str, str]]:
    """Remapping rules of a node of several robots that have the effect of rules on nodes in each robot's namespace.

    A rule ``joint_states:=filtered`` renames the topic of a driver in the namespace ``left``. The policy, outside of it, calls that
    topic ``left/joint_states``.

    Args:
        robots: Namespaces of the robots, relative to the node's.
        remaps: Rules (from, to). Absolute and private names, and names of nodes, need no translation.
    """
    relative = [(old, new) for old, new in remaps if not old.startswith(("/", "~", "__")) and ":" not in old]
    place = lambda robot, name: name if name.startswith(("/", "~")) else f"{robot}/{name}"
    return [(place(robot, old), place(robot, new)) for robot in robots for old, new in relative]
