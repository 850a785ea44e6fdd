"""Rollouts on a local Ray cluster compared with those of this machine's processes, seed by seed, while Ray workers are killed.

    .venv/bin/python benchmarks/cluster_rollouts.py          # 400 rollouts twice; 20 core minutes

Ray runs with two workers. Each time another eighth of its rollouts is done, a busy worker gets SIGKILL. The command fails if a
result is missing or differs.
"""

from __future__ import annotations

import argparse
import signal
import sys
import time
from collections.abc import Callable

import psutil
from rich.console import Console

from latent_policy_ros.common.parallel import Workers
from latent_policy_ros.common.paths import artifact
from latent_policy_ros.common.progress import training_progress
from latent_policy_ros.sim.evaluation import Rollout, evaluate, wilson_interval

END_EFFECTORS = "mimic_hand", "panda_gripper", "leap_hand", "allegro_hand"
FIRST_SEED = 45_000_000


def rollouts(episodes: int, workers: Workers, label: str, on_result: Callable[[], None]) -> tuple[list[Rollout], float]:
    """Run ``episodes`` rollouts of each end-effector; returns the results and the time [s]."""
    began, total = time.monotonic(), episodes * len(END_EFFECTORS)
    with training_progress(Console(stderr=True), total, label) as advance:

        def report(_: Rollout) -> None:
            advance(None)
            on_result()

        found = evaluate(
            artifact("policies", "default"), artifact("latents", "default"), END_EFFECTORS,
            range(FIRST_SEED, FIRST_SEED + episodes), workers=workers, on_result=report,
        )  # fmt: skip
    return found, time.monotonic() - began


class Killer:
    """Kills a worker of Ray that runs a task each time ``every`` further results are there."""

    def __init__(self, every: int) -> None:
        self.killed, self._every, self._results = 0, every, 0

    def __call__(self) -> None:
        self._results += 1
        if self._results % self._every:
            return
        busy = [process for process in psutil.process_iter(["name"]) if (process.info["name"] or "").startswith("ray::run")]
        if busy:
            busy[0].send_signal(signal.SIGKILL)
            self.killed += 1


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--episodes", type=int, default=100, help="of each of the four end-effectors")
    episodes = parser.parse_args().episodes
    local, seconds = rollouts(episodes, Workers(2), "local processes", lambda: None)
    killer = Killer(max(1, len(local) // 8))
    remote, remote_seconds = rollouts(episodes, Workers(2, "ray"), "Ray", killer)
    equal = sum(a == b for a, b in zip(local, remote)) if len(local) == len(remote) else 0
    print("| | rollouts | time [s] | workers killed | equal results |\n|---|---|---|---|---|")
    print(f"| local processes | {len(local)} | {seconds:.0f} | | |")
    print(f"| Ray, two workers | {len(remote)} | {remote_seconds:.0f} | {killer.killed} | {equal} of {len(local)} |")
    print("\n| end-effector | success | 95% interval (Wilson) |\n|---|---|---|")
    for name in END_EFFECTORS:
        won = [rollout.success for rollout in local if rollout.embodiment == name]
        low, high = wilson_interval(sum(won), len(won))
        print(f"| `{name}` | {sum(won)}/{len(won)} | {100 * low:.0f} .. {100 * high:.0f}% |")
    return int(equal != len(local) or not killer.killed)


if __name__ == "__main__":
    sys.exit(main())
