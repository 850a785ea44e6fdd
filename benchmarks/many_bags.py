"""Conversion of many small bags: its memory stays constant, and it resumes after an interruption and a kill.

    .venv/bin/python benchmarks/many_bags.py [--bags 250 500 1000] [--keep FOLDER]

Each bag has 1 s of one JPEG camera of 64x48 at 30 Hz, 23 joints at 200 Hz and their commands. Each number of bags is converted
without interruption while the memory is sampled. Then the largest number is converted again: the conversion gets SIGINT after 30%
of the episodes and SIGKILL after 60%; the third call finishes. The exit status is 1 if an episode is missing, doubled or converted
twice, if a file of the data set differs from that without interruption, or if the peak memory with the most bags is more than 5%
above that with the fewest.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import make_bag
from conversion import ROOT
from rosbags.rosbag2 import StoragePlugin, Writer

make_bag.WIDTH, make_bag.HEIGHT = 64, 48
INTERRUPTED, KILLED = 0.3, 0.6  # shares of the episodes
GROWTH = 1.05  # largest accepted ratio of the peak memory with the most and with the fewest bags
COUNT_INTERVAL, MEMORY_INTERVAL = 0.5, 0.05  # [s]


def write_bags(folder: Path, count: int) -> None:
    """Write bags that differ in time; those that exist stay as they are."""
    messages = [*make_bag.camera_messages(0, 1.0, jpeg=True), *make_bag.joint_messages(1.0)]
    messages.sort(key=lambda item: item[0])
    packed = [
        (at, topic, message.__msgtype__, make_bag.STORE.serialize_cdr(message, message.__msgtype__))
        for at, topic, message in messages
    ]
    for k in range(count):
        path = folder / f"bag_{k:05d}"
        if (path / "metadata.yaml").is_file():
            continue
        with Writer(path, version=9, storage_plugin=StoragePlugin.MCAP) as bag:
            topics = {}
            for at, topic, msg_type, data in packed:
                if topic not in topics:
                    topics[topic] = bag.add_connection(topic, msg_type, typestore=make_bag.STORE)
                bag.write(topics[topic], at + k * 10**10, data)


def mapping(folder: Path) -> Path:
    """The mapping of these bags: the example's, with one camera, timed by receipt because the stamps are those of the first bag."""
    text = (ROOT / "config/mappings/example.yaml").read_text().replace("/image_raw", "/image_raw/compressed")
    lines = [line for line in text.replace("stamps: header", "stamps: receive").splitlines() if "/cam1/" not in line]
    path = folder / "mapping.yaml"
    path.write_text("\n".join([*lines, ""]))
    return path


def finished(out: Path) -> int:
    """Number of episodes in the staging area and in the data set."""
    found = os.walk(out / ".staging")  # passes over folders that the conversion renames meanwhile
    episodes = sum("episode.json" in files and not folder.endswith(".part") for folder, _, files in found)
    for info in out.glob("*/meta/info.json"):
        episodes += json.loads(info.read_text())["total_episodes"]
    return episodes


def peak_memory(process: subprocess.Popen) -> int:
    """Largest resident memory of a process so far [kB]; 0 after its end."""
    try:
        return int((Path(f"/proc/{process.pid}/status").read_text().split("VmHWM:") + ["0"])[1].split()[0])
    except OSError:
        return 0


def convert(bags: list[Path], out: Path, by: Path, stop_at: int = 0, how: signal.Signals = signal.SIGINT) -> tuple[dict, int, int]:
    """Run one conversion.

    Returns:
        Its report, or {} if it was stopped; its peak memory [kB] while episodes are converted, and in all.
    """
    command = [sys.executable, "-m", "latent_policy_ros.cli", "dataset", "from-bags", *map(str, bags)]
    command += ["-o", str(out), "--mapping", str(by)]
    converting = peak = count = 0
    counted = 0.0
    with (out.parent / "conversion.log").open("a") as log:
        process = subprocess.Popen(command, stdout=log, stderr=subprocess.STDOUT)
        while process.poll() is None:
            peak = max(peak, peak_memory(process))
            if time.monotonic() > counted + COUNT_INTERVAL:
                count, counted = finished(out), time.monotonic()
                converting = peak if count < len(bags) else converting
            if stop_at and count >= stop_at:
                process.send_signal(how)
                process.wait()
                return {}, converting, peak
            time.sleep(MEMORY_INTERVAL)
    return json.loads((out / "report.json").read_text()), converting, peak


def content(out: Path) -> dict[str, str]:
    """Hash of each file of the data sets."""
    files = [path for path in sorted(out.glob("*/**/*")) if path.is_file()]
    return {str(path.relative_to(out)): hashlib.sha256(path.read_bytes()).hexdigest() for path in files}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--bags", type=int, nargs="+", default=[250, 500, 1000])
    parser.add_argument("--keep", type=Path, help="folder for bags and data sets; kept")
    options = parser.parse_args()
    counts = sorted(options.bags)
    signal.signal(signal.SIGINT, signal.default_int_handler)  # a shell's background jobs ignore it, and their children too
    with tempfile.TemporaryDirectory() as scratch:
        folder = options.keep or Path(scratch)
        (folder / "bags").mkdir(parents=True, exist_ok=True)
        write_bags(folder / "bags", counts[-1])
        bags, by = sorted((folder / "bags").iterdir())[: counts[-1]], mapping(folder)
        right, peaks = True, []
        for count in counts:
            began = time.monotonic()
            complete, converting, peak = convert(bags[:count], folder / f"whole_{count}", by)
            seconds = time.monotonic() - began
            print(
                f"{count} bags in {seconds:.0f} s; peak memory {converting / 1e3:.0f} MB while they are converted, "
                f"{peak / 1e3:.0f} MB in all",
                flush=True,
            )
            right &= complete["written"] == count == finished(folder / f"whole_{count}")
            peaks.append(peak)
        out = folder / "resumed"
        convert(bags, out, by, round(INTERRUPTED * counts[-1]), signal.SIGINT)
        first = finished(out)
        convert(bags, out, by, round(KILLED * counts[-1]), signal.SIGKILL)
        second = finished(out)
        report, _, _ = convert(bags, out, by)
        same = content(out) == content(folder / f"whole_{counts[-1]}")
        print(
            f"{first} episodes at SIGINT, {second} at SIGKILL; then {report['written']} written, {report['kept']} kept; "
            f"the data set {'equals' if same else 'differs from'} that without interruption"
        )
    right &= same and report["written"] + report["kept"] == counts[-1] and report["kept"] >= second > first
    sys.exit(0 if right and peaks[-1] <= GROWTH * peaks[0] else 1)


if __name__ == "__main__":
    main()
