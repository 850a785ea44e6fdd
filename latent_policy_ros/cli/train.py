"""``latent-policy train``: train a latent space, or a policy."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Optional

import typer

from latent_policy_ros.cli.common import LatentOption, console
from latent_policy_ros.common.paths import artifact

app = typer.Typer(no_args_is_help=True, rich_markup_mode="markdown", help="Train a latent space, or a policy.")

PRESETS = {"default": "latent", "paper": "latent_paper"}  # names in config/training


@app.command("latent")
def train_latent_command(
    out: Annotated[Path, typer.Option("-o", "--out", help="Folder for the latent space.")],
    preset: Annotated[
        str, typer.Option(help="Settings: default, paper (Bauer et al. 2025), or a YAML file.")
    ] = "default",
) -> None:  # fmt: skip
    """Train a latent space: contrastive encoders and decoders on retargeted pairs of human motion.

    Example:

        latent-policy train latent -o runs/latent
    """
    from latent_policy_ros.latent.training import train_latent_from_settings

    train_latent_from_settings(PRESETS.get(preset, preset), out, console)


@app.command("policy")
def train_policy_command(
    data: Annotated[list[Path], typer.Argument(help="Data sets, or folders of data sets; all train the same policy.")],
    out: Annotated[Path, typer.Option("-o", "--out", help="Folder for the policy and its training state.")],
    latent: LatentOption = "default",
    settings: Annotated[str, typer.Option(help="Settings: a YAML file, or a name in `config/training`.")] = "policy",
    start: Annotated[
        Optional[str], typer.Option("--from", help="Start from the weights of this policy, of any latent space.")
    ] = None,
    fresh: Annotated[bool, typer.Option("--fresh", help="Discard an earlier training state in the output folder.")] = False,
    device: Annotated[str, typer.Option(help="Device of the network: auto, cpu, or cuda:N.")] = "auto",
    workers: Annotated[
        Optional[int], typer.Option(min=0, help="Processes that read images; default: none on a CPU, up to 8 beside a GPU.")
    ] = None,
    log: Annotated[str, typer.Option(help="Log the losses to tensorboard (in the output folder), wandb or trackio.")] = "",
) -> None:  # fmt: skip
    """Train a latent diffusion policy. Ctrl-C saves the training state; the same command resumes.

    Started by `accelerate launch` or `torchrun`, several processes train one policy. Each takes `batch_size` observations per step.

    Examples:

        latent-policy train policy runs/data -o runs/policy
        latent-policy train policy runs/data -o runs/tuned --from default
        torchrun --nproc-per-node 4 -m latent_policy_ros.cli train policy runs/data -o runs/policy
    """
    from latent_policy_ros.policy.training.processes import Share
    from latent_policy_ros.policy.training.train import train_policy_from_settings
    from latent_policy_ros.policy.training.trainer import RunOptions

    begin = artifact("policies", start) if start else None
    options = RunOptions(device, workers, log, Share.from_environment())
    train_policy_from_settings(settings, data, artifact("latents", latent), out, not fresh, console, begin, options)
