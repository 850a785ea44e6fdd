"""Convert a bag of make_bag.py to LeRobot v3.0 with forge-robotics 0.2.0: BAG OUT [--kind raw|jpeg]. Run by ../conversion.py.

python -m venv forge && forge/bin/pip install 'forge-robotics[mcap,rosbag,lerobot,video]==0.2.0' opencv-python-headless
"""

import argparse
import json
import time
from pathlib import Path

from forge.formats.lerobot_v3.writer import LeRobotV3Writer, LeRobotV3WriterConfig
from forge.formats.mcap.reader import MCAPReader
from forge.formats.mcap.topic_config import FieldMapping, SyncPolicy, TopicConfig


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("bag", type=Path)
    parser.add_argument("out", type=Path)
    parser.add_argument("--kind", default="raw")
    options = parser.parse_args()
    jpeg = options.kind == "jpeg"
    fields = {
        f"observation.images.cam{camera}": FieldMapping(
            topic=f"/cam{camera}/image_raw" + ("/compressed" if jpeg else ""), encoding="jpeg" if jpeg else None
        )
        for camera in range(2)
    }
    fields["observation.state"] = FieldMapping(topic="/joint_states", field="position", dtype="float32")
    fields["action"] = FieldMapping(topic="/joint_command", field="data", dtype="float32")
    config = TopicConfig(fields=fields, sync=SyncPolicy(primary="observation.images.cam0"))
    began = time.perf_counter()
    writer = LeRobotV3Writer(LeRobotV3WriterConfig(fps=30.0))
    writer.write_dataset(MCAPReader().read_episodes(next(options.bag.glob("*.mcap")), config=config), options.out)
    print(json.dumps({"frames_s": writer._total_frames / (time.perf_counter() - began)}))


if __name__ == "__main__":
    main()
