"""MessageIntake: validation, timing and name matching of one robot's messages before they are buffered."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np

from latent_policy_ros.common.errors import NotFinite, ObservationRefused, describe_error
from latent_policy_ros.data.conversion.command_stream import CommandStream, JointReader, NoNames
from latent_policy_ros.data.conversion.limit_checks import FAR_OUTSIDE
from latent_policy_ros.data.conversion.mapping import Limits, RobotTopics
from latent_policy_ros.data.conversion.pose_frames import PoseReader, check_frames
from latent_policy_ros.data.conversion.sources import TF_STATIC, PoseSource
from latent_policy_ros.data.conversion.stream_monitor import MAX_CLOCK_OFFSET, REORDER_WINDOW, StreamMonitor, check_clocks
from latent_policy_ros.data.conversion.topic_resolution import ResolvedTopics
from latent_policy_ros.data.issues import IssueReporter
from latent_policy_ros.observations.joint_matcher import Selection
from latent_policy_ros.observations.messages import UNUSABLE, frame_of, stamp_of
from latent_policy_ros.observations.observation import normalize_pose
from latent_policy_ros.observations.observation_buffer import ObservationBuffer, Tolerances
from latent_policy_ros.observations.publisher_conflict import (
    CONFLICT,
    PoseConflict,
    PublisherConflict,
    SortedConflict,
    whole_pose,
)
from latent_policy_ros.observations.streams import Stream
from latent_policy_ros.observations.video_stream import VideoStream, is_video

SILENCE_TIMEOUT = 1.0  # [s] after which a silent topic is no longer waited for; longer if its limit is longer
OTHER_UNIT_SHARE = 0.05  # of the messages far outside the limits, above which the joints are in another unit
MAX_EQUAL_SHARE = 0.8  # share of changed commands that may be exactly equal to the measured state at once
MIN_CHANGES = 10  # changes of the command from which they are compared
NO_STAMP = 1.0  # [s]; a stamp of 0 that is received later than this is none

Values = list[tuple[float, Any]]  # stamps [s] and values


@dataclass(frozen=True)
class Handler:
    """Reads the messages of one topic to stamped values, and stores the values that are in order."""

    read: Callable[[float, Any], Values]
    store: Callable[[float, Any], None]


class MessageIntake:
    """Messages of one robot, sorted into an observation buffer and into streams of commands.

    A message that is refused counts as lost: it is reported, and the neighbours of its topic decide about the frames.

    Args:
        robot: Joint names and frames.
        topics: Topics and message types of the robot in the bag.
        limits: Largest accepted time differences.
        camera_limit: The limit of images [s].
        by_receipt: Use the time of receipt instead of stamps.
        reporter: Receives issues.
    """

    def __init__(
        self, robot: RobotTopics, topics: ResolvedTopics, limits: Limits, camera_limit: float, by_receipt: bool,
        reporter: IssueReporter,
    ) -> None:  # fmt: skip
        self.robot, self.topics, self.limits = robot, topics, limits
        self._by_receipt, self._reporter = by_receipt, reporter
        tolerances = {name: topics.modalities[topic].tolerance or limits.state for name, topic in topics.streams.items()}
        #: Time [s] after which a silent topic is no longer waited for.
        longest = max([2 * camera_limit, 2 * limits.state, *(2 * t for t in tolerances.values())])
        longest = max([longest, *(2 * reader.source.limit for reader in topics.state.values())])
        self.silence_timeout = max(SILENCE_TIMEOUT, longest, limits.bridge)
        keep = self.silence_timeout + 2 * REORDER_WINDOW
        self.buffer = ObservationBuffer(
            tuple(topics.cameras), robot.embodiment, robot.more_joints, resize=None, wrist=topics.wrist is not None, keep=keep,
            tolerances=Tolerances(camera_skew=camera_limit, state_skew=limits.state), values=tolerances,
        )  # fmt: skip
        self.commands = CommandStream(topics.action_joints, keep + limits.command)
        self._wrist_commands: Stream[np.ndarray] = Stream(keep + limits.command)
        n, e = len(topics.action_joints), robot.embodiment
        ranges = dict(zip(e.joint_names, e.upper - e.lower))
        conflict = PublisherConflict(topics.action_joints, [ranges.get(j, 0.0) for j in topics.action_joints], [1e-9] * n)
        self._command_conflict = SortedConflict(conflict, REORDER_WINDOW)
        self._columns = [robot.joints.index(name) for name in topics.action_joints]
        self._measured, self._command = np.full(len(robot.joints), np.nan), np.full(n, np.nan)
        self._changes = self._equal_count = 0  # commands that differ from the one before, and those of them equal to the state
        self._is_new = False  # whether no state was measured since the command changed
        self._joint_order: dict[str, tuple[str, ...]] = {}
        self._refused: dict[str, tuple[str, str]] = {}  # topic: kind and text of the newest refusal
        self._image_frames: dict[str, list[str]] = {}  # topic: frames of its images, the newest last
        self._without_positions: set[str] = set()  # topics of measured joints
        self._foreign: dict[str, tuple[str, ...]] = {}  # topic: joints of a message without any of the robot's
        self.monitors: dict[str, StreamMonitor] = {}
        #: Topics of commands, which are timed by their receipt.
        self.command_topics: set[str] = set(topics.command)
        self._handlers: dict[str, list[Handler]] = {}
        self._wrist_conflict = SortedConflict(PoseConflict(), REORDER_WINDOW)  # of commands
        self._poses: dict[str, PoseReader] = {}
        margins = FAR_OUTSIDE * (e.upper - e.lower)
        free = np.full(len(robot.more_joints), np.inf)
        self._lower, self._upper = np.concatenate((e.lower - margins, -free)), np.concatenate((e.upper + margins, free))
        self._sent = 0.0  # time at which the newest message was sent [s]
        self._stored = self._outside = 0  # messages of measured joints, and those of them far outside the limits
        self._add_topics(camera_limit, tolerances)
        self._camera_topics = set(topics.cameras.values())

    def _add_topics(self, camera_limit: float, tolerances: dict[str, float]) -> None:
        for name, topic in self.topics.cameras.items():
            read = partial(self._read_image, topic, VideoStream(name))
            self._add(topic, read, partial(self.buffer.push_image, name), 2 * camera_limit)
        for topic, reader in self.topics.state.items():
            gap = 2 * (reader.source.limit or self.limits.state)
            self._add(topic, partial(self._read_joints, topic, reader), partial(self._store_joints, topic, reader), gap)
        for topic, reader in self.topics.command.items():
            self._add(topic, self._as_received, partial(self._store_command, topic, reader), float("inf"))
        self._add_pose("wrist", self.topics.wrist, self._store_wrist, 2 * self.limits.state)
        self._add_pose("wrist_command", self.topics.wrist_command, self._store_wrist_command, float("inf"))
        for name, topic in self.topics.streams.items():
            self._add(topic, partial(self._read_value, topic), partial(self.buffer.push_value, name), 2 * tolerances[name])

    def _add(self, topic: str, read: Callable[[float, Any], Values], store: Callable[[float, Any], Any], max_gap: float) -> None:
        self._handlers.setdefault(topic, []).append(Handler(read, store))
        self.monitors[topic] = StreamMonitor(max_gap, partial(self._report_timing, topic))

    def _add_pose(self, name: str, source: PoseSource | None, store: Callable[[float, Any], Any], max_gap: float) -> None:
        if source is None:
            return
        commanded = name == "wrist_command"
        reader = self._poses[name] = PoseReader(source, self.robot.frames, 2 * self.limits.state)
        self._add(source.topic, partial(self._read_pose, source.topic, reader, commanded), store, max_gap)
        if commanded:
            self.command_topics.add(source.topic)
        if source.frames:
            self._handlers.setdefault(TF_STATIC, []).append(Handler(partial(self._read_static, reader), store))

    def push(self, topic: str, received: float, message: Any) -> None:
        """Add a message that was received at a time [s]."""
        self._reporter.received = received
        monitor = self.monitors.get(topic)
        for handler in self._handlers[topic]:
            try:
                self._sent = _time_sent(received, message)
                values = handler.read(received, message)
            except UNUSABLE as error:
                self._refuse_message(topic, received, message, error)
                continue
            for stamp, value in values:
                in_order = monitor is None or monitor.add(stamp, received)
                if in_order and not (self._reporter.failed and topic in self._camera_topics):
                    try:
                        handler.store(stamp, value)
                    except UNUSABLE as error:
                        self._refuse_message(topic, received, message, error)

    def finish(self) -> None:
        """Report what is only known at the end of the bag."""
        chained = {reader.source.topic for reader in self._poses.values() if reader.chain is not None}  # see `check_frames`
        for topic, monitor in self.monitors.items():
            monitor.finish()
            if not monitor.count and (topic in self._refused or topic not in chained):
                self._reporter.report(*self._why_silent(topic))
        if self.topics.command and not self._other_unit:
            self._report_perhaps_two(self.topics.command_topic, self._command_conflict.finish())
        if self.topics.wrist_command is not None:
            self._report_perhaps_two(self.topics.wrist_command.topic, self._wrist_conflict.finish())
        self._check_joints()
        check_clocks(self.monitors, self.command_topics, self.limits.state, self._reporter)
        check_frames(self._poses, self._reporter)
        if self._changes >= MIN_CHANGES and self._equal_count > MAX_EQUAL_SHARE * self._changes:
            text = f"equal to the command on {self.topics.command_topic}; are measured and commanded joints the same topic?"
            self._reporter.report("state equals command", self.topics.state_topic, None, text, fatal=False)

    @property
    def _other_unit(self) -> bool:
        """Whether measured joints are in another unit, so that their jumps mean nothing; a few wrong values do not tell."""
        return self._outside > OTHER_UNIT_SHARE * self._stored

    def _why_silent(self, topic: str) -> tuple[str, str, None, str]:
        """The issue of a topic without a usable message: kind, topic, time and text."""
        if topic in self._refused:
            kind, text = self._refused[topic]
            return kind, topic, None, text
        if topic in self._foreign:
            expected, got = _shortened(self.robot.joints), _shortened(self._foreign[topic])
            text = f"expected the joints of {self.robot.embodiment.name} ({expected}), got {got}"
            return "another robot", topic, None, text
        if topic in self._without_positions:
            return "missing joints", topic, None, "no positions in its messages"
        return "missing topic", topic, None, "no message on it that concerns the robot"

    def wrist_command(self, stamp: float, max_age: float) -> np.ndarray | None:
        """The wrist pose (7,) commanded at ``stamp``; None if there is none that is at most ``max_age`` [s] old."""
        found = self._wrist_commands.held(stamp)
        if found is None:
            return None
        commanded, pose = found
        return pose if stamp - commanded <= max_age or self.commands.holding else None

    def _stamp(self, topic: str, received: float, message: Any) -> float:
        stamp = stamp_of(message)
        if self._by_receipt or stamp is None:
            return received
        if stamp <= 0.0 and received > NO_STAMP:
            self._reporter.report("no stamp", topic, received, "the time of receipt is used instead", fatal=False)
            return received
        return stamp

    def _as_received(self, received: float, message: Any) -> Values:
        return [(received, message)]

    def _read_image(self, topic: str, video: VideoStream, received: float, message: Any) -> Values:
        stamp = self._stamp(topic, received, message)
        if is_video(message):
            return list(video.push(stamp, message))
        self._check_image_frame(topic, stamp, frame_of(message))
        return [(stamp, partial(self.topics.modalities[topic].read, message))]

    def _read_value(self, topic: str, received: float, message: Any) -> Values:
        return [(self._stamp(topic, received, message), self.topics.modalities[topic].read(message))]

    def _read_joints(self, topic: str, reader: JointReader, received: float, message: Any) -> Values:
        points = reader.points(message)
        if not points:
            self._without_positions.add(topic)
            return []
        found = reader.select(points[0])
        if found is None:
            if points[0].names is not None:
                self._foreign.setdefault(topic, tuple(points[0].names))
            return []
        return [(self._stamp(topic, received, message), found)]

    def _store_joints(self, topic: str, reader: JointReader, stamp: float, found: Selection) -> None:
        conflict = self.buffer.push_selected(stamp, found, reader.source.limit, self._sent if self._by_receipt else stamp)
        joints = list(found.joints)
        self._stored += 1
        self._outside += bool(((found.values < self._lower[joints]) | (found.values > self._upper[joints])).any())
        if conflict and not self._other_unit:
            self._reporter.report("two publishers", topic, stamp, conflict)
        self._check_joint_order(topic, stamp, reader.joint_order)
        self._measured[joints] = found.values
        self._compare_with_state()
        self._is_new = False

    def _store_command(self, topic: str, reader: JointReader, received: float, message: Any) -> None:
        whole = self._measured[self._columns]
        first = self.commands.push(received, reader, message, None if np.isnan(whole).any() else whole)
        if first is None:
            return
        if not self._other_unit:
            self._report_perhaps_two(topic, self._command_conflict.push(self._sent, first))
        joints = list(first.joints)
        if (self._command[joints] != first.values).any():
            self._changes, self._is_new = self._changes + 1, True
        self._command[joints] = first.values
        self._compare_with_state()
        self._check_joint_order(topic, received, reader.joint_order)

    def _store_wrist(self, stamp: float, pose: np.ndarray) -> None:
        conflict = self.buffer.push_wrist(stamp, pose, self._sent if self._by_receipt else stamp)
        if conflict and self.topics.wrist is not None:
            self._reporter.report("two publishers", self.topics.wrist.topic, stamp, conflict)

    def _store_wrist_command(self, received: float, pose: np.ndarray) -> None:
        self._wrist_commands.push(received, pose)
        if self.topics.wrist_command is not None:
            conflicts = self._wrist_conflict.push(self._sent, whole_pose(pose))
            self._report_perhaps_two(self.topics.wrist_command.topic, conflicts)

    def _report_perhaps_two(self, topic: str, conflicts: Iterable[tuple[float, str]]) -> None:
        """Report commands that jump forth and back, which may be meant so."""
        for sent, conflict in conflicts:
            self._reporter.report("two publishers", topic, sent, conflict.replace(CONFLICT, "perhaps two"), fatal=False)

    def _compare_with_state(self) -> None:
        """Count a command that equals the state as soon as it changes: no robot is that fast."""
        if self._is_new and (self._command == self._measured[self._columns]).all():
            self._equal_count, self._is_new = self._equal_count + 1, False

    def _read_pose(self, topic: str, reader: PoseReader, commanded: bool, received: float, message: Any) -> Values:
        stamp = received if commanded else self._stamp(topic, received, message)
        replaced = (stamp_of(message) or 0.0) <= 0.0 if commanded else stamp != stamp_of(message)
        poses = reader.read(message, self.topics.modalities[topic], stamp, replaced)
        if reader.issue:
            self._reporter.report("frames", topic, stamp, reader.issue)
        if commanded:
            return [(received, normalize_pose(pose, "wrist command")) for _, pose in poses[-1:]]
        return [(at, normalize_pose(pose, "wrist pose")) for at, pose in poses]

    def _read_static(self, reader: PoseReader, received: float, message: Any) -> Values:
        reader.read_static(message)
        return []

    def _refuse_message(self, topic: str, received: float, message: Any, error: Exception) -> None:
        """Count a message as lost; it is damaged, or of another definition, if the error is none of this package."""
        kind = "not finite" if isinstance(error, NotFinite) else "no names" if isinstance(error, NoNames) else "refused"
        text, name = str(error), getattr(message, "__msgtype__", type(message).__name__)
        if isinstance(error, AttributeError) and error.name:
            text = f"{name} without the field {error.name}"
        elif not isinstance(error, ObservationRefused):
            text = f"damaged {name}: {describe_error(error)}"
        self._refused[topic] = kind, text
        self._reporter.report(kind, topic, received, text, fatal=False)

    def _report_timing(self, topic: str, kind: str, text: str, time: float, fatal: bool) -> None:
        self._reporter.report(kind, topic, time, text, fatal)

    def _check_image_frame(self, topic: str, stamp: float, frame: str) -> None:
        """Report images of two cameras on one topic: their ``frame_id`` alternates."""
        seen = self._image_frames.setdefault(topic, [frame])
        if frame == seen[-1]:
            return
        before, again = seen[-1], frame in seen
        if again:
            seen.remove(frame)
        seen.append(frame)
        text = f"frame_id changes from {before or '(none)'} {'back ' if again else ''}to {frame or '(none)'}; expected one camera"
        self._reporter.report("two publishers", topic, stamp, f"{'two' if again else 'perhaps two'} cameras: {text}", fatal=again)

    def _check_joint_order(self, topic: str, stamp: float, names: tuple[str, ...]) -> None:
        before = self._joint_order.get(topic)
        if names is before:
            return
        self._joint_order[topic] = names
        if before is not None and names != before and set(names) == set(before):
            text = f"the order of joints changes to {_shortened(names)}; they are matched by name"
            self._reporter.report("joint order", topic, stamp, text, fatal=False)

    def _check_joints(self) -> None:
        """Report joints that no message held."""
        for lacking, topics, name in (
            (self.buffer.lacking_joints, self.topics.state, "state"),
            (self.commands.lacking if self.topics.command else (), self.topics.command, "command"),
        ):
            if not lacking or not all(self.monitors[topic].count for topic in topics):
                continue
            if name == "command" and self.commands.holding:
                continue
            topic = next((topic for topic in topics if topic in self._refused), next(iter(topics)))
            if topic in self._refused:
                self._reporter.report(self._refused[topic][0], topic, None, self._refused[topic][1])
            else:
                text = f"{name} of {self.robot.embodiment.name} without {_shortened(lacking)}"
                self._reporter.report("missing joints", topic, None, text)


def _time_sent(received: float, message: Any) -> float:
    """The stamp of a message [s], or its time of receipt if it has no stamp, or one of another clock.

    Messages may arrive in another order than they were sent, which must not look like a second publisher.
    """
    stamp = stamp_of(message)
    return received if stamp is None or abs(received - stamp) > MAX_CLOCK_OFFSET else stamp


def _shortened(names: tuple[str, ...]) -> str:
    return ", ".join(names[:4]) + (", ..." if len(names) > 4 else "")
