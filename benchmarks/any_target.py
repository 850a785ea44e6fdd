"""Retargeting of 100,000 arbitrary inputs to every shipped robot, both sides: accepted, rejected, limits, steps.

    .venv/bin/python benchmarks/any_target.py [--count 100000] [NAME ...]

The inputs are noise, flat hands, fists behind the palm, coincident points, hands squashed to a plane, NaN and millimetres, in
random order, so that every input is a jump from the one before. The exit status is 1 if a joint leaves its limits or exceeds the
bound on its step.
"""

from __future__ import annotations

import argparse
import sys
import time
from concurrent.futures import ProcessPoolExecutor

import numpy as np

from latent_policy_ros.embodiments import list_embodiments, load_embodiment
from latent_policy_ros.embodiments.human.human_hand import HumanHand
from latent_policy_ros.embodiments.human.keypoints import KeypointsRefused
from latent_policy_ros.retargeting import Retargeter
from latent_policy_ros.retargeting.human_motion.postures import fist
from latent_policy_ros.retargeting.retarget_kernel import MAX_STEP
from latent_policy_ros.retargeting.retargeter import TRAVEL_PER_RADIAN


def targets(count, rng):
    """Yield (kind, keypoints (21, 3) [m])."""
    hand = HumanHand()
    flat = hand.keypoints(np.zeros((1, 21)))[0]
    behind = hand.keypoints(fist(hand, 1.0)[None])[0] * [-1.0, 1.0, 1.0]
    behind[[0, 5, 9, 13, 17]] *= [-1.0, 1.0, 1.0]
    kinds = {
        "noise": lambda: rng.normal(scale=0.08, size=(21, 3)),
        "flat hand": lambda: flat + rng.normal(scale=0.01, size=(21, 3)),
        "fist behind the palm": lambda: behind + rng.normal(scale=0.003, size=(21, 3)),
        "one place": lambda: np.full((21, 3), rng.normal()),
        "squashed": lambda: flat * [1.0, 0.0, 1.0],
        "not a number": lambda: np.where(rng.random((21, 1)) < 0.2, np.nan, flat),
        "millimetres": lambda: 1000.0 * flat,
    }  # fmt: skip
    for kind in rng.choice(list(kinds), count):
        yield kind, kinds[kind]()


def run(name, count):
    """One row of the table: (name, accepted, rejected, largest violation of limits, largest step / bound, ms)."""
    embodiment = load_embodiment(name)
    retargeter, last, accepted, excess, largest, seconds = Retargeter(embodiment), None, 0, -np.inf, 0.0, 0.0
    kinds = [embodiment.hinge(joint).kind for joint in embodiment.joint_names]
    allowed = MAX_STEP * np.array([1.0 if kind == "revolute" else TRAVEL_PER_RADIAN for kind in kinds])
    for _, keypoints in targets(count, np.random.default_rng(0)):
        start = time.perf_counter()
        try:
            q = retargeter.retarget(keypoints)
        except KeypointsRefused:
            continue
        finally:
            seconds += time.perf_counter() - start
        accepted += 1
        excess = max(excess, (embodiment.lower - q).max(), (q - embodiment.upper).max()) if np.isfinite(q).all() else np.inf
        largest = max(largest, (np.abs(q - last) / allowed).max()) if last is not None else 0.0
        last = q
    return name, accepted, count - accepted, excess, largest, 1e3 * seconds / count


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("names", nargs="*")
    parser.add_argument("--count", type=int, default=100_000)
    arguments = parser.parse_args()
    robots = [name for name in list_embodiments() if load_embodiment(name).kind != "human"]
    names = arguments.names or [name for robot in robots for name in (robot, f"{robot}_left")]
    print("| embodiment | accepted | rejected | limits violated by | largest step / bound | ms each |\n|---|---|---|---|---|---|")
    wrong = False
    with ProcessPoolExecutor() as processes:
        for name, accepted, rejected, excess, largest, ms in processes.map(run, names, [arguments.count] * len(names)):
            print(f"| {name} | {accepted} | {rejected} | {max(excess, 0.0):.0e} | {largest:.3f} | {ms:.3f} |", flush=True)
            wrong = wrong or not excess <= 0.0 or largest > 1.0 + 1e-9
    sys.exit(int(wrong))


if __name__ == "__main__":
    main()
