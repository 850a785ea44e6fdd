"""Smoothness of commands and set points: velocity changes in 20 ms within chunks, at chunk seams, at holds and at resumes.

Run from the checkout:

    .venv/bin/python benchmarks/seams.py
    .venv/bin/python benchmarks/seams.py --drop 0.3      # 30% of the chunks are lost
    .venv/bin/python benchmarks/seams.py --bag runs/demo/DATE/bags/BAG --robot left --embodiment mimic_hand

The shipped policy drives each embodiment through its first seconds in simulation, in the control path of the robot. No chunk
arrives for ``GAP`` seconds in the middle, so that the robot holds and resumes. Each row gives the largest change over joints
(rad/s, or m/s for a gripper and the wrist): median, 99th percentile and maximum, and the maximum as a multiple of that within
chunks. The last rows give the largest acceleration of set points as a share of the limit in the YAML files.

With ``--bag``, the recorded commands and measurements of a robot of the demo go through the same controllers at 100 Hz.

A command is what a decoder publishes at 50 Hz. A set point is what a driver writes at 100 Hz.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import numpy as np
import torch

from latent_policy_ros.common.errors import ActionRefused
from latent_policy_ros.common.paths import artifact
from latent_policy_ros.control.arm_controller import ArmController
from latent_policy_ros.control.arm_description import load_arm
from latent_policy_ros.control.arm_kinematics import ArmKinematics
from latent_policy_ros.control.command_guard import CommandGuard
from latent_policy_ros.control.joint_controller import CONTROL_RATE, JointController
from latent_policy_ros.data.bags.reader import open_bag
from latent_policy_ros.embodiments import load_embodiment
from latent_policy_ros.latent import LatentSpace
from latent_policy_ros.observations.messages import pose_array, to_seconds
from latent_policy_ros.policy import Policy
from latent_policy_ros.sim.evaluation import RobotRollout
from latent_policy_ros.sim.world import World

SECONDS = 7.0
GAP = 3.0, 3.8  # s: chunks of observations in this interval are lost
WINDOW = 0.02  # s
SEAM = 0.06  # s after the arrival of a chunk in which set points change with it: a period of the commands, and twice the window
NEAR = 0.15  # s after a change between holding and following, that count as hold or resume


def drive(
    policy: Policy, space: LatentSpace, embodiment: str, seed: int, drop: float
) -> tuple[dict[str, list[tuple]], list[float]]:
    """One rollout, in which a share ``drop`` of the chunks is lost.

    Returns:
        Rows (time, values, mark) of hand commands, wrist commands, hand set points and arm set points, and the times at which
        chunks arrived. The mark of a command is a seam, that of a set point a hold.
    """
    world = World(embodiment)
    world.reset(seed)
    robot = RobotRollout(world, seed, space, policy.settings.observation_steps, policy.settings.resize, 0.08)
    rng = np.random.default_rng(seed)
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
        if not GAP[0] <= chunk.stamp < GAP[1] and rng.random() >= drop:
            robot.add_chunk(chunk)
        robot.advance(policy.dt)
    return rows, arrivals


def replay(bag: Path, robot: str, embodiment: str) -> tuple[dict[str, list[tuple]], list[float]]:
    """Result as of :func:`drive`, from the commands and measurements of one robot in a bag."""
    hand, kinematics = load_embodiment(embodiment), ArmKinematics(load_embodiment(embodiment))
    controllers = {"hand": JointController(CommandGuard.of(hand)), "arm": ArmController(kinematics)}
    rows: dict[str, list[tuple]] = {"hand command": [], "wrist command": [], "hand set point": [], "arm set point": []}
    arrivals: list[float] = []
    measured: dict[str, tuple[np.ndarray, float]] = {}
    names = "joint_states", f"{hand.command}_command", "wrist_command", "arm_command", "latent_action"
    topics = [f"/{robot}/{name}" for name in names]
    due = 0.0

    def cycle(now: float) -> None:
        for part, controller in controllers.items():
            if part in measured and (out := controller.cycle(*measured[part], now)).position is not None:
                rows[f"{part} set point"].append((now, out.position, out.holding))

    def receive(topic: str, now: float, message) -> None:
        name = topic.rpartition("/")[2]
        age = now - to_seconds(message.header.stamp)
        seam = bool(arrivals) and now - arrivals[-1] < WINDOW
        if name == "latent_action":
            arrivals.append(now)
        elif name == "joint_states":
            positions = dict(zip(message.name, message.position))
            for part, controller in controllers.items():
                if all(joint in positions for joint in controller.names):
                    measured[part] = np.array([positions[joint] for joint in controller.names]), to_seconds(message.header.stamp)
        elif name == "wrist_command":
            pose = pose_array(message.pose)
            controllers["arm"].set_wrist_command(pose, message.header.frame_id, age)
            rows["wrist command"].append((now, pose[:3], seam))
        else:
            points = [point.positions for point in message.points] or None
            reach_in = [to_seconds(point.time_from_start) - age for point in message.points]
            part = "arm" if name == "arm_command" else "hand"
            controllers[part].set_command(message.joint_names, points, age, reach_in)
            if points and part == "hand":
                rows["hand command"].append((now, np.array(points[-1]), seam))

    with open_bag(bag) as opened:
        for topic, now, message in opened.messages(topics):
            due = due or now
            while due <= now:
                cycle(due)
                due += 1.0 / CONTROL_RATE
            with suppress(ActionRefused):
                receive(topic, now, message)
    return rows, arrivals


def accelerations(rows: list[tuple], limit: np.ndarray) -> np.ndarray:
    """Largest acceleration over joints of consecutive set points, as a share of the limit (n,)."""
    t, q = np.array([row[0] for row in rows]), np.stack([row[1] for row in rows])
    period = np.diff(t)[:, None]
    velocity = np.diff(q, axis=0) / period
    return (np.abs(np.diff(velocity, axis=0)) / period[1:] / limit).max(axis=1)


def changes(rows: list[tuple], set_points: bool, arrivals: list[float]) -> dict[str, np.ndarray]:
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
        held = near["hold"] | near["resume"]
        seam = np.any([(now >= a) & (now < a + SEAM) for a in arrivals], axis=0) & ~held
        kinds = {"within": ~(held | seam), "seam": seam, **near}
        return {kind: change[chosen & regular] for kind, chosen in kinds.items()}
    at_seam = mark[span : -span or None] | mark[2 * span :]  # the seam is one of the newer two commands of three
    return {"within": change[~at_seam & regular], "seam": change[at_seam & regular]}


def runs(arguments: argparse.Namespace, embodiment: str) -> Iterator[tuple[dict[str, list[tuple]], list[float]]]:
    """The rollouts of an embodiment, or its robot in the bag."""
    if arguments.bag:
        yield replay(arguments.bag, arguments.robot, embodiment)
        return
    torch.set_num_threads(1)
    space = LatentSpace.load(artifact("latents", "default"))
    policy = Policy.load(artifact("policies", "default"), space, device="cpu")
    for seed in range(arguments.rollouts):
        yield drive(policy, space, embodiment, seed, arguments.drop)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--embodiment", action="append", help="repeatable; default: mimic_hand and panda_gripper")
    parser.add_argument("--rollouts", type=int, default=4, help="for each embodiment")
    parser.add_argument("--drop", type=float, default=0.0, help="share of the chunks that is lost, from 0 to 1")
    parser.add_argument("--bag", type=Path, help="bag of the demo, instead of rollouts")
    parser.add_argument("--robot", default="left", help="robot in the bag; give its --embodiment too")
    arguments = parser.parse_args()
    for embodiment in arguments.embodiment or ["mimic_hand", "panda_gripper"]:
        found: dict[tuple[str, str], list[np.ndarray]] = {}
        hand, arm = load_embodiment(embodiment), load_arm("panda")
        limits = {"hand set point": hand.max_acceleration, "arm set point": arm.max_acceleration}
        for recorded, arrivals in runs(arguments, embodiment):
            for what, rows in recorded.items():
                for kind, values in changes(rows, "set point" in what, arrivals).items():
                    found.setdefault((what, kind), []).append(values)
                if what in limits:
                    found.setdefault((what, "acceleration / limit"), []).append(accelerations(rows, limits[what]))
        for (what, kind), parts in found.items():
            values = np.concatenate(parts)
            if len(values):
                median, high, top = np.median(values), np.percentile(values, 99), values.max()
                within = np.concatenate(found[what, "within"]).max()
                ratio = "" if "/" in kind or kind == "within" else f" | {top / within:.2f} x within"
                print(f"{embodiment} | {what}, {kind} | {median:.4f} | {high:.4f} | {top:.4f}{ratio} | n {len(values)}", flush=True)


if __name__ == "__main__":
    main()
