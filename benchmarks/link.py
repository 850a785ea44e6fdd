"""Policy and robot on two machines with a bad network between them: success, rates, and what happens when the network breaks.

Run as root on Linux, alone on the machine:

    .venv/bin/python benchmarks/link.py --episodes 20
    .venv/bin/python benchmarks/link.py --episodes 20 --discovery server

Two network namespaces stand for two machines. ``latent-policy up --only`` starts the simulated robot with its drivers and decoder
in one, and policy and episodes in the other. IP packets between them are delayed (20 ms, plus or minus 5 ms) and lost (1%) in each
direction. Images are compressed. Nodes find each other by multicast, or, with ``--discovery server``, by a Fast DDS Discovery
Server, or, with ``--discovery peers``, by ``ROS_STATIC_PEERS``; in these two cases multicast packets are lost.

Three parts, with the same seeds: ``local``, everything on one machine; ``link``, over the bad network; ``breaks``, over it with
breaks of 2 s, in which nothing arrives. For the breaks, the last line gives the times until the decoder commands to hold, and from
the end of a break until it commands motion again.
"""

from __future__ import annotations

import argparse
import ctypes
import fcntl
import heapq
import json
import os
import random
import select
import signal
import struct
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

from latent_policy_ros.common.processes import die_with_parent
from latent_policy_ros.common.ros_environment import node_environment
from latent_policy_ros.sim.evaluation import wilson_interval

CELL, DESK = "lpr-cell", "lpr-desk"  # namespaces of the robot and of the policy
ADDRESSES = {CELL: "10.99.0.1", DESK: "10.99.0.2"}
ROBOT, FIRST_SEED, TIME_LIMIT, DOMAIN, SERVER_PORT = "cell", 48_600_000, 25.0, "97", 11811
FLEET = f"""\
task: pick up the cube and put it into the box
policy: default
latent: default
robots:
  {ROBOT}: {{embodiment: mimic_hand, cameras: [front, wrist], driver: sim, images: compressed}}
"""
BREAK, BREAK_EVERY = 2.0, 7.0  # s
CLONE_NEWNET, TUNSETIFF, IFF_TUN, IFF_NO_PI = 0x40000000, 0x400454CA, 0x0001, 0x1000
MAX_PACKET = 65535
DESTINATION, MULTICAST = 16, range(224, 240)  # byte of an IPv4 header: the first one of the address, and its values for multicast


class Link(threading.Thread):
    """Carries IP packets between two tun devices.

    Args:
        devices: Their file descriptors.
        delay, jitter: Mean delay, and its largest deviation [s].
        loss: Share of the packets that are lost.
        multicast: Whether multicast packets are carried.
    """

    def __init__(self, devices: tuple[int, int], delay: float, jitter: float, loss: float, multicast: bool) -> None:
        super().__init__(name="link", daemon=True)
        self._other = {devices[0]: devices[1], devices[1]: devices[0]}
        self._delay, self._jitter, self._loss, self._multicast = delay, jitter, loss, multicast
        self.broken, self._random = False, random.Random(0)

    def run(self) -> None:
        waiting: list[tuple[float, int, int, bytes]] = []  # time of arrival, number, device, packet
        number = 0
        while True:
            left = max(0.0, waiting[0][0] - time.monotonic()) if waiting else 0.1
            for device in select.select(list(self._other), [], [], left)[0]:
                packet = os.read(device, MAX_PACKET)
                carried = self._multicast or packet[DESTINATION] not in MULTICAST
                if carried and not self.broken and self._random.random() >= self._loss:
                    arrival = time.monotonic() + self._delay + self._random.uniform(-self._jitter, self._jitter)
                    number += 1
                    heapq.heappush(waiting, (arrival, number, self._other[device], packet))
            while waiting and waiting[0][0] <= time.monotonic():
                _, _, device, packet = heapq.heappop(waiting)
                if not self.broken:
                    os.write(device, packet)


def run_ip(*arguments: str, inside: str = "") -> None:
    subprocess.run(["ip", *(["-n", inside] if inside else []), *arguments], check=True)


def tun_device(namespace: str) -> int:
    """A tun device ``link0`` in a namespace, with its address; returns its file descriptor."""
    libc, home = ctypes.CDLL(None, use_errno=True), os.open("/proc/self/ns/net", os.O_RDONLY)
    there = os.open(f"/run/netns/{namespace}", os.O_RDONLY)
    try:
        if libc.setns(there, CLONE_NEWNET):
            raise OSError(ctypes.get_errno(), f"cannot enter the network namespace {namespace}")
        device = os.open("/dev/net/tun", os.O_RDWR)
        fcntl.ioctl(device, TUNSETIFF, struct.pack("16sH", b"link0", IFF_TUN | IFF_NO_PI))
    finally:
        libc.setns(home, CLONE_NEWNET)
        os.close(home)
        os.close(there)
    run_ip("addr", "add", f"{ADDRESSES[namespace]}/24", "dev", "link0", inside=namespace)
    run_ip("link", "set", "link0", "up", "multicast", "on", "mtu", "1500", inside=namespace)
    run_ip("route", "add", "224.0.0.0/4", "dev", "link0", inside=namespace)
    return device


@contextmanager
def two_machines(delay: float, jitter: float, loss: float, multicast: bool) -> Iterator[Link]:
    """The namespaces and the link between them."""
    for name in (CELL, DESK):
        subprocess.run(["ip", "netns", "del", name], stderr=subprocess.DEVNULL, check=False)
        run_ip("netns", "add", name)
        run_ip("link", "set", "lo", "up", inside=name)
    try:
        link = Link((tun_device(CELL), tun_device(DESK)), delay, jitter, loss, multicast)
        link.start()
        yield link
    finally:
        for name in (CELL, DESK):
            run_ip("netns", "del", name)


class Machines:
    """Processes on the two machines.

    Args:
        discovery: How nodes find each other: multicast, server (in the cell) or peers.
        out: Folder of the logs.
    """

    def __init__(self, discovery: str, out: Path, stack: ExitStack) -> None:
        self._environment = node_environment(os.environ | {"ROS_DOMAIN_ID": DOMAIN})
        self._out, self._stack, self._scripts = out, stack, Path(sys.executable).parent
        if discovery == "peers":
            self._environment["ROS_STATIC_PEERS"] = ";".join(ADDRESSES.values())
        if discovery == "server":
            server = {"ROS_DISCOVERY_SERVER": f"{ADDRESSES[CELL]}:{SERVER_PORT}", "ROS_SUPER_CLIENT": "TRUE"}
            self._environment.update(server)
            command = [self._scripts / "fast-discovery-server", "-i", "0", "-l", ADDRESSES[CELL], "-p", str(SERVER_PORT)]
            self.start(CELL, "server", *map(str, command))

    def start(self, machine: str, log: str, *command: str) -> subprocess.Popen:
        with (self._out / f"{log}.log").open("w") as file:
            process = subprocess.Popen(
                ["ip", "netns", "exec", machine, *command],
                env=self._environment,
                stdout=file,
                stderr=file,
                preexec_fn=die_with_parent,
            )
        self._stack.callback(end, process)
        return process

    def up(self, machine: str, part: str, fleet: Path, name: str) -> None:
        self.start(machine, f"{name}-{part}", str(self._scripts / "latent-policy"), "up", str(fleet), "--only", part)

    def episodes(self, machine: str, name: str, count: int) -> subprocess.Popen:
        """Run episodes; their summary is written to ``<name>.json``."""
        values = {"robots": f"[{ROBOT}]", "episodes": count, "seed": FIRST_SEED, "time_limit": TIME_LIMIT,
                  "summary": self._out / f"{name}.json"}  # fmt: skip
        parameters = [word for key, value in values.items() for word in ("-p", f"{key}:={value}")]
        module = "latent_policy_ros.nodes.episode_runner"
        return self.start(machine, f"{name}-runner", sys.executable, "-m", module, "--ros-args", *parameters)

    def watch(self, machine: str, name: str) -> Path:
        """Write the time of each command, and whether it moves the hand, to a file."""
        file = self._out / f"{name}-commands.jsonl"
        self.start(machine, f"{name}-watch", sys.executable, __file__, "--watch", str(file))
        return file


def end(process: subprocess.Popen) -> None:
    process.send_signal(signal.SIGINT)
    try:
        process.wait(20.0)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()


def watch(file: Path) -> None:
    """Body of the process that ``Machines.watch`` starts."""
    import rclpy
    from trajectory_msgs.msg import JointTrajectory

    from latent_policy_ros.nodes.base import ros_context
    from latent_policy_ros.nodes.topics import qos

    ros_context.init(images=False)
    node, executor = rclpy.create_node("command_watch"), ros_context.Executor()
    executor.add_node(node)
    with file.open("w", buffering=1) as lines:
        write: Callable = lambda message: lines.write(json.dumps([time.time(), bool(message.points)]) + "\n")
        node.create_subscription(JointTrajectory, f"{ROBOT}/hand_command", write, qos.COMMANDS)
        while rclpy.ok():
            executor.spin_once(timeout_sec=0.1)


def break_link(link: Link, runner: subprocess.Popen) -> list[tuple[float, float]]:
    """Break the link again and again while episodes run; returns begin and end of each break [s since the epoch]."""
    breaks = []
    while runner.poll() is None:
        time.sleep(BREAK_EVERY - BREAK)
        link.broken, began = True, time.time()
        time.sleep(BREAK)
        link.broken = False
        breaks.append((began, time.time()))
    return breaks


def hold_and_resume(breaks: list[tuple[float, float]], commands: list[tuple[float, bool]]) -> tuple[list[float], list[float]]:
    """Times from the begin of a break to the hold, and from its end to the next motion, of breaks that began in motion."""
    holds, resumes = [], []
    for began, ended in breaks:
        if not any(moves for at, moves in commands if began - 0.1 < at < began):
            continue
        holds.append(next((at - began for at, moves in commands if at > began and not moves), float("inf")))
        resumes.append(next((at - ended for at, moves in commands if at > ended and moves), float("inf")))
    return holds, resumes


def row(name: str, file: Path) -> str:
    """A row of the table, from the summary of the episodes."""
    summary = json.loads(file.read_text())
    measured, count = summary["robots"][ROBOT], len(summary["episodes"])
    won = [episode["robots"][ROBOT] for episode in summary["episodes"] if episode["robots"][ROBOT] is not None]
    low, high = wilson_interval(len(won), count)
    latency = measured["camera_to_command_ms"]
    cells = (
        name, f"{len(won)}/{count}, {low:.0%} .. {high:.0%}", f"{sorted(won)[len(won) // 2]:.1f}" if won else "-",
        f"{measured['chunk_rate_hz']:.1f}", f"{measured['command_rate_hz']:.0f}", f"{latency['p50']:.0f} / {latency['p99']:.0f}",
    )  # fmt: skip
    return f"| {' | '.join(cells)} |"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--episodes", type=int, default=20)
    parser.add_argument("--delay", type=float, default=20.0, help="ms")
    parser.add_argument("--jitter", type=float, default=5.0, help="ms")
    parser.add_argument("--loss", type=float, default=1.0, help="percent")
    parser.add_argument("--discovery", choices=("multicast", "server", "peers"), default="multicast")
    parser.add_argument("--parts", nargs="+", choices=("local", "link", "breaks"), default=["local", "link", "breaks"])
    parser.add_argument("--out", type=Path, default=Path("runs/link"))
    parser.add_argument("--watch", type=Path, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.watch:
        return watch(options.watch)
    out = options.out.absolute()
    out.mkdir(parents=True, exist_ok=True)
    fleet = out / "fleet.yaml"
    fleet.write_text(FLEET)
    print("| | success, 95% interval | median time [s] | chunks [1/s] | commands [1/s] | camera to command p50 / p99 [ms] |")
    print("|---|---|---|---|---|---|", flush=True)
    for name in options.parts:
        quality = options.delay / 1e3, options.jitter / 1e3, options.loss / 1e2, options.discovery == "multicast"
        with two_machines(*quality) as link, ExitStack() as stack:
            machines, desk = Machines(options.discovery, out, stack), CELL if name == "local" else DESK
            machines.up(CELL, ROBOT, fleet, name)
            machines.up(desk, "shared", fleet, name)
            commands = machines.watch(CELL, name)
            runner = machines.episodes(desk, name, options.episodes)
            if name == "breaks":
                breaks = break_link(link, runner)
            runner.wait()
            time.sleep(0.5)
        print(row(name, out / f"{name}.json"), flush=True)
        if name == "breaks":
            holds, resumes = hold_and_resume(breaks, [tuple(json.loads(line)) for line in commands.read_text().splitlines()])
            print(
                f"{len(holds)} breaks in motion: hold after {max(holds):.2f} s at most, motion {max(resumes):.2f} s after the end"
            )


if __name__ == "__main__":
    main()
