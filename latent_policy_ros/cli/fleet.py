"""Commands that start the nodes of a fleet: ``demo``, ``up`` and ``teleop``."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Optional

import typer

from latent_policy_ros.cli.common import (
    DEMO_ROUNDS,
    EVALUATION_SEED,
    DryRunOption,
    FleetArgument,
    LayoutOption,
    SideOption,
    UnitsOption,
    console,
    print_line,
)

if TYPE_CHECKING:
    from latent_policy_ros.bringup import Fleet, NodeSpec

RecordOption = Annotated[bool, typer.Option(help="Also start the recorder.")]


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


def up(fleet: FleetArgument = "demo", record: RecordOption = False, dry_run: DryRunOption = False) -> None:
    """Start every node of a fleet as a process, until Ctrl-C.

    Starts the same nodes as `ros2 launch latent_policy_ros bringup.launch.py robots:=FLEET`. A node that ends by itself is
    started again.

    Examples:

        latent-policy up my_fleet.yaml --record
        latent-policy up demo --dry-run
    """
    from latent_policy_ros import bringup

    loaded = bringup.load_fleet(fleet)
    _run(bringup.node_specs(loaded, record=record), loaded, dry_run)


def teleop(
    fleet: FleetArgument = "demo",
    mode: Annotated[
        str, typer.Option(help="latent: through the latent space and the decoders; direct: by retargeting, without decoders.")
    ] = "latent",
    robot: Annotated[Optional[list[str]], typer.Option(help="Drive only this robot. Repeatable.")] = None,
    file: Annotated[Optional[Path], typer.Option(help="Play this hand recording instead of the topic `keypoints`.")] = None,
    loop: Annotated[bool, typer.Option(help="Repeat the recording.")] = False,
    side: SideOption = "auto",
    layout: LayoutOption = "auto",
    units: UnitsOption = "m",
    record: RecordOption = False,
    dry_run: DryRunOption = False,
) -> None:
    """Drive the robots of a fleet with a human hand.

    The hand's 21 keypoints come from the topic `keypoints` (`geometry_msgs/PoseArray`) or from a recording.

    Examples:

        latent-policy teleop my_fleet.yaml
        latent-policy teleop demo --file hand.npz --loop --mode direct
    """
    from latent_policy_ros import bringup

    path = str(file.expanduser().resolve()) if file else ""
    teleoperation = bringup.Teleoperation(mode, tuple(robot or ()), path, loop, side, layout, units)
    if hands := teleoperation.hands():
        frames = f"{hands.valid.sum()} of {len(hands.valid)} frames show a {hands.side} hand"
        console.print(f"{Path(path).name}: {frames} in layout {hands.layout}; {hands.size.text()}", highlight=False)
    loaded = bringup.load_fleet(fleet, decoded=mode != "direct")
    _run(bringup.node_specs(loaded, record=record, teleoperation=teleoperation), loaded, dry_run)


def _run(specs: list[NodeSpec], fleet: Fleet, dry_run: bool) -> None:
    """Run the nodes of a fleet until Ctrl-C, or only print them."""
    from latent_policy_ros.bringup.supervisor import Supervisor

    if dry_run:
        for spec in specs:
            print_line(f"{spec.executable:22s} {spec.namespace}/{spec.name}  {spec.parameters}")
        return
    robots = ", ".join(f"{name} ({robot.embodiment.name})" for name, robot in fleet.robots.items())
    ready = f"up: {robots}; all {len(specs)} nodes are ready"
    if any(spec.executable == "recorder_node" for spec in specs):
        ready += "; start a bag with: latent-policy episode start"
    raise typer.Exit(Supervisor(specs, restart=True, say=print_line, ready=ready).run())
