"""Shared by the commands: consoles, tables, progress bars, and options that several commands have."""

from __future__ import annotations

import subprocess
import sys
from typing import Annotated, Any, Optional

import typer
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn
from rich.table import Table
from rich.text import Text

console = Console(markup=False)  # brackets stand for units and YAML lists, not for rich's markup
error_console = Console(markup=False, stderr=True)

MAX_TABLE_WIDTH = 10_000  # columns, when the output is a file or a pipe
COMPACT: dict[str, Any] = {
    "box": None,
    "pad_edge": False,
    "collapse_padding": True,
}  # for tables of about 80 columns

DEMO_EMBODIMENTS = ("mimic_hand", "panda_gripper")
DEMO_ROUNDS = (*DEMO_EMBODIMENTS, "leap_hand", "robotiq_2f85")  # two at a time
EVALUATION_SEED = 1_000_000  # first seed of evaluation and demo; training data uses seeds far below

FleetArgument = Annotated[str, typer.Argument(help="Fleet: a YAML file, or a name in `config/robots`.")]
LatentOption = Annotated[str, typer.Option("--latent", help="Latent space: a folder, or a name in `config/latents`.")]
PolicyOption = Annotated[str, typer.Option("--policy", help="Policy: a folder, or a name in `config/policies`.")]
SideOption = Annotated[str, typer.Option("--side", help="Side of the hand that the keypoints show: left, right, or auto.")]
EntryOption = Annotated[str, typer.Option("--entry", help="Array, topic or hand (left, right) of a recording that holds several.")]
LayoutOption = Annotated[
    str, typer.Option("--layout", help="Order of the keypoints: auto, mediapipe, mano, manus, webxr or openxr.")
]
UnitsOption = Annotated[str, typer.Option("--units", help="Unit of the keypoints: m, cm or mm.")]
TaskOption = Annotated[
    str,
    typer.Option(
        "--task",
        help="Simulated task: cube_in_box, lift_cube, object_in_box, open_drawer, stack_blocks, or one of another package.",
    ),
]
SimulatedArmOption = Annotated[str, typer.Option("--arm", help="Simulated arm: a name in `config/arms`, or a YAML file.")]
WorkersOption = Annotated[int, typer.Option("--workers", min=1, help="Number of processes.")]
BackendOption = Annotated[
    str, typer.Option("--backend", help="Where the processes run: loky (this machine), or a cluster of ray or dask.")
]
AddressOption = Annotated[
    Optional[str], typer.Option("--address", help="Address of the cluster, e.g. ray://head:10001 or tcp://scheduler:8786.")
]
ShardOption = Annotated[
    str,
    typer.Option(
        "--shard",
        metavar="NUMBER/COUNT",
        help="Run one of COUNT equal parts, e.g. in a job of a Slurm array. The same command without it completes the result.",
    ),
]
DryRunOption = Annotated[bool, typer.Option("--dry-run", help="Print the nodes and their parameters, and start nothing.")]


def print_line(text: str, prefix: str = "", style: str = "", to: Console | None = None) -> None:
    """Print one line without wrapping it.

    Args:
        text: The line.
        prefix: Word printed before the line.
        style: Style of the prefix, e.g. ``bold red``.
        to: Console; default stdout.
    """
    (to or console).print(Text.assemble((prefix, style), " " if prefix else "", text), highlight=False, soft_wrap=True)


def call_trigger(service: str) -> int:
    """Call a service of type std_srvs/Trigger and print its answer; returns the exit status, 0 if it succeeded."""
    from latent_policy_ros.common.ros_environment import node_environment

    command = [sys.executable, "-m", "latent_policy_ros.nodes.base.trigger_client", service]
    return subprocess.run(command, env=node_environment(), check=False).returncode


def print_table(table: Table, to: Console | None = None) -> None:
    """Print a table without truncating a cell: a terminal folds long cells, a file or pipe gets the full width."""
    to = to or console
    for column in table.columns:
        column.overflow = "fold"
    if not to.is_terminal:
        width = table.__rich_measure__(to, to.options.update(max_width=MAX_TABLE_WIDTH)).maximum
        to = Console(markup=False, file=to.file, width=width)
    to.print(table)


def progress_bar() -> Progress:
    """A progress bar with a count and the remaining time."""
    columns = TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn()
    return Progress(*columns, console=console)
