"""``latent-policy embodiments``: list, show and check end-effectors."""

from __future__ import annotations

from typing import Annotated

import typer
from rich.table import Table

from latent_policy_ros.cli.common import console

app = typer.Typer(no_args_is_help=True, help="List, show and check end-effectors.")


@app.command("list")
def embodiments_list() -> None:
    """The embodiments that are shipped, with their numbers of joints."""
    from latent_policy_ros.embodiments import list_embodiments, load_embodiment

    table = Table("name", "kind", "actuated", "hinges", "action")
    for name in list_embodiments():
        e = load_embodiment(name)
        table.add_row(name, e.kind, str(len(e.joint_names)), str(len(e.hinges)), str(e.action_dim))
    console.print(table)


@app.command("show")
def embodiments_show(name: Annotated[str, typer.Argument(help="A name from `list`, or a YAML file.")]) -> None:
    """Joints, limits and fingertips of an embodiment. Loading validates: a wrong file says what to change."""
    from latent_policy_ros.embodiments import load_embodiment

    e = load_embodiment(name)
    table = Table("joint", "lower", "upper", "max velocity", "rest", title=f"{e.name} ({e.kind})  {e.content_hash[:12]}")
    for row in zip(e.joint_names, e.lower, e.upper, e.max_velocity, e.rest):
        table.add_row(row[0], *(f"{value:.3f}" for value in row[1:]))
    console.print(table)
    console.print("fingertips: " + ", ".join(e.fingertips))
