"""``latent-policy embodiments``: list, show and check end-effectors."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Optional

import typer
from rich.table import Column, Table
from rich.text import Text

from latent_policy_ros.cli.common import COMPACT, console, print_line, print_table
from latent_policy_ros.common.errors import ConfigError

if TYPE_CHECKING:
    import numpy as np

app = typer.Typer(no_args_is_help=True, help="List, show and check end-effectors.")


@app.callback()
def folders(
    embodiments_dir: Annotated[
        Optional[list[Path]],
        typer.Option(help="A folder with YAML files of your own, besides those of $LATENT_POLICY_EMBODIMENTS. Repeatable."),
    ] = None,
) -> None:  # fmt: skip
    """List, show and check end-effectors."""
    from latent_policy_ros.embodiments.model.catalogue import FOLDERS_VARIABLE

    if embodiments_dir:  # in the environment, so that processes that are started from here find them too
        known = [text for text in os.environ.get(FOLDERS_VARIABLE, "").split(os.pathsep) if text]
        os.environ[FOLDERS_VARIABLE] = os.pathsep.join(
            [*(str(folder.expanduser().resolve()) for folder in embodiments_dir), *known]
        )


@app.command("list")
def embodiments_list() -> None:
    """The embodiments by name, those of your own included; hands for the other side are `<name>_left` and `<name>_right`."""
    from latent_policy_ros.embodiments import load_embodiment
    from latent_policy_ros.embodiments.model.catalogue import embodiment_files, shipped_folder

    numbers = [Column(name, no_wrap=True) for name in ("fingers", "actuated", "hinges", "action")]
    table = Table("name", "kind", "sides", *numbers, "from", **COMPACT)
    wrong = []
    for name, file in sorted(embodiment_files().items()):
        origin = "shipped" if file.parent == shipped_folder() else str(file.parent)
        try:
            e = load_embodiment(name)
        except ConfigError as error:
            wrong.append(error)
            table.add_row(name, Text("wrong", "red"), *[""] * 5, origin)
            continue
        sides = e.side if e.kind == "gripper" else "left right"
        counts = len(e.fingertips) or 5, len(e.joint_names), len(e.hinges), e.action_dim
        table.add_row(name, e.kind, sides, *map(str, counts), origin)
    print_table(table)
    for error in wrong:
        print_line(str(error), "error:", "red")
    raise typer.Exit(2 if wrong else 0)


@app.command("show")
def embodiments_show(name: Annotated[str, typer.Argument(help="A name from `list`, or a YAML file.")]) -> None:
    """Joints, couplings, limits and fingertips of an embodiment. Loading validates: a wrong file says what to change."""
    from latent_policy_ros.embodiments import load_embodiment

    e = load_embodiment(name)
    table = Table("joint", "lower", "upper", "max velocity", "rest", title=f"{e.name} ({e.side} {e.kind})  {e.content_hash[:12]}")
    for row in zip(e.joint_names, e.lower, e.upper, e.max_velocity, e.rest):
        table.add_row(row[0], *(f"{value:.3f}" for value in row[1:]))
    print_table(table)
    for hinge, row in zip(e.hinges, e.coupling):
        if hinge.name not in e.joint_names and row.any():
            joint = abs(row).argmax()
            print_line(f"coupled: {hinge.name} = {row[joint]:g} * {e.joint_names[joint]}")
    origin, (palm, _, fingers) = e.T_base_hand[:3, 3], e.T_base_hand[:3, :3].T
    axes = f"palm faces {palm.round(3).tolist()}, fingers along {fingers.round(3).tolist()}"
    print_line(f"hand frame: at {(1e3 * origin).round(1).tolist()} mm of the palm frame, which is the base link; {axes}")
    for finger, tip in e.fingertips.items():
        point = ", ".join(f"{value * 1e3:.1f}" for value in tip.point)
        print_line(f"fingertip {finger}: on {tip.hinge}, at [{point}] mm of the palm frame at zero")
    for note in e.notes:
        print_line(f"note: {note}")
    print_line(f"file: {e.file}")


@app.command("check")
def embodiments_check(
    name: Annotated[str, typer.Argument(help="A name from `list`, or a YAML file.")],
    out: Annotated[Optional[Path], typer.Option(help="The image; default: embodiments/NAME.png in the folder of runs.")] = None,
    json_out: Annotated[Optional[Path], typer.Option("--json", help="Also write every number here.")] = None,
) -> None:
    """Is its YAML file right? Reach, limits, collisions and pinches, what looks wrong, and an image. Exit 1: it is wrong."""
    import json

    from latent_policy_ros.cli.check_report import print_report
    from latent_policy_ros.common.paths import runs_dir
    from latent_policy_ros.embodiments import load_embodiment
    from latent_policy_ros.retargeting.checks.embodiment_check import check_embodiment, shipped_peers
    from latent_policy_ros.sim.portraits.gallery import check_sheet

    e = load_embodiment(name)
    report = check_embodiment(e, shipped_peers(e))
    print_report(report, console)
    if report.fingers:
        _draw(lambda: check_sheet(e), out or runs_dir() / "embodiments" / f"{e.name}.png")
    if json_out:
        json_out.write_text(json.dumps(report.to_json(), indent=1))
    raise typer.Exit(int(report.failed))


@app.command("gallery")
def embodiments_gallery(
    names: Annotated[Optional[list[str]], typer.Argument(help="Names or YAML files; default: all.")] = None,
    out: Annotated[Path, typer.Option(help="The image.")] = Path("gallery.png"),
    width: Annotated[int, typer.Option(help="Of the image, in pixels.", min=300)] = 1600,
) -> None:
    """Draw embodiments side by side, each in the poses of a person's hand."""
    from latent_policy_ros.embodiments import list_embodiments, load_embodiment
    from latent_policy_ros.sim.portraits.gallery import gallery

    embodiments = [load_embodiment(name) for name in names or list_embodiments()]
    _draw(lambda: gallery([e for e in embodiments if e.kind != "human"], width), out)


def _draw(image: Callable[[], np.ndarray], path: Path) -> None:
    """Save an image if this machine can draw; say so in one line if not."""
    from latent_policy_ros.common.errors import HardwareError
    from latent_policy_ros.sim.portraits.gallery import save

    try:
        save(image(), path)
    except HardwareError as error:
        print_line(str(error), "no image:", "yellow")
    else:
        print_line(f"image: {path}")
