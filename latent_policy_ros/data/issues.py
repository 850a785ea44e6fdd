"""What is wrong with a recording: named, with file, topic and time, so that somebody can go and look."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from latent_policy_ros.common.errors import LatentPolicyError


@dataclass(frozen=True)
class Issue:
    """One thing that is wrong.

    Attributes:
        kind: In two or three words, e.g. ``hole`` or ``missing topic``.
        text: What was found, and what was expected.
        file: The bag or data set.
        topic: The topic or feature; empty where it concerns the whole file.
        time: Seconds since the beginning of the recording; None where it concerns all of it.
        robot: Namespace of the robot that it concerns; empty for all.
        fatal: Whether the episode is of no use. Otherwise it is told, and nothing is lost.
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
        return f"{self.file}: {self.topic + ': ' if self.topic else ''}{self.kind}{at}: {self.text}"

    def plain(self) -> dict[str, Any]:
        """As JSON may hold it."""
        return {**asdict(self), "file": str(self.file), "time": None if self.time is None else round(self.time, 3)}


class BagUnreadable(LatentPolicyError):
    """A bag cannot be read, or not to its end; ``fault`` says which, and until when."""

    def __init__(self, fault: Issue) -> None:
        self.fault = fault
        super().__init__(str(fault))


class Issues:
    """Collects faults; one of a kind for each topic and robot, with the number of times."""

    def __init__(self) -> None:
        self._first: dict[tuple[str, str, str], Issue] = {}
        self._count: dict[tuple[str, str, str], int] = {}

    def add(self, fault: Issue) -> None:
        key = (fault.kind, fault.topic, fault.robot)
        if fault.fatal and key in self._first and not self._first[key].fatal:
            del self._first[key]
        self._first.setdefault(key, fault)
        self._count[key] = self._count.get(key, 0) + 1

    def __iter__(self) -> Iterator[Issue]:
        for key, fault in self._first.items():
            more = self._count[key] - 1
            text = f"{fault.text} (and {more} more)" if more else fault.text
            yield Issue(fault.kind, text, fault.file, fault.topic, fault.time, fault.robot, fault.fatal)

    @property
    def fatal(self) -> bool:
        """Whether there is one that makes the episode useless."""
        return any(fault.fatal for fault in self._first.values())


class IssueReporter:
    """Where the faults of one robot in one recording are handed in.

    Args:
        report: Told of each.
        file: The recording.
        robot: The robot.
        start: Beginning of the recording [s], from which faults are timed.
    """

    def __init__(self, report: Callable[[Issue], None], file: str | Path, robot: str, start: float) -> None:
        self._report, self._file, self._robot, self.start = report, file, robot, start
        self.broken = False

    def report(self, kind: str, topic: str, time: float | None, text: str, fatal: bool = True) -> None:
        """Report a fault at a time [s]; None: of the whole recording."""
        self.broken |= fatal
        at = None if time is None else time - self.start
        self._report(Issue(kind, text, self._file, topic, at, self._robot, fatal))
