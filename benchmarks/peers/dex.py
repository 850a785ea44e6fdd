"""dex-retargeting on the Allegro hand, run by ../retargeting.py.

Arguments: STREAM.npy OUT WRIST SCALE... Writes OUT/<method>_<scale>.npz with seconds, q and tips.
"""

import os
import sys
import time
import xml.etree.ElementTree as ET
from pathlib import Path

os.environ.update(OMP_NUM_THREADS="1", OPENBLAS_NUM_THREADS="1")

import numpy as np
import torch

torch.set_num_threads(1)

from dex_retargeting.retargeting_config import RetargetingConfig  # noqa: E402

TIPS = ["link_15.0_tip", "link_3.0_tip", "link_7.0_tip", "link_11.0_tip"]
PERSON = [4, 8, 12, 16]


def description(folder: Path, wrist: float) -> str:
    """Write the hand's URDF without meshes and with a link `wrist` below the palm, as in dex-retargeting's descriptions."""
    packages = Path(torch.__file__).parents[1]
    robot = ET.parse(next(packages.glob("cmeel.prefix/share/**/allegro_right_hand.urdf"))).getroot()
    for link in robot.findall("link"):
        for geometry in [*link.findall("visual"), *link.findall("collision")]:
            link.remove(geometry)
    ET.SubElement(robot, "link", name="wrist")
    joint = ET.SubElement(robot, "joint", name="wrist_joint", type="fixed")
    ET.SubElement(joint, "parent", link="wrist")
    ET.SubElement(joint, "child", link="palm_link")
    ET.SubElement(joint, "origin", xyz=f"0 0 {wrist}", rpy="0 0 0")
    path = folder / "allegro.urdf"
    ET.ElementTree(robot).write(path)
    return str(path)


def main() -> None:
    stream, out, wrist, scales = sys.argv[1], Path(sys.argv[2]), float(sys.argv[3]), sys.argv[4:]
    keypoints, urdf = np.load(stream, allow_pickle=False).astype(np.float64), description(out, wrist)
    for scale in scales:
        common = {"urdf_path": urdf, "scaling_factor": float(scale), "low_pass_alpha": 1}
        vector = {
            "type": "vector", "target_origin_link_names": ["wrist"] * 4, "target_task_link_names": TIPS,
            "target_link_human_indices": [[0] * 4, PERSON],
        }  # fmt: skip
        pilot = {"type": "dexpilot", "wrist_link_name": "wrist", "finger_tip_link_names": TIPS}
        for kind, config in (("vector", vector), ("dexpilot", pilot)):
            retargeting = RetargetingConfig.from_dict({**common, **config}).build()
            origin, task = retargeting.optimizer.target_link_human_indices
            references = keypoints[:, task] - keypoints[:, origin]
            seconds, q = np.empty(len(keypoints)), np.empty((len(keypoints), 16))
            for t, reference in enumerate(references):
                start = time.perf_counter()
                q[t] = retargeting.retarget(reference)
                seconds[t] = time.perf_counter() - start
            robot = retargeting.optimizer.robot
            links, base = [robot.get_link_index(tip) for tip in TIPS], robot.get_link_index("wrist")
            tips = np.empty((len(q), 4, 3))
            for t in range(len(q)):
                robot.compute_forward_kinematics(q[t])
                tips[t] = [robot.get_link_pose(link)[:3, 3] - robot.get_link_pose(base)[:3, 3] for link in links]
            np.savez(out / f"{kind}_{scale}.npz", seconds=seconds, q=q, tips=tips)


if __name__ == "__main__":
    main()
