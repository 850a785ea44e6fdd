"""``latent-policy eval``: success rate of a policy in simulation."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Optional

import typer
from rich.table import Table

from latent_policy_ros.cli.common import (
    DEMO_EMBODIMENTS,
    EVALUATION_SEED,
    LatentOption,
    PolicyOption,
    SimulatedArmOption,
    TaskOption,
    print_table,
    progress_bar,
)
from latent_policy_ros.common.paths import artifact


def evaluate_command(
    policy: PolicyOption = "default",
    latent: LatentOption = "default",
    embodiment: Annotated[
        Optional[list[str]], typer.Option(help="Embodiment to evaluate. Repeatable; default: those of the demo.")
    ] = None,
    episodes: Annotated[int, typer.Option(min=1, help="Episodes for each embodiment.")] = 100,
    first_seed: Annotated[
        int, typer.Option(help="Seed of the first episode; each further episode adds 1.")
    ] = EVALUATION_SEED,
    latency: Annotated[float, typer.Option(min=0, help="Simulated time from an observation to its action chunk [s].")] = 0.08,
    workers: Annotated[int, typer.Option(min=1, help="Number of worker processes.")] = 2,
    json_out: Annotated[Optional[Path], typer.Option("--json", help="Also write every rollout to this file.")] = None,
    task: TaskOption = "cube_in_box",
    arm: SimulatedArmOption = "panda",
) -> None:  # fmt: skip
    """Measure the success rate of a policy in simulation, with 95% Wilson intervals.

    Example:

        latent-policy eval --policy runs/policy --embodiment mimic_hand --episodes 50
    """
    import json
    from dataclasses import asdict

    from latent_policy_ros.embodiments import load_embodiment
    from latent_policy_ros.sim.evaluation import evaluate, wilson_interval

    chosen = {load_embodiment(name).name: name for name in embodiment or DEMO_EMBODIMENTS}
    seeds = range(first_seed, first_seed + episodes)
    with progress_bar() as progress:
        bar = progress.add_task("rollouts", total=len(chosen) * episodes)
        results = evaluate(
            artifact("policies", policy),
            artifact("latents", latent),
            list(chosen.values()),
            seeds,
            workers=workers,
            task=task,
            arm=arm,
            latency=latency,
            on_result=lambda _: progress.advance(bar),
        )
    table = Table("embodiment", "success", "95% interval", "median time [s]", title=f"{policy}: {episodes} episodes each")
    for name in chosen:
        rollouts = [r for r in results if r.embodiment == name]
        times = sorted(r.seconds for r in rollouts if r.success)
        low, high = wilson_interval(len(times), len(rollouts))
        median = f"{times[len(times) // 2]:.1f}" if times else "-"
        success = f"{len(times)}/{len(rollouts)} = {len(times) / len(rollouts):.0%}"
        table.add_row(name, success, f"{low:.0%} .. {high:.0%}", median)
    print_table(table)
    if json_out:
        json_out.write_text(json.dumps([asdict(r) for r in results], indent=1))
