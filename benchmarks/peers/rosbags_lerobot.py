"""Convert a bag of make_bag.py with rosbags and the writer of LeRobot 0.4.4: BAG OUT. Run by ../conversion.py.

    python -m venv lerobot && lerobot/bin/pip install lerobot==0.4.4 rosbags==0.11.9

A frame consists of an image of the last camera and the newest preceding values of the other topics.
"""

import json
import os
import sys
import time
from bisect import bisect_right
from pathlib import Path

os.environ.update(HF_HUB_OFFLINE="1", OMP_NUM_THREADS="2")

import cv2
import numpy as np
from lerobot.datasets.lerobot_dataset import LeRobotDataset
from rosbags.highlevel import AnyReader

NUMBERS = {"/joint_states": ("observation.state", "position"), "/joint_command": ("action", "data")}


def pixels(message):
    """RGB (H, W, 3) uint8."""
    if hasattr(message, "height"):
        return message.data.reshape(message.height, message.width, 3)
    return cv2.cvtColor(cv2.imdecode(message.data, cv2.IMREAD_COLOR), cv2.COLOR_BGR2RGB)


def main() -> None:
    bag, out = map(Path, sys.argv[1:3])
    began, frames = time.perf_counter(), 0
    with AnyReader([bag]) as reader:
        times, values = {topic: [] for topic in NUMBERS}, {topic: [] for topic in NUMBERS}
        for connection, at, data in reader.messages([c for c in reader.connections if c.topic in NUMBERS]):
            message = reader.deserialize(data, connection.msgtype)
            times[connection.topic].append(at)
            values[connection.topic].append(np.asarray(getattr(message, NUMBERS[connection.topic][1]), np.float32))
        cameras = sorted((c for c in reader.connections if "/cam" in c.topic), key=lambda c: c.topic)
        names = {c.topic: f"observation.images.{c.topic.split('/')[1]}" for c in cameras}
        features = {n: {"dtype": "video", "shape": (480, 640, 3), "names": ["height", "width", "channels"]} for n in names.values()}
        for topic, (feature, _) in NUMBERS.items():
            size = len(values[topic][0])
            features[feature] = {"dtype": "float32", "shape": (size,), "names": [f"joint_{i}" for i in range(size)]}
        data_set = LeRobotDataset.create("local/bench", 30, features, root=out, vcodec="h264", streaming_encoding=True)
        newest = {}
        for connection, at, data in reader.messages(cameras):
            newest[names[connection.topic]] = pixels(reader.deserialize(data, connection.msgtype))
            if connection.topic != cameras[-1].topic or len(newest) < len(cameras):
                continue
            numbers = {
                feature: values[topic][max(0, bisect_right(times[topic], at) - 1)] for topic, (feature, _) in NUMBERS.items()
            }
            data_set.add_frame({**newest, **numbers, "task": "bench"})
            frames += 1
    data_set.save_episode()
    data_set.finalize()
    print(json.dumps({"frames_s": frames / (time.perf_counter() - began)}))


if __name__ == "__main__":
    main()
