"""``latent-policy``: everything that can be done without a ROS 2 installation, as one command line."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Optional

import typer
from rich.table import Table

from latent_policy_ros import __version__
from latent_policy_ros.cli import dataset, embodiments, latent, train
from latent_policy_ros.cli.common import (
    DEMO_EMBODIMENTS,
    LatentOption,
    LayoutOption,
    PolicyOption,
    SideOption,
    UnitsOption,
    artifact_folder,
    console,
    errors,
    progress_bar,
    show,
    tell,
)
from latent_policy_ros.cli.record import Action
from latent_policy_ros.cli.retarget import retarget
from latent_policy_ros.common.errors import LatentPolicyError

if TYPE_CHECKING:
    from latent_policy_ros.bringup.node_list import Fleet, NodeSpec

app = typer.Typer(no_args_is_help=True, add_completion=False, pretty_exceptions_enable=False)
app.add_typer(train.app, name="train")
app.add_typer(dataset.app, name="dataset")
app.add_typer(embodiments.app, name="embodiments")
app.add_typer(latent.app, name="latent")

app.command()(retarget)

EVALUATION_SEED = 1_000_000  # the first; far from every seed that demonstrations are made from


def _version(wanted: bool) -> None:
    if wanted:
        print(__version__)
        raise typer.Exit


@app.callback(help=__doc__)
def _options(
    version: Annotated[bool, typer.Option("--version", callback=_version, is_eager=True, help="Show the version.")] = False,
) -> None:
    """Before any command."""


@app.command()
def demo(
    episodes: Annotated[int, typer.Option(min=1, help="Episodes to run, one after the other.")] = 1,
    seed: Annotated[int, typer.Option(help="Decides where cube and box stand.")] = EVALUATION_SEED,
    fleet: Annotated[str, typer.Option(help="Fleet: a YAML file, or a name in config/robots.")] = "demo",
    out: Annotated[Optional[Path], typer.Option(help="Folder for bag, video, images and summary.")] = None,
) -> None:
    """Two robots, one policy, real ROS 2: bring the fleet up, run it, record it, show what happened."""
    from latent_policy_ros.cli.run_demo import run_demo

    raise typer.Exit(run_demo(fleet, episodes, seed, out, console))


@app.command()
def up(
    fleet: Annotated[str, typer.Argument(help="Fleet: a YAML file, or a name in config/robots.")] = "demo",
    record: Annotated[bool, typer.Option(help="Also start the recorder.")] = False,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Only print the nodes that would run.")] = False,
) -> None:
    """Start every node of a fleet as a process of its own (what `ros2 launch` does, without it)."""
    from latent_policy_ros.bringup import node_list

    loaded = node_list.load_fleet(fleet)
    _run(node_list.node_specs(loaded, record=record), loaded, dry_run)


@app.command()
def record(
    what: Annotated[list[str], typer.Argument(help="A fleet (a YAML file, or a name in config/robots), or topics: /a /b/c.")],
    topic: Annotated[Optional[list[str]], typer.Option(help="Also record this topic; repeatable.")] = None,
    out: Annotated[Optional[Path], typer.Option("-o", "--out", help="Folder for the bags; default runs/bags.")] = None,
    task: Annotated[str, typer.Option(help="The task in words; default: the fleet's.")] = "",
    images: Annotated[str, typer.Option(help="jpeg or raw: how raw images are recorded.")] = "jpeg",
    wait: Annotated[float, typer.Option(help="Give up when a topic is silent for so many seconds.")] = 10.0,
    services: Annotated[bool, typer.Option("--services", help="Record when /recorder/start says so, not at once.")] = False,
) -> None:
    """Record a fleet that is up, or any topics, into a bag, until Ctrl-C."""
    from latent_policy_ros.bringup.supervisor import Supervisor
    from latent_policy_ros.cli.record import recorder

    raise typer.Exit(Supervisor([recorder(what, topic or [], out, task, images, wait, services)]).run())


@app.command()
def episode(
    action: Annotated[Action, typer.Argument(help="success and failure mark the episode that runs, or ran last.")],
    recorder: Annotated[str, typer.Option(help="Name of the recorder's node.")] = "/recorder",
) -> None:
    """Tell a recorder that is up what to do (what `ros2 service call` does, without it)."""
    from latent_policy_ros.cli.record import ask

    raise typer.Exit(ask(action, recorder))


@app.command()
def teleop(
    fleet: Annotated[str, typer.Argument(help="Fleet: a YAML file, or a name in config/robots.")] = "demo",
    mode: Annotated[str, typer.Option(help="latent: through encoder and decoders; direct: by retargeting.")] = "latent",
    robot: Annotated[Optional[list[str]], typer.Option(help="Drive this robot only; repeatable.")] = None,
    file: Annotated[Optional[Path], typer.Option(help="A recorded hand to play, instead of the topic keypoints.")] = None,
    loop: Annotated[bool, typer.Option(help="Play it again and again.")] = False,
    side: SideOption = "auto",
    layout: LayoutOption = "auto",
    units: UnitsOption = "m",
    record: Annotated[bool, typer.Option(help="Also start the recorder.")] = False,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Only print the nodes that would run.")] = False,
) -> None:
    """Drive the robots of a fleet with your hand: keypoints on the topic `keypoints`, or a recorded file."""
    from latent_policy_ros.bringup import node_list

    path = str(file.expanduser().resolve()) if file else ""
    teleoperation = node_list.Teleoperation(mode, tuple(robot or ()), path, loop, side, layout, units)
    if hands := teleoperation.hands():
        console.print(f"{file.name}: {hands.good.sum()} of {len(hands.good)} frames show a {hands.side} hand in layout "
                      f"{hands.layout}; {hands.size.text()}", highlight=False)  # fmt: skip
    loaded = node_list.load_fleet(fleet, decoded=mode != "direct")
    _run(node_list.node_specs(loaded, record=record, teleoperation=teleoperation), loaded, dry_run)


@app.command("eval")
def evaluate_command(
    policy: PolicyOption = "default",
    latent: LatentOption = "default",
    embodiment: Annotated[Optional[list[str]], typer.Option(help="Repeatable; default: those of the demo.")] = None,
    episodes: Annotated[int, typer.Option(min=1, help="Seeded episodes for each embodiment.")] = 100,
    first_seed: Annotated[int, typer.Option(help="Evaluation seeds begin here, beyond all training seeds.")] = EVALUATION_SEED,
    latency: Annotated[float, typer.Option(min=0, help="Seconds from an observation to a chunk that can be used.")] = 0.08,
    workers: Annotated[int, typer.Option(min=1, help="Processes.")] = 2,
    json_out: Annotated[Optional[Path], typer.Option("--json", help="Also write every rollout here.")] = None,
) -> None:
    """Success of a policy in simulation, through the robot's own decoder and safety code, with 95% intervals."""
    import json
    from dataclasses import asdict

    from latent_policy_ros.embodiments import load_embodiment
    from latent_policy_ros.sim.evaluation import evaluate, wilson_interval

    chosen = {load_embodiment(name).name: name for name in embodiment or DEMO_EMBODIMENTS}
    seeds = range(first_seed, first_seed + episodes)
    with progress_bar() as progress:
        task = progress.add_task("rollouts", total=len(chosen) * episodes)
        results = evaluate(
            artifact_folder("policies", policy),
            artifact_folder("latents", latent),
            list(chosen.values()),
            seeds,
            workers=workers,
            latency=latency,
            on_result=lambda _: progress.advance(task),
        )
    table = Table("embodiment", "success", "95% interval", "median time [s]", title=f"{policy}: {episodes} seeded episodes each")
    for name in chosen:
        mine = [r for r in results if r.embodiment == name]
        wins = [r for r in mine if r.success]
        low, high = wilson_interval(len(wins), len(mine))
        times = sorted(r.seconds for r in wins)
        median = f"{times[len(times) // 2]:.1f}" if times else "-"
        table.add_row(name, f"{len(wins)}/{len(mine)} = {len(wins) / len(mine):.0%}", f"{low:.0%} .. {high:.0%}", median)
    show(table)
    if json_out:
        json_out.write_text(json.dumps([asdict(r) for r in results], indent=1))


@app.command()
def doctor() -> None:
    """Check what this machine has: ROS 2, our messages, rendering, GPU, shipped artefacts."""
    from latent_policy_ros.cli.machine_checks import checks

    failed = False
    for name, ok, detail in checks():
        failed |= not ok
        tell(f"{name}: {detail}", "ok  " if ok else "FAIL", "green" if ok else "red")
    raise typer.Exit(int(failed))


def _run(specs: list[NodeSpec], fleet: Fleet, dry_run: bool) -> None:
    """Run nodes of a fleet until Ctrl-C, or only print them."""
    from latent_policy_ros.bringup.supervisor import Supervisor

    if dry_run:
        for spec in specs:
            tell(f"{spec.executable:22s} {spec.namespace}/{spec.name}  {spec.parameters}")
        return
    robots = ", ".join(f"{name} ({robot.embodiment.name})" for name, robot in fleet.robots.items())
    ready = f"up: {robots}; all {len(specs)} nodes are ready"
    if any(spec.executable == "recorder_node" for spec in specs):
        ready += "; a bag begins with: latent-policy episode start"
    raise typer.Exit(Supervisor(specs, restart=True, say=tell, ready=ready).run())


def main() -> None:
    """Console script: errors made for people are printed as such, without a traceback."""
    try:
        app()
    except LatentPolicyError as error:
        tell(str(error), "error:", "bold red", errors)
        sys.exit(2)
    except OSError as error:  # a disk that is full, a file where a folder is to be, ...
        tell(f"{error.filename}: {error.strerror}" if error.filename else str(error), "error:", "bold red", errors)
        sys.exit(2)
    except KeyboardInterrupt:
        sys.exit(130)
