"""Faults while moving: kill and halt each kind of node of the simulated demo fleet, and measure both robots.

Run from the checkout; it takes about 12 minutes and prints the table of docs/explanation/SAFETY.md:

    .venv/bin/python benchmarks/faults.py --repeats 3

Each fault is injected once the victim's arm moves faster than ``MOVING``, in a ROS domain of its own. The joints of both robots
are read at the simulators' sockets, beside their drivers. While a simulator is the victim itself, its robot stands still.

Columns: seconds until the victim's robot stands still (arm, hand); the largest set-point step that a driver wrote, as a multiple of
max_velocity x time, and so for the other robot; the other robot's chunk rate before and during the fault; seconds until the
victim's robot moves again by itself, after the kill or after the end of the halt.
"""

from __future__ import annotations

import argparse
import collections
import json
import os
import signal
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path

import numpy as np

ROBOTS = {"left": "mimic_hand", "right": "panda_gripper"}
VICTIMS = {  # kind of node: its full name, and its robot (None: all)
    "policy": ("/policy", None),
    "decoder": ("/left/decoder", "left"),
    "arm driver": ("/left/arm_driver", "left"),
    "hand driver": ("/left/hand_driver", "left"),
    "gripper driver": ("/right/gripper_driver", "right"),
    "recorder": ("/recorder", None),
    "simulator": ("/left/sim", "left"),
}
FAULTS = {"kill": signal.SIGKILL, "halt": signal.SIGSTOP}
MOVING, STILL = 0.12, 0.03  # rad/s or m/s over WINDOW
WINDOW = 0.1  # s
HALT = 3.0  # s
OBSERVED = 2.0  # s after a fault in which the robot must come to rest
PERIOD = 0.012  # s between two samples


class Joints:
    """Samples (time, stamp, position) of some joints of a simulator, read in a thread."""

    def __init__(self, socket: Path, channel: str, names: tuple[str, ...], max_velocity: np.ndarray) -> None:
        self.max_velocity, self.samples = max_velocity, collections.deque(maxlen=4000)
        threading.Thread(target=self._sample, args=(socket, channel, names), daemon=True).start()

    def _sample(self, socket: Path, channel: str, names: tuple[str, ...]) -> None:
        from latent_policy_ros.common.errors import HardwareError
        from latent_policy_ros.drivers.simulator import SimDriver

        driver, connected = SimDriver(socket, channel, names, timeout=0.3), False
        while True:
            try:
                if not connected:
                    driver.connect()
                    connected = True
                reading = driver.read()
                if not self.samples or self.samples[-1][1] != reading.stamp:
                    self.samples.append((time.monotonic(), reading.stamp, reading.position))
                time.sleep(PERIOD)
            except HardwareError:
                connected = False
                time.sleep(0.1)

    def since(self, start: float) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
        """Times, stamps and positions since ``start``, and the speed of the fastest joint over WINDOW."""
        rows = [row for row in list(self.samples) if row[0] >= start - WINDOW]
        if len(rows) < 3:
            return np.zeros(0), np.zeros(0), np.zeros((0, 1)), np.zeros(0)
        times, stamps, positions = np.array([r[0] for r in rows]), np.array([r[1] for r in rows]), np.stack([r[2] for r in rows])
        back = np.searchsorted(stamps, stamps - WINDOW)
        return times, stamps, positions, np.abs(positions - positions[back]).max(1) / np.maximum(stamps - stamps[back], 0.02)

    @property
    def speed(self) -> float:
        """Speed of the fastest joint over the newest WINDOW; 0 without new samples."""
        times, _, _, speeds = self.since(time.monotonic() - 0.3)
        return float(speeds[-1]) if len(times) and time.monotonic() - times[-1] < 0.3 else 0.0

    def still_after(self, start: float, end: float) -> float | None:
        """Seconds from ``start`` until all joints stand still for the rest of the time up to ``end``; None: they do not."""
        times, _, _, speeds = self.since(start)
        moving = np.flatnonzero((speeds >= STILL) & (times >= start) & (times < end))
        if not len(moving):
            return 0.0
        return None if times[moving[-1]] > end - 0.3 else float(times[moving[-1]] - start)

    def largest_step(self, start: float, end: float) -> float:
        """Largest motion between two samples, as a multiple of max_velocity x time."""
        times, stamps, positions, _ = self.since(start)
        used = times < end
        steps, durations = np.abs(np.diff(positions[used], axis=0)), np.diff(stamps[used])[:, None]
        return float((steps / (self.max_velocity * np.maximum(durations, 0.02))).max()) if len(steps) else 0.0


class Fleet:
    """The demo fleet in processes, and a node that watches it."""

    def __init__(self, log: Path) -> None:
        from std_srvs.srv import Trigger

        from latent_policy_ros.bringup.node_list import default_socket_folder
        from latent_policy_ros.control.arm_description import load_arm
        from latent_policy_ros.embodiments import load_embodiment
        from latent_policy_ros.nodes.base import qos, ros_context

        command = [str(Path(sys.executable).parent / "latent-policy"), "up", "demo", "--record"]
        with log.open("w") as file:
            self.process = subprocess.Popen(command, stdout=file, stderr=file, start_new_session=True)
        ros_context.init(images=False)
        import rclpy

        from latent_policy_ros.msg import LatentAction

        self.node, self.executor = rclpy.create_node("fault_monitor"), ros_context.Executor()
        self.executor.add_node(self.node)
        self.chunks: dict[str, list[float]] = {robot: [] for robot in ROBOTS}
        for robot in ROBOTS:
            note = lambda _, robot=robot: self.chunks[robot].append(time.monotonic())
            self.node.create_subscription(LatentAction, f"/{robot}/latent_action", note, qos.LATENTS)
        self.resets = {robot: self.node.create_client(Trigger, f"/{robot}/sim/reset") for robot in ROBOTS}
        arm = load_arm("panda")
        self.joints = {}
        for robot, name in ROBOTS.items():
            socket, e = default_socket_folder() / f"{robot}.sock", load_embodiment(name)
            self.joints[robot, "arm"] = Joints(socket, "arm", arm.joint_names, arm.max_velocity)
            self.joints[robot, "hand"] = Joints(socket, "hand", e.joint_names, e.max_velocity)

    def spin(self, seconds: float) -> None:
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            self.executor.spin_once(timeout_sec=0.02)

    def until(self, condition, timeout: float) -> float | None:
        """Seconds until ``condition()`` holds in three looks, 50 ms apart; None: not within ``timeout``."""
        start, held = time.monotonic(), 0
        while time.monotonic() - start < timeout:
            self.spin(0.05)
            held = held + 1 if condition() else 0
            if held == 3:
                return time.monotonic() - start
        return None

    def pid(self, full_name: str) -> int | None:
        """Process of a node."""
        for folder in Path("/proc").iterdir():
            try:
                arguments = (folder / "cmdline").read_text().split("\0")
                parent = int((folder / "stat").read_text().rsplit(")", 1)[1].split()[1])
            except (OSError, IndexError):
                continue
            namespace, name = full_name.rsplit("/", 1)
            if parent == self.process.pid and f"__ns:={namespace or '/'}" in arguments and f"__node:={name}" in arguments:
                return int(folder.name)
        return None

    def rate(self, robot: str, start: float, end: float) -> float:
        """Chunks per second of a robot."""
        return sum(start <= t < end for t in self.chunks[robot]) / (end - start)

    def reset(self) -> None:
        """Start new episodes, and wait until both arms move."""
        from std_srvs.srv import Trigger

        for client in self.resets.values():
            if client.wait_for_service(timeout_sec=2.0):
                future = client.call_async(Trigger.Request())
                self.until(future.done, 5.0)
        self.until(lambda: all(self.joints[robot, "arm"].speed > MOVING for robot in ROBOTS), 15.0)

    def stop(self) -> None:
        self.process.send_signal(signal.SIGINT)
        self.process.wait(90)


def inject(fleet: Fleet, victim: str, fault: str) -> dict:
    """Inject one fault; returns a row of the table."""
    full_name, robot = VICTIMS[victim]
    watched, other = robot or "left", "left" if robot == "right" else "right"
    fleet.reset()
    pid = fleet.pid(full_name)
    if pid is None:
        return {"victim": victim, "fault": fault, "error": "no process"}
    fleet.spin(1.0)
    start = time.monotonic()
    before = fleet.rate(other, start - 2.0, start)
    os.kill(pid, FAULTS[fault])
    fleet.spin(OBSERVED)
    end = time.monotonic()
    row = {
        "victim": victim, "fault": fault,
        "arm still [s]": fleet.joints[watched, "arm"].still_after(start, end),
        "hand still [s]": fleet.joints[watched, "hand"].still_after(start, end),
        "other's chunks [1/s]": (before, fleet.rate(other, start, end)),
    }  # fmt: skip
    if fault == "halt":
        fleet.spin(HALT - OBSERVED)
        os.kill(pid, signal.SIGCONT)
    resumed = time.monotonic() if fault == "halt" else start
    if victim == "recorder":
        row["back [s]"] = fleet.until(lambda: fleet.pid(full_name) is not None, 60.0)
    else:
        waited = fleet.until(lambda: fleet.pid(full_name) and fleet.joints[watched, "arm"].speed > MOVING, 60.0)
        row["back [s]"] = None if waited is None else time.monotonic() - resumed
    fleet.spin(1.0)
    end = time.monotonic()
    for label, name in (("step", watched), ("other's step", other)):
        row[label] = max(fleet.joints[name, part].largest_step(start, end) for part in ("arm", "hand"))
    return row


def text(value: object) -> str:
    if value is None:
        return "not"
    if isinstance(value, tuple):
        return " / ".join(map(text, value))
    return f"{value:.2f}" if isinstance(value, float) else str(value)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--victim", action="append", choices=VICTIMS, help="repeatable; default: all")
    parser.add_argument("--json", type=Path, help="also write every row to this file")
    parser.add_argument("--domain", type=int, default=88, help="ROS domain")
    arguments = parser.parse_args()
    os.environ |= {"ROS_DOMAIN_ID": str(arguments.domain), "ROS_AUTOMATIC_DISCOVERY_RANGE": "LOCALHOST"}
    with tempfile.TemporaryDirectory() as folder:
        os.environ["LATENT_POLICY_HOME"] = folder
        fleet, rows = Fleet(Path(folder) / "up.log"), []
        try:
            if fleet.until(lambda: all(joints.samples for joints in fleet.joints.values()), 150.0) is None:
                sys.exit("the fleet did not start:\n" + (Path(folder) / "up.log").read_text()[-3000:])
            for _ in range(arguments.repeats):
                for victim in arguments.victim or VICTIMS:
                    for fault in FAULTS:
                        rows.append(inject(fleet, victim, fault))
                        print(json.dumps(rows[-1]), file=sys.stderr, flush=True)
                        if arguments.json:
                            arguments.json.write_text(json.dumps(rows, indent=1))
        finally:
            fleet.stop()
    columns = ["arm still [s]", "hand still [s]", "step", "other's step", "other's chunks [1/s]", "back [s]"]
    print("| " + " | ".join(["victim", "fault", *columns]) + " |\n" + "|---" * (len(columns) + 2) + "|")
    for row in rows:
        print("| " + " | ".join([row["victim"], row["fault"], *(text(row.get(column, "-")) for column in columns)]) + " |")


if __name__ == "__main__":
    main()
