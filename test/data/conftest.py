"""Synthetic recordings that tests may modify, and bags in all storage forms."""

import itertools
import shutil
from dataclasses import dataclass

import cv2
import numpy as np
import pytest
import yaml
from rosbags.rosbag2 import CompressionFormat, CompressionMode, StoragePlugin, Writer

from latent_policy_ros.data.bags.message_types import message_types
from latent_policy_ros.embodiments import load_embodiment

T0 = 1_700_000_000.0
STORE = message_types()
TYPES = STORE.types
WRITTEN = itertools.count()


def stamp(seconds):
    nanoseconds = round(seconds * 1e9)
    return TYPES["builtin_interfaces/msg/Time"](sec=nanoseconds // 10**9, nanosec=nanoseconds % 10**9)


def header(seconds):
    return TYPES["std_msgs/msg/Header"](stamp=stamp(seconds), frame_id="")


@dataclass
class Event:
    topic: str
    received: float
    message: object

    @property
    def at(self):
        """Time since the start of the recording [s]."""
        return self.received - T0


class Recording:
    """Messages of one robot in lists, which a test may change before it writes them to a bag.

    Each joint is measured as a sine within its limits and commanded as that plus 0.01; cameras show the time, in tenths of a
    second, as grey levels.
    """

    def __init__(self, robot="left", embodiment="faive_hand", seconds=3.0, fps=10, rate=50, compressed=False, size=(48, 64)):
        self.robot, self.embodiment, self.size = robot, load_embodiment(embodiment), size
        self.joints = self.embodiment.joint_names
        self.events = []
        for camera in ("front", "wrist"):
            for k in range(round(seconds * fps) + 1):
                self.add_image(camera, T0 + k / fps, compressed)
        for k in range(-1, round(seconds * rate) + 1):  # one before the first image: some command is in force at its time
            at = T0 + k / rate
            q = self.state(at)
            self.add("joint_states", at + 0.001, self.joint_state(at, self.joints, q))
            self.add("hand_command", at + 0.002, self.trajectory(at, self.joints, q + 0.01))
            self.add("wrist_pose", at + 0.001, self.pose(at, 0.3))
            self.add("wrist_command", at + 0.002, self.pose(at, 0.31))

    def state(self, at):
        e = self.embodiment
        return e.lower + (e.upper - e.lower) * (0.4 + 0.3 * np.sin(at - T0 + np.arange(len(self.joints)) / 5))

    def add(self, topic, received, message):
        self.events.append(Event(f"/{self.robot}/{topic}", received, message))

    def add_image(self, camera, at, compressed=False):
        rgb = np.full((*self.size, 3), round((at - T0) * 10) % 256, np.uint8)
        rgb[: self.size[0] // 2, :, 0] = 200
        if compressed:
            data = cv2.imencode(".jpg", rgb[..., ::-1])[1].ravel()
            message = TYPES["sensor_msgs/msg/CompressedImage"](header=header(at), format="jpeg", data=data)
            self.add(f"{camera}/image_raw/compressed", at + 0.01, message)
        else:
            self.add(f"{camera}/image_raw", at + 0.01, self.image(at, rgb))

    @staticmethod
    def image(at, rgb, encoding="rgb8"):
        height, width = rgb.shape[:2]
        return TYPES["sensor_msgs/msg/Image"](
            header=header(at), height=height, width=width, encoding=encoding, is_bigendian=0, step=rgb[0].size, data=rgb.ravel()
        )

    @staticmethod
    def joint_state(at, names, q):
        none = np.zeros(0)
        return TYPES["sensor_msgs/msg/JointState"](
            header=header(at), name=list(names), position=np.array(q, float), velocity=none, effort=none
        )

    @staticmethod
    def trajectory(at, names, *points):
        none, made = np.zeros(0), []
        for k, q in enumerate(points):
            after = TYPES["builtin_interfaces/msg/Duration"](sec=0, nanosec=int((k + 1) * 1e8))
            made.append(
                TYPES["trajectory_msgs/msg/JointTrajectoryPoint"](
                    positions=np.array(q, float), velocities=none, accelerations=none, effort=none, time_from_start=after
                )
            )
        return TYPES["trajectory_msgs/msg/JointTrajectory"](header=header(at), joint_names=list(names), points=made)

    @staticmethod
    def array(q):
        layout = TYPES["std_msgs/msg/MultiArrayLayout"](dim=[], data_offset=0)
        return TYPES["std_msgs/msg/Float64MultiArray"](layout=layout, data=np.array(q, float))

    @staticmethod
    def pose(at, x):
        pose = TYPES["geometry_msgs/msg/Pose"](
            position=TYPES["geometry_msgs/msg/Point"](x=x, y=0.0, z=0.4),
            orientation=TYPES["geometry_msgs/msg/Quaternion"](x=0.0, y=0.0, z=0.0, w=1.0),
        )
        return TYPES["geometry_msgs/msg/PoseStamped"](header=header(at), pose=pose)

    def on(self, name):
        """The events of one topic."""
        return [event for event in self.events if event.topic == f"/{self.robot}/{name}"]

    def drop(self, name, keep=lambda event: False):
        """Remove the events of a topic, except those to keep; returns the removed ones."""
        gone = [event for event in self.on(name) if not keep(event)]
        self.events = [event for event in self.events if not any(event is g for g in gone)]
        return gone

    def custom(self, **more):
        """Custom metadata as the recorder node writes it."""
        import json

        return {
            "robots": self.robot,
            "embodiments": json.dumps({self.robot: {"name": self.embodiment.name, "content_hash": self.embodiment.content_hash}}),
            "cameras": json.dumps({self.robot: ["front", "wrist"]}),
            "outcome": "success",
            "task": "put the cube in the box",
            **more,
        }

    def write(self, path, custom=None, storage=StoragePlugin.MCAP, compression=None, split=1):
        """Write a bag, by default with the metadata of the recorder node."""
        events = sorted(self.events, key=lambda event: event.received)
        pieces = [events[k * len(events) // split : (k + 1) * len(events) // split] for k in range(split)]
        folders = [path] if split == 1 else [path.with_name(f"{path.name}_piece{k}") for k in range(split)]
        early = next(WRITTEN)  # [ns]; makes recordings differ
        for piece, folder in zip(pieces, folders):
            self._write_piece(piece, folder, self.custom() if custom is None else custom, storage, compression, early)
        if split > 1:
            _put_together(path, folders)
        return path

    @staticmethod
    def _write_piece(events, folder, custom, storage, compression, early):
        writer = Writer(folder, version=9, storage_plugin=storage)
        if compression:
            writer.set_compression(compression, CompressionFormat.ZSTD)
        with writer:
            for key, value in custom.items():
                writer.set_custom_data(key, value)
            connections = {}
            for event in events:
                kind = event.message.__msgtype__
                if (event.topic, kind) not in connections:
                    connections[event.topic, kind] = writer.add_connection(event.topic, kind, typestore=STORE)
                received = max(0, round(event.received * 1e9) - early)
                writer.write(connections[event.topic, kind], received, STORE.serialize_cdr(event.message, kind))


def _put_together(path, folders):
    """Merge bags to one split bag, as of ros2 bag record --max-bag-size."""
    path.mkdir()
    contents = [yaml.safe_load((folder / "metadata.yaml").read_text())["rosbag2_bagfile_information"] for folder in folders]
    for folder, content in zip(folders, contents):
        for name in content["relative_file_paths"]:
            shutil.move(folder / name, path / name)
        shutil.rmtree(folder)
    counts = {}
    for content in contents:
        for topic in content["topics_with_message_count"]:
            name = topic["topic_metadata"]["name"]
            counts.setdefault(name, {**topic, "message_count": 0})["message_count"] += topic["message_count"]
    start = min(content["starting_time"]["nanoseconds_since_epoch"] for content in contents)
    end = max(c["starting_time"]["nanoseconds_since_epoch"] + c["duration"]["nanoseconds"] for c in contents)
    whole = {
        **contents[0],
        "relative_file_paths": [name for content in contents for name in content["relative_file_paths"]],
        "files": [file for content in contents for file in content["files"]],
        "topics_with_message_count": list(counts.values()),
        "message_count": sum(content["message_count"] for content in contents),
        "starting_time": {"nanoseconds_since_epoch": start},
        "duration": {"nanoseconds": end - start},
    }
    (path / "metadata.yaml").write_text(yaml.safe_dump({"rosbag2_bagfile_information": whole}))


@pytest.fixture
def recording():
    """Class of synthetic recordings."""
    return Recording


@pytest.fixture
def converted(tmp_path):
    """Converts bags to a new folder; returns the report and the folder."""
    from latent_policy_ros.data.conversion.conversion import Options, convert

    def run(*bags, out=None, **options):
        folder = out or tmp_path / "out"
        return convert(list(bags), folder, Options(**options)), folder

    return run


FORMS = {
    "mcap": (StoragePlugin.MCAP, None, 1),
    "mcap, zstd in the file": (StoragePlugin.MCAP, CompressionMode.STORAGE, 1),
    "mcap, zstd over the file": (StoragePlugin.MCAP, CompressionMode.FILE, 1),
    "mcap, zstd each message": (StoragePlugin.MCAP, CompressionMode.MESSAGE, 1),
    "mcap, 3 files": (StoragePlugin.MCAP, None, 3),
    "sqlite3": (StoragePlugin.SQLITE3, None, 1),
    "sqlite3, zstd over the file": (StoragePlugin.SQLITE3, CompressionMode.FILE, 1),
    "sqlite3, zstd each message": (StoragePlugin.SQLITE3, CompressionMode.MESSAGE, 1),
    "sqlite3, 2 files": (StoragePlugin.SQLITE3, None, 2),
}


@pytest.fixture(params=FORMS.values(), ids=FORMS.keys())
def form(request):
    """A way to store a bag: storage, compression, files."""
    return dict(zip(("storage", "compression", "split"), request.param))
