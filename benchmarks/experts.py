"""Success of the scripted experts: every simulated end-effector with every task, without cameras or disturbances.

    python benchmarks/experts.py [--episodes 100] [--task stack_blocks] [--embodiment orca_hand] [--embodiment my_hand.yaml]

Prints a table with 95% Wilson intervals and the seeds that failed. All tasks with 100 episodes take 40 core minutes.
"""

from __future__ import annotations

import argparse
import os
from collections import Counter, defaultdict
from itertools import product

os.environ.update(OMP_NUM_THREADS="1", OPENBLAS_NUM_THREADS="1")

from rich.console import Console

from latent_policy_ros.common.errors import LatentPolicyError
from latent_policy_ros.common.parallel import Workers
from latent_policy_ros.common.progress import training_progress
from latent_policy_ros.embodiments import list_embodiments, load_embodiment
from latent_policy_ros.sim.demonstrations.recording import demonstrate
from latent_policy_ros.sim.evaluation import wilson_interval
from latent_policy_ros.sim.tasks.registry import TASKS
from latent_policy_ros.sim.world import World

FIRST_SEED = 4_000_000  # used by no demonstration, and by no other evaluation
SEEDS_PER_JOB = 10


def run(job: tuple[str, str, range]) -> tuple[str, str, dict[int, str]]:
    """Demonstrate a task with every seed.

    Returns:
        Task, end-effector, and outcome of each seed: empty for a success, else the reason of the failure.
    """
    task, embodiment, seeds = job
    world, outcomes = World(embodiment, task, cameras=()), {}
    for seed in seeds:
        world.reset(seed)
        try:
            outcomes[seed] = "" if demonstrate(world, world.task.expert(world)) else "not done at the end of the plan"
        except LatentPolicyError as error:
            outcomes[seed] = str(error)
    return task, embodiment, outcomes


def table(results: dict[tuple[str, str], dict[int, str]], tasks: list[str], embodiments: list[str]) -> str:
    """Successes and intervals as a Markdown table, one row for each end-effector."""
    lines = ["| end-effector | " + " | ".join(f"`{task}`" for task in tasks) + " |", "|---" * (len(tasks) + 1) + "|"]
    for embodiment in embodiments:
        cells = []
        for task in tasks:
            outcomes = results[task, embodiment]
            won = sum(not reason for reason in outcomes.values())
            low, high = wilson_interval(won, len(outcomes))
            cells.append(f"{won}/{len(outcomes)}, {low:.0%} .. {high:.0%}")
        lines.append(f"| `{embodiment}` | " + " | ".join(cells) + " |")
    return "\n".join(lines)


def main() -> None:
    simulated = [name for name in list_embodiments() if load_embodiment(name).servo is not None]
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--task", action="append", choices=TASKS.names(), help="repeatable; default: all")
    parser.add_argument("--embodiment", action="append", help="a name, or a YAML file; repeatable; default: all")
    parser.add_argument("--episodes", type=int, default=100)
    parser.add_argument("--first-seed", type=int, default=FIRST_SEED)
    parser.add_argument("--workers", type=int, default=2)
    args = parser.parse_args()
    tasks, embodiments = args.task or list(TASKS.names()), args.embodiment or simulated
    for name in embodiments:
        try:
            if load_embodiment(name).servo is None:
                parser.error(f"--embodiment {name}: has no joints to simulate; available: {', '.join(simulated)}")
        except LatentPolicyError as error:
            parser.error(f"--embodiment {name}: {error}")
    results: dict[tuple[str, str], dict[int, str]] = defaultdict(dict)
    last = args.first_seed + args.episodes
    total = len(tasks) * len(embodiments) * args.episodes
    with training_progress(Console(stderr=True), total, "episodes") as advance:
        parts = [range(first, min(first + SEEDS_PER_JOB, last)) for first in range(args.first_seed, last, SEEDS_PER_JOB)]
        for task, embodiment, outcomes in Workers(args.workers).run(run, list(product(tasks, embodiments, parts))):
            results[task, embodiment].update(outcomes)
            for _ in outcomes:
                advance(None)
    for (task, embodiment), outcomes in sorted(results.items()):
        for reason, count in Counter(filter(None, outcomes.values())).items():
            seeds = [str(seed) for seed, outcome in sorted(outcomes.items()) if outcome == reason]
            print(f"{task}, {embodiment}: {count} failed: {reason} (seeds {', '.join(seeds)})")
    print(table(results, tasks, embodiments))


if __name__ == "__main__":
    main()
