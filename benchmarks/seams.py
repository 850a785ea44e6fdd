"""Smoothness of commands and set points: velocity changes in 20 ms within chunks, at chunk seams, at holds and at resumes.

Run from the checkout:

    .venv/bin/python benchmarks/seams.py

The shipped policy drives each embodiment through its first seconds in simulation, in the control path of the robot. No chunk
arrives for ``GAP`` seconds in the middle, so that the robot holds and resumes. Each row gives the largest change over joints
(rad/s, or m/s for a gripper and the wrist): median, 99th percentile and maximum.

A command is what a decoder publishes at 50 Hz. A set point is what a driver writes at 100 Hz.
"""

from __future__ import annotations

import argparse

import numpy as np
import torch

from latent_policy_ros.common.paths import artifact
from latent_policy_ros.latent import LatentSpace
from latent_policy_ros.policy import Policy
from latent_policy_ros.sim.evaluation import RobotRollout
from latent_policy_ros.sim.world import World

SECONDS = 7.0
GAP = 3.0, 3.8  # s: chunks of observations in this interval are lost
WINDOW = 0.02  # s
NEAR = 0.15  # s after a change between holding and following, that count as hold or resume


def drive(policy: Policy, space: LatentSpace, embodiment: str, seed: int) -> dict[str, list[tuple]]:
    """Rows (time, values, mark) of hand commands, wrist commands, hand set points and arm set points of one rollout."""
    world = World(embodiment)
    world.reset(seed)
    robot = RobotRollout(world, seed, space, policy.settings.observation_steps, policy.settings.image_size, 0.08)
    rows: dict[str, list[tuple]] = {"hand command": [], "wrist command": [], "hand set point": [], "arm set point": []}
    arrivals: list[float] = []
    command, accept = robot.decoder.command, robot.decoder.accept
    controllers = {"hand set point": robot.hand_controller, "arm set point": robot.arm_controller}
    cycles = {name: controller.cycle for name, controller in controllers.items()}

    def accepted(chunk, now):
        accept(chunk, now)
        arrivals.append(now)

    def commanded(now):
        result = command(now)
        if result is not None:
            seam = bool(arrivals) and now - arrivals[-1] < WINDOW - 1e-6
            rows["hand command"].append((now, result.q, seam))
            rows["wrist command"].append((now, result.wrist_pose[:3], seam))
        return result

    def watch(name):
        def cycle(measured, stamp, now):
            result = cycles[name](measured, stamp, now)
            if result.position is not None:
                rows[name].append((now, result.position, result.holding))
            return result

        controllers[name].cycle = cycle

    robot.decoder.accept, robot.decoder.command = accepted, commanded
    for name in controllers:
        watch(name)
    while robot.time < SECONDS:
        chunk = policy.predict([policy.prepare(robot.observe())])[0]
        if not GAP[0] <= chunk.stamp < GAP[1]:
            robot.add_chunk(chunk)
        robot.advance(policy.dt)
    return rows


def changes(rows: list[tuple], set_points: bool) -> dict[str, np.ndarray]:
    """Largest velocity change of a joint in ``WINDOW``, for each kind of moment."""
    t, q = np.array([row[0] for row in rows]), np.stack([row[1] for row in rows])
    mark = np.array([row[2] for row in rows])
    span = 2 if set_points else 1  # samples in the window
    velocity = (q[span:] - q[:-span]) / WINDOW
    change = np.abs(velocity[span:] - velocity[:-span]).max(axis=1)
    regular = t[2 * span :] - t[: -2 * span] < 2 * WINDOW + 1e-6
    if set_points:
        switch = t[1:][mark[1:] != mark[:-1]]
        to_hold = mark[np.searchsorted(t, switch)]
        now = t[2 * span :]
        near = {
            name: np.any([(now >= s) & (now < s + NEAR) for s in times], axis=0) if len(times) else np.zeros(len(now), bool)
            for name, times in (("hold", switch[to_hold]), ("resume", switch[~to_hold]))
        }
        kinds = {**near, "otherwise": ~(near["hold"] | near["resume"])}
        return {kind: change[chosen & regular] for kind, chosen in kinds.items()}
    at_seam = mark[span : -span or None] | mark[2 * span :]  # the seam is one of the newer two commands of three
    return {"seam": change[at_seam & regular], "within": change[~at_seam & regular]}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--embodiment", action="append", help="repeatable; default: mimic_hand and panda_gripper")
    parser.add_argument("--rollouts", type=int, default=4, help="for each embodiment")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    space = LatentSpace.load(artifact("latents", "default"))
    policy = Policy.load(artifact("policies", "default"), space, device="cpu")
    for embodiment in arguments.embodiment or ["mimic_hand", "panda_gripper"]:
        found: dict[tuple[str, str], list[np.ndarray]] = {}
        for seed in range(arguments.rollouts):
            for what, rows in drive(policy, space, embodiment, seed).items():
                for kind, values in changes(rows, "set point" in what).items():
                    found.setdefault((what, kind), []).append(values)
        for (what, kind), parts in found.items():
            values = np.concatenate(parts)
            if len(values):
                median, high, top = np.median(values), np.percentile(values, 99), values.max()
                print(f"{embodiment} | {what}, {kind} | {median:.3f} | {high:.3f} | {top:.3f} | n {len(values)}", flush=True)


if __name__ == "__main__":
    main()
