"""Writes a bag for conversion.py: 2 cameras of 640x480 at 30 Hz, 23 joints at 200 Hz, commands at 50 Hz.

    .venv/bin/python benchmarks/make_bag.py raw_bag
    .venv/bin/python benchmarks/make_bag.py jpeg_bag --jpeg

The topics are those of config/mappings/example.yaml. 60 s take 3.3 GB with raw images, 0.2 GB with JPEG. Images repeat after 3 s.
"""

from __future__ import annotations

import argparse
import heapq
from collections.abc import Iterator
from pathlib import Path

import cv2
import numpy as np
from rosbags.rosbag2 import StoragePlugin, Writer

from latent_policy_ros.data.bags.message_types import message_types
from latent_policy_ros.embodiments import load_embodiment

WIDTH, HEIGHT = 640, 480
IMAGES = 90  # of each camera, repeated
JOINTS, HAND = 23, "mimic_hand"  # 7 of an arm, then those of the hand
CAMERA_RATE, STATE_RATE, COMMAND_RATE = 30, 200, 50  # Hz
BEGIN = 1_700_000_000_000_000_000  # ns
STORE = message_types()
TYPES = STORE.types


def scene(camera: int) -> Iterator[np.ndarray]:
    """Synthetic images (HEIGHT, WIDTH, 3) uint8 with gradients, texture, moving discs and noise."""
    rng = np.random.default_rng(camera)
    y, x = np.mgrid[:HEIGHT, :WIDTH]
    shades = np.stack((90 + 60 * y / HEIGHT, 80 + 70 * x / WIDTH, 110 + 20 * np.sin(x / 40 + camera)), axis=-1)
    texture = rng.normal(0, 6, (HEIGHT // 4, WIDTH // 4, 1)).repeat(4, axis=0).repeat(4, axis=1)
    for phase in np.linspace(0, 2 * np.pi, IMAGES, endpoint=False):
        image = shades + texture
        for k, colour in enumerate(((200, 60, 50), (50, 170, 80), (60, 80, 210))):
            column = WIDTH * (0.5 + 0.3 * np.sin(phase + 2 * k + camera))
            row = HEIGHT * (0.5 + 0.3 * np.cos(phase + k))
            image[(x - column) ** 2 + (y - row) ** 2 < (HEIGHT / 9) ** 2] = colour
        yield np.clip(image + rng.normal(0, 3, image.shape), 0, 255).astype(np.uint8)


def header(at: int) -> object:
    """A header with the stamp ``at`` [ns]."""
    stamp = TYPES["builtin_interfaces/msg/Time"](sec=at // 10**9, nanosec=at % 10**9)
    return TYPES["std_msgs/msg/Header"](stamp=stamp, frame_id="")


def camera_messages(camera: int, seconds: float, jpeg: bool) -> Iterator[tuple[int, str, object]]:
    """(time [ns], topic, message) of one camera."""
    topic = f"/cam{camera}/image_raw" + ("/compressed" if jpeg else "")
    images = list(scene(camera))
    if jpeg:
        images = [cv2.imencode(".jpg", p[..., ::-1], [cv2.IMWRITE_JPEG_QUALITY, 90])[1].ravel() for p in images]
    for i in range(round(seconds * CAMERA_RATE)):
        at, data = BEGIN + round((i + 0.1 * camera) * 1e9 / CAMERA_RATE), images[i % IMAGES]
        if jpeg:
            yield at, topic, TYPES["sensor_msgs/msg/CompressedImage"](header=header(at), format="jpeg", data=data)
        else:
            yield at, topic, TYPES["sensor_msgs/msg/Image"](
                header=header(at), height=HEIGHT, width=WIDTH, encoding="rgb8", is_bigendian=0, step=3 * WIDTH,
                data=data.reshape(-1),
            )  # fmt: skip


def joint_messages(seconds: float) -> Iterator[tuple[int, str, object]]:
    """(time [ns], topic, message) of measured and commanded joints."""
    names, phase = [f"joint_{i}" for i in range(JOINTS)], 0.3 * np.arange(JOINTS)
    hand = load_embodiment(HAND)  # its joints follow those of the arm
    middle = np.concatenate([np.zeros(JOINTS - len(hand.joint_names)), (hand.lower + hand.upper) / 2])
    layout = TYPES["std_msgs/msg/MultiArrayLayout"](dim=[], data_offset=0)
    for i in range(round(seconds * STATE_RATE)):
        at, q = BEGIN + round(i * 1e9 / STATE_RATE), middle + 0.2 * np.sin(i / STATE_RATE + phase)
        state = TYPES["sensor_msgs/msg/JointState"](header=header(at), name=names, position=q, velocity=0.5 * q, effort=0.1 * q)
        yield at, "/joint_states", state
        if i % (STATE_RATE // COMMAND_RATE) == 0:
            yield at, "/joint_command", TYPES["std_msgs/msg/Float64MultiArray"](layout=layout, data=q)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("out", type=Path)
    parser.add_argument("--jpeg", action="store_true", help="CompressedImage instead of Image")
    parser.add_argument("--seconds", type=float, default=60.0)
    options = parser.parse_args()
    streams = [camera_messages(camera, options.seconds, options.jpeg) for camera in range(2)]
    with Writer(options.out, version=9, storage_plugin=StoragePlugin.MCAP) as bag:
        topics = {}
        for at, topic, message in heapq.merge(*streams, joint_messages(options.seconds), key=lambda item: item[0]):
            msg_type = message.__msgtype__
            if topic not in topics:
                topics[topic] = bag.add_connection(topic, msg_type, typestore=STORE)
            bag.write(topics[topic], at, STORE.serialize_cdr(message, msg_type))


if __name__ == "__main__":
    main()
