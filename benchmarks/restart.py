"""Time until a killed node works again: from SIGKILL to its first output, for each kind of node of the simulated demo fleet.

Run from the checkout; it takes about 4 minutes:

    .venv/bin/python benchmarks/restart.py --repeats 3

A node is killed while all others run, so its start competes with two simulators for the processor. The first output is the
first message that a subscriber receives after the kill: an action chunk, a command, joint states, an image, or the recorder's
diagnostics. The script measures another checkout when that checkout's Python runs it.
"""

from __future__ import annotations

import argparse
import json
import os
import signal
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

NODES = {  # kind of node: its full name, and its output
    "policy": ("/policy", "left chunk"),
    "decoder": ("/left/decoder", "left command"),
    "arm driver": ("/left/arm_driver", "left arm"),
    "hand driver": ("/left/hand_driver", "left hand"),
    "gripper driver": ("/right/gripper_driver", "right hand"),
    "recorder": ("/recorder", "recorder"),
    "simulator": ("/left/sim", "left image"),
}
IN_FLIGHT = 0.3  # s after a kill in which messages of the killed process may still arrive
FRESH, SETTLED = 1.5, 3.0  # s: age of each output below which the fleet is complete, and time for which it is
TIMEOUT = 90.0  # s


class Outputs:
    """Arrival times of the outputs of all nodes."""

    def __init__(self) -> None:
        from diagnostic_msgs.msg import DiagnosticArray
        from sensor_msgs.msg import Image, JointState
        from trajectory_msgs.msg import JointTrajectory

        from latent_policy_ros.msg import LatentAction
        from latent_policy_ros.nodes.base import ros_context
        from latent_policy_ros.nodes.topics import qos

        ros_context.init(images=True)
        import rclpy

        self.node, self.executor, self.arrivals = rclpy.create_node("restart_monitor"), ros_context.Executor(), {}
        self.executor.add_node(self.node)

        def listen(message_type: type, topic: str, profile: Any, name: Any) -> None:
            def note(message: Any) -> None:
                if output := name(message):
                    self.arrivals[output] = time.monotonic()

            self.node.create_subscription(message_type, topic, note, profile)

        listen(LatentAction, "/left/latent_action", qos.LATENTS, lambda _: "left chunk")
        listen(JointTrajectory, "/left/hand_command", qos.COMMANDS, lambda message: message.points and "left command")
        for robot in ("left", "right"):
            part = lambda message, robot=robot: f"{robot} {'arm' if message.name[0].startswith('panda_joint') else 'hand'}"
            part = part if robot == "left" else lambda message: "" if len(message.name) > 2 else "right hand"
            listen(JointState, f"/{robot}/joint_states", qos.STATES, part)
        listen(Image, "/left/front/image_raw", qos.IMAGES, lambda _: "left image")
        listen(DiagnosticArray, "/diagnostics", qos.EVENTS, lambda message: message.status[0].name.strip("/"))

    def spin(self, seconds: float) -> None:
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            self.executor.spin_once(timeout_sec=0.02)

    def wait(self, condition: Any, timeout: float = TIMEOUT) -> bool:
        end = time.monotonic() + timeout
        while not condition():
            if time.monotonic() > end:
                return False
            self.spin(0.01)
        return True

    def complete(self) -> bool:
        """Whether every node has published within ``FRESH``."""
        return all(time.monotonic() - self.arrivals.get(output, 0.0) < FRESH for _, output in NODES.values())

    def missing(self) -> str:
        return ", ".join(kind for kind, (_, output) in NODES.items() if time.monotonic() - self.arrivals.get(output, 0.0) >= FRESH)


def pid_of(parent: int, full_name: str) -> int | None:
    """Process of a node that ``parent`` started."""
    namespace, name = full_name.rsplit("/", 1)
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            arguments = (folder / "cmdline").read_text().split("\0")
            started_by = int((folder / "stat").read_text().rsplit(")", 1)[1].split()[1])
        except OSError:
            continue
        if started_by == parent and f"__ns:={namespace or '/'}" in arguments and f"__node:={name}" in arguments:
            return int(folder.name)
    return None


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--node", action="append", choices=NODES, help="repeatable; default: all")
    parser.add_argument("--domain", type=int, default=87, help="ROS domain")
    arguments = parser.parse_args()
    os.environ |= {"ROS_DOMAIN_ID": str(arguments.domain), "ROS_AUTOMATIC_DISCOVERY_RANGE": "LOCALHOST"}
    found: dict[str, list[float]] = {kind: [] for kind in arguments.node or NODES}
    with tempfile.TemporaryDirectory() as folder:
        os.environ["LATENT_POLICY_HOME"] = folder
        command = [str(Path(sys.executable).parent / "latent-policy"), "up", "demo", "--record"]
        with (Path(folder) / "up.log").open("w") as log:
            process = subprocess.Popen(command, stdout=log, stderr=log, start_new_session=True)
        try:
            outputs = Outputs()
            for _ in range(arguments.repeats):
                for kind in found:
                    if not outputs.wait(outputs.complete):
                        sys.exit(f"no output of: {outputs.missing()}\n" + (Path(folder) / "up.log").read_text()[-3000:])
                    outputs.spin(SETTLED)
                    full_name, output = NODES[kind]
                    pid = pid_of(process.pid, full_name)
                    if pid is None:
                        sys.exit(f"no process of {full_name}")
                    os.kill(pid, signal.SIGKILL)
                    killed = time.monotonic()
                    if outputs.wait(lambda: outputs.arrivals[output] > killed + IN_FLIGHT):  # noqa: B023 - called at once
                        found[kind].append(outputs.arrivals[output] - killed)
                    print(json.dumps({kind: found[kind]}), file=sys.stderr, flush=True)
        finally:
            process.send_signal(signal.SIGINT)
            process.wait(90)
    print("| node | s until its first output: median | of each kill |\n|---|---|---|")
    for kind, times in found.items():
        print(f"| {kind} | {statistics.median(times) if times else float('nan'):.1f} | {', '.join(f'{t:.1f}' for t in times)} |")


if __name__ == "__main__":
    main()
