"""``latent-policy dataset``: make training data, and look at it."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Optional

import typer

from latent_policy_ros.cli.common import DEMO_EMBODIMENTS, console, progress_bar

app = typer.Typer(no_args_is_help=True, help="Make training data, and look at it.")


@app.command("from-sim")
def from_sim(
    out: Annotated[Path, typer.Option("-o", "--out", help="Folder; one subfolder for each embodiment.")],
    embodiment: Annotated[Optional[list[str]], typer.Option(help="Repeatable; default: those of the demo.")] = None,
    episodes: Annotated[int, typer.Option(min=1, help="Demonstrations for each embodiment.")] = 300,
    first_seed: Annotated[int, typer.Option(help="First seed.")] = 0,
    workers: Annotated[int, typer.Option(min=1, help="Processes.")] = 2,
) -> None:
    """Record the scripted expert, headless and seeded. Episodes that exist already are kept: run again to resume."""
    from latent_policy_ros.sim.generate import generate_episodes

    for name in embodiment or DEMO_EMBODIMENTS:
        with progress_bar() as progress:
            task = progress.add_task(name, total=episodes)
            report = generate_episodes(
                name, range(first_seed, first_seed + episodes), out / name, workers=workers,
                progress=lambda *_, task=task: progress.advance(task),
            )
        console.print(f"{name}: {report}")
