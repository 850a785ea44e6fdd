"""``latent-policy latent``: report on a latent space, and add an embodiment to it."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Optional

import typer

from latent_policy_ros.cli.common import EntryOption, LayoutOption, SideOption, UnitsOption, console, print_table
from latent_policy_ros.common.paths import artifact

app = typer.Typer(no_args_is_help=True, rich_markup_mode="markdown", help="Report on a latent space, or add an embodiment to it.")

LatentArgument = Annotated[str, typer.Argument(help="Latent space: a folder, or a name in `config/latents`.")]


@app.command("report")
def report_command(
    out: Annotated[Path, typer.Option("-o", "--out", help="Folder for the report.")],
    latent: LatentArgument = "default",
    recordings: Annotated[
        Optional[list[Path]], typer.Option(help="Hand recording (.npz, .csv, a bag) to evaluate on. Repeatable.")
    ] = None,
    entry: EntryOption = "",
    side: SideOption = "auto",
    layout: LayoutOption = "auto",
    units: UnitsOption = "m",
) -> None:  # fmt: skip
    """Write a report: reconstruction between all pairs of embodiments, a map of the latents, and images of the hands."""
    from latent_policy_ros.data.hand_recordings import read_hand_recording
    from latent_policy_ros.latent import LatentSpace
    from latent_policy_ros.latent.report import write_report

    hands = {}
    for file in recordings or []:
        found = read_hand_recording(file, entry).hands(layout, units, side)
        hands[file.stem] = found.keypoints[found.valid]
    file = write_report(LatentSpace.load(artifact("latents", latent)), out, hands, console)
    console.print(f"wrote {file}", highlight=False)


@app.command("add")
def add_command(
    embodiment: Annotated[str, typer.Argument(help="New embodiment: a name, or a YAML file.")],
    to: Annotated[str, typer.Option("--to", help="Latent space: a folder, or a name in `config/latents`.")],
    out: Annotated[
        Optional[Path], typer.Option("-o", "--out", help="Write the result to this folder and leave the latent space unchanged.")
    ] = None,
) -> None:
    """Add an embodiment to a latent space, without demonstrations.

    Trains an encoder and a decoder of the new embodiment and leaves all others unchanged. Every policy of the latent space
    can then control it.

    Example:

        latent-policy latent add leap_hand --to default -o runs/latent
    """
    from latent_policy_ros.embodiments import load_embodiment
    from latent_policy_ros.latent.add import add_to_folder
    from latent_policy_ros.latent.metrics import report_table

    folder, new = artifact("latents", to), load_embodiment(embodiment)
    _, measures = add_to_folder(new, folder, out, console)
    print_table(report_table(measures, new.name))
    console.print(f"added to {out or folder}", highlight=False)
