"""The demo: starts a simulated fleet, runs and records episodes, and prints the results."""

from __future__ import annotations

import json
import os
import subprocess
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

from rich.console import Console
from rich.table import Table

from latent_policy_ros.bringup import Fleet, compose, load_fleet, node_specs, runner_spec
from latent_policy_ros.bringup.supervisor import Supervisor, node_command
from latent_policy_ros.common.paths import runs_dir
from latent_policy_ros.common.processes import die_with_parent
from latent_policy_ros.common.ros_environment import node_environment, private_domain
from latent_policy_ros.data.inspection.bag_video import render_bag_video


def run_demo(fleet_name: str, embodiments: Sequence[str], episodes: int, seed: int, out: Path | None, console: Console) -> int:
    """Run the demo and print its summary.

    Args:
        fleet_name: Fleet, all of its robots simulated.
        embodiments: End-effectors of the robots, instead of those of the fleet. If there are more than robots, the demo runs
            in rounds: the same policy drives the first end-effectors, then the next ones.
        episodes: Number of episodes of each round; all robots of a round run at the same time.
        seed: Seed of the first episode's scenes.
        out: Folder for logs, bags, video, images and summary of each round; default ``runs/demo/DATE-TIME``.
        console: Output of progress and summary.

    Returns:
        Exit status: 0 if every robot succeeded at least once, 3 if not, 1 if the run failed.

    Raises:
        ConfigError: Unknown fleet or embodiment, or errors in the fleet's file.
    """
    fleet = load_fleet(fleet_name)
    out = (out or runs_dir() / "demo" / time.strftime("%Y%m%d-%H%M%S")).resolve()
    size = len(fleet.robots)
    rounds = [fleet.with_embodiments(embodiments[i : i + size]) for i in range(0, len(embodiments), size)] or [fleet]
    folders = [out] if len(rounds) == 1 else [out / _names(fleet) for fleet in rounds]
    return max(_run_round(fleet, episodes, seed, folder, console) for fleet, folder in zip(rounds, folders, strict=True))


def _names(fleet: Fleet) -> str:
    return "-".join(robot.embodiment.name for robot in fleet.robots.values())


def _run_round(fleet: Fleet, episodes: int, seed: int, out: Path, console: Console) -> int:
    """Run all episodes with the robots of one fleet; returns the exit status."""
    out.mkdir(parents=True, exist_ok=True)
    summary = out / "summary.json"
    with private_domain() as domain, tempfile.TemporaryDirectory(prefix="lpr-") as scratch:
        environment = node_environment(os.environ | domain)
        sockets = Path(scratch)
        specs = compose(node_specs(fleet, record=True, bag_folder=out / "bags", socket_folder=sockets, overview=True), "fleet")
        runner = runner_spec(fleet, episodes=episodes, seed=seed, summary=summary)
        nodes = sum(len(spec.nodes) for spec in specs)
        console.print(
            f"Starting {nodes} nodes in {len(specs)} processes and ROS domain {domain['ROS_DOMAIN_ID']}; logs: {out / 'log'}"
        )
        with Supervisor(specs, environment, log_folder=out / "log", say=console.print) as supervisor:
            status = _run_supervised(supervisor, node_command(runner, sockets), environment, console)
    if not summary.is_file():
        console.print(f"no episode was completed; logs: {out / 'log'}", style="red")
        return status or 1
    show_summary(json.loads(summary.read_text()), fleet, out, console)
    return status


def _run_supervised(supervisor: Supervisor, command: list[str], environment: dict[str, str], console: Console) -> int:
    """Run a command while the nodes are up; terminate it if a node ends by itself. Returns its exit status."""
    process = subprocess.Popen(command, env=environment, preexec_fn=die_with_parent)
    try:
        while process.poll() is None:
            for name, status in supervisor.poll().items():
                console.print(f"{name} ended with status {status}; see its log", style="red")
                process.terminate()
            time.sleep(0.2)
        return process.returncode
    finally:
        process.terminate()
        try:
            process.wait(timeout=10)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def show_summary(summary: dict, fleet: Fleet, out: Path, console: Console) -> None:
    """Print success, rates and latencies of every robot; write a video and a contact sheet for each bag."""
    table = Table("robot", "embodiment", "success", "chunks [Hz]", "commands [Hz]", "camera to command p50 / p95 / p99 [ms]")
    for name, robot in summary["robots"].items():
        latency = " / ".join(str(robot["camera_to_command_ms"].get(p, "-")) for p in ("p50", "p95", "p99"))
        success = f"{robot['successes']}/{robot['episodes']}"
        table.add_row(name, fleet.robots[name].embodiment.name, success, str(robot["chunk_rate_hz"]),
                      str(robot["command_rate_hz"]), latency)  # fmt: skip
    console.print(table)
    images = "overview/image_raw/compressed"
    topics = {f"/{name}/{images}": f"{name}: {robot.embodiment.name}" for name, robot in fleet.robots.items()}
    for number, bag in enumerate(summary["bags"], 1):
        video, sheet = render_bag_video(Path(bag), topics, out / f"episode_{number:03d}")
        console.print(f"bag      {bag}\nvideo    {video}\nimages   {sheet}", highlight=False, soft_wrap=True)
    console.print(f"summary  {out / 'summary.json'}", highlight=False, soft_wrap=True)
