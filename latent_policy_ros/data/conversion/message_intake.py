"""MessageIntake: validation, timing and name matching of one robot's messages before they are buffered."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np

from latent_policy_ros.common.errors import NotFinite, ObservationRefused
from latent_policy_ros.data.conversion.command_stream import CommandStream
from latent_policy_ros.data.conversion.mapping import Limits, RobotTopics
from latent_policy_ros.data.conversion.stream_monitor import MAX_CLOCK_OFFSET, REORDER_WINDOW, StreamMonitor
from latent_policy_ros.data.conversion.topic_resolution import ResolvedTopics
from latent_policy_ros.data.issues import IssueReporter
from latent_policy_ros.observations.messages import stamp_of
from latent_policy_ros.observations.observation import normalize_pose
from latent_policy_ros.observations.observation_buffer import ObservationBuffer, Tolerances
from latent_policy_ros.observations.streams import Stream

SILENCE_TIMEOUT = 1.0  # [s] after which a silent topic is no longer waited for; longer if its limit is longer
MAX_STAMP_LEAD = 0.02  # [s] by which stamps may be later than receipt
MAX_RELATIVE_DELAY = 0.3  # [s] by which the delay of a topic may exceed that of the fastest topic
MAX_TRANSPORT_DELAY = 0.1  # [s] from stamp to receipt that drivers and network may need on the fastest topic
MAX_EQUAL_SHARE = 0.8  # share of commands that may be exactly equal to the measured state


class MessageIntake:
    """Messages of one robot, sorted into an observation buffer and into streams of commands.

    Args:
        robot: Joint names and units.
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
        tolerances = {name: topics.modalities[topic].tolerance or limits.state for name, topic in topics.streams.items()}
        #: Time [s] after which a silent topic is no longer waited for.
        self.silence_timeout = max(SILENCE_TIMEOUT, 2 * camera_limit, 2 * limits.state, *(2 * t for t in tolerances.values()))
        keep = self.silence_timeout + 2 * REORDER_WINDOW
        self.buffer = ObservationBuffer(
            tuple(topics.cameras), robot.embodiment, robot.more_joints, image_size=None, wrist=bool(topics.wrist), keep=keep,
            tolerances=Tolerances(camera_skew=camera_limit, state_skew=limits.state), values=tolerances,
        )  # fmt: skip
        self.commands = CommandStream(topics.command_type, robot.joints, robot.rename, robot.order, robot.command_scale, keep)
        #: Topics of commands, which are timed by their receipt.
        self.command_topics = {topics.command, topics.wrist_command} - {""}
        self.monitors: dict[str, StreamMonitor] = {}
        self._handlers: dict[str, Callable[[str, float, Any], None]] = {}
        for name, topic in topics.cameras.items():
            self._add_topic(topic, partial(self._push_image, name), 2 * camera_limit)
        self._add_topic(topics.state, self._push_joints, 2 * limits.state)
        self._add_topic(topics.command, self._push_command, float("inf"))
        self._add_topic(topics.wrist, self._push_wrist, 2 * limits.state)
        self._add_topic(topics.wrist_command, self._push_wrist_command, float("inf"))
        for name, topic in topics.streams.items():
            self._add_topic(topic, partial(self._push_value, name), 2 * tolerances[name])
        self._camera_topics = set(topics.cameras.values())
        self._by_receipt, self._reporter = by_receipt, reporter
        self._wrist_commands: Stream[np.ndarray] = Stream(keep + limits.command)
        self._measured: np.ndarray | None = None
        self._joint_order: dict[str, tuple[str, ...]] = {}
        self._renamed: dict[tuple[str, ...], tuple[str, ...]] = {}  # joint names of state messages, before and after renaming
        self._equal_count, self._moved = 0, False

    def push(self, topic: str, received: float, message: Any) -> None:
        """Add a message that was received at a time [s]."""
        if topic == self.topics.state and not self._concerns_robot(tuple(message.name)):
            return
        stamp = received if topic in self.command_topics else self._stamp(topic, received, message)
        in_order = self.monitors[topic].add(stamp, received)
        if in_order and not (self._reporter.failed and topic in self._camera_topics):
            try:
                self._handlers[topic](topic, stamp, message)
            except ObservationRefused as error:
                kind = "not finite" if isinstance(error, NotFinite) else "refused"
                self._reporter.report(kind, topic, stamp, str(error))

    def finish(self) -> None:
        """Report what is only known at the end of the bag."""
        for topic, monitor in self.monitors.items():
            monitor.finish()
            if not monitor.count:
                self._report_no_messages(topic)
        self._check_clocks()
        count = min(self.monitors[topic].count for topic in (self.topics.state, self.topics.command))
        if self._moved and self._equal_count > MAX_EQUAL_SHARE * count:
            text = f"equal to the command on {self.topics.command}; check that measured and commanded joints are not the same topic"
            self._reporter.report("state equals command", self.topics.state, None, text, fatal=False)

    def wrist_command(self, stamp: float) -> np.ndarray | None:
        """The wrist pose (7,) commanded at ``stamp``; None if there is none within the limit."""
        found = self._wrist_commands.held(stamp)
        if found is None:
            return None
        commanded, pose = found
        return pose if stamp - commanded <= self.limits.command or self.commands.holding else None

    def _add_topic(self, topic: str, handler: Callable[[str, float, Any], None], max_gap: float) -> None:
        if topic:
            self._handlers[topic] = handler
            self.monitors[topic] = StreamMonitor(max_gap, partial(self._report_timing, topic))

    def _stamp(self, topic: str, received: float, message: Any) -> float:
        if self._by_receipt:
            return received
        stamp = stamp_of(message)
        if stamp <= 0.0:
            self._reporter.report("no stamp", topic, received, "the time of receipt is used instead", fatal=False)
            return received
        return stamp

    def _read(self, topic: str, message: Any) -> np.ndarray:
        return self.topics.modalities[topic].read(message)

    def _push_image(self, camera: str, topic: str, stamp: float, message: Any) -> None:
        self.buffer.push_image(camera, stamp, partial(self._read, topic, message))

    def _push_joints(self, topic: str, stamp: float, message: Any) -> None:
        names, positions, scale = self._renamed[tuple(message.name)], self._read(topic, message), self.robot.state_scale
        if scale and len(positions) == len(names):
            positions = positions * [scale.get(name, 1.0) for name in names]
        self.buffer.push_joints(stamp, names, positions)
        self._check_joint_order(topic, stamp, names)
        before, self._measured = self._measured, self.buffer.newest_joints
        self._moved |= before is not None and not _equal(before, self._measured)
        self._equal_count += _equal(self.commands.newest, self._measured)

    def _concerns_robot(self, names: tuple[str, ...]) -> bool:
        """Whether a message has joints of this robot. Messages of other devices, e.g. of the arm, may share the topic."""
        if names not in self._renamed:
            self._renamed[names] = tuple(self.robot.rename.get(name, name) for name in names)
        return not set(self.robot.joints).isdisjoint(self._renamed[names])

    def _push_wrist(self, topic: str, stamp: float, message: Any) -> None:
        self.buffer.push_wrist(stamp, self._read(topic, message))

    def _push_value(self, name: str, topic: str, stamp: float, message: Any) -> None:
        self.buffer.push_value(name, stamp, self._read(topic, message))

    def _push_command(self, topic: str, stamp: float, message: Any) -> None:
        self.commands.push(stamp, message, self._measured)
        self._equal_count += _equal(self.commands.newest, self._measured)
        if order := self.commands.joint_order:  # empty after a first command without points
            self._check_joint_order(topic, stamp, order)

    def _push_wrist_command(self, topic: str, stamp: float, message: Any) -> None:
        self._wrist_commands.push(stamp, normalize_pose(self._read(topic, message), "wrist command"))

    def _check_clocks(self) -> None:
        """Report clocks whose offset is too small to be visible in a single message."""
        delays = {t: monitor.delay for t, monitor in self.monitors.items() if t not in self.command_topics and monitor.count}
        fastest = min(delays, key=lambda topic: abs(delays[topic]), default="")
        for topic, delay in delays.items():
            limit = self.monitors[topic].max_gap / 2
            if -MAX_CLOCK_OFFSET <= delay < -MAX_STAMP_LEAD:
                text = (
                    f"stamps are {-delay:.2f} s later than the time of receipt; check the clocks of its device and of the "
                    "recorder; `stamps: receive` ignores stamps"
                )
                self._reporter.report("clock", topic, None, text, delay < -limit)
            elif delay - delays[fastest] > MAX_RELATIVE_DELAY and delay <= MAX_CLOCK_OFFSET:
                text = (
                    f"received {delay:.2f} s after its stamps, {fastest} after {delays[fastest]:.2f} s; "
                    "check the clock of its device"
                )
                self._reporter.report("clock", topic, None, text, fatal=False)
        least = delays.get(fastest, 0.0)
        if MAX_TRANSPORT_DELAY < least <= MAX_CLOCK_OFFSET:  # commands are timed by receipt and would lag behind the state
            text = (
                f"received {least:.2f} s after its stamps, all other topics later; check the clock of the robot; "
                "`stamps: receive` ignores stamps"
            )
            fatal = least - MAX_TRANSPORT_DELAY > self.limits.state
            self._reporter.report("clock", fastest, None, text, fatal)

    def _report_timing(self, topic: str, kind: str, text: str, time: float, fatal: bool) -> None:
        self._reporter.report(kind, topic, time, text, fatal)

    def _check_joint_order(self, topic: str, stamp: float, names: tuple[str, ...]) -> None:
        before = self._joint_order.setdefault(topic, names)
        if names != before:
            self._joint_order[topic] = names
            text = f"the order of joints changes to {_shortened(names)}; they are matched by name"
            self._reporter.report("joint order", topic, stamp, text, fatal=False)

    def _report_no_messages(self, topic: str) -> None:
        if topic == self.topics.state and self._renamed:
            expected, got = _shortened(self.robot.joints), _shortened(next(iter(self._renamed)))
            text = f"expected the joints of {self.robot.embodiment.name} ({expected}), got {got}"
            self._reporter.report("another robot", topic, None, text)
        else:
            self._reporter.report("missing topic", topic, None, "no message on it")


def _equal(one: np.ndarray | None, other: np.ndarray | None) -> bool:
    return one is not None and other is not None and bool((one == other).all())


def _shortened(names: tuple[str, ...]) -> str:
    return ", ".join(names[:4]) + (", ..." if len(names) > 4 else "")
