"""Two identical cells on one ROS graph: both run the demo's task at once, then a bag of one is played beside the other.

    .venv/bin/python benchmarks/two_cells.py --episodes 3                   # cells of one robot each
    .venv/bin/python benchmarks/two_cells.py --fleet demo --json two_cells.json     # of two robots; needs more than two cores

Each cell is a bringup inside of ``PushRosNamespace``; in the second one ``SetRemap`` renames ``joint_states``. With a ROS 2
installation launch itself starts them. Without one, :class:`Supervisor` starts the same nodes with the same rules.

In the second part the first cell is stopped, the second one holds its robots (``disengage``), and every message of a bag of the
first one is published, with the times at which they were recorded. Measured are the motion of the second cell's joints, its chunks,
and changes of all bags.
"""

from __future__ import annotations

import argparse
import contextlib
import importlib.util
import json
import multiprocessing
import os
import signal
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from latent_policy_ros import bringup
from latent_policy_ros.bringup.node_list import robot_remaps
from latent_policy_ros.bringup.supervisor import Supervisor, node_command
from latent_policy_ros.cli.common import EVALUATION_SEED
from latent_policy_ros.common.processes import die_with_parent
from latent_policy_ros.common.ros_environment import node_environment, private_domain

RULES: dict[str, list[tuple[str, str]]] = {"cell_a": [], "cell_b": [("joint_states", "measured_joints")]}
ONE_ROBOT = {
    "task": "pick up the cube and put it into the box", "policy": "default", "latent": "default",
    "robots": {"left": {"embodiment": "mimic_hand", "cameras": ["front", "wrist"], "driver": "sim"}},
}  # fmt: skip
LAUNCH_FILE = Path(__file__).parents[1] / "launch" / "bringup.launch.py"
STOP_TIMEOUT, CALL_TIMEOUT, SETTLE = 90.0, 60.0, 3.0  # s


def launch_cell(cell: str, fleet: str, bags: str) -> None:
    """Run a cell under launch until SIGINT."""
    die_with_parent()
    from launch import LaunchDescription, LaunchService
    from launch.actions import GroupAction, IncludeLaunchDescription
    from launch.launch_description_sources import PythonLaunchDescriptionSource
    from launch_ros.actions import PushRosNamespace, SetRemap

    given = {"robots": fleet, "record": "True", "bag_folder": bags}
    include = IncludeLaunchDescription(PythonLaunchDescriptionSource(str(LAUNCH_FILE)), launch_arguments=given.items())
    service = LaunchService(noninteractive=True)  # SIGINT reaches this process alone
    service.include_launch_description(
        LaunchDescription([GroupAction([PushRosNamespace(cell), *(SetRemap(*rule) for rule in RULES[cell]), include])])
    )
    service.run()


@contextlib.contextmanager
def started(cell: str, fleet: str, folder: Path) -> Iterator[None]:
    """A cell, whose output goes to ``folder``."""
    bags = folder / "bags"
    if importlib.util.find_spec("launch_ros"):
        os.environ["ROS_LOG_DIR"] = str(folder / "log" / cell)
        process = multiprocessing.get_context("spawn").Process(target=launch_cell, args=(cell, fleet, str(bags)))
        process.start()
        try:
            yield
        finally:
            assert process.pid is not None
            os.kill(process.pid, signal.SIGINT)
            process.join(STOP_TIMEOUT)
        return
    specs = bringup.node_specs(bringup.load_fleet(fleet), record=True, bag_folder=bags, namespace=cell)
    with Supervisor(
        bringup.in_namespace(specs, cell), log_folder=folder / "log" / cell, restart=True, command=partial(command, cell)
    ):
        yield


def command(cell: str, spec: bringup.NodeSpec, folder: Path) -> list[str]:
    """Command line of a node of a cell, with the rules that launch gives it."""
    rules = [*RULES[cell], *robot_remaps(spec.robots, RULES[cell])]
    return node_command(spec, folder, [word for old, new in rules for word in ("-r", f"{old}:={new}")])


def run_episodes(fleet: bringup.Fleet, episodes: int, folder: Path) -> dict[str, Any]:
    """Run the episodes of both cells at once; returns {cell: summary}."""
    processes, summaries = [], {cell: folder / f"{cell}.json" for cell in RULES}
    for number, (cell, summary) in enumerate(summaries.items()):
        runner = bringup.runner_spec(fleet, episodes=episodes, seed=EVALUATION_SEED + 100 * number, summary=summary)
        runner = replace(runner, namespace=cell, robots=tuple(fleet.robots))
        line = command(cell, runner, folder / "parameters")
        processes.append(subprocess.Popen(line, env=node_environment(), preexec_fn=die_with_parent))
    for process in processes:
        process.wait()
    return {cell: json.loads(summary.read_text()) for cell, summary in summaries.items() if summary.is_file()}


def files(folder: Path) -> dict[str, tuple[int, int]]:
    """{path: (size [bytes], time of the last change [ns])} of all files."""
    return {str(p): (p.stat().st_size, p.stat().st_mtime_ns) for p in sorted(folder.rglob("*")) if p.is_file()}


class Observer:
    """A node that plays bags, and records what the robots of the second cell do."""

    def __init__(self, robots: list[str]) -> None:
        import rclpy
        from sensor_msgs.msg import JointState

        from latent_policy_ros.msg import LatentAction
        from latent_policy_ros.nodes.base import ros_context
        from latent_policy_ros.nodes.topics import qos

        ros_context.init(images=True)
        self.node, self.executor = rclpy.create_node("benchmark_two_cells"), ros_context.Executor()
        self.executor.add_node(self.node)
        self.joints: dict[str, list[list[float]]] = {}
        self.chunks = 0
        for robot in robots:
            add = partial(self._add_joints, robot)
            self.node.create_subscription(JointState, f"/cell_b/{robot}/measured_joints", add, qos.STATES)
            self.node.create_subscription(LatentAction, f"/cell_b/{robot}/latent_action", self._add_chunk, qos.LATENTS)

    def _add_joints(self, robot: str, message: Any) -> None:
        self.joints.setdefault(f"{robot}: {message.name[0]}, ...", []).append(list(message.position))

    def _add_chunk(self, _: Any) -> None:
        self.chunks += 1

    def spin(self, seconds: float, until: Callable[[], bool] = lambda: False) -> None:
        """Receive messages."""
        end = time.monotonic() + seconds
        while time.monotonic() < end and not until():
            self.executor.spin_once(timeout_sec=0.02)

    def call(self, service: str) -> None:
        """Call a service without arguments."""
        from std_srvs.srv import Trigger

        client = self.node.create_client(Trigger, service)
        self.spin(CALL_TIMEOUT, client.service_is_ready)
        future = client.call_async(Trigger.Request())
        self.spin(CALL_TIMEOUT, future.done)
        if not (future.done() and future.result().success):
            raise SystemExit(f"{service}: no success")

    def motion(self, during: Callable[[], Any]) -> dict[str, float]:
        """Largest range of a joint [rad or m] in each message stream while ``during`` runs."""
        self.joints.clear()
        self.chunks = 0
        during()
        return {name: float(np.ptp(np.array(positions), axis=0).max()) for name, positions in sorted(self.joints.items())}

    def play(self, bag: Path) -> int:
        """Publish the messages of a bag with the times at which they were recorded; returns their number."""
        from rclpy.serialization import deserialize_message
        from rosbags.highlevel import AnyReader

        from latent_policy_ros.nodes.topics import message_conversion, qos

        with AnyReader([bag]) as reader:
            messages = [(stamp * 1e-9, c.topic, c.msgtype, data) for c, stamp, data in reader.messages()]
        kinds = {topic: message_conversion.message_class(msg_type) for _, topic, msg_type, _ in messages}
        publishers = {topic: self.node.create_publisher(kind, topic, qos.EVENTS) for topic, kind in kinds.items()}
        self.spin(1.0)
        began = time.monotonic() - messages[0][0]
        for stamp, topic, _, data in messages:
            if (wait := stamp + began - time.monotonic()) > 0:
                self.spin(wait)
            publishers[topic].publish(deserialize_message(data, kinds[topic]))
        self.spin(1.0)
        return len(messages)


def measure(fleet_name: str, episodes: int, folder: Path) -> dict[str, Any]:
    """Run both parts."""
    fleet, played = bringup.load_fleet(fleet_name), 0
    with started("cell_b", fleet_name, folder):
        with started("cell_a", fleet_name, folder):
            summaries = run_episodes(fleet, episodes, folder)
        if len(summaries) < len(RULES) or not summaries["cell_a"]["bags"]:
            raise SystemExit(
                f"no episode of {', '.join(RULES.keys() - summaries) or 'cell_a was recorded'}; logs: {folder / 'log'}"
            )
        observer = Observer(list(fleet.robots))
        observer.call("/cell_b/policy/disengage")
        observer.spin(SETTLE)
        before = files(folder / "bags")
        idle = observer.motion(lambda: observer.spin(SETTLE))

        def play() -> None:
            nonlocal played
            played = observer.play(Path(summaries["cell_a"]["bags"][0]))

        moved = observer.motion(play)
        changed = sorted(k for k in before.items() ^ files(folder / "bags").items())
    keep = ("successes", "episodes", "seconds_to_success", "chunk_rate_hz", "command_rate_hz", "camera_to_command_ms")
    robots = {f"{cell}/{name}": {k: robot[k] for k in keep} for cell, s in summaries.items() for name, robot in s["robots"].items()}
    return {
        "started_by": "launch" if importlib.util.find_spec("launch_ros") else "Supervisor", "robots": robots,
        "played_messages": played, "range_idle": idle, "range_while_played": moved, "chunks_while_played": observer.chunks,
        "changed_files": changed,
    }  # fmt: skip


def main() -> int:
    """Print the figures; 1 if a robot of any cell had no success, moved while a bag was played, or a bag changed."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--fleet", help="a simulated fleet: a YAML file, or a name in config/robots; default one robot of the demo")
    parser.add_argument("--episodes", type=int, default=1)
    parser.add_argument("--folder", type=Path, help="folder for logs and bags; default a temporary one")
    parser.add_argument("--json", type=Path, help="write the figures to this file")
    arguments = parser.parse_args()
    with private_domain() as domain, tempfile.TemporaryDirectory() as scratch:
        os.environ.update(domain)
        folder = (arguments.folder or Path(scratch)).resolve()
        folder.mkdir(parents=True, exist_ok=True)
        (folder / "one_robot.yaml").write_text(json.dumps(ONE_ROBOT))
        figures = measure(arguments.fleet or str(folder / "one_robot.yaml"), arguments.episodes, folder)
    text = json.dumps(figures, indent=1)
    print(text)
    if arguments.json:
        arguments.json.write_text(text + "\n")
    succeeded = all(robot["successes"] for robot in figures["robots"].values())
    still = max(figures["range_while_played"].values()) < 1e-3 and not figures["chunks_while_played"]
    return int(not (succeeded and still and not figures["changed_files"]))


if __name__ == "__main__":
    raise SystemExit(main())
