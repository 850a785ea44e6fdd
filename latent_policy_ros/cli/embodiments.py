"""``latent-policy embodiments``: list, show, check and draw embodiments."""

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

app = typer.Typer(no_args_is_help=True, rich_markup_mode="markdown")


@app.callback()
def _group_options(
    embodiments_dir: Annotated[
        Optional[list[Path]],
        typer.Option(help="Folder with your own embodiment files, besides `$LATENT_POLICY_EMBODIMENTS`. Repeatable."),
    ] = None,
) -> None:
    """List, show, check and draw embodiments (end-effectors)."""
    from latent_policy_ros.embodiments.model.catalogue import FOLDERS_VARIABLE

    if embodiments_dir:  # an environment variable also reaches worker processes
        known = [text for text in os.environ.get(FOLDERS_VARIABLE, "").split(os.pathsep) if text]
        folders = [str(folder.expanduser().resolve()) for folder in embodiments_dir]
        os.environ[FOLDERS_VARIABLE] = os.pathsep.join([*folders, *known])


@app.command("list")
def embodiments_list() -> None:
    """List the embodiments, shipped and own. Hands of the other side are named `NAME_left` and `NAME_right`."""
    from latent_policy_ros.embodiments import load_embodiment
    from latent_policy_ros.embodiments.model.catalogue import embodiment_files, shipped_folder

    numbers = [Column(name, no_wrap=True) for name in ("fingers", "actuated", "hinges", "action")]
    table = Table("name", "kind", "sides", *numbers, "from", **COMPACT)
    invalid = []
    for name, file in sorted(embodiment_files().items()):
        origin = "shipped" if file.parent == shipped_folder() else str(file.parent)
        try:
            e = load_embodiment(name)
        except ConfigError as error:
            invalid.append(error)
            table.add_row(name, Text("invalid", "red"), *[""] * 5, origin)
            continue
        sides = e.side if e.kind == "gripper" else "left right"
        counts = len(e.fingertips) or 5, len(e.joint_names), len(e.hinges), e.action_dim
        table.add_row(name, e.kind, sides, *map(str, counts), origin)
    print_table(table)
    for problem in invalid:
        print_line(str(problem), "error:", "red")
    raise typer.Exit(2 if invalid else 0)


@app.command("show")
def embodiments_show(name: Annotated[str, typer.Argument(help="A name from `list`, or a YAML file.")]) -> None:
    """Show the joints, limits, couplings, hand frame and fingertips of an embodiment, after validating its file."""
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
    print_line(f"hand frame: origin {(1e3 * origin).round(1).tolist()} mm in the palm frame (base link); {axes}")
    for finger, tip in e.fingertips.items():
        point = ", ".join(f"{value * 1e3:.1f}" for value in tip.point)
        print_line(f"fingertip {finger}: on {tip.hinge}, at [{point}] mm in the palm frame at zero joint positions")
    for note in e.notes:
        print_line(f"note: {note}")
    print_line(f"file: {e.file}")


@app.command("check")
def embodiments_check(
    name: Annotated[str, typer.Argument(help="A name from `list`, or a YAML file.")],
    out: Annotated[Optional[Path], typer.Option(help="Path of the image; default `runs/embodiments/NAME.png`.")] = None,
    json_out: Annotated[Optional[Path], typer.Option("--json", help="Also write all figures to this file.")] = None,
) -> None:
    """Check an embodiment: reach, limits, self-collisions and pinches, with an image.

    Exit status 1 if a check fails.

    Example:

        latent-policy embodiments check my_hand.yaml
    """
    import json

    from latent_policy_ros.cli.check_report import print_report
    from latent_policy_ros.common.paths import runs_dir
    from latent_policy_ros.embodiments import load_embodiment
    from latent_policy_ros.retargeting.checks.embodiment_check import check_embodiment
    from latent_policy_ros.retargeting.checks.pinches import shipped_pinches
    from latent_policy_ros.sim.hand_images.gallery import check_sheet

    e = load_embodiment(name)
    report = check_embodiment(e, shipped_pinches())
    print_report(report, console)
    if report.fingers:
        _draw(lambda: check_sheet(e), out or runs_dir() / "embodiments" / f"{e.name}.png")
    if json_out:
        json_out.write_text(json.dumps(report.to_json(), indent=1))
    raise typer.Exit(int(report.failed))


@app.command("gallery")
def embodiments_gallery(
    names: Annotated[Optional[list[str]], typer.Argument(help="Embodiments: names or YAML files; default: all.")] = None,
    out: Annotated[Path, typer.Option(help="Path of the image.")] = Path("gallery.png"),
    width: Annotated[int, typer.Option(help="Width of the image [px].", min=300)] = 1600,
) -> None:
    """Draw embodiments side by side, each retargeted to the same poses of a human hand."""
    from latent_policy_ros.embodiments import list_embodiments, load_embodiment
    from latent_policy_ros.sim.hand_images.gallery import gallery

    embodiments = [load_embodiment(name) for name in names or list_embodiments()]
    _draw(lambda: gallery([e for e in embodiments if e.kind != "human"], width), out)


def _draw(image: Callable[[], np.ndarray], path: Path) -> None:
    """Save an image; print the reason if this machine cannot render."""
    from latent_policy_ros.common.errors import HardwareError
    from latent_policy_ros.sim.hand_images.gallery import save

    try:
        save(image(), path)
    except HardwareError as error:
        print_line(str(error), "no image:", "yellow")
    else:
        print_line(f"image: {path}")
