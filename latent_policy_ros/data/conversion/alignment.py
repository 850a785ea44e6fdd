"""Alignment of one robot's messages to rows on a regular clock, and the replay of a bag through alignments.

Images and measurements are aligned by the ObservationBuffer that also serves the live policy.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from latent_policy_ros.data.bags.reader import Bag
from latent_policy_ros.data.conversion.bag_metadata import Window
from latent_policy_ros.data.conversion.mapping import RobotTopics, TopicMapping
from latent_policy_ros.data.conversion.message_intake import MessageIntake
from latent_policy_ros.data.conversion.stream_monitor import REORDER_WINDOW
from latent_policy_ros.data.conversion.topic_resolution import ResolvedTopics
from latent_policy_ros.data.issues import Issue, IssueReporter
from latent_policy_ros.observations.observation import Observation
from latent_policy_ros.observations.observation_buffer import JOINTS, WRIST

MAX_TRIM = 1.0  # [s] that may be dropped at either end of a recording without an issue
MIN_CAMERA_RATE = 0.75  # lowest rate of a camera, as a share of the frame rate
MIN_KEPT = 0.5  # share of the time between the first and the last frame that must remain after holes
MIN_PART = 1.0  # [s]; shorter parts between holes are dropped
PROGRESS_INTERVAL = 200  # messages between two progress reports
DROP, KEEP = "drop", "keep"  # values of ``on_hole``


@dataclass(frozen=True)
class Row:
    """One frame of an episode.

    Attributes:
        observation: Synchronised measurements; images may be undecoded.
        command: Joint command in force, (m,) [rad or m]; None if no commands were recorded.
        wrist_command: Wrist command in force, (7,): x y z [m], qx qy qz qw; None for a robot without wrist commands.
        part: Number of the window and of the part of it, between holes, that the frame belongs to.
    """

    observation: Observation
    command: np.ndarray | None
    wrist_command: np.ndarray | None
    part: tuple[int, int] = (0, 0)


@dataclass
class _Hole:
    """Time without values: its first frame [s], and {topic: what was expected} of the topics."""

    begin: float
    topics: dict[str, str]


class Alignment:
    """Converts messages of one robot, in order of receipt, to rows.

    A hole of up to ``limits.bridge`` is bridged with the nearest values. At a longer one, a part ends and the next one begins
    as soon as every topic is known again; ``on_hole`` says whether that costs the recording.

    Args:
        robot: Joint names and frames.
        topics: Topics and message types of the robot in the bag.
        fps: Rows per second.
        mapping: Limits, treatment of holes, and whether stamps count.
        start: Time of the bag's first message [s]; issues are timed from it.
        report: Called with every issue.
        file: The bag, for issues.
        windows: Parts of the recording to convert.
    """

    def __init__(
        self, robot: RobotTopics, topics: ResolvedTopics, fps: int, mapping: TopicMapping, start: float,
        report: Callable[[Issue], None], file: Path, windows: Sequence[Window] = (Window(),),
    ) -> None:  # fmt: skip
        self.topics, self.fps, self.limits, self.count = topics, fps, mapping.limits, 0
        self.skew: dict[str, list[float]] = {}  # stream: [sum, maximum] of absolute time offsets from the rows [s]
        self._on_hole, self._windows = mapping.on_hole, list(windows)
        self._slack = math.inf if mapping.on_hole == KEEP else mapping.limits.bridge / 2  # [s]; nearest value within a hole
        self._reporter = IssueReporter(report, file, robot.robot, start)
        by_receipt = mapping.stamps == "receive"
        self._intake = MessageIntake(robot, topics, mapping.limits, mapping.limits.camera_at(fps), by_receipt, self._reporter)
        self.buffer, self._monitors = self._intake.buffer, self._intake.monitors
        self._repeated: Counter[str] = Counter()  # rows per camera that repeat the image of the row before
        self._shown: dict[str, float] = {}  # camera: time of the image in the newest row
        self._window = self._part = 0
        self._candidate = -math.inf  # time from which the first row of a part is searched
        self._first_row: float | None = None  # time of the first row of the part
        self._rows_of_part = 0
        self._window_begun = False  # whether the window has a row
        self._span: list[float] = []  # times of the first and the newest row
        self._hole: _Hole | None = None
        self._bridged: dict[str, list[float]] = {}  # topic: [time of the first bridged row, number of rows]
        self._bridged_rows = 0
        self._split = False

    @property
    def is_split(self) -> bool:
        """Whether a hole ended a part."""
        return self._split

    def window(self, part: tuple[int, int]) -> Window:
        """The window of a part."""
        return self._windows[part[0]]

    def push(self, topic: str, received: float, message: Any) -> Iterator[Row]:
        """Add a message; yields rows that no later message can change."""
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
        self._check_cameras()
        self._check_holes()
        if self._reporter.failed:
            return
        if not self._span:
            self._reporter.report("too short", "", None, "no image at a time at which all other topics are known")
        else:
            self._check_end(self._span[1] + 1 / self.fps)

    def _rows(self, lag: float) -> Iterator[Row]:
        while not self._reporter.failed and self._window < len(self._windows):
            until = self._known_until(lag)
            if until is None:
                return
            following = self._next(until)
            if following is None:
                return
            if following > self._windows[self._window].end:
                self._end_part(following, window=True)
            elif following > until:
                return
            elif (row := self._row(following)) is not None:
                self.count += 1
                self._rows_of_part += 1
                self._span = [self._span[0] if self._span else following, following]
                yield row

    def _known_until(self, lag: float) -> float | None:
        """Time until which every topic is known; None before every topic has a message. Silent topics are not waited for."""
        if not all(monitor.count for monitor in self._monitors.values()):
            return None
        newest, timeout = max(monitor.newest for monitor in self._monitors.values()), self._intake.silence_timeout
        ends = []
        for topic, monitor in self._monitors.items():
            if lag and newest - monitor.newest > timeout:
                continue
            if topic not in self._intake.command_topics or (lag and not self._intake.commands.holding):
                holds = 0.0 if lag or topic not in self.topics.state else self.topics.state[topic].source.limit
                ends.append(monitor.newest + holds)  # otherwise the newest command stays in force
        return min(ends, default=newest) - lag

    def _next(self, until: float) -> float | None:
        """Time of the next row; None if it is not known yet."""
        if self._first_row is not None:
            return self._first_row + self._rows_of_part / self.fps
        while True:  # search the first image at which everything is known
            image = self.buffer.first_from(max(self._candidate, self._windows[self._window].begin))
            if image is None or image > until or image > self._windows[self._window].end:
                return image
            if not self._lacking(image):
                break
            self._candidate = math.nextafter(image, math.inf)
        self._first_row = image
        if self._hole:
            self._report_hole(self._hole, image)
            self._hole = None
        elif not self._window_begun:
            self._check_begin(image)
        self._window_begun = True
        return image

    def _lacking(self, stamp: float) -> dict[str, str]:
        """{topic: what was expected} of the topics without a value at a time."""
        lacking = {}
        names = {**self.topics.cameras, **self.topics.streams, JOINTS: self.topics.state_topic}
        if self.topics.wrist:
            names[WRIST] = self.topics.wrist.topic
        for name, limit in self.buffer.lacking(stamp):
            lacking[names[name]] = f"nothing within {limit * 1e3:.0f} ms"
        limit = self.limits.command
        if self.topics.command and self._intake.commands.held(stamp, limit) is None:
            lacking[self.topics.command_topic] = f"no command within {limit:g} s"
        if self.topics.wrist_command and self._intake.wrist_command(stamp, limit) is None:
            lacking[self.topics.wrist_command.topic] = f"no command within {limit:g} s"
        return lacking

    def _row(self, stamp: float) -> Row | None:
        """The row at a time; None at a hole that cannot be bridged, which ends the part."""
        age = self.limits.command
        observation = self.buffer.observation_at(stamp)
        command, wrist = self._commands(stamp, age)
        if observation is None or command is None or wrist is None:
            lacking = self._lacking(stamp)
            observation = observation or self.buffer.observation_at(stamp, self._slack)
            if command is None or wrist is None:
                command, wrist = self._commands(stamp, age + 2 * self._slack) if self._commands_follow(stamp) else (None, None)
            if observation is None or command is None or wrist is None:
                self._hole = _Hole(stamp, lacking)
                self._end_part(stamp)
                return None
            self._bridged_rows += 1
            for topic in lacking:
                self._bridged.setdefault(topic, [stamp, 0.0])[1] += 1
        self._record_offsets(observation)
        has_command, has_wrist = bool(self.topics.command), self.topics.wrist_command is not None
        part = self._window, self._part
        return Row(observation, command if has_command else None, wrist if has_wrist else None, part)

    def _commands(self, stamp: float, age: float) -> tuple[np.ndarray | None, np.ndarray | None]:
        """Commands of joints and wrist in force, (0,) for those that the robot has not."""
        nothing = np.zeros(0)
        command = self._intake.commands.held(stamp, age) if self.topics.command else nothing
        return command, self._intake.wrist_command(stamp, age) if self.topics.wrist_command else nothing

    def _commands_follow(self, stamp: float) -> bool:
        """Whether a hole of commands has an end, so that it can be bridged."""
        return self._on_hole == KEEP or all(self._monitors[t].newest > stamp for t in self._intake.command_topics)

    def _end_part(self, stamp: float, window: bool = False) -> None:
        if self._first_row is not None and not window:
            self._split, self._part = True, self._part + 1
        if window:
            self._check_window()
            self._window, self._part, self._hole, self._window_begun = self._window + 1, 0, None, False
        self._first_row, self._rows_of_part, self._candidate = None, 0, stamp

    def _check_window(self) -> None:
        """Report what the end of a window leaves out, before the next one."""
        window = self._windows[self._window]
        if not self._window_begun:
            text = f"no frame in the {window.end - window.begin:.1f} s of a marked episode; it is left out"
            self._reporter.report("empty episode", "", window.begin, text, fatal=False)
        elif self._hole and not set(self._hole.topics) <= self._intake.command_topics:
            self._report_hole(self._hole, None)

    def _record_offsets(self, observation: Observation) -> None:
        for name, offset in observation.offsets.items():
            total = self.skew.setdefault(name, [0.0, 0.0])
            total[0], total[1] = total[0] + abs(offset), max(total[1], abs(offset))
            if name in self.topics.cameras:
                shown = observation.stamp + offset
                self._repeated[name] += self._shown.get(name) == shown
                self._shown[name] = shown

    def _report_hole(self, hole: _Hole, end: float | None) -> None:
        """Report a hole that ended a part; ``end`` is the time of the next row [s], None without one."""
        for topic, text in hole.topics.items():
            fatal = self._on_hole == DROP
            if end is None:
                remedy, span = "", "until the end"
            else:
                span = f"for {end - hole.begin:.2f} s"
                whole = end - hole.begin + self.limits.bridge + self.limits.state  # the hole begins where bridging gave up
                longer = f"`limits.bridge: {math.ceil(whole * 10) / 10:g}`"
                remedy = f"; {longer} or `on_hole: keep` bridges it" + (", `on_hole: split` makes two episodes" if fatal else "")
            self._reporter.report("hole", topic, hole.begin, f"{text} {span}{remedy}", fatal)

    def _check_begin(self, first: float) -> None:
        begins = max(self._windows[self._window].begin, self._reporter.start)
        late = first - begins
        if late > MAX_TRIM:
            topic = max(self._monitors, key=lambda name: self._monitors[name].first)
            text = f"no earlier frame with all topics; the first {late:.1f} s are dropped"
            self._reporter.report("begins late", topic, max(self._monitors[topic].first, begins), text, fatal=False)

    def _check_end(self, following: float) -> None:
        """Report what was dropped at the end, from the time of the row that would follow the last."""
        newest = min(max(monitor.newest for monitor in self._monitors.values()), self._windows[-1].end)
        if newest - following > MAX_TRIM:
            topic = min(self._monitors, key=lambda name: self._monitors[name].newest)
            text = f"the last {newest - following:.1f} s are dropped"
            self._reporter.report("ends early", topic, self._monitors[topic].newest, text, fatal=False)
        for window in self._windows[self._window + self._window_begun :]:
            text = "no frame in a marked episode at the end of the bag; it is left out"
            self._reporter.report("empty episode", "", window.begin, text, fatal=False)
        if self.count < 2:
            self._reporter.report("too short", "", None, f"{self.count} frames at {self.fps} per second; expected at least 2")

    def _check_holes(self) -> None:
        """Report holes at the end and bridged ones, and whether too little of the recording remains."""
        if self._hole and self._span:
            ended = all(self._monitors[topic].newest <= self._hole.begin for topic in self._intake.command_topics)
            if not (ended and self._intake.command_topics and set(self._hole.topics) <= self._intake.command_topics):
                self._report_hole(self._hole, None)
        for topic, (first, rows) in self._bridged.items():
            text = f"{rows:.0f} of {self.count} frames are within a hole and hold the nearest value"
            self._reporter.report("bridged", topic, first, text, fatal=False)
        if self._on_hole == KEEP or not self.count:
            return
        if self._bridged_rows > self.limits.repeated * self.count:
            text = f"{self._bridged_rows} of {self.count} frames are bridged; `limits.repeated` or `on_hole: keep` allows more"
            self._reporter.report("holes", "", None, text)
        expected = (self._span[1] - self._span[0]) * self.fps + 1
        if len(self._windows) == 1 and self.count < MIN_KEPT * expected:
            text = f"{self.count} of {expected:.0f} frames remain; `on_hole: keep` keeps all"
            self._reporter.report("holes", "", None, text)

    def _check_cameras(self) -> None:
        for camera, topic in self.topics.cameras.items():
            monitor, repeated = self._monitors[topic], self._repeated[camera]
            rate, mean, most = round(monitor.rate, 1), round(monitor.mean_rate, 1), self.limits.repeated
            least, least_mean = MIN_CAMERA_RATE * self.fps, (1 - most) * self.fps
            repetition = f"{repeated} of {self.count} frames repeat the previous image"
            if 0 < rate < least:
                text = f"{rate:.1f} images per second, expected at least {least:g} for {self.fps} frames"
                self._report_rate(topic, text, "`on_hole: keep` allows it")
            elif repeated > most * max(self.count, 10) and mean < least_mean:
                text = f"{mean:.1f} images per second on average, expected at least {least_mean:g}; {repetition}"
                self._report_rate(topic, text, "`limits.repeated` allows more")
            elif repeated:
                self._reporter.report("repeated images", topic, None, repetition, fatal=False)

    def _report_rate(self, topic: str, text: str, option: str) -> None:
        text += f" (lower the frame rate, or convert the other cameras only; {option})"
        self._reporter.report("low rate", topic, None, text, fatal=self._on_hole != KEEP)


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
        for topic in alignment.topics.names & bag.topics.keys():
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
