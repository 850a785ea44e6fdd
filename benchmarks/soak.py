"""Long runs: memory and rates of mock robots that are recorded for an hour, and what many starts and stops leave behind.

    .venv/bin/python benchmarks/soak.py                                  # one hour of four robots, then fifty starts
    .venv/bin/python benchmarks/soak.py --minutes 5 --restarts 3

The policy, decoders, drivers and the recorder run as real nodes over ROS 2; one process publishes a camera image of each robot at
30 Hz. The recorder writes one bag after the other. Every minute is a sample: the lowest rates of any robot, and the memory that
each process has for itself. A start ends when all robots are commanded, a stop with the end of all processes. Files in shared
memory and in the folder for temporary files that were not there before are counted.
"""

from __future__ import annotations

import argparse
import json
import multiprocessing
import os
import tempfile
import time
from collections import Counter
from collections.abc import Callable
from functools import partial
from pathlib import Path

import rclpy
from fleet import fleet_file, publish_images, usage
from rich.console import Console
from rosbags.highlevel import AnyReader
from std_srvs.srv import Trigger
from trajectory_msgs.msg import JointTrajectory

from latent_policy_ros import bringup
from latent_policy_ros.bringup.supervisor import Supervisor
from latent_policy_ros.common.progress import training_progress
from latent_policy_ros.common.ros_environment import private_domain
from latent_policy_ros.msg import LatentAction
from latent_policy_ros.nodes.base import ros_context
from latent_policy_ros.nodes.topics import qos

SAMPLE, EPISODE = 60.0, 300.0  # s
WARM_UP = 0.1  # share of the samples before the memory is compared: buffers and caches fill
READY_TIMEOUT = 120.0  # s
FOLDERS = Path("/dev/shm"), Path(tempfile.gettempdir())


class Soak:
    """A fleet of mock robots with its recorder, and a node that counts its messages."""

    def __init__(self, robots: int, folder: Path) -> None:
        self.folder, self.fleet = folder, bringup.load_fleet(str(fleet_file(robots, folder)))
        self.specs = bringup.compose(bringup.node_specs(self.fleet, record=True, bag_folder=folder / "bags"), "robot")
        self.node, self.executor = rclpy.create_node("soak"), ros_context.Executor()
        self.executor.add_node(self.node)
        self.chunks: Counter[str] = Counter()
        self.commands: Counter[str] = Counter()
        for name, robot in self.fleet.robots.items():
            count = lambda counter, key, _: counter.update([key])
            topic = f"{name}/{robot.embodiment.command}_command"
            self.node.create_subscription(LatentAction, f"{name}/latent_action", partial(count, self.chunks, name), qos.LATENTS)
            self.node.create_subscription(JointTrajectory, topic, partial(count, self.commands, name), qos.COMMANDS)

    def supervisor(self) -> Supervisor:
        """The fleet's processes, started and stopped as a context."""
        return Supervisor(self.specs, log_folder=self.folder / "log", say=lambda _: None)

    def spin(self, until: Callable[[], bool], timeout: float) -> bool:
        """Count messages until ``until()``; whether that came true within ``timeout`` [s]."""
        end = time.monotonic() + timeout
        while not until() and time.monotonic() < end:
            self.executor.spin_once(timeout_sec=0.05)
        return until()

    def wait_for_commands(self) -> None:
        self.commands.clear()
        if not self.spin(lambda: min((self.commands[name] for name in self.fleet.robots), default=0) > 20, READY_TIMEOUT):
            raise SystemExit(f"not all robots were commanded after {READY_TIMEOUT:g} s")

    def call(self, name: str) -> None:
        """Call one of the recorder's services, again while it refuses: at first it may not have received all topics."""
        client, message, end = self.node.create_client(Trigger, name), "no answer", time.monotonic() + READY_TIMEOUT
        while time.monotonic() < end:
            future = client.call_async(Trigger.Request()) if client.wait_for_service(10.0) else None
            if future and self.spin(future.done, READY_TIMEOUT):
                if future.result().success:
                    self.node.destroy_client(client)
                    return
                message = future.result().message
            time.sleep(1.0)
        raise SystemExit(f"{name}: {message}")

    def run(self, minutes: float, progress: Callable[[None], None]) -> list[dict]:
        """Record bags for ``minutes``; returns a sample for each SAMPLE."""
        samples, due = [], 0.0
        with self.supervisor() as supervisor:
            self.wait_for_commands()
            began = time.monotonic()
            while time.monotonic() < began + 60 * minutes:
                if time.monotonic() >= due:
                    due = time.monotonic() + EPISODE
                    self.call("/recorder/start")
                self.chunks.clear(), self.commands.clear()
                first = time.monotonic()
                self.spin(lambda first=first: time.monotonic() > first + SAMPLE, 2 * SAMPLE)
                seconds, names = time.monotonic() - first, self.fleet.robots
                samples.append({
                    "minutes": (time.monotonic() - began) / 60,
                    "chunks_hz": min(self.chunks[name] for name in names) / seconds,
                    "commands_hz": min(self.commands[name] for name in names) / seconds,
                    "mb": {name: mb for name, (_, mb) in usage(supervisor).items()},
                })  # fmt: skip
                progress(None)
            self.call("/recorder/stop")
        return samples

    def images_lost(self) -> tuple[int, int]:
        """Number of images in all bags, and of those missing in between by their stamps."""
        found = lost = 0
        for bag in sorted(self.folder.glob("bags/*/*")):
            stamps: dict[str, list[int]] = {}
            with AnyReader([bag]) as reader:
                chosen = [c for c in reader.connections if "image_raw" in c.topic]
                for connection, _, data in reader.messages(chosen):
                    stamp = reader.deserialize(data, connection.msgtype).header.stamp
                    stamps.setdefault(connection.topic, []).append(stamp.sec * 10**9 + stamp.nanosec)
            for times in stamps.values():
                found += len(times)
                lost += sum(round((b - a) * 30e-9) - 1 for a, b in zip(times, times[1:]) if b - a > 50_000_000)
        return found, lost

    def start_and_stop(self) -> float:
        """Start the fleet until all robots are commanded, and stop it; returns the time of the stop [s]."""
        with self.supervisor():
            self.wait_for_commands()
            began = time.monotonic()
        return time.monotonic() - began


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--robots", type=int, default=4)
    parser.add_argument("--minutes", type=float, default=60.0, help="duration of the recorded run")
    parser.add_argument("--restarts", type=int, default=50, help="starts and stops after it")
    parser.add_argument("--json", type=Path, help="also write the samples to this file")
    options = parser.parse_args()
    console = Console(stderr=True)
    with private_domain() as domain, tempfile.TemporaryDirectory() as scratch:
        os.environ.update(domain)
        ros_context.init(images=False)
        soak = Soak(options.robots, Path(scratch))
        cameras = multiprocessing.get_context("spawn").Process(target=publish_images, args=(list(soak.fleet.robots),), daemon=True)
        cameras.start()
        before = {path for folder in FOLDERS for path in folder.iterdir()}
        with training_progress(console, round(options.minutes), "minutes") as advance:
            samples = soak.run(options.minutes, advance)
        stops = []
        with training_progress(console, options.restarts, "starts and stops") as advance:
            for _ in range(options.restarts):
                stops.append(soak.start_and_stop())
                advance(None)
        left = sorted(str(path) for folder in FOLDERS for path in folder.iterdir() if path not in before)
        images, lost = soak.images_lost()
        cameras.terminate()
        ros_context.shutdown()
    if options.json:
        options.json.write_text(json.dumps(samples, indent=1))
    settled = samples[int(WARM_UP * len(samples)) :]
    print("| process | memory of its own [MB]: after a tenth of the time | at the end | largest |\n|---|---|---|---|")
    for name in settled[-1]["mb"]:
        values = [sample["mb"][name] for sample in settled]
        print(f"| {name} | {values[0]:.0f} | {values[-1]:.0f} | {max(values):.0f} |")
    for key, label in (("chunks_hz", "chunks"), ("commands_hz", "commands")):
        values = sorted(sample[key] for sample in samples)
        print(f"\n{label} of the slowest robot in each minute [Hz]: {values[0]:.1f} .. {values[-1]:.1f}", end="")
    print(f"\nimages recorded: {images}, missing in between: {lost}")
    if stops:
        print(f"{len(stops)} starts and stops, stop after {min(stops):.1f} .. {max(stops):.1f} s")
    print(f"left in {' and '.join(map(str, FOLDERS))}: {', '.join(left) or 'nothing'}")


if __name__ == "__main__":
    main()
