"""Conversion rate from a bag to LeRobotDataset v3.0: this package compared with other converters.

Bags: 60 s, 2 cameras of 640x480 at 30 Hz, JointState at 200 Hz; their topics are mapped by config/mappings/example.yaml. Each peer
needs an environment of its own, see the scripts in benchmarks/peers. Peers that are not given are skipped.

    P=.venv/bin/python; $P benchmarks/make_bag.py raw_bag; $P benchmarks/make_bag.py jpeg_bag --jpeg
    $P benchmarks/conversion.py --raw raw_bag --jpeg jpeg_bag [--forge forge/bin/python benchmarks/peers/forge_robotics.py]
        [--lerobot lerobot/bin/python benchmarks/peers/rosbags_lerobot.py] [--repeat 3]
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
FRAMES_OF_A_PEER = "frames_s"  # key in the JSON line printed by the peers' scripts


def peak_memory(process: subprocess.Popen, seen: list[int]) -> None:
    """Append the resident memory [kB] of a process and its descendants to ``seen``, every 0.1 s until the process ends."""
    while process.poll() is None:
        family, total = [process.pid], 0
        for pid in family:
            try:
                status = Path(f"/proc/{pid}/status").read_text()
                family += map(int, Path(f"/proc/{pid}/task/{pid}/children").read_text().split())
            except OSError:
                continue
            total += int((status.split("VmRSS:") + ["0"])[1].split()[0])
        seen.append(total)
        time.sleep(0.1)


def run(command: list[str], environment: dict[str, str]) -> tuple[float, int, str]:
    """Wall time [s], peak memory [MB] and output of a command."""
    began, seen = time.perf_counter(), [0]
    process = subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    watcher = threading.Thread(target=peak_memory, args=(process, seen))
    watcher.start()
    output = process.communicate()[0]
    watcher.join()
    return time.perf_counter() - began, max(seen) // 1000, output


def warm(bag: Path) -> None:
    """Read the bag once, so that its pages are in the system's cache for every converter."""
    for file in bag.iterdir():
        with file.open("rb") as stream:
            while stream.read(1 << 24):
                pass


def ours(bag: Path, kind: str, folder: Path) -> tuple[float, int, str]:
    """Frames per second, peak memory [MB] and output of this package, including interpreter start and imports."""
    mapping = (ROOT / "config/mappings/example.yaml").read_text()
    if kind == "jpeg":
        mapping = mapping.replace("/image_raw", "/image_raw/compressed")
    (folder / "mapping.yaml").write_text(mapping)
    out = folder / "ours"
    command = [sys.executable, "-m", "latent_policy_ros.cli", "dataset", "from-bags", str(bag), "-o", str(out)]
    command += ["--mapping", str(folder / "mapping.yaml")]
    environment = {key: value for key, value in os.environ.items() if key != "PYTHONDONTWRITEBYTECODE"}  # cache bytecode
    environment |= {"PYTHONPATH": str(ROOT), "PYTHONPYCACHEPREFIX": str(folder / "bytecode"), "OMP_NUM_THREADS": "1"}
    seconds, memory, output = run(command, environment)
    report = json.loads((out / "report.json").read_text()) if (out / "report.json").is_file() else {"frames": 0}
    shutil.rmtree(out, ignore_errors=True)
    return report["frames"] / seconds, memory, output


def peer(python: str, script: str, bag: Path, kind: str, folder: Path) -> tuple[float, int, str]:
    """Frames per second as reported by a peer, without its imports, and its peak memory [MB] and output."""
    command = [python, script, str(bag), str(folder / "peer")]
    command += ["--kind", kind] if "--kind" in Path(script).read_text() else []
    environment = {key: value for key, value in os.environ.items() if key != "PYTHONPATH"}
    _, memory, output = run(command, environment)
    shutil.rmtree(folder / "peer", ignore_errors=True)
    lines = [json.loads(line) for line in output.splitlines() if line.startswith("{")]
    return (lines[-1].get(FRAMES_OF_A_PEER, 0.0) if lines else 0.0), memory, output


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--raw", type=Path)
    parser.add_argument("--jpeg", type=Path)
    parser.add_argument("--forge", nargs=2, metavar=("PYTHON", "SCRIPT"))
    parser.add_argument("--lerobot", nargs=2, metavar=("PYTHON", "SCRIPT"))
    parser.add_argument("--repeat", type=int, default=3)
    parser.add_argument("--work", type=Path, help="folder for the outputs; default: a temporary folder")
    options = parser.parse_args()
    peers = {"forge-robotics": options.forge, "rosbags + lerobot": options.lerobot}
    with tempfile.TemporaryDirectory(dir=options.work) as name:
        folder = Path(name)
        for kind, bag in (("raw", options.raw), ("jpeg", options.jpeg)):
            if bag is None:
                print(f"{kind}: skipped, no bag given")
                continue
            rates: dict[str, list[float]] = {}
            ours(bag, kind, folder)  # not measured: compiles the bytecode
            for _ in range(options.repeat):
                for who, how in {"ours": None, **peers}.items():
                    if who != "ours" and how is None:
                        continue
                    warm(bag)
                    measured = ours(bag, kind, folder) if who == "ours" else peer(*how, bag, kind, folder)
                    rate, memory, output = measured
                    rates.setdefault(who, []).append(rate)
                    result = f"{rate:7.1f} frames/s, peak {memory} MB" if rate else f"failed: {output[-300:]}"
                    print(f"{kind:5s} {who:18s} {result}", flush=True)
            medians = {who: statistics.median(values) for who, values in rates.items()}
            for who in peers:
                if who not in medians:
                    print(f"{kind:5s} {who}: skipped, not given")
                elif medians[who]:
                    print(f"{kind:5s} ours / {who}: {medians['ours'] / medians[who]:.2f}")


if __name__ == "__main__":
    main()
