"""One robot's messages of one bag, put together to frames on a regular clock.

The images and measured values of a frame come out of the very buffer that feeds the policy (:mod:`ingest`).
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np

from latent_policy_ros.data.conversion.mapping import Limits, RobotTopics
from latent_policy_ros.data.conversion.message_intake import Intake
from latent_policy_ros.data.conversion.stream_monitor import LAG
from latent_policy_ros.data.conversion.topic_resolution import Sources
from latent_policy_ros.data.issues import Issue, IssueReporter
from latent_policy_ros.observations.observation import Observation

TRIMMED = 1.0  # [s] at either end of a recording that may go without notice
REPEATED = 0.1  # share of frames that may show an image a second time, where there are fewer images than frames
EXPECTED_RATE = 0.75  # of the frames a second, that a camera must have
LESS = "(fewer frames a second, or the other cameras only, would do)"


@dataclass(frozen=True)
class Row:
    """A frame with the commands in force at its time: joints (n,) [rad or m] and wrist pose (7,)."""

    observation: Observation
    command: np.ndarray
    wrist_command: np.ndarray | None


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
    """

    def __init__(
        self, robot: RobotTopics, sources: Sources, fps: int, limits: Limits, by_receipt: bool, start: float,
        report: Callable[[Issue], None], file: Any,
    ) -> None:  # fmt: skip
        self.sources, self.fps, self.limits, self.count = sources, fps, limits, 0
        self.skew: dict[str, list[float]] = {}  # stream: [sum, maximum] of what it was off the frames [s]
        self._desk = IssueReporter(report, file, robot.robot, start)
        self._intake = Intake(robot, sources, limits, limits.camera_at(fps), by_receipt, self._desk)
        self.buffer, self._watches = self._intake.buffer, self._intake.watches
        self._repeated: Counter[str] = Counter()
        self._shown: dict[str, float] = {}
        self._begins: float | None = None  # time from which on every topic is known
        self._origin: float | None = None  # of the first frame
        self._silent: dict[str, float] = {}  # topics of commands that ended, with the time of their newest one
        self._resumed: dict[str, float] = {}  # topics of commands that came after that, with the time of the first

    def push(self, topic: str, received: float, message: Any) -> Iterator[Row]:
        """Take a message; yields the rows that nothing can change any more."""
        if self._silent and topic in self._intake.given:
            self._resumed.setdefault(topic, received)
        self._intake.push(topic, received, message)
        yield from self._rows(LAG)

    def finish(self) -> Iterator[Row]:
        """The bag is at its end; yields the last rows."""
        self._intake.finish()
        yield from self._rows(0.0)
        self._check_commands()
        self._check_cameras()
        if self._desk.broken:
            return
        if self._origin is None:
            self._desk.report("too short", "", None, "no image that was taken while all else is known")
        else:
            self._check_end()

    @property
    def _next(self) -> float:
        return self._origin + self.count / self.fps

    def _rows(self, lag: float) -> Iterator[Row]:
        while not self._desk.broken and not self._silent:
            until = self._known_until(lag)
            if until is None:
                return
            if self._origin is None:
                self._origin = self._first_time()
            if self._origin is None or self._next > until:
                return
            row = self._row(self._next)
            if row is None:
                return
            self.count += 1
            yield row

    def _known_until(self, lag: float) -> float | None:
        """The time until which every topic is known; None before all have begun. Names those that fell silent."""
        if not all(watch.count for watch in self._watches.values()):
            return None
        newest, patience = max(watch.newest for watch in self._watches.values()), self._intake.patience
        ends = []
        for topic, watch in self._watches.items():
            if topic in self._intake.given:  # one that is not followed by another stays in force for a while
                if lag and not self._intake.commands.holding and newest - watch.newest <= patience:
                    ends.append(watch.newest)
            elif lag and newest - watch.newest > patience:
                self._desk.report("hole", topic, watch.newest, f"no message for more than {patience:g} s")
                return None
            else:
                ends.append(watch.newest)
        return min(ends) - lag

    def _first_time(self) -> float | None:
        """The first image (of the first camera) of whose time every topic knows; None while there is none yet."""
        if self._begins is None:
            self._begins = self._beginning()
        return self.buffer.first_from(self._begins)

    def _beginning(self) -> float:
        """The time from which on every topic is known."""
        slack = dict.fromkeys((self.sources.state, self.sources.wrist), self.limits.state)
        slack |= dict.fromkeys(self.sources.cameras.values(), self.limits.camera_at(self.fps))
        known = {topic: watch.first - slack.get(topic, 0.0) for topic, watch in self._watches.items()}
        begins = max(known.values())
        late = begins - self._desk.start
        if late > TRIMMED:
            topic = max(known, key=known.get)
            self._desk.report("begins late", topic, begins, f"nothing before; the first {late:.1f} s are left away", fatal=False)
        return begins

    def _row(self, stamp: float) -> Row | None:
        """The row of that time; None, with a fault, if there is none, or without one if the commands have ended."""
        for name, limit in self.buffer.lacking(stamp):
            topics = {**self.sources.cameras, "joint_states": self.sources.state, "wrist_pose": self.sources.wrist}
            way_out = " (fewer frames a second allow more: --fps)" if name in self.sources.cameras else ""
            self._desk.report("hole", topics[name], stamp, f"nothing within {limit * 1e3:.0f} ms{way_out}")
        command, wrist = self._intake.commands.held(stamp, self.limits.command), self._intake.wrist_command(stamp)
        given = {self.sources.command: command, self.sources.wrist_command: wrist}
        ended = {topic: self._watches[topic].newest for topic, held in given.items() if topic and held is None}
        for topic, newest in ended.items():
            if newest > stamp:
                self._desk.report("hole", topic, stamp, f"no command within {self.limits.command:g} s")
        if self._desk.broken:
            return None
        if ended:
            self._silent = ended
            return None
        observation = self.buffer.observation_at(stamp)
        self._measure(observation)
        return Row(observation, command, wrist)

    def _measure(self, observation: Observation) -> None:
        for name, offset in observation.offsets.items():
            total = self.skew.setdefault(name, [0.0, 0.0])
            total[0], total[1] = total[0] + abs(offset), max(total[1], abs(offset))
            if name in self.sources.cameras:
                shown = observation.stamp + offset
                self._repeated[name] += self._shown.get(name) == shown
                self._shown[name] = shown

    def _check_end(self) -> None:
        newest = max(watch.newest for watch in self._watches.values())
        if newest - self._next > TRIMMED:
            topic = min(self._watches, key=lambda name: self._watches[name].newest)
            text = f"the last {newest - self._next:.1f} s are left away"
            self._desk.report("ends early", topic, self._watches[topic].newest, text, fatal=False)
        if self.count < 2:
            self._desk.report("too short", "", None, f"{self.count} frames at {self.fps} a second; expected at least 2")

    def _check_commands(self) -> None:
        """Name the commands that ended before the others did, or not for good."""
        if self._resumed:
            last = max(self._watches[topic].newest for topic in self._intake.given)
            for topic, newest in self._silent.items():
                self._desk.report("hole", topic, newest, f"no command for {self._resumed.get(topic, last) - newest:.2f} s")

    def _check_cameras(self) -> None:
        for camera, topic in self.sources.cameras.items():
            watch, repeated = self._watches[topic], self._repeated[camera]
            rate, mean = round(watch.rate, 1), round(watch.mean_rate, 1)
            least, least_mean = EXPECTED_RATE * self.fps, (1 - REPEATED) * self.fps
            again = f"{repeated} of {self.count} frames show the image before them once more"
            if 0 < rate < least:
                text = f"{rate:.1f} images a second, expected at least {least:g} for {self.fps} frames {LESS}"
                self._desk.report("low rate", topic, None, text)
            elif repeated > REPEATED * max(self.count, 1 / REPEATED) and mean < least_mean:
                text = f"{mean:.1f} images a second on average, expected at least {least_mean:g}; {again} {LESS}"
                self._desk.report("low rate", topic, None, text)
            elif repeated:
                self._desk.report("repeated images", topic, None, again, fatal=False)
