"""Recording of episodes: bags with outcome and metadata, one episode at a time, and checks of the disk."""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import time
from collections.abc import Collection, Mapping
from datetime import datetime
from pathlib import Path

from latent_policy_ros.common.errors import LatentPolicyError
from latent_policy_ros.common.paths import artifact
from latent_policy_ros.data.bags import metadata
from latent_policy_ros.data.recording.bag_writer import BagWriter
from latent_policy_ros.data.recording.episode_bag import EpisodeBag, bag_folder
from latent_policy_ros.embodiments import load_embodiment

UNKNOWN, SUCCESS, FAILURE = "unknown", "success", "failure"
EPISODE, RUN = "episode", "run"  # metadata of a bag that an event began: number of the episode, and run of the publisher
DAY = 86400.0  # s
GIGABYTE = 1e9


class RecordingRefused(LatentPolicyError):
    """A request to a recorder cannot be fulfilled; the message says why."""


def recording_metadata(
    robots: list[str], cameras: Mapping[str, list[str]], embodiments: list[str], policy: str, latent: str, fleet: str,
    renamed: Mapping[str, Mapping[str, str]] | None = None,
) -> dict[str, str]:  # fmt: skip
    """Metadata that all bags of a recorder have in common.

    Args:
        robots: Names.
        cameras: {robot: names of its cameras}.
        embodiments: Embodiment of each robot, as a name or YAML file; may be empty.
        policy, latent: Folder or name of the policy and of the latent space; may be empty.
        fleet: Content of the fleet's YAML file; may be empty.
        renamed: {robot: {name: topic}} of the topics that are not named ``/<robot>/<name>``.

    Raises:
        LatentPolicyError: The number of embodiments differs from the number of robots, or an embodiment cannot be loaded.
    """
    found = {"robots": ",".join(robots), "cameras": json.dumps(dict(cameras))} if robots else {}
    if embodiments:
        if len(embodiments) != len(robots):
            raise LatentPolicyError(f"embodiments: expected one for each of {', '.join(robots)}; got {', '.join(embodiments)}")
        loaded = {robot: load_embodiment(name) for robot, name in zip(robots, embodiments)}
        described = {robot: {"name": e.name, "content_hash": e.content_hash} for robot, e in loaded.items()}
        for robot, e in loaded.items():
            if e.reference != e.name:  # a file outside the package
                described[robot]["reference"] = e.reference
        found["embodiments"] = json.dumps(described)
    for key, kind, folder in (("policy", "policies", policy), ("latent", "latents", latent)):
        if folder:
            with contextlib.suppress(OSError, ValueError, KeyError):
                found[f"{key}_id"] = json.loads((artifact(kind, folder) / f"{key}.json").read_text())[f"{key}_id"]
    if renamed:
        found["topics"] = json.dumps({robot: dict(topics) for robot, topics in renamed.items()})
    return {**found, "fleet": fleet} if fleet else found


class EpisodeRecording:
    """A bag while it is recorded and afterwards, until the next episode begins. It can be marked or discarded at any time.

    Args:
        folder: Folder of all bags.
        custom_data: Metadata of the bag.
        limit: Largest size of each of the writer's queues [bytes].
        quality: JPEG quality, 1 to 100.
        min_free: Space on the disk that messages leave free [bytes].

    Attributes:
        path: Folder of the bag.
        open: Whether the bag is being recorded.
        writer: Queues and counters of messages.
        outcome: ``unknown``, ``success`` or ``failure``.
        robot_outcomes: {robot: outcome}, as the robots' episode events report it.
        commanded: Whether a robot was commanded to move.
        began: Monotonic clock at the start of the recording [s].

    Raises:
        OSError: The bag cannot be written.
    """

    def __init__(self, folder: Path, custom_data: Mapping[str, str], limit: int, quality: int, min_free: int = 0) -> None:
        self.began = time.monotonic()
        started = datetime.now().astimezone().isoformat(timespec="milliseconds")
        self.bag = EpisodeBag(bag_folder(folder), {**custom_data, "started": started}, min_free)
        self.path, self.open = self.bag.path, True
        self.writer = BagWriter(self.bag, limit, quality)
        self.outcome = UNKNOWN
        self.robot_outcomes: dict[str, str] = {}
        self.commanded = False
        self._clock_jumps: list[tuple[float, float]] = []

    @property
    def address(self) -> tuple[str, str] | None:
        """Run and number of the episode, which events must state; None for a recording that a service began."""
        custom = self.bag.custom_data
        return (custom.get(RUN, ""), custom[EPISODE]) if EPISODE in custom else None

    def note_clock_jump(self, seconds: float) -> None:
        """Note in the metadata that the system clock jumped now by ``seconds``."""
        self._clock_jumps.append((round(time.monotonic() - self.began, 3), round(seconds, 3)))

    def stop(self, reason: str, custom_data: Mapping[str, str], lost: Mapping[str, int]) -> None:
        """Finish the bag.

        Args:
            reason: Why the recording ends.
            custom_data: Additional metadata.
            lost: Number of messages by topic that were published but not received.

        Raises:
            OSError: Writing failed and the bag is unfinished; ``latent-policy dataset repair`` finishes it.
        """
        self.open = False
        losses = {"lost": json.dumps(dict(lost))} if lost else {}
        self.writer.close({**custom_data, **self._outcome_metadata(), **losses, "stopped": reason})

    def mark(self, outcome: str) -> None:
        """Set the outcome of the episode. A later call replaces an earlier one.

        Raises:
            ArtifactError: The bag is finished, and was moved or deleted.
        """
        self.outcome = outcome
        if not self.open:
            metadata.update_custom(self.path, self._outcome_metadata())

    def discard(self, trash: Path, requested_by: str) -> Path:
        """Finish the bag, and move its folder to the folder ``trash``; returns the new folder.

        Raises:
            OSError: The folder cannot be moved; the bag is complete in its place.
        """
        with contextlib.suppress(OSError):  # a bag that cannot be finished is moved as it is
            self.stop("discarded", {"stopped_by": requested_by}, {})
        trash.mkdir(parents=True, exist_ok=True)
        target, number = trash / self.path.name, 1
        while target.exists():
            target, number = trash / f"{self.path.name}-{number}", number + 1
        self.path.rename(target)
        os.utime(target)  # its age in the trash counts from now
        return target

    def status(self) -> dict[str, str]:
        """Folder, size and counters of the open bag, for diagnostics."""
        return {
            "bag": str(self.path), "messages": str(self.writer.accepted.total()), "megabytes": f"{self.bag.size / 1e6:.1f}",
            "dropped": str(self.writer.dropped.total()), "waiting_mb": f"{self.writer.pending_bytes / 1e6:.1f}",
            "images_cpu_s": f"{self.writer.image_time.seconds:.3f}", **self.writer.failed,
        }  # fmt: skip

    def _outcome_metadata(self) -> dict[str, str]:
        success = {"success": str(self.outcome == SUCCESS).lower()} if self.outcome != UNKNOWN else {}
        robots = {"outcomes": json.dumps(self.robot_outcomes)} if self.robot_outcomes else {}
        jumps = {"clock_jumps": json.dumps(self._clock_jumps)} if self._clock_jumps else {}
        return {"outcome": self.outcome, **success, **robots, **jumps}


class EpisodeRecorder:
    """Records episodes one at a time. The last episode can be marked until the next one begins.

    Args:
        folder: Folder of all bags.
        custom_data: Metadata that all bags have in common.
        commands: Topics of the robots' commands. A success requires a motion command on one of them; empty: no such condition.
        limit: Largest size of each of the writer's queues [bytes].
        quality: JPEG quality, 1 to 100.
        min_free: Required free space on the disk [GB].
        trash_days: Time after which discarded bags are deleted [days].

    Attributes:
        episode: The open or last episode; None before the first one, and after it was discarded.
        last_bag: Folder of the last finished bag.
    """

    def __init__(
        self, folder: Path, custom_data: Mapping[str, str], commands: Collection[str], limit: int, quality: int, min_free: float,
        trash_days: float = 7.0,
    ) -> None:  # fmt: skip
        self.folder, self.custom_data, self.commands = folder, custom_data, commands
        self.episode: EpisodeRecording | None = None
        self.last_bag: Path | None = None
        self.trash = folder / metadata.TRASH
        self._limit, self._quality, self._min_free, self._trash_days = limit, quality, min_free, trash_days

    @property
    def recording(self) -> EpisodeRecording | None:
        """The open episode; None while nothing is recorded."""
        return self.episode if self.episode and self.episode.open else None

    def open(self, custom_data: Mapping[str, str]) -> EpisodeRecording:
        """Open the bag of a new episode. The caller finishes the previous episode, before or afterwards.

        Raises:
            RecordingRefused: The disk is full.
            OSError: The bag cannot be written.
        """
        if shortage := self.disk_shortage():
            raise RecordingRefused(shortage)
        custom_data = {**self.custom_data, **custom_data}
        self.episode = EpisodeRecording(self.folder, custom_data, self._limit, self._quality, int(self._min_free * GIGABYTE))
        return self.episode

    def finish(self, episode: EpisodeRecording, reason: str, custom_data: Mapping[str, str], lost: Mapping[str, int]) -> None:
        """Finish the bag of an episode: see ``EpisodeRecording.stop``."""
        self.last_bag = episode.path
        episode.stop(reason, custom_data, lost)

    def mark(self, outcome: str) -> str:
        """Set the outcome of the open episode, or else of the last one; returns the outcome and the bag's folder.

        Raises:
            RecordingRefused: There is no episode, or a success is claimed although no robot was commanded to move.
            ArtifactError: The bag was moved or deleted.
        """
        if self.episode is None:
            raise RecordingRefused(f"no episode to be marked as {outcome}")
        if outcome == SUCCESS and self.commands and not self.episode.commanded:
            raise RecordingRefused(
                f"{self.episode.path} cannot be marked as success: no motion command was recorded on "
                f"{', '.join(sorted(self.commands))}; run a policy or teleoperation"
            )
        self.episode.mark(outcome)
        return f"{outcome}: {self.episode.path}"

    def discard(self, requested_by: str) -> str:
        """Move the open bag to the trash; returns a text that names both folders.

        Raises:
            RecordingRefused: Nothing is being recorded. A finished bag is never discarded.
            OSError: The bag cannot be moved.
        """
        episode = self.recording
        if episode is None:
            finished = f"; {self.last_bag} is finished and stays" if self.last_bag else ""
            raise RecordingRefused(f"nothing is being recorded that could be discarded{finished}")
        self.episode = None
        target = episode.discard(self.trash, requested_by)
        self.empty_trash()
        return f"discarded {episode.path}; it is in {target} for {self._trash_days:g} days"

    def empty_trash(self) -> list[Path]:
        """Delete bags that were discarded more than ``trash_days`` ago; returns their folders."""
        deleted = []
        for bag in sorted(self.trash.glob("*")):
            if bag.is_dir() and not bag.is_symlink() and time.time() - bag.stat().st_mtime > self._trash_days * DAY:
                shutil.rmtree(bag, ignore_errors=True)
                deleted.append(bag)
        return deleted

    def check_address(self, run: str, episode: int) -> None:
        """Check that an event concerns the open recording.

        Args:
            run, episode: Run of the publisher and number of the episode, as the event states them.

        Raises:
            RecordingRefused: Nothing is being recorded, a service began the recording, or another run or episode is recorded.
        """
        if self.recording is None:
            raise RecordingRefused("nothing is being recorded")
        address, got = self.recording.address, (run, str(episode))
        if address is None:
            raise RecordingRefused(f"{self.recording.path} was begun by a service; end it with the services of the recorder")
        if got != address:
            texts = [f"episode {number} of run {name!r}" for name, number in (address, got)]
            raise RecordingRefused(f"{self.recording.path} records {texts[0]}, the event concerns {texts[1]}")

    def disk_shortage(self) -> str:
        """An error message if too little space is free on the disk; otherwise empty."""
        free = free_gigabytes(self.folder)
        if free >= self._min_free:
            return ""
        return f"disk: {free:.2f} GB left in {self.folder}, expected at least {self._min_free:g} (parameter min_free)"

    def failure(self) -> str:
        """Why the open episode must be stopped: the disk is almost full, or writing failed; otherwise empty."""
        if self.recording is None:
            return ""
        error = self.recording.writer.error
        return f"disk: {error}" if error else self.disk_shortage()


def find_unfinished_bags(folder: Path) -> list[Path]:
    """Bags in ``<folder>/<day>/`` without ``metadata.yaml``: their recorder was killed, or is still recording them."""
    present = (path for path in folder.glob("*/*") if path.is_dir() and path.parent.name != metadata.TRASH)
    found = (path for path in present if not (path / metadata.FILE).exists())
    return sorted(path for path in found if any(path.glob("*.mcap")))


def free_gigabytes(folder: Path) -> float:
    """Free space of the disk that holds ``folder`` [GB]; the folder need not exist yet."""
    present = next(path for path in (folder.absolute(), *folder.absolute().parents) if path.is_dir())
    return shutil.disk_usage(present).free / GIGABYTE
