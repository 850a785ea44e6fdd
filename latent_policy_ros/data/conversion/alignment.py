"""Alignment of one robot's messages to rows on a regular clock, and the replay of a bag through alignments.

Images and measurements are aligned by the ObservationBuffer that also serves the live policy.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from latent_policy_ros.data.bags.reader import Bag
from latent_policy_ros.data.conversion.mapping import Limits, RobotTopics
from latent_policy_ros.data.conversion.message_intake import MessageIntake
from latent_policy_ros.data.conversion.stream_monitor import REORDER_WINDOW
from latent_policy_ros.data.conversion.topic_resolution import ResolvedTopics
from latent_policy_ros.data.issues import Issue, IssueReporter
from latent_policy_ros.observations.observation import Observation
from latent_policy_ros.observations.observation_buffer import JOINTS, WRIST

MAX_TRIM = 1.0  # [s] that may be dropped at either end of a recording without an issue
MAX_REPEATED = 0.1  # share of frames that may repeat an image if a camera is slower than the frame rate
MIN_CAMERA_RATE = 0.75  # lowest rate of a camera, as a share of the frame rate
PROGRESS_INTERVAL = 200  # messages between two progress reports
RATE_REMEDY = "(lower the frame rate, or convert the other cameras only)"


@dataclass(frozen=True)
class Row:
    """One frame of an episode.

    Attributes:
        observation: Synchronised measurements; images may be undecoded.
        command: Joint command in force, (n,) [rad or m].
        wrist_command: Wrist command in force, (7,): x y z [m], qx qy qz qw; None for a robot without wrist commands.
    """

    observation: Observation
    command: np.ndarray
    wrist_command: np.ndarray | None


class Alignment:
    """Converts messages of one robot, in order of receipt, to rows.

    Args:
        robot: Joint names and units.
        topics: Topics and message types of the robot in the bag.
        fps: Rows per second.
        limits: Largest accepted time differences.
        by_receipt: Use the time of receipt instead of stamps.
        start: Time of the bag's first message [s]; issues are timed from it.
        report: Called with every issue.
        file: The bag, for issues.
    """

    def __init__(
        self, robot: RobotTopics, topics: ResolvedTopics, fps: int, limits: Limits, by_receipt: bool, start: float,
        report: Callable[[Issue], None], file: Path,
    ) -> None:  # fmt: skip
        self.topics, self.fps, self.limits, self.count = topics, fps, limits, 0
        self.skew: dict[str, list[float]] = {}  # stream: [sum, maximum] of absolute time offsets from the rows [s]
        self._reporter = IssueReporter(report, file, robot.robot, start)
        self._intake = MessageIntake(robot, topics, limits, limits.camera_at(fps), by_receipt, self._reporter)
        self.buffer, self._monitors = self._intake.buffer, self._intake.monitors
        self._repeated: Counter[str] = Counter()  # rows per camera that repeat the image of the row before
        self._shown: dict[str, float] = {}  # camera: time of the image in the newest row
        self._complete_from: float | None = None  # time from which every topic is known
        self._first_row: float | None = None  # time of the first row
        self._ended: dict[str, float] = {}  # command topics that ended, with the time of their newest command
        self._resumed: dict[str, float] = {}  # command topics that resumed afterwards, with the time of the first command

    def push(self, topic: str, received: float, message: Any) -> Iterator[Row]:
        """Add a message; yields rows that no later message can change."""
        if self._ended and topic in self._intake.command_topics:
            self._resumed.setdefault(topic, received)
        self._intake.push(topic, received, message)
        yield from self._rows(REORDER_WINDOW)

    def note_skipped(self, bag: Bag) -> None:
        """Report the messages of the robot's topics that could not be read."""
        for topic, skipped in bag.skipped.items():
            if topic in self.topics.names:
                text = f"{skipped.count} of {bag.topics[topic].count} cannot be read; the first: {skipped.error}"
                self._reporter.report("skipped messages", topic, skipped.time, text, fatal=False)

    def finish(self) -> Iterator[Row]:
        """Yield the remaining rows at the end of the bag, and report issues of the whole recording."""
        self._intake.finish()
        yield from self._rows(0.0)
        self._check_commands()
        self._check_cameras()
        if self._reporter.failed:
            return
        following = self._next
        if following is None:
            self._reporter.report("too short", "", None, "no image at a time at which all other topics are known")
        else:
            self._check_end(following)

    @property
    def _next(self) -> float | None:
        """Time of the next row; None before the first row."""
        return None if self._first_row is None else self._first_row + self.count / self.fps

    def _rows(self, lag: float) -> Iterator[Row]:
        while not self._reporter.failed and not self._ended:
            until = self._known_until(lag)
            if until is None:
                return
            if self._first_row is None:
                self._first_row = self._first_time()
            following = self._next
            if following is None or following > until:
                return
            row = self._row(following)
            if row is None:
                return
            self.count += 1
            yield row

    def _known_until(self, lag: float) -> float | None:
        """Time until which every topic is known; None before every topic has a message. Reports silent topics."""
        if not all(monitor.count for monitor in self._monitors.values()):
            return None
        newest, timeout = max(monitor.newest for monitor in self._monitors.values()), self._intake.silence_timeout
        ends = []
        for topic, monitor in self._monitors.items():
            if topic in self._intake.command_topics:  # the newest command stays in force
                if lag and not self._intake.commands.holding and newest - monitor.newest <= timeout:
                    ends.append(monitor.newest)
            elif lag and newest - monitor.newest > timeout:
                self._reporter.report("hole", topic, monitor.newest, f"no message for more than {timeout:g} s")
                return None
            else:
                ends.append(monitor.newest)
        return min(ends) - lag

    def _first_time(self) -> float | None:
        """Time of the first image of the first camera at which every topic is known; None while there is none."""
        if self._complete_from is None:
            self._complete_from = self._find_complete_from()
        return self.buffer.first_from(self._complete_from)

    def _find_complete_from(self) -> float:
        slack = dict.fromkeys((self.topics.state, self.topics.wrist), self.limits.state)
        slack |= dict.fromkeys(self.topics.cameras.values(), self.limits.camera_at(self.fps))
        known = {topic: monitor.first - slack.get(topic, 0.0) for topic, monitor in self._monitors.items()}
        begins = max(known.values())
        late = begins - self._reporter.start
        if late > MAX_TRIM:
            topic = max(known, key=known.__getitem__)
            text = f"no earlier message; the first {late:.1f} s are dropped"
            self._reporter.report("begins late", topic, begins, text, fatal=False)
        return begins

    def _row(self, stamp: float) -> Row | None:
        """The row at a time; None after a reported issue, or after the commands have ended."""
        for name, limit in self.buffer.lacking(stamp):
            topics = {**self.topics.cameras, **self.topics.streams, JOINTS: self.topics.state, WRIST: self.topics.wrist}
            remedy = " (a lower frame rate allows more: --fps)" if name in self.topics.cameras else ""
            self._reporter.report("hole", topics[name], stamp, f"nothing within {limit * 1e3:.0f} ms{remedy}")
        command, wrist = self._intake.commands.held(stamp, self.limits.command), self._intake.wrist_command(stamp)
        commands = {self.topics.command: command, self.topics.wrist_command: wrist}
        ended = {topic: self._monitors[topic].newest for topic, held in commands.items() if topic and held is None}
        for topic, newest in ended.items():
            if newest > stamp:
                self._reporter.report("hole", topic, stamp, f"no command within {self.limits.command:g} s")
        observation = self.buffer.observation_at(stamp)
        if self._reporter.failed or observation is None:
            return None
        if ended or command is None:
            self._ended = ended
            return None
        self._record_offsets(observation)
        return Row(observation, command, wrist)

    def _record_offsets(self, observation: Observation) -> None:
        for name, offset in observation.offsets.items():
            total = self.skew.setdefault(name, [0.0, 0.0])
            total[0], total[1] = total[0] + abs(offset), max(total[1], abs(offset))
            if name in self.topics.cameras:
                shown = observation.stamp + offset
                self._repeated[name] += self._shown.get(name) == shown
                self._shown[name] = shown

    def _check_end(self, following: float) -> None:
        """Report what was dropped at the end, from the time of the row that would follow the last."""
        newest = max(monitor.newest for monitor in self._monitors.values())
        if newest - following > MAX_TRIM:
            topic = min(self._monitors, key=lambda name: self._monitors[name].newest)
            text = f"the last {newest - following:.1f} s are dropped"
            self._reporter.report("ends early", topic, self._monitors[topic].newest, text, fatal=False)
        if self.count < 2:
            self._reporter.report("too short", "", None, f"{self.count} frames at {self.fps} per second; expected at least 2")

    def _check_commands(self) -> None:
        """Report command topics that ended before the others, or that were interrupted."""
        if self._resumed:
            last = max(self._monitors[topic].newest for topic in self._intake.command_topics)
            for topic, newest in self._ended.items():
                text = f"no command for {self._resumed.get(topic, last) - newest:.2f} s"
                self._reporter.report("hole", topic, newest, text)

    def _check_cameras(self) -> None:
        for camera, topic in self.topics.cameras.items():
            monitor, repeated = self._monitors[topic], self._repeated[camera]
            rate, mean = round(monitor.rate, 1), round(monitor.mean_rate, 1)
            least, least_mean = MIN_CAMERA_RATE * self.fps, (1 - MAX_REPEATED) * self.fps
            repetition = f"{repeated} of {self.count} frames repeat the previous image"
            if 0 < rate < least:
                text = f"{rate:.1f} images per second, expected at least {least:g} for {self.fps} frames {RATE_REMEDY}"
                self._reporter.report("low rate", topic, None, text)
            elif repeated > MAX_REPEATED * max(self.count, 1 / MAX_REPEATED) and mean < least_mean:
                text = f"{mean:.1f} images per second on average, expected at least {least_mean:g}; {repetition} {RATE_REMEDY}"
                self._reporter.report("low rate", topic, None, text)
            elif repeated:
                self._reporter.report("repeated images", topic, None, repetition, fatal=False)


def replay(
    bag: Bag, robots: Sequence[tuple[Alignment, Callable[[Row], None]]], progress: Callable[[int, int], None] = lambda *_: None
) -> None:
    """Read a bag once and pass its messages to the alignments of all robots.

    Args:
        bag: An open bag.
        robots: Pairs of an alignment and a function that is called with each of its rows.
        progress: Called with the number of messages read and the total.

    Raises:
        BagUnreadable: The bag is damaged. Rows of the readable part may have been passed on already.
    """
    receivers: dict[str, list[tuple[Alignment, Callable[[Row], None]]]] = {}
    for alignment, add_row in robots:
        for topic in alignment.topics.names:
            receivers.setdefault(topic, []).append((alignment, add_row))
    total = sum(bag.topics[topic].count for topic in receivers)
    for number, (topic, received, message) in enumerate(bag.messages(receivers) if receivers else ()):
        if number % PROGRESS_INTERVAL == 0:
            progress(number, total)
        for alignment, add_row in receivers[topic]:
            for row in alignment.push(topic, received, message):
                add_row(row)
    for alignment, add_row in robots:
        alignment.note_skipped(bag)
        for row in alignment.finish():
            add_row(row)
    progress(total, total)
