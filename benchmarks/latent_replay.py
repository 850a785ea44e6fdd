"""Grasping with encoded and decoded commands of the scripted expert, in simulation.

    python benchmarks/latent_replay.py LATENT [--episodes 50] [--embodiment NAME ...] [--json FILE]

Runs these variants for each embodiment, on the same seeded episodes of placing the cube into the box:

    expert        the expert's commands
    latent        the expert's hand commands, encoded and decoded by the same embodiment; the same wrist
    from gripper  a gripper's commands for the same grasp, encoded by the gripper and decoded by the hand; the wrist is planned
                  for the decoded pinch
    wrist kept    the same hand commands with the wrist of the expert's own grasp
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np

from latent_policy_ros.common.errors import LatentPolicyError
from latent_policy_ros.common.paths import artifact
from latent_policy_ros.embodiments import Embodiment, load_embodiment
from latent_policy_ros.latent import LatentSpace
from latent_policy_ros.retargeting import Retargeter
from latent_policy_ros.retargeting.human_motion.generator import grasp_plan
from latent_policy_ros.sim.demonstrations.recording import demonstrate
from latent_policy_ros.sim.evaluation import wilson_interval
from latent_policy_ros.sim.tasks.cube import EDGE, cube_grasp
from latent_policy_ros.sim.tasks.cube_in_box import CubeInBox
from latent_policy_ros.sim.tasks.grasp import Grasp, grasp_from_joints
from latent_policy_ros.sim.tasks.motion import Plan
from latent_policy_ros.sim.world import World

GRIPPER = "panda_gripper"
FIRST_SEED = 2_000_000
Through = Callable[[np.ndarray], np.ndarray]  # joints (T, n) -> joints (T, n)


def through_latents(space: LatentSpace, embodiment: Embodiment) -> Through:
    """A function that encodes and decodes joints (T, n)."""
    name = embodiment.name
    return lambda q: embodiment.to_joints(space.decode(name, space.encode(name, embodiment.to_action(q))))


def decoded_grasp(space: LatentSpace, embodiment: Embodiment, down: np.ndarray) -> Grasp:
    """The grasp that results from decoding a gripper's commands for the grasp of the cube."""
    gripper = load_embodiment(GRIPPER)
    opening = gripper.to_action(Retargeter(gripper).retarget_sequence(grasp_plan(EDGE).keypoints[None])[0])
    q = embodiment.to_joints(space.decode(embodiment.name, space.encode(GRIPPER, opening))).astype(np.float64)
    q = q[max(0, int((np.abs(opening - opening[0]).max(axis=1) > 1e-6).argmax()) - 1) :]
    return grasp_from_joints(embodiment, q, EDGE, down / np.linalg.norm(down))


def plans(world: World, space: LatentSpace) -> dict[str, Callable[[], Plan]]:
    """Functions that plan each variant in this world, by name."""
    e, task, down = world.embodiment, CubeInBox(), world.arm.T_flange_hand.rotation[2]

    def from_gripper() -> Plan:
        return task.expert(world, decoded_grasp(space, e, down))

    def wrist_kept() -> Plan:
        own, other = cube_grasp(world), decoded_grasp(space, e, down)
        steps = np.linspace(0, other.end, len(own.q))
        q = np.stack([np.interp(steps, np.arange(len(other.q)), joint) for joint in other.q.T], axis=1)
        return task.expert(world, replace(own, q=q))

    def through() -> Plan:
        plan = task.expert(world)
        return replace(plan, hand=through_latents(space, e)(plan.hand))

    variants = {"expert": lambda: task.expert(world), "latent": through}
    if e.kind == "hand" and GRIPPER in space.embodiments:
        variants |= {"from gripper": from_gripper, "wrist kept": wrist_kept}
    return variants


def replay(name: str, space: LatentSpace, seeds: range) -> dict[str, list[bool] | str]:
    """Successes of each variant on these seeds, or the error of a variant that cannot be planned."""
    world = World(name, cameras=())
    results: dict[str, list[bool] | str] = {}
    for what, make in plans(world, space).items():
        try:
            results[what] = []
            for seed in seeds:
                world.reset(seed)
                results[what].append(bool(demonstrate(world, make())))
        except LatentPolicyError as error:
            results[what] = str(error)
    return results


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("latent")
    parser.add_argument("--episodes", type=int, default=50)
    parser.add_argument("--embodiment", action="append")
    parser.add_argument("--json", type=Path)
    options = parser.parse_args()
    space = LatentSpace.load(artifact("latents", options.latent))
    names = options.embodiment or [n for n in space.embodiments if load_embodiment(n).kind != "human"]
    every = {}
    for name in names:
        every[name] = replay(name, space, range(FIRST_SEED, FIRST_SEED + options.episodes))
        for what, wins in every[name].items():
            if isinstance(wins, str):
                print(f"{name:18s} {what:13s} error: {wins}", flush=True)
                continue
            low, high = wilson_interval(sum(wins), len(wins))
            print(f"{name:18s} {what:13s} {sum(wins):3d}/{len(wins)}  {low:.0%} .. {high:.0%}", flush=True)
    if options.json:
        options.json.write_text(json.dumps(every))


if __name__ == "__main__":
    main()
