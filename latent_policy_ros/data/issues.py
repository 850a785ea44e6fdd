"""Issues of recordings, with file, topic and time, and their collection into reports."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from latent_policy_ros.common.errors import LatentPolicyError

MAX_CLOCK_DIFFERENCE = 30.0  # [s] between a stamp and the newest receipt, above which issues are timed by the receipt


@dataclass(frozen=True)
class Issue:
    """One issue of a recording.

    Attributes:
        kind: Short name, e.g. ``hole`` or ``missing topic``.
        text: What was found and what was expected.
        file: The bag or data set.
        topic: Topic or feature; empty if the issue concerns the whole file.
        time: Seconds from the start of the recording; None if the issue concerns the whole recording.
        robot: Namespace of the robot; empty if the issue concerns all robots.
        fatal: Whether the episode is unusable.
    """

    kind: str
    text: str
    file: str | Path
    topic: str = ""
    time: float | None = None
    robot: str = ""
    fatal: bool = True

    def __str__(self) -> str:
        at = "" if self.time is None else f" at {self.time:.2f} s"
        text = f"{self.file}: {self.topic + ': ' if self.topic else ''}{self.kind}{at}: {self.text}"
        # topics and texts of bags may contain terminal controls
        return "".join(c if c.isprintable() or c == "\n" else "\N{REPLACEMENT CHARACTER}" for c in text)

    def to_dict(self) -> dict[str, Any]:
        """The issue as JSON values."""
        return {**asdict(self), "file": str(self.file), "time": None if self.time is None else round(self.time, 3)}


class BagUnreadable(LatentPolicyError):
    """A bag that cannot be read, or not to its end.

    Args:
        issue: What is wrong, and the time up to which the bag is readable.
    """

    def __init__(self, issue: Issue) -> None:
        self.issue = issue
        super().__init__(str(issue))


class Issues:
    """Issues of one recording, merged by kind, topic and robot.

    Iteration yields the first issue of each group, with the number of further ones in its text. Fatal issues have
    precedence over others in a group.
    """

    def __init__(self) -> None:
        self._first: dict[tuple[str, str, str], Issue] = {}
        self._count: dict[tuple[str, str, str], int] = {}

    def add(self, issue: Issue) -> None:
        """Add an issue."""
        key = (issue.kind, issue.topic, issue.robot)
        if issue.fatal and key in self._first and not self._first[key].fatal:
            del self._first[key]
        self._first.setdefault(key, issue)
        self._count[key] = self._count.get(key, 0) + 1

    def __iter__(self) -> Iterator[Issue]:
        for key, issue in self._first.items():
            more = self._count[key] - 1
            yield replace(issue, text=f"{issue.text} (and {more} more)") if more else issue

    @property
    def fatal(self) -> bool:
        """Whether an issue makes the episode unusable."""
        return any(issue.fatal for issue in self._first.values())


class IssueReporter:
    """Reports issues of one robot in one recording.

    Args:
        report: Called with every issue.
        file: The recording.
        robot: The robot.
        start: Start of the recording [s]; issues are timed from it.

    Attributes:
        failed: Whether a fatal issue was reported.
    """

    def __init__(self, report: Callable[[Issue], None], file: str | Path, robot: str, start: float) -> None:
        self._report, self._file, self._robot, self.start = report, file, robot, start
        self.failed = False
        #: Time of receipt of the newest message [s].
        self.received: float | None = None

    def report(self, kind: str, topic: str, time: float | None, text: str, fatal: bool = True) -> None:
        """Report an issue at a time [s]; None for the whole recording."""
        self.failed |= fatal
        if time is not None and self.received is not None and abs(time - self.received) > MAX_CLOCK_DIFFERENCE:
            time = self.received  # stamps of another clock, e.g. of a simulation: they do not count from the start
        at = None if time is None else time - self.start
        self._report(Issue(kind, text, self._file, topic, at, self._robot, fatal))
