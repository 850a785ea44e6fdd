"""What the commands share: the console, progress bars, and options that appear in several of them."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn
from rich.table import Table
from rich.text import Text

console = Console(markup=False)  # brackets are units, and what people are to type
errors = Console(markup=False, stderr=True)

WIDEST = 10_000  # columns; wider than any table
SIMPLE = {"box": None, "pad_edge": False, "collapse_padding": True}  # of tables that hardly fit into 80 columns

DEMO_EMBODIMENTS = ("mimic_hand", "panda_gripper")

LatentOption = Annotated[str, typer.Option("--latent", help="A latent space: its folder, or a name in config/latents.")]
SideOption = Annotated[str, typer.Option("--side", help="Of the keypoints: left, right, or auto: told by how the hand bends.")]
LayoutOption = Annotated[str, typer.Option("--layout", help="Of the keypoints: auto, mediapipe, mano, manus, webxr or openxr.")]
UnitsOption = Annotated[str, typer.Option("--units", help="Of the keypoints: m, cm or mm.")]
PolicyOption = Annotated[str, typer.Option("--policy", help="A policy: its folder, or a name in config/policies.")]


def tell(text: str, word: str = "", style: str = "", to: Console | None = None) -> None:
    """Print a line as it is, however long; ``word`` before it in a style of its own."""
    (to or console).print(Text.assemble((word, style), " " if word else "", text), highlight=False, soft_wrap=True)


def show(table: Table, to: Console | None = None) -> None:
    """Print a table whole: a terminal's width folds long cells, and in a file or pipe it is as wide as it must be."""
    to = to or console
    for column in table.columns:
        column.overflow = "fold"
    if not to.is_terminal:
        width = table.__rich_measure__(to, to.options.update(max_width=WIDEST)).maximum
        to = Console(markup=False, file=to.file, width=width)
    to.print(table)


def artifact_folder(kind: str, name: str) -> Path:
    """The folder of a latent space or policy, given or shipped."""
    from latent_policy_ros.common.paths import artifact

    return artifact(kind, name)


def progress_bar() -> Progress:
    """Done of all, and the time that is left."""
    columns = TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn()
    return Progress(*columns, console=console)
