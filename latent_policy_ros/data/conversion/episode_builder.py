"""Collection of the rows of one robot, and their writing as one or more staged episodes."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from latent_policy_ros.common.errors import ObservationRefused
from latent_policy_ros.data.conversion.alignment import MIN_PART, Alignment, Row
from latent_policy_ros.data.conversion.limit_checks import check_limits
from latent_policy_ros.data.conversion.mapping import RobotTopics
from latent_policy_ros.data.conversion.topic_resolution import ResolvedTopics
from latent_policy_ros.data.issues import IssueReporter
from latent_policy_ros.data.lerobot.layout import ACTION, POSE_NAMES, STATE, WRIST, WRIST_ACTION
from latent_policy_ros.data.lerobot.staging import EpisodeWriter


class EpisodeBuilder:
    """The rows of one episode. Images are encoded as they arrive; numbers are written at the end."""

    def __init__(self, part: tuple[int, int], start: float, writer: EpisodeWriter) -> None:
        self.part, self.start, self.writer, self.count = part, start, writer, 0
        self._rows: dict[str, list[np.ndarray]] = {STATE: [], WRIST: [], ACTION: [], WRIST_ACTION: []}
        #: {feature: (T, d)}, once the episode is complete.
        self.columns: dict[str, np.ndarray] = {}

    def add(self, row: Row) -> set[str]:
        """Add one row; returns the additional streams whose values are neither vectors nor images."""
        observation, refused = row.observation, set()
        images = dict(observation.images)
        vectors = {
            STATE: observation.joints, WRIST: observation.wrist_pose, ACTION: row.command, WRIST_ACTION: row.wrist_command,
        }  # fmt: skip
        for name, value in observation.values.items():
            if value.ndim == 1:
                vectors[f"observation.{name}"] = value
            elif name in self.writer.depth:
                images[name] = value
            else:
                refused.add(name)
        self.writer.add(observation.stamp, images)
        self.count += 1
        for name, values in vectors.items():
            if values is not None:
                self._rows.setdefault(name, []).append(values.astype(np.float32))
        return refused

    def complete(self, robot: RobotTopics) -> None:
        """Make the columns; the action of a recording without commands is the measured state some frames later.

        The signs of quaternions are continuous: a publisher may change them, and the rotation is the same.
        """
        columns = {name: np.array(values) for name, values in self._rows.items() if values}
        for name in (WRIST, WRIST_ACTION):
            if name in columns:
                columns[name] = _continuous(columns[name], columns[WRIST][0] if WRIST in columns else columns[name][0])
        later = np.minimum(np.arange(self.count) + max(1, robot.next_state), self.count - 1)
        if robot.next_state:
            columns[ACTION] = columns[STATE][later]
        if robot.wrist_follows and WRIST in columns:
            columns[WRIST_ACTION] = columns[WRIST][later]
        self.columns = columns


class RecordingBuilder:
    """The episodes of one robot in one recording: one for each part between holes, and for each marked window.

    Args:
        robot: The robot.
        topics: Its topics.
        alignment: Source of the rows.
        new_writer: Makes the destination of the episode of that number.
        reporter: Receives issues.
    """

    def __init__(
        self, robot: RobotTopics, topics: ResolvedTopics, alignment: Alignment, new_writer: Callable[[int], EpisodeWriter],
        reporter: IssueReporter,
    ) -> None:  # fmt: skip
        self.robot, self.topics, self.alignment = robot, topics, alignment
        self._new_writer, self._reporter = new_writer, reporter
        self._episodes: list[EpisodeBuilder] = []
        self._made = 0
        self._not_stored: set[str] = set()

    def add(self, row: Row) -> None:
        """Add one row."""
        if not self._episodes or self._episodes[-1].part != row.part:
            self._close_last()
            self._episodes.append(EpisodeBuilder(row.part, row.observation.stamp, self._new_writer(self._made)))
            self._made += 1
        self._not_stored |= self._episodes[-1].add(row)

    def abort(self) -> None:
        """Stop encoding and delete the incomplete episodes."""
        for episode in self._episodes:
            episode.writer.abort()

    def close(self) -> None:
        """Complete the videos, and report what is wrong with the values."""
        self._close_last()
        if self.alignment.is_split and not self._episodes:
            self._reporter.report("too short", "", None, f"no part of {MIN_PART:g} s without a hole; `on_hole: keep` keeps all")
        for episode in self._episodes:
            if episode.writer.image_error:
                self._report_image(episode)
                return
            episode.complete(self.robot)
            self._check_values(episode)
        for name in sorted(self._not_stored):
            text = f"values of {name} are neither vectors nor depth images"
            self._reporter.report("not stored", self.topics.streams[name], None, text, fatal=False)
        if self.robot.next_state:
            text = f"no commands were recorded: the action is the measured state {self.robot.next_state} frames later"
            self._reporter.report("next state", self.topics.state_topic, None, text, fatal=False)

    def finish(self, task: str, success: bool, about: Mapping[str, Any], key: Callable[[int], str]) -> list[int]:
        """Stage the episodes; returns their lengths. The first one is staged last: it stands for the recording.

        Args:
            task: Task of episodes whose marks name none.
            success: Whether the recording succeeded.
            about: Metadata.
            key: Key of the episode of that number.
        """
        joints, actions = self.robot.joints, self.topics.action_joints
        names = {STATE: joints, WRIST: POSE_NAMES, ACTION: actions, WRIST_ACTION: POSE_NAMES}
        skew = self.alignment.skew
        offsets = {name: {"mean": total / self.alignment.count, "max": largest} for name, (total, largest) in skew.items()}
        for number, episode in reversed(list(enumerate(self._episodes))):
            vectors = {
                name: (names.get(name) or _numbered(name, values.shape[1]), values) for name, values in episode.columns.items()
            }
            ends = number + 1 == len(self._episodes) or self._episodes[number + 1].part[0] != episode.part[0]
            content = {**about, "begins": episode.start, "skew": offsets, "part": list(episode.part), "success": success}
            episode.writer.rename(key(number))
            episode.writer.finish(vectors, self.alignment.window(episode.part).task or task, success and ends, content)
        return [episode.count for episode in self._episodes]

    def _close_last(self) -> None:
        """Complete the video of the newest episode; it is dropped if it has one frame, or is a short part between holes."""
        if not self._episodes:
            return
        last = self._episodes[-1]
        if self.alignment.is_split and last.count < max(2, MIN_PART * self.alignment.fps):
            self._episodes.pop().writer.abort()
            text = f"{last.count} frames between two holes; parts of less than {MIN_PART:g} s are dropped"
            self._reporter.report("short part", "", last.start, text, fatal=False)
            return
        if last.count < 2:
            self._episodes.pop().writer.abort()
            self._reporter.report("short episode", "", last.start, "1 frame; episodes of less than 2 are dropped", fatal=False)
            return
        with contextlib.suppress(ObservationRefused):  # reported by `close`, from ``image_error``
            last.writer.close()

    def _report_image(self, episode: EpisodeBuilder) -> None:
        camera, stamp, text = episode.writer.image_error or ("", episode.start, "")
        self._reporter.report("image", self.topics.image_topic(camera), stamp, text)

    def _check_values(self, episode: EpisodeBuilder) -> None:
        columns, fps = episode.columns, self.alignment.fps
        checked = [(STATE, self.robot.joints, self.topics.state_topic)]
        if self.topics.command:
            checked.append((ACTION, self.topics.action_joints, self.topics.command_topic))
        for name, joints, topic in checked:
            for found in check_limits(joints, columns[name], self.robot.embodiment):
                self._reporter.report(found.kind, topic, episode.start + found.frame / fps, found.text, found.fatal)
        limits = self.alignment.limits
        for camera, damaged in episode.writer.damaged.items():
            topic, at = self.topics.image_topic(camera), damaged.stamp - episode.start
            frames = f"{damaged.count} of {episode.count} frames"
            text = f"{damaged.error}; {frames} repeat another image, from {at:.2f} s of the episode on"
            fatal = damaged.count > limits.repeated * episode.count or damaged.longest > max(2, limits.bridge * fps)
            self._reporter.report("image" if fatal else "damaged images", topic, damaged.stamp, text, fatal)


def _continuous(poses: np.ndarray, before: np.ndarray) -> np.ndarray:
    """Poses (T, 7) with the signs of the quaternions nearest to the previous pose, and to ``before`` (7,) at the first one."""
    quaternions = poses[:, 3:]
    previous = np.concatenate((before[None, 3:], quaternions[:-1]))
    signs = np.where((quaternions * previous).sum(axis=1) < 0.0, -1.0, 1.0).cumprod()
    return np.concatenate((poses[:, :3], quaternions * signs[:, None]), axis=1).astype(poses.dtype)


def _numbered(feature: str, size: int) -> tuple[str, ...]:
    name = feature.removeprefix("observation.")
    return tuple(f"{name}_{k}" for k in range(size))
