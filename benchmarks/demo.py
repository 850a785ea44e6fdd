"""What the demo costs: CPU time of each of its processes while the robots move, and how much of it is physics, images and network.

    .venv/bin/python benchmarks/demo.py                     # both rounds of the demo
    .venv/bin/python benchmarks/demo.py --quota 1.0         # with the time of one core for all processes; needs root
    .venv/bin/python benchmarks/demo.py --embodiment orca_hand --embodiment shadow_hand

The CPU time of a process is that of the system's accounting between the begin and the end of its round's bag, without the first and
the last half second. Simulators, policy and recorder report the CPU time of physics, images (rendered, and compressed for the bag)
and network on /diagnostics, which the bag contains. What remains of the sum of all processes is everything else, "plumbing":
middleware, control, alignment, recording and Python. Its first part is that of drivers, decoders, recorder and episodes, its second
that of simulators and policy. Run it with nothing else on the machine.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from collections import defaultdict
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import psutil

from latent_policy_ros.bringup import load_fleet
from latent_policy_ros.cli.common import DEMO_ROUNDS, EVALUATION_SEED
from latent_policy_ros.data.bags.reader import Bag, open_bag

MARGIN = 0.5  # s at the begin and the end of a bag that do not count
SAMPLE_PERIOD = 0.25  # s
QUOTA_PERIOD = 100_000  # us
PARTS = "physics", "images", "network"
SUMS = *PARTS, "plumbing", "of drivers, decoders, recorder, episodes", "of simulators and policy", "all"
Samples = list[tuple[float, dict[str, float]]]  # (time [s], {process: CPU time so far [s]})


@contextmanager
def quota(cores: float) -> Iterator[Callable[[], None]]:
    """Yields a function that limits the calling process and its children to the time of ``cores``; 0: no limit.

    Within it, they come before all other processes of the machine.
    """
    if not cores:
        yield lambda: None
        return
    unified = Path("/sys/fs/cgroup/cgroup.controllers").is_file()
    group = Path("/sys/fs/cgroup") / ("" if unified else "cpu") / f"latent_policy_demo_{os.getpid()}"
    group.mkdir()
    share = round(cores * QUOTA_PERIOD)
    if unified:
        (group / "cpu.max").write_text(f"{share} {QUOTA_PERIOD}")
        (group / "cpu.weight").write_text("10000")
    else:
        (group / "cpu.shares").write_text("262144")
        (group / "cpu.cfs_period_us").write_text(str(QUOTA_PERIOD))
        (group / "cpu.cfs_quota_us").write_text(str(share))
    try:
        yield lambda: (group / "cgroup.procs").write_text(str(os.getpid()))
    finally:
        time.sleep(1.0)  # until the last process has left it
        group.rmdir()


def process_name(process: psutil.Process) -> str:
    """Name of a node, with its namespace: that of its file of parameters. Name of the program of another process."""
    words = process.cmdline()
    files = [Path(word).stem for word in words if word.endswith((".yaml", ".json"))]
    return files[0] if files and "-m" in words else Path(words[min(1, len(words) - 1)]).name


def sample(root: psutil.Process) -> dict[str, float]:
    """CPU time so far of a process and its descendants [s], by name and process id."""
    found = {}
    for process in (root, *root.children(recursive=True)):
        try:
            times = process.cpu_times()
            found[f"{process_name(process)}:{process.pid}"] = times.user + times.system
        except (psutil.Error, IndexError):
            continue  # it has ended
    return found


def run(out: Path, embodiments: list[str], seed: int, cores: float) -> Samples:
    """Run the demo; the CPU times of its processes."""
    command = [str(Path(sys.executable).parent / "latent-policy"), "demo", "--out", str(out), "--seed", str(seed)]
    command += [word for name in embodiments for word in ("--embodiment", name)]
    samples: Samples = []
    with quota(cores) as enter:
        demo = subprocess.Popen(command, preexec_fn=enter)
        root = psutil.Process(demo.pid)
        while demo.poll() is None:
            samples.append((time.time(), sample(root)))
            time.sleep(SAMPLE_PERIOD)
    return samples


def reported(bag: Bag) -> dict[tuple[str, str], float]:
    """CPU time per second that nodes report on /diagnostics of a bag [cores], by node and part."""
    reports: dict[tuple[str, str], list[tuple[float, float]]] = defaultdict(list)
    for _, received, message in bag.messages({"/diagnostics"}):
        for status in message.status:
            for value in status.values:
                if (part := value.key.removesuffix("_cpu_s")) in PARTS:
                    reports[status.name, part].append((received, float(value.value)))
    ends = {key: (found[0], found[-1]) for key, found in reports.items()}
    return {key: (after - before) / (last - first) for key, ((first, before), (last, after)) in ends.items()}


def round_cost(path: Path, samples: Samples) -> dict[str, float]:
    """CPU time per second of a bag [cores]: of each process, and of the parts of the sum."""
    with open_bag(path) as bag:
        inside = [s for s in samples if bag.start + MARGIN <= s[0] <= bag.end - MARGIN]
        reports = reported(bag)
    (first, before), (last, after) = inside[0], inside[-1]
    cores: dict[str, float] = defaultdict(float)
    for name, seconds in after.items():
        cores[name.rpartition(":")[0]] += (seconds - before.get(name, 0.0)) / (last - first)
    found = dict(sorted(cores.items(), key=lambda entry: -entry[1]))
    parts = {part: sum(share for (_, kind), share in reports.items() if kind == part) for part in PARTS}
    compressed = sum(share for (node, _), share in reports.items() if node.endswith("recorder"))
    total, rest = sum(found.values()), sum(found.values()) - sum(parts.values())
    robots = sum(share for name, share in found.items() if name != "policy" and not name.endswith("sim")) - compressed
    return found | parts | dict(zip(SUMS[len(PARTS) :], (rest, robots, rest - robots, total), strict=True))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quota", type=float, default=0.0, help="cores whose time all processes of the demo share; 0: all")
    parser.add_argument("--embodiment", action="append", help="as of latent-policy demo")
    parser.add_argument("--seed", type=int, default=EVALUATION_SEED, help="as of latent-policy demo")
    parser.add_argument("--out", type=Path, help="folder of the demo's files; default: deleted at the end")
    parser.add_argument("--json", type=Path, help="also write the measurements to this file")
    options = parser.parse_args()
    embodiments, robots = options.embodiment or list(DEMO_ROUNDS), list(load_fleet("demo").robots)
    rounds = [embodiments[i : i + len(robots)] for i in range(0, len(embodiments), len(robots))]
    results = []
    with tempfile.TemporaryDirectory() as scratch:
        out = options.out or Path(scratch)
        samples = run(out, embodiments, options.seed, options.quota)
        for names in rounds:
            folder = out if len(rounds) == 1 else out / "-".join(names)
            summary = json.loads((folder / "summary.json").read_text())
            cores = round_cost(Path(summary["bags"][-1]), samples)
            results.append({"embodiments": names, "robots": summary["robots"], "cores": cores})
    print("\n| robots | chunks [Hz] | commands [Hz] | camera to command, p50 / p95 / p99 [ms] | success |\n|---|---|---|---|---|")
    for result in results:
        for name, robot in zip(result["embodiments"], result["robots"].values()):
            latency = " / ".join(f"{robot['camera_to_command_ms'].get(p, float('nan')):.0f}" for p in ("p50", "p95", "p99"))
            rates = f"{robot['chunk_rate_hz']} | {robot['command_rate_hz']}"
            print(f"| `{name}` | {rates} | {latency} | {robot['successes']}/{robot['episodes']} |")
    names = list(dict.fromkeys(name for result in results for name in result["cores"]))
    print(f"\n| cores | {' | '.join(', '.join(r['embodiments']) for r in results)} |\n|---|{'---|' * len(results)}")
    for name in [name for name in names if name not in SUMS] + list(SUMS):
        row = " | ".join(f"{result['cores'].get(name, 0.0):.3f}" for result in results)
        print(f"| {name} | {row} |")
    if options.json:
        options.json.write_text(json.dumps(results, indent=1))


if __name__ == "__main__":
    main()
