"""``latent-policy train``: the latent space, or a policy in it."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Optional

import typer

from latent_policy_ros.cli.common import LatentOption, console
from latent_policy_ros.common.paths import artifact

app = typer.Typer(no_args_is_help=True, help="Train the latent space, or a policy in it.")


PRESETS = {"default": "latent", "paper": "latent_paper"}  # in config/training


@app.command("latent")
def train_latent_command(
    out: Annotated[Path, typer.Option("-o", "--out", help="Folder for the latent space.")],
    preset: Annotated[
        str, typer.Option(help="default (ours), paper (Bauer et al. 2025), or a YAML file with settings of your own.")
    ] = "default",
) -> None:
    """Human motion -> retargeted pairs -> contrastive encoders and decoders: the shared latent space."""
    from latent_policy_ros.latent.training import train_latent_from_settings

    train_latent_from_settings(PRESETS.get(preset, preset), out, console)


@app.command("policy")
def train_policy_command(
    data: Annotated[list[Path], typer.Argument(help="Folders of episodes; every embodiment's trains the one policy.")],
    out: Annotated[Path, typer.Option("-o", "--out", help="Folder for the policy and its training state.")],
    latent: LatentOption = "default",
    settings: Annotated[str, typer.Option(help="Settings: a YAML file, or a name in config/training.")] = "policy",
    start: Annotated[
        Optional[str], typer.Option("--from", help="Begin with the weights of this policy, of any latent space.")
    ] = None,
    fresh: Annotated[bool, typer.Option("--fresh", help="Start over instead of resuming.")] = False,
) -> None:
    """Train the latent diffusion policy. Ctrl-C saves; the same command resumes."""
    from latent_policy_ros.policy.training.train import train_policy_from_settings

    begin = artifact("policies", start) if start else None
    train_policy_from_settings(settings, data, artifact("latents", latent), out, not fresh, console, begin)
