"""Tables that summarise data sets and bags."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
from rich.table import Table

from latent_policy_ros.common.errors import ArtifactError
from latent_policy_ros.data.bags.reader import open_bag
from latent_policy_ros.data.inspection.episode_view import datasets_or_bags
from latent_policy_ros.data.issues import BagUnreadable
from latent_policy_ros.data.lerobot.layout import DEFAULT_FEATURES, MANIFEST
from latent_policy_ros.data.lerobot.reader import LeRobotReader


def summary_tables(path: Path) -> Iterator[Table]:
    """Tables that summarise a data set, a folder of data sets, or bags.

    Raises:
        ArtifactError: There is no data set or bag, or one is damaged; the tables of the others are yielded before.
    """
    datasets, bags = datasets_or_bags(path)
    for root in datasets:
        yield from _dataset_tables(LeRobotReader(root))
    failed: list[str] = []
    for bag in bags:
        try:
            yield _bag_table(bag)
        except BagUnreadable as error:  # one bag must not hide the others
            failed.append(str(error))
    if failed:
        raise ArtifactError("\n".join(failed))


def _dataset_tables(reader: LeRobotReader) -> Iterator[Table]:
    lengths = [row["length"] for row in reader.episodes]
    minutes = reader.frames / reader.fps / 60
    has_manifest = (reader.root / MANIFEST).is_file()
    title = (
        f"{reader.root}: {reader.info['robot_type']}, {len(reader)} episodes, {reader.frames} frames at {reader.fps} Hz "
        f"({minutes:.1f} min), {min(lengths)} to {max(lengths)} frames per episode; tasks: {'; '.join(reader.tasks)}"
    )
    table = Table("feature", "dtype", "shape", "names", title=title)
    for name, feature in reader.features.items():
        if name not in DEFAULT_FEATURES:
            names, shape = ", ".join(feature["names"] or ()), "x".join(map(str, feature["shape"]))
            table.add_row(name, feature["dtype"], shape, names if len(names) < 60 else f"{names[:57]}...")
    yield table
    if has_manifest and (skews := [episode["skew"] for episode in reader.episode_metadata if "skew" in episode]):
        limits = [episode["tolerance"] for episode in reader.episode_metadata if "tolerance" in episode]
        times = Table("stream", "mean [ms]", "largest [ms]", "limit [ms]", title="time offset of values from their frames")
        for name in skews[0]:
            offsets = [skew[name] for skew in skews if name in skew]
            mean, largest = np.mean([s["mean"] for s in offsets]), max(s["max"] for s in offsets)
            limit = max((limit["camera" if name in reader.cameras else "state"] for limit in limits), default=np.nan)
            times.add_row(name, *(f"{seconds * 1e3:.1f}" for seconds in (mean, largest, limit)))
        yield times


def _bag_table(path: Path) -> Table:
    with open_bag(path) as bag:
        seconds = bag.end - bag.start
        about = ", ".join(f"{key}: {bag.custom[key]}" for key in ("robots", "task", "outcome") if key in bag.custom)
        table = Table("topic", "type", "messages", "rate [Hz]", title=f"{path}: {seconds:.1f} s{'; ' if about else ''}{about}")
        for name, topic in sorted(bag.topics.items()):
            table.add_row(name, topic.msg_type, str(topic.count), f"{topic.count / seconds:.1f}" if seconds > 1e-3 else "-")
    return table
