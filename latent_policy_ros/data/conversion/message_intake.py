"""One robot's messages of one bag on their way into the buffers: each checked, timed, and matched by name."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np

from latent_policy_ros.common.errors import ObservationRefused
from latent_policy_ros.data.conversion.command_stream import CommandStream
from latent_policy_ros.data.conversion.mapping import Limits, RobotTopics
from latent_policy_ros.data.conversion.stream_monitor import APART, LAG, StreamWatch
from latent_policy_ros.data.conversion.topic_resolution import Sources
from latent_policy_ros.data.issues import IssueReporter
from latent_policy_ros.observations.images import rgb_image
from latent_policy_ros.observations.messages import pose_array, to_seconds
from latent_policy_ros.observations.observation import normalize_pose
from latent_policy_ros.observations.observation_buffer import ObservationBuffer, Tolerances
from latent_policy_ros.observations.streams import Stream

SILENT = 1.0  # [s] after which nobody waits for a topic any more, if its limits do not make it longer
AHEAD, BEHIND = 0.02, 0.3  # [s] that stamps may be later than their receipt, or earlier than those of other topics are
ON_THE_WAY = 0.1  # [s] that drivers and networks may need from the stamp to the receipt, on the topic where they are fastest
SAME = 0.8  # share of commands that may be exactly what was measured


class Intake:
    """What came from a robot's topics: measured values and images in the policy's own buffer, and its commands.

    Args:
        robot: Names of joints and units.
        sources: Its topics.
        limits: How far in time things may lie apart.
        camera_limit: The same for images [s].
        by_receipt: Ignore stamps.
        desk: Where faults go.
    """

    def __init__(
        self, robot: RobotTopics, sources: Sources, limits: Limits, camera_limit: float, by_receipt: bool, desk: IssueReporter,
    ) -> None:  # fmt: skip
        self.robot, self.sources, self.limits = robot, sources, limits
        #: Time [s] after which nobody waits for a topic any more.
        self.patience = max(SILENT, 2 * camera_limit, 2 * limits.state)
        keep = self.patience + 2 * LAG
        self.buffer = ObservationBuffer(
            tuple(sources.cameras), robot.embodiment, robot.more_joints, image_size=None, wrist=bool(sources.wrist), keep=keep,
            tolerances=Tolerances(camera_skew=camera_limit, state_skew=limits.state),
        )  # fmt: skip
        self.commands = CommandStream(robot.joints, robot.rename, robot.order, robot.command_scale, keep)
        #: Topics of commands, which count from their receipt.
        self.given = {sources.command, sources.wrist_command} - {""}
        self.watches: dict[str, StreamWatch] = {}
        self._takers: dict[str, Callable[[str, float, Any], None]] = {}
        for name, topic in sources.cameras.items():
            self._listen(topic, partial(self._take_image, name), 2 * camera_limit)
        self._listen(sources.state, self._take_joints, 2 * limits.state)
        self._listen(sources.command, self._take_command, float("inf"))
        self._listen(sources.wrist, self._take_wrist, 2 * limits.state)
        self._listen(sources.wrist_command, self._take_wrist_command, float("inf"))
        self._by_receipt, self._desk = by_receipt, desk
        self._wrist_commands: Stream[np.ndarray] = Stream(keep + limits.command)
        self._measured: np.ndarray | None = None
        self._names: dict[str, tuple[str, ...]] = {}
        self._renamed: dict[tuple[str, ...], tuple[str, ...]] = {}  # joints of messages of the state, by their own names
        self._same, self._moved = 0, False

    def push(self, topic: str, received: float, message: Any) -> None:
        """Take a message."""
        if topic == self.sources.state and not self._ours(tuple(message.name)):
            return
        stamp = received if topic in self.given else self._stamp(topic, received, message)
        in_place = self.watches[topic].take(stamp, received)
        if in_place and not (self._desk.broken and topic in self.sources.cameras.values()):
            try:
                self._takers[topic](topic, stamp, message)
            except ObservationRefused as error:
                self._desk.report("not finite" if "finite" in str(error) else "refused", topic, stamp, str(error))

    def finish(self) -> None:
        """No more messages will come."""
        for topic, watch in self.watches.items():
            watch.finish()
            if not watch.count:
                self._never_ours(topic)
        self._check_clocks()
        count = min(self.watches[topic].count for topic in (self.sources.state, self.sources.command))
        if self._moved and self._same > SAME * count:
            text = f"exactly what is commanded on {self.sources.command}: was one recorded as the other?"
            self._desk.report("state equals command", self.sources.state, None, text, fatal=False)

    def wrist_command(self, stamp: float) -> np.ndarray | None:
        """The wrist pose (7,) commanded at ``stamp``; None if there is none, or it is too old."""
        found = self._wrist_commands.held(stamp)
        fresh = found and (stamp - found[0] <= self.limits.command or self.commands.holding)
        return found[1] if fresh else None

    def _listen(self, topic: str, taker: Callable[[str, float, Any], None], longest: float) -> None:
        if topic:
            self._takers[topic] = taker
            self.watches[topic] = StreamWatch(longest, partial(self._watched, topic))

    def _stamp(self, topic: str, received: float, message: Any) -> float:
        if self._by_receipt:
            return received
        stamp = to_seconds(message.header.stamp) if hasattr(message, "header") else 0.0
        if stamp <= 0.0:
            self._desk.report("no stamp", topic, received, "the time of receipt is used instead", fatal=False)
            return received
        return stamp

    def _take_image(self, camera: str, topic: str, stamp: float, message: Any) -> None:
        self.buffer.push_image(camera, stamp, partial(rgb_image, message))

    def _take_joints(self, topic: str, stamp: float, message: Any) -> None:
        names, positions, scale = self._renamed[tuple(message.name)], message.position, self.robot.state_scale
        if scale and len(positions) == len(names):
            positions = np.asarray(positions) * [scale.get(name, 1.0) for name in names]
        self.buffer.push_joints(stamp, names, positions)
        self._order_of(topic, stamp, names)
        before, self._measured = self._measured, self.buffer.newest_joints
        self._moved |= before is not None and not _equal(before, self._measured)
        self._same += _equal(self.commands.newest, self._measured)

    def _ours(self, theirs: tuple[str, ...]) -> bool:
        """Whether a message has joints of this robot; others (the arm's, say) may share its topic, and are passed over."""
        if theirs not in self._renamed:
            self._renamed[theirs] = tuple(self.robot.rename.get(name, name) for name in theirs)
        return not set(self.robot.joints).isdisjoint(self._renamed[theirs])

    def _take_wrist(self, topic: str, stamp: float, message: Any) -> None:
        self.buffer.push_wrist(stamp, pose_array(message.pose))

    def _take_command(self, topic: str, stamp: float, message: Any) -> None:
        self.commands.push(stamp, message, self._measured)
        self._same += _equal(self.commands.newest, self._measured)
        if order := self.commands.joint_order:  # a command to hold, before any other, names no joints
            self._order_of(topic, stamp, order)

    def _take_wrist_command(self, topic: str, stamp: float, message: Any) -> None:
        self._wrist_commands.push(stamp, normalize_pose(pose_array(message.pose), "wrist command"))

    def _check_clocks(self) -> None:
        """Tell of topics whose stamps are off, by too little for each message to show it."""
        delays = {topic: watch.delay for topic, watch in self.watches.items() if topic not in self.given and watch.count}
        promptest = min(delays, key=lambda topic: abs(delays[topic]), default="")
        for topic, delay in delays.items():
            limit = self.watches[topic].longest / 2
            if -APART <= delay < -AHEAD:
                text = f"its stamps are {-delay:.2f} s later than the time of receipt: its clock, or the recorder's, is off"
                self._desk.report("clock", topic, None, f"{text}; `stamps: receive` ignores them", delay < -limit)
            elif delay - delays[promptest] > BEHIND and delay <= APART:
                text = f"received {delay:.2f} s after its stamps, {promptest} {delays[promptest]:.2f} s: is its clock behind?"
                self._desk.report("clock", topic, None, text, fatal=False)
        least = delays.get(promptest, 0.0)
        if ON_THE_WAY < least <= APART:  # commands count from their receipt, so they would lag behind what is measured
            text = f"received {least:.2f} s after its stamps, and no other topic sooner: is the robot's clock behind?"
            fatal = least - ON_THE_WAY > self.limits.state
            self._desk.report("clock", promptest, None, f"{text} `stamps: receive` ignores stamps", fatal)

    def _watched(self, topic: str, kind: str, text: str, time: float, fatal: bool) -> None:
        self._desk.report(kind, topic, time, text, fatal)

    def _order_of(self, topic: str, stamp: float, names: tuple[str, ...]) -> None:
        before = self._names.setdefault(topic, names)
        if names != before:
            self._names[topic] = names
            text = f"the order of joints changes to {_some(names)}; they are matched by name"
            self._desk.report("joint order", topic, stamp, text, fatal=False)

    def _never_ours(self, topic: str) -> None:
        if topic == self.sources.state and self._renamed:
            mine, theirs = _some(self.robot.joints), _some(next(iter(self._renamed)))
            text = f"never carried the joints of {self.robot.embodiment.name} ({mine}), but {theirs}"
            self._desk.report("another robot", topic, None, text)
        else:
            self._desk.report("missing topic", topic, None, "no message on it")


def _equal(one: np.ndarray | None, other: np.ndarray | None) -> bool:
    return one is not None and other is not None and bool((one == other).all())


def _some(names: tuple[str, ...]) -> str:
    return ", ".join(names[:4]) + (", ..." if len(names) > 4 else "")
