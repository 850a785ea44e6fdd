"""What the commands share: the console, progress bars, and options that appear in several of them."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn
from rich.text import Text

console = Console(markup=False)  # brackets are units, and what people are to type
errors = Console(markup=False, stderr=True)

DEMO_EMBODIMENTS = ("mimic_hand", "panda_gripper")

LatentOption = Annotated[str, typer.Option("--latent", help="A latent space: its folder, or a name in config/latents.")]
PolicyOption = Annotated[str, typer.Option("--policy", help="A policy: its folder, or a name in config/policies.")]


def tell(text: str, word: str = "", style: str = "", to: Console | None = None) -> None:
    """Print a line as it is, however long; ``word`` before it in a style of its own."""
    (to or console).print(Text.assemble((word, style), " " if word else "", text), highlight=False, soft_wrap=True)


def artifact_folder(kind: str, name: str) -> Path:
    """The folder of a latent space or policy, given or shipped."""
    from latent_policy_ros.paths import artifact

    return artifact(kind, name)


def progress_bar() -> Progress:
    """Done of all, and the time that is left."""
    columns = TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn()
    return Progress(*columns, console=console)
