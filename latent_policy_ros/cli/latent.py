"""``latent-policy latent``: report on a latent space, and add an embodiment to it."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Optional

import typer

from latent_policy_ros.cli.common import LayoutOption, SideOption, UnitsOption, console, print_table
from latent_policy_ros.common.paths import artifact

app = typer.Typer(no_args_is_help=True, help="Report on a latent space, or add an embodiment to it.")

LatentArgument = Annotated[str, typer.Argument(help="A latent space: its folder, or a name in config/latents.")]


@app.command("report")
def report_command(
    out: Annotated[Path, typer.Option("-o", "--out", help="Folder for the page.")],
    latent: LatentArgument = "default",
    recordings: Annotated[
        Optional[list[Path]], typer.Option(help="A recording of a person's hand (.npz, .csv, a bag) to measure on. Repeatable.")
    ] = None,
    side: SideOption = "auto",
    layout: LayoutOption = "auto",
    units: UnitsOption = "m",
) -> None:  # fmt: skip
    """One page: how well every embodiment decodes what every other encodes, a map, and hands in images."""
    from latent_policy_ros.data.hand_recordings import read_hand_recording
    from latent_policy_ros.embodiments.human.hand_input import canonical_hands
    from latent_policy_ros.latent import LatentSpace
    from latent_policy_ros.latent.report import write_report

    hands = {}
    for file in recordings or []:
        found = canonical_hands(read_hand_recording(file).points, layout, units, side)
        hands[file.stem] = found.keypoints[found.valid]
    file = write_report(LatentSpace.load(artifact("latents", latent)), out, hands, console)
    console.print(f"wrote {file}", highlight=False)


@app.command("add")
def add_command(
    embodiment: Annotated[str, typer.Argument(help="The new embodiment: its YAML file, or a name.")],
    to: Annotated[str, typer.Option("--to", help="The latent space: its folder, or a name in config/latents.")],
    out: Annotated[Optional[Path], typer.Option("-o", "--out", help="Leave that folder alone and write a copy here.")] = None,
) -> None:
    """Fit a new embodiment to a latent space, without demonstrations; every policy made for it can then drive it."""
    from latent_policy_ros.embodiments import load_embodiment
    from latent_policy_ros.latent.add import add_to_folder
    from latent_policy_ros.latent.metrics import report_table

    folder, new = artifact("latents", to), load_embodiment(embodiment)
    _, measures = add_to_folder(new, folder, out, console)
    print_table(report_table(measures, new.name))
    console.print(f"added to {out or folder}", highlight=False)
