"""``latent-policy eval``: success rate of a policy in simulation."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Optional

import typer
from rich.table import Table

from latent_policy_ros.cli.common import (
    DEMO_EMBODIMENTS,
    EVALUATION_SEED,
    AddressOption,
    BackendOption,
    LatentOption,
    PolicyOption,
    ShardOption,
    SimulatedArmOption,
    TaskOption,
    WorkersOption,
    print_table,
    progress_bar,
)
from latent_policy_ros.common.errors import LatentPolicyError
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
    sampling_steps: Annotated[
        int, typer.Option(min=0, help="Sampling steps of an action chunk; 0: as the policy was trained for.")
    ] = 0,
    workers: WorkersOption = 2,
    backend: BackendOption = "loky",
    address: AddressOption = None,
    results: Annotated[
        Optional[Path], typer.Option(help="Folder of finished rollouts: they are stored there and not run again.")
    ] = None,
    shard: ShardOption = "1/1",
    json_out: Annotated[Optional[Path], typer.Option("--json", help="Also write every rollout to this file.")] = None,
    task: TaskOption = "cube_in_box",
    arm: SimulatedArmOption = "panda",
) -> None:  # fmt: skip
    """Measure the success rate of a policy in simulation, with 95% Wilson intervals.

    Examples:

        latent-policy eval --policy runs/policy --embodiment mimic_hand --episodes 50
        latent-policy eval --episodes 400 --results runs/eval --backend ray --address auto
    """
    import json
    from dataclasses import asdict

    from latent_policy_ros.common.parallel import Shard, Workers
    from latent_policy_ros.embodiments import load_embodiment
    from latent_policy_ros.sim.evaluation import evaluate, wilson_interval

    chosen = {load_embodiment(name).name: name for name in embodiment or DEMO_EMBODIMENTS}
    seeds, part = range(first_seed, first_seed + episodes), Shard.parse(shard)
    if part.count > 1 and not results:
        raise LatentPolicyError("--shard: needs --results, a folder in which the parts store their rollouts")
    sampling = {"sampling_steps": sampling_steps} if sampling_steps else {}
    with progress_bar() as progress:
        bar = progress.add_task("rollouts", total=len(chosen) * episodes // part.count)
        done = evaluate(
            artifact("policies", policy),
            artifact("latents", latent),
            list(chosen.values()),
            seeds,
            workers=Workers(workers, backend, address),
            results=results,
            shard=part,
            task=task,
            arm=arm,
            latency=latency,
            **sampling,
            on_result=lambda _: progress.advance(bar),
        )
    table = Table("embodiment", "success", "95% interval", "median time [s]", title=f"{policy}: {episodes} episodes each")
    for name in chosen:
        rollouts = [r for r in done if r.embodiment == name]
        if not rollouts:  # none in this shard
            continue
        times = sorted(r.seconds for r in rollouts if r.success)
        low, high = wilson_interval(len(times), len(rollouts))
        median = f"{times[len(times) // 2]:.1f}" if times else "-"
        success = f"{len(times)}/{len(rollouts)} = {len(times) / len(rollouts):.0%}"
        table.add_row(name, success, f"{low:.0%} .. {high:.0%}", median)
    print_table(table)
    if json_out:
        json_out.write_text(json.dumps([asdict(r) for r in done], indent=1))
