"""``latent-policy dataset``: make training data, and look at it."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Optional

import typer

from latent_policy_ros.cli.common import DEMO_EMBODIMENTS, console, print_line, progress_bar

if TYPE_CHECKING:
    from latent_policy_ros.data.conversion.mapping import TopicMapping

MappingOption = Annotated[Optional[str], typer.Option(help="What topics are: a YAML file, or a name in config/mappings.")]
FleetOption = Annotated[Optional[str], typer.Option(help="Whose robots are in bags that do not tell.")]

app = typer.Typer(no_args_is_help=True, help="Make training data, and look at it.")


@app.command("from-sim")
def from_sim(
    out: Annotated[Path, typer.Option("-o", "--out", help="Folder; one data set for each embodiment.")],
    embodiment: Annotated[Optional[list[str]], typer.Option(help="Repeatable; default: those of the demo.")] = None,
    episodes: Annotated[int, typer.Option(min=1, help="Demonstrations for each embodiment.")] = 300,
    first_seed: Annotated[int, typer.Option(help="First seed.")] = 0,
    workers: Annotated[int, typer.Option(min=1, help="Processes.")] = 2,
) -> None:
    """Record the scripted expert as LeRobotDataset v3.0: in parallel, headless, the same for the same seeds.

    Episodes that fail are left out, with their seeds told. Ctrl-C keeps those that are done: the same command goes on, and
    more episodes are added to those that are there.
    """
    import time

    from latent_policy_ros.sim.demonstrations.generation import generate_episodes

    nothing = False
    for name in embodiment or DEMO_EMBODIMENTS:
        began = time.monotonic()
        try:
            with progress_bar() as progress:
                task = progress.add_task(name, total=episodes)
                report = generate_episodes(
                    name,
                    range(first_seed, first_seed + episodes),
                    out,
                    workers=workers,
                    progress=lambda *_, task=task: progress.advance(task),
                )
        except KeyboardInterrupt:
            print_line(f"stopped; finished episodes are kept in {out}, and the same command goes on from there")
            raise
        nothing |= not report.written + report.kept
        seconds = time.monotonic() - began
        console.print(f"{name}: {report}; {seconds:.0f} s, {report.written / seconds * 60:.0f} episodes a minute", soft_wrap=True)
    raise typer.Exit(int(nothing))


@app.command("from-bags")
def from_bags(
    bags: Annotated[list[Path], typer.Argument(help="Bags, or folders that hold bags.")],
    out: Annotated[Path, typer.Option("-o", "--out", help="Folder; one data set for each embodiment, and mixture.yaml.")],
    mapping: MappingOption = None,
    fleet: FleetOption = None,
    fps: Annotated[int, typer.Option(min=0, help="Frames a second; 0: as the mapping says, or the fastest camera.")] = 0,
    camera: Annotated[Optional[list[str]], typer.Option(help="Repeatable; default: all of the robots'.")] = None,
    keep_failed: Annotated[bool, typer.Option("--keep-failed", help="Also episodes that are marked as failures.")] = False,
) -> None:
    """Bags of any robot -> LeRobotDataset v3.0, one for each embodiment.

    Reads rosbag2 folders and files, MCAP or sqlite3, compressed and split or not. Bags of this package's recorder tell of
    their robots; for others give --mapping (example: config/mappings/example.yaml) or --fleet. Episodes that are failed, damaged
    or too gappy are left out, each with the reason. Ctrl-C keeps finished episodes: the same command goes on.
    """
    from dataclasses import replace

    from latent_policy_ros.data.bags.reader import find_bags
    from latent_policy_ros.data.conversion.conversion import Options, convert

    known = _mapping(mapping, fleet)
    options = Options(replace(known, fps=fps or known.fps), tuple(camera or ()), keep_failed)
    found = find_bags(bags)
    with progress_bar() as progress:
        task, done = progress.add_task("bags", total=len(found)), {}

        def advance(bag: Path, messages: int, total: int) -> None:
            done[bag] = messages / max(1, total)
            progress.update(task, completed=sum(done.values()), description=bag.name)

        try:
            report = convert(found, out, options, advance)
        except KeyboardInterrupt:
            console.print("stopped; finished episodes wait in the folder, and the same command goes on")
            raise
        progress.update(task, completed=len(found), description="bags")
    for fault in report.warnings:
        print_line(str(fault), "note", "yellow")
    for source, reasons in report.left_out:
        print_line(source, "left out", "red")
        for fault in reasons:
            print_line(f"    {fault}")
    made = f"{report.written} episodes written ({report.frames} frames)"
    console.print(f"{made}, {report.kept} kept, {len(report.left_out)} left out")
    for folder in report.datasets:
        console.print(f"{folder}", highlight=False)
    if not report.written + report.kept:
        raise typer.Exit(1)


@app.command()
def repair(bags: Annotated[list[Path], typer.Argument(help="Bags, or folders that hold bags.")]) -> None:
    """Make bags whole whose recorder was killed. Whole ones stay untouched, and a new file is complete before the old one goes."""
    from latent_policy_ros.common.errors import ArtifactError
    from latent_policy_ros.data.bags.repair import find_mcap_bags, repair_bag

    failed = False
    for bag in find_mcap_bags(bags):
        try:
            done = repair_bag(bag)
        except ArtifactError as error:
            failed = True
            print_line(str(error), "not repaired", "red")
            continue
        what = f"{', '.join(done.repaired)} written anew" if done.repaired else "whole, untouched"
        print_line(f"{bag}: {what}; {done.messages} messages", "repaired" if done.repaired else "", "green")
        for text in done.lost:
            print_line(f"    lost: {text}")
    raise typer.Exit(int(failed))


@app.command("info")
def info(path: Annotated[Path, typer.Argument(help="A data set, a folder of data sets, or a bag.")]) -> None:
    """What is in data sets and bags."""
    from latent_policy_ros.data.inspection.summary import describe

    for table in describe(path):
        console.print(table)


@app.command("check")
def check(
    path: Annotated[Path, typer.Argument(help="A data set, a folder of data sets, or bags.")],
    mapping: MappingOption = None,
    fleet: FleetOption = None,
) -> None:
    """Find gaps, frozen or black cameras, impossible joints, wrong units, state equal to command, foreign ids, clock jumps."""
    from latent_policy_ros.data.inspection.episode_view import episode_views
    from latent_policy_ros.data.inspection.validation import validate

    episodes = bad = 0
    for look in episode_views(path, _mapping(mapping, fleet)):
        faults = validate(look)
        episodes += 1
        bad += any(fault.fatal for fault in faults)
        for fault in faults:
            print_line(str(fault), look.name, "red" if fault.fatal else "yellow")
    console.print(f"{episodes} episodes, {bad} with faults")
    raise typer.Exit(int(bad > 0))


@app.command("view")
def view(
    path: Annotated[Path, typer.Argument(help="A data set, a folder of data sets, or bags.")],
    out: Annotated[Path, typer.Option("-o", "--out", help="Folder for one PNG an episode.")] = Path("view"),
    mapping: MappingOption = None,
    fleet: FleetOption = None,
    rerun: Annotated[Optional[Path], typer.Option(help="Also write a file for the rerun viewer, e.g. all.rrd.")] = None,
) -> None:
    """Images over time and joint plots, one sheet an episode."""
    from latent_policy_ros.data.inspection.episode_plots import COLUMNS, RerunFile, write_sheet
    from latent_policy_ros.data.inspection.episode_view import episode_views

    file, drawn = RerunFile(rerun) if rerun else None, 0
    for look in episode_views(path, _mapping(mapping, fleet), rows=96, moments=0 if file else COLUMNS):
        for fault in look.faults:
            print_line(str(fault), look.name, "yellow")
        if len(look.state):
            sheet = out / f"{look.name}.png"
            write_sheet(look, sheet)
            print_line(str(sheet))
            drawn += 1
            if file:
                file.add(look)
    if file:
        file.close()
        console.print(f"{rerun}", highlight=False)
    raise typer.Exit(int(not drawn))


def _mapping(mapping: str | None, fleet: str | None) -> TopicMapping:
    """The topic mapping of a mapping file or of a fleet; without either, the metadata of each bag is used."""
    from latent_policy_ros.bringup import load_fleet
    from latent_policy_ros.data.conversion.mapping import TopicMapping, conventional, load_mapping

    if mapping:
        return load_mapping(mapping)
    robots = load_fleet(fleet).robots if fleet else {}
    return TopicMapping(tuple(conventional(name, robot.embodiment, list(robot.cameras)) for name, robot in robots.items()))
