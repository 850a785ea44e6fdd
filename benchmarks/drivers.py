"""Rate and jitter of the hardware drivers, in a control loop of 100 Hz, against emulated hardware in another process.

Run from the checkout:

    .venv/bin/python benchmarks/drivers.py

``dynamixel_16`` is the LEAP hand: 16 motors, answers as slow as at 4 Mbps. ``franka`` is franky-sim, ``ros2_control`` a fake
joint_trajectory_controller with a broadcaster at 100 Hz. For each driver: time that ``read`` and ``write`` take together, period of
the control loop, new measurements a second, and their age when ``read`` returns.
"""

from __future__ import annotations

import argparse
import json
import multiprocessing
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np

HELPERS = Path(__file__).parents[1] / "test" / "helpers"
sys.path.insert(0, str(HELPERS))

from driver_cases import CASES, make_case  # noqa: E402
from motor_emulator import DynamixelLine, dynamixel_motors  # noqa: E402

from latent_policy_ros.common.errors import HardwareError  # noqa: E402
from latent_policy_ros.common.ros_environment import node_environment, private_domain  # noqa: E402
from latent_policy_ros.control.arm_description import load_arm  # noqa: E402
from latent_policy_ros.drivers.base import DriverSetup  # noqa: E402
from latent_policy_ros.drivers.registry import make_driver  # noqa: E402
from latent_policy_ros.embodiments import load_embodiment  # noqa: E402

PERIOD, CONNECT_TIMEOUT = 0.01, 20.0  # s
LEAP = "dynamixel_16"


def leap(folder: str):
    """Name and setup of a driver of the LEAP hand, whose motors this process emulates."""
    hand = load_embodiment("leap_hand")
    line = DynamixelLine(Path(folder) / "port", dynamixel_motors(range(16)))
    line.baud_rate = 4_000_000
    setup = DriverSetup(hand.joint_names, hand.rest, lower=hand.lower, upper=hand.upper)
    return line, f"dynamixel@leap_hand?port={line.path}", setup, hand.rest


def franka(folder: str):
    """Name and setup of a driver of a Franka arm, which franky-sim simulates in a process of its own."""
    command = [sys.executable, str(HELPERS / "franka_server.py"), "600"]
    server = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True)
    place, arm = f"franka@{server.stdout.readline().strip()}", load_arm("panda")
    setup = DriverSetup(arm.joint_names, arm.home, "arm", lower=arm.lower, upper=arm.upper)
    driver = make_driver(place, setup)
    driver.connect()
    start = driver.read().position
    driver.close()
    return Process(server), place, setup, start


def ros2_control(folder: str):
    """Name and setup of a driver of an arm behind a fake controller in a process of its own."""
    arm = load_arm("panda")
    controllers = [{"kind": "trajectory", "name": "arm_controller", "joints": arm.joint_names}]
    start = dict(zip(arm.joint_names, arm.home.tolist()))
    options = json.dumps({"controllers": controllers, "broadcast": True, "start": start})
    command = [sys.executable, str(HELPERS / "fake_controllers.py"), options]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    process.stdout.readline()
    setup = DriverSetup(arm.joint_names, arm.home, "arm", lower=arm.lower, upper=arm.upper)
    return Process(process), "ros2_control@/arm_controller", setup, arm.home


class Process:
    """A process that is killed when it is closed."""

    def __init__(self, process: subprocess.Popen) -> None:
        self._process = process

    def close(self) -> None:
        self._process.kill()
        self._process.wait()


OTHERS = {LEAP: leap, "franka": franka, "ros2_control": ros2_control}


def serve(name: str, folder: str, pipe) -> None:
    """Emulate the hardware of one driver until the pipe is closed."""
    os.environ.update(node_environment())
    if name in OTHERS:
        kept, place, setup, goal = OTHERS[name](folder)
    else:
        kept = make_case(name, folder)
        place, setup, goal = kept.name, kept.setup, kept.goal
    pipe.send((place, setup, goal))
    pipe.recv()
    kept.close()


def measure(place: str, setup: DriverSetup, goal: np.ndarray, seconds: float) -> list[str]:
    """One row of the table."""
    driver = make_driver(place, setup)
    until = time.monotonic() + CONNECT_TIMEOUT
    while True:
        try:
            driver.connect()
            break
        except HardwareError:  # discovery of a ROS node takes a while
            if time.monotonic() > until:
                raise
    busy, starts, ages, stamps = [], [], [], set()
    due = began = time.perf_counter()
    while (start := time.perf_counter()) < began + seconds:
        reading = driver.read()
        age = time.time() - reading.stamp
        driver.write(goal * (1.0 - 0.05 * (1.0 - np.cos(3.0 * (start - began)))))
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
    parser.add_argument("drivers", nargs="*", default=[*CASES, *OTHERS])
    options = parser.parse_args()
    print("| driver | read + write, median [ms] | 99% | longest | period, mean [ms] | deviation | longest | measurements [Hz] "
          "| age, median [ms] | 99% |")  # fmt: skip
    print("|---" * 10 + "|")
    context = multiprocessing.get_context("spawn")
    for name in options.drivers:
        with tempfile.TemporaryDirectory() as folder, private_domain() as domain:
            os.environ.update(node_environment(os.environ | domain))
            pipe, far = context.Pipe()
            process = context.Process(target=serve, args=(name, folder, far))
            process.start()
            print("| " + " | ".join([name, *measure(*pipe.recv(), options.seconds)]) + " |", flush=True)
            pipe.send("stop")
            process.join(10.0)


if __name__ == "__main__":
    main()
