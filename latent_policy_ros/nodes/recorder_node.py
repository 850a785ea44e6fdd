"""Node: records every episode of its robots as one MCAP bag."""

from __future__ import annotations

import contextlib
import sys
import time
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from typing import Any

from diagnostic_msgs.msg import DiagnosticArray
from std_srvs.srv import Trigger

from latent_policy_ros.common.errors import LatentPolicyError
from latent_policy_ros.data.bags.message_types import message_types
from latent_policy_ros.data.bags.metadata import Topic
from latent_policy_ros.data.recording.episode_recording import (
    FAILURE,
    SUCCESS,
    UNKNOWN,
    EpisodeRecording,
    describe,
    free_bytes,
    unfinished,
)
from latent_policy_ros.data.recording.jpeg import IMAGES, JPEG
from latent_policy_ros.msg import EpisodeEvent
from latent_policy_ros.nodes.base import qos
from latent_policy_ros.nodes.base.lifecycle_node import ERROR, OK, SLOW, WARN, ManagedNode
from latent_policy_ros.nodes.base.lifecycle_node import main as run
from latent_policy_ros.nodes.recorder.status import status_message
from latent_policy_ros.nodes.recorder.subscriptions import Source, TopicWatch
from latent_policy_ros.nodes.recorder.topics import COMMANDS, command_topics, is_encoded, is_motion, recorded_topic, sources

TAKE_RATE = 50.0  # Hz, with which messages are taken from the middleware
LOOK_PERIOD = 0.5  # s between looks at the graph
STATUS_PERIOD = 1.0  # s
GIGABYTE, MEBIBYTE = 1e9, 1 << 20


class RecordingRefused(LatentPolicyError):
    """A recording cannot begin: something that belongs in it is silent, or the disk is full."""


class Recorder(ManagedNode):
    """Records from ``~/start`` to ``~/stop``, or between the events begin and end of ``episode_event``; one bag for each.

    ``~/mark_success``, ``~/mark_failure`` and ``~/discard`` are for the bag that is being recorded, or after that for the last
    one, until the next begins. ``~/status`` tells every second what is recorded, at what rate, and what was dropped.

    Subscribes, for every robot, to its cameras, states, plans, commands and episode events, relative to the node's own
    namespace, and to the topics named in ``topics``; messages are written as they come, without being decoded, but raw images,
    which become JPEGs. The bag tells of itself: task, outcome, robots, hashes of embodiments, policy and latent space, and the
    fleet's YAML.
    """

    def __init__(self, **node_options: Any) -> None:
        super().__init__("recorder", rate=TAKE_RATE, hang_timeout=SLOW, **node_options)  # a bag is finished within a turn
        self.declare("robots", [""], "Namespaces of the robots.")
        self.declare("cameras", [""], "Cameras of each robot, separated by commas.")
        self.declare("embodiments", [""], "End-effector of each robot (a name, or a YAML file), whose hash goes into the bag.")
        self.declare("topics", [""], "Topics to record beside those of the robots, of any type.")
        self.declare("folder", "runs/bags", "Folder for the bags; each goes into a folder of its day.")
        self.declare("task", "", "The task in words; an episode's own begin event goes before.", read_only=False)
        self.declare("fleet", "", "The fleet's YAML, copied into the bag.")
        self.declare("policy", "", "Policy folder, whose hash goes into the bag.")
        self.declare("latent", "", "Latent space folder, whose hash goes into the bag.")
        self.declare("images", JPEG, "jpeg: raw images are compressed, and compressed topics preferred; raw: the other way round.")
        self.declare("jpeg_quality", 90, "Of images that are compressed here.", 1, 100)
        self.declare("refuse_silent", True, "Do not start while a camera, a state or a named topic is silent.", read_only=False)
        self.declare("silent_after", 1.0, "A topic without a message for so long is silent [s].", 0.1, 60.0)
        self.declare("start_wait", 5.0, "An episode's begin waits so long for silent topics [s].", 0.0, 600.0)
        self.declare("start_now", False, "Start as soon as all topics are heard; end the node if that fails.")
        self.declare("queue", 256, "What may wait for the disk, and as much for the JPEG encoder [MiB].", 1, 65536)
        self.declare("min_free", 2.0, "Recording ends when the disk has less than this [GB].", 0.0, 1e6)
        self.watch: TopicWatch | None = None
        self.episode: EpisodeRecording | None = None  # the newest, while it may be marked or discarded
        self.last: Path | None = None  # the last finished bag
        self.trouble = ""  # why nothing is recorded, if that is not as it was wanted

    @property
    def recording(self) -> EpisodeRecording | None:
        """The episode that is being recorded."""
        return self.episode if self.episode and self.episode.open else None

    # --- life cycle

    def configure(self) -> None:
        message_types()
        self.folder = Path(self.value("folder")).expanduser()
        if found := unfinished(self.folder):
            told = f"{len(found)} without an ending in {self.folder}, the first is {found[0]}: latent-policy dataset repair"
            self.get_logger().warning(f"bags {told} makes them whole")
        self._images = self.value("images")
        if self._images not in IMAGES:
            raise LatentPolicyError(f"parameter images: expected one of {', '.join(IMAGES)}; got {self._images!r}")
        robots, cameras = self._robots()
        extra = [name for name in self.value("topics") if name]
        if not robots and not extra:
            raise LatentPolicyError("parameters robots and topics: expected at least one of them, got none")
        embodiments = [name for name in self.value("embodiments") if name]
        self._about = describe(robots, cameras, embodiments, *(self.value(name) for name in ("policy", "latent", "fleet")))
        self._pending: tuple[dict[str, str], float] | None = None
        self._look_due = self._status_due = self._retry_due = 0.0
        self._topics: dict[Source, Topic] = {}
        self._commands, self._commanded = command_topics(self.resolve_topic_name, robots), False
        self.watch = TopicWatch(self, sources(self.resolve_topic_name, cameras, extra, self._images))
        self._status = self.publisher(DiagnosticArray, "~/status", qos.EVENTS)
        self.subscribe(EpisodeEvent, "episode_event", self._on_event, qos.EVENTS)
        for robot in robots:
            self.subscribe(EpisodeEvent, f"{robot}/episode_event", partial(self._on_robot_event, robot), qos.EVENTS)
        for name, act in (
            ("start", self._serve_start), ("stop", self._serve_stop), ("mark_success", partial(self.mark, SUCCESS)),
            ("mark_failure", partial(self.mark, FAILURE)), ("discard", self.discard),
        ):  # fmt: skip
            self.serve(Trigger, f"~/{name}", partial(self._answer, act))

    def activate(self) -> None:
        if self.value("start_now"):
            self._begin({"task": self.value("task")})

    def deactivate(self) -> None:
        self._pending = None
        self.stop("shut down")

    def cleanup(self) -> None:
        if self.watch is not None:
            self.watch.close()
            self.watch = None

    def tick(self, now: float) -> None:
        clock = time.monotonic()
        if clock >= self._look_due:
            self._look_due = clock + LOOK_PERIOD
            self.watch.look(recording=self.recording is not None)
        self.watch.take(self._on_message)
        if self._pending and clock >= self._retry_due:
            self._retry_due = clock + LOOK_PERIOD / 2
            self._begin(*self._pending)
        if clock >= self._status_due:
            self._status_due = clock + STATUS_PERIOD
            self._check_disk()
            self.watch.measure()
            self._publish_status()

    # --- what can be asked for

    def start(self, information: Mapping[str, str]) -> Path:
        """Begin a bag, and finish one that is open: what comes while the disk is busy with that belongs to the new one.

        Raises:
            RecordingRefused: An expected topic is silent, or the disk is full; says which and since when.
        """
        self.watch.look(recording=False)
        self.watch.take(self._on_message)
        before, lost = self.recording, self._lost()
        limit, quality = self.value("queue") * MEBIBYTE, self.value("jpeg_quality")
        try:
            self._check_startable()
            self.episode = EpisodeRecording(self.folder, {**self._about, **information}, limit, quality)
        except (RecordingRefused, OSError):
            self.stop("next start")
            raise
        self.trouble, self._pending, self._commanded = "", None, False
        self._topics.clear()
        self.watch.restart(self._on_message)
        self.get_logger().info(f"recording {self.episode.path}")
        if before is not None:
            self._finish(before, "next start", {}, lost)
        return self.episode.path

    def _check_startable(self) -> None:
        silent = self.watch.silent(self.value("silent_after")) if self.value("refuse_silent") else []
        if silent:
            raise RecordingRefused(f"silent: {'; '.join(silent)}")
        if self._disk_is_low():
            raise RecordingRefused(self._disk_text())

    def stop(self, reason: str, information: Mapping[str, str] | None = None) -> Path | None:
        """Finish the open bag, if there is one; returns its folder.

        Args:
            reason: Goes into the bag.
            information: More that the bag is to say of itself.
        """
        episode = self.recording
        if episode is None:
            return None
        self.watch.take(self._on_message)
        self._finish(episode, reason, information or {}, self._lost())
        return self.last

    def _lost(self) -> dict[str, int]:
        """Messages of each topic that did not arrive here."""
        return {source.topic: source.lost for source in self.watch.sources if source.lost}

    def _finish(self, episode: EpisodeRecording, reason: str, information: Mapping[str, str], lost: Mapping[str, int]) -> None:
        self.last = episode.path
        try:
            episode.stop(reason, information, lost)
        except OSError as error:
            self.trouble = f"{episode.path} could not be finished ({error}); latent-policy dataset repair makes it whole"
            self.get_logger().error(self.trouble)
        self.report()
        dropped = f", dropped {episode.queue.dropped.total()}" if episode.queue.dropped else ""
        self.get_logger().info(f"recorded {sum(episode.bag.counts().values())} messages in {self.last}{dropped} ({reason})")

    def mark(self, outcome: str) -> str:
        """Say how the open episode, or the last one, turned out; returns that and its folder.

        Raises:
            RecordingRefused: There is none; or it is to be a success, and no robot was commanded in it.
            ArtifactError: Its bag is gone.
        """
        if self.episode is None:
            raise RecordingRefused(f"no episode to be marked as {outcome}")
        if outcome == SUCCESS and self._commands and not self._commanded:
            robots = ", ".join(sorted({topic.rsplit("/", 1)[0] for topic in self._commands}))
            missing = f"no command of {robots} ({', '.join(COMMANDS)}) was recorded; does a policy or a person drive?"
            raise RecordingRefused(f"{self.episode.path} is no success: {missing}")
        self.episode.mark(outcome)
        return f"{outcome}: {self.episode.path}"

    def discard(self) -> str:
        """Delete the open bag, or the last one.

        Raises:
            RecordingRefused: There is none.
        """
        self._pending = None
        if self.episode is None:
            raise RecordingRefused("no episode to be discarded")
        episode, self.episode = self.episode, None
        episode.discard()
        if self.last == episode.path:
            self.last = None
        return f"deleted {episode.path}"

    def _begin(self, information: dict[str, str], deadline: float | None = None) -> None:
        """Start as soon as that is not refused any more, until ``deadline`` (monotonic clock [s])."""
        deadline = time.monotonic() + self.value("start_wait") if deadline is None else deadline
        try:
            self.start(information)
        except (RecordingRefused, OSError) as error:  # a folder that cannot be written will not be so in a moment either
            self.trouble, self._pending = f"waiting: {error}", (information, deadline)
            if isinstance(error, RecordingRefused) and time.monotonic() < deadline:
                return
            self.trouble, self._pending = f"refused to start: {error}", None
            self.count("refused to start", str(error))
            if self.value("start_now"):
                raise SystemExit(1) from error

    # --- what comes in

    def _on_message(self, source: Source, data: bytes, info: Mapping[str, int]) -> None:
        episode = self.recording
        if episode is None:
            return
        topic = self._topics.get(source)
        if topic is None or topic.name != source.topic:
            topic = self._topics[source] = recorded_topic(source)
        times = info.get("received_timestamp") or time.time_ns(), info.get("source_timestamp") or 0
        sequence = info.get("publication_sequence_number") or 0
        episode.put(topic, (*times, sequence), data, is_encoded(source, self._images))
        if not self._commanded and source.topic in self._commands:
            self._commanded = is_motion(source, data)

    def _on_event(self, message: EpisodeEvent) -> None:
        if not self.active:
            return
        if message.event == EpisodeEvent.BEGIN:
            self._begin({"task": message.task or self.value("task"), "seed": str(message.seed), "episode": str(message.episode)})
        elif message.event == EpisodeEvent.END:
            self._pending = None
            if self.recording and self.recording.outcome == UNKNOWN:
                try:
                    self.mark(SUCCESS if message.success else FAILURE)
                except RecordingRefused as error:  # the bag says: unknown
                    self.count("no success", str(error))
            self.stop("end of the episode", {"detail": message.detail})
        elif message.event == EpisodeEvent.DISCARD:
            with contextlib.suppress(RecordingRefused):
                self.discard()

    def _on_robot_event(self, robot: str, message: EpisodeEvent) -> None:
        if self.recording and message.event in (EpisodeEvent.SUCCESS, EpisodeEvent.FAILURE):
            self.recording.outcomes[robot] = message.event

    def _answer(self, act: Callable[[], object], _: Trigger.Request, response: Trigger.Response) -> Trigger.Response:
        try:
            if not self.active:
                raise RecordingRefused("the recorder is not active")
            response.success, response.message = True, str(act())
        except (LatentPolicyError, OSError) as error:
            response.success, response.message = False, str(error)
        return response

    def _serve_start(self) -> Path:
        return self.start({"task": self.value("task")})

    def _serve_stop(self) -> Path:
        self._pending = None
        path = self.stop("asked")
        if path is None:
            raise RecordingRefused("nothing was being recorded")
        return path

    # --- what is known

    def _robots(self) -> tuple[list[str], dict[str, list[str]]]:
        """Namespaces, and the cameras of each."""
        robots, cameras = [name for name in self.value("robots") if name], list(self.value("cameras"))
        if robots and len(cameras) != len(robots):
            raise LatentPolicyError(f"parameters robots and cameras must have one entry for each robot; got {robots}, {cameras}")
        return robots, {
            robot: [name.strip() for name in listed.split(",") if name.strip()] for robot, listed in zip(robots, cameras)
        }

    def _check_disk(self) -> None:
        """End the recording before the disk is full, or when it failed."""
        if self.recording is None:
            return
        reason = f"disk: {self.recording.queue.error}" if self.recording.queue.error else ""
        if self._disk_is_low():
            reason = self._disk_text()
        if reason:
            self.trouble = f"recording ended: {reason}"
            self.get_logger().error(self.trouble)
            self.stop(reason)

    def _disk_is_low(self) -> bool:
        return free_bytes(self.folder) < self.value("min_free") * GIGABYTE

    def _disk_text(self) -> str:
        left, least = free_bytes(self.folder) / GIGABYTE, self.value("min_free")
        return f"disk: {left:.2f} GB left in {self.folder}, at least {least:g} wanted (parameter min_free)"

    def _publish_status(self) -> None:
        queue = self.recording.queue if self.recording else None
        self._status.publish(status_message(self, *self.status(), self.watch.sources, queue, self.value("silent_after")))

    def status(self) -> tuple[bytes, str, dict[str, str]]:
        values = {"last_bag": str(self.last or "-"), "disk_left_gb": f"{free_bytes(self.folder) / GIGABYTE:.1f}"}
        episode = self.recording
        if episode is None:
            return (ERROR, self.trouble, values) if self.trouble else (OK, "not recording", values)
        queue, dropped = episode.queue, episode.queue.dropped.total()
        values |= {"bag": str(episode.path), "messages": str(queue.accepted.total()), "megabytes": f"{episode.bag.bytes / 1e6:.1f}",
                   "dropped": str(dropped), "lost": str(sum(source.lost for source in self.watch.sources)),
                   "waiting_mb": f"{queue.waiting / 1e6:.1f}", **queue.undefined}  # fmt: skip
        return (WARN, f"recording, {dropped} messages dropped", values) if dropped else (OK, "recording", values)


def main() -> int:
    """Entry point of ``ros2 run latent_policy_ros recorder_node``."""
    return run(Recorder, images=True)


if __name__ == "__main__":
    sys.exit(main())
