"""``latent-policy latent``: report on a latent space, add an embodiment to it, and refit one of its embodiments."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Optional

import typer

from latent_policy_ros.cli.common import EntryOption, LayoutOption, SideOption, UnitsOption, console, print_table
from latent_policy_ros.common.paths import artifact

app = typer.Typer(no_args_is_help=True, rich_markup_mode="markdown", help="Report on a latent space; add or refit embodiments.")

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


@app.command("refit")
def refit_command(
    embodiment: Annotated[str, typer.Argument(help="Embodiment that the latent space was trained with: a name, or a YAML file.")],
    latent: Annotated[str, typer.Option("--in", help="Latent space: a folder, or a name in `config/latents`.")],
    out: Annotated[Path, typer.Option("-o", "--out", help="Folder for the new latent space, and for the policy.")],
    policy: Annotated[
        str, typer.Option(help="Policy to be written for the new latent space: a folder, or a name in `config/policies`.")
    ] = "",
) -> None:  # fmt: skip
    """Fit an embodiment of a latent space anew, e.g. after its retargeting was changed.

    Trains its encoder and decoder and leaves all others unchanged. The id of the latent space changes. Policies of the space keep
    their meaning; with `--policy`, one is written for the new id, with the same weights.

    Example:

        latent-policy latent refit allegro_hand --in default --policy default -o runs/refitted
    """
    from latent_policy_ros.common.errors import ArtifactError
    from latent_policy_ros.embodiments import load_embodiment
    from latent_policy_ros.latent import LatentSpace
    from latent_policy_ros.latent.add import refit_in_folder
    from latent_policy_ros.latent.metrics import report_table
    from latent_policy_ros.policy.checkpoint import Checkpoint

    folder, chosen = artifact("latents", latent), load_embodiment(embodiment)
    checkpoint = Checkpoint.load(artifact("policies", policy)) if policy else None
    if checkpoint is not None and checkpoint.latent_id != (latent_id := LatentSpace.load(folder).latent_id):
        raise ArtifactError(f"policy {policy} is for latent space {checkpoint.latent_id[:12]}, got {latent_id[:12]} in {folder}")
    space, measures = refit_in_folder(chosen, folder, out, console)
    if checkpoint is not None:
        checkpoint.for_refitted_space(space).save(out)
    print_table(report_table(measures, chosen.name))
    console.print(f"latent space {space.latent_id[:12]} in {out}", highlight=False)
