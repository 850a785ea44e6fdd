"""Rate and jitter of the hardware drivers, in a control loop of 100 Hz, against emulated hardware in another process.

Run from the checkout:

    .venv/bin/python benchmarks/drivers.py

``dynamixel_16`` is the LEAP hand: 16 motors, answers as slow as at 4 Mbps. For each driver: time that ``read`` and ``write``
take together, period of the control loop, new measurements a second, and their age when ``read`` returns.
"""

from __future__ import annotations

import argparse
import multiprocessing
import sys
import tempfile
import time
from pathlib import Path

import numpy as np

sys.path.insert(0, str(Path(__file__).parents[1] / "test" / "helpers"))

from driver_cases import CASES, make_case  # noqa: E402
from motor_emulator import DynamixelLine, dynamixel_motors  # noqa: E402

from latent_policy_ros.drivers.base import DriverSetup  # noqa: E402
from latent_policy_ros.drivers.registry import make_driver  # noqa: E402
from latent_policy_ros.embodiments import load_embodiment  # noqa: E402

PERIOD = 0.01  # s
LEAP = "dynamixel_16"


def leap(folder: str):
    """Name and setup of a driver of the LEAP hand, whose motors this process emulates."""
    hand = load_embodiment("leap_hand")
    line = DynamixelLine(Path(folder) / "port", dynamixel_motors(range(16)))
    line.baud_rate = 4_000_000
    setup = DriverSetup(hand.joint_names, hand.rest, lower=hand.lower, upper=hand.upper)
    return line, f"dynamixel@leap_hand?port={line.path}", setup, hand.rest


def serve(name: str, folder: str, pipe) -> None:
    """Emulate the hardware of one driver until the pipe is closed."""
    if name == LEAP:
        kept, place, setup, goal = leap(folder)
    else:
        kept = make_case(name, folder)
        place, setup, goal = kept.name, kept.setup, kept.goal
    pipe.send((place, setup, goal))
    pipe.recv()
    kept.close()


def measure(place: str, setup: DriverSetup, goal: np.ndarray, seconds: float) -> list[str]:
    """One row of the table."""
    driver = make_driver(place, setup)
    driver.connect()
    busy, starts, ages, stamps = [], [], [], set()
    due = began = time.perf_counter()
    while (start := time.perf_counter()) < began + seconds:
        reading = driver.read()
        age = time.time() - reading.stamp
        driver.write(goal * (1.0 - 0.2 * (1.0 + np.sin(3.0 * start)) / 2.0))
        if start > began + 0.5:  # the motors are configured by then
            starts.append(start)
            busy.append(time.perf_counter() - start)
            ages.append(age)
            stamps.add(reading.stamp)
        due = max(due + PERIOD, time.perf_counter() - PERIOD)
        time.sleep(max(0.0, due - time.perf_counter()))
    driver.close()
    periods = np.diff(starts)
    rate = len(stamps) / (starts[-1] - starts[0])
    values = [*np.percentile(busy, [50, 99, 100]), periods.mean(), periods.std(), periods.max(), *np.percentile(ages, [50, 99])]
    texts = [f"{1e3 * value:.2f}" for value in values]
    return [*texts[:6], f"{rate:.0f}", *texts[6:]]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seconds", type=float, default=5.0, help="time for each driver")
    parser.add_argument("drivers", nargs="*", default=[LEAP, *CASES])
    options = parser.parse_args()
    print("| driver | read + write, median [ms] | 99% | longest | period, mean [ms] | deviation | longest | measurements [Hz] "
          "| age, median [ms] | 99% |")  # fmt: skip
    print("|---" * 10 + "|")
    context = multiprocessing.get_context("spawn")
    for name in options.drivers:
        with tempfile.TemporaryDirectory() as folder:
            pipe, far = context.Pipe()
            process = context.Process(target=serve, args=(name, folder, far))
            process.start()
            print("| " + " | ".join([name, *measure(*pipe.recv(), options.seconds)]) + " |", flush=True)
            pipe.send("stop")
            process.join(10.0)


if __name__ == "__main__":
    main()
