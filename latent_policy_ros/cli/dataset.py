"""``latent-policy dataset``: create, convert, repair and inspect data sets."""

from __future__ import annotations

from collections.abc import Callable
from enum import Enum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Optional

import typer

from latent_policy_ros.cli.common import (
    DEMO_EMBODIMENTS,
    AddressOption,
    BackendOption,
    ShardOption,
    SimulatedArmOption,
    TaskOption,
    WorkersOption,
    console,
    print_line,
    progress_bar,
)

if TYPE_CHECKING:
    from latent_policy_ros.data.conversion.mapping import TopicMapping
    from latent_policy_ros.embodiments import Embodiment

MappingOption = Annotated[
    Optional[str], typer.Option(help="Topics and joint names of the bags: a YAML file, or a name in `config/mappings`.")
]
FleetOption = Annotated[Optional[str], typer.Option(help="Fleet whose robots are in bags without metadata about their robots.")]


class Outcome(str, Enum):
    """Outcomes of an episode."""

    success = "success"
    failure = "failure"


class Layout(str, Enum):
    """Layouts of a data set."""

    whole = "whole"
    separate = "separate"


BagsArgument = Annotated[list[Path], typer.Argument(help="Bags, or folders that contain bags.")]

app = typer.Typer(no_args_is_help=True, help="Create, convert, repair and inspect data sets.")


@app.command("from-sim")
def from_sim(
    out: Annotated[Path, typer.Option("-o", "--out", help="Output folder; receives one data set per embodiment.")],
    embodiment: Annotated[Optional[list[str]], typer.Option(help="Repeatable; default: the embodiments of the demo.")] = None,
    episodes: Annotated[int, typer.Option(min=1, help="Number of demonstrations per embodiment.")] = 300,
    first_seed: Annotated[int, typer.Option(help="Seed of the first demonstration.")] = 0,
    workers: WorkersOption = 2,
    backend: BackendOption = "loky",
    address: AddressOption = None,
    shard: ShardOption = "1/1",
    task: TaskOption = "cube_in_box",
    arm: SimulatedArmOption = "panda",
) -> None:
    """Record demonstrations of the scripted expert as LeRobotDataset v3.0.

    The simulation runs headless and in parallel; the same seeds give the same files. Failed episodes are omitted and their seeds
    are listed. After Ctrl-C, the same command resumes. Further episodes are appended to existing data sets.

    Examples:

        latent-policy dataset from-sim -o runs/demos --episodes 50
        latent-policy dataset from-sim -o /shared/demos --episodes 1000 --backend ray --address auto
    """
    import time

    from latent_policy_ros.common.parallel import Shard, Workers
    from latent_policy_ros.sim.demonstrations.generation import generate_episodes

    empty, part = False, Shard.parse(shard)
    for name in embodiment or DEMO_EMBODIMENTS:
        began = time.monotonic()
        try:
            with progress_bar() as progress:
                bar = progress.add_task(name, total=len(part.part(range(episodes))))
                report = generate_episodes(
                    name,
                    range(first_seed, first_seed + episodes),
                    out,
                    task=task,
                    arm=arm,
                    workers=Workers(workers, backend, address),
                    shard=part,
                    progress=lambda *_, bar=bar: progress.advance(bar),
                )
        except KeyboardInterrupt:
            print_line(f"interrupted; finished episodes are kept in {out}; run the same command to resume")
            raise
        empty |= not report.written + report.kept
        seconds = time.monotonic() - began
        rate = report.written / seconds * 60
        console.print(f"{name}: {report}; {seconds:.0f} s, {rate:.0f} episodes per minute", soft_wrap=True)
    raise typer.Exit(int(empty))


@app.command("from-bags")
def from_bags(
    bags: BagsArgument,
    out: Annotated[
        Path, typer.Option("-o", "--out", help="Output folder; receives one data set per embodiment, `mixture.yaml` and a report.")
    ],
    mapping: MappingOption = None,
    fleet: FleetOption = None,
    fps: Annotated[int, typer.Option(min=0, help="Frames per second; 0: from the mapping, or else the fastest camera's rate.")] = 0,
    camera: Annotated[Optional[list[str]], typer.Option(help="Camera to convert. Repeatable; default: all cameras.")] = None,
    keep_failed: Annotated[bool, typer.Option("--keep-failed", help="Also convert episodes that are marked as failures.")] = False,
    outcome: Annotated[
        Optional[Outcome], typer.Option(help="Outcome of bags that say nothing about it. Policies are trained on successes.")
    ] = None,
    layout: Annotated[
        Layout,
        typer.Option(help="Wrist poses at the end of state and action, as LeRobot's policies need them, or as separate features."),
    ] = Layout.whole,
    latent: Annotated[
        str, typer.Option(help="Leave out robots whose end-effector this latent space does not contain; none: convert all.")
    ] = "none",
    workers: WorkersOption = 1,
    backend: BackendOption = "loky",
    address: AddressOption = None,
    shard: ShardOption = "1/1",
) -> None:
    """Convert bags of any robot to LeRobotDataset v3.0.

    Reads rosbag2 folders and files, MCAP and sqlite3, compressed or split, and tables of bags (CSV with the columns path, task,
    outcome, robot). Bags of this package's recorder contain metadata about their robots; other bags need --mapping (example:
    config/mappings/example.yaml) or --fleet. Short holes are bridged, longer ones split an episode. Episodes that are failed or
    damaged are left out, each with a reason. After Ctrl-C, the same command resumes.

    Examples:

        latent-policy dataset from-bags runs/bags -o runs/data
        latent-policy dataset from-bags ~/bags -o runs/data --mapping my_rig.yaml
        latent-policy dataset from-bags table.csv -o runs/data --mapping my_rig.yaml
        latent-policy dataset from-bags /shared/bags -o /shared/data --backend ray --address auto
    """
    from dataclasses import replace

    from latent_policy_ros.common.parallel import Shard, Workers
    from latent_policy_ros.common.processes import lasting_interrupt
    from latent_policy_ros.data.conversion.bag_table import BagTable
    from latent_policy_ros.data.conversion.conversion import Options, convert

    known, table = _mapping(mapping, fleet), BagTable.find(bags)
    known = replace(known, fps=fps or known.fps, outcome=outcome.value if outcome else known.outcome)
    options = Options(known, tuple(camera or ()), keep_failed, table, layout.value, _check_of(latent))
    found, part = table.bags, Shard.parse(shard)
    with progress_bar() as progress, lasting_interrupt() as check_interrupt:
        task, done = progress.add_task("bags", total=len(part.part(found))), {}

        def advance(bag: Path, messages: int, total: int) -> None:
            check_interrupt()
            done[bag] = messages / max(1, total)
            progress.update(task, completed=sum(done.values()), description=bag.name)

        try:
            report = convert(found, out, options, advance, Workers(workers, backend, address), part)
        except KeyboardInterrupt:
            console.print("interrupted; finished episodes are kept; run the same command to resume")
            raise
        progress.update(task, completed=len(part.part(found)), description="bags")
    for issue in report.warnings:
        print_line(str(issue), "note", "yellow")
    for source, reasons in report.left_out:
        print_line(source, "left out", "red")
        for issue in reasons:
            print_line(f"    {issue}")
    written = f"{report.written} episodes written ({report.frames} frames)"
    console.print(f"{written}, {report.kept} kept, {len(report.left_out)} left out")
    for folder in report.datasets:
        console.print(f"{folder}", highlight=False)
    if not report.written + report.kept:
        raise typer.Exit(1)


@app.command()
def repair(bags: BagsArgument) -> None:
    """Repair bags whose recorder was killed.

    A damaged file is rewritten with every complete message; the new file replaces the old one when it is complete. Intact bags are
    not changed.

    Examples:

        latent-policy dataset repair runs/bags
    """
    from latent_policy_ros.common.errors import LatentPolicyError
    from latent_policy_ros.data.bags.repair import find_mcap_bags, repair_bag

    failed = False
    for bag in find_mcap_bags(bags):
        try:
            result = repair_bag(bag)
        except (LatentPolicyError, OSError) as error:
            failed = True
            print_line(f"{bag}: {error}" if isinstance(error, OSError) else str(error), "not repaired", "red")
            continue
        outcome = f"{', '.join(result.repaired)} rewritten" if result.repaired else "intact"
        print_line(f"{bag}: {outcome}; {result.messages} messages", "repaired" if result.repaired else "", "green")
        for text in result.lost:
            print_line(f"    lost: {text}")
    raise typer.Exit(int(failed))


@app.command("info")
def info(path: Annotated[Path, typer.Argument(help="A data set, a bag, or a folder of them.")]) -> None:
    """Summarise data sets and bags: features, topics, rates and time offsets.

    Examples:

        latent-policy dataset info runs/data
    """
    from latent_policy_ros.data.inspection.summary import summary_tables

    for table in summary_tables(path):
        console.print(table)


@app.command("check")
def check(
    path: Annotated[Path, typer.Argument(help="A data set, a bag, or a folder of them.")],
    mapping: MappingOption = None,
    fleet: FleetOption = None,
) -> None:
    """Validate episodes: gaps, frozen or black cameras, joint limits, units, state equal to command, ids, clock jumps.

    The exit status is 1 if an episode has an issue that makes it unusable.

    Examples:

        latent-policy dataset check runs/data
    """
    from latent_policy_ros.data.inspection.episode_view import episode_views
    from latent_policy_ros.data.inspection.validation import validate

    episodes = unusable = 0
    for episode in episode_views(path, _mapping(mapping, fleet)):
        issues = validate(episode)
        episodes += 1
        unusable += any(issue.fatal for issue in issues)
        for issue in issues:
            print_line(str(issue), episode.name, "red" if issue.fatal else "yellow")
    console.print(f"{episodes} episodes, {unusable} unusable")
    raise typer.Exit(int(unusable > 0))


@app.command("view")
def view(
    path: Annotated[Path, typer.Argument(help="A data set, a bag, or a folder of them.")],
    out: Annotated[Path, typer.Option("-o", "--out", help="Output folder; receives one PNG per episode.")] = Path("view"),
    mapping: MappingOption = None,
    fleet: FleetOption = None,
    rerun: Annotated[Optional[Path], typer.Option(help="Also write a recording for the Rerun viewer, e.g. `all.rrd`.")] = None,
) -> None:
    """Plot episodes: images and joints over time, one sheet per episode.

    Examples:

        latent-policy dataset view runs/data -o runs/view --rerun runs/view/all.rrd
    """
    from latent_policy_ros.common.path_names import inside
    from latent_policy_ros.data.inspection.episode_plots import IMAGE_COLUMNS, RerunFile, write_sheet
    from latent_policy_ros.data.inspection.episode_view import episode_views

    file, drawn = RerunFile(rerun) if rerun else None, 0
    for episode in episode_views(path, _mapping(mapping, fleet), image_height=96, max_images=0 if file else IMAGE_COLUMNS):
        for issue in episode.issues:
            print_line(str(issue), episode.name, "yellow")
        if len(episode.state):
            sheet = inside(out, f"{episode.name}.png")
            write_sheet(episode, sheet)
            print_line(str(sheet))
            drawn += 1
            if file:
                file.add(episode)
    if file:
        file.close()
        console.print(f"{rerun}", highlight=False)
    raise typer.Exit(int(not drawn))


def _check_of(latent: str) -> Callable[[Embodiment], None] | None:
    """A check that a latent space contains an embodiment; None without a latent space."""
    if latent == "none":
        return None
    from latent_policy_ros.common.paths import artifact
    from latent_policy_ros.latent import LatentSpace

    return LatentSpace.load(artifact("latents", latent)).check


def _mapping(mapping: str | None, fleet: str | None) -> TopicMapping:
    """The mapping given by a file or by a fleet; without either, an empty mapping: the bags' metadata is used."""
    from latent_policy_ros.data.conversion.mapping import TopicMapping, conventional
    from latent_policy_ros.data.conversion.mapping_file import load_mapping

    if mapping:
        return load_mapping(mapping)
    if not fleet:
        return TopicMapping(())
    from latent_policy_ros.bringup import load_fleet  # takes long; most conversions need no fleet

    robots = load_fleet(fleet).robots
    return TopicMapping(tuple(conventional(name, robot.embodiment, list(robot.cameras)) for name, robot in robots.items()))
