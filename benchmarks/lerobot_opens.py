"""Check that LeRobot reads data sets of this package, and trains on them. Run it with the Python of a LeRobot installation.

    latent-policy dataset from-sim -o runs/demos --embodiment mimic_hand --embodiment panda_gripper --episodes 3
    python benchmarks/lerobot_opens.py runs/demos/mimic_hand runs/demos/panda_gripper [--steps 3]

Opens each data set offline, loads every frame by its index, which decodes every image, and compares it with the parquet files and
the videos. Then checks tasks, episodes, statistics, time windows (delta_timestamps), a single episode, and a shuffled DataLoader.
Finally makes some training steps of a small DiffusionPolicy of LeRobot on the CPU, whose state and action must have the joints
and the wrist pose. Needs lerobot, but not this package.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import time
from pathlib import Path

os.environ.setdefault("HF_HUB_OFFLINE", "1")

import av
import numpy as np
import pyarrow.parquet as pq
import torch

WRIST = 7  # numbers of a wrist pose at the end of state and action
TOLERANCE = 1.01 / 255  # of a pixel value: decoders may round differently


def without_torchvision_ops() -> None:
    """Declare the operators that torchvision expects at import: its CUDA build cannot load them with a CPU build of torch."""
    try:
        import torchvision  # noqa: F401
    except RuntimeError:
        for name in [name for name in sys.modules if name.startswith("torchvision")]:
            del sys.modules[name]
        library = torch.library.Library("torchvision", "DEF")
        for name in ("nms", "qnms"):
            library.define(f"{name}(Tensor dets, Tensor scores, float iou_threshold) -> Tensor")
        globals()["_library"] = library  # the definitions exist as long as this object


def images(path: Path) -> list[np.ndarray]:
    """All images of a video, (H, W, 3) uint8 RGB."""
    with av.open(str(path)) as container:
        return [frame.to_ndarray(format="rgb24") for frame in container.decode(video=0)]


class Files:
    """Content of the data set's files, read without LeRobot."""

    def __init__(self, root: Path) -> None:
        self.root, self.info = root, json.loads((root / "meta/info.json").read_text())
        self.columns = pq.ParquetDataset(sorted((root / "data").rglob("*.parquet"))).read().to_pydict()
        self.episodes = [row for p in sorted((root / "meta/episodes").rglob("*.parquet")) for row in pq.read_table(p).to_pylist()]
        self.cameras = [name for name, feature in self.info["features"].items() if feature["dtype"] == "video"]
        self.tasks = pq.read_table(root / "meta/tasks.parquet").to_pydict()
        self.tasks = dict(zip(self.tasks["task_index"], self.tasks["__index_level_0__"]))

    def episode_images(self, row: dict, camera: str) -> list[np.ndarray]:
        """Images of an episode from a camera's video."""
        place = {part: row[f"videos/{camera}/{part}"] for part in ("chunk_index", "file_index", "from_timestamp")}
        where = self.info["video_path"].format(video_key=camera, **{k: place[k] for k in ("chunk_index", "file_index")})
        first = round(place["from_timestamp"] * self.info["fps"])
        return images(self.root / where)[first : first + row["length"]]


def check_frames(dataset, files: Files) -> float:
    """Compare every frame; returns the largest difference of a pixel value."""
    worst = 0.0
    for row in files.episodes:
        seen = {camera: files.episode_images(row, camera) for camera in files.cameras}
        assert all(len(of) == row["length"] for of in seen.values()), "images are missing"
        for frame in range(row["length"]):
            index = row["dataset_from_index"] + frame
            item = dataset[index]
            assert item["task"] == row["tasks"][0] == files.tasks[int(item["task_index"])]
            for name, values in files.columns.items():
                got, expected = np.asarray(item[name]), np.asarray(values[index])
                assert np.array_equal(got.reshape(-1), expected.astype(got.dtype).reshape(-1)), f"{name} of frame {index}"
            for camera, of in seen.items():
                image = item[camera].numpy().transpose(1, 2, 0)
                worst = max(worst, float(np.abs(image - of[frame] / 255.0).max()))
                assert worst <= TOLERANCE, f"{camera} of frame {index}: image differs by {worst * 255:.0f} of 255"
    return worst


def check_meta(dataset, files: Files) -> None:
    """Compare counts, tasks, episodes and statistics."""
    meta = dataset.meta
    assert (len(dataset), meta.total_episodes, meta.fps) == (files.info["total_frames"], len(files.episodes), files.info["fps"])
    assert dict(zip(meta.tasks["task_index"], meta.tasks.index)) == files.tasks
    assert [meta.episodes[k]["length"] for k in range(len(files.episodes))] == [row["length"] for row in files.episodes]
    for name in files.info["features"]:
        assert {"min", "max", "mean", "std", "count", "q01", "q99"} <= set(meta.stats[name]), name
        assert np.isfinite(np.asarray(meta.stats[name]["mean"], float)).all(), name
    for k in range(len(files.episodes)):
        assert all(meta.get_video_file_path(k, camera) for camera in files.cameras)


def check_windows(make, files: Files) -> None:
    """Compare windows of two observations and eight actions around some frames of each episode."""
    step = 1 / files.info["fps"]
    wanted = {"observation.state": [-step, 0.0], "action": [k * step for k in range(8)]}
    wanted |= {camera: [-step, 0.0] for camera in files.cameras}
    dataset = make(delta_timestamps=wanted)
    action = np.array(files.columns["action"], np.float32).reshape(len(dataset), -1)
    for row in files.episodes:
        for index in (row["dataset_from_index"], row["dataset_from_index"] + row["length"] // 2, row["dataset_to_index"] - 1):
            item = dataset[index]
            reach = np.minimum(np.arange(index, index + 8), row["dataset_to_index"] - 1)
            assert np.array_equal(np.asarray(item["action"]).reshape(8, -1), action[reach])
            assert item["action_is_pad"].tolist() == (np.arange(index, index + 8) >= row["dataset_to_index"]).tolist()
            assert all(item[camera].shape[0] == 2 for camera in files.cameras)


def check_loader(dataset, batch: int = 16) -> int:
    """Iterate over a shuffled DataLoader; returns the number of frames."""
    loader = torch.utils.data.DataLoader(dataset, batch_size=batch, shuffle=True)
    return sum(len(items["action"]) for items in loader)


def train(make, files: Files, steps: int) -> str:
    """Make training steps of a small DiffusionPolicy; returns its features and losses."""
    from lerobot.configs.types import FeatureType
    from lerobot.datasets.utils import dataset_to_policy_features
    from lerobot.policies.diffusion.configuration_diffusion import DiffusionConfig
    from lerobot.policies.diffusion.modeling_diffusion import DiffusionPolicy
    from lerobot.policies.factory import make_pre_post_processors

    dataset = make()
    features = dataset_to_policy_features(dataset.meta.features)
    outputs = {name: feature for name, feature in features.items() if feature.type is FeatureType.ACTION}
    inputs = {name: feature for name, feature in features.items() if name not in outputs}
    assert set(outputs) == {"action"} and "observation.state" in inputs, list(features)
    for name, feature in (("action", outputs["action"]), ("observation.state", inputs["observation.state"])):
        names = files.info["features"][name]["names"]
        wrist = [part for part in names if part.startswith("wrist")]
        assert feature.shape == (len(names),) and len(wrist) == WRIST, f"{name}: {names}"
        assert len(names) > WRIST, f"{name} has no joints: {names}"
    config = DiffusionConfig(
        input_features=inputs, output_features=outputs, device="cpu", down_dims=(64, 128), pretrained_backbone_weights=None,
        spatial_softmax_num_keypoints=8, crop_shape=None, num_train_timesteps=20,
    )  # fmt: skip
    torch.manual_seed(0)
    policy = DiffusionPolicy(config).train()
    before, _ = make_pre_post_processors(config, dataset_stats=dataset.meta.stats)
    step = 1 / files.info["fps"]
    windows = {name: [k * step for k in config.observation_delta_indices] for name in inputs}
    windows["action"] = [k * step for k in config.action_delta_indices]
    loader = torch.utils.data.DataLoader(make(delta_timestamps=windows), batch_size=8, shuffle=True)
    optimiser, losses = torch.optim.Adam(policy.parameters(), 1e-4), []
    first = next(policy.parameters()).detach().clone()
    for _, batch in zip(range(steps), loader):
        loss, _ = policy.forward(before(batch))
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        losses.append(float(loss))
    assert len(losses) == steps and np.isfinite(losses).all(), losses
    assert not torch.equal(first, next(policy.parameters()))
    sizes = f"state {inputs['observation.state'].shape[0]}, action {outputs['action'].shape[0]}"
    return f"{steps} training steps of DiffusionPolicy ({sizes}): loss {', '.join(f'{loss:.3f}' for loss in losses)}"


def check(root: Path, backend: str | None, steps: int) -> str:
    """Run all checks of one data set; returns a summary."""
    from lerobot.datasets.lerobot_dataset import LeRobotDataset

    def make(**more):
        return LeRobotDataset(f"local/{root.name}", root=root, **({"video_backend": backend} if backend else {}), **more)

    began, files, dataset = time.perf_counter(), Files(root), make()
    check_meta(dataset, files)
    worst = check_frames(dataset, files)
    check_windows(make, files)
    last = len(files.episodes) - 1
    alone = make(episodes=[last])
    assert len(alone) == files.episodes[last]["length"] and int(alone[0]["episode_index"]) == last
    frames = check_loader(dataset)
    assert frames == len(dataset)
    trained = train(make, files, steps) if steps else "no training"
    return (
        f"{len(files.episodes)} episodes, {len(dataset)} frames, {len(files.cameras)} cameras, {len(files.tasks)} tasks; "
        f"images within {worst * 255:.1f} of 255; {trained}; {time.perf_counter() - began:.1f} s"
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("datasets", nargs="+", type=Path, help="folders with meta/info.json")
    parser.add_argument("--backend", help="LeRobot's video_backend: pyav or torchcodec; default: its own choice")
    parser.add_argument("--steps", type=int, default=3, help="training steps of LeRobot's DiffusionPolicy")
    options = parser.parse_args()
    without_torchvision_ops()
    import lerobot

    print(f"lerobot {getattr(lerobot, '__version__', '?')}, torch {torch.__version__}")
    for root in options.datasets:
        print(f"{root}: {check(root, options.backend, options.steps)}", flush=True)


if __name__ == "__main__":
    main()
