"""Recorder node: records each episode of its robots as one MCAP bag."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from typing import Any

from diagnostic_msgs.msg import DiagnosticArray
from std_srvs.srv import Trigger

from latent_policy_ros.common.errors import LatentPolicyError, describe_error
from latent_policy_ros.data.bags.message_types import message_types
from latent_policy_ros.data.recording.episode_recording import (
    EPISODE,
    FAILURE,
    RUN,
    SUCCESS,
    UNKNOWN,
    EpisodeRecorder,
    EpisodeRecording,
    RecordingRefused,
    find_unfinished_bags,
    free_gigabytes,
    recording_metadata,
)
from latent_policy_ros.data.recording.jpeg import IMAGE_FORMATS, IMAGE_TYPE, JPEG
from latent_policy_ros.msg import EpisodeEvent
from latent_policy_ros.nodes.base.lifecycle_node import ERROR, OK, WARN, ManagedNode
from latent_policy_ros.nodes.base.main_loop import TRANSITION_TIMEOUT, run_node
from latent_policy_ros.nodes.recorder.requesters import clients_of, publishers_of, shortened
from latent_policy_ros.nodes.recorder.subscriptions import TopicSubscription, TopicSubscriptions
from latent_policy_ros.nodes.recorder.topics import (
    all_topics,
    cameras_by_robot,
    command_topics,
    is_motion_command,
    renamed_topics,
    status_message,
)
from latent_policy_ros.nodes.topics import qos
from latent_policy_ros.nodes.topics.robot_topics import ROBOT_NAMESPACES, ROBOT_NAMESPACES_HELP, robot_prefix
from latent_policy_ros.observations.messages import to_seconds

POLL_RATE = 10.0  # Hz
GRAPH_PERIOD = 0.5  # s between checks of the graph
STATUS_PERIOD = 1.0  # s
MEBIBYTE = 1 << 20
BUSY_MARGIN = 0.2  # s: services that are handled so soon after a slow operation were called during it
CLOCK_JUMP = 0.1  # s: larger changes of the system clock are reported


class Recorder(ManagedNode):
    """Records one bag from ``~/start`` to ``~/stop``, or from the event ``begin`` to the event ``end`` of ``episode_event``.

    ``~/mark_success`` and ``~/mark_failure`` act on the open bag, or else on the last one. ``~/discard`` moves the open bag to
    the folder ``trash``, from which it is deleted after ``trash_days``. Every request is logged with the nodes that may have
    sent it. ``~/status`` reports the open bag, and the rate and losses of each topic, once per second.

    Events count only if their stamp is at most ``max_event_age`` from their receipt. The events ``end`` and ``discard`` act
    only on a recording that ``begin`` of the same run (``header.frame_id``) and episode number began.

    The node ``<name>_topics`` in the same process holds the subscriptions, which are read directly instead of by an executor.

    For each robot the node subscribes to cameras, states, latent actions, commands and episode events, with names relative to
    its own namespace, and to the topics of the parameter ``topics``. Messages are written as they were received, except raw
    images, which are compressed to JPEG. The metadata of a bag contains task, outcome, robots, content hashes of embodiments,
    ids of policy and latent space, and the fleet's YAML.
    """

    poll_period = 1.0 / POLL_RATE

    def __init__(self, **node_options: Any) -> None:
        # finishing a bag takes one cycle
        super().__init__("recorder", rate=POLL_RATE, hang_timeout=TRANSITION_TIMEOUT, **node_options)
        self.declare("robots", [""], "Names of the robots.")
        self.declare(ROBOT_NAMESPACES, True, ROBOT_NAMESPACES_HELP)
        self.declare("cameras", [""], "Cameras of each robot, separated by commas.")
        self.declare("embodiments", [""], "Embodiment of each robot, as a name or YAML file; its content hash is recorded.")
        self.declare("topics", [""], "Additional topics to record, of any message type.")
        self.declare("folder", "runs/bags", "Folder of the bags. Each bag is placed in a subfolder named by its date.")
        self.declare("task", "", "Description of the task, unless the event begin contains one.", read_only=False)
        self.declare("fleet", "", "Content of the fleet's YAML file, copied into each bag.")
        self.declare("policy", "", "Folder of the policy; its id is recorded.")
        self.declare("latent", "", "Folder of the latent space; its id is recorded.")
        self.declare("images", JPEG, "jpeg: prefer compressed topics, and compress raw images. raw: prefer raw topics, unchanged.")
        self.declare("jpeg_quality", 90, "JPEG quality of images compressed by the recorder.", 1, 100)
        self.declare("refuse_silent", True, "Refuse to start while a required topic is silent.", read_only=False)
        self.declare("silent_after", 1.0, "Time without a message after which a topic is silent [s].", 0.1, 60.0)
        self.declare("start_wait", 5.0, "Time that an event begin waits for silent topics before it is refused [s].", 0.0, 600.0)
        self.declare("start_now", False, "Start recording on activation; exit with status 1 if that is refused.")
        self.declare("queue", 256, "Largest size of the queue to the disk, and of the queue to the JPEG encoder [MiB].", 1, 65536)
        self.declare("min_free", 2.0, "Recording stops when less than this is free on the disk [GB].", 0.0, 1e6)
        self.declare("max_event_age", 1.0, "Events with a stamp further from their receipt are refused [s].", 0.05, 60.0)
        self.declare("trash_days", 7.0, "Time after which discarded bags are deleted [days].", 0.0, 3650.0)
        self.topics: TopicSubscriptions | None = None
        self.episodes: EpisodeRecorder | None = None
        self.trouble = ""  # why nothing is recorded although it was requested

    @property
    def recording(self) -> EpisodeRecording | None:
        """The open episode; None while nothing is recorded."""
        return self.episodes.recording if self.episodes else None

    # --- life cycle

    def configure(self) -> None:
        message_types()
        folder = Path(self.value("folder")).expanduser()
        if found := find_unfinished_bags(folder):
            self.get_logger().warning(
                f"{len(found)} unfinished bags in {folder}, the first is {found[0]}; finish them with: latent-policy dataset repair"
            )
        self._images = self.value("images")
        if self._images not in IMAGE_FORMATS:
            raise LatentPolicyError(f"parameter images: expected one of {', '.join(IMAGE_FORMATS)}; got {self._images!r}")
        robots, extra, embodiments = ([name for name in self.value(key) if name] for key in ("robots", "topics", "embodiments"))
        cameras = cameras_by_robot(robots, self.value("cameras"))
        prefixes = {robot: robot_prefix(robot, self.value(ROBOT_NAMESPACES)) for robot in robots}
        renamed = renamed_topics(self.resolve_topic_name, cameras, prefixes)
        if not robots and not extra:
            raise LatentPolicyError("parameters robots and topics: expected at least one of them, got none")
        artifacts = (self.value(name) for name in ("policy", "latent", "fleet"))
        previous, self.episodes = self.episodes, EpisodeRecorder(
            folder, recording_metadata(robots, cameras, embodiments, *artifacts, renamed),
            command_topics(self.resolve_topic_name, prefixes.values()),
            self.value("queue") * MEBIBYTE, self.value("jpeg_quality"), self.value("min_free"), self.value("trash_days"),
        )  # fmt: skip
        self._empty_trash()
        if previous is not None:  # the last episode can be marked after the node was configured again
            self.episodes.episode, self.episodes.last_bag = previous.episode, previous.last_bag
        self._pending: tuple[dict[str, str], float] | None = None  # custom data and deadline of a start that waits for topics
        self._busy, self._busy_until = 0.0, 0.0  # duration of the newest slow operation [s], and until when its requests come
        self._clock_offset, self._time_offset = time.time() - time.monotonic(), 0
        self._graph_due = self._status_due = self._retry_due = 0.0
        resolve = self.resolve_topic_name
        self.topics = TopicSubscriptions(self, all_topics(resolve, cameras, prefixes, extra, self._images, self.simulated_time))
        self._status = self.publisher(DiagnosticArray, "~/status", qos.EVENTS)
        self.subscribe(EpisodeEvent, "episode_event", self._on_event, qos.EVENTS)
        for robot, prefix in prefixes.items():
            on_event = partial(self._on_robot_event, robot)
            self.subscribe(EpisodeEvent, f"{prefix}robot_event", on_event, qos.EVENTS)
        services = {
            "start": lambda who: self.start({"task": self.value("task"), "started_by": who}), "stop": self._stop_on_request,
            "discard": self.discard, "mark_success": partial(self._mark, SUCCESS), "mark_failure": partial(self._mark, FAILURE),
        }  # fmt: skip
        for name, action in services.items():
            self.serve(Trigger, f"~/{name}", partial(self._respond, name, action))

    def activate(self) -> None:
        if self.value("start_now"):
            self._try_start({"task": self.value("task"), "started_by": "parameter start_now"})
        else:
            self.get_logger().info(
                f"waiting for an episode, to be recorded in {self.episodes.folder}: begin one with the service "
                f"{self.resolve_service_name('~/start')} (latent-policy episode start), or with an event begin on "
                f"{self.resolve_topic_name('episode_event')}"
            )

    def deactivate(self) -> None:
        self._pending = None
        self.stop("shut down")

    def cleanup(self) -> None:
        if self.topics is not None:
            self.topics.close()
            self.topics = None

    def tick(self, now: float) -> None:
        clock = time.monotonic()
        if self.simulated_time:  # messages are timed by the system clock when they are received
            self._time_offset = self.get_clock().now().nanoseconds - time.time_ns()
        if clock >= self._graph_due:
            self._graph_due = clock + GRAPH_PERIOD
            self.topics.follow_graph(self._on_message, recording=self.recording is not None)
        else:
            self.topics.poll(self._on_message)
        self._watch_clock()
        if self.recording and self.recording.writer.error:
            self._check_disk()
        if self._pending and clock >= self._retry_due:
            self._retry_due = clock + GRAPH_PERIOD / 2
            self._try_start(*self._pending)
        if clock >= self._status_due:
            self._status_due = clock + STATUS_PERIOD
            self._check_disk()
            self.topics.update_rates()
            writer = self.recording.writer if self.recording else None
            self._status.publish(status_message(self, *self.status(), self.topics.topics, writer, self.value("silent_after")))

    # --- requests

    def start(self, custom_data: Mapping[str, str]) -> Path:
        """Open a bag, then finish the previous one if it is open; returns the new bag's folder.

        The new bag is opened first, so that messages received while the previous one is finished are recorded.

        Raises:
            RecordingRefused: A required topic is silent, or the disk is full.
            OSError: The bag cannot be written.
        """
        self.topics.follow_graph(self._on_message, recording=False)
        previous, lost = self.recording, self.topics.lost
        try:
            silent = self.topics.silent(self.value("silent_after")) if self.value("refuse_silent") else []
            if silent:
                raise RecordingRefused(f"silent: {'; '.join(silent)}")
            episode = self.episodes.open(custom_data)
        except (RecordingRefused, OSError):
            self.stop("next start")
            raise
        self.trouble, self._pending = "", None
        self.topics.replay_latched(self._on_message)
        self.get_logger().info(f"recording {episode.path}")
        if previous is not None:
            self._finish(previous, "next start", {}, lost)
        return episode.path

    def stop(self, reason: str, custom_data: Mapping[str, str] | None = None) -> Path | None:
        """Finish the open bag; returns its folder, or None if nothing was recorded.

        Args:
            reason: Recorded in the bag as ``stopped``.
            custom_data: Additional metadata of the bag.
        """
        episode = self.recording
        if episode is None:
            return None
        self.topics.poll(self._on_message)
        self._finish(episode, reason, custom_data or {}, self.topics.lost)
        return episode.path

    def discard(self, requested_by: str) -> str:
        """Move the open bag to the trash: see ``EpisodeRecorder.discard``."""
        self._pending = None
        self.topics.poll(self._on_message)  # the trash keeps what arrived until now
        text = self.episodes.discard(requested_by)
        self.report_soon()
        return text

    def _try_start(self, custom_data: dict[str, str], deadline: float | None = None) -> None:
        """Start, and retry a refused start until ``deadline`` (monotonic clock [s]; default: after ``start_wait``)."""
        deadline = time.monotonic() + self.value("start_wait") if deadline is None else deadline
        try:
            self.start(custom_data)
        except (RecordingRefused, OSError) as error:
            self.trouble, self._pending = f"waiting: {error}", (custom_data, deadline)
            if isinstance(error, RecordingRefused) and time.monotonic() < deadline:  # an OSError does not go away by waiting
                return
            self.trouble, self._pending = f"refused to start: {error}", None
            self.count("refused to start", str(error))
            if self.value("start_now"):
                raise SystemExit(1) from error

    def _finish(self, episode: EpisodeRecording, reason: str, custom_data: Mapping[str, str], lost: Mapping[str, int]) -> None:
        began = time.monotonic()
        try:
            self.episodes.finish(episode, reason, custom_data, lost)
        except OSError as error:
            self.trouble = f"{episode.path} could not be finished: {error}; finish it with: latent-policy dataset repair"
            self.get_logger().error(self.trouble)
        if (seconds := time.monotonic() - began) > self.value("max_event_age"):
            self._busy, self._busy_until = seconds, time.monotonic() + BUSY_MARGIN
            self.count("slow disk", f"finishing {episode.path} took {seconds:.1f} s")
        self._empty_trash()
        self.report_soon()
        dropped = f", dropped {episode.writer.dropped.total()}" if episode.writer.dropped else ""
        self.get_logger().info(f"recorded {sum(episode.bag.counts().values())} messages in {episode.path}{dropped} ({reason})")

    def _stop_on_request(self, requested_by: str) -> Path:
        self._pending = None
        path = self.stop("asked", {"stopped_by": requested_by})
        if path is None:
            raise RecordingRefused("nothing is being recorded")
        return path

    def _mark(self, outcome: str, _: str) -> str:
        return self.episodes.mark(outcome)

    def _empty_trash(self) -> None:
        for bag in self.episodes.empty_trash():
            self.get_logger().info(f"deleted {bag}, discarded more than {self.value('trash_days'):g} days ago")

    def _respond(
        self, name: str, action: Callable[[str], object], _: Trigger.Request, response: Trigger.Response
    ) -> Trigger.Response:
        who = f"service {name} by {clients_of(self, self.resolve_service_name(f'~/{name}'))}"
        try:
            if not self.active:
                raise RecordingRefused("the recorder is not active")
            if time.monotonic() < self._busy_until:
                raise RecordingRefused("the recorder was busy with the disk when it was called; call again")
            response.success, response.message = True, str(action(who))
        except (LatentPolicyError, OSError) as error:
            response.success, response.message = False, str(error)
        self.get_logger().info(f"{who}: {'done' if response.success else 'refused'}: {response.message}")
        return response

    # --- messages

    def _on_message(self, subscription: TopicSubscription, data: bytes, info: Mapping[str, int]) -> None:
        episode = self.recording
        if episode is None:
            return
        received = info.get("received_timestamp") or time.time_ns()
        times = max(0, received + self._time_offset), info.get("source_timestamp") or 0
        sequence = info.get("publication_sequence_number") or 0
        encode = self._images == JPEG and subscription.msg_type == IMAGE_TYPE
        episode.writer.write(subscription.bag_topic, (*times, sequence), data, encode)
        if not episode.commanded and subscription.topic in self.episodes.commands:
            try:
                episode.commanded = is_motion_command(subscription, data)
            except Exception as error:  # a damaged message is recorded like any other
                self.count(f"{subscription.topic}: damaged message", describe_error(error))

    def _on_event(self, message: EpisodeEvent) -> None:
        if not self.active:
            return
        self._check_fresh(message)
        run, who = shortened(message.header.frame_id), publishers_of(self, "episode_event")
        requested_by = f"event {shortened(message.event)} of run {run!r}, episode {message.episode}, by {who}"
        custom = {RUN: run, EPISODE: str(message.episode)}
        if message.event == EpisodeEvent.BEGIN:
            task = shortened(message.task or self.value("task"))
            self._try_start({"task": task, "seed": str(message.seed), **custom, "started_by": requested_by})
        elif message.event in (EpisodeEvent.END, EpisodeEvent.DISCARD):
            if self._pending and custom.items() <= self._pending[0].items():
                self._pending = None
                if self.recording is None:
                    return
            self.episodes.check_address(run, message.episode)
            self.get_logger().info(requested_by)
            if message.event == EpisodeEvent.END:
                self._end(message, requested_by)
            else:
                self.get_logger().info(self.discard(requested_by))

    def _end(self, message: EpisodeEvent, requested_by: str) -> None:
        if self.recording.outcome == UNKNOWN:
            try:
                self.episodes.mark(SUCCESS if message.success else FAILURE)
            except RecordingRefused as error:  # the outcome stays unknown
                self.count("no success", str(error))
        self.stop("end of the episode", {"detail": shortened(message.detail), "stopped_by": requested_by})

    def _on_robot_event(self, robot: str, message: EpisodeEvent) -> None:
        if self.recording and message.event in (EpisodeEvent.SUCCESS, EpisodeEvent.FAILURE):
            if self._check_fresh(message) > time.monotonic() - self.recording.began:
                raise RecordingRefused(f"{message.event} happened before {self.recording.path} was begun")
            self.recording.robot_outcomes[robot] = message.event

    def _check_fresh(self, message: EpisodeEvent) -> float:
        """Check the stamp of an event; returns the time since it [s].

        Raises:
            RecordingRefused: It is further than ``max_event_age`` from now. Events may have waited for a slow operation.
        """
        since, most = self.now() - to_seconds(message.header.stamp), self.value("max_event_age")
        waited = self._busy if time.monotonic() < self._busy_until else 0.0
        if not -most <= since <= most + waited:
            what = f"event {shortened(message.event)} by {publishers_of(self, 'episode_event')}"
            raise RecordingRefused(f"{what}: stamped {since:.3f} s before its receipt, expected at most {most:g} s")
        return since

    # --- status

    def _watch_clock(self) -> None:
        """Count jumps of the system clock, by which messages are timed, and note them in the bag."""
        if self.simulated_time:
            return
        offset = time.time() - time.monotonic()
        jump, self._clock_offset = offset - self._clock_offset, offset
        if abs(jump) > CLOCK_JUMP:
            self.count("clock jump", f"{jump:+.3f} s")
            if self.recording:
                self.recording.note_clock_jump(jump)

    def _check_disk(self) -> None:
        """Stop recording when writing failed, or before the disk is full."""
        if reason := self.episodes.failure():
            self.trouble = f"recording ended: {reason}"
            self.get_logger().error(self.trouble)
            self.stop(reason)

    def status(self) -> tuple[bytes, str, dict[str, str]]:
        if self.episodes is None:
            return super().status()
        values = {"last_bag": str(self.episodes.last_bag or "-"), "disk_left_gb": f"{free_gigabytes(self.episodes.folder):.1f}"}
        episode = self.recording
        if episode is None:
            return (ERROR, self.trouble, values) if self.trouble else (OK, "not recording: waiting for an episode", values)
        values |= {**episode.status(), "lost": str(sum(self.topics.lost.values()))}
        dropped = episode.writer.dropped.total()
        return (WARN, f"recording, {dropped} messages dropped", values) if dropped else (OK, "recording", values)


def main() -> int:
    """Entry point of ``ros2 run latent_policy_ros recorder_node``."""
    return run_node(Recorder, images=True)


if __name__ == "__main__":
    sys.exit(main())
