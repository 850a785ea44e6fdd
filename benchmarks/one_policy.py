"""Study of one policy for many end-effectors, in simulation: left-out end-effectors, few demonstrations, co-training, all tasks.

    python benchmarks/one_policy.py left-out       # end-effectors without demonstrations, cube_in_box
    python benchmarks/one_policy.py ablations      # three left-out hands, one setting of the policy changed at a time
    python benchmarks/one_policy.py few-shot       # eight demonstrations of a left-out hand, beside those of the others
    python benchmarks/one_policy.py co-training    # one policy for three end-effectors against one for each
    python benchmarks/one_policy.py shipped        # the shipped policy, every end-effector and task
    python benchmarks/one_policy.py sampling       # the shipped policy with one sampling step

Each command prints a Markdown table. Demonstrations, policies and rollouts are stored under runs/one_policy, so that a study can be
interrupted and continues with the same command. Rollouts have seeds that nothing else uses.
"""

from __future__ import annotations

import argparse
import hashlib
import os
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from rich.console import Console

from latent_policy_ros.common.artifacts import canonical_json
from latent_policy_ros.common.config import config_file, load
from latent_policy_ros.common.parallel import Workers
from latent_policy_ros.common.paths import artifact, runs_dir
from latent_policy_ros.common.progress import training_progress
from latent_policy_ros.embodiments import load_embodiment
from latent_policy_ros.latent import LatentSpace
from latent_policy_ros.observations.observation import Observation
from latent_policy_ros.policy import Policy
from latent_policy_ros.policy.checkpoint import Checkpoint
from latent_policy_ros.policy.settings import PolicySettings
from latent_policy_ros.policy.training.train import train_policy
from latent_policy_ros.sim.demonstrations.generation import generate_episodes
from latent_policy_ros.sim.evaluation import evaluate, paired_interval, wilson_interval
from latent_policy_ros.sim.tasks.registry import DEFAULT_TASK, TASKS

# The number of an end-effector gives the seeds of its demonstrations, 1000 for each: no two have a scene in common.
END_EFFECTORS = (
    "mimic_hand", "panda_gripper", "inspire_hand", "leap_hand", "robotiq_2f85", "ability_hand", "allegro_hand", "so101_gripper",
    "dex3_hand", "xarm_gripper", "faive_hand", "orca_hand", "shadow_hand",
)  # fmt: skip
# Each training knows three grippers: with two, the others stayed closed or dragged the cube.
LEFT_OUT = (("faive_hand", "orca_hand", "so101_gripper"), ("shadow_hand", "leap_hand", "robotiq_2f85"))
DEMONSTRATIONS, STEPS = 40, 12_000  # of each end-effector and of a training in the study of left-out end-effectors
ABLATED, ABLATION_STEPS = ("orca_hand", "shadow_hand", "faive_hand"), 6000
FEW, FEW_STEPS, FEW_RATE = 8, 900, 0.0002
COTRAINED, COTRAINED_DEMONSTRATIONS, COTRAINED_STEPS = ("mimic_hand", "faive_hand", "panda_gripper"), 10, 1700
SAMPLED, SAMPLING_STEPS = ("mimic_hand", "panda_gripper", "so101_gripper", "shadow_hand"), 1
# Seeds of the first rollout.
LEFT_OUT_SEED, ABLATION_SEED, FEW_SEED, COTRAINED_SEED, SHIPPED_SEED = 44_500_000, 44_800_000, 47_500_000, 46_500_000, 45_500_000


class Study:
    """Generates demonstrations, trains policies and runs rollouts whose results are not stored yet."""

    def __init__(self, rollouts: int, workers: Workers) -> None:
        self.folder, self.rollouts, self.workers, self.console = runs_dir() / "one_policy", rollouts, workers, Console(stderr=True)
        self.latent = artifact("latents", "default")
        self.space = LatentSpace.load(self.latent)

    def demonstrations(self, embodiment: str, count: int, *, perfect: bool = False) -> Path:
        """Folder of ``count`` demonstrations of cube_in_box with seeds that no other end-effector has.

        Perfect ones are not disturbed, and none starts after a missed grasp.
        """
        first = 1000 * END_EFFECTORS.index(embodiment)
        folder = self.folder / f"demos-{count}{'-perfect' if perfect else ''}"
        options = {"disturbed": 0.0, "missed": 0.0} if perfect else {}
        with training_progress(self.console, count, f"demonstrations of {embodiment}") as advance:
            generate_episodes(
                embodiment, range(first, first + count), folder, workers=self.workers, progress=lambda *_: advance(None), **options,
            )  # fmt: skip
        return folder / embodiment

    def policy(
        self,
        name: str,
        data: Sequence[Path],
        settings_file: str = "policy",
        start: Path | None = None,
        model: Mapping[str, Any] | None = None,
        **training: Any,
    ) -> Path:
        """Train a policy with settings of config/training, except for those in ``model`` and ``training``; returns its folder."""
        settings = load(PolicySettings, config_file("training", settings_file, "settings"))
        settings = settings.model_copy(
            update={
                "model": Checkpoint.load(start).settings if start else settings.model.model_copy(update=model),
                "training": settings.training.model_copy(update=training),
            }
        )
        identity = Checkpoint.load(start).policy_id if start else ""
        key = hashlib.sha256(canonical_json([settings.model_dump(mode="json"), self.space.latent_id, identity]).encode())
        out = self.folder / f"{name}-{key.hexdigest()[:12]}"
        if not (out / "policy.json").is_file():
            train_policy(settings, data, self.space, out, console=self.console, start=Checkpoint.load(start) if start else None)
        return out

    def successes(self, policy: Path, embodiment: str, first_seed: int, task: str = DEFAULT_TASK, **options) -> list[bool]:
        """Success of each rollout, in the order of the seeds; ``options`` are those of ``evaluate``."""
        seeds = range(first_seed, first_seed + self.rollouts)
        with training_progress(self.console, self.rollouts, f"{policy.name}: {embodiment}, {task}") as advance:
            results = evaluate(
                policy, self.latent, [embodiment], seeds, workers=self.workers, results=self.folder / "rollouts", task=task,
                on_result=lambda _: advance(None), **options,
            )  # fmt: skip
        return [rollout.success for rollout in results]

    def trained_without(self, left_out: Sequence[str], steps: int = STEPS, **changes: Any) -> Path:
        """Policy trained with the demonstrations of all other end-effectors; ``changes`` are those of :meth:`policy`."""
        data = [self.demonstrations(name, DEMONSTRATIONS) for name in others(left_out)]
        return self.policy("without-" + "-".join(left_out), data, steps=steps, **changes)


def others(left_out: Sequence[str]) -> list[str]:
    """All other end-effectors."""
    return [name for name in END_EFFECTORS if name not in left_out]


def left_out(study: Study) -> list[list[str]]:
    rows, every = [["end-effector, without demonstrations", "success, 95% interval (Wilson)"]], []
    for names in LEFT_OUT:
        policy = study.trained_without(names)
        for name in names:
            won = study.successes(policy, name, LEFT_OUT_SEED)
            every += won
            rows.append([f"`{name}`", rate(won)])
    return [*rows, ["all", rate(every)]]


def ablations(study: Study) -> list[list[str]]:
    """Success with hands that were left out of the training, and its difference to that with the settings of policy.yaml."""
    displacement = load(PolicySettings, config_file("training", "policy_few", "settings")).training.displacement
    variants: dict[str, dict[str, Any]] = {
        "`policy.yaml`": {},
        "latents seen, exactly: `latent_dropout: 0`, `latent_noise: 0`": {"latent_dropout": 0.0, "latent_noise": 0.0},
        "wrist camera rarely masked: `camera_dropout: 0.1`": {"camera_dropout": {"front": 0.1, "wrist": 0.1}},
        "exact poses and apertures: their noise 0": {"position_noise": 0.0, "rotation_noise": 0.0, "aperture_noise": 0.0},
        "an embedding of the embodiment": {"model": {"embodiments": tuple(others(ABLATED))}},
        "`action_axes: grasp`": {"model": {"action_axes": "grasp"}},
        "`action_axes: grasp`, and displaced hands as in `policy_few.yaml`": {
            "model": {"action_axes": "grasp"}, "displacement": displacement,
        },
    }  # fmt: skip
    rows, usual = [["settings", *(f"`{name}`" for name in ABLATED), "all", "difference on the same seeds"]], list[bool]()
    for label, changes in variants.items():
        policy = study.trained_without(ABLATED, ABLATION_STEPS, **changes)
        won = [study.successes(policy, name, ABLATION_SEED) for name in ABLATED]
        every = sum(won, [])
        usual = usual or every
        rows.append([label, *(f"{sum(hand)}/{len(hand)}" for hand in won), rate(every), difference(usual, every)])
    return rows


def few_shot(study: Study) -> list[list[str]]:
    rows, zero, few = [["hand", "without demonstrations", f"{FEW} demonstrations", "difference on the same seeds"]], [], []
    for names in LEFT_OUT:
        before = study.trained_without(names)
        known = [study.demonstrations(name, DEMONSTRATIONS) for name in others(names)]
        for name in (name for name in names if name.endswith("_hand")):
            data = [study.demonstrations(name, FEW), *known]  # alone, a few demonstrations make a policy forget
            after = study.policy(f"few-{name}", data, "policy_finetune", before, steps=FEW_STEPS, learning_rate=FEW_RATE)
            won = [study.successes(policy, name, FEW_SEED) for policy in (before, after)]
            rows.append([f"`{name}`", *map(rate, won), difference(*won)])
            zero, few = zero + won[0], few + won[1]
    return [*rows, ["all", rate(zero), rate(few), difference(zero, few)]]


def co_training(study: Study, seeds: Sequence[int] = (0, 1, 2)) -> list[list[str]]:
    """Each demonstration is used equally often in both columns: the joint policy has as many steps as the three together."""
    rows = [["end-effector", "alone", "together", "difference on the same seeds"]]
    data = {name: study.demonstrations(name, COTRAINED_DEMONSTRATIONS, perfect=True) for name in COTRAINED}
    alone, together = ({name: [] for name in COTRAINED} for _ in range(2))
    for seed in seeds:
        steps = len(COTRAINED) * COTRAINED_STEPS
        joint = study.policy("together", list(data.values()), "policy_few", steps=steps, seed=seed)
        for name in COTRAINED:
            single = study.policy(f"alone-{name}", [data[name]], "policy_few", steps=COTRAINED_STEPS, seed=seed)
            alone[name] += study.successes(single, name, COTRAINED_SEED)
            together[name] += study.successes(joint, name, COTRAINED_SEED)
    for name in COTRAINED:
        rows.append([f"`{name}`", rate(alone[name]), rate(together[name]), difference(alone[name], together[name])])
    return rows


def shipped(study: Study) -> list[list[str]]:
    policy, tasks = artifact("policies", "default"), [name for name in TASKS.names() if name != "lift_cube"]
    rows = [["end-effector", *tasks]]
    for name in END_EFFECTORS:
        rows.append([f"`{name}`", *(rate(study.successes(policy, name, SHIPPED_SEED, task)) for task in tasks)])
    return rows


def sampling(study: Study) -> list[list[str]]:
    """Success with the policy's own number of sampling steps and with few, and the time of an action chunk with both."""
    folder, own, few = artifact("policies", "default"), [], []
    policies = [Policy.load(folder, study.space, sampling_steps=steps) for steps in (0, SAMPLING_STEPS)]
    columns = [f"sampling_steps: {policy.settings.sampling_steps}" for policy in policies]
    rows = [["end-effector", *columns, "difference on the same seeds"]]
    for name in SAMPLED:
        won = [study.successes(folder, name, SHIPPED_SEED)]
        won.append(study.successes(folder, name, SHIPPED_SEED, sampling_steps=SAMPLING_STEPS))
        own, few = own + won[0], few + won[1]
        rows.append([f"`{name}`", *map(rate, won), difference(*won)])
    rows.append(["all", rate(own), rate(few), difference(own, few)])
    for robots in (1, 16):
        times = chunk_times(policies, robots)
        measured = [f"{1e3 * t:.1f} ms" for t in times]
        rows.append([f"time of a chunk, robots: {robots}", *measured, f"{times[1] / times[0]:.2f} times"])
    return rows


def chunk_times(policies: Sequence[Policy], robots: int, repeats: int = 100) -> list[float]:
    """Median time [s] in which each policy turns observations of some robots into action chunks; the policies take turns."""
    hand, wrist = load_embodiment("mimic_hand"), np.array([0.4, 0.0, 0.4, 0.0, 0.0, 0.0, 1.0])
    times: list[list[float]] = [[] for _ in policies]
    for _ in range(repeats):
        for policy, measured in zip(policies, times):
            images = dict.fromkeys(policy.cameras, np.zeros((96, 96, 3), np.uint8))
            began = time.perf_counter()
            policy.predict([policy.prepare([Observation(1.0, images, wrist, hand.rest, hand)]) for _ in range(robots)])
            measured.append(time.perf_counter() - began)
    return [float(np.median(measured)) for measured in times]


def rate(won: Sequence[bool]) -> str:
    """``78/100, 69 .. 85%``."""
    low, high = wilson_interval(sum(won), len(won))
    return f"{sum(won)}/{len(won)}, {100 * low:.0f} .. {100 * high:.0f}%"


def difference(before: Sequence[bool], after: Sequence[bool]) -> str:
    """``+12.0 points, +3.1 .. +20.4``."""
    points, low, high = (100 * x for x in paired_interval(before, after))
    return f"{points:+.1f} points, {low:+.1f} .. {high:+.1f}"


def main() -> None:
    studies = {
        "left-out": left_out, "ablations": ablations, "few-shot": few_shot, "co-training": co_training, "shipped": shipped,
        "sampling": sampling,
    }  # fmt: skip
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("study", choices=studies)
    parser.add_argument("--rollouts", type=int, default=100, help="of each end-effector and policy")
    parser.add_argument("--workers", type=int, default=2, help="processes for demonstrations and rollouts")
    options = parser.parse_args()
    torch.set_num_threads(int(os.environ.get("OMP_NUM_THREADS", "1")))
    header, *rows = studies[options.study](Study(options.rollouts, Workers(options.workers)))
    for cells in (header, ["---"] * len(header), *rows):
        print(f"| {' | '.join(cells)} |")


if __name__ == "__main__":
    main()
