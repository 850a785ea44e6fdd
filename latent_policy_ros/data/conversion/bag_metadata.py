"""Metadata of a bag: what contradicts the mapping or the installed embodiment, the outcome, and marked episodes."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from latent_policy_ros.common.bounded_reader import parse_json
from latent_policy_ros.common.errors import ArtifactError, available
from latent_policy_ros.data.bags.reader import Bag
from latent_policy_ros.data.conversion.mapping import EpisodeMarks, RobotTopics, mark_text
from latent_policy_ros.data.issues import Issue

WORDS = {"success": True, "true": True, "failure": False, "false": False}  # outcomes in the metadata
TEXT = "std_msgs/msg/String"
#: Types of topics in which marks are looked for.
MARK_TYPES = (TEXT, *(f"std_msgs/msg/{name}" for name in ("Bool", "Int8", "UInt8", "Int16", "UInt16", "Int32", "UInt32", "Int64")))
MAX_MARKS = 1000  # messages of a topic of marks
BEGINS, ENDS = {"start", "begin", "started", "record"}, {"stop", "end", "stopped", "finish", "done", "save"}
ON, OFF = {"true", "1"}, {"false", "0"}

Report = Callable[[Issue], None]


@dataclass(frozen=True)
class Window:
    """Part of a recording that is one episode: times of receipt [s], and its task (empty: that of the bag)."""

    begin: float = float("-inf")
    end: float = float("inf")
    task: str = ""


def check_metadata(bag: Bag, robot: RobotTopics, report: Report) -> None:
    """Report metadata of a bag that contradicts the mapping or the installed embodiment, and messages the recorder lost."""
    recorded = json_object(bag, "embodiments").get(robot.robot, {})
    e = robot.embodiment
    if recorded and recorded.get("name", e.name) != e.name:
        text = f"recorded with {recorded['name']}, the mapping says {e.name}"
        report(Issue("another robot", text, bag.path, robot=robot.robot))
    elif recorded.get("content_hash", e.content_hash) != e.content_hash:
        text = f"recorded with {e.name} {recorded['content_hash'][:12]}, the installed one is {e.content_hash[:12]}"
        report(Issue("another robot", text, bag.path, robot=robot.robot))
    if bag.unlisted:
        text = f"{', '.join(bag.unlisted)}: not listed in metadata.yaml and not read (`dataset repair` adds files of the bag)"
        report(Issue("files passed over", text, bag.path, fatal=False))
    for at, by in _clock_jumps(bag):
        text = f"the recorder's clock jumped by {by:+.2f} s"
        report(Issue("clock jump", text, bag.path, time=at, robot=robot.robot, fatal=False))
    for key in ("dropped", "lost"):
        for topic, count in json_object(bag, key).items():
            report(Issue(f"messages {key}", f"{count} according to the recorder", bag.path, topic, fatal=False))


def outcome(bag: Bag, robot: RobotTopics, default: str = "") -> bool | None:
    """Whether the episode is marked as a success, else ``default``; None if neither says it."""
    marks = json_object(bag, "outcomes").get(robot.robot), bag.custom.get("outcome"), bag.custom.get("success"), default
    return next((WORDS[word] for word in marks if word in WORDS), None)


def task_of(bag: Bag, robot: RobotTopics, default: str) -> str:
    """The task of a robot in a bag, else ``default``."""
    return json_object(bag, "tasks").get(robot.robot) or bag.custom.get("task") or default


def marked_episodes(bag: Bag, marks: EpisodeMarks | None, report: Report) -> list[Window]:
    """The marked episodes of a bag; one window over everything without marks in the mapping.

    The task of an episode is the newest one that was sent after the end of the last episode, or else during it. A second task
    during an episode is that of the next one.

    Raises:
        ArtifactError: The topic of the marks has no messages, or no episode is marked.
    """
    if marks is None:
        _look_for_marks(bag, report)
        return [Window()]
    if marks.marker not in bag.topics:
        raise ArtifactError(f"episodes.marker: no topic {marks.marker}; {available(bag.topics)}")

    def note(kind: str, text: str, received: float, topic: str = marks.marker) -> None:
        report(Issue(kind, text, bag.path, topic, received - bag.start, fatal=False))

    if marks.task and marks.task not in bag.topics:
        note("missing topic", f"episodes.task: no such topic; {available(bag.topics)}", bag.start, marks.task)
    begins, ends = marks.begin.casefold(), marks.end.casefold()
    windows: list[Window] = []
    begin: float | None = None
    task, next_task, has_task = "", "", False
    is_flag, before, seen = bag.topics[marks.marker].msg_type != TEXT, "", dict[str, float]()
    for topic, received, message in bag.messages({marks.marker, marks.task} - {""}):
        text = mark_text(getattr(message, "data", "")).strip()
        if topic == marks.task:
            if begin is None or not has_task:
                task, has_task = text, True
            elif text != task:
                note("second task", f"{text!r} in an episode that has {task!r}; taken for the next one", received, topic)
                next_task = text
            continue
        repeated, before = is_flag and text == before, text  # a flag may be sent all the time
        if repeated:
            continue
        seen.setdefault(text, received)
        word = text.casefold()
        if word == begins:
            if begin is not None:
                note("marks", "begins before the last episode ended; that one is left out", received)
            begin = received
        elif word == ends and begin is not None:
            windows.append(Window(begin, received, task))
            begin, has_task = None, bool(next_task)
            task, next_task = next_task or task, ""
        elif word == ends and not is_flag:
            note("end without begin", f"{text!r} is ignored", received)
    if begin is not None:
        note("marks", "the last episode has no end; it ends with the bag", begin)
        windows.append(Window(begin, float("inf"), task))
    for text in seen:
        if text.casefold() not in (begins, ends):
            note("unknown mark", f"{text!r}; {marks.begin!r} begins an episode, {marks.end!r} ends it", seen[text])
    for topic in (marks.marker, marks.task):
        if skipped := bag.skipped.get(topic):
            note("skipped messages", f"{skipped.count} cannot be read; the first: {skipped.error}", skipped.time, topic)
    if not windows:
        raise ArtifactError(f"{marks.marker}: no episode begins with {marks.begin!r}; got {', '.join(sorted(seen)) or 'no marks'}")
    return windows


def _look_for_marks(bag: Bag, report: Report) -> None:
    """Report topics that seem to mark several episodes."""
    topics = [name for name, topic in bag.topics.items() if topic.msg_type in MARK_TYPES and 2 < topic.count <= MAX_MARKS]
    begins: dict[str, int] = dict.fromkeys(topics, 0)
    ends: dict[str, int] = dict.fromkeys(topics, 0)
    for topic, _, message in bag.messages(topics) if topics else ():
        word = mark_text(message.data).lower().partition(" ")[0]
        is_flag = bag.topics[topic].msg_type != TEXT and any(part in topic for part in ("episode", "record"))
        begins[topic] += word in BEGINS or (is_flag and word in ON)
        ends[topic] += word in ENDS or (is_flag and word in OFF)
    for topic in topics:
        if begins[topic] > 1 and ends[topic]:
            text = (
                f"seems to mark {begins[topic]} episodes, which become one; name it in the mapping: `episodes: {{marker: {topic}}}`"
            )
            report(Issue("several episodes", text, bag.path, topic, fatal=False))


def _clock_jumps(bag: Bag) -> list[tuple[float, float]]:
    """Jumps of the recorder's clock in the metadata of a bag: time since its start, size [s]; empty if missing or invalid."""
    try:
        return [(float(at), float(by)) for at, by in parse_json(bag.custom.get("clock_jumps", "[]"))]
    except (TypeError, ValueError):
        return []


def json_object(bag: Bag, key: str) -> dict[str, Any]:
    """A JSON object in the metadata of a bag; empty if it is missing or invalid."""
    try:
        value = parse_json(bag.custom.get(key, "{}"))
    except ValueError:
        return {}
    return value if isinstance(value, dict) else {}
