"""Message loss, CPU time and memory of the recorder, measured with processes that communicate over Fast DDS.

Each of two robots is a process that publishes two cameras of 640x480 at 30 Hz, joint states at 200 Hz and wrist poses at 100 Hz.
Every message contains a counter. Run from the checkout:

    .venv/bin/python benchmarks/recorder.py                 # JPEG from the drivers
    .venv/bin/python benchmarks/recorder.py --images raw    # raw from the drivers, compressed by the recorder

A message counts as lost if it was published between the first and the last recorded message of its topic and is not in the bag.
"""

from __future__ import annotations

import argparse
import os
import signal
import subprocess
import sys
import tempfile
import time
from array import array
from collections import defaultdict
from pathlib import Path

ROBOTS, CAMERAS = ("left", "right"), ("front", "wrist")
WIDTH, HEIGHT = 640, 480
CAMERA_RATE, JOINT_RATE, WRIST_RATE = 30.0, 200.0, 100.0  # Hz
JOINTS = 23


def scene(camera: int, count: int, seed: int):
    """Synthetic images with gradients, texture, moving discs and noise, (count, H, W, 3) uint8."""
    import cv2
    import numpy as np

    rng = np.random.default_rng(seed)
    y, x = np.mgrid[0:HEIGHT, 0:WIDTH]
    base = np.stack([90 + 60 * y / HEIGHT, 80 + 70 * x / WIDTH, 110 + 20 * np.sin(x / 40 + camera)], -1)
    base += rng.normal(0, 6, (HEIGHT // 4, WIDTH // 4, 1)).repeat(4, 0).repeat(4, 1)
    frames = []
    for k in range(count):
        image = base + rng.normal(0, 3, base.shape)
        image = np.ascontiguousarray(image.clip(0, 255).astype(np.uint8))
        for disc, colour in enumerate(((200, 60, 50), (50, 170, 80), (60, 80, 210))):
            centre = int(WIDTH * (0.5 + 0.3 * np.sin(6.283 * k / count + 2 * disc))), int(HEIGHT * (0.5 + 0.1 * disc))
            cv2.circle(image, centre, 50, colour, -1)
        frames.append(image)
    return frames


def publish(robot: str, images: str) -> None:
    """Publish the messages of one robot until SIGTERM."""
    import cv2
    import numpy as np
    import rclpy
    from geometry_msgs.msg import PoseStamped
    from sensor_msgs.msg import CompressedImage, Image, JointState

    from latent_policy_ros.nodes.topics import qos

    stopping: list[int] = []
    rclpy.init()
    node = rclpy.create_node("drivers", namespace=f"/{robot}")
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda caught, _: stopping.append(caught))
    joints = JointState(name=[f"joint_{k}" for k in range(JOINTS)], position=array("d", [0.5] * JOINTS))
    jobs = [  # (period [s], publisher, messages that are sent in turn)
        (1 / JOINT_RATE, node.create_publisher(JointState, "joint_states", qos.STATES), [joints]),
        (1 / WRIST_RATE, node.create_publisher(PoseStamped, "wrist_pose", qos.STATES), [PoseStamped()]),
    ]
    for number, camera in enumerate(CAMERAS):
        frames = scene(number, 10, number)
        if images == "raw":
            shape = {"height": HEIGHT, "width": WIDTH, "step": 3 * WIDTH, "encoding": "rgb8"}
            messages = [Image(**shape, data=array("B", frame.tobytes())) for frame in frames]
            topic = f"{camera}/image_raw"
        else:
            encoded = [cv2.imencode(".jpg", frame, (cv2.IMWRITE_JPEG_QUALITY, 90))[1] for frame in frames]
            messages = [CompressedImage(format="jpeg", data=array("B", np.asarray(code).tobytes())) for code in encoded]
            topic = f"{camera}/image_raw/compressed"
        jobs.append((1 / CAMERA_RATE, node.create_publisher(type(messages[0]), topic, qos.IMAGES), messages))
    counts, due = [0] * len(jobs), [time.monotonic()] * len(jobs)
    while not stopping:
        for job, (period, publisher, messages) in enumerate(jobs):
            if time.monotonic() < due[job]:
                continue
            due[job] += period
            message = messages[counts[job] % len(messages)]
            message.header.frame_id, stamp = str(counts[job]), time.time_ns()
            message.header.stamp.sec, message.header.stamp.nanosec = stamp // 10**9, stamp % 10**9
            publisher.publish(message)
            counts[job] += 1
        time.sleep(max(0.0, min(due) - time.monotonic()))


def cpu_seconds(pid: int) -> float:
    """User and system time of a process [s]."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def peak_memory(pid: int) -> int:
    """Peak resident memory of a process [MB]."""
    (line,) = [line for line in Path(f"/proc/{pid}/status").read_text().splitlines() if line.startswith("VmHWM")]
    return int(line.split()[1]) // 1000


def call(service: str, timeout: float = 0.0) -> str:
    """Call a service of the recorder; retry a refused call for ``timeout`` [s]."""
    import rclpy
    from std_srvs.srv import Trigger

    node, deadline = rclpy.create_node("caller"), time.monotonic() + timeout
    client = node.create_client(Trigger, f"/recorder/{service}")
    if not client.wait_for_service(60):
        sys.exit(f"/recorder/{service} is not available")
    while True:
        future = client.call_async(Trigger.Request())
        rclpy.spin_until_future_complete(node, future, timeout_sec=60)
        answer = future.result()
        if answer is not None and answer.success:
            node.destroy_node()
            return answer.message
        if time.monotonic() > deadline:
            sys.exit(f"/recorder/{service}: {answer.message if answer else 'no answer'}")
        time.sleep(0.5)


def count(bag: Path) -> dict[str, tuple[int, int, float]]:
    """{topic: (recorded messages, messages missing between the first and the last, mean size [kB])}."""
    from rosbags.highlevel import AnyReader

    numbers: dict[str, list[int]] = defaultdict(list)
    sizes: dict[str, int] = defaultdict(int)
    with AnyReader([bag]) as reader:
        wanted = [c for c in reader.connections if c.topic.startswith(tuple(f"/{robot}/" for robot in ROBOTS))]
        for connection, _, data in reader.messages(wanted):
            length = int.from_bytes(data[12:16], "little")
            numbers[connection.topic].append(int(bytes(data[16 : 15 + length])))
            sizes[connection.topic] += len(data)
    return {
        topic: (len(found), max(found) - min(found) + 1 - len(set(found)), sizes[topic] / len(found) / 1e3)
        for topic, found in sorted(numbers.items())
    }


def measure(images: str, seconds: float) -> int:
    """Publish, record and compare; returns the number of lost messages."""
    from latent_policy_ros.common.ros_environment import node_environment, private_domain

    with private_domain() as domain, tempfile.TemporaryDirectory(prefix="recorder-", dir=os.environ.get("BENCH_DIR")) as folder:
        os.environ.update(node_environment(os.environ | domain))
        import rclpy

        rclpy.init()
        here = [sys.executable, __file__, "--images", images, "--publish"]
        drivers = [subprocess.Popen([*here, robot], stdout=subprocess.PIPE, text=True) for robot in ROBOTS]
        lists = {"robots": ROBOTS, "cameras": [",".join(CAMERAS)] * len(ROBOTS)}
        parameters = [f"{name}:=[{','.join(repr(value) for value in values)}]" for name, values in lists.items()]
        recorder = subprocess.Popen([
            sys.executable, "-m", "latent_policy_ros.nodes.recorder_node", "--ros-args", "--log-level", "warn",
            *(part for text in (*parameters, f"folder:={folder}", "min_free:=0.5") for part in ("-p", text)),
        ])  # fmt: skip
        try:
            bag = Path(call("start", timeout=60.0))  # image generation and discovery take seconds
            began, before = time.monotonic(), cpu_seconds(recorder.pid)
            time.sleep(seconds)
            share = (cpu_seconds(recorder.pid) - before) / (time.monotonic() - began)
            memory = peak_memory(recorder.pid)
            call("stop")
        finally:
            for process in (*drivers, recorder):
                process.terminate()
        for driver in drivers:
            driver.communicate(timeout=20)
        recorder.wait(20)
        lost = report(bag, images, share, memory)
        rclpy.try_shutdown()
    return lost


def report(bag: Path, images: str, share: float, memory: int) -> int:
    """Print the contents of the bag; returns the number of lost messages."""
    import yaml

    information = yaml.safe_load((bag / "metadata.yaml").read_text())["rosbag2_bagfile_information"]
    custom, seconds = information["custom_data"], information["duration"]["nanoseconds"] / 1e9
    found = count(bag)
    print(f"{'topic':42s} {'published':>9s} {'recorded':>9s} {'lost':>6s} {'Hz':>6s} {'kB':>7s}")
    for topic, (messages, missing, size) in found.items():
        print(f"{topic:42s} {messages + missing:9d} {messages:9d} {missing:6d} {messages / seconds:6.1f} {size:7.1f}")
    lost = sum(missing for _, missing, _ in found.values())
    size = sum(file.stat().st_size for file in bag.iterdir())
    total = sum(messages for messages, _, _ in found.values())
    print(f"{images} images published, {seconds:.0f} s: {total} messages recorded, {lost} lost; "
          f"counted by the recorder: dropped {custom.get('dropped', 'none')}, lost {custom.get('lost', 'none')}")  # fmt: skip
    print(f"recorder: {100 * share:.0f}% of one CPU core of {os.cpu_count()}; {memory} MB peak memory; "
          f"{size / seconds / 1e6:.1f} MB/s to the disk")  # fmt: skip
    return lost


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--images", choices=["jpeg", "raw"], default="jpeg", help="format of the published images")
    parser.add_argument("--seconds", type=float, default=60.0)
    parser.add_argument("--publish", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.publish:
        publish(arguments.publish, arguments.images)
    else:
        sys.exit(int(measure(arguments.images, arguments.seconds) > 0))


if __name__ == "__main__":
    main()
