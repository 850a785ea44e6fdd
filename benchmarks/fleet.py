"""What a fleet costs: rates, latency, CPU and memory with 1 to 32 mock robots, for each way of sharing processes.

    .venv/bin/python benchmarks/fleet.py                               # 1 to 16 robots, each way
    .venv/bin/python benchmarks/fleet.py --robots 4 --compose robot --json fleet.json
    .venv/bin/python benchmarks/fleet.py --robots 2 --compose none --flood 8000     # one robot's joint_states flooded

The policy, decoders and drivers of all robots run as real nodes over ROS 2, with joints that follow every command. A process for
each four robots publishes a 96 x 96 image of each robot's camera at 30 Hz. These and this process, which counts messages, are not
part of the cost. Run it with nothing else on the machine; ``taskset -c 0,1`` gives the figures of two cores.

With ``--flood``, each fleet is measured a second time while another process publishes that many joint states per second on the
topic of the first robot. That row gives the rates and latencies of the other robots, and no cost of the flooding process.

With ``--floor``, a further process publishes a command for each image of the first robot, and does nothing else. The last column is
the ratio of the fleet's median latency to that of this process plus the time of the network for all robots: once with the time that
it takes alone, before and after, ten times a second, and once with the time that the policy node reports, beside all others.
"""

from __future__ import annotations

import argparse
import json
import multiprocessing
import os
import struct
import tempfile
import time
from collections import Counter, defaultdict
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import psutil

from latent_policy_ros import bringup
from latent_policy_ros.bringup.composition import MODES
from latent_policy_ros.bringup.supervisor import Supervisor
from latent_policy_ros.common.paths import artifact
from latent_policy_ros.common.ros_environment import private_domain
from latent_policy_ros.nodes.episode_summary import RobotMeasures

FLOOR, FLOOR_JOINTS = "floor/hand_command", [f"joint_{k}" for k in range(16)]
WRIST = np.array([0.4, 0.0, 0.4, 0.0, 0.0, 0.0, 1.0])
EMBODIMENTS = "mimic_hand", "panda_gripper", "orca_hand", "robotiq_2f85"
IMAGE_RATE, PLAN_PERIOD, PLANS = 30.0, 0.1, 40  # Hz, s; plans that are measured alone
STAMP, STAMP_PLACE = struct.Struct("=iI"), 4  # of a serialised message that begins with a header
ROBOTS_PER_CAMERA_PROCESS = 4  # of more images in one burst, the last arrive up to 0.15 s late on two busy cores
SETTLE, READY_TIMEOUT = 3.0, 240.0  # s
COLUMNS = (
    "robots", "processes", "chunks [Hz]", "commands [Hz]", "holds", "camera to command p50 / p99 [ms]", "policy [cores]",
    "others [cores per robot]",
    "policy [MB]", "others [MB per robot]", "flood [1/s]", "floor p50 / p99 [ms]", "network alone / in the node [ms]",
    "ratios",
)  # fmt: skip


def fleet_file(robots: int, folder: Path) -> Path:
    """A fleet of mock robots with one camera each."""
    entries = {
        f"r{k:02d}": {"embodiment": EMBODIMENTS[k % len(EMBODIMENTS)], "cameras": ["front"], "driver": "mock"}
        for k in range(robots)
    }
    file = folder / "fleet.yaml"
    file.write_text(json.dumps({"policy": "default", "latent": "default", "robots": entries}))
    return file


def publish_images(names: list[str]) -> None:
    """Publish an image of every robot at ``IMAGE_RATE``, until this process is terminated."""
    import rclpy
    from rclpy.serialization import serialize_message
    from rclpy.signals import SignalHandlerOptions
    from sensor_msgs.msg import Image

    from latent_policy_ros.nodes.base import ros_context
    from latent_policy_ros.nodes.topics import message_conversion, qos

    ros_context.init(images=True, signal_handler_options=SignalHandlerOptions.NO)  # SIGTERM ends this process at once
    node = rclpy.create_node("benchmark_cameras")
    publishers = [node.create_publisher(Image, f"{name}/front/image_raw", qos.IMAGES) for name in names]
    film = np.random.default_rng(0).integers(0, 255, (30, 96, 96, 3), dtype=np.uint8)
    frames = [bytearray(serialize_message(message_conversion.image(0.0, "front", image))) for image in film]
    due, frame = time.monotonic(), 0
    while True:
        data = frames[frame % len(frames)]
        for publisher in publishers:
            STAMP.pack_into(data, STAMP_PLACE, *message_conversion.seconds_and_nanoseconds(time.time()))
            publisher.publish(bytes(data))
        frame, due = frame + 1, due + 1 / IMAGE_RATE
        time.sleep(max(0.0, due - time.monotonic()))


def answer_images(images: str, commands: str) -> None:
    """Publish a command with the stamp of each image, until this process is terminated."""
    import rclpy
    from rclpy.signals import SignalHandlerOptions
    from sensor_msgs.msg import Image
    from std_msgs.msg import Header
    from trajectory_msgs.msg import JointTrajectory, JointTrajectoryPoint

    from latent_policy_ros.nodes.base import ros_context
    from latent_policy_ros.nodes.topics import qos

    ros_context.init(images=True, signal_handler_options=SignalHandlerOptions.NO)
    node, executor = rclpy.create_node("benchmark_floor"), ros_context.Executor()
    publisher = node.create_publisher(JointTrajectory, commands, qos.COMMANDS)
    points = [JointTrajectoryPoint(positions=[0.0] * len(FLOOR_JOINTS))]

    def answer(image: Image) -> None:
        publisher.publish(JointTrajectory(header=Header(stamp=image.header.stamp), joint_names=FLOOR_JOINTS, points=points))

    node.create_subscription(Image, images, answer, qos.IMAGES)
    executor.add_node(node)
    while True:
        executor.spin_once(timeout_sec=1.0)


def planning(embodiments: list[str], cameras: tuple[str, ...]) -> Callable[[], object]:
    """A function that runs the network of the shipped policy for one plan of robots with these end-effectors and cameras."""
    import torch

    from latent_policy_ros.embodiments import load_embodiment
    from latent_policy_ros.latent import LatentSpace
    from latent_policy_ros.observations.observation import Observation
    from latent_policy_ros.policy import Policy

    torch.set_num_threads(1)
    policy = Policy.load(artifact("policies", "default"), LatentSpace.load(artifact("latents", "default")))
    images = dict.fromkeys(cameras, np.zeros((96, 96, 3), np.uint8))
    hands = [load_embodiment(name) for name in embodiments]
    inputs = [policy.prepare([Observation(1.0, images, WRIST, hand.rest, hand)]) for hand in hands]
    return lambda: policy.predict(inputs)


def durations(action: Callable[[], object], repeats: int) -> list[float]:
    """Durations of ``action`` [s] as often as a policy plans; without pauses, the caches of the processor halve them."""
    times = []
    for _ in range(repeats):
        time.sleep(PLAN_PERIOD)
        began = time.perf_counter()
        action()
        times.append(time.perf_counter() - began)
    return times


def flood(topic: str, rate: float, sent: Any) -> None:
    """Publish joint states of no robot on ``topic`` at ``rate`` [Hz], and count them in ``sent``, until it is terminated."""
    import rclpy
    from rclpy.serialization import serialize_message
    from rclpy.signals import SignalHandlerOptions
    from sensor_msgs.msg import JointState

    from latent_policy_ros.nodes.base import ros_context
    from latent_policy_ros.nodes.topics import qos

    ros_context.init(images=False, signal_handler_options=SignalHandlerOptions.NO)
    publisher = rclpy.create_node("benchmark_flood").create_publisher(JointState, topic, qos.STATES)
    message = serialize_message(JointState(name=["nobody"], position=[0.0]))
    began = time.monotonic()
    while True:
        for _ in range(20):
            publisher.publish(message)
        sent.value += 20
        time.sleep(max(0.0, began + sent.value / rate - time.monotonic()))


def usage(supervisor: Supervisor) -> dict[str, tuple[float, float]]:
    """{name of the process: (CPU time so far [s], memory that only it uses [MB])}."""
    found = {}
    for spec in supervisor.specs:
        process = psutil.Process(supervisor.process(spec.full_name).pid)
        times = process.cpu_times()
        found[spec.full_name] = times.user + times.system, process.memory_full_info().uss / 1e6
    return found


def measure(robots: int, mode: str, seconds: float, flood_rate: float, with_floor: bool) -> list[dict[str, Any]]:
    """Start a fleet and measure it for ``seconds``, and for as long with a flood of ``flood_rate`` [Hz] if that is not 0."""
    import rclpy
    from diagnostic_msgs.msg import DiagnosticArray
    from trajectory_msgs.msg import JointTrajectory

    from latent_policy_ros.msg import LatentAction
    from latent_policy_ros.nodes.base import ros_context
    from latent_policy_ros.nodes.topics import qos
    from latent_policy_ros.nodes.topics.message_template import MessageTemplate, command_template

    with tempfile.TemporaryDirectory() as scratch:
        fleet = bringup.load_fleet(str(fleet_file(robots, Path(scratch))))
        hands = [robot.embodiment.name for robot in fleet.robots.values()]
        plan = planning(hands, ("front",)) if with_floor else None
        network = durations(plan, PLANS) if plan else [np.nan]
        measures: dict[str, RobotMeasures] = defaultdict(RobotMeasures)
        holds: Counter[str] = Counter()
        counting, inference = False, np.nan
        node, executor = rclpy.create_node(f"benchmark_{mode}_{robots}"), ros_context.Executor()
        executor.add_node(node)

        def on_chunk(name: str, _: bytes) -> None:
            measures[name].chunks += counting

        def on_command(name: str, template: MessageTemplate, data: bytes) -> None:
            values = template.read(data)
            if counting and values:
                measures[name].add_command(values[0], time.time())
            elif counting:
                holds[name] += 1
            elif values:
                measures[name].commands += 1

        def count_commands(name: str, topic: str, joint_names: Sequence[str]) -> None:
            callback = partial(on_command, name, command_template(joint_names))
            node.create_subscription(JointTrajectory, topic, callback, qos.COMMANDS, raw=True)

        for name, robot in fleet.robots.items():
            node.create_subscription(LatentAction, f"{name}/latent_action", partial(on_chunk, name), qos.LATENTS, raw=True)
            count_commands(name, f"{name}/{robot.embodiment.command}_command", robot.embodiment.joint_names)

        if with_floor:
            count_commands(FLOOR, FLOOR, FLOOR_JOINTS)

        def on_diagnostics(message: DiagnosticArray) -> None:
            nonlocal inference
            for value in (value for status in message.status if status.name == "/policy" for value in status.values):
                if value.key == "inference" and value.value.startswith("p50 "):
                    inference = float(value.value.split()[1].rstrip(","))

        node.create_subscription(DiagnosticArray, "/diagnostics", on_diagnostics, qos.EVENTS)

        def spin(until) -> None:
            while not until():
                executor.spin_once(timeout_sec=0.05)

        def counted(supervisor: Supervisor, names: list[str]) -> dict[str, Any]:
            """Measure for ``seconds``; rates and latencies are those of the worst of the robots ``names``."""
            nonlocal counting
            settled = time.monotonic() + SETTLE
            spin(lambda: time.monotonic() > settled)
            measures.clear()
            holds.clear()
            counting, before, first, flooded = True, usage(supervisor), time.monotonic(), sent.value
            spin(lambda: time.monotonic() > first + seconds)
            counting, elapsed, after = False, time.monotonic() - first, usage(supervisor)
            cores = {name: (after[name][0] - before[name][0]) / elapsed for name in after}
            worst = [measures[name] for name in names]
            latency = {p: 1e3 * max(m.latency.summary().get(p, np.inf) for m in worst) for p in ("p50", "p99")}
            floor = {p: 1e3 * measures[FLOOR].latency.summary().get(p, np.nan) for p in latency}
            return {
                "robots": robots, "compose": mode, "processes": len(specs), "seconds_to_first_commands": round(start_time, 1),
                "chunks_hz": min(m.chunks for m in worst) / elapsed, "commands_hz": min(m.commands for m in worst) / elapsed,
                "holds": sum(holds[name] for name in names),
                "latency_p50_ms": latency["p50"], "latency_p99_ms": latency["p99"],
                "floor_p50_ms": floor["p50"], "floor_p99_ms": floor["p99"], "network_in_node_ms": inference,
                "ratio_in_node": latency["p50"] / (floor["p50"] + inference),
                "policy_cores": cores["/policy"], "cores_per_robot": (sum(cores.values()) - cores["/policy"]) / robots,
                "policy_mb": after["/policy"][1],
                "mb_per_robot": sum(mb for name, (_, mb) in after.items() if name != "/policy") / robots,
                "flood_hz": (sent.value - flooded) / elapsed, "cores": cores,
            }  # fmt: skip

        specs = bringup.compose(bringup.node_specs(fleet), mode)
        spawn, names = multiprocessing.get_context("spawn"), list(fleet.robots)
        sent = spawn.Value("L", 0, lock=False)
        parts = [names[k : k + ROBOTS_PER_CAMERA_PROCESS] for k in range(0, robots, ROBOTS_PER_CAMERA_PROCESS)]
        cameras = [spawn.Process(target=publish_images, args=(part,), daemon=True) for part in parts]
        answerer = spawn.Process(target=answer_images, args=(f"{names[0]}/front/image_raw", FLOOR), daemon=True)
        flooder = spawn.Process(target=flood, args=(f"{names[0]}/joint_states", flood_rate, sent), daemon=True)
        began = time.monotonic()
        with Supervisor(specs, log_folder=Path(scratch) / "log", say=lambda _: None) as supervisor:
            for process in (*cameras, *([answerer] if with_floor else [])):
                process.start()
            try:
                ready = lambda: len(measures) == robots + with_floor and all(m.commands > 20 for m in measures.values())
                spin(lambda: ready() or time.monotonic() - began > READY_TIMEOUT)
                if not ready():
                    raise SystemExit(f"{robots} robots, {mode}: not all robots were commanded after {READY_TIMEOUT:g} s")
                start_time = time.monotonic() - began
                rows = [counted(supervisor, names)]
                if flood_rate:
                    flooder.start()
                    spin(lambda: sent.value > 0)
                    rows.append(counted(supervisor, names[1:]))
            finally:
                for process in (*cameras, answerer, flooder):
                    if process.is_alive():
                        process.terminate()
                        process.join()
                node.destroy_node()
        network += durations(plan, PLANS) if plan else []
        for row in rows:
            row["network_ms"] = 1e3 * float(np.median(network))
            row["ratio"] = row["latency_p50_ms"] / (row["floor_p50_ms"] + row["network_ms"])
    return rows


def cells(r: dict) -> list[str]:
    """The row of a measurement, in the order of ``COLUMNS``. Rates and latencies are those of the worst robot."""
    return [
        f"{r['robots']}", f"{r['processes']} ({r['compose']})", f"{r['chunks_hz']:.1f}", f"{r['commands_hz']:.1f}", f"{r['holds']}",
        f"{r['latency_p50_ms']:.0f} / {r['latency_p99_ms']:.0f}", f"{r['policy_cores']:.2f}", f"{r['cores_per_robot']:.3f}",
        f"{r['policy_mb']:.0f}", f"{r['mb_per_robot']:.0f}", f"{r['flood_hz']:.0f}",
        f"{r['floor_p50_ms']:.1f} / {r['floor_p99_ms']:.1f}", f"{r['network_ms']:.1f} / {r['network_in_node_ms']:.1f}",
        f"{r['ratio']:.2f} / {r['ratio_in_node']:.2f}",
    ]  # fmt: skip


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--robots", type=int, nargs="+", default=[1, 2, 4, 8, 16], help="numbers of robots")
    parser.add_argument("--compose", nargs="+", choices=MODES, default=list(MODES), help="ways of sharing processes")
    parser.add_argument("--seconds", type=float, default=20.0, help="duration of each measurement")
    parser.add_argument("--flood", type=float, default=0.0, help="joint states per second on the topic of the first robot")
    parser.add_argument("--floor", action="store_true", help="also measure a process that only answers images with commands")
    parser.add_argument("--json", type=Path, help="also write the measurements to this file")
    options = parser.parse_args()
    if options.flood and min(options.robots) < 2:
        parser.error("--flood: needs at least 2 robots")
    from latent_policy_ros.nodes.base import ros_context

    for line in (COLUMNS, ["---"] * len(COLUMNS)):
        print(f"| {' | '.join(line)} |")
    results = []
    with private_domain() as domain:
        os.environ.update(domain)
        ros_context.init(images=False)
        for mode in options.compose:
            for robots in options.robots:
                for row in measure(robots, mode, options.seconds, options.flood, options.floor):
                    results.append(row)
                    print(f"| {' | '.join(cells(row))} |", flush=True)
        ros_context.shutdown()
    if options.json:
        options.json.write_text(json.dumps(results, indent=1))


if __name__ == "__main__":
    main()
