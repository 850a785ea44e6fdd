"""Commands that start the nodes of a fleet: ``demo``, ``up`` and ``teleop``."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Optional

import typer

from latent_policy_ros.cli.common import (
    DEMO_ROUNDS,
    EVALUATION_SEED,
    DryRunOption,
    EntryOption,
    FleetArgument,
    LayoutOption,
    SideOption,
    UnitsOption,
    call_trigger,
    console,
    print_line,
)
from latent_policy_ros.common.errors import ConfigError, available

LOG_LEVELS = ("debug", "info", "warn", "error", "fatal")

if TYPE_CHECKING:
    from latent_policy_ros.bringup import Fleet, NodeSpec

RecordOption = Annotated[bool, typer.Option(help="Also start the recorder.")]
BagFolderOption = Annotated[Optional[Path], typer.Option(help="Folder of the recorder's bags; default `runs/bags`.")]
NamespaceOption = Annotated[str, typer.Option(help="Namespace of all nodes, for several fleets in one ROS domain.")]
ParamsOption = Annotated[
    Optional[Path], typer.Option("--params-file", help="ROS parameter file; its values replace those of the fleet file.")
]
ComposeOption = Annotated[
    str, typer.Option(help="Drivers and decoders share a process: those of a `robot`, of eight robots of the `fleet`, or `none`.")
]
TfOption = Annotated[bool, typer.Option("--tf", help="Publish the URDF of each robot, and the transforms of its links.")]
EngageOption = Annotated[
    Optional[bool], typer.Option(help="Drive at once, or when `latent-policy engage` is called. Default: at once without hardware.")
]
OnlyOption = Annotated[
    Optional[list[str]],
    typer.Option(help="Start only this part: a robot's name, or `shared` (policy, episodes, recorder). Repeatable."),
]
SimTimeOption = Annotated[bool, typer.Option("--use-sim-time", help="Follow /clock, which the first simulator publishes.")]
LogLevelOption = Annotated[str, typer.Option(help="Level of the nodes' loggers: debug, info, warn, error or fatal.")]


def demo(
    episodes: Annotated[int, typer.Option(min=1, help="Number of episodes, run one after the other.")] = 1,
    seed: Annotated[int, typer.Option(help="Seed of the first episode's scene; each further episode adds 1.")] = EVALUATION_SEED,
    fleet: Annotated[str, typer.Option(help="Simulated fleet: a YAML file, or a name in `config/robots`.")] = "demo",
    embodiment: Annotated[
        Optional[list[str]],
        typer.Option(
            help="End-effectors of the robots, in their order. Repeatable; further ones run in further rounds. Default: those "
            "of the fleet, and for the fleet `demo` a second round with two others."
        ),
    ] = None,
    out: Annotated[
        Optional[Path], typer.Option(help="Folder for logs, bags, video, images and summary; default `runs/demo/DATE-TIME`.")
    ] = None,
) -> None:
    """Run the demo: two simulated robots at a time, one policy for all end-effectors, a recorded bag and a video.

    Starts every node of the fleet as a process in a private ROS domain, runs the episodes, records one bag for each, and
    prints success, rates and latencies of every robot. Exit status 0 if every robot succeeded at least once, 3 if not.

    Examples:

        latent-policy demo
        latent-policy demo --embodiment orca_hand
        latent-policy demo --episodes 5 --out runs/five
    """
    from latent_policy_ros.cli.run_demo import run_demo

    embodiments = embodiment or (DEMO_ROUNDS if fleet == "demo" else ())
    raise typer.Exit(run_demo(fleet, embodiments, episodes, seed, out, console))


def up(
    fleet: FleetArgument = "demo",
    record: RecordOption = False,
    bag_folder: BagFolderOption = None,
    namespace: NamespaceOption = "",
    params_file: ParamsOption = None,
    log_level: LogLevelOption = "",
    compose: ComposeOption = "none",
    use_sim_time: SimTimeOption = False,
    engage: EngageOption = None,
    tf: TfOption = False,
    only: OnlyOption = None,
    dry_run: DryRunOption = False,
) -> None:
    """Start every node of a fleet as a process, until Ctrl-C.

    Starts the same nodes as `ros2 launch latent_policy_ros bringup.launch.py robots:=FLEET`. A node that ends by itself is
    started again.

    Examples:

        latent-policy up my_fleet.yaml --record
        latent-policy up demo --namespace cell_a --params-file tuned.yaml
        latent-policy up demo --compose robot
        latent-policy up my_fleet.yaml --only shared
        latent-policy up demo --dry-run
    """
    from latent_policy_ros import bringup

    loaded = bringup.load_fleet(fleet)
    specs = bringup.node_specs(loaded, record=record, bag_folder=bag_folder, namespace=namespace, use_sim_time=use_sim_time,
                               engage=engage, tf=tf, only=only or ())  # fmt: skip
    specs = bringup.compose(bringup.in_namespace(specs, namespace), compose)
    _run(specs, loaded, dry_run, ros_arguments(params_file, log_level))


def displays(
    fleet: FleetArgument = "demo",
    out: Annotated[Optional[Path], typer.Option(help="Folder of the files; default `runs/displays`.")] = None,
    namespace: Annotated[str, typer.Option(help="Namespace of the fleet's nodes.")] = "",
    live: Annotated[
        bool, typer.Option("--live", help="Foxglove shows the images of the running nodes, not those that the recorder compresses.")
    ] = False,
) -> None:
    """Write a configuration of RViz and a layout of Foxglove for a fleet.

    They show model, cameras and joints of every robot. The models need nodes that were started with `--tf`. The files of the demo
    are in `config/rviz` and `config/foxglove`.

    Examples:

        latent-policy displays my_fleet.yaml
        latent-policy displays my_fleet.yaml --namespace cell_a --live --out layouts
    """
    from latent_policy_ros import bringup
    from latent_policy_ros.common.paths import runs_dir

    loaded, folder = bringup.load_fleet(fleet, decoded=False), out or runs_dir() / "displays"
    print_line(f"rviz2 -d {bringup.write_rviz_config(loaded, folder / 'rviz', namespace)}")
    file = bringup.write_foxglove_layout(loaded, folder / "foxglove", namespace, recorded=not live)
    print_line(f"{file}: in Foxglove, Layouts, Import from file")


def ros_arguments(params_file: Path | None, log_level: str) -> list[str]:
    """ROS arguments of every node.

    Raises:
        ConfigError: There is no such file or level.
    """
    if log_level and log_level not in LOG_LEVELS:
        raise ConfigError("command line", "--log-level", f"got {log_level!r}; {available(LOG_LEVELS)}")
    if params_file and not params_file.expanduser().is_file():
        raise ConfigError("command line", "--params-file", f"no file {params_file}")
    file = ["--params-file", str(params_file.expanduser().absolute())] if params_file else []
    return [*file, *(["--log-level", log_level] if log_level else [])]


PolicyNodeOption = Annotated[str, typer.Option("--node", help="Full name of the policy node.")]


def engage_command(node: PolicyNodeOption = "/policy") -> None:
    """Let the policy drive its robots.

    With hardware, the policy does not drive until it is told to. Calls the service `/policy/engage` (`std_srvs/Trigger`).

    Examples:

        latent-policy engage
        latent-policy engage --node /cell_a/policy
    """
    raise typer.Exit(call_trigger(f"{node}/engage"))


def disengage_command(node: PolicyNodeOption = "/policy") -> None:
    """Stop the policy from driving: its robots hold their measured pose.

    Calls the service `/policy/disengage` (`std_srvs/Trigger`).

    Examples:

        latent-policy disengage
    """
    raise typer.Exit(call_trigger(f"{node}/disengage"))


def teleop(
    fleet: FleetArgument = "demo",
    mode: Annotated[
        str, typer.Option(help="latent: through the latent space and the decoders; direct: by retargeting, without decoders.")
    ] = "latent",
    robot: Annotated[Optional[list[str]], typer.Option(help="Drive only this robot. Repeatable.")] = None,
    file: Annotated[Optional[Path], typer.Option(help="Play this hand recording instead of the topic `keypoints`.")] = None,
    entry: EntryOption = "",
    loop: Annotated[bool, typer.Option(help="Repeat the recording.")] = False,
    webcam: Annotated[str, typer.Option(help="Camera that shows the hand: `0`, `/dev/video0`, a URL, or a video file.")] = "",
    hand_model: Annotated[
        Optional[Path], typer.Option(help="MediaPipe's `hand_landmarker.task`, for --webcam.", exists=True, dir_okay=False)
    ] = None,
    keypoints_type: Annotated[
        str, typer.Option(help="Message type of the topic `keypoints`, e.g. `manus_ros2_msgs/msg/ManusGlove`.")
    ] = "geometry_msgs/msg/PoseArray",
    side: SideOption = "auto",
    layout: LayoutOption = "auto",
    units: UnitsOption = "m",
    record: RecordOption = False,
    dry_run: DryRunOption = False,
) -> None:
    """Drive the robots of a fleet with a human hand.

    The hand's keypoints come from the topic `keypoints`, from a recording, or from a webcam.

    Examples:

        latent-policy teleop my_fleet.yaml
        latent-policy teleop demo --file hand.npz --loop --mode direct
        latent-policy teleop demo --webcam 0 --hand-model hand_landmarker.task
    """
    from latent_policy_ros import bringup

    path = str(file.expanduser().resolve()) if file else ""
    teleoperation = bringup.Teleoperation(
        mode,
        tuple(robot or ()),
        path,
        entry=entry,
        webcam=webcam,
        hand_model=str(hand_model.resolve()) if hand_model else "",
        keypoints_type=keypoints_type,
        loop=loop,
        side=side,
        layout=layout,
        units=units,
    )
    if hands := teleoperation.hands():
        frames = f"{hands.valid.sum()} of {len(hands.valid)} frames show a {hands.side} hand"
        console.print(f"{Path(path).name}: {frames} in layout {hands.layout}; {hands.size.text()}", highlight=False)
    loaded = bringup.load_fleet(fleet, decoded=mode != "direct")
    _run(bringup.node_specs(loaded, record=record, teleoperation=teleoperation), loaded, dry_run)


def _run(specs: list[NodeSpec], fleet: Fleet, dry_run: bool, arguments: Sequence[str] = ()) -> None:
    """Run the nodes of a fleet until Ctrl-C, or only print them."""
    from latent_policy_ros.bringup import name_conflict, present_nodes
    from latent_policy_ros.bringup.supervisor import Supervisor, node_command

    if dry_run:
        for spec in specs:
            process = f"in {spec.full_name}: " if spec.members else ""
            for node in spec.nodes:
                print_line(f"{process}{node.executable:22s} {node.full_name}  {dict(node.parameters)}")
        return
    if conflict := name_conflict(specs, present_nodes()):
        print_line(conflict, "warning:", "yellow")
    robots = ", ".join(f"{name} ({robot.embodiment.name})" for name, robot in fleet.robots.items())
    ready = f"up: {robots}; all {sum(len(spec.nodes) for spec in specs)} nodes are ready"
    if any(spec.executable == "recorder_node" for spec in specs):
        ready += "; start a bag with: latent-policy episode start"
    command = partial(node_command, ros_arguments=arguments)
    raise typer.Exit(Supervisor(specs, restart=True, say=print_line, ready=ready, command=command).run())
