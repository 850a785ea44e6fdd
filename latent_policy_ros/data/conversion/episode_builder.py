"""The rows of one robot's recording become a staged episode."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from latent_policy_ros.data.conversion.alignment import Alignment, Row
from latent_policy_ros.data.conversion.mapping import RobotTopics
from latent_policy_ros.data.lerobot.layout import ACTION, POSE_NAMES, STATE, WRIST, WRIST_ACTION
from latent_policy_ros.data.lerobot.staging import EpisodeWriter, StagedEpisode


class EpisodeBuilder:
    """Takes rows; images go to the encoders at once, numbers are few and wait for the end.

    Args:
        robot: Whose they are.
        alignment: Where they come from.
        writer: Where they go.
    """

    def __init__(self, robot: RobotTopics, alignment: Alignment, writer: EpisodeWriter) -> None:
        self.robot, self.alignment, self.writer = robot, alignment, writer
        self._begins: float | None = None
        self._columns: dict[str, list[np.ndarray]] = {STATE: [], WRIST: [], ACTION: [], WRIST_ACTION: []}

    def add(self, row: Row) -> None:
        """Take one row."""
        observed = row.observation
        self._begins = self._begins or observed.stamp
        self.writer.add(observed.stamp, observed.images)
        given = {STATE: observed.joints, WRIST: observed.wrist_pose, ACTION: row.command, WRIST_ACTION: row.wrist_command}
        for name, values in given.items():
            if values is not None:
                self._columns[name].append(values.astype(np.float32))

    def finish(self, task: str, success: bool, about: Mapping[str, Any]) -> StagedEpisode:
        """Complete the episode; raises ObservationRefused if an image could not be taken."""
        joints = self.robot.joints
        names = {STATE: joints, WRIST: POSE_NAMES, ACTION: joints, WRIST_ACTION: POSE_NAMES}
        vectors = {name: (names[name], np.array(values)) for name, values in self._columns.items() if values}
        count = self.alignment.count
        skew = {name: {"mean": total / count, "max": largest} for name, (total, largest) in self.alignment.skew.items()}
        return self.writer.finish(vectors, task, success, {**about, "begins": self._begins, "skew": skew})
