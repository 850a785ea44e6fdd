"""Faults while moving: kill and halt each kind of node of the simulated demo fleet, and measure both robots.

Run from the checkout; it takes about 9 minutes and prints the table of docs/explanation/SAFETY.md:

    .venv/bin/python benchmarks/faults.py --repeats 3

With ``--json FILE`` each row is also written to that file, and a second call continues where the first one ended.

Each fault is injected while the victim's robot moves. The positions of all joints are read at the simulators' sockets, beside the
drivers. Each driver's process writes its control cycles to a file, and the set points are compared with the contract of
``CommandGuard``.

Columns, as the largest of all repeats:

- hold: seconds from the fault until the arm's and the hand's driver hold instead of following. ``-``: the driver is the victim, and
  the motors stay at the last set point; or the simulator is, and the robot ends or stops with it.
- at rest: seconds from the fault until no joint moves faster than ``STILL``, over a window of ``WINDOW`` that ends then, until the
  robot follows again.
- outside the contract: set points that differ from the previous one by more than the guard's contract allows, of both robots.
- other: chunks per second of the other robot, in the seconds before the fault and during it (mean of the repeats).
- back: seconds until the drivers of the victim's robot follow commands again by themselves, after the kill or the end of the halt;
  until its first status for the recorder.
"""

from __future__ import annotations

import argparse
import collections
import importlib
import json
import os
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
from restart import pid_of

ROBOTS = {"left": "mimic_hand", "right": "panda_gripper"}
VICTIMS = {  # kind of node: its full name, its robot (None: all), and the part that it drives
    "policy": ("/policy", None, ""),
    "decoder": ("/left/decoder", "left", ""),
    "arm driver": ("/left/arm_driver", "left", "arm"),
    "hand driver": ("/left/hand_driver", "left", "hand"),
    "gripper driver": ("/right/gripper_driver", "right", "hand"),
    "recorder": ("/recorder", None, ""),
    "simulator": ("/left/sim", "left", ""),
}
FAULTS = {"kill": signal.SIGKILL, "halt": signal.SIGSTOP}
PARTS = "arm", "hand"
MOVING = {"arm": 0.12, "hand": 0.1, "gripper": 0.01}  # rad/s or m/s over WINDOW, for the fastest joint
STILL = {"arm": 0.03, "hand": 0.03, "gripper": 0.003}  # rad/s or m/s
WINDOW = 0.1  # s
HALT = 3.0  # s; also the time for which a robot is watched after a kill
BEFORE = 4.0  # s in which the chunk rate before a fault is measured
PATIENCE = 6.0  # s for which a fault waits until the hand moves too; hands move for seconds of an episode only
PERIOD = 0.012  # s between two samples
MIN_HOLD = 0.3  # s


# --- in the processes of the fleet


def run_fleet(folder: Path) -> int:
    """Run the demo fleet with its recorder under the supervisor; its drivers write their cycles to ``folder``."""
    from latent_policy_ros import bringup
    from latent_policy_ros.bringup.supervisor import Supervisor, node_command

    def command(spec: Any, parameters: Path) -> list[str]:
        arguments = node_command(spec, parameters)
        if spec.executable.endswith("driver_node"):
            start = arguments.index("--ros-args")
            arguments[1:start] = [__file__, "--driver", spec.executable, "--folder", str(folder / spec.file_name)]
        return arguments

    specs = bringup.node_specs(bringup.load_fleet("demo"), record=True)
    return Supervisor(specs, log_folder=folder / "logs", restart=True, command=command).run()


def run_driver(executable: str, file: Path) -> int:
    """Run a driver node that appends a record for each control cycle to ``file``.PID."""
    from latent_policy_ros.control.joint_controller import JointController

    descriptor = os.open(f"{file}.{os.getpid()}", os.O_WRONLY | os.O_CREAT | os.O_APPEND)
    cycle, reset = JointController.cycle, JointController.reset

    def write(controller: JointController, now: float, holding: bool, position: np.ndarray | None) -> None:
        row = np.zeros(1, record_type(len(controller.names)))
        row["time"], row["holding"], row["sent"] = now, holding, position is not None
        if controller.measured is not None:
            row["measured"] = controller.measured
        if position is not None:
            row["position"] = position
        os.write(descriptor, row.tobytes())  # at once: the process may be killed

    def recorded(controller: JointController, measured: np.ndarray, stamp: float, now: float) -> Any:
        result = cycle(controller, measured, stamp, now)
        write(controller, now, result.holding, result.position)
        return result

    def started_anew(controller: JointController, now: float) -> None:
        reset(controller, now)
        write(controller, now, True, None)

    JointController.cycle, JointController.reset = recorded, started_anew
    return importlib.import_module(f"latent_policy_ros.nodes.{executable}").main()


def record_type(count: int) -> np.dtype:
    """A control cycle: steady time [s], whether it held, whether a set point was sent, that set point, and the measured joints."""
    joints = "f8", (count,)
    return np.dtype([("time", "f8"), ("holding", "u1"), ("sent", "u1"), ("position", *joints), ("measured", *joints)])


# --- in the process that measures


class Joints:
    """The joints of one driver: samples of a simulator, read in a thread, and the cycles that the driver's processes wrote."""

    def __init__(self, socket: Path, channel: str, kind: str, names: tuple[str, ...], guard: Any, file: Path) -> None:
        self.moving, self.still, self._guard, self._file, self._names = MOVING[kind], STILL[kind], guard, file, names
        self.samples: collections.deque[tuple[float, float, np.ndarray]] = collections.deque(maxlen=4000)
        threading.Thread(target=self._sample, args=(socket, channel), daemon=True).start()

    def _sample(self, socket: Path, channel: str) -> None:
        from latent_policy_ros.common.errors import HardwareError
        from latent_policy_ros.drivers.simulated.simulator import SimDriver

        driver, connected = SimDriver(socket, channel, self._names, timeout=0.3), False
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

    def _speeds(self, start: float) -> tuple[np.ndarray, np.ndarray]:
        """Times since ``start``, and the speed of the fastest joint over the WINDOW before each."""
        rows = [row for row in list(self.samples) if row[0] >= start - WINDOW]
        if len(rows) < 3:
            return np.zeros(0), np.zeros(0)
        times, stamps, positions = np.array([r[0] for r in rows]), np.array([r[1] for r in rows]), np.stack([r[2] for r in rows])
        back = np.searchsorted(stamps, stamps - WINDOW)
        return times, np.abs(positions - positions[back]).max(1) / np.maximum(stamps - stamps[back], 0.02)

    @property
    def moves(self) -> bool:
        """Whether a joint moves now."""
        times, speeds = self._speeds(time.monotonic() - 0.3)
        return bool(len(times) and time.monotonic() - times[-1] < 0.3 and speeds[-1] > self.moving)

    def still_after(self, start: float, end: float) -> float | None:
        """Seconds from ``start`` until all joints stand still for the rest of the time up to ``end``; None: they do not."""
        times, speeds = self._speeds(start)
        moving = np.flatnonzero((speeds >= self.still) & (times >= start) & (times < end))
        if not len(moving):
            return 0.0
        return None if times[moving[-1]] > end - 0.3 else float(times[moving[-1]] - start)

    def runs(self) -> Iterator[np.ndarray]:
        """The cycles of each process of the driver."""
        for file in sorted(self._file.parent.glob(f"{self._file.name}.*")):
            kind = record_type(len(self._names))
            data = file.read_bytes()
            yield np.frombuffer(data[: len(data) // kind.itemsize * kind.itemsize], kind)

    def held(self, start: float, end: float) -> tuple[float, float] | None:
        """Begin and end of the first hold of at least ``MIN_HOLD`` from ``start`` on; None: the driver does not hold."""
        cycles = np.concatenate([run[["time", "holding"]] for run in self.runs()])
        cycles = np.sort(cycles[(cycles["time"] >= start) & (cycles["time"] < end)], order="time")
        begin = newest = None
        for newest, holding in cycles.tolist():
            if holding and begin is None:
                begin = newest
            elif not holding and begin is not None:
                if newest - begin >= MIN_HOLD:
                    return begin, newest
                begin = None
        return None if begin is None or newest - begin < MIN_HOLD else (begin, end)

    @property
    def follows(self) -> bool:
        """Whether the driver follows commands now."""
        files = sorted(self._file.parent.glob(f"{self._file.name}.*"), key=lambda file: file.stat().st_mtime)
        kind = record_type(len(self._names))
        with files[-1].open("rb") as file:
            file.seek(max(0, files[-1].stat().st_size // kind.itemsize - 1) * kind.itemsize)
            newest = np.frombuffer(file.read(kind.itemsize), kind)
        return bool(len(newest) and not newest["holding"][0] and time.monotonic() - newest["time"][0] < 0.2)

    def outside_contract(self, start: float, end: float) -> tuple[int, int]:
        """Number of set points whose step or change of velocity exceeds the guard's contract, and of all set points."""
        outside = count = 0
        for run in self.runs():
            run = run[run["time"] >= start - 1.0]
            if len(run) < 3:
                continue
            elapsed = np.minimum(np.diff(run["time"]), self._guard.max_period)[:, None]
            known = (run["sent"][1:] & run["sent"][:-1]).astype(bool)[:, None]  # otherwise it starts at the measured pose, at rest
            allowed = self._guard.allowed(run["position"][:-1], run["measured"][1:])  # moved there by a joint that returned
            step, moved = run["position"][1:] - allowed, allowed != run["position"][:-1]
            velocity = np.where(known, step / elapsed, 0.0)
            before = np.where(moved[1:], 0.0, velocity[:-1])
            limit = (
                self._guard.acceleration(run["holding"][2:], allowed[1:], run["measured"][2:], before, elapsed[1:]) * elapsed[1:]
            )
            too_far = np.abs(step[1:]) > self._guard.max_velocity * elapsed[1:] + 1e-9
            too_hard = np.abs(velocity[1:] - before) > limit + 1e-6
            judged = known[1:, 0] & (run["time"][2:] >= start) & (run["time"][2:] < end)
            outside += int(((too_far | too_hard).any(axis=1) & judged).sum())
            count += int(judged.sum())
        return outside, count


class Limits:
    """The limits of a guard, for T set points of n joints."""

    def __init__(self, guard: Any) -> None:
        from latent_policy_ros.control.command_guard import BRAKING, MAX_PERIOD

        self.max_period, self.max_velocity, self._lower, self._upper = MAX_PERIOD, guard.max_velocity, guard.lower, guard.upper
        self._acceleration, self._braking = guard.max_acceleration, BRAKING

    def allowed(self, position: np.ndarray, measured: np.ndarray) -> np.ndarray:
        """The nearest allowed positions (T, n), given the measured ones."""
        return np.clip(position, np.minimum(self._lower, measured), np.maximum(self._upper, measured))

    def acceleration(
        self, holding: np.ndarray, position: np.ndarray, measured: np.ndarray, velocity: np.ndarray, elapsed: np.ndarray
    ) -> np.ndarray:
        """Largest acceleration (T, n): more while holding (T,), or where the way to a limit is too short otherwise."""
        low, high = np.minimum(self._lower, measured), np.maximum(self._upper, measured)
        room = np.where(velocity > 0, high - position, position - low)
        way = velocity**2 / (2 * self._acceleration) + np.abs(velocity) * elapsed
        return np.where(holding[:, None] | (way >= room - 1e-6), self._braking, 1.0) * self._acceleration


class Fleet:
    """The demo fleet in processes, and a node that watches it."""

    def __init__(self, folder: Path) -> None:
        from diagnostic_msgs.msg import DiagnosticArray
        from std_srvs.srv import Trigger

        from latent_policy_ros.bringup.node_list import default_socket_folder
        from latent_policy_ros.control.arm_controller import ArmController
        from latent_policy_ros.control.arm_description import load_arm
        from latent_policy_ros.control.arm_kinematics import ArmKinematics
        from latent_policy_ros.control.command_guard import CommandGuard
        from latent_policy_ros.embodiments import load_embodiment
        from latent_policy_ros.nodes.base import ros_context
        from latent_policy_ros.nodes.topics import qos

        command = [sys.executable, __file__, "--fleet", "--folder", str(folder)]
        self.log = folder / "up.log"
        with self.log.open("w") as file:
            self.process = subprocess.Popen(command, stdout=file, stderr=file, start_new_session=True)
        ros_context.init(images=False)
        import rclpy

        from latent_policy_ros.msg import LatentAction

        self.node, self.executor = rclpy.create_node("fault_monitor"), ros_context.Executor()
        self.executor.add_node(self.node)
        self.chunks: dict[str, list[float]] = {robot: [] for robot in ROBOTS}
        self.heard: dict[str, float] = {}
        for robot in ROBOTS:
            note = lambda _, robot=robot: self.chunks[robot].append(time.monotonic())
            self.node.create_subscription(LatentAction, f"/{robot}/latent_action", note, qos.LATENTS)
        note_status = lambda message: self.heard.__setitem__(message.status[0].name, time.monotonic())
        self.node.create_subscription(DiagnosticArray, "/diagnostics", note_status, qos.EVENTS)
        self.resets = {robot: self.node.create_client(Trigger, f"/{robot}/sim/reset") for robot in ROBOTS}
        self.joints = {}
        for robot, name in ROBOTS.items():
            socket, e, arm = default_socket_folder() / f"{robot}.sock", load_embodiment(name), load_arm("panda")
            guards = {"arm": ArmController(ArmKinematics(e, arm)).guard}
            guards["hand"] = CommandGuard.of(e)
            for (part, guard), kind in zip(guards.items(), ("arm", e.command)):
                file = folder / f"{robot}.{kind}_driver"
                self.joints[robot, part] = Joints(socket, part, kind, guard.names, Limits(guard), file)

    def spin(self, seconds: float) -> None:
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            self.executor.spin_once(timeout_sec=0.02)

    def until(self, condition: Callable[[], Any], timeout: float) -> float | None:
        """Seconds until ``condition()`` holds in three looks, 50 ms apart; None: not within ``timeout``."""
        start, held = time.monotonic(), 0
        while time.monotonic() - start < timeout:
            self.spin(0.05)
            held = held + 1 if condition() else 0
            if held == 3:
                return time.monotonic() - start
        return None

    def rate(self, robot: str, start: float, end: float) -> float:
        """Chunks per second of a robot."""
        return sum(start <= t < end for t in self.chunks[robot]) / (end - start)

    def reset(self, watched: str) -> None:
        """Start new episodes, and wait until both arms move, and for a while until the hand of ``watched`` moves too."""
        from std_srvs.srv import Trigger

        for client in self.resets.values():
            if client.wait_for_service(timeout_sec=2.0):
                future = client.call_async(Trigger.Request())
                self.until(future.done, 5.0)
        self.until(lambda: all(self.joints[robot, "arm"].moves for robot in ROBOTS), 15.0)
        self.spin(BEFORE)
        if self.until(lambda: all(self.joints[watched, part].moves for part in PARTS), PATIENCE) is None:
            self.until(lambda: self.joints[watched, "arm"].moves, 5.0)

    def stop(self) -> None:
        self.process.send_signal(signal.SIGINT)
        self.process.wait(90)


def inject(fleet: Fleet, victim: str, fault: str) -> dict[str, Any]:
    """Inject one fault; returns what was measured."""
    full_name, robot, driven = VICTIMS[victim]
    watched, other = robot or "left", "left" if robot == "right" else "right"
    fleet.reset(watched)
    pid = pid_of(fleet.process.pid, full_name)
    if pid is None:
        return {"victim": victim, "fault": fault, "error": "no process"}
    start = time.monotonic()
    before = fleet.rate(other, start - BEFORE, start)
    os.kill(pid, FAULTS[fault])
    fleet.spin(HALT)
    end = time.monotonic()
    row: dict[str, Any] = {
        "victim": victim,
        "fault": fault,
        "time": start,
        "other before": before,
        "other": fleet.rate(other, start, end),
    }
    held: dict[str, tuple[float, float] | None] = {}
    if victim not in ("recorder", "simulator"):
        held = {part: fleet.joints[watched, part].held(start, end) for part in PARTS if part != driven}
        until = min((hold[1] for hold in held.values() if hold), default=end)  # a killed node may be back before ``end``
        for part in PARTS:
            row[f"{part} at rest"] = fleet.joints[watched, part].still_after(start, until)
        for part, hold in held.items():
            row[f"{part} hold"] = hold and hold[0] - start
    if fault == "halt":
        os.kill(pid, signal.SIGCONT)
    resumed = time.monotonic() if fault == "halt" else start
    works = lambda: (
        fleet.heard.get(full_name, 0.0) > resumed
        if victim == "recorder"
        else all(fleet.joints[watched, part].follows for part in PARTS)
    )
    if fault == "kill" and held and all(hold and hold[1] < end for hold in held.values()):
        row["back"] = max(hold[1] for hold in held.values() if hold) - start
    else:
        row["back"] = None if fleet.until(works, 60.0) is None else time.monotonic() - resumed
    fleet.spin(1.0)
    counts = [joints.outside_contract(start, time.monotonic()) for joints in fleet.joints.values()]
    row["outside"], row["set points"] = (sum(column) for column in zip(*counts))
    return row


def text(values: list[Any]) -> str:
    """The largest of the measured values; ``not`` if one of the repeats failed."""
    if None in values:
        return f"not in {values.count(None)} of {len(values)}"
    return f"{max(values):.2f}" if values else "-"


def table(rows: list[dict[str, Any]]) -> Iterator[str]:
    """The table of docs/explanation/SAFETY.md."""
    columns = ["arm hold", "hand hold", "arm at rest", "hand at rest"]
    heads = ["victim", "fault", *(f"{column} [s]" for column in columns), "outside the contract", "other [1/s]", "back [s]"]
    yield "| " + " | ".join(heads) + " |"
    yield "|---" * len(heads) + "|"
    for victim in VICTIMS:
        for fault in FAULTS:
            mine = [row for row in rows if (row["victim"], row["fault"]) == (victim, fault) and "error" not in row]
            if not mine:
                continue
            mean = lambda key, mine=mine: float(np.mean([row[key] for row in mine]))
            cells = [text([row[column] for row in mine if column in row]) for column in columns]
            outside = f"{sum(row['outside'] for row in mine)} of {sum(row['set points'] for row in mine)}"
            other = "-" if victim == "policy" else f"{mean('other before'):.1f} / {mean('other'):.1f}"
            yield "| " + " | ".join([victim, fault, *cells, outside, other, text([row["back"] for row in mine])]) + " |"


def measure(arguments: argparse.Namespace, rows: list[dict[str, Any]]) -> None:
    """Inject the faults that ``rows`` lacks, and add what was measured."""
    os.environ |= {"ROS_DOMAIN_ID": str(arguments.domain), "ROS_AUTOMATIC_DISCOVERY_RANGE": "LOCALHOST"}
    done = collections.Counter((row["victim"], row["fault"]) for row in rows)
    with tempfile.TemporaryDirectory() as name:
        os.environ["LATENT_POLICY_HOME"] = name
        fleet = Fleet(arguments.keep or Path(name))
        try:
            if fleet.until(lambda: all(joints.samples for joints in fleet.joints.values()), 150.0) is None:
                sys.exit("the fleet did not start:\n" + fleet.log.read_text()[-3000:])
            for repeat in range(arguments.repeats):
                for victim in arguments.victim or VICTIMS:
                    for fault in FAULTS:
                        if done[victim, fault] > repeat:
                            continue
                        rows.append(inject(fleet, victim, fault))
                        print(json.dumps(rows[-1]), file=sys.stderr, flush=True)
                        if arguments.json:
                            arguments.json.write_text(json.dumps(rows, indent=1))
        finally:
            fleet.stop()


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--victim", action="append", choices=VICTIMS, help="repeatable; default: all")
    parser.add_argument("--json", type=Path, help="write every row to this file, and continue it")
    parser.add_argument("--keep", type=Path, help="existing folder in which to keep logs and control cycles")
    parser.add_argument("--domain", type=int, default=88, help="ROS domain")
    for hidden in ("--fleet", "--driver", "--folder"):
        parser.add_argument(hidden, help=argparse.SUPPRESS, **({"action": "store_true"} if hidden == "--fleet" else {}))
    arguments, _ = parser.parse_known_args()
    if arguments.fleet:
        return run_fleet(Path(arguments.folder))
    if arguments.driver:
        return run_driver(arguments.driver, Path(arguments.folder))
    rows = json.loads(arguments.json.read_text()) if arguments.json and arguments.json.exists() else []
    measure(arguments, rows)
    print("\n".join(table(rows)))
    return 0


if __name__ == "__main__":
    sys.exit(main())
