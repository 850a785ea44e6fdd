"""What is in data sets and bags, as tables for people."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
from rich.table import Table

from latent_policy_ros.data.bags.reader import open_bag
from latent_policy_ros.data.inspection.episode_view import datasets_or_bags
from latent_policy_ros.data.lerobot.layout import DEFAULTS, MANIFEST
from latent_policy_ros.data.lerobot.reader import LeRobotReader


def describe(path: Path) -> Iterator[Table]:
    """Tables of a data set, of a folder of data sets, or of bags.

    Raises:
        ArtifactError, BagUnreadable: There is none, or it is damaged.
    """
    datasets, bags = datasets_or_bags(path)
    for root in datasets:
        yield from _dataset(LeRobotReader(root))
    for bag in bags:
        yield _bag(bag)


def _dataset(reader: LeRobotReader) -> Iterator[Table]:
    lengths = [row["length"] for row in reader.episodes]
    minutes = reader.frames / reader.fps / 60
    ours = (reader.root / MANIFEST).is_file()
    title = (
        f"{reader.root}: {reader.info['robot_type']}, {len(reader)} episodes, {reader.frames} frames at {reader.fps} a second "
        f"({minutes:.1f} min), {min(lengths)} to {max(lengths)} each; tasks: {'; '.join(reader.tasks)}"
    )
    table = Table("feature", "kind", "shape", "names", title=title)
    for name, feature in reader.features.items():
        if name not in DEFAULTS:
            names, shape = ", ".join(feature["names"] or ()), "x".join(map(str, feature["shape"]))
            table.add_row(name, feature["dtype"], shape, names if len(names) < 60 else f"{names[:57]}...")
    yield table
    if ours and (skews := [told["skew"] for told in reader.about if "skew" in told]):
        limits = [told["tolerance"] for told in reader.about if "tolerance" in told]
        times = Table("stream", "mean [ms]", "largest [ms]", "tolerated [ms]", title="values off their frames' time")
        for name in skews[0]:
            mine = [skew[name] for skew in skews if name in skew]
            mean, largest = np.mean([s["mean"] for s in mine]), max(s["max"] for s in mine)
            limit = max((of["camera" if name in reader.cameras else "state"] for of in limits), default=np.nan)
            times.add_row(name, *(f"{seconds * 1e3:.1f}" for seconds in (mean, largest, limit)))
        yield times


def _bag(path: Path) -> Table:
    with open_bag(path) as bag:
        seconds = bag.end - bag.start
        told = ", ".join(f"{key}: {bag.custom[key]}" for key in ("robots", "task", "outcome") if key in bag.custom)
        table = Table("topic", "type", "messages", "a second", title=f"{path}: {seconds:.1f} s{'; ' if told else ''}{told}")
        for name, topic in sorted(bag.topics.items()):
            table.add_row(name, topic.msg_type, str(topic.count), f"{topic.count / seconds:.1f}" if seconds > 1e-3 else "-")
    return table
