"""Seeded fuzzing of all inputs of the nodes: hostile messages, damaged serialisations, commands judged at the driver.

Every node runs as a process. The fuzzer publishes mutated messages on all of their inputs: numbers that are not
finite or huge, texts and arrays of odd lengths, stamps of other times, cut and overwritten serialisations. It fails if a process
ends, if the memory of one grows by more than the limit, or if a driver is sent a command outside of the joint limits, not finite,
or faster than the joints may move.

    .venv/bin/python benchmarks/fuzz.py                       # one million messages
    .venv/bin/python benchmarks/fuzz.py --messages 20000 --seed 7
"""

from __future__ import annotations

import argparse
import json
import os
import random
import signal
import struct
import subprocess
import sys
import tempfile
import time
from array import array
from collections import Counter, deque
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

CAMERA, EMBODIMENT = "front", "panda_gripper"
# A namespace for the nodes of each kind: a node that hears of a second publisher of its inputs would hold, and read no more.
DRIVEN, DECODED, OBSERVED, TAUGHT = "driven", "decoded", "observed", "taught"
NODES = ("policy", "decoder", "gripper_driver", "arm_driver", "recorder", "human_hand")
BATCH = 20  # messages sent without a pause: short queues keep the newest ones
VARIANTS = 300  # different payloads of each input
FRESH = 0.7  # share of the messages that get the current stamp
GROWTH_LIMIT = 50.0  # MB of each process
WARM_UP = 0.1  # share of the messages before the memory is measured first: buffers and caches fill
WINDOW, SLACK = 0.15, 0.05  # s over which the judge measures velocity, and of which it tolerates as jitter
ODD_NUMBERS = (float("nan"), float("inf"), -float("inf"), 1e308, -1e308, 5e-324, 0.0, -1.0, 1e6)
ODD_INTEGERS = (0, 1, -1, 127, 255, 32767, 65535, 2**31 - 1, 2**32 - 1, -(2**31))
ODD_TEXTS = ("", "x" * 5000, "../../etc/passwd", "a\nb", "\x01\x02", "ä" * 50, "discard", "end", "begin", "rgb8", "16UC1", "{}%s")


@dataclass(frozen=True)
class Input:
    """An input of the nodes: topic, message type, and a function that makes a valid message."""

    topic: str
    message_type: type
    make: Callable[[], Any]


def inputs(space_dim: int, latent_id: str, policy_id: str = "fuzz") -> list[Input]:
    """All topics to which the nodes of a robot subscribe."""
    import cv2
    from geometry_msgs.msg import PoseArray, PoseStamped
    from sensor_msgs.msg import CompressedImage, Image, JointState
    from trajectory_msgs.msg import JointTrajectory

    from latent_policy_ros.control.arm_description import load_arm
    from latent_policy_ros.embodiments import load_embodiment
    from latent_policy_ros.msg import EpisodeEvent, LatentAction
    from latent_policy_ros.nodes.topics import message_conversion as convert
    from latent_policy_ros.policy import ActionChunk

    e, arm_joints = load_embodiment(EMBODIMENT), load_arm("panda").joint_names
    pose = np.array([0.4, 0.0, 0.4, 1.0, 0.0, 0.0, 0.0])

    def chunk() -> Any:
        latents = np.full((16, space_dim), 0.2)
        actions = ActionChunk(time.time(), 0.1, latents, np.tile(pose, (16, 1)), latent_id, policy_id, 1)
        return convert.latent_action(actions, "")

    def keypoints() -> Any:
        points = np.random.default_rng(0).normal(0.0, 0.1, (21, 3))
        return PoseArray(poses=[convert.to_pose(np.array([*point, 0.0, 0.0, 0.0, 1.0])) for point in points])

    picture = np.full((32, 32, 3), 100, np.uint8)
    jpeg = array("B", cv2.imencode(".jpg", picture)[1].tobytes())
    joints = lambda: convert.joint_state(0.0, e.joint_names, e.rest, np.zeros(len(e.rest)))
    wrist = lambda: convert.pose_stamped(0.0, "", pose)
    measured = [
        Input(f"{robot}/{topic}", message_type, make)
        for robot in (OBSERVED, DECODED, TAUGHT)
        for topic, message_type, make in (("joint_states", JointState, joints), ("wrist_pose", PoseStamped, wrist))
    ]
    return [
        *measured,
        Input(f"{OBSERVED}/{CAMERA}/image_raw", Image, lambda: convert.image(0.0, CAMERA, picture)),
        Input(f"{OBSERVED}/{CAMERA}/image_raw/compressed", CompressedImage, lambda: CompressedImage(format="jpeg", data=jpeg)),
        Input(f"{DECODED}/latent_action", LatentAction, chunk),
        Input(f"{DRIVEN}/gripper_command", JointTrajectory, lambda: convert.command(0.0, 0.02, e.joint_names, e.upper)),
        Input(f"{DRIVEN}/arm_command", JointTrajectory, lambda: convert.command(0.0, 0.02, arm_joints, np.zeros(7))),
        Input(f"{DRIVEN}/wrist_command", PoseStamped, wrist),
        Input(f"{OBSERVED}/robot_event", EpisodeEvent, lambda: EpisodeEvent(event="success")),
        Input("episode_event", EpisodeEvent, lambda: EpisodeEvent(event="begin", task="fuzz", episode=1)),
        Input("keypoints", PoseArray, keypoints),
    ]


def mutate(message: Any, rng: random.Random) -> Any:
    """Replace some fields of a message by odd values, in place; returns the message."""
    for name, kind in message.get_fields_and_field_types().items():
        if rng.random() < 0.5:
            continue
        value = getattr(message, name)
        try:
            setattr(message, name, _odd(value, kind, rng))
        except (AssertionError, TypeError, ValueError, OverflowError):  # the generated classes check ranges
            continue
    return message


def _odd(value: Any, kind: str, rng: random.Random) -> Any:
    if hasattr(value, "get_fields_and_field_types"):
        return mutate(value, rng)
    if kind in ("double", "float"):
        return rng.choice(ODD_NUMBERS)
    if kind == "boolean":
        return rng.random() < 0.5
    if kind == "string":
        return rng.choice(ODD_TEXTS)
    if kind.startswith("sequence"):
        items = list(value)
        chosen = rng.random()
        if chosen < 0.4:
            items = items * rng.choice((0, 2, 3, 50))
        elif items:
            at = rng.randrange(len(items))
            items[at] = _odd(items[at], _kind(items[at]), rng)
        return array(value.typecode, items) if isinstance(value, array) else items
    return rng.choice(ODD_INTEGERS)


def _kind(item: Any) -> str:
    return "double" if isinstance(item, float) else "string" if isinstance(item, str) else "integer"


def damage(data: bytes, rng: random.Random) -> bytes:
    """Cut or overwrite a serialised message, e.g. the length of a text or of an array."""
    changed = bytearray(data)
    for _ in range(rng.randint(1, 3)):
        at = rng.randrange(0 if rng.random() < 0.1 else 4, max(5, len(changed)))
        changed[at : at + 4] = rng.choice((b"\xff\xff\xff\xff", bytes(4), rng.randbytes(4), struct.pack("<I", 2**31)))
    return bytes(changed[: rng.randrange(len(changed))]) if rng.random() < 0.3 else bytes(changed)


def payloads(message_input: Input, rng: random.Random, count: int = VARIANTS) -> list[bytes]:
    """Serialised messages of an input: a tenth valid, half with odd values, the others damaged."""
    from rclpy.serialization import serialize_message

    found: list[bytes] = []
    while len(found) < count:
        message, chosen = message_input.make(), rng.random()
        try:
            data = bytes(serialize_message(mutate(message, rng) if 0.1 < chosen < 0.6 else message))
        except Exception:  # a value that cannot be serialised
            continue
        found.append(damage(data, rng) if chosen >= 0.6 else data)
    return found


class Fuzzer:
    """Publishes hostile messages on all inputs, in an order that the seed determines."""

    def __init__(self, node: Any, all_inputs: list[Input], seed: int, variants: int = VARIANTS) -> None:
        from latent_policy_ros.nodes.topics import qos

        self._rng = random.Random(seed)
        self._publishers = [node.create_publisher(i.message_type, i.topic, qos.EVENTS) for i in all_inputs]
        self._payloads = [payloads(i, self._rng, variants) for i in all_inputs]
        self.sent = 0

    def send(self) -> None:
        """Publish one message."""
        rng, number = self._rng, self._rng.randrange(len(self._publishers))
        data = rng.choice(self._payloads[number])
        if rng.random() < FRESH and len(data) > 12:  # every type begins with a header
            now = time.time_ns()
            data = data[:4] + struct.pack("<iI", now // 10**9, now % 10**9) + data[12:]
        self._publishers[number].publish(data)
        self.sent += 1


@dataclass
class Judge:
    """Judges the commands that a driver is sent: finite, within limits, not faster than the joints may move."""

    lower: np.ndarray
    upper: np.ndarray
    max_velocity: np.ndarray
    report: Callable[[str], None]
    commands: int = 0
    found: Counter[str] = field(default_factory=Counter)
    _recent: deque[tuple[float, np.ndarray]] = field(default_factory=deque)

    def write(self, position: np.ndarray) -> None:
        """Judge one command (n,) [rad or m]."""
        now, margin = time.monotonic(), 1e-6
        self.commands += 1
        if not np.isfinite(position).all():
            self._note(f"not finite: {position}")
            return
        if (position < self.lower - margin).any() or (position > self.upper + margin).any():
            self._note(f"outside of the limits: {position}")
        for then, before in self._recent:
            reach = self.max_velocity * (now - then + SLACK) + margin
            if (np.abs(position - before) > reach).any():
                self._note(f"too fast: {np.abs(position - before).max():.4f} in {now - then:.3f} s")
                break
        self._recent.append((now, np.array(position)))
        while self._recent and now - self._recent[0][0] > WINDOW:
            self._recent.popleft()

    def _note(self, text: str) -> None:
        kind = text.partition(":")[0]
        self.found[kind] += 1
        if self.found[kind] <= 3:
            self.report(text)


def judged(driver: Any, judge: Judge) -> Any:
    """Let a judge see every command of a driver."""
    write = driver.write

    def checked(position: np.ndarray) -> np.ndarray:
        judge.write(position)
        return write(position)

    driver.write = checked
    return driver


def judge_drivers(report: Callable[[str], None]) -> list[Judge]:
    """Judge all drivers that are made in this process from now on; returns the list to which their judges are added."""
    from latent_policy_ros.control.arm_description import load_arm
    from latent_policy_ros.control.arm_kinematics import ArmKinematics
    from latent_policy_ros.embodiments import load_embodiment
    from latent_policy_ros.nodes.base import driver_node

    judges: list[Judge] = []
    make, e = driver_node.make_driver, load_embodiment(EMBODIMENT)

    def make_judged(name: str, setup: Any) -> Any:
        k = ArmKinematics(e, load_arm("panda")) if setup.channel == "arm" else None
        limits = (k.lower, k.upper, k.max_velocity) if k else (e.lower, e.upper, e.max_velocity)
        judges.append(Judge(*limits, report))
        return judged(make(name, setup), judges[-1])

    driver_node.make_driver = make_judged
    return judges


def node_parameters(name: str, folder: Path) -> tuple[str, dict[str, Any]]:
    """Namespace and parameters of a node."""
    embodiment = {"embodiment": EMBODIMENT}
    if name == "policy":
        return "", {"robots": [OBSERVED], "embodiments": [EMBODIMENT], "cameras": [CAMERA]}
    if name == "recorder":
        parameters = {"robots": [OBSERVED], "cameras": [CAMERA], "folder": str(folder), "min_free": 1.0, "refuse_silent": False}
        return "", {**parameters, "trash_days": 0.0}
    if name == "human_hand":
        return "", {"robots": [TAUGHT], "embodiments": [EMBODIMENT]}
    return (DECODED, embodiment) if name == "decoder" else (DRIVEN, {**embodiment, "driver": "mock"})


def make_node(name: str, **options: Any) -> Any:
    """Create a node by its name."""
    if name == "policy":
        from latent_policy_ros.nodes.policy_node import PolicyNode as Made
    elif name == "decoder":
        from latent_policy_ros.nodes.decoder_node import Decoder as Made
    elif name == "recorder":
        from latent_policy_ros.nodes.recorder_node import Recorder as Made
    elif name == "human_hand":
        from latent_policy_ros.nodes.human_hand_node import HumanHandNode as Made
    elif name == "arm_driver":
        from latent_policy_ros.nodes.arm_driver_node import ArmDriver as Made
    else:
        from latent_policy_ros.nodes.base.driver_node import EndEffectorDriver

        return EndEffectorDriver("gripper", **options)
    return Made(**options)


def run_child(name: str, folder: Path) -> int:
    """Run one node in this process; drivers report what their judge finds to ``<folder>/<name>.json``."""
    from latent_policy_ros.nodes.base.main_loop import run_node
    from latent_policy_ros.nodes.topics.polled_subscription import PolledSubscription

    texts: list[str] = []
    judges = judge_drivers(texts.append) if name.endswith("driver") else []
    namespace, parameters = node_parameters(name, folder)
    read = Counter[str]()
    begin = PolledSubscription.__init__

    def counted(self: Any, subscription: Any, depth: int, handle: Callable[[bytes], None]) -> None:
        begin(self, subscription, depth, lambda data: (read.update([subscription.topic_name]), handle(data))[1])

    PolledSubscription.__init__ = counted

    def make() -> Any:
        from rclpy import Parameter

        overrides = [Parameter(key, value=value) for key, value in parameters.items()]
        return make_node(name, namespace=namespace or None, parameter_overrides=overrides)

    status = run_node(make, [], images=name in ("policy", "recorder"))
    found = [{"commands": j.commands, "found": dict(j.found)} for j in judges]
    (folder / f"{name}.json").write_text(json.dumps({"judges": found, "texts": texts, "read": read.total()}))
    return status


def memory(pid: int) -> float:
    """Resident memory of a process [MB]."""
    for line in Path(f"/proc/{pid}/status").read_text().splitlines():
        if line.startswith("VmRSS"):
            return int(line.split()[1]) / 1024
    return 0.0


def start_nodes(folder: Path, environment: dict[str, str]) -> dict[str, subprocess.Popen]:
    """Start all nodes, and wait until each is ready."""
    from latent_policy_ros.common.processes import READY

    processes = {}
    for name in NODES:
        command = [sys.executable, __file__, "--node", name, "--folder", str(folder)]
        environment = {**environment, READY: str(folder / f"{name}.ready")}
        log = (folder / f"{name}.log").open("w")
        processes[name] = subprocess.Popen(command, env=environment, stdout=log, stderr=log)
    deadline = time.monotonic() + 180.0
    while missing := [name for name in NODES if not (folder / f"{name}.ready").exists()]:
        if time.monotonic() > deadline or any(p.poll() is not None for p in processes.values()):
            stop_nodes(processes)
            sys.exit(f"not ready: {', '.join(missing)}; logs in {folder}")
        time.sleep(0.2)
    return processes


def stop_nodes(processes: dict[str, subprocess.Popen]) -> None:
    """Stop all nodes."""
    for process in processes.values():
        process.send_signal(signal.SIGINT)
    for process in processes.values():
        try:
            process.wait(60)
        except subprocess.TimeoutExpired:
            process.kill()


def fuzz(messages: int, seed: int, rate: float) -> int:
    """Run the fuzzer; returns the exit status."""
    from latent_policy_ros.common.paths import artifact
    from latent_policy_ros.common.ros_environment import node_environment, private_domain

    with private_domain() as domain, tempfile.TemporaryDirectory() as name:
        environment = node_environment() | domain
        os.environ.update(environment)
        folder = Path(name)
        processes = start_nodes(folder, environment)
        import rclpy

        from latent_policy_ros.latent import LatentSpace

        space = LatentSpace.load(artifact("latents", "default"))
        rclpy.init(args=[])
        fuzzer = Fuzzer(rclpy.create_node("fuzzer"), inputs(space.dim, space.latent_id), seed)
        time.sleep(2.0)  # discovery
        before: dict[str, float] = {}
        began = time.monotonic()
        ended: dict[str, int] = {}
        while fuzzer.sent < messages and not ended:
            for _ in range(BATCH):
                fuzzer.send()
            time.sleep(max(0.0, fuzzer.sent / rate - (time.monotonic() - began)))
            if fuzzer.sent % 1000:
                continue
            if not before and fuzzer.sent >= WARM_UP * messages:
                before = {name: memory(process.pid) for name, process in processes.items()}
            if fuzzer.sent % 50_000 == 0:
                print(f"{fuzzer.sent} messages in {time.monotonic() - began:.0f} s", file=sys.stderr, flush=True)
            ended = {name: p.returncode for name, p in processes.items() if p.poll() is not None}
        seconds = time.monotonic() - began
        time.sleep(1.0)
        alive = {name: process.pid for name, process in processes.items() if name in before and name not in ended}
        growth = {name: memory(pid) - before[name] for name, pid in alive.items()}
        stop_nodes(processes)
        rclpy.shutdown()
        failed = [f"{name} ended with status {status}" for name, status in ended.items()]
        print(f"{fuzzer.sent} messages in {seconds:.0f} s, seed {seed}")
        for name in NODES:
            file = folder / f"{name}.json"
            report = json.loads(file.read_text()) if file.is_file() else {"judges": [], "texts": [], "read": 0}
            commands, found = sum(j["commands"] for j in report["judges"]), sum(sum(j["found"].values()) for j in report["judges"])
            grown = growth.get(name, float("nan"))
            judged_text = f", {commands} commands judged, {found} violations" if report["judges"] else ""
            sizes = f"memory {before.get(name, 0.0):.0f} MB, growth {grown:+.1f} MB"
            print(f"{name}: {report['read']} messages read, {sizes}{judged_text}")
            failed += [f"{name}: {text}" for text in report["texts"]]
            if not grown < GROWTH_LIMIT:
                failed.append(f"{name}: memory grew by {grown:.1f} MB, the limit is {GROWTH_LIMIT:g} MB")
            if name in ended:
                print("".join((folder / f"{name}.log").read_text().splitlines(keepends=True)[-20:]))
        for text in failed:
            print(f"FAILED: {text}")
        return int(bool(failed))


def main() -> int:
    """Parse the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--messages", type=int, default=1_000_000, help="number of messages")
    parser.add_argument("--seed", type=int, default=0, help="seed of all random choices")
    parser.add_argument("--rate", type=float, default=5000.0, help="messages per second at most")
    parser.add_argument("--node", choices=NODES, help=argparse.SUPPRESS)
    parser.add_argument("--folder", type=Path, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.node:
        return run_child(arguments.node, arguments.folder)
    return fuzz(arguments.messages, arguments.seed, arguments.rate)


if __name__ == "__main__":
    sys.exit(main())
