"""One robot's messages of one bag, put together to frames on a regular clock.

The pictures and measured values of a frame come out of the very buffer that feeds the policy (:mod:`ingest`).
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np

from ..errors import ObservationRefused
from .commands import CommandStream
from .faults import Fault
from .ingest import Frame, ObservationBuffer, Tolerances
from .mapping import Limits, RobotTopics
from .messages import picture, pose_array, seconds
from .stream_watch import LAG, StreamWatch
from .time_sync import Stream

SILENT = 1.0  # [s] after which nobody waits for a topic any more
KEEP = SILENT + 2 * LAG
TRIMMED = 1.0  # [s] at either end of a recording that may go without notice
SAME = 0.8  # share of commands that may be exactly what was measured
REPEATED = 0.1  # share of frames that may show a picture a second time
LESS = "(fewer frames a second, or the other cameras only, would do)"
EXPECTED_RATE = 0.75  # of the frames a second, that a camera must have


@dataclass(frozen=True)
class Row:
    """A frame with the commands in force at its time: joints (n,) [rad or m] and wrist pose (7,)."""

    frame: Frame
    command: np.ndarray
    wrist_command: np.ndarray | None


@dataclass(frozen=True)
class Sources:
    """The topics of one robot in one bag; empty where there is none."""

    cameras: dict[str, str]
    state: str
    command: str
    wrist: str = ""
    wrist_command: str = ""
    plans: str = ""

    @property
    def topics(self) -> set[str]:
        """All of them."""
        return {t for t in (*self.cameras.values(), self.state, self.command, self.wrist, self.wrist_command, self.plans) if t}


class Alignment:
    """Takes messages, in the order of receipt, and hands out rows.

    Args:
        robot: Names of joints and units.
        sources: Its topics.
        fps: Frames a second.
        limits: How far in time things may lie apart.
        by_receipt: Ignore stamps.
        start: Time of the bag's first message [s], from which faults are timed.
        report: Told of every fault.
        file: The bag, for faults.
        latent_id: Of the latent space that plans must be in; empty: any.
    """

    def __init__(
        self, robot: RobotTopics, sources: Sources, fps: int, limits: Limits, by_receipt: bool, start: float,
        report: Callable[[Fault], None], file: Any, latent_id: str = "",
    ) -> None:  # fmt: skip
        self.robot, self.sources, self.fps, self.limits = robot, sources, fps, limits
        self.start, self.latent_id = start, latent_id
        self.count, self.broken = 0, False
        self.skew: dict[str, list[float]] = {}  # stream: [sum, maximum] of what it was off the frames [s]
        self._by_receipt, self._report, self._file = by_receipt, report, file
        camera = limits.camera_at(fps)
        self.buffer = ObservationBuffer(
            tuple(sources.cameras), robot.joints, image_size=None, wrist=bool(sources.wrist), keep=KEEP,
            tolerances=Tolerances(camera_skew=camera, state_skew=limits.state),
        )  # fmt: skip
        self._commands = CommandStream(robot.joints, robot.rename, robot.order, robot.scale[1], KEEP + limits.command)
        self._wrist_commands: Stream[np.ndarray] = Stream(KEEP + limits.command)
        self._measured: np.ndarray | None = None
        self._names: dict[str, tuple[str, ...]] = {}
        self._repeated: Counter[str] = Counter()
        self._shown: dict[str, float] = {}
        self._next: float | None = None
        self._takers: dict[str, Callable[[str, float, Any], None]] = {}
        self._watches: dict[str, StreamWatch] = {}
        for name, topic in sources.cameras.items():
            self._listen(topic, partial(self._take_picture, name), 2 * camera)
        self._listen(sources.state, self._take_joints, 2 * limits.state)
        self._listen(sources.command, self._take_command, float("inf"))
        self._listen(sources.wrist, self._take_wrist, 2 * limits.state)
        self._listen(sources.wrist_command, self._take_wrist_command, float("inf"))
        self._given = {sources.command, sources.wrist_command} - {""}  # topics of commands, which count from their receipt
        self._over = False  # commands ended
        self._renamed: dict[tuple[str, ...], tuple[str, ...]] = {}  # joints of messages of the state, by their own names
        self._same, self._moved = 0, False

    def push(self, topic: str, received: float, message: Any) -> Iterator[Row]:
        """Take a message; yields the rows that nothing can change any more."""
        if topic == self.sources.plans:
            self._check_plan(topic, received, message)
            return
        if topic == self.sources.state and not self._ours(tuple(message.name)):
            return
        stamp = received if topic in self._given else self._stamp(topic, received, message)
        if self._over and topic in self._given:
            self._fault("hole", topic, self._watches[topic].newest, f"no command for {stamp - self._watches[topic].newest:.2f} s")
        if not self._watches[topic].take(stamp, received):
            self.broken = True
        elif topic not in self.sources.cameras.values() or not self.broken:
            try:
                self._takers[topic](topic, stamp, message)
            except ObservationRefused as error:
                self._fault("not finite" if "finite" in str(error) else "refused", topic, stamp, str(error))
        yield from self._rows(LAG)

    def finish(self) -> Iterator[Row]:
        """The bag is at its end; yields the last rows."""
        for topic, watch in self._watches.items():
            watch.finish()
            if not watch.count:
                self._never_ours(topic)
        yield from self._rows(0.0)
        self._check_cameras()
        self._check_commands()
        if not self.broken and self._next is not None:
            self._check_end()
            if self.count < 2:
                self._fault("too short", "", None, f"{self.count} frames at {self.fps} a second; expected at least 2")

    # -- messages

    def _listen(self, topic: str, taker: Callable[[str, float, Any], None], longest: float) -> None:
        if topic:
            self._takers[topic] = taker
            self._watches[topic] = StreamWatch(longest, partial(self._watched, topic))

    def _stamp(self, topic: str, received: float, message: Any) -> float:
        if self._by_receipt:
            return received
        stamp = seconds(message.header.stamp) if hasattr(message, "header") else 0.0
        if stamp <= 0.0:
            self._fault("no stamp", topic, received, "the time of receipt is used instead", fatal=False)
            return received
        return stamp

    def _take_picture(self, camera: str, topic: str, stamp: float, message: Any) -> None:
        self.buffer.push_image(camera, stamp, partial(picture, message))

    def _take_joints(self, topic: str, stamp: float, message: Any) -> None:
        names, scale = self._renamed[tuple(message.name)], self.robot.scale[0]
        self.buffer.push_joints(stamp, names, message.position if scale == 1.0 else np.asarray(message.position) * scale)
        self._order_of(topic, stamp, names)
        before, self._measured = self._measured, self.buffer.newest_joints
        self._moved |= before is not None and not _equal(before, self._measured)
        self._same += _equal(self._commands.newest, self._measured)

    def _ours(self, theirs: tuple[str, ...]) -> bool:
        """Whether a message has joints of this robot; others (the arm's, say) may share its topic, and are passed over."""
        if theirs not in self._renamed:
            self._renamed[theirs] = tuple(self.robot.rename.get(name, name) for name in theirs)
        return not set(self.robot.joints).isdisjoint(self._renamed[theirs])

    def _take_wrist(self, topic: str, stamp: float, message: Any) -> None:
        self.buffer.push_wrist(stamp, pose_array(message.pose))

    def _take_command(self, topic: str, stamp: float, message: Any) -> None:
        self._commands.push(stamp, message, self._measured)
        self._same += _equal(self._commands.newest, self._measured)
        self._order_of(topic, stamp, self._commands.joint_order)

    def _take_wrist_command(self, topic: str, stamp: float, message: Any) -> None:
        pose = pose_array(message.pose)
        if not np.isfinite(pose).all():
            raise ObservationRefused("wrist command is not finite")
        self._wrist_commands.push(stamp, pose)

    def _check_plan(self, topic: str, received: float, message: Any) -> None:
        if self.latent_id and message.latent_id != self.latent_id:
            text = f"plans of latent space {message.latent_id[:12]}, converting with {self.latent_id[:12]}"
            self._fault("foreign latent_id", topic, received, text)

    # -- rows

    def _rows(self, lag: float) -> Iterator[Row]:
        while not self.broken and not self._over:
            until = self._known_until(lag)
            if until is None:
                return
            if self._next is None:
                self._next = self._first_time()
            if self._next is None or self._next > until:
                return
            row = self._row(self._next)
            if row is None:
                self._over = not self.broken
                return
            self.count += 1
            self._next = self._origin + self.count / self.fps
            yield row

    def _known_until(self, lag: float) -> float | None:
        """The time until which every topic is known; None before all have begun. Names those that fell silent."""
        if not all(watch.count for watch in self._watches.values()):
            return None
        newest = max(watch.newest for watch in self._watches.values())
        ends = []
        for topic, watch in self._watches.items():
            if topic in self._given:  # one that is not followed by another stays in force for a while
                if lag and not self._commands.holding and newest - watch.newest <= max(SILENT, self.limits.command):
                    ends.append(watch.newest)
            elif lag and newest - watch.newest > SILENT:
                self._fault("hole", topic, watch.newest, f"no message for more than {SILENT:g} s")
                return None
            else:
                ends.append(watch.newest)
        return min(ends) - lag

    def _first_time(self) -> float | None:
        """The first picture (of the first camera) of whose time every topic knows."""
        slack = dict.fromkeys((self.sources.state, self.sources.wrist), self.limits.state)
        slack |= dict.fromkeys(self.sources.cameras.values(), self.limits.camera_at(self.fps))
        known = {topic: watch.first - slack.get(topic, 0.0) for topic, watch in self._watches.items()}
        begins = max(known.values())
        late = begins - self.start
        if late > TRIMMED:
            topic = max(known, key=known.get)
            self._fault("begins late", topic, begins, f"nothing before; the first {late:.1f} s are left away", fatal=False)
        self._origin = self.buffer.first_from(begins)
        return self._origin

    def _row(self, stamp: float) -> Row | None:
        """The row of that time; None, with a fault, if there is none, or without one if the commands have ended."""
        for name, limit in self.buffer.lacking(stamp):
            topics = {**self.sources.cameras, "joint_states": self.sources.state, "wrist_pose": self.sources.wrist}
            self._fault("hole", topics[name], stamp, f"nothing within {limit * 1e3:.0f} ms")
        command, wrist = self._commands.held(stamp, self.limits.command), self._held_wrist(stamp)
        for topic, held in ((self.sources.command, command), (self.sources.wrist_command, wrist)):
            if topic and held is None and self._watches[topic].newest > stamp:
                self._fault("hole", topic, stamp, f"no command within {self.limits.command:g} s")
        if self.broken or command is None or (self.sources.wrist_command and wrist is None):
            return None
        frame = self.buffer.frame_at(stamp)
        self._measure(frame)
        return Row(frame, command, wrist)

    def _held_wrist(self, stamp: float) -> np.ndarray | None:
        found = self._wrist_commands.held(stamp)
        fresh = found and (stamp - found[0] <= self.limits.command or self._commands.holding)
        return found[1] if fresh else None

    def _measure(self, frame: Frame) -> None:
        for name, offset in frame.offsets.items():
            total = self.skew.setdefault(name, [0.0, 0.0])
            total[0], total[1] = total[0] + abs(offset), max(total[1], abs(offset))
            if name in self.sources.cameras:
                shown = frame.stamp + offset
                self._repeated[name] += self._shown.get(name) == shown
                self._shown[name] = shown

    # -- faults

    def _watched(self, topic: str, kind: str, text: str, time: float, fatal: bool) -> None:
        self._fault(kind, topic, time, text, fatal)

    def _order_of(self, topic: str, stamp: float, names: tuple[str, ...]) -> None:
        before = self._names.setdefault(topic, names)
        if names != before:
            self._names[topic] = names
            text = f"the order of joints changes to {_some(names)}; they are matched by name"
            self._fault("joint order", topic, stamp, text, fatal=False)

    def _never_ours(self, topic: str) -> None:
        if topic == self.sources.state and self._renamed:
            mine, theirs = _some(self.robot.joints), _some(next(iter(self._renamed)))
            text = f"never carried the joints of {self.robot.embodiment.name} ({mine}), but {theirs}"
            self._fault("another robot", topic, None, text)
        else:
            self._fault("missing topic", topic, None, "no message on it")

    def _check_commands(self) -> None:
        count = min(self._watches[topic].count for topic in (self.sources.state, self.sources.command))
        if self._moved and self._same > SAME * count:
            text = f"exactly what is commanded on {self.sources.command}: was one recorded as the other?"
            self._fault("state equals command", self.sources.state, None, text, fatal=False)

    def _check_end(self) -> None:
        newest = max(watch.newest for watch in self._watches.values())
        if newest - self._next > TRIMMED:
            topic = min(self._watches, key=lambda name: self._watches[name].newest)
            text = f"the last {newest - self._next:.1f} s are left away"
            self._fault("ends early", topic, self._watches[topic].newest, text, fatal=False)

    def _check_cameras(self) -> None:
        for camera, topic in self.sources.cameras.items():
            rate, repeated = self._watches[topic].rate, self._repeated[camera]
            if 0 < rate < EXPECTED_RATE * self.fps or repeated > REPEATED * max(self.count, 1 / REPEATED):
                self._fault("low rate", topic, None, f"{rate:.1f} pictures a second, expected {self.fps} {LESS}")
            elif repeated:
                text = f"{repeated} of {self.count} frames show the picture before them once more"
                self._fault("repeated pictures", topic, None, text, fatal=False)

    def _fault(self, kind: str, topic: str, time: float | None, text: str, fatal: bool = True) -> None:
        self.broken |= fatal
        at = None if time is None else time - self.start
        self._report(Fault(kind, text, self._file, topic, at, self.robot.robot, fatal))


def _equal(one: np.ndarray | None, other: np.ndarray | None) -> bool:
    return one is not None and other is not None and bool((one == other).all())


def _some(names: tuple[str, ...]) -> str:
    return ", ".join(names[:4]) + (", ..." if len(names) > 4 else "")
