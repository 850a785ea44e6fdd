"""Co-training study with few demonstrations: one policy for several embodiments against one for each; a new hand.

    python benchmarks/cotraining.py [--demonstrations 50] [--rollouts 400]
    python benchmarks/cotraining.py --embodiment faive_hand --demonstrations 10 --rollouts 200

    alone        a policy trained on the demonstrations of one embodiment
    share        the same with a fraction of the steps, so that each demonstration is used as often as in ``together``
    together     one policy trained on the demonstrations of all embodiments, with the same settings and number of steps
    finetuned    the shipped policy, fine-tuned on the demonstrations of one embodiment that it was not trained with

Each policy is trained once, with one seed: the intervals are those of the rollouts alone. Results are stored under
runs/cotraining, so that the study can be interrupted.
"""

from __future__ import annotations

import argparse
import hashlib
import json
from collections.abc import Sequence
from pathlib import Path

from rich.console import Console

from latent_policy_ros.common.artifacts import canonical_json, write_atomically
from latent_policy_ros.common.config import config_file, load
from latent_policy_ros.common.paths import artifact, runs_dir
from latent_policy_ros.common.progress import training_progress
from latent_policy_ros.latent import LatentSpace
from latent_policy_ros.policy.checkpoint import Checkpoint
from latent_policy_ros.policy.settings import PolicySettings
from latent_policy_ros.policy.training.train import train_policy
from latent_policy_ros.sim.demonstrations.generation import generate_episodes
from latent_policy_ros.sim.evaluation import evaluate, paired_interval, wilson_interval

EMBODIMENTS = ("mimic_hand", "faive_hand", "panda_gripper")  # the paper's
FIRST_SEED = 3_000_000  # of the rollouts; used by no demonstration and no other evaluation
ALONE, SHARE, TOGETHER, FINETUNED = "alone", "share", "together", "finetuned"


class Study:
    """Trains and evaluates the policies whose results are not stored yet."""

    def __init__(self, folder: Path, demonstrations: int, rollouts: int, console: Console) -> None:
        self.folder, self.rollouts, self.console = folder / str(demonstrations), rollouts, console
        self.demonstrations = demonstrations
        self.latent = artifact("latents", "default")
        self.space, self.shipped = LatentSpace.load(self.latent), Checkpoint.load(artifact("policies", "default"))

    def data(self, embodiment: str) -> Path:
        """Generate the demonstrations of an embodiment; returns their folder."""
        with training_progress(self.console, self.demonstrations, f"demonstrations of {embodiment}") as advance:
            seeds = range(self.demonstrations)
            generate_episodes(embodiment, seeds, self.folder / "demos", progress=lambda *_: advance(None))
        return self.folder / "demos" / embodiment

    def policy(self, kind: str, embodiments: Sequence[str], parts: int = 1) -> Path:
        """Train a policy of one kind with ``1 / parts`` of the steps; returns its folder."""
        start = self.shipped if kind == FINETUNED else None
        settings = load(PolicySettings, config_file("training", "policy_finetune" if start else "policy", "settings"))
        training = settings.training.model_copy(update={"steps": round(settings.training.steps / parts)})
        settings = settings.model_copy(update={"training": training})
        # A stored policy is reused only if it was trained with the same settings.
        made = [settings.model_dump(mode="json"), self.space.latent_id, start.policy_id if start else ""]
        key = hashlib.sha256(canonical_json(made).encode()).hexdigest()[:12]
        out = self.folder / "-".join([kind, *embodiments, key])
        if not (out / "policy.json").is_file():
            train_policy(settings, [self.data(n) for n in embodiments], self.space, out, console=self.console, start=start)
        return out

    def successes(self, policy: Path, embodiment: str) -> list[bool]:
        """Success of each rollout, in the order of the seeds."""
        identity = Checkpoint.load(policy).policy_id[:12]
        file = self.folder / "rollouts" / f"{embodiment}_{identity}_{self.rollouts}.json"
        if not file.is_file():
            seeds = range(FIRST_SEED, FIRST_SEED + self.rollouts)
            with training_progress(self.console, self.rollouts, f"{policy.name}: {embodiment}") as advance:
                results = evaluate(policy, self.latent, [embodiment], seeds, on_result=lambda _: advance(None))
            file.parent.mkdir(parents=True, exist_ok=True)
            write_atomically(file, json.dumps([r.success for r in results]).encode())
        return json.loads(file.read_text())

    def results(self, embodiments: Sequence[str]) -> dict[str, dict[str, list[bool]]]:
        """Successes by embodiment and kind."""
        kind, found = TOGETHER if len(embodiments) > 1 else FINETUNED, {}
        if kind == FINETUNED and embodiments[0] in self.shipped.training["embodiments"]:
            raise SystemExit(f"error: the shipped policy was trained with {embodiments[0]}; choose another embodiment")
        for name in embodiments:
            policies = {ALONE: self.policy(ALONE, [name]), kind: self.policy(kind, embodiments)}
            if kind == TOGETHER:
                policies[SHARE] = self.policy(SHARE, [name], len(embodiments))
            found[name] = {what: self.successes(policy, name) for what, policy in policies.items()}
        return found


def rate(won: Sequence[bool]) -> str:
    """``312/400, 74 .. 82%``."""
    low, high = wilson_interval(sum(won), len(won))
    return f"{sum(won)}/{len(won)}, {100 * low:.0f} .. {100 * high:.0f}%"


def table(results: dict[int, dict[str, dict[str, list[bool]]]]) -> str:
    """A Markdown table."""
    titles = (
        "demonstrations", "embodiment", "alone, 95% interval (Wilson)", "alone, fraction of the steps", "together or finetuned",
        "difference to alone, on the same seeds",
    )  # fmt: skip
    lines = [f"| {' | '.join(titles)} |", "|---" * len(titles) + "|"]
    for count, found in results.items():
        for name, kinds in found.items():
            kind = FINETUNED if FINETUNED in kinds else TOGETHER
            points, low, high = (100 * x for x in paired_interval(kinds[ALONE], kinds[kind]))
            difference = f"{points:+.1f} points, {low:+.1f} .. {high:+.1f}"
            share = rate(kinds[SHARE]) if SHARE in kinds else "-"
            lines.append(f"| {count} | `{name}` | {rate(kinds[ALONE])} | {share} | {kind}: {rate(kinds[kind])} | {difference} |")
    return "\n".join(lines)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--embodiment", action="append")
    parser.add_argument("--demonstrations", type=int, nargs="*", default=[50])
    parser.add_argument("--rollouts", type=int, default=400)
    options = parser.parse_args()
    results = {
        count: Study(runs_dir() / "cotraining", count, options.rollouts, Console()).results(options.embodiment or EMBODIMENTS)
        for count in options.demonstrations
    }
    print(table(results))


if __name__ == "__main__":
    main()
